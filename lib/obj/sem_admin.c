/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Semaphore: the operator, lifecycle, looking. */
#include <stdlib.h>

#include "obj/sem_word.h"

#define CHECK_TURNS 64

/* --- the operator -------------------------------------------------------------------------- */

/* Tell those whose request can no longer be granted. */
static void wake_misfits(const struct weir__semv *v, uint64_t cap)
{
	uint32_t high = weir__thread_high(v->seg);

	for (uint32_t lane = 0; lane < high; lane++) {
		/* EDGE sem.cell (acquire <- enqueue): the new cap is there before this look. */
		uint64_t cell = weir_load_acquire(&v->lanes[lane].cell);

		if (weir_sem_lane_cell_state(cell) == WEIR_SEM_LANE_CELL_WAIT &&
		    weir_sem_lane_cell_amount(cell) > cap)
			weir__waitq_wake(&v->lanes[lane].waitq);
	}
}

int weir_sem_resize(struct weir_sem *sem, uint32_t permits)
{
	int self = weir__self(sem->v.seg);
	uint32_t old;

	if (permits == 0 || permits > WEIR_SEM_PERMITS_MAX)
		return -EINVAL;
	if (self < 0)
		return self;
	old = weir__sem_set_cap(&sem->v, (uint32_t)self, permits);
	/* EDGE sem.cap (full -> enqueue, misfit): the cap, then our looks at requests and bit; a
	 * load alone, after a CAS, might still come first. */
	weir_fence_full();
	weir_add_relaxed(&sem->v.shm->resized, 1); /* relaxed: a counter. */
	weir__event(sem->v.seg, WEIR_EVENT_KIND_RESIZE, sem->v.shm, old, permits);
	wake_misfits(&sem->v, permits);
	weir__sem_flag_if_any(&sem->v); /* Who did not fit before may fit now. */
	weir__sem_grant(&sem->v);
	return 0;
}

/* --- lifecycle ----------------------------------------------------------------------------- */

static void init(struct weir_segment *seg, void *object, const void *opts)
{
	const struct weir_sem_opts *o = opts;
	struct weir_sem_shm *shm = object;
	struct weir_sem_lane_shm *lanes = (struct weir_sem_lane_shm *)(shm + 1);

	/* relaxed, all of it: not published yet. */
	weir_store_relaxed(&shm->cap, o->permits);
	shm->lanes = seg->thread_count;
	weir_store_relaxed(&shm->word, weir__sem_sign(0, 0, 0, WEIR__SEQ_START));
	weir_store_relaxed(&shm->ticket, UINT64_MAX - 16);
	for (uint32_t i = 0; i < shm->lanes; i++) {
		weir_store_relaxed(&lanes[i].ledger, weir__sem_ledger(0, 0, 0, 0, WEIR__SEQ_START));
		weir_store_relaxed(&lanes[i].cell, weir__sem_cell(0, 0, WEIR__SEQ_START));
		weir_store_relaxed(&lanes[i].ack[0], (uint32_t)WEIR__SEQ_START);
		weir_store_relaxed(&lanes[i].ack[1], (uint32_t)WEIR__SEQ_START);
		weir__waitq_init(&lanes[i].waitq, object);
	}
}

static bool match(const void *object, const void *opts)
{
	const struct weir_sem_shm *shm = object;
	const struct weir_sem_opts *o = opts;

	/* relaxed: a resize is a new truth from when it is seen. */
	return weir_load_relaxed(&shm->cap) == o->permits;
}

int weir_sem_open(struct weir_segment *seg, const char *name, const struct weir_sem_opts *opts,
		  struct weir_sem **ret_sem)
{
	struct weir__plan plan = {
		.type = WEIR_OBJECT_TYPE_SEM, .opts = opts, .init = init, .match = match};
	struct weir_sem *sem;
	void *object;
	int r;

	if (opts && (opts->size != sizeof(*opts) || opts->permits == 0 ||
		     opts->permits > WEIR_SEM_PERMITS_MAX))
		return -EINVAL;
	plan.bytes = sizeof(struct weir_sem_shm) +
		     (uint64_t)seg->thread_count * sizeof(struct weir_sem_lane_shm);
	sem = malloc(sizeof(*sem));
	if (!sem)
		return -ENOMEM;
	r = weir__object_open(seg, name, &plan, &object);
	if (r == 0 && !weir__sem_view(seg, object, &sem->v))
		r = -EBADMSG;
	if (r < 0) {
		free(sem);
		return r;
	}
	sem->token = seg->token;
	*ret_sem = sem;
	return 0;
}

int weir_sem_close(struct weir_sem *sem)
{
	free(sem);
	return 0;
}

/* --- looking ------------------------------------------------------------------------------- */

int weir_sem_stat(const struct weir_sem *sem, struct weir_sem_stat *ret_stat)
{
	const struct weir__semv *v = &sem->v;
	struct weir_sem_stat s = {0};
	uint32_t high = weir__thread_high(v->seg);
	int self = weir__self(v->seg);

	/* relaxed, all of it: a snapshot. */
	s.permits = weir_load_relaxed(&v->shm->cap);
	s.used = (uint32_t)weir_sem_word_used(weir_load_relaxed(&v->shm->word));
	for (uint32_t i = 0; i < high; i++) {
		const struct weir_sem_lane_shm *lane = &v->lanes[i];

		s.waiters += weir_sem_lane_cell_state(weir_load_relaxed(&lane->cell)) ==
			     WEIR_SEM_LANE_CELL_WAIT;
		s.acquires += weir_load_relaxed(&lane->acquires);
		s.waits += weir_load_relaxed(&lane->waits);
		s.wait_ns += weir_load_relaxed(&lane->wait_ns);
	}
	if (self >= 0)
		s.held_here = (uint32_t)weir_sem_lane_ledger_hold(
			weir_load_relaxed(&v->lanes[self].ledger));
	*ret_stat = s;
	return 0;
}

/* Used and held, as long as the word stays the same: no permit moves without it. */
static bool sum_up(const struct weir__semv *v, int64_t *ret_diff)
{
	/* EDGE sem.word (acquire <- any CAS on it): before the lanes. */
	uint64_t word = weir_load_acquire(&v->shm->word);
	int64_t sum = 0;

	for (uint32_t i = 0; i < v->lane_count; i++)
		sum += (int64_t)weir__sem_held(v, word, i);
	*ret_diff = (int64_t)weir_sem_word_used(word) - sum;
	/* EDGE sem.word (acquire <- any CAS on it): the lanes were read before this look. */
	weir_fence_acquire();
	/* relaxed: after the fence. */
	return weir__sem_same(weir_load_relaxed(&v->shm->word), word);
}

int weir_sem_check(const struct weir_sem *sem, int64_t *ret_diff)
{
	int64_t diff;

	for (int turn = 0; turn < CHECK_TURNS; turn++) {
		if (!sum_up(&sem->v, &diff))
			continue;
		if (ret_diff)
			*ret_diff = diff;
		return diff == 0 ? 0 : -EBADMSG;
	}
	return -EAGAIN;
}
