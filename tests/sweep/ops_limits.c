/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sweeping the limits: semaphore, rate limiter, breaker.  The rows are at the end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <weir/shm/all.h>

#include "os/atomic.h"
#include "sweep.h"

#define STATES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void sem_take(struct hand *h, uint32_t n)
{
	if (n)
		must(weir_sem_acquire(h->sem, n, NULL) == 0);
}

static void peer_takes(struct world *w, int peer, uint32_t n)
{
	sem_take(&w->peer[peer], n);
	w->known.holds[peer] += n;
}

/* Move counters on, by as much as the seed says; `enough` passes every wrap there is. */
static void roll_sem(struct world *w, struct hand *h, bool enough)
{
	for (uint64_t i = 0; i < (enough ? 60 : w->seed % 7); i++) {
		sem_take(h, 1);
		must(weir_sem_release(h->sem, 1) == 0);
	}
}

/* --- semaphore --------------------------------------------------------------------------- */

enum {
	SEM_EMPTY,
	SEM_ONE_LEFT,
	SEM_CONTENDED,
	SEM_WRAPPED,
	SEM_MINE,
	SEM_LOST,    /* the last step was the victim's own */
	SEM_LOST_NEW /* it was not, so the first compare and swap acknowledges it */
};

static void sem_prepare(struct world *w)
{
	roll_sem(w, &w->peer[0], w->state == SEM_WRAPPED || w->state == SEM_LOST_NEW);
	if (w->state == SEM_ONE_LEFT)
		peer_takes(w, 0, PERMITS - 1);
	if (w->state == SEM_CONTENDED)
		peer_takes(w, 1, 1);
}

static void sem_arm(struct world *w)
{
	if (w->state != SEM_LOST_NEW)
		roll_sem(w, &w->me, w->state == SEM_WRAPPED || w->state == SEM_LOST);
	if (w->state == SEM_MINE)
		sem_take(&w->me, 1);
}

static void peer_steps(struct world *w)
{
	must(weir_sem_try_acquire(w->peer[0].sem, 1) == 0);
	must(weir_sem_release(w->peer[0].sem, 1) == 0);
}

/* The last word is somebody else's again. */
static bool sem_contend(struct world *w, enum moment moment)
{
	if (w->state >= SEM_LOST && !loses_swap(w, moment, w->state == SEM_LOST_NEW))
		return false;
	if (w->state == SEM_CONTENDED || w->state >= SEM_LOST)
		peer_steps(w);
	return true;
}

static int op_sem_acquire(struct world *w)
{
	return weir_sem_acquire(w->me.sem, 1, &w->note->ctx);
}

static int op_sem_try(struct world *w)
{
	return weir_sem_try_acquire(w->me.sem, 1);
}

/* Nothing is left; peer 0 holds it all. */
static void full_prepare(struct world *w)
{
	roll_sem(w, &w->peer[1], false);
	peer_takes(w, 0, PERMITS);
}

static uint32_t sem_waiters(const struct world *w)
{
	struct weir_sem_stat stat;

	weir_sem_stat(w->peer[0].sem, &stat);
	return stat.waiters;
}

static bool sem_wait_bit(const struct world *w)
{
	return weir_sem_word_wait(weir_load_acquire(&sem_bytes(w, &w->c)->word)) != 0;
}

enum { WHEN_ASKED, WHEN_FLAGGED, WHEN_TO_SLEEP };

static bool sem_moment(const struct world *w, enum moment moment)
{
	if (w->state == WHEN_ASKED)
		return sem_waiters(w) != 0;
	return w->state == WHEN_FLAGGED ? sem_wait_bit(w) : moment == SLEEPS;
}

static bool sem_grant_during(struct world *w, enum moment moment)
{
	if (!sem_moment(w, moment))
		return false;
	must(weir_sem_release(w->peer[0].sem, 2) == 0);
	w->known.holds[0] -= 2;
	return true;
}

static bool sem_cancel_during(struct world *w, enum moment moment)
{
	if (!sem_moment(w, moment))
		return false;
	weir_ctx_cancel(&w->note->ctx);
	return true;
}

/* Both: the wait is over and the permits are there. */
static bool sem_both_during(struct world *w, enum moment moment)
{
	return sem_cancel_during(w, moment) && sem_grant_during(w, moment);
}

/* It really sleeps, and the wake is under way when it dies (state 1: both reasons to wake). */
static bool sem_asleep_during(struct world *w, enum moment moment)
{
	if (moment != ASLEEP)
		return false;
	if (w->state == 1)
		weir_ctx_cancel(&w->note->ctx);
	must(weir_sem_release(w->peer[0].sem, 2) == 0);
	w->known.holds[0] -= 2;
	return true;
}

static int op_sem_timed(struct world *w)
{
	struct weir_ctx ctx;

	/* Stepping is slow: the time is up when it comes to sleep. */
	weir_ctx_init(&ctx, NULL, 2 * MS);
	return weir_sem_acquire(w->me.sem, 1, &ctx);
}

static int op_sem_start(struct world *w)
{
	int r = weir_sem_start(w->me.sem, 2);

	return r == -EINPROGRESS ? 0 : r;
}

static int op_sem_stop(struct world *w)
{
	int r = weir_sem_stop(w->me.sem);

	return r == -ECANCELED ? 0 : r;
}

static void sem_start_arm(struct world *w)
{
	must(weir_sem_start(w->me.sem, 2) == -EINPROGRESS);
}

static bool sem_stop_during(struct world *w, enum moment moment)
{
	(void)moment;
	if (w->state == 0) /* Somebody behind it. */
		must(weir_sem_start(w->peer[1].sem, 1) == -EINPROGRESS);
	w->known.waits = w->state == 0;
	if (w->state != 1) { /* One for who is behind, or both for the victim. */
		must(weir_sem_release(w->peer[0].sem, w->state == 0 ? 1 : 2) == 0);
		w->known.holds[0] -= w->state == 0 ? 1 : 2;
	}
	return true;
}

enum {
	REL_ALONE,
	REL_ONE_OF_TWO,
	REL_CONTENDED,
	REL_WAITER,
	REL_BIG_WAITER,
	REL_WRAPPED,
	REL_LOST
};

static void release_prepare(struct world *w)
{
	roll_sem(w, &w->peer[0], w->state == REL_WRAPPED);
	if (w->state == REL_WAITER || w->state == REL_BIG_WAITER)
		peer_takes(w, 0, 1);
}

static void release_arm(struct world *w)
{
	roll_sem(w, &w->me, w->state == REL_WRAPPED);
	sem_take(&w->me, 2);
}

static bool release_during(struct world *w, enum moment moment)
{
	if (w->state == REL_LOST && !loses_swap(w, moment, 0))
		return false;
	if (w->state == REL_CONTENDED || w->state == REL_LOST)
		peer_steps(w);
	if (w->state == REL_WAITER || w->state == REL_BIG_WAITER) {
		w->known.waits = w->state == REL_WAITER ? 1 : 2;
		must(weir_sem_start(w->peer[1].sem, w->known.waits) == -EINPROGRESS);
		must(weir_sem_poll(w->peer[1].sem, &(struct weir_wait){0}) == -EINPROGRESS);
	}
	return true;
}

static int op_sem_release(struct world *w)
{
	return weir_sem_release(w->me.sem, w->state == REL_ONE_OF_TWO ? 1 : 2);
}

static void resize_prepare(struct world *w)
{
	peer_takes(w, 0, 2);
	if (w->state == 0) {
		w->known.waits = 2;
		must(weir_sem_start(w->peer[1].sem, 2) == -EINPROGRESS);
	}
}

static int op_sem_resize(struct world *w)
{
	return weir_sem_resize(w->me.sem, w->state == 0 ? PERMITS + 2 : PERMITS - 1);
}

/* A peer gives some back right before compare and swap number `which` of the victim. */
static bool peer_gives_during(struct world *w, enum moment moment, uint32_t which, uint32_t n)
{
	if (!loses_swap(w, moment, which))
		return false;
	must(weir_sem_release(w->peer[0].sem, n) == 0);
	w->known.holds[0] -= n;
	return true;
}

/* The victim gives back, grants peer 1, and finds nobody else waiting. */
static void grant_lost_prepare(struct world *w)
{
	peer_takes(w, 0, 1);
}

static void grant_lost_arm(struct world *w)
{
	sem_take(&w->me, 2);
}

static bool grant_lost_during(struct world *w, enum moment moment)
{
	if (!w->known.waits) {
		w->known.waits = 1;
		must(weir_sem_start(w->peer[1].sem, 1) == -EINPROGRESS);
		world_copy(w, &w->c, &w->v);
	}
	return peer_gives_during(w, moment, w->state, 1);
}

static int op_sem_give_two(struct world *w)
{
	return weir_sem_release(w->me.sem, 2);
}

static bool enqueue_lost_during(struct world *w, enum moment moment)
{
	return peer_gives_during(w, moment, 0, 1);
}

/* It has been told that it waits: then who gives back must see that somebody does. */
static void enqueue_before(struct world *w)
{
	if (w->note->returned && !sem_wait_bit(w))
		fail(w, WEDGED, "sem: it waits, and nobody is told");
}

/* Enough for it, but it has said that it no longer wants them. */
static bool cancel_lost_during(struct world *w, enum moment moment)
{
	return peer_gives_during(w, moment, 1, 2);
}

/* --- limiter ----------------------------------------------------------------------------- */

enum { LIM_FULL, LIM_ONE_LEFT, LIM_EMPTY, LIM_LOST, LIM_LOST_LAST, LIM_LOST_NEW };

static void limiter_prepare(struct world *w)
{
	static const uint32_t counts[] = {0, TOKENS - 1, TOKENS, 2, TOKENS - 1, 0};
	uint32_t n = counts[w->state];

	for (uint32_t i = 0; i < n; i++) {
		must(weir_limiter_allow(w->peer[1].limiter, 1, NULL) == 0);
		must(weir_limiter_allow_key(w->peer[1].keyed, "key", 3, 1, NULL) == 0);
	}
	w->known.taken = n;
	w->known.taking = 1;
}

static void keyed_prepare(struct world *w)
{
	limiter_prepare(w);
	w->known.taking = 2;
}

/* A peer takes a token of each right before the victim's compare and swap. */
static bool limiter_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	must(weir_limiter_allow(w->peer[0].limiter, 1, NULL) == 0);
	must(weir_limiter_allow_key(w->peer[0].keyed, "key", 3, 1, NULL) == 0);
	w->known.taken++;
	return true;
}

static int op_limiter(struct world *w)
{
	struct weir_verdict verdict;

	return weir_limiter_allow(w->me.limiter, 1, &verdict);
}

static int op_reserve(struct world *w)
{
	uint64_t wait;

	return weir_limiter_reserve(w->me.limiter, 1, 0, &wait);
}

static void refund_prepare(struct world *w)
{
	limiter_prepare(w);
	w->known.taking = 0;
	w->known.giving = true;
}

static int op_refund(struct world *w)
{
	return weir_limiter_refund(w->me.limiter, 1);
}

static const struct weir_limiter_shm *limiter_bytes(const struct world *w, const char *name)
{
	uint64_t off;

	must(directory_count(w, name, &off) == 1);
	return (const void *)(w->c.map + off);
}

static uint64_t tat_before;

/* Without a wait, or until its context is cancelled. */
static void wait_prepare(struct world *w)
{
	limiter_prepare(w);
	tat_before = weir_load_acquire(&limiter_bytes(w, "limiter")->tat);
	if (w->state == LIM_EMPTY)
		w->known.taking = 0;
}

static int op_limiter_wait(struct world *w)
{
	return weir_limiter_wait(w->me.limiter, 1, &w->note->ctx);
}

/* When it has reserved and sleeps, or is about to. */
static bool limiter_cancel_during(struct world *w, enum moment moment)
{
	if (moment != (w->one_file ? ASLEEP : SLEEPS))
		return false;
	weir_ctx_cancel(&w->note->ctx);
	return true;
}

static void check_limiter_wait(struct world *w)
{
	if (w->state == LIM_EMPTY && w->note->returned &&
	    (w->note->result != -ECANCELED ||
	     weir_load_acquire(&limiter_bytes(w, "limiter")->tat) != tat_before))
		fail(w, LOST, "limiter: cancelled with %d, and not given back", w->note->result);
	check_everything(w);
}

/* The only key's set. */
static struct weir_limiter_set_shm *set_bytes(const struct world *w)
{
	const struct weir_limiter_shm *shm = limiter_bytes(w, "keyed");
	const uint8_t *sets =
		(const uint8_t *)(shm + 1) + shm->lanes * sizeof(struct weir_limiter_lane_shm);
	struct weir_limiter_set_shm *set = (void *)(w->c.map + (sets - w->c.map));

	for (uint32_t i = 1; i < shm->sets && !weir_load_acquire(&set->entry[0]); i++)
		set++;
	return set;
}

enum { SECOND = 5 };
static uint64_t entry_before;
static uint64_t entry_meanwhile;

/* The key has a second entry, which its next caller merges with the first; three tokens were taken
 * through each. */
static void merge_prepare(struct world *w)
{
	struct weir_limiter_set_shm *set;

	for (int i = 0; i < 3; i++)
		must(weir_limiter_allow_key(w->peer[1].keyed, "key", 3, 1, NULL) == 0);
	set = set_bytes(w);
	entry_before = weir_load_acquire(&set->entry[0]);
	must(entry_before && !weir_load_acquire(&set->entry[SECOND]));
	entry_meanwhile = entry_before;
	weir_store_full(&set->entry[SECOND], entry_before);
	w->known.taken_more = 6;
	w->known.taking = 2;
}

/* A peer, right before the victim: merges them (state 1), takes one through the first (2). */
static bool merge_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, w->state == 2))
		return false;
	must(weir_limiter_allow_key(w->peer[0].keyed, "key", 3, 1, NULL) == 0);
	w->known.taken_more++;
	if (w->state == 2)
		entry_meanwhile = weir_load_acquire(&set_bytes(w)->entry[0]);
	return true;
}

/* Between the two steps of the merge a death forgets what was taken through the second. */
static void merge_before(struct world *w)
{
	const struct weir_limiter_set_shm *set = set_bytes(w);
	uint64_t first = weir_load_acquire(&set->entry[0]);
	bool half = !weir_load_acquire(&set->entry[SECOND]) &&
		    (first == entry_before || first == entry_meanwhile);

	w->known.forgets = half ? 3 : 0;
}

static int op_keyed(struct world *w)
{
	struct weir_verdict verdict;

	return weir_limiter_allow_key(w->me.keyed, "key", 3, 1, &verdict);
}

/* --- breaker ----------------------------------------------------------------------------- */

static void breaker_closed(struct world *w)
{
	struct weir_call call;

	if (w->state == 0) /* Another failure opens it. */
		return;
	must(weir_breaker_allow(w->peer[0].breaker, &call, NULL) == 0);
	must(weir_breaker_done(w->peer[0].breaker, &call, 1) == 0);
}

/* A peer's failure opens it right before the victim's would. */
static bool breaker_fail_during(struct world *w, enum moment moment)
{
	struct weir_call call;

	if (!loses_swap(w, moment, 0))
		return false;
	must(weir_breaker_allow(w->peer[0].breaker, &call, NULL) == 0);
	must(weir_breaker_done(w->peer[0].breaker, &call, 1) == 0);
	return true;
}

static int op_breaker_fail(struct world *w)
{
	struct weir_call call;
	int r = weir_breaker_allow(w->me.breaker, &call, NULL);

	return r < 0 ? r : weir_breaker_done(w->me.breaker, &call, 1);
}

static void check_breaker_fail(struct world *w)
{
	struct weir_breaker_stat stat;

	weir_breaker_stat(w->peer[0].breaker, &stat);
	if (w->state == 0 && stat.mode != WEIR_BREAKER_CLOSED)
		fail(w, DOUBLED, "breaker: opened by one failure");
	if (w->state != 0 && w->note->returned && stat.mode != WEIR_BREAKER_OPEN)
		fail(w, LOST, "breaker: two failures did not open it");
	check_everything(w);
}

static void peer_probes(struct world *w)
{
	must(weir_breaker_allow(w->peer[0].breaker, &w->peer[0].call, NULL) == 0);
	w->known.probe_out = true;
}

static void peer_succeeds(struct world *w)
{
	must(weir_breaker_done(w->peer[0].breaker, &w->peer[0].call, 0) == 0);
	w->known.probe_out = false;
}

/* Open, and due; in odd states peer 0 has the first probe. */
static void breaker_open(struct world *w)
{
	must(weir_breaker_force(w->peer[0].breaker, WEIR_BREAKER_OPEN) == 0);
	usleep(2000);
	if (w->state % 2 == 1)
		peer_probes(w);
}

/* In states 2 and 3 the peer is quicker by one compare and swap. */
static bool breaker_allow_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	if (w->state == 2)
		peer_probes(w);
	else
		peer_succeeds(w);
	return true;
}

/* While it lives: a probe that it has is one that was left. */
static void breaker_allow_before(struct world *w)
{
	struct weir_breaker_stat stat;

	weir_breaker_stat(w->peer[0].breaker, &stat);
	if (w->note->returned && stat.mode == WEIR_BREAKER_HALF_OPEN &&
	    stat.probes_left + stat.probes_ok + stat.probes_out != PROBES)
		fail(w, DOUBLED, "breaker: %u probes left, %u succeeded, %u out", stat.probes_left,
		     stat.probes_ok, stat.probes_out);
}

static int op_breaker_probe(struct world *w)
{
	return weir_breaker_allow(w->me.breaker, &w->me.call, NULL);
}

static void breaker_probe_arm(struct world *w)
{
	must(weir_breaker_allow(w->me.breaker, &w->me.call, NULL) == 0 && w->me.call.probe);
}

/* State 2: the peer's probe has succeeded, so that the victim's is the last one. */
static void breaker_half_open(struct world *w)
{
	uint32_t state = w->state;

	w->state = state ? 1 : 0;
	breaker_open(w);
	w->state = state;
	if (state == 2)
		peer_succeeds(w);
}

/* State 3: it succeeds right before the victim's result is counted. */
static bool breaker_result_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	peer_succeeds(w);
	return true;
}

static int op_breaker_success(struct world *w)
{
	return weir_breaker_done(w->me.breaker, &w->me.call, 0);
}

static int op_breaker_failure(struct world *w)
{
	return weir_breaker_done(w->me.breaker, &w->me.call, 1);
}

static void force_prepare(struct world *w)
{
	if (w->state == 1)
		must(weir_breaker_force(w->peer[0].breaker, WEIR_BREAKER_OPEN) == 0);
}

static bool force_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	must(weir_breaker_force(w->peer[0].breaker, WEIR_BREAKER_OPEN) == 0);
	return true;
}

static int op_breaker_force(struct world *w)
{
	return weir_breaker_force(w->me.breaker,
				  w->state == 0 ? WEIR_BREAKER_OPEN : WEIR_BREAKER_CLOSED);
}

/* Whoever was quicker, its own word is the last. */
static void check_force(struct world *w)
{
	struct weir_breaker_stat stat;

	weir_breaker_stat(w->peer[0].breaker, &stat);
	if (w->note->returned &&
	    stat.mode != (w->state == 0 ? WEIR_BREAKER_OPEN : WEIR_BREAKER_CLOSED))
		fail(w, LOST, "breaker: forced, and in mode %d", (int)stat.mode);
	check_everything(w);
}

/* --- rows -------------------------------------------------------------------------------- */

const struct row limit_rows[] = {
	{"sem_acquire",
	 STATES("empty", "one_left", "contended", "wrapped", "mine", "lost_swap", "lost_new"), 0,
	 sem_prepare, sem_arm, op_sem_acquire, sem_contend, NULL, check_everything},
	{"sem_try_acquire",
	 STATES("empty", "one_left", "contended", "wrapped", "mine", "lost_swap", "lost_new"), 0,
	 sem_prepare, sem_arm, op_sem_try, sem_contend, NULL, check_everything},
	{"sem_try_acquire_full", STATES("full"), 0, full_prepare, NULL, op_sem_try, NULL, NULL,
	 check_everything},
	{"sem_wait_granted", STATES("asked", "flagged", "to_sleep"), 0, full_prepare, NULL,
	 op_sem_acquire, sem_grant_during, NULL, check_everything},
	{"sem_wait_asleep", STATES("granted", "granted_and_cancelled"), ROW_REAL, full_prepare,
	 NULL, op_sem_acquire, sem_asleep_during, NULL, check_everything},
	{"sem_wait_cancelled", STATES("asked", "flagged", "to_sleep"), 0, full_prepare, NULL,
	 op_sem_acquire, sem_cancel_during, NULL, check_everything},
	{"sem_wait_both", STATES("asked", "flagged", "to_sleep"), 0, full_prepare, NULL,
	 op_sem_acquire, sem_both_during, NULL, check_everything},
	{"sem_wait_timeout", STATES("soon"), 0, full_prepare, NULL, op_sem_timed, NULL, NULL,
	 check_everything},
	{"sem_start", STATES("full"), 0, full_prepare, NULL, op_sem_start, NULL, NULL,
	 check_everything},
	{"sem_stop", STATES("one_behind", "alone", "granted"), 0, full_prepare, sem_start_arm,
	 op_sem_stop, sem_stop_during, NULL, check_everything},
	{"sem_release",
	 STATES("alone", "one_of_two", "contended", "waiter", "big_waiter", "wrapped", "lost_swap"),
	 0, release_prepare, release_arm, op_sem_release, release_during, NULL, check_everything},
	{"sem_release_lost", STATES("given", "acked", "granted", "cleared"), ROW_ASKED,
	 grant_lost_prepare, grant_lost_arm, op_sem_give_two, grant_lost_during, NULL,
	 check_everything},
	{"sem_start_lost", STATES("flag"), 0, full_prepare, NULL, op_sem_start, enqueue_lost_during,
	 enqueue_before, check_everything},
	{"sem_stop_lost", STATES("changed"), 0, full_prepare, sem_start_arm, op_sem_stop,
	 cancel_lost_during, NULL, check_everything},
	{"sem_resize", STATES("up_with_waiter", "down"), 0, resize_prepare, NULL, op_sem_resize,
	 NULL, NULL, check_everything},
	{"limiter_allow", STATES("full", "one_left", "empty", "lost_swap", "lost_last"),
	 ROW_FROM(LIM_LOST), limiter_prepare, NULL, op_limiter, limiter_lost_during, NULL,
	 check_everything},
	{"limiter_allow_key",
	 STATES("new", "one_left", "empty", "lost_swap", "lost_last", "lost_new"),
	 ROW_FROM(LIM_LOST), keyed_prepare, NULL, op_keyed, limiter_lost_during, NULL,
	 check_everything},
	{"limiter_merge", STATES("two_entries", "lost_first", "lost_second"), ROW_FROM(1),
	 merge_prepare, NULL, op_keyed, merge_lost_during, merge_before, check_everything},
	{"limiter_wait", STATES("full", "one_left", "cancelled"), 0, wait_prepare, NULL,
	 op_limiter_wait, limiter_cancel_during, NULL, check_limiter_wait},
	{"limiter_reserve", STATES("full", "one_left", "empty", "lost_swap", "lost_last"),
	 ROW_FROM(LIM_LOST), limiter_prepare, NULL, op_reserve, limiter_lost_during, NULL,
	 check_everything},
	{"limiter_refund", STATES("full", "one_left", "empty", "lost_swap", "lost_last"),
	 ROW_FROM(LIM_LOST), refund_prepare, NULL, op_refund, limiter_lost_during, NULL,
	 check_everything},
	{"breaker_fail", STATES("first", "last", "lost_swap"), ROW_FROM(2), breaker_closed, NULL,
	 op_breaker_fail, breaker_fail_during, NULL, check_breaker_fail},
	{"breaker_allow", STATES("open", "half_open", "lost_open", "lost_half_open"), ROW_FROM(2),
	 breaker_open, NULL, op_breaker_probe, breaker_allow_during, breaker_allow_before,
	 check_everything},
	{"breaker_success", STATES("first", "peer_out", "last", "lost_swap"), ROW_FROM(3),
	 breaker_half_open, breaker_probe_arm, op_breaker_success, breaker_result_during, NULL,
	 check_everything},
	{"breaker_failure", STATES("first", "peer_out", "last", "lost_swap"), ROW_FROM(3),
	 breaker_half_open, breaker_probe_arm, op_breaker_failure, breaker_result_during, NULL,
	 check_everything},
	{"breaker_force", STATES("closed", "open", "lost_swap"), ROW_FROM(2), force_prepare, NULL,
	 op_breaker_force, force_during, NULL, check_force},
	{0},
};
