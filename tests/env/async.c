/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Signal handlers, cancelled threads, and peers that stand still in an operation: F13, F14, F19. */
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <ucontext.h>
#include <weir/layout.h>
#include <weir/run.h>

#include "env.h"

static struct weir_queue *queue;
static struct weir_limiter *limiter;
static struct weir_breaker *breaker;
static struct weir_spans *spans;
static struct weir_loop *loop;

static void everything_make(uint32_t permits)
{
	seg_make(permits);
	IS(weir_queue_open(seg, "queue", &WEIR_OPTS(queue, .slots = 8, .bytes = 8), &queue), 0);
	IS(weir_limiter_open(seg, "limiter",
			     &WEIR_OPTS(limiter, .count = 1000000, .period_ns = 1000 * MS),
			     &limiter),
	   0);
	IS(weir_breaker_open(seg, "breaker", &WEIR_OPTS(breaker), &breaker), 0);
	IS(weir_spans_open(seg, "spans", &WEIR_OPTS(spans, .slots = 8), &spans), 0);
}

/* --- F13 ------------------------------------------------------------------------------------- */

#define TRAP_FLAG 0x100

static struct weir_ctx side;
static struct weir_ctx target; /* cancelled at step number cancel_at; then it steps no more */
static volatile uint32_t steps;
static volatile uint32_t cancel_at;

/* What the headers say is safe in a handler. */
static void safe_calls(void)
{
	static const char text[] = "struct sem 1 256\nhead 0 64 struct object\n";
	struct weir_layout_line line;
	size_t pos = 0;
	char why[80];

	weir_loop_stop(loop);
	MUST(weir_layout_find("sem") && weir_layout_at(0));
	MUST(weir_layout_stamp_of(text, sizeof(text) - 1) != 0);
	IS(weir_layout_text_next(text, sizeof(text) - 1, &pos, &line), 1);
	MUST(weir_layout_diff(text, sizeof(text) - 1, text, sizeof(text) - 1, why, 80) == 0);
}

static void stepping(void *context, bool on)
{
#ifdef __x86_64__
	ucontext_t *uc = context;

	if (on)
		uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
	else
		uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
#else
	(void)context;
	(void)on;
#endif
}

static void on_step(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	steps++;
	if (!cancel_at)
		weir_ctx_cancel(&side);
	if (!cancel_at && steps % 16 == 0)
		safe_calls();
	if (steps == cancel_at) {
		weir_ctx_cancel(&target);
		stepping(context, false);
	}
}

static void on_alarm(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	stepping(context, true);
}

/* The trap flag: the handler runs after each instruction. */
static inline __attribute__((always_inline)) void steps_begin(void)
{
#ifdef __x86_64__
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq;"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
#endif
}

static inline __attribute__((always_inline)) void steps_end(void)
{
#ifdef __x86_64__
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq;"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
#endif
}

static int do_sem(void)
{
	return weir_sem_acquire(sem, 1, &side) == 0 ? weir_sem_release(sem, 1) : 0;
}

static int do_queue(void)
{
	uint64_t message = 3;
	uint32_t bytes;
	int r = weir_queue_try_send(queue, &message, 8);

	return r ? r : weir_queue_try_recv(queue, &message, 8, &bytes);
}

static int do_limiter(void)
{
	return weir_limiter_allow(limiter, 1, NULL);
}

static int do_breaker(void)
{
	struct weir_call call;
	int r = weir_breaker_allow(breaker, &call, NULL);

	return r ? r : weir_breaker_done(breaker, &call, 0);
}

static int do_span(void)
{
	struct weir_span span;
	int r = weir_span_begin(spans, NULL, "step", 1, &span);

	return r ? r : weir_span_end(spans, &span);
}

static int do_cancel(void)
{
	struct weir_ctx ctx;

	weir_ctx_init(&ctx, &side, UINT64_MAX);
	weir_ctx_cancel(&side); /* Interrupted by itself. */
	return weir_ctx_err(&ctx) == -ECANCELED ? 0 : -1;
}

static int do_recover(void)
{
	return weir_segment_recover(seg, NULL);
}

static int (*const operations[])(void) = {do_sem,  do_queue,  do_limiter, do_breaker,
					  do_span, do_cancel, do_recover};

static void steps_install(void)
{
	struct sigaction trap = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	struct sigaction alarm = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
	int r;

#ifndef __x86_64__
	skip("no trap flag on this machine");
#endif
	r = weir_loop_create(NULL, &loop);
	if (r == -ENOSYS || r == -EPERM)
		skip("no io_uring here");
	IS(r, 0);
	IS(sigaction(SIGTRAP, &trap, NULL), 0);
	IS(sigaction(SIGALRM, &alarm, NULL), 0);
	weir_ctx_init(&side, NULL, UINT64_MAX);
	weir_ctx_init(&target, NULL, UINT64_MAX);
}

static void a_handler_at_every_instruction(void)
{
	everything_make(2);
	steps_install();
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		int r;

		for (int k = 0; k < 3; k++) {
			weir_ctx_init(&side, NULL, UINT64_MAX);
			steps_begin();
			r = operations[i]();
			steps_end();
			IS(r, 0);
		}
	}
	IS(used(), 0);
	IS(weir_sem_check(sem, NULL), 0);
	MUST(steps > 2000);
	note("%u instructions of 7 operations", steps);
}

/*
 * A wait is cancelled by a handler at step n, for many n: no cancel is lost.  It steps from the end
 * of its first sleep on, through its look for the dead and into the next.
 */
static void a_wait_is_cancelled_at_any_instruction(void)
{
	struct itimerval soon = {.it_value = {.tv_usec = 2000}};
	uint32_t tried = 0;

	everything_make(2);
	steps_install();
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	for (uint32_t n = 1; n < 2500; n += 1 + n / 10, tried++) {
		weir_ctx_init(&target, NULL, 10000 * MS);
		steps = 0;
		cancel_at = n;
		IS(setitimer(ITIMER_REAL, &soon, NULL), 0);
		IS(weir_sem_acquire(sem, 1, &target), -ECANCELED);
		IS(steps, n);
	}
	IS(waiters(), 0);
	IS(used(), 2);
	note("%u places", tried);
}

static volatile uint32_t asleep; /* after so many instructions it sleeps */

static void on_alarm_cancel(int signal)
{
	(void)signal;
	asleep = steps;
	weir_ctx_cancel(&target);
}

static int wait_for_limit(uint32_t at)
{
	int r;

	weir_ctx_init(&target, NULL, UINT64_MAX);
	steps = 0;
	cancel_at = at;
	steps_begin();
	r = weir_limiter_wait(limiter, 1, &target);
	steps_end();
	return r;
}

/* This sleep is long and nothing else ends it: a cancel lost between the last look and the sleep
 * would let it have its token at the end. */
static void no_cancel_is_lost_on_the_way_to_sleep(void)
{
	struct itimerval soon = {.it_value = {.tv_usec = 200000}};
	uint32_t tried = 0;

	everything_make(1);
	steps_install();
	signal(SIGALRM, on_alarm_cancel);
	IS(weir_limiter_open(seg, "slow",
			     &WEIR_OPTS(limiter, .count = 1, .period_ns = 25000 * MS, .burst = 1),
			     &limiter),
	   0);
	IS(weir_limiter_allow(limiter, 1, NULL), 0);
	IS(setitimer(ITIMER_REAL, &soon, NULL), 0);
	IS(wait_for_limit(UINT32_MAX), -ECANCELED);
	MUST(asleep > 50);
	for (uint32_t n = 1; n <= asleep; n += n + 80 < asleep ? 8 : 1, tried++) {
		int r = wait_for_limit(n);

		if (r != -ECANCELED)
			broken("cancelled at step %u: %d", n, r);
	}
	note("%u of %u instructions, the last 80 one by one", tried, asleep);
}

/* --- F14 ------------------------------------------------------------------------------------- */

static void *blocked_thread(void *arg)
{
	int r = weir_sem_acquire(sem, 2, arg);

	board->value[0] = (uint64_t)(int64_t)r;
	say(0, 1);
	pthread_testcancel();
	say(0, 2); /* Not reached by a cancelled thread. */
	if (r == 0)
		weir_sem_release(sem, 2);
	return NULL;
}

/* Waiting is no cancellation point; after it the thread ends, and its permits come back. */
static void a_thread_is_cancelled_in_a_wait(void)
{
	pthread_t id;
	void *result;

	seg_make(2);
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	IS(pthread_create(&id, NULL, blocked_thread, NULL), 0);
	while (waiters() < 1)
		sleep_ms(1);
	sleep_ms(30); /* Asleep. */
	IS(pthread_cancel(id), 0);
	sleep_ms(100);
	IS(board->flag[0], 0);
	IS(waiters(), 1);
	IS(weir_sem_release(sem, 1), 0);
	IS(pthread_join(id, &result), 0);
	MUST(result == PTHREAD_CANCELED);
	IS(board->flag[0], 1);
	IS((int64_t)board->value[0], 0);
	IS(used(), 0);
	IS(weir_sem_check(sem, NULL), 0);
}

static void a_context_cancels_a_wait(void)
{
	struct weir_ctx parent;
	struct weir_ctx ctx;
	uint64_t start;
	pthread_t id;

	seg_make(2);
	weir_ctx_init(&parent, NULL, UINT64_MAX);
	weir_ctx_init(&ctx, &parent, UINT64_MAX);
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	IS(pthread_create(&id, NULL, blocked_thread, &ctx), 0);
	while (waiters() < 1)
		sleep_ms(1);
	sleep_ms(30);
	start = weir_now_ns();
	IS(weir_ctx_cancel(&parent), 0);
	IS(pthread_join(id, NULL), 0);
	note("after %llu us", (unsigned long long)(weir_now_ns() - start) / 1000);
	MUST(since_ms(start) < 100);
	IS((int64_t)board->value[0], -ECANCELED);
	IS(used(), 1);
	IS(waiters(), 0);
}

static void *limited_thread(void *arg)
{
	board->value[0] = (uint64_t)weir_limiter_wait(limiter, 1, arg);
	return NULL;
}

/* Nothing wakes this one in between: the context's own word has to. */
static void a_context_cancels_a_limit(void)
{
	struct weir_limiter_stat stat;
	struct weir_ctx ctx;
	uint64_t start;
	pthread_t id;

	seg_make(2);
	IS(weir_limiter_open(seg, "slow",
			     &WEIR_OPTS(limiter, .count = 1, .period_ns = 1500 * MS, .burst = 1),
			     &limiter),
	   0);
	IS(weir_limiter_allow(limiter, 1, NULL), 0);
	weir_ctx_init(&ctx, NULL, UINT64_MAX);
	start = weir_now_ns();
	IS(pthread_create(&id, NULL, limited_thread, &ctx), 0);
	sleep_ms(100);
	IS(weir_ctx_cancel(&ctx), 0);
	IS(pthread_join(id, NULL), 0);
	MUST(since_ms(start) < 1000);
	IS((int64_t)board->value[0], -ECANCELED);
	sleep_ms(1600 - since_ms(start)); /* Its token came back: it is there in time. */
	IS(weir_limiter_stat(limiter, &stat), 0);
	IS(stat.remaining, 1);
}

static void *holding_thread(void *arg)
{
	struct weir_msg msg;

	(void)arg;
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	IS(weir_queue_try_take(queue, &msg), 0);
	say(0, 1);
	pause(); /* The user's own cancellation point. */
	return NULL;
}

static void a_cancelled_thread_gives_everything_back(void)
{
	struct weir_queue_stat stat;
	uint64_t message = 1;
	pthread_t id;

	everything_make(2);
	IS(weir_queue_try_send(queue, &message, 8), 0);
	IS(pthread_create(&id, NULL, holding_thread, NULL), 0);
	until_said(0, 1);
	IS(used(), 2);
	IS(pthread_cancel(id), 0);
	IS(pthread_join(id, NULL), 0);
	IS(used(), 0);
	IS(weir_queue_stat(queue, &stat), 0);
	IS(stat.depth, 1);
	IS(stat.reading, 0);
}

/* --- F19 ------------------------------------------------------------------------------------- */

static void work_for_ever(void)
{
	struct weir_sem *own;
	char name[16];

	for (uint32_t i = 0;; i++) {
		do_sem();
		do_queue();
		do_limiter();
		do_breaker();
		do_span();
		if (i % 64 == 0) {
			snprintf(name, sizeof(name), "o%u", i / 64 % 8);
			if (weir_sem_open(seg, name, &WEIR_OPTS(sem, .permits = 1), &own) == 0)
				weir_sem_close(own);
			if (i / 64 < 64)
				weir_object_unlink(seg, name);
		}
		board->value[1]++;
	}
}

/* What must work although a peer stands still, whatever it is in the middle of. */
static void peers_finish(uint32_t i)
{
	struct weir_queue_stat stat;
	uint64_t message = 4;
	struct weir_sem *own;
	uint32_t bytes;
	char name[16];
	int r;

	IS(weir_sem_try_acquire(sem, 2), 0);
	IS(weir_sem_release(sem, 2), 0);
	IS(weir_queue_stat(queue, &stat), 0);
	r = weir_queue_try_send(queue, &message, 8);
	MUST(r == 0 || (r == -EAGAIN && stat.depth + stat.writing + stat.reading >= 1));
	r = weir_queue_try_recv(queue, &message, 8, &bytes);
	/* The oldest sender may be the one that stands still. */
	MUST(r == 0 || r == -EAGAIN);
	do_limiter();
	IS(do_breaker(), 0);
	IS(do_span(), 0);
	if (i % 8 == 0) {
		snprintf(name, sizeof(name), "o%u", i / 8 % 8);
		r = weir_sem_open(seg, name, &WEIR_OPTS(sem, .permits = 1), &own);
		MUST(r == 0 || r == -ENOSPC);
		if (r == 0)
			weir_sem_close(own);
	}
	IS(recover().processes, 0);
}

static void stop_at_random_instruction(pid_t pid)
{
	uint32_t n = random_below(200);
	int status;

	usleep(random_below(300));
	IS(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	status = reap(pid);
	MUST(WIFSTOPPED(status));
	for (uint32_t i = 0; i < n; i++) {
		IS(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		status = reap(pid);
		MUST(WIFSTOPPED(status));
	}
}

static void peers_of_one_that_stands_still(void)
{
	uint64_t worst = 0;
	pid_t pid;

	everything_make(4);
	pid = child(work_for_ever);
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
		skip("ptrace: %s", strerror(errno));
	for (uint32_t i = 0; i < 300; i++) {
		uint64_t start;

		stop_at_random_instruction(pid);
		start = weir_now_ns();
		peers_finish(i);
		start = weir_now_ns() - start;
		worst = start > worst ? start : worst;
		IS(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
	}
	note("300 places in %llu rounds; a peer's round took %llu us at worst",
	     (unsigned long long)board->value[1], (unsigned long long)worst / 1000);
	MUST(worst < 1000 * MS);
	end(pid);
	recover();
	IS(used(), 0);
	IS(weir_sem_check(sem, NULL), 0);
}

const struct row async_rows[] = {
	{"F13", "a handler with the safe calls at every instruction",
	 a_handler_at_every_instruction},
	{"F13", "a wait cancelled by a handler at any instruction",
	 a_wait_is_cancelled_at_any_instruction},
	{"F13", "no cancel is lost between the last look and the sleep",
	 no_cancel_is_lost_on_the_way_to_sleep},
	{"F14", "pthread_cancel during a wait", a_thread_is_cancelled_in_a_wait},
	{"F14", "weir_ctx_cancel during a wait", a_context_cancels_a_wait},
	{"F14", "weir_ctx_cancel while a limit is waited for", a_context_cancels_a_limit},
	{"F14", "a cancelled thread gives everything back",
	 a_cancelled_thread_gives_everything_back},
	{"F19", "peers of one that stands still at random instructions",
	 peers_of_one_that_stands_still},
	{NULL, NULL, NULL},
};
