/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <sys/prctl.h>

#include "help.h"
#include "obj/queue_word.h"

TestSuite(queue, .fini = help_cleanup, .timeout = 60);

static struct weir_queue *open_queue(struct weir_segment *seg, uint32_t slots)
{
	struct weir_queue *q = NULL;

	cr_assert_eq(weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = slots, .bytes = 16), &q),
		     0);
	return q;
}

static void put(struct weir_queue *q, uint64_t v)
{
	cr_assert_eq(weir_queue_try_send(q, &v, sizeof(v)), 0);
}

static uint64_t get(struct weir_queue *q)
{
	uint64_t v = 0;
	uint32_t n;

	cr_assert_eq(weir_queue_recv(q, &v, sizeof(v), &n, NULL), 0);
	cr_assert_eq(n, sizeof(v));
	return v;
}

Test(queue, keeps_order_and_is_bounded)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	uint64_t v = 0;
	uint32_t n;

	for (uint64_t round = 0; round < 10; round++) {
		for (uint64_t i = 0; i < 4; i++)
			put(q, round * 4 + i);
		cr_assert_eq(weir_queue_try_send(q, &v, 8), -EAGAIN);
		for (uint64_t i = 0; i < 4; i++)
			cr_assert_eq(get(q), round * 4 + i);
		cr_assert_eq(weir_queue_try_recv(q, &v, 8, &n), -EAGAIN);
	}
	weir_segment_close(seg);
}

Test(queue, refuses_what_does_not_fit)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_queue *other;
	struct weir_msg msg;
	char text[32] = "0123456789";
	uint32_t n;

	cr_assert_eq(weir_queue_try_send(q, text, 17), -EMSGSIZE);
	cr_assert_eq(weir_queue_try_send(q, text, 10), 0);
	cr_assert_eq(weir_queue_try_recv(q, text, 5, &n), -EMSGSIZE);
	cr_assert_eq(weir_queue_try_recv(q, text, 10, &n), 0, "the message must still be there");
	cr_assert_eq(weir_queue_open(seg, "x", &WEIR_OPTS(queue, .slots = 0, .bytes = 1), &other),
		     -EINVAL);
	cr_assert_eq(weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = 8, .bytes = 16), &other),
		     -EEXIST);
	memset(&msg, 0, sizeof(msg));
	cr_assert_eq(weir_queue_commit(q, &msg), -EINVAL);
	cr_assert_eq(weir_queue_done(q, &msg), -EINVAL);
	weir_segment_close(seg);
}

Test(queue, batches_stop_where_one_does_not_go)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	const uint64_t sent[] = {1, 2, 3, 4, 5};
	uint32_t lengths[8] = {0};
	uint64_t got[8] = {0};
	uint32_t n = 99;

	cr_assert_eq(weir_queue_try_recv_batch(q, got, 8, 8, NULL, &n), -EAGAIN);
	cr_assert_eq(n, 0);
	cr_assert_eq(weir_queue_try_send_batch(q, sent, 8, 5, &n), -EAGAIN);
	cr_assert_eq(n, 4);
	cr_assert_eq(weir_queue_try_recv_batch(q, got, 8, 3, NULL, &n), 0);
	cr_assert_eq(n, 3);
	cr_assert(got[0] == 1 && got[1] == 2 && got[2] == 3 && got[3] == 0);
	cr_assert_eq(weir_queue_try_send(q, "abc", 3), 0);
	cr_assert_eq(weir_queue_try_recv_batch(q, got, 4, 8, lengths, &n), -EMSGSIZE);
	cr_assert_eq(n, 0);
	cr_assert_eq(weir_queue_try_recv_batch(q, got, 8, 8, lengths, &n), -EAGAIN);
	cr_assert(n == 2 && got[0] == 4 && lengths[0] == 8 && lengths[1] == 3);
	cr_assert_eq(memcmp(got + 1, "abc", 3), 0);
	cr_assert_eq(weir_queue_try_send(q, "abc", 3), 0);
	cr_assert_eq(weir_queue_try_send(q, sent, 8), 0);
	cr_assert_eq(weir_queue_try_recv_batch(q, got, 4, 8, lengths, &n), -EMSGSIZE);
	cr_assert_eq(n, 1);
	cr_assert_eq(weir_queue_shutdown(q), 0);
	cr_assert_eq(weir_queue_try_recv_batch(q, got, 8, 8, lengths, &n), -ESHUTDOWN);
	cr_assert(n == 1 && got[0] == 1);
	cr_assert_eq(weir_queue_try_recv_batch(q, got, 8, 8, lengths, &n), -ESHUTDOWN);
	cr_assert_eq(n, 0);
	weir_segment_close(seg);
}

Test(queue, loans_commit_or_are_given_up)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_msg a;
	struct weir_msg b;
	uint64_t v = 7;
	uint32_t n;

	cr_assert_eq(weir_queue_try_loan(q, &a), 0);
	cr_assert_eq(weir_queue_try_loan(q, &b), 0);
	memcpy(b.data, &v, 8);
	b.bytes = 8;
	cr_assert_eq(weir_queue_commit(q, &b), 0);
	cr_assert_eq(weir_queue_try_recv(q, &v, 8, &n), -EAGAIN, "the older loan is not finished");
	cr_assert_eq(weir_queue_abort(q, &a), 0);
	cr_assert_eq(get(q), 7);
	cr_assert_eq(weir_queue_try_take(q, &a), -EAGAIN);
	put(q, 8);
	cr_assert_eq(weir_queue_try_take(q, &a), 0);
	cr_assert_eq(weir_queue_put_back(q, &a), 0);
	cr_assert_eq(weir_queue_done(q, &a), -EINVAL);
	cr_assert_eq(get(q), 8);
	weir_segment_close(seg);
}

/* Another receiver has seen that message being read, and wants to move first on.  He is late. */
Test(queue, nobody_steps_over_a_message_that_was_put_back_at_first_itself)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_msg msg;
	uint64_t late;

	put(q, 1);
	put(q, 2);
	late = weir_load_full(&q->v.shm->first);
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(weir_load_full(&q->v.shm->first), late);
	cr_assert_eq(weir_queue_put_back(q, &msg), 0);
	cr_assert_not(weir_cas_full(&q->v.shm->first, &late, late + 1));
	cr_assert_eq(get(q), 1);
	cr_assert_eq(get(q), 2);
	weir_segment_close(seg);
}

Test(queue, a_message_carries_the_trace_it_was_given_or_the_threads)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_trace mine;
	struct weir_trace threads;
	struct weir_msg msg;

	weir_trace_new(&mine);
	weir_trace_new(&threads);
	put(q, 1);
	weir_segment_set_trace(seg, &threads);
	put(q, 2);
	cr_assert_eq(weir_queue_try_loan(q, &msg), 0);
	msg.trace = mine;
	cr_assert_eq(weir_queue_commit(q, &msg), 0);
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(msg.sent_ns, 0);
	weir_queue_done(q, &msg);
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(memcmp(msg.trace.trace_id, threads.trace_id, 16), 0);
	weir_queue_done(q, &msg);
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(memcmp(msg.trace.trace_id, mine.trace_id, 16), 0);
	cr_assert_eq(memcmp(msg.trace.span_id, mine.span_id, 8), 0);
	cr_assert_gt(msg.sent_ns, 0);
	weir_queue_done(q, &msg);
	weir_segment_close(seg);
}

Test(queue, a_dead_receivers_message_is_delivered_again_in_order)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_queue_stat s;
	struct weir_msg msg;
	uint64_t position;

	for (uint64_t i = 0; i < 3; i++)
		put(q, i);
	for (int death = 1; death <= 3; death++) {
		pid_t pid = fork();

		if (pid == 0) {
			if (weir_queue_try_take(q, &msg) == 0)
				pause();
			_exit(1);
		}
		do {
			weir_queue_stat(q, &s);
		} while (s.reading == 0);
		help_kill(pid);
		cr_assert_eq(weir_segment_recover(seg, NULL), 0);
	}
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(msg.tries, 3);
	cr_assert_eq(*(uint64_t *)msg.data, 0);
	position = msg.position;
	cr_assert_eq(weir_queue_done(q, &msg), 0);
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(msg.position, position + 1);
	cr_assert_eq(weir_queue_done(q, &msg), 0);
	cr_assert_eq(get(q), 2);
	weir_queue_stat(q, &s);
	cr_assert_eq(s.redelivered, 3);
	weir_segment_close(seg);
}

Test(queue, a_dead_senders_slot_is_skipped_by_a_waiting_receiver)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_queue_stat s;
	struct weir_msg msg;
	pid_t pid = fork();

	if (pid == 0) {
		if (weir_queue_try_loan(q, &msg) == 0)
			pause();
		_exit(1);
	}
	do {
		weir_queue_stat(q, &s);
	} while (s.writing == 0);
	put(q, 9);
	help_kill(pid);
	cr_assert_eq(get(q), 9);
	weir_segment_close(seg);
}

/* A child takes `count` slots and dies with them. */
static void die_holding(struct weir_queue *q, bool sending, uint32_t count)
{
	struct weir_queue_stat s;
	struct weir_msg msg;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (uint32_t i = 0; i < count; i++) {
			if ((sending ? weir_queue_try_loan : weir_queue_try_take)(q, &msg) != 0)
				_exit(1);
		}
		pause();
		_exit(1);
	}
	do {
		weir_queue_stat(q, &s);
	} while ((sending ? s.writing : s.reading) < count);
	help_kill(pid);
}

/* Only the callers of try_ are left: who frees the slots of the dead?  -EAGAIN for up to 2 s. */
static int tried(struct weir_queue *q, int (*what)(struct weir_queue *q))
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < 2000; i++) {
		r = what(q);
		if (r == -EAGAIN)
			usleep(1000);
	}
	return r;
}

static int try_send(struct weir_queue *q)
{
	return weir_queue_try_send(q, "12345678", 8);
}

static int try_batch(struct weir_queue *q)
{
	uint32_t n;

	return weir_queue_try_send_batch(q, "12345678", 8, 1, &n);
}

static int try_loan(struct weir_queue *q)
{
	struct weir_msg msg;
	int r = weir_queue_try_loan(q, &msg);

	return r < 0 ? r : weir_queue_abort(q, &msg);
}

static int try_recv(struct weir_queue *q)
{
	uint64_t v;
	uint32_t n;

	return weir_queue_try_recv(q, &v, 8, &n);
}

static int try_take(struct weir_queue *q)
{
	struct weir_msg msg;
	int r = weir_queue_try_take(q, &msg);

	return r < 0 ? r : weir_queue_done(q, &msg);
}

Test(queue, who_only_tries_gets_past_the_dead)
{
	int (*const senders[])(struct weir_queue * q) = {try_send, try_batch, try_loan};
	int (*const receivers[])(struct weir_queue * q) = {try_recv, try_take};
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);

	for (int i = 0; i < 3; i++) {
		die_holding(q, true, 4);
		cr_assert_eq(tried(q, senders[i]), 0, "sender %d", i);
		while (try_recv(q) == 0)
			continue;
	}
	for (int i = 0; i < 2; i++) {
		die_holding(q, true, 1);
		put(q, 1);
		put(q, 2);
		cr_assert_eq(tried(q, receivers[i]), 0, "receiver %d, behind a dead sender", i);
		die_holding(q, false, 1);
		cr_assert_eq(tried(q, receivers[i]), 0, "receiver %d, of a dead one", i);
	}
	weir_segment_close(seg);
}

Test(queue, drains_and_ends)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	uint64_t v = 1;
	uint32_t n;

	put(q, 5);
	cr_assert_eq(weir_queue_shutdown(q), 0);
	cr_assert_eq(weir_queue_shutdown(q), 0);
	cr_assert_eq(weir_queue_try_send(q, &v, 8), -ESHUTDOWN);
	cr_assert_eq(get(q), 5);
	cr_assert_eq(weir_queue_try_recv(q, &v, 8, &n), -ESHUTDOWN);
	cr_assert_eq(weir_queue_recv(q, &v, 8, &n, NULL), -ESHUTDOWN);
	weir_segment_close(seg);
}

/* A child that takes a message and holds it until it is told. */
static pid_t holder(struct weir_queue *q, volatile int *flag)
{
	struct weir_msg msg;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (weir_queue_try_take(q, &msg) != 0)
			_exit(1);
		help_say(flag, 1);
		help_until(flag, 2);
		_exit(weir_queue_done(q, &msg) == 0 ? 0 : 1);
	}
	help_until(flag, 1);
	return pid;
}

Test(queue, is_not_drained_while_another_may_die_with_a_message)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	volatile int *flag = help_shared(64);
	uint64_t v = 1;
	uint32_t n;
	pid_t pid;

	put(q, 4);
	put(q, 5);
	cr_assert_eq(get(q), 4);
	pid = holder(q, flag);
	weir_queue_shutdown(q);
	cr_assert_eq(weir_queue_try_recv(q, &v, 8, &n), -EAGAIN);
	cr_assert_eq(weir_queue_try_recv(q, &v, 8, &n), -EAGAIN, "sealed as well");
	help_kill(pid);
	cr_assert_eq(get(q), 5);
	cr_assert_eq(weir_queue_recv(q, &v, 8, &n, NULL), -ESHUTDOWN);
	weir_segment_close(seg);
}

Test(queue, who_holds_the_last_message_itself_is_not_told_to_wait_for_it)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_msg msg;
	struct weir_msg more;

	put(q, 1);
	weir_queue_shutdown(q);
	cr_assert_eq(weir_queue_try_take(q, &msg), 0);
	cr_assert_eq(weir_queue_take(q, &more, NULL), -ESHUTDOWN);
	cr_assert_eq(weir_queue_put_back(q, &msg), 0);
	cr_assert_eq(get(q), 1);
	cr_assert_eq(weir_queue_take(q, &more, NULL), -ESHUTDOWN);
	weir_segment_close(seg);
}

Test(queue, is_drained_for_who_has_taken_all_it_has_room_for)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 2);
	struct weir_msg msg[2];
	struct weir_msg more;

	for (uint64_t i = 0; i < 2; i++)
		put(q, i);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(weir_queue_try_take(q, &msg[i]), 0);
	cr_assert_eq(weir_queue_shutdown(q), 0);
	cr_assert_eq(weir_queue_try_take(q, &more), -ESHUTDOWN);
	cr_assert_eq(weir_queue_put_back(q, &msg[1]), 0);
	cr_assert_eq(weir_queue_try_take(q, &more), 0);
	cr_assert_eq(*(uint64_t *)more.data, 1);
	cr_assert_eq(weir_queue_done(q, &more), 0);
	cr_assert_eq(weir_queue_done(q, &msg[0]), 0);
	cr_assert_eq(weir_queue_try_take(q, &more), -ESHUTDOWN);
	weir_segment_close(seg);
}

/* With nobody who receives, and in turns with messages. */
Test(queue, loans_that_were_given_up_use_nothing_up)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 4);
	struct weir_queue_stat s;
	struct weir_msg msg;

	for (uint64_t round = 0; round < 5; round++) {
		for (int i = 0; i < 7; i++) {
			cr_assert_eq(weir_queue_try_loan(q, &msg), 0);
			cr_assert_eq(weir_queue_abort(q, &msg), 0);
			cr_assert_eq(weir_queue_abort(q, &msg), -EINVAL);
		}
		for (uint64_t i = 0; i < 4; i++)
			put(q, round * 4 + i);
		cr_assert_eq(weir_queue_try_loan(q, &msg), -EAGAIN);
		weir_queue_stat(q, &s);
		cr_assert_eq(s.depth, 4);
		cr_assert_eq(s.writing + s.reading, 0);
		for (uint64_t i = 0; i < 4; i++)
			cr_assert_eq(get(q), round * 4 + i);
	}
	weir_segment_close(seg);
}

/* A copy of a loan is worth nothing once the loan is over, also when its slot has another. */
Test(queue, a_loan_ends_once)
{
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 2);
	struct weir_msg msg;
	struct weir_msg copy;

	for (int lap = 0; lap < 3; lap++) {
		cr_assert_eq(weir_queue_try_loan(q, &msg), 0);
		copy = msg;
		msg.bytes = 0;
		cr_assert_eq(weir_queue_commit(q, &msg), 0);
		msg = copy;
		cr_assert_eq(weir_queue_commit(q, &msg), -EINVAL);
		cr_assert_eq(weir_queue_abort(q, &msg), -EINVAL);
		cr_assert_eq(weir_queue_try_take(q, &msg), 0);
		copy = msg;
		cr_assert_eq(weir_queue_done(q, &msg), 0);
		msg = copy;
		cr_assert_eq(weir_queue_done(q, &msg), -EINVAL);
		cr_assert_eq(weir_queue_put_back(q, &msg), -EINVAL);
	}
	weir_segment_close(seg);
}

Test(queue, waiting_receivers_learn_at_once_that_the_last_message_is_done)
{
	struct weir_segment *seg = help_segment();
	volatile int *flag = help_shared(64);
	uint64_t best = UINT64_MAX;
	uint64_t v;
	uint32_t n;

	/* A sleep is 20 ms at most anyway: one of 20 rounds has to be much quicker than that. */
	for (int i = 0; i < 20; i++) {
		char name[16];
		struct weir_queue *q;
		uint64_t start;
		pid_t pid;

		snprintf(name, sizeof(name), "q%d", i);
		cr_assert_eq(
			weir_queue_open(seg, name, &WEIR_OPTS(queue, .slots = 2, .bytes = 8), &q),
			0);
		put(q, 1);
		help_say(flag, 0);
		pid = holder(q, flag);
		weir_queue_shutdown(q);
		if (fork() == 0) {
			usleep(3000); /* The parent sleeps by then, for 17 ms more. */
			help_say(flag, 2);
			_exit(0);
		}
		start = weir_now_ns();
		cr_assert_eq(weir_queue_recv(q, &v, 8, &n, NULL), -ESHUTDOWN);
		if (weir_now_ns() - start < best)
			best = weir_now_ns() - start;
		cr_assert_eq(help_wait(pid), 0);
		wait(NULL);
	}
	cr_assert_lt(best, 12 * MS, "%lu us", (unsigned long)(best / 1000));
	weir_segment_close(seg);
}

/* The count of deaths in the slot's word must never come to a standstill: a message taken again by
 * the same thread slot would give the word a value it had before, and a slow sweeper that still
 * means the dead one would take it from the living. */
Test(queue, a_message_is_dropped_before_its_count_of_deaths_stops)
{
	static const uint32_t tries_max[] = {1, 3, 63, 0};
	static const uint32_t deaths[] = {1, 3, 63, 64};
	struct weir_segment *seg = help_segment();

	for (int i = 0; i < 4; i++) {
		struct weir_queue_stat s;
		struct weir_queue *q;
		struct weir_msg msg;
		char name[16];

		snprintf(name, sizeof(name), "q%d", i);
		cr_assert_eq(weir_queue_open(seg, name,
					     &WEIR_OPTS(queue, .slots = 2, .bytes = 8,
							.tries_max = tries_max[i]),
					     &q),
			     0);
		put(q, 1);
		put(q, 2);
		for (uint32_t death = 1; death <= deaths[i]; death++) {
			weir_queue_stat(q, &s);
			cr_assert_eq(s.dropped, 0, "%u: dropped at %u", i, death);
			if (death > 1 && death < 64) { /* The count is told. */
				cr_assert_eq(weir_queue_try_take(q, &msg), 0);
				cr_assert_eq(msg.tries, death - 1);
				cr_assert_eq(weir_queue_put_back(q, &msg), 0);
			}
			die_holding(q, false, 1);
			cr_assert_eq(weir_segment_recover(seg, NULL), 0);
		}
		weir_queue_stat(q, &s);
		cr_assert_eq(s.dropped, 1, "%u", i);
		cr_assert_eq(s.redelivered, deaths[i] - 1);
		cr_assert_eq(get(q), 2, "what is behind it goes on");
		cr_assert_eq(weir_queue_try_take(q, &msg), -EAGAIN);
		put(q, 3); /* its slot as well */
		put(q, 4);
	}
	weir_segment_close(seg);
}

Test(queue, many_senders_and_receivers_lose_and_double_nothing)
{
	enum { SENDERS = 3, RECEIVERS = 3, EACH = 30000 };
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 64);
	uint8_t *seen = help_shared(SENDERS * EACH);
	pid_t pids[SENDERS + RECEIVERS];

	for (int i = 0; i < SENDERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			for (uint64_t k = 0; k < EACH; k++) {
				uint64_t v = (uint64_t)i * EACH + k;

				if (weir_queue_send(q, &v, 8, NULL) != 0)
					_exit(1);
			}
			_exit(0);
		}
	}
	for (int i = SENDERS; i < SENDERS + RECEIVERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int64_t last[SENDERS] = {-1, -1, -1};
			uint64_t v;
			uint32_t n;
			int r;

			while ((r = weir_queue_recv(q, &v, 8, &n, NULL)) == 0) {
				if ((int64_t)v <= last[v / EACH])
					_exit(2); /* A sender's messages out of order. */
				last[v / EACH] = (int64_t)v;
				if (__atomic_add_fetch(&seen[v], 1, __ATOMIC_SEQ_CST) != 1)
					_exit(3);
			}
			_exit(r == -ESHUTDOWN ? 0 : 4);
		}
	}
	for (int i = 0; i < SENDERS; i++)
		cr_assert_eq(help_wait(pids[i]), 0);
	weir_queue_shutdown(q);
	for (int i = SENDERS; i < SENDERS + RECEIVERS; i++)
		cr_assert_eq(help_wait(pids[i]), 0);
	for (int i = 0; i < SENDERS * EACH; i++)
		cr_assert_eq(seen[i], 1);
	weir_segment_close(seg);
}

Test(queue, random_kills_of_receivers_lose_nothing)
{
	enum { TOTAL = 40000, RECEIVERS = 2 };
	struct weir_segment *seg = help_segment();
	struct weir_queue *q = open_queue(seg, 16);
	uint8_t *seen = help_shared(TOTAL);
	volatile int *done = help_shared(64);
	pid_t sender = fork();
	pid_t pids[RECEIVERS] = {0};

	if (sender == 0) {
		for (uint64_t v = 0; v < TOTAL; v++) {
			if (weir_queue_send(q, &v, 8, NULL) != 0)
				_exit(1);
		}
		weir_queue_shutdown(q);
		help_say(done, 1);
		_exit(0);
	}
	for (int k = 0; !*done; k++) {
		int i = k % RECEIVERS;

		if (pids[i])
			help_kill(pids[i]);
		pids[i] = fork();
		if (pids[i] == 0) {
			struct weir_msg msg;

			while (weir_queue_take(q, &msg, NULL) == 0) {
				seen[*(uint64_t *)msg.data] = 1;
				weir_queue_done(q, &msg);
			}
			pause();
		}
		usleep(2000);
	}
	cr_assert_eq(help_wait(sender), 0);
	for (int i = 0; i < RECEIVERS; i++)
		help_kill(pids[i]);
	weir_segment_recover(seg, NULL);
	for (;;) {
		struct weir_msg msg;
		int r = weir_queue_take(q, &msg, NULL);

		if (r == -ESHUTDOWN)
			break;
		cr_assert_eq(r, 0);
		seen[*(uint64_t *)msg.data] = 1;
		weir_queue_done(q, &msg);
	}
	for (int i = 0; i < TOTAL; i++)
		cr_assert_eq(seen[i], 1, "message %d is lost", i);
	weir_segment_close(seg);
}
