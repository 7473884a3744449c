/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Who is dead and who only looks so: F3 to F6, F8, F9. */
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sys/prctl.h>

#include "env.h"

/* --- F3 ------------------------------------------------------------------------------------ */

static void wait_in_line(void)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	board->value[0] = weir_now_ns();
	say(0, 1);
	forever();
}

/* The first in line is stopped, granted and woken, and killed: the wake dies with it. */
static uint64_t one_swallowed_wake(void)
{
	pid_t first;
	pid_t second;
	uint64_t start;

	say(0, 0);
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	first = child(wait_in_line);
	while (waiters() < 1)
		sleep_ms(0);
	second = child(wait_in_line);
	while (waiters() < 2)
		sleep_ms(0);
	until_state(first, 'S');
	until_state(second, 'S');
	kill(first, SIGSTOP);
	until_state(first, 'T');
	IS(weir_sem_release(sem, 1), 0);
	start = weir_now_ns();
	end(first);
	until_said(0, 1);
	MUST(board->value[0] > start);
	start = board->value[0] - start;
	end(second);
	recover();
	IS(used(), 0);
	return start;
}

static void killed_with_a_wake_in_flight(void)
{
	uint64_t worst = 0;

	seg_make(1);
	for (int i = 0; i < 20; i++) {
		uint64_t ns = one_swallowed_wake();

		worst = ns > worst ? ns : worst;
	}
	note("20 kills, the survivor ran after %llu ms at worst", (unsigned long long)(worst / MS));
	MUST(worst <= 100 * MS);
}

static struct weir_queue *queue;

static void receive_one(void)
{
	uint64_t got;
	uint32_t bytes;

	IS(weir_queue_recv(queue, &got, sizeof(got), &bytes, NULL), 0);
	board->value[0] = weir_now_ns();
	say(0, 1);
	forever();
}

/* The same with the queue: the receiver that was woken dies, another gets the message. */
static void killed_receiver_with_a_wake_in_flight(void)
{
	uint64_t message = 7;
	uint64_t worst = 0;

	seg_make(1);
	IS(weir_queue_open(seg, "queue", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &queue), 0);
	for (int i = 0; i < 20; i++) {
		pid_t first = child(receive_one);
		pid_t second = child(receive_one);
		uint64_t start;

		say(0, 0);
		until_state(first, 'S');
		until_state(second, 'S');
		kill(first, SIGSTOP);
		until_state(first, 'T');
		IS(weir_queue_try_send(queue, &message, 8), 0);
		start = weir_now_ns();
		end(first);
		until_said(0, 1);
		start = board->value[0] - start;
		worst = start > worst && board->value[0] > start ? start : worst;
		end(second);
	}
	note("20 kills, the message was received after %llu ms at worst",
	     (unsigned long long)(worst / MS));
	MUST(worst <= 100 * MS);
}

/* --- F4 ------------------------------------------------------------------------------------ */

static struct weir_breaker *breaker;

static void hold_everything(void)
{
	struct weir_call call;
	struct weir_msg loan;
	struct weir_msg taken;

	IS(weir_sem_acquire(sem, 2, NULL), 0);
	IS(weir_queue_try_take(queue, &taken), 0);
	IS(weir_queue_try_loan(queue, &loan), 0);
	IS(weir_breaker_allow(breaker, &call, NULL), 0);
	IS(call.probe != 0, 1);
	say(0, 1);
	until_said(1, 1);
	IS(weir_queue_done(queue, &taken), 0);
	loan.bytes = 8;
	memset(loan.data, 9, 8);
	IS(weir_queue_commit(queue, &loan), 0);
	IS(weir_breaker_done(breaker, &call, 0), 0);
	IS(weir_sem_release(sem, 2), 0);
}

static void breaker_half_open(void)
{
	struct weir_call call;

	IS(weir_breaker_open(seg, "breaker",
			     &WEIR_OPTS(breaker, .min_calls = 1, .failure_pct = 1, .open_ms = 1,
					.probe_ms = 60000),
			     &breaker),
	   0);
	IS(weir_breaker_allow(breaker, &call, NULL), 0);
	IS(weir_breaker_done(breaker, &call, 1), 0);
	sleep_ms(5);
}

/* It holds permits, a message, a loan and a probe, and is stopped; the others look for the dead. */
static void a_stopped_process_keeps_what_it_holds(void)
{
	struct weir_queue_stat queue_stat;
	struct weir_breaker_stat breaker_stat;
	struct weir_ctx ctx;
	uint64_t message = 5;
	pid_t pid;

	seg_make(2);
	IS(weir_queue_open(seg, "queue", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &queue), 0);
	IS(weir_queue_try_send(queue, &message, 8), 0);
	breaker_half_open();
	pid = child(hold_everything);
	until_said(0, 1);
	kill(pid, SIGSTOP);
	until_state(pid, 'T');
	for (int i = 0; i < 20; i++) {
		struct weir_recovery rec = recover();

		IS(rec.processes + rec.threads + rec.permits, 0);
		weir_ctx_init(&ctx, NULL, 30 * MS);
		IS(weir_sem_acquire(sem, 1, &ctx), -ETIMEDOUT);
	}
	IS(used(), 2);
	IS(weir_queue_stat(queue, &queue_stat), 0);
	IS(queue_stat.reading, 1);
	IS(queue_stat.writing, 1);
	IS(weir_breaker_stat(breaker, &breaker_stat), 0);
	IS(breaker_stat.probes_out, 1);
	say(1, 1);
	kill(pid, SIGCONT);
	IS(reap(pid), 0);
	IS(used(), 0);
	IS(weir_breaker_stat(breaker, &breaker_stat), 0);
	IS(breaker_stat.mode, WEIR_BREAKER_CLOSED);
	IS(weir_queue_stat(queue, &queue_stat), 0);
	IS(queue_stat.depth, 1);
	IS(queue_stat.redelivered + queue_stat.skipped, 0);
	note("600 ms stopped, 20 looks for the dead");
}

static void work_and_count(void)
{
	uint64_t message = 1;
	uint32_t bytes;

	while (!__atomic_load_n(&board->flag[1], __ATOMIC_ACQUIRE)) {
		IS(weir_sem_acquire(sem, 1, NULL), 0);
		IS(weir_sem_release(sem, 1), 0);
		IS(weir_queue_try_send(queue, &message, 8), 0);
		IS(weir_queue_try_recv(queue, &message, 8, &bytes), 0);
		IS(message, 1);
		board->value[1]++;
	}
}

static void stopped_anywhere(void)
{
	struct weir_queue_stat stat;
	pid_t pid;

	seg_make(2);
	IS(weir_queue_open(seg, "queue", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &queue), 0);
	pid = child(work_and_count);
	for (int i = 0; i < 100; i++) {
		usleep(random_below(1000));
		kill(pid, SIGSTOP);
		until_state(pid, 'T');
		IS(recover().processes, 0);
		kill(pid, SIGCONT);
	}
	say(1, 1);
	IS(reap(pid), 0);
	IS(used(), 0);
	IS(weir_queue_stat(queue, &stat), 0);
	IS(stat.redelivered + stat.skipped, 0);
	note("100 stops in %llu rounds of its work", (unsigned long long)board->value[1]);
}

/* --- F5 ------------------------------------------------------------------------------------ */

static void hold_two(void)
{
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	say(0, 1);
	forever();
}

static void a_zombie_is_dead(void)
{
	uint64_t start;
	pid_t pid;

	seg_make(2);
	pid = child(hold_two);
	until_said(0, 1);
	start = weir_now_ns();
	kill(pid, SIGKILL); /* Nobody waits for it. */
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	note("its permits came back after %llu ms", (unsigned long long)since_ms(start));
	until_state(pid, 'Z');
	MUST(since_ms(start) < 1000);
	reap(pid);
	IS(weir_sem_release(sem, 2), 0);
}

static void keep_descriptor(void)
{
	prctl(PR_SET_PDEATHSIG, 0); /* It outlives its parent: that is what it is for. */
	board->flag[2] = getpid();
	say(3, 1);
	forever();
}

static void *sibling(void *arg)
{
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	if (arg)
		raw_child(keep_descriptor);
	say(0, 1);
	until_said(1, 1);
	IS(weir_sem_release(sem, 2), 0);
	say(0, 2);
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	say(0, 3);
	forever();
	return NULL;
}

static bool descriptor_kept;

static void lose_the_leader(void)
{
	pthread_t id;

	IS(pthread_create(&id, NULL, sibling, descriptor_kept ? board : NULL), 0);
	until_said(0, 1);
	syscall(SYS_exit, 0); /* The thread alone, without the C library: the process goes on. */
}

/* In /proc it is a zombie, but its other thread works on. */
static void leader_gone(bool kept)
{
	struct weir_ctx ctx;
	pid_t pid;

	seg_make(2);
	descriptor_kept = kept;
	pid = child(lose_the_leader);
	until_said(0, 1);
	if (kept)
		until_said(3, 1);
	until_state(pid, 'Z');
	for (int i = 0; i < 5; i++) {
		weir_ctx_init(&ctx, NULL, 30 * MS);
		IS(weir_sem_acquire(sem, 1, &ctx), -ETIMEDOUT);
		IS(recover().processes, 0);
	}
	say(1, 1);
	until_said(0, 3);
	IS(used(), 2);
	kill(pid, SIGKILL);
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	reap(pid);
	IS(weir_sem_release(sem, 2), 0);
	if (kept)
		kill(board->flag[2], SIGKILL);
}

static void leader_gone_siblings_alive(void)
{
	leader_gone(false);
}

/* The lock is held by somebody else's copy of the descriptor: the pidfd has to tell. */
static void leader_gone_and_descriptor_kept(void)
{
	leader_gone(true);
}

/* --- F6 ------------------------------------------------------------------------------------ */

static void hold_and_be_copied(void)
{
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	raw_child(keep_descriptor);
	say(0, 1);
	forever();
}

static pid_t clone_with_pid(pid_t pid, void (*fn)(void))
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
	pid_t got = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (got == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn();
		_exit(0);
	}
	return got;
}

/* The pid is in use again, and the lock is held by a copy of the descriptor: only the identity
 * behind the pid says that the old process is gone. */
static void a_pid_is_used_again(void)
{
	uint64_t start;
	pid_t pid;
	pid_t again;

	seg_make(2);
	pid = child(hold_and_be_copied);
	until_said(0, 1);
	until_said(3, 1);
	end(pid);
	again = clone_with_pid(pid, forever);
	if (again < 0 && (errno == EPERM || errno == ENOSYS))
		skip("clone3 with a chosen pid: %s", strerror(errno));
	IS(again, pid);
	start = weir_now_ns();
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	note("reclaimed after %llu ms, the new one lives", (unsigned long long)since_ms(start));
	MUST(since_ms(start) < 1000);
	IS(weir_sem_release(sem, 2), 0);
	IS(kill(again, 0), 0);
	MUST(state_of(again) == 'S');
	end(again);
	/* And the new one as a participant of the same segment is not taken for the old one. */
	again = clone_with_pid(pid, hold_two);
	IS(again, pid);
	say(0, 0);
	until_said(0, 1);
	for (int i = 0; i < 5; i++)
		IS(recover().processes, 0);
	IS(used(), 2);
	kill(board->flag[2], SIGKILL);
	IS(recover().processes, 0);
	end(again);
	IS(recover().permits, 2);
}

/* --- F8 ------------------------------------------------------------------------------------ */

static void outlive_the_parent(void)
{
	prctl(PR_SET_PDEATHSIG, 0);
	/* It holds nothing of what its parent holds. */
	IS(weir_sem_release(sem, 1), -EPERM);
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	board->flag[2] = getpid();
	say(0, 2);
	until_said(1, 1);
	IS(weir_sem_release(sem, 1), 0);
	say(0, 3);
	forever();
}

static void hold_one_and_fork(void)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	child(outlive_the_parent);
	forever();
}

/* Without the library's handler the child finds out at its first call. */
static void hold_one_and_fork_raw(void)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	raw_child(outlive_the_parent);
	forever();
}

static void idle_child(void)
{
	prctl(PR_SET_PDEATHSIG, 0);
	board->flag[2] = getpid();
	say(0, 2);
	forever(); /* Has the handle, does nothing with it. */
}

static void hold_one_and_fork_idle(void)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	child(idle_child);
	forever();
}

static void hold_one_and_fork_idle_raw(void)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	raw_child(idle_child); /* Keeps the parent's own descriptor. */
	forever();
}

/* The parent's death is seen, and the child is a participant of its own. */
static void outlived_by_a_worker(void (*parent)(void))
{
	struct weir_recovery rec;
	pid_t pid;

	say(0, 0);
	say(1, 0);
	pid = child(parent);
	until_said(0, 2);
	IS(used(), 2);
	end(pid);
	rec = recover();
	IS(rec.processes, 1);
	IS(rec.permits, 1);
	IS(used(), 1);
	say(1, 1);
	until_said(0, 3);
	IS(used(), 0);
	kill(board->flag[2], SIGKILL);
	while (recover().processes == 0) /* Not our child: its end can only be seen so. */
		sleep_ms(1);
}

static void outlived_by_an_idle_one(void (*parent)(void))
{
	pid_t pid;

	say(0, 0);
	pid = child(parent);
	until_said(0, 2);
	end(pid);
	IS(recover().permits, 1);
	IS(used(), 0);
	kill(board->flag[2], SIGKILL);
}

static void a_forked_child_outlives_its_parent(void)
{
	seg_make(2);
	outlived_by_a_worker(hold_one_and_fork);
	outlived_by_a_worker(hold_one_and_fork_raw);
	outlived_by_an_idle_one(hold_one_and_fork_idle);
	outlived_by_an_idle_one(hold_one_and_fork_idle_raw);
	note("working and idle, forked with and behind the library's back");
}

/* --- F9 ------------------------------------------------------------------------------------ */

static void hold_and_exec(void)
{
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	execl("/bin/sleep", "sleep", "60", (char *)NULL);
	_exit(126);
}

static void exec_releases_the_slot(void)
{
	char command[160];
	uint64_t start;
	pid_t pid;

	seg_make(2);
	start = weir_now_ns();
	pid = child(hold_and_exec);
	while (used() != 2)
		sleep_ms(0);
	IS(weir_sem_acquire(sem, 2, NULL), 0); /* It lives, as another program. */
	note("its permits came back after %llu ms", (unsigned long long)since_ms(start));
	MUST(since_ms(start) < 1000);
	IS(kill(pid, 0), 0);
	snprintf(command, sizeof(command), "! ls -l /proc/%d/fd /proc/%d/map_files | grep -q %s",
		 pid, pid, env_dir);
	IS(system(command), 0);
	IS(weir_sem_release(sem, 2), 0);
	end(pid);
}

const struct row death_rows[] = {
	{"F3", "killed asleep with a grant in flight", killed_with_a_wake_in_flight},
	{"F3", "a receiver killed asleep with a wake in flight",
	 killed_receiver_with_a_wake_in_flight},
	{"F4", "stopped with permits, a message, a loan and a probe",
	 a_stopped_process_keeps_what_it_holds},
	{"F4", "stopped anywhere in its work, and goes on", stopped_anywhere},
	{"F5", "a zombie is dead", a_zombie_is_dead},
	{"F5", "the leading thread gone, its siblings alive", leader_gone_siblings_alive},
	{"F5", "the same with the descriptor kept by a copy", leader_gone_and_descriptor_kept},
	{"F6", "a pid used again", a_pid_is_used_again},
	{"F8", "a forked child outlives its parent", a_forked_child_outlives_its_parent},
	{"F9", "exec releases the slot", exec_releases_the_slot},
	{NULL, NULL, NULL},
};
