/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The list of models. */
#include "model.h"

/* clang-format off */
#define MODELS(M) \
	M(sem_try) M(sem_wait) M(sem_wait3) M(sem_weights) M(sem_cancel) M(sem_timeout) \
	M(sem_cancel3) M(sem_clear) M(sem_resize) M(sem_shrink) M(sem_kill_resize) \
	M(sem_kill) M(sem_kill_waiter) \
	M(sem_kill_granted) M(sem_kill_two) M(sem_kill3) M(sem_close) M(sem_reuse) M(sem_race) \
	M(queue_try) M(queue_senders) M(queue_lap) M(queue_lapped) M(queue_wait1) M(queue_wait) \
	M(queue_late) M(queue_2p1c) M(queue_2p2c) M(queue_put_back) M(queue_both_back) \
	M(queue_over) M(queue_abort) M(queue_void) \
	M(queue_shutdown) M(queue_kill_sender) M(queue_kill_receiver) M(queue_kill_loan) \
	M(queue_reuse) M(queue_reuse_take) M(queue_race) \
	M(waitq_wake) M(waitq_wake2) M(waitq_wakers) \
	M(ctx_cancel) M(ctx_cancel2) M(ctx_kill) \
	M(join_kill) M(attach_kill) M(arena_kill) M(dir_kill) \
	M(dir_unlink) M(dir_reuse) M(limiter_burst) M(limiter_refund) M(limiter_keys) \
	M(breaker_trip) M(breaker_probe) M(breaker_kill) M(span_read) M(span_reuse) \
	M(lin_queue) M(lin_loan) M(lin_back) M(lin_closing) M(lin_three) M(lin_sem) M(lin_line) \
	M(lin_resize) M(lin_limiter) M(lin_directory)
/* clang-format on */

#define DECLARE(name) extern const struct model name;
#define ADDRESS(name) &name,

MODELS(DECLARE)
const struct model *const models_all[] = {MODELS(ADDRESS) NULL};
