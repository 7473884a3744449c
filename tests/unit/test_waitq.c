/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Who sleeps looks for the dead himself, by the clock: also when others wake him again and again,
 * so that no sleep of his lasts its whole interval.
 */
#include <sys/prctl.h>

#include "help.h"
#include "obj/queue_word.h"
#include "obj/sem_word.h"

TestSuite(waitq, .fini = help_cleanup, .timeout = 60);

#define PATIENCE (5000 * MS)

static pid_t child(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* `holder` dies; what does `waiter` come to, that is woken all the time?  Nobody else looks. */
static int disturbed(pid_t waiter, pid_t holder, struct weir_waitq_shm *q)
{
	int status;

	for (int i = 0; waitpid(waiter, &status, WNOHANG) == 0; i++) {
		if (i == 100)
			kill(holder, SIGKILL);
		weir__waitq_wake(q);
		usleep(200);
	}
	help_kill(holder);
	return status;
}

Test(waitq, who_waits_for_the_permits_of_the_dead_takes_them_back_though_always_woken)
{
	struct weir_segment *seg = help_segment();
	volatile int *flag = help_shared(64);
	struct weir_sem *sem;
	pid_t holder;
	pid_t waiter;

	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = 1), &sem), 0);
	holder = child();
	if (holder == 0) {
		help_say(flag, weir_sem_acquire(sem, 1, NULL) == 0);
		pause();
	}
	help_until(flag, 1);
	waiter = child();
	if (waiter == 0) {
		struct weir_ctx ctx;

		help_say(flag, 2 + weir__self(seg)); /* Joining looks for the dead: so before. */
		weir_ctx_init(&ctx, NULL, PATIENCE);
		_exit(weir_sem_acquire(sem, 1, &ctx) != 0);
	}
	help_until(flag, 2);
	cr_assert_eq(disturbed(waiter, holder, &sem->v.lanes[*flag - 2].waitq), 0);
	weir_segment_close(seg);
}

Test(waitq, who_waits_behind_a_dead_sender_gets_past_it_though_always_woken)
{
	struct weir_segment *seg = help_segment();
	volatile int *flag = help_shared(64);
	struct weir_queue *q;
	struct weir_msg msg;
	pid_t holder;
	pid_t waiter;

	cr_assert_eq(weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &q), 0);
	holder = child();
	if (holder == 0) {
		help_say(flag, weir_queue_try_loan(q, &msg) == 0);
		pause();
	}
	help_until(flag, 1);
	cr_assert_eq(weir_queue_try_send(q, "1234567", 8), 0);
	waiter = child();
	if (waiter == 0) {
		struct weir_ctx ctx;
		char data[8];
		uint32_t n;

		help_say(flag, 2 + weir__self(seg));
		weir_ctx_init(&ctx, NULL, PATIENCE);
		_exit(weir_queue_recv(q, data, sizeof(data), &n, &ctx) != 0);
	}
	help_until(flag, 2);
	cr_assert_eq(disturbed(waiter, holder, &q->v.shm->not_empty), 0);
	weir_segment_close(seg);
}
