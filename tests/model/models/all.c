/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The list of models. */
#include "model.h"

/* clang-format off */
#define MODELS(M)                                                                           \
	M(sem_try) M(sem_wait) M(sem_wait3) M(sem_weights) M(sem_cancel) M(sem_cancel3)     \
	M(sem_resize) M(sem_kill) M(sem_kill_waiter)
/* clang-format on */

#define DECLARE(name) extern const struct model name;
#define ADDRESS(name) &name,

MODELS(DECLARE)
const struct model *const models_all[] = {MODELS(ADDRESS) NULL};
