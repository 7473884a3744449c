/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A signal at every instruction of a call that has to wait; the handler cancels its context (the
 * one thing that a handler may do to a call).  The call must come back with -ECANCELED, having
 * changed nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sweep.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct waiting {
	const char *name;
	void (*prepare)(struct world *w);
	int (*op)(struct hand *h, struct weir_ctx *ctx);
};

static struct weir_ctx cancelled; /* in the child */
static const struct waiting *what;

static void sem_taken(struct world *w)
{
	must(weir_sem_try_acquire(w->peer[1].sem, PERMITS) == 0);
	w->known.holds[1] = PERMITS;
}

static int sem_acquire(struct hand *h, struct weir_ctx *ctx)
{
	return weir_sem_acquire(h->sem, 1, ctx);
}

static void queue_nothing(struct world *w)
{
	(void)w;
}

static int queue_recv(struct hand *h, struct weir_ctx *ctx)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	return weir_queue_recv(h->queue, data, sizeof(data), &bytes, ctx);
}

static void queue_full(struct world *w)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	for (uint32_t id = 1; id <= SLOTS; id++) {
		message_make(id, data, &bytes);
		must(weir_queue_try_send(w->peer[1].queue, data, bytes) == 0);
		w->known.queued[w->known.queued_count++] = id;
	}
}

static int queue_send(struct hand *h, struct weir_ctx *ctx)
{
	return weir_queue_send(h->queue, "x", 1, ctx);
}

static const struct waiting waitings[] = {{"sem_acquire", sem_taken, sem_acquire},
					  {"queue_recv", queue_nothing, queue_recv},
					  {"queue_send", queue_full, queue_send},
					  {0}};

static void handler(int sig)
{
	(void)sig;
	weir_ctx_cancel(&cancelled);
}

static int op_waiting(struct world *w)
{
	return what->op(&w->me, &cancelled);
}

static void child(struct world *w, const void *arg)
{
	struct sigaction action = {.sa_handler = handler};

	what = arg;
	must(sigaction(SIGUSR1, &action, NULL) == 0);
	must(hand_open(&w->me, w->v.path, true) == 0);
	weir_ctx_init(&cancelled, NULL, UINT64_MAX);
	marked(op_waiting, w);
}

/* Beyond these steps it only spins, and the next point is in its sleep. */
#define POINTS 1500u

static void signal_asleep(pid_t pid)
{
	long nr;

	do {
		nr = traced_to_call(pid);
		must(nr >= 0);
	} while (nr != SYS_futex && nr != SYS_futex_waitv);
	traced_interrupt(pid, SIGUSR1);
}

static void signal_point(struct world *w, const struct waiting *waiting, struct place *at,
			 struct tally *t)
{
	pid_t pid;

	world_reset(w);
	watch(w, at);
	pid = traced_start(child, w, waiting);
	if (at->n >= POINTS) {
		signal_asleep(pid);
	} else {
		for (uint64_t i = 0; i < at->n; i++)
			must(traced_step(pid));
		traced_signal(pid, SIGUSR1);
		traced_run(pid);
	}
	if (w->note->result != -ECANCELED)
		fail(w, LOST, "%d instead of -ECANCELED", w->note->result);
	w->note->returned = 0; /* What it says is not about the end of an operation. */
	traced_kill(pid);
	t->kills++;
	recover(w, t, at->n);
	check_everything(w);
	point(w, t, at);
}

void sweep_signals(void)
{
	for (const struct waiting *waiting = waitings; waiting->name; waiting++) {
		struct place at = {.mode = "signals", .op = waiting->name, .state = "waits"};
		struct world w;
		struct tally t;

		if (!matches(waiting->name, "waits") || out_of_time())
			continue;
		begin(&t);
		world_make(&w, plan.seed, 0, true);
		waiting->prepare(&w);
		world_freeze(&w);
		at.n = plan.at >= 0 ? (uint64_t)plan.at : POINTS + plan.seed % plan.sample;
		signal_point(&w, waiting, &at, &t);
		for (at.n -= POINTS; at.n < POINTS && plan.at < 0 && !out_of_time();
		     at.n += plan.sample)
			signal_point(&w, waiting, &at, &t);
		world_free(&w);
		line(&at, &t);
	}
}
