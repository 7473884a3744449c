/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop itself: timers, sockets, files, cancel, stop and contexts. */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "loop_help.h"

/* Only against hanging for ever. */
TestSuite(loop, .timeout = 60);

/* Timers and the loop itself. */

Test(loop, a_timer_ends_with_zero)
{
	struct weir_loop *loop = loop_make();
	uint64_t start_ns = weir_now_ns();
	struct end end = END;

	cr_assert_eq(weir_loop_after(loop, &end.op, 3 * MS), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&end, 0);
	cr_assert_geq(weir_now_ns() - start_ns, 3 * MS);
	loop_end(loop);
}

Test(loop, timers_end_in_the_order_of_their_times)
{
	struct weir_loop *loop = loop_make();
	struct end later = END;
	struct end sooner = END;

	cr_assert_eq(weir_loop_after(loop, &later.op, 60 * MS), 0);
	cr_assert_eq(weir_loop_after(loop, &sooner.op, 1 * MS), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_lt(sooner.order, later.order);
	loop_end(loop);
}

Test(loop, a_run_with_nothing_to_do_returns)
{
	struct weir_loop *loop = loop_make();

	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	loop_end(loop);
}

Test(loop, null_and_wrong_options_are_told)
{
	struct weir_loop *loop = loop_make();
	struct weir_op nobody = {0};
	struct end end = END;

	cr_assert_eq(weir_loop_close(NULL), 0);
	cr_assert_eq(weir_loop_create(&WEIR_OPTS(loop, .flags = 1u << 31), &loop), -EINVAL);
	cr_assert_eq(weir_loop_after(loop, &nobody, 1), -EINVAL);
	cr_assert_eq(weir_loop_acquire(loop, &end.op, NULL, 1, NEVER), -EINVAL);
	cr_assert_eq(weir_loop_acquire(loop, &end.op, NULL, 0, NEVER), -EINVAL);
	cr_assert_eq(weir_loop_take(loop, &end.op, NULL, NULL), -EINVAL);
	cr_assert_eq(weir_loop_cancel(loop, &end.op), -ENOENT);
	cr_assert_eq(end.calls, 0);
	loop_end(loop);
}

static void again(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct end *end = (struct end *)op;

	ended(loop, op, result);
	if (end->calls < 5)
		end->result = weir_loop_after(loop, op, 1);
}

Test(loop, a_function_may_start_its_operation_again)
{
	struct weir_loop *loop = loop_make();
	struct end end = {.op = {.fn = again}};

	cr_assert_eq(weir_loop_after(loop, &end.op, 1), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(end.calls, 5);
	loop_end(loop);
}

static void run_within(struct weir_loop *loop, struct weir_op *op, int result)
{
	ended(loop, op, result);
	*(int *)op->user = weir_loop_run(loop, NULL) == -EBUSY && weir_loop_close(loop) == -EBUSY;
}

Test(loop, a_run_within_a_run_is_refused)
{
	struct weir_loop *loop = loop_make();
	int refused = 0;
	struct end end = {.op = {.fn = run_within, .user = &refused}};

	cr_assert_eq(weir_loop_after(loop, &end.op, 1), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert(refused);
	loop_end(loop);
}

Test(loop, more_operations_than_entries_all_end)
{
	static struct end many[1000];
	struct weir_loop *loop;
	size_t i;

	loop_end(loop_make()); /* skips */
	cr_assert_eq(weir_loop_create(&WEIR_OPTS(loop, .entries = 4), &loop), 0);
	for (i = 0; i < 1000; i++) {
		many[i].op.fn = ended;
		cr_assert_eq(weir_loop_after(loop, &many[i].op, i * 1000), 0);
	}
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	for (i = 0; i < 1000; i++)
		assert_end(&many[i], 0);
	loop_end(loop);
}

/* Sockets and files. */

Test(loop, recv_gets_what_send_sent)
{
	struct weir_loop *loop = loop_make();
	struct end send = END;
	struct end recv = END;
	char data[8] = "";
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(weir_loop_recv(loop, &recv.op, pair[0], data, sizeof(data)), 0);
	cr_assert_eq(weir_loop_send(loop, &send.op, pair[1], "hello", 5), 0);
	cr_assert_eq(recv.calls + send.calls, 0, "called by the call that started it");
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&send, 5);
	assert_end(&recv, 5);
	cr_assert_str_eq(data, "hello");
	loop_end(loop);
}

Test(loop, the_end_of_a_stream_is_zero_and_then_epipe)
{
	struct weir_loop *loop = loop_make();
	struct end send = END;
	struct end recv = END;
	char data[8];
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[1]);
	cr_assert_eq(weir_loop_recv(loop, &recv.op, pair[0], data, sizeof(data)), 0);
	cr_assert_eq(weir_loop_send(loop, &send.op, pair[0], "hello", 5), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&recv, 0);
	assert_end(&send, -EPIPE);
	loop_end(loop);
}

Test(loop, connect_and_accept_meet)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *any = (struct sockaddr *)&address;
	struct weir_loop *loop = loop_make();
	socklen_t bytes = sizeof(address);
	struct end connect = END;
	struct end accept = END;
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(server, any, sizeof(address)), 0);
	cr_assert_eq(listen(server, 1), 0);
	cr_assert_eq(getsockname(server, any, &bytes), 0);
	cr_assert_eq(weir_loop_accept(loop, &accept.op, server), 0);
	cr_assert_eq(weir_loop_connect(loop, &connect.op, client, any, bytes), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&connect, 0);
	cr_assert_geq(accept.result, 0);
	cr_assert_eq(fcntl(accept.result, F_GETFD), FD_CLOEXEC);
	loop_end(loop);
}

Test(loop, a_file_reads_back_what_was_written)
{
	struct weir_loop *loop = loop_make();
	struct end write = END;
	struct end sync = END;
	struct end read = END;
	char path[] = "/tmp/weir-loop-XXXXXX";
	char data[8] = "";
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	unlink(path);
	cr_assert_eq(weir_loop_write(loop, &write.op, fd, "words", 5, 100), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(weir_loop_fdatasync(loop, &sync.op, fd), 0);
	cr_assert_eq(weir_loop_read(loop, &read.op, fd, data, 4, 101), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&write, 5);
	assert_end(&sync, 0);
	assert_end(&read, 4);
	cr_assert_str_eq(data, "ords");
	loop_end(loop);
}

Test(loop, a_bad_descriptor_is_the_result_of_the_operation)
{
	struct weir_loop *loop = loop_make();
	struct end first = END;
	struct end second = END;
	char c;

	cr_assert_eq(weir_loop_read(loop, &first.op, -1, &c, 1, 0), 0);
	cr_assert_eq(weir_loop_after(loop, &second.op, 1), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&first, -EBADF);
	assert_end(&second, 0);
	loop_end(loop);
}

/* Cancel and close. */

Test(loop, cancelled_operations_end_with_ecanceled)
{
	struct weir_loop *loop = loop_make();
	struct end timer = END;
	struct end recv = END;
	struct end read = END;
	int pair[2];
	int fds[2];
	char c;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(weir_loop_recv(loop, &recv.op, pair[0], &c, 1), 0);
	cr_assert_eq(weir_loop_read(loop, &read.op, fds[0], &c, 1, 0), 0);
	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	run_for(loop, 1 * MS);
	cr_assert_eq(weir_loop_cancel(loop, &recv.op), 0);
	cr_assert_eq(weir_loop_cancel(loop, &recv.op), 0, "twice is once");
	cr_assert_eq(weir_loop_cancel(loop, &read.op), 0);
	cr_assert_eq(weir_loop_cancel(loop, &timer.op), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&recv, -ECANCELED);
	assert_end(&read, -ECANCELED);
	assert_end(&timer, -ECANCELED);
	cr_assert_eq(weir_loop_cancel(loop, &timer.op), -ENOENT);
	loop_end(loop);
}

Test(loop, a_cancel_before_the_first_run_is_a_cancel)
{
	struct weir_loop *loop = loop_make();
	struct end timer = END;

	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	cr_assert_eq(weir_loop_cancel(loop, &timer.op), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&timer, -ECANCELED);
	loop_end(loop);
}

static void refused(struct weir_loop *loop, struct weir_op *op, int result)
{
	ended(loop, op, result);
	*(int *)op->user = weir_loop_after(loop, op, 1);
}

static void close_with_everything_open(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct place place;
	int start = 0;
	struct end timer = {.op = {.fn = refused, .user = &start}};
	struct end recv = END;
	struct end first = END;
	struct end second = END;
	struct end take = END;
	struct weir_msg msg;
	int pair[2];
	char c;

	place_open(&place);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(weir_sem_acquire(place.sem, 2, NULL), 0);
	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	cr_assert_eq(weir_loop_recv(loop, &recv.op, pair[0], &c, 1), 0);
	cr_assert_eq(weir_loop_acquire(loop, &first.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_acquire(loop, &second.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_take(loop, &take.op, place.queue, &msg), 0);
	run_for(loop, 5 * MS);
	cr_assert_eq(ends, 0);
	loop_end(loop);
	assert_end(&timer, -ECANCELED);
	assert_end(&recv, -ECANCELED);
	assert_end(&first, -ECANCELED);
	assert_end(&second, -ECANCELED);
	assert_end(&take, -ECANCELED);
	cr_assert_eq(start, -ESHUTDOWN);
	/* It left the line: the thread may wait again, and gets what is free. */
	cr_assert_eq(weir_sem_release(place.sem, 2), 0);
	cr_assert_eq(weir_sem_try_acquire(place.sem, 2), 0);
	place_close(&place);
}

Test(loop, close_calls_every_function_once)
{
	close_with_everything_open(0);
}

Test(loop, close_calls_every_function_once_without_futex)
{
	close_with_everything_open(WEIR_LOOP_NO_FUTEX);
}

/* Stop, and the end of the context. */

static void *stop_later(void *arg)
{
	pause_1ms();
	weir_loop_stop(arg);
	return NULL;
}

Test(loop, a_stop_from_another_thread_ends_the_run)
{
	struct weir_loop *loop = loop_make();
	struct end timer = END;
	pthread_t thread;

	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	cr_assert_eq(pthread_create(&thread, NULL, stop_later, loop), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(timer.calls, 0);
	/* It ended one run, not the next. */
	run_for(loop, 1 * MS);
	loop_end(loop);
	assert_end(&timer, -ECANCELED);
}

static struct weir_loop *signalled;

static void on_signal(int number)
{
	(void)number;
	weir_loop_stop(signalled);
}

Test(loop, a_stop_from_a_signal_handler_ends_the_run)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct weir_loop *loop = loop_make();
	struct end timer = END;
	timer_t clock;

	signalled = loop;
	sigaction(SIGALRM, &action, NULL);
	cr_assert_eq(timer_create(CLOCK_MONOTONIC, NULL, &clock), 0);
	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	timer_settime(clock, 0, &(struct itimerspec){.it_value.tv_nsec = 2000000}, NULL);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	timer_delete(clock);
	loop_end(loop);
}

Test(loop, a_stop_before_the_run_ends_the_run)
{
	struct weir_loop *loop = loop_make();
	struct end timer = END;

	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	cr_assert_eq(weir_loop_stop(loop), 0);
	cr_assert_eq(weir_loop_stop(loop), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	run_for(loop, 1 * MS);
	loop_end(loop);
}

Test(loop, a_stop_with_the_last_operation_does_not_end_the_next_run)
{
	struct weir_loop *loop = loop_make();
	struct end last = END_AND_STOP;
	struct end timer = END;

	cr_assert_eq(weir_loop_after(loop, &last.op, 1), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	run_for(loop, 1 * MS);
	loop_end(loop);
}

Test(loop, a_deadline_ends_the_run_and_operations_stay_open)
{
	struct weir_loop *loop = loop_make();
	struct end timer = END;

	cr_assert_eq(weir_loop_after(loop, &timer.op, 30 * MS), 0);
	run_for(loop, 1 * MS);
	run_for(loop, 1 * MS);
	cr_assert_eq(timer.calls, 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&timer, 0);
	loop_end(loop);
}

static void *cancel_later(void *arg)
{
	pause_1ms();
	weir_ctx_cancel(arg);
	return NULL;
}

static void cancel_the_parent(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct end timer = END;
	struct weir_ctx parent;
	struct weir_ctx ctx;
	pthread_t thread;

	cr_assert_eq(weir_ctx_init(&parent, NULL, NEVER), 0);
	cr_assert_eq(weir_ctx_init(&ctx, &parent, NEVER), 0);
	cr_assert_eq(weir_loop_after(loop, &timer.op, NEVER), 0);
	cr_assert_eq(pthread_create(&thread, NULL, cancel_later, &parent), 0);
	cr_assert_eq(weir_loop_run(loop, &ctx), -ECANCELED);
	pthread_join(thread, NULL);
	cr_assert_eq(weir_loop_run(loop, &ctx), -ECANCELED);
	loop_end(loop);
}

Test(loop, cancelling_the_parent_of_the_context_ends_the_run)
{
	cancel_the_parent(0);
}

Test(loop, cancelling_the_parent_of_the_context_ends_the_run_without_futex)
{
	cancel_the_parent(WEIR_LOOP_NO_FUTEX);
}

Test(loop, has_futex_tells_whether_it_may_be_used)
{
	struct weir_loop *loop = loop_make_flags(WEIR_LOOP_NO_FUTEX);

	cr_assert(!weir_loop_has_futex(loop));
	loop_end(loop);
}
