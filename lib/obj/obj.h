/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the objects share inside the library. */
#ifndef WEIR_OBJ_OBJ_H
#define WEIR_OBJ_OBJ_H

#include "sync/sync.h"

void weir__sem_recover(const struct weir__victim *victim, void *object, struct weir_recovery *rec);
void weir__breaker_recover(const struct weir__victim *victim, void *object,
			   struct weir_recovery *rec);
void weir__queue_recover(const struct weir__victim *victim, void *object,
			 struct weir_recovery *rec);

/* Add to a counter that only the calling thread writes. */
static inline void weir__count(WEIR_ATOMIC(uint64_t) * counter, uint64_t n)
{
	/* relaxed: one writer, and readers only want a recent value. */
	weir_store_relaxed(counter, weir_load_relaxed(counter) + n);
}

#endif
