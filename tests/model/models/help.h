/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the models share. */
#ifndef WEIR_MODELS_HELP_H
#define WEIR_MODELS_HELP_H

#include <errno.h>
#include <string.h>
#include <weir.h>

#include "model.h"
#include "obj/obj.h"

/* The body of a recoverer: a live peer that looks for the dead. */
static inline void recover(int self)
{
	EXPECT(weir_segment_recover(world_seg(self), NULL) == 0);
}

/* Be the last participant that lives. */
static inline int survivor(const struct model *m)
{
	for (int i = BODIES_MAX - 1; i >= 0; i--) {
		if (m->body[i] && !model_dead(i)) {
			world_as(i);
			return i;
		}
	}
	model_fail("nobody lives");
}

/* Sleep where the library says. */
static inline void sleep_at(const struct weir_wait *wait)
{
	model_sleep(wait->word, wait->value);
}

#endif
