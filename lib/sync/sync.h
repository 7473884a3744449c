/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Waiting: contexts and places to sleep. */
#ifndef WEIR_SYNC_SYNC_H
#define WEIR_SYNC_SYNC_H

#include <weir/ctx.h>
#include <weir/sem.h>

#include "seg/seg.h"

/* Earliest deadline of ctx and its parents; UINT64_MAX for none. */
uint64_t weir__ctx_deadline(const struct weir_ctx *ctx);
/* The words to sleep on besides one's own; returns how many were added (at most 9). */
uint32_t weir__ctx_words(const struct weir_ctx *ctx, struct weir__sleep *ret_sleeps);

void weir__waitq_init(struct weir_waitq_shm *q, const void *object);

/*
 * How to wait, so that no wake is lost:
 *	value = weir__waitq_prepare(q);         the flag is up before ...
 *	if (what we wait for is there) ...      ... the last look
 *	weir__waitq_sleep(q, value, ctx);
 * and the other side changes the state first and then calls weir__waitq_wake().  A wake is only a
 *hint: it may be swallowed by somebody who dies, so no sleep is longer than WEIR_RECOVERY_NS.
 */
uint32_t weir__waitq_prepare(struct weir_waitq_shm *q);
/* Returns 0 to look again, 1 if the whole interval passed without a wake (look for the dead), or
 * -ETIMEDOUT, -ECANCELED from ctx. */
int weir__waitq_sleep(struct weir_waitq_shm *q, uint32_t value, const struct weir_ctx *ctx);
void weir__waitq_wake_slow(struct weir_waitq_shm *q);

/* The state was changed before by a full-order access (CAS, swap or full store), or a full fence
 * came between. */
static inline void weir__waitq_wake(struct weir_waitq_shm *q)
{
	/* EDGE waitq.sleepers (full -> weir__waitq_prepare): our state change, then this look;
	 * their flag, a fence, then their look: one of us sees the other. */
	if (weir__unlikely(weir_load_full(&q->sleepers)))
		weir__waitq_wake_slow(q);
}

#endif
