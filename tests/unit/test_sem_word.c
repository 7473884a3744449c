/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The semaphore's word, from the inside. */
#include <sys/prctl.h>

#include "help.h"
#include "obj/sem_word.h"

TestSuite(sem_word, .fini = help_cleanup, .timeout = 60);

/* Another's signature with all permits taken and somebody waiting: the quick path's one subtraction
 * must not take it for ours with a small count. */
Test(sem_word, a_full_word_of_another_is_never_taken_for_ours)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = NULL;
	uint64_t self;
	uint64_t seq;

	cr_assert_eq(
		weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = WEIR_SEM_PERMITS_MAX), &sem), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), 0);
	self = weir__self_cache.slot;
	seq = weir_sem_lane_ledger_seq(weir_load_acquire(&sem->v.lanes[self].ledger));
	for (uint64_t author = 0; author <= WEIR_SEM_WORD_AUTHOR_MAX; author++) {
		for (uint64_t step = seq - 1; step != seq + 2; step++) {
			uint64_t word = weir__sem_sign(UINT64_C(1) << 20, WEIR_SEM_PERMITS_MAX,
						       author, step);

			weir_store_release(&sem->v.shm->word, word);
			for (uint32_t w = 1; w < WEIR_SEM_WEIGHT_MAX; w = w * 8 - 1 + (w == 1))
				cr_assert_eq(weir_sem_try_acquire(sem, w), -EAGAIN, "%lu %lu",
					     (unsigned long)author, (unsigned long)step);
			weir_store_release(&sem->v.shm->word, word);
		}
	}
	weir_segment_close(seg);
}

/* Clear the wait bit, and look at nothing: as one does who dies at that point. */
static void lose_wait_bit(struct weir_sem *sem)
{
	uint64_t word;

	do {
		word = weir_load_full(&sem->v.shm->word);
	} while (!weir_sem_word_wait(word) ||
		 !weir_cas_full(&sem->v.shm->word, &word, weir_sem_word_set_wait(word, 0)));
}

Test(sem_word, who_waits_sets_the_wait_bit_again_that_was_cleared_under_him)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = NULL;
	struct weir_wait wait;
	pid_t pid;

	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = 1), &sem), 0);
	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	cr_assert_eq(weir_sem_start(sem, 1), -EINPROGRESS);
	lose_wait_bit(sem);
	cr_assert_eq(weir_sem_release(sem, 1), 0);
	cr_assert_eq(weir_sem_poll(sem, &wait), 0, "in an event loop");
	pid = fork();
	if (pid == 0) {
		struct weir_ctx ctx;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		weir_ctx_init(&ctx, NULL, 5000 * MS);
		_exit(weir_sem_acquire(sem, 1, &ctx) != 0);
	}
	lose_wait_bit(sem);
	cr_assert_eq(weir_sem_release(sem, 1), 0);
	cr_assert_eq(help_wait(pid), 0, "asleep");
	weir_segment_close(seg);
}
