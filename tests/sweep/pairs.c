/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two operations at once: A (a traced child) stands still after N instructions, by ptrace or by a
 * SIGSTOP with nobody tracing it, B (a peer) does all of its own, a sweep looks whether A is dead
 * (it is not), A goes on to its end, and then A dies.  For every N, and for every pair of
 * operations of one object.  All of them are lock-free: B must come back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sweep.h"

#define A_ID 11u
#define B_ID 12u
#define IDS  16u

struct half {
	const char *name;
	/* 0 done, above 0 the message that was received, else -errno. */
	int (*op)(struct hand *h, uint32_t id);
};

struct set {
	const char *name;
	uint32_t fill;
	void (*prepare)(struct world *w, uint32_t fill);
	void (*arm)(struct hand *h); /* A and B, each */
	const struct half *halves;
	/* A has ended and lives. */
	void (*check)(struct world *w, const struct half *const half[2], const int result[2]);
	void (*armed)(struct world *w); /* peers, after that */
};

static uint32_t successes(const int result[2])
{
	return (uint32_t)(result[0] == 0) + (uint32_t)(result[1] == 0);
}

/* --- semaphore --------------------------------------------------------------------------- */

static void sem_prepare(struct world *w, uint32_t fill)
{
	if (fill)
		must(weir_sem_try_acquire(w->peer[1].sem, fill) == 0);
	w->known.holds[1] = fill;
}

static void sem_arm(struct hand *h)
{
	must(weir_sem_try_acquire(h->sem, 1) == 0);
}

/* Past every wrap there is. */
static void sem_roll(struct hand *h)
{
	for (int i = 0; i < 60; i++) {
		must(weir_sem_try_acquire(h->sem, 1) == 0);
		must(weir_sem_release(h->sem, 1) == 0);
	}
	sem_arm(h);
}

/* Peer 1 stands in line. */
static void sem_line(struct world *w)
{
	must(weir_sem_start(w->peer[1].sem, 1) == -EINPROGRESS);
	w->known.waits = 1;
}

static int sem_try(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_sem_try_acquire(h->sem, 1);
}

static int sem_release(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_sem_release(h->sem, 1);
}

static int sem_both(struct hand *h, uint32_t id)
{
	int r = sem_try(h, id);

	return r < 0 ? r : weir_sem_release(h->sem, 1);
}

/* Into the line and out again, unless the permit came first. */
static int sem_wait(struct hand *h, uint32_t id)
{
	int r = weir_sem_start(h->sem, 1);

	(void)id;
	return r == -EINPROGRESS ? weir_sem_stop(h->sem) : r;
}

static int sem_resize(struct hand *h, uint32_t id)
{
	return weir_sem_resize(h->sem, PERMITS + (id == A_ID));
}

static const struct half sem_halves[] = {{"try_acquire", sem_try},	{"release", sem_release},
					 {"acquire_release", sem_both}, {"wait", sem_wait},
					 {"resize", sem_resize},	{0}};

static uint32_t sem_holds(const struct half *half, int result)
{
	uint32_t held = 1;

	if (result != 0)
		return held;
	if (half->op == sem_release)
		return 0;
	return half->op == sem_try || half->op == sem_wait ? 2 : 1;
}

static void check_sem_pair(struct world *w, const struct half *const half[2], const int result[2])
{
	uint32_t held = w->known.holds[1];
	bool tries = half[0]->op == sem_try && half[1]->op == sem_try;
	struct weir_sem_stat stat;
	struct weir_wait wait;
	int64_t diff = 0;

	if (w->known.waits && weir_sem_poll(w->peer[1].sem, &wait) == 0) {
		held = w->known.holds[1] += w->known.waits;
		w->known.waits = 0;
	}
	for (int i = 0; i < 2; i++)
		held += sem_holds(half[i], result[i]);
	weir_sem_stat(w->peer[0].sem, &stat);
	if (weir_sem_check(w->peer[0].sem, &diff) != 0)
		fail(w, diff > 0 ? LOST : DOUBLED, "sem: used - held = %ld", (long)diff);
	if (stat.used != held)
		fail(w, stat.used > held ? LOST : DOUBLED, "sem: %u in use, %u held (%d and %d)",
		     stat.used, held, result[0], result[1]);
	if (stat.waiters != w->known.waits)
		fail(w, WEDGED, "sem: %u waiters", stat.waiters);
	if (w->known.waits && held + w->known.waits <= stat.permits)
		fail(w, WEDGED, "sem: %u of %u held, and the line waits", held, stat.permits);
	if (tries && successes(result) != PERMITS - 2 - w->known.holds[1])
		fail(w, LOST, "sem: %u left, %d and %d", PERMITS - 2 - w->known.holds[1], result[0],
		     result[1]);
	w->known.holds[0] = sem_holds(half[1], result[1]); /* B is peer 0. */
}

/* --- queue ------------------------------------------------------------------------------- */

static void queue_prepare(struct world *w, uint32_t fill)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	for (uint32_t id = 1; id <= fill; id++) {
		message_make(id, data, &bytes);
		must(weir_queue_try_send(w->peer[1].queue, data, bytes) == 0);
	}
	w->known.queued_count = fill;
}

static void queue_roll(struct world *w, uint32_t fill)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	for (uint32_t i = 0; i < 5 * SLOTS; i++) {
		must(weir_queue_try_send(w->peer[1].queue, "old", 3) == 0);
		must(weir_queue_try_recv(w->peer[1].queue, data, sizeof(data), &bytes) == 0);
	}
	queue_prepare(w, fill);
}

/* Peer 1 says that it waits for what there is none of. */
static void queue_line(struct world *w)
{
	struct weir_wait wait;

	if (w->known.queued_count)
		must(weir_queue_wait_send(w->peer[1].queue, &wait) == 0);
	else
		must(weir_queue_wait_recv(w->peer[1].queue, &wait) == 0);
}

static int queue_send(struct hand *h, uint32_t id)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	message_make(id, data, &bytes);
	return weir_queue_try_send(h->queue, data, bytes);
}

static int queue_loan(struct hand *h, uint32_t id)
{
	uint8_t data[MSG_MAX];
	int r = weir_queue_try_loan(h->queue, &h->msg);

	if (r < 0)
		return r;
	message_make(id, data, &h->msg.bytes);
	memcpy(h->msg.data, data, h->msg.bytes);
	return weir_queue_commit(h->queue, &h->msg);
}

static int queue_abort(struct hand *h, uint32_t id)
{
	int r = weir_queue_try_loan(h->queue, &h->msg);

	(void)id;
	return r < 0 ? r : weir_queue_abort(h->queue, &h->msg);
}

static int queue_recv(struct hand *h, uint32_t id)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;
	int r = weir_queue_try_recv(h->queue, data, sizeof(data), &bytes);

	(void)id;
	return r < 0 ? r : (int)message_id(data, bytes);
}

static int queue_take(struct hand *h, uint32_t id)
{
	int r = weir_queue_try_take(h->queue, &h->msg);

	if (r < 0)
		return r;
	id = message_id(h->msg.data, h->msg.bytes);
	r = weir_queue_done(h->queue, &h->msg);
	return r < 0 ? r : (int)id;
}

static int queue_put_back(struct hand *h, uint32_t id)
{
	int r = weir_queue_try_take(h->queue, &h->msg);

	(void)id;
	return r < 0 ? r : weir_queue_put_back(h->queue, &h->msg);
}

static int queue_shutdown(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_queue_shutdown(h->queue);
}

static const struct half queue_halves[] = {
	{"send", queue_send},	      {"loan_commit", queue_loan},
	{"loan_abort", queue_abort},  {"recv", queue_recv},
	{"take_done", queue_take},    {"put_back", queue_put_back},
	{"shutdown", queue_shutdown}, {0}};

/* How often message `id` must turn up, at whoever's. */
static uint32_t wanted(const struct world *w, const struct half *const half[2], const int result[2],
		       uint32_t id)
{
	for (uint32_t i = 0; i < 2; i++) {
		bool sends = half[i]->op == queue_send || half[i]->op == queue_loan;

		if (sends && result[i] == 0 && id == (i ? B_ID : A_ID))
			return 1;
	}
	return id <= w->known.queued_count;
}

static void check_drained(struct world *w, uint32_t seen[IDS])
{
	uint32_t ids[QUEUED];
	uint32_t tries[QUEUED];
	uint32_t got = queue_drain(w, &w->peer[1], ids, tries);

	for (uint32_t i = 0; i < got; i++) {
		seen[ids[i] % IDS]++;
		if (tries[i])
			fail(w, DOUBLED, "queue: message %u was taken from the living", ids[i]);
		if (i && ids[i] < A_ID && ids[i] < ids[i - 1])
			fail(w, LOST, "queue: message %u after %u", ids[i], ids[i - 1]);
	}
}

static void check_queue_pair(struct world *w, const struct half *const half[2], const int result[2])
{
	uint32_t seen[IDS] = {0};
	struct weir_queue_stat stat;

	check_drained(w, seen);
	for (int i = 0; i < 2; i++) {
		if (result[i] > 0)
			seen[(uint32_t)result[i] % IDS]++;
	}
	for (uint32_t id = 1; id < IDS; id++) {
		uint32_t want = wanted(w, half, result, id);

		if (seen[id] != want)
			fail(w, seen[id] < want ? LOST : DOUBLED, "queue: message %u %u times", id,
			     seen[id]);
	}
	weir_queue_stat(w->peer[1].queue, &stat);
	if (stat.depth || stat.writing || stat.reading)
		fail(w, WEDGED, "queue: drained, but %u full, %u writing, %u reading", stat.depth,
		     stat.writing, stat.reading);
	w->known.queued_count = 0;
	w->known.closing = half[0]->op == queue_shutdown || half[1]->op == queue_shutdown;
}

/* --- breaker ----------------------------------------------------------------------------- */

static void breaker_prepare(struct world *w, uint32_t fill)
{
	if (!fill)
		return;
	must(weir_breaker_force(w->peer[0].breaker, WEIR_BREAKER_OPEN) == 0);
	usleep(2000);
}

/* 1 if it was a probe. */
static int breaker_call(struct hand *h, int failed)
{
	struct weir_call call;
	int r = weir_breaker_allow(h->breaker, &call, NULL);

	if (r < 0)
		return r;
	r = weir_breaker_done(h->breaker, &call, failed);
	return r < 0 ? r : (int)call.probe;
}

static int breaker_good(struct hand *h, uint32_t id)
{
	(void)id;
	return breaker_call(h, 0);
}

static int breaker_bad(struct hand *h, uint32_t id)
{
	(void)id;
	return breaker_call(h, 1);
}

static int breaker_force_open(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_breaker_force(h->breaker, WEIR_BREAKER_OPEN);
}

static int breaker_force_closed(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_breaker_force(h->breaker, WEIR_BREAKER_CLOSED);
}

static const struct half breaker_halves[] = {{"good", breaker_good},
					     {"bad", breaker_bad},
					     {"force_open", breaker_force_open},
					     {"force_closed", breaker_force_closed},
					     {0}};

/* One is `a`, the other `b` or `a`. */
static bool are(const struct half *const half[2], int (*a)(struct hand *, uint32_t),
		int (*b)(struct hand *, uint32_t))
{
	return (half[0]->op == a && (half[1]->op == a || half[1]->op == b)) ||
	       (half[1]->op == a && half[0]->op == b);
}

/* Nobody's result undoes what the operator said. */
static void check_forced(struct world *w, const struct half *const half[2], const int result[2],
			 bool closed)
{
	for (int i = 0; i < 2; i++) {
		if ((half[i]->op == breaker_force_open || half[i]->op == breaker_force_closed) &&
		    result[i] != 0)
			fail(w, WEDGED, "breaker: not forced, %d", result[i]);
	}
	if (are(half, breaker_force_open, breaker_bad) && closed)
		fail(w, LOST, "breaker: forced open, and it is closed");
	if (are(half, breaker_force_closed, breaker_good) && !closed)
		fail(w, LOST, "breaker: forced closed, and it is not");
}

static void check_breaker_pair(struct world *w, const struct half *const half[2],
			       const int result[2])
{
	struct weir_breaker_stat stat;
	bool probes = result[0] == 1 && result[1] == 1;
	bool same = half[0]->op == half[1]->op;
	bool good = same && half[0]->op == breaker_good;
	bool bad = same && half[0]->op == breaker_bad;

	weir_breaker_stat(w->peer[1].breaker, &stat);
	check_forced(w, half, result, stat.mode == WEIR_BREAKER_CLOSED);
	if (result[0] < 0 && result[1] < 0)
		fail(w, WEDGED, "breaker: refuses both, %d and %d", result[0], result[1]);
	if (probes && good && stat.mode != WEIR_BREAKER_CLOSED)
		fail(w, LOST, "breaker: both probes succeeded, mode %d", (int)stat.mode);
	if (successes(result) == 2 && bad && stat.mode == WEIR_BREAKER_CLOSED)
		fail(w, LOST, "breaker: both calls failed, and it is closed");
	if (stat.probes_out)
		fail(w, LOST, "breaker: %u probes out", stat.probes_out);
}

/* --- limiter ----------------------------------------------------------------------------- */

static void limiter_prepare(struct world *w, uint32_t fill)
{
	for (uint32_t i = 0; i < fill; i++) {
		must(weir_limiter_allow(w->peer[1].limiter, 1, NULL) == 0);
		must(weir_limiter_allow_key(w->peer[1].keyed, "key", 3, 1, NULL) == 0);
	}
	w->known.taken = fill;
}

static int limiter_one(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_limiter_allow(h->limiter, 1, NULL);
}

static int limiter_key(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_limiter_allow_key(h->keyed, "key", 3, 1, NULL);
}

static int limiter_reserve(struct hand *h, uint32_t id)
{
	uint64_t wait_ns;

	(void)id;
	return weir_limiter_reserve(h->limiter, 1, 0, &wait_ns);
}

static int limiter_refund(struct hand *h, uint32_t id)
{
	(void)id;
	return weir_limiter_refund(h->limiter, 1);
}

static const struct half limiter_halves[] = {{"allow", limiter_one},
					     {"allow_key", limiter_key},
					     {"reserve", limiter_reserve},
					     {"refund", limiter_refund},
					     {0}};

static uint32_t less(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/*
 * Every verdict was about a token of its own, and one that was there was not refused.  One that is
 * given back to who has all is no more.
 */
static void check_limiter_pair(struct world *w, const struct half *const half[2],
			       const int result[2])
{
	int (*const ops[2])(struct hand * h, uint32_t id) = {limiter_one, limiter_key};

	for (int o = 0; o < 2; o++) {
		uint32_t left = TOKENS - w->known.taken;
		uint32_t asked = 0;
		uint32_t given = 0;
		uint32_t back = 0;
		uint32_t got = 0;

		for (int i = 0; i < 2; i++) {
			bool asks = half[i]->op == ops[o] || (!o && half[i]->op == limiter_reserve);

			asked += asks;
			given += asks && result[i] == 0;
			back += !o && half[i]->op == limiter_refund;
		}
		while (got <= TOKENS && ops[o](&w->peer[1], 0) == 0)
			got++;
		if (given + got > left + back || got > TOKENS)
			fail(w, DOUBLED, "%s: %u tokens and %u back, %u given, %u left",
			     o ? "keyed limiter" : "limiter", left, back, given, got);
		if (given < less(asked, left) ||
		    given + got < left + (left + back > TOKENS ? 0 : back))
			fail(w, LOST, "%s: %u tokens and %u back, %u asked for, %u given, %u left",
			     o ? "keyed limiter" : "limiter", left, back, asked, given, got);
	}
	w->known.taken = TOKENS;
}

/* --- objects ----------------------------------------------------------------------------- */

static void object_prepare(struct world *w, uint32_t fill)
{
	(void)w;
	(void)fill;
}

/* Only one of two can take the permit, if it is the same object. */
static int object_open(struct hand *h, uint32_t id)
{
	struct weir_sem_opts opts = WEIR_OPTS(sem, .permits = 1);
	struct weir_sem *sem;
	int r = weir_sem_open(h->seg, "new", &opts, &sem);

	(void)id;
	if (r < 0)
		return r;
	r = weir_sem_try_acquire(sem, 1);
	weir_sem_close(sem);
	return r;
}

static int object_unlink(struct hand *h, uint32_t id)
{
	int r = weir_object_unlink(h->seg, "new");

	(void)id;
	return r == -ENOENT ? 0 : r;
}

static const struct half object_halves[] = {{"open", object_open}, {"unlink", object_unlink}, {0}};

static void check_object_pair(struct world *w, const struct half *const half[2],
			      const int result[2])
{
	uint64_t off;

	if (half[0]->op != object_open || half[1]->op != object_open)
		return;
	if (successes(result) != 1)
		fail(w, DOUBLED, "object: two of them, or none: %d and %d", result[0], result[1]);
	if (directory_count(w, "new", &off) != 1)
		fail(w, DOUBLED, "object: %u entries", directory_count(w, "new", &off));
}

/* --- all of them -------------------------------------------------------------------------- */

static const struct set sets[] = {
	{"sem_one_left", 0, sem_prepare, sem_arm, sem_halves, check_sem_pair, NULL},
	{"sem_full", 1, sem_prepare, sem_arm, sem_halves, check_sem_pair, NULL},
	{"sem_wrapped", 0, sem_prepare, sem_roll, sem_halves, check_sem_pair, NULL},
	{"sem_waiter", 1, sem_prepare, sem_arm, sem_halves, check_sem_pair, sem_line},
	{"queue_empty", 0, queue_prepare, NULL, queue_halves, check_queue_pair, NULL},
	{"queue_two", 2, queue_prepare, NULL, queue_halves, check_queue_pair, NULL},
	{"queue_one_free", SLOTS - 1, queue_prepare, NULL, queue_halves, check_queue_pair, NULL},
	{"queue_full", SLOTS, queue_prepare, NULL, queue_halves, check_queue_pair, NULL},
	{"queue_wrapped", 2, queue_roll, NULL, queue_halves, check_queue_pair, NULL},
	{"queue_receiver", 0, queue_prepare, NULL, queue_halves, check_queue_pair, queue_line},
	{"queue_sender", SLOTS, queue_prepare, NULL, queue_halves, check_queue_pair, queue_line},
	{"breaker_closed", 0, breaker_prepare, NULL, breaker_halves, check_breaker_pair, NULL},
	{"breaker_open", 1, breaker_prepare, NULL, breaker_halves, check_breaker_pair, NULL},
	{"limiter_new", 0, limiter_prepare, NULL, limiter_halves, check_limiter_pair, NULL},
	{"limiter_one_left", TOKENS - 1, limiter_prepare, NULL, limiter_halves, check_limiter_pair,
	 NULL},
	{"limiter_some_left", 3, limiter_prepare, NULL, limiter_halves, check_limiter_pair, NULL},
	{"object", 0, object_prepare, NULL, object_halves, check_object_pair, NULL},
	{0},
};

struct pair {
	const struct set *set;
	const struct half *half[2];
	char name[40];
};

static const struct half *a_half; /* in the child */
static uint64_t by_sigstop;

static int op_a(struct world *w)
{
	return a_half->op(&w->me, A_ID);
}

static void child(struct world *w, const void *arg)
{
	const struct pair *pair = arg;

	must(hand_open(&w->me, w->v.path, true) == 0);
	if (pair->set->arm)
		pair->set->arm(&w->me);
	a_half = pair->half[0];
	marked(op_a, w);
}

/* B does its operation, and a sweep must leave A alone.  Returns B's result. */
static int meet(struct world *w, const struct pair *pair)
{
	struct weir_recovery rec = {0};
	int r = pair->half[1]->op(&w->peer[0], B_ID);

	if (weir_segment_recover(w->peer[1].seg, &rec) != 0 || rec.processes || rec.threads)
		fail(w, DOUBLED, "a stopped process was swept");
	return r;
}

/* False: A has no step n. */
static bool pair_point(struct world *w, const struct pair *pair, struct place *at, struct tally *t)
{
	int result[2];
	bool more = true;
	bool sigstop;
	pid_t pid;

	world_reset(w);
	watch(w, at);
	pid = traced_start(child, w, pair);
	if (pair->set->arm)
		pair->set->arm(&w->peer[0]);
	if (pair->set->armed)
		pair->set->armed(w);
	for (uint64_t i = 0; i < at->n && more; i++)
		more = traced_step(pid);
	sigstop = more && (uint32_t)at->n * UINT32_C(0x9e3779b9) >> 31; /* by N, about half */
	by_sigstop += sigstop;
	if (sigstop)
		traced_let_go(pid);
	result[1] = meet(w, pair);
	if (sigstop)
		traced_go_on(pid);
	else if (!w->note->returned)
		traced_run(pid);
	must(w->note->returned);
	result[0] = w->note->result;
	pair->set->check(w, pair->half, result);
	traced_kill(pid);
	t->kills++;
	recover(w, t, at->n);
	w->note->returned = 0; /* What it says was about A alone. */
	check_everything(w);
	point(w, t, at);
	return more;
}

static void run_pair(const struct pair *pair)
{
	struct place at = {.mode = "pairs", .op = pair->set->name, .state = pair->name};
	struct world w;
	struct tally t;

	begin(&t);
	world_make(&w, plan.seed, 0, true);
	pair->set->prepare(&w, pair->set->fill);
	world_freeze(&w);
	at.n = plan.at >= 0 ? (uint64_t)plan.at : plan.seed % plan.sample;
	while (!out_of_time() && pair_point(&w, pair, &at, &t) && plan.at < 0)
		at.n += plan.sample;
	world_free(&w);
	line(&at, &t);
}

void sweep_pairs(void)
{
	uint64_t i = 0;

	for (const struct set *set = sets; set->name; set++) {
		for (const struct half *a = set->halves; a->name; a++) {
			for (const struct half *b = set->halves; b->name; b++) {
				struct pair pair = {.set = set, .half = {a, b}};

				snprintf(pair.name, sizeof(pair.name), "%s+%s", a->name, b->name);
				if (plan.thin && i++ % 3 != plan.seed % 3)
					continue;
				if (matches(set->name, pair.name) && !out_of_time())
					run_pair(&pair);
			}
		}
	}
	printf("sweep: %lu pairs stopped by SIGSTOP\n", (unsigned long)by_sigstop);
}
