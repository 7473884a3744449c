/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Twins of semaphore, limiter and breaker. */
#include "twins.h"

static struct weir_sem *sem;
static struct weir_limiter *limiter;
static struct weir_breaker *breaker;
static uint64_t plain; /* no atomic: the semaphore must order its users */
static uint64_t score[16];

static void sem_make(uint32_t permits)
{
	IS(weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = permits), &sem), 0);
}

/* All permits are back and the books agree. */
static void sem_drop(void)
{
	struct weir_sem_stat stat;

	IS(weir_sem_stat(sem, &stat), 0);
	IS(stat.used, 0);
	IS(stat.waiters, 0);
	IS(weir_sem_check(sem, NULL), 0);
	weir_sem_close(sem);
}

/* --- semaphore ----------------------------------------------------------------------------- */

static void mutex_thread(struct thread *t)
{
	(void)t;
	for (int i = 0; i < 1500 * rounds; i++) {
		IS(weir_sem_acquire(sem, 1, NULL), 0);
		plain++;
		IS(weir_sem_release(sem, 1), 0);
	}
}

static void sem_orders_its_holders(void)
{
	sem_make(1);
	run_threads(THREADS, mutex_thread);
	IS(plain, 1500 * rounds * THREADS);
	sem_drop();
}

static void weights_thread(struct thread *t)
{
	for (int i = 0; i < 1500 * rounds; i++) {
		uint32_t weight = 1 + pick(t, 3);
		int r = pick(t, 3) ? weir_sem_acquire(sem, weight, NULL)
				   : weir_sem_try_acquire(sem, weight);

		if (r == -EAGAIN)
			continue;
		IS(r, 0);
		if (pick(t, 4) == 0)
			sched_yield();
		for (uint32_t k = 0; k < weight; k++)
			IS(weir_sem_release(sem, 1), 0);
	}
}

static void sem_weights(void)
{
	sem_make(5);
	run_threads(THREADS, weights_thread);
	sem_drop();
}

/* Each wait has a context of its own, that the thread before cancels at random. */
#define WAITS 250
static struct weir_ctx ctxs[THREADS][WAITS];
static int at[THREADS];

static void cancel_thread(struct thread *t)
{
	int next = (t->index + 1) % THREADS;

	for (int i = 0; i < WAITS; i++) {
		int theirs = __atomic_load_n(&at[next], __ATOMIC_ACQUIRE);
		uint32_t weight = 1 + pick(t, 2);
		int r;

		if (theirs < WAITS)
			weir_ctx_cancel(&ctxs[next][theirs]);
		r = weir_sem_acquire(sem, weight, &ctxs[t->index][i]);
		MUST(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
		if (r == 0) {
			if (pick(t, 3) == 0)
				usleep(100);
			IS(weir_sem_release(sem, weight), 0);
		}
		__atomic_store_n(&at[t->index], i + 1, __ATOMIC_RELEASE);
	}
}

static void cancel_all(void)
{
	for (int k = 0; k < THREADS; k++) {
		at[k] = 0;
		for (int i = 0; i < WAITS; i++)
			weir_ctx_init(&ctxs[k][i], NULL, i % 3 ? UINT64_MAX : (uint64_t)i * MS / 4);
	}
	run_threads(THREADS, cancel_thread);
}

static struct weir_ctx shared_ctx[THREADS];

/* The contexts that others cancel live as long as the scenario. */
static void cancelled_thread(struct thread *t)
{
	struct weir_ctx *ctx = &shared_ctx[t->index];
	int r;

	if (t->index == 0) { /* Holds everything, and cancels everybody. */
		plain = 7;
		for (int i = 1; i < THREADS; i++)
			weir_ctx_cancel(&shared_ctx[i]);
		return;
	}
	r = weir_sem_acquire(sem, 2, ctx);
	IS(r, -ECANCELED);
	IS(plain, 7); /* What the canceller did before is visible. */
}

static void sem_cancel(void)
{
	sem_make(2);
	for (int i = 0; i < rounds; i++)
		cancel_all();
	for (int i = 0; i < 20 * rounds; i++) {
		for (int k = 0; k < THREADS; k++)
			weir_ctx_init(&shared_ctx[k], NULL, UINT64_MAX);
		IS(weir_sem_acquire(sem, 2, NULL), 0);
		run_threads(THREADS, cancelled_thread);
		IS(weir_sem_release(sem, 2), 0);
	}
	sem_drop();
}

static void resize_thread(struct thread *t)
{
	for (int i = 0; i < 800 * rounds; i++) {
		if (t->index == 0) { /* Never below what anybody asks for. */
			IS(weir_sem_resize(sem, 2 + pick(t, 4)), 0);
			continue;
		}
		IS(weir_sem_acquire(sem, 1 + (uint32_t)t->index % 2, NULL), 0);
		IS(weir_sem_release(sem, 1 + (uint32_t)t->index % 2), 0);
	}
}

static void sem_resize(void)
{
	sem_make(3);
	run_threads(THREADS, resize_thread);
	sem_drop();
}

static void poll_thread(struct thread *t)
{
	struct weir_wait wait;
	int r;

	for (int i = 0; i < 400 * rounds; i++) {
		r = weir_sem_start(sem, 2);
		for (int k = 0; r == -EINPROGRESS; k++) {
			r = pick(t, 50) ? weir_sem_poll(sem, &wait) : weir_sem_stop(sem);
			if (r == -EINPROGRESS)
				sched_yield();
		}
		MUST(r == 0 || r == -ECANCELED);
		if (r == 0)
			IS(weir_sem_release(sem, 2), 0);
	}
}

static void sem_event_loop(void)
{
	sem_make(3);
	run_threads(THREADS, poll_thread);
	sem_drop();
}

/* Ends with permits, in every second turn also with a request in the line. */
static void leave_thread(struct thread *t)
{
	join_and_meet();
	if (weir_sem_acquire(sem, 1, NULL) == 0 && pick(t, 2) && t->index % 2)
		weir_sem_start(sem, 2);
	if (t->index == 0)
		IS(weir_segment_recover(seg, NULL), 0);
}

static void sem_threads_end(void)
{
	sem_make(3);
	for (int i = 0; i < 15 * rounds; i++)
		run_threads(6, leave_thread);
	sem_drop();
}

/* --- limiter ------------------------------------------------------------------------------- */

static void limiter_thread(struct thread *t)
{
	struct weir_verdict verdict;
	uint64_t taken = 0;
	uint64_t wait_ns;

	for (int i = 0; i < 3000; i++) {
		uint64_t cost = 1 + pick(t, 3);

		if (weir_limiter_allow(limiter, cost, &verdict) == 0)
			taken += cost;
		if (i % 64 == 0 && weir_limiter_reserve(limiter, 1, 0, &wait_ns) == 0)
			taken++;
		if (i % 16 == 0 && taken && weir_limiter_refund(limiter, 1) == 0)
			taken--;
	}
	score[t->index] = taken;
}

static void limiter_single(void)
{
	struct weir_limiter_stat stat;
	char name[16];

	for (int i = 0; i < rounds; i++) {
		uint64_t sum = 0;

		snprintf(name, sizeof(name), "one%d", i);
		IS(weir_limiter_open(seg, name,
				     &WEIR_OPTS(limiter, .count = 5000,
						.period_ns = 24 * 3600 * UINT64_C(1000000000)),
				     &limiter),
		   0);
		run_threads(THREADS, limiter_thread);
		IS(weir_limiter_stat(limiter, &stat), 0);
		for (int k = 0; k < THREADS; k++)
			sum += score[k];
		MUST(sum <= 5002 && sum + stat.remaining >= 4998 && sum + stat.remaining <= 5002);
		weir_limiter_close(limiter);
	}
}

static void wait_thread(struct thread *t)
{
	struct weir_ctx ctx;

	for (int i = 0; i < 40 * rounds; i++) {
		int r;

		weir_ctx_init(&ctx, NULL, pick(t, 2) ? MS : 20 * MS);
		r = weir_limiter_wait(limiter, 1, &ctx);
		MUST(r == 0 || r == -ETIMEDOUT);
	}
}

static void limiter_wait(void)
{
	IS(weir_limiter_open(seg, "wait",
			     &WEIR_OPTS(limiter, .count = 2000, .period_ns = 1000 * MS, .burst = 2),
			     &limiter),
	   0);
	run_threads(THREADS, wait_thread);
	weir_limiter_close(limiter);
}

#define KEYS 40
static uint64_t key_score[16][KEYS];

static void keyed_thread(struct thread *t)
{
	for (int i = 0; i < 6000 * rounds; i++) {
		uint32_t key = pick(t, KEYS);

		if (weir_limiter_allow_key(limiter, &key, sizeof(key), 1, NULL) == 0)
			key_score[t->index][key]++;
	}
}

/* A key has one budget; a race of those who meet it first may let one call of each more pass. */
static void limiter_keyed(void)
{
	IS(weir_limiter_open(seg, "keyed",
			     &WEIR_OPTS(limiter, .count = 20,
					.period_ns = 24 * 3600 * UINT64_C(1000000000), .keys = 256),
			     &limiter),
	   0);
	run_threads(THREADS, keyed_thread);
	for (int key = 0; key < KEYS; key++) {
		uint64_t sum = 0;

		for (int k = 0; k < THREADS; k++)
			sum += key_score[k][key];
		MUST(sum >= 20 && sum <= 20 + THREADS);
	}
	weir_limiter_close(limiter);
}

/* --- breaker ------------------------------------------------------------------------------- */

static void breaker_thread(struct thread *t)
{
	struct weir_call call;
	uint64_t retry_ns;
	int r;

	for (int i = 0; i < 3000 * rounds; i++) {
		if (t->index == 0 && i % 500 == 0)
			IS(weir_breaker_force(breaker, i % 1000 ? WEIR_BREAKER_CLOSED
								: WEIR_BREAKER_FORCED_OPEN),
			   0);
		r = weir_breaker_allow(breaker, &call, &retry_ns);
		MUST(r == 0 || r == -EAGAIN);
		if (r == 0)
			IS(weir_breaker_done(breaker, &call, pick(t, 4) == 0), 0);
		else
			sched_yield();
	}
	/* The last call of some is never finished: their end must not wedge the breaker. */
	if (t->index % 2)
		weir_breaker_allow(breaker, &call, NULL);
}

static void breaker_opens_and_heals(void)
{
	struct weir_breaker_stat stat;
	struct weir_call call;
	int r = -EAGAIN;

	IS(weir_breaker_open(seg, "breaker",
			     &WEIR_OPTS(breaker, .window_ms = 1000, .min_calls = 5,
					.failure_pct = 20, .open_ms = 1, .probe_ms = 5,
					.probes = 3),
			     &breaker),
	   0);
	run_threads(THREADS, breaker_thread);
	for (int i = 0; i < 2000 && r == -EAGAIN; i++) {
		r = weir_breaker_allow(breaker, &call, NULL);
		if (r == -EAGAIN)
			usleep(1000);
	}
	IS(r, 0);
	IS(weir_breaker_done(breaker, &call, 0), 0);
	IS(weir_breaker_stat(breaker, &stat), 0);
	MUST(stat.opened > 0 && stat.probes_out <= 3);
	weir_breaker_close(breaker);
}

const struct scenario limits[] = {
	{"sem_orders_its_holders", sem_orders_its_holders},
	{"sem_weights", sem_weights},
	{"sem_cancel", sem_cancel},
	{"sem_resize", sem_resize},
	{"sem_event_loop", sem_event_loop},
	{"sem_threads_end", sem_threads_end},
	{"limiter_single", limiter_single},
	{"limiter_wait", limiter_wait},
	{"limiter_keyed", limiter_keyed},
	{"breaker_opens_and_heals", breaker_opens_and_heals},
	{NULL, NULL},
};
