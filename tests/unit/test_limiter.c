/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The rate limiter: one limit, keys, several processes.  Its arithmetic: test_limiter_math.c. */
#include <pthread.h>
#include <weir/limiter.h>

#include "obj_help.h"

TestSuite(limiter, .init = seg_make, .fini = seg_drop, .timeout = 60);

/* --- the object -------------------------------------------------------------------------- */

static struct weir_limiter *limiter;

static void make(uint64_t count, uint64_t period_ns, uint64_t burst, uint32_t keys,
		 uint32_t overfull)
{
	int r = weir_limiter_open(seg, "limit",
				  &WEIR_OPTS(limiter, .count = count, .period_ns = period_ns,
					     .burst = burst, .keys = keys, .overfull = overfull),
				  &limiter);

	cr_assert_eq(r, 0, "weir_limiter_open: %s", strerror(-r));
}

static struct weir_limiter_shm *shm(void)
{
	return weir__object_at(seg, 0);
}

/* The only entry in use. */
static WEIR_ATOMIC(uint64_t) * entry_find(void)
{
	struct weir_limiter_lane_shm *lanes = (void *)(shm() + 1);
	struct weir_limiter_set_shm *sets = (void *)(lanes + shm()->lanes);

	for (uint32_t s = 0; s < shm()->sets; s++)
		for (int i = 0; i < 8; i++)
			if (weir_load_relaxed(&sets[s].entry[i]))
				return &sets[s].entry[i];
	return NULL;
}

static int allow_key(const char *key, uint64_t cost, struct weir_verdict *ret)
{
	return weir_limiter_allow_key(limiter, key, strlen(key), cost, ret);
}

Test(limiter, opens_once_and_refuses_other_options)
{
	struct weir_limiter *other;

	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), -ENOENT);
	make(10, HOUR_NS, 0, 0, 0);
	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), 0);
	cr_assert_eq(weir_limiter_allow(limiter, 4, NULL), 0);
	cr_assert_eq(weir_limiter_allow(other, 7, NULL), -EAGAIN);
	cr_assert_eq(weir_limiter_allow(other, 6, NULL), 0);
	weir_limiter_close(other);
	cr_assert_eq(weir_limiter_open(seg, "limit",
				       &WEIR_OPTS(limiter, .count = 11, .period_ns = HOUR_NS),
				       &other),
		     -EEXIST);
	cr_assert_eq(weir_limiter_open(seg, "bad", &WEIR_OPTS(limiter, .count = 1), &other),
		     -EINVAL);
	weir_limiter_close(limiter);
	weir_limiter_close(NULL);
}

Test(limiter, says_what_is_left_and_how_long_to_wait)
{
	struct weir_verdict verdict;
	struct weir_limiter_stat stat;

	make(10, HOUR_NS, 0, 0, 0);
	cr_assert_eq(weir_limiter_allow(limiter, 3, &verdict), 0);
	cr_assert_eq(verdict.retry_after_ns, 0);
	cr_assert_eq(verdict.remaining, 7);
	cr_assert_gt(verdict.reset_ns, HOUR_NS * 3 / 10 - 60000 * MS);
	cr_assert_leq(verdict.reset_ns, HOUR_NS * 3 / 10);
	cr_assert_eq(weir_limiter_allow(limiter, 9, &verdict), -EAGAIN);
	cr_assert_eq(verdict.remaining, 7);
	cr_assert_gt(verdict.retry_after_ns, HOUR_NS * 2 / 10 - 60000 * MS);
	cr_assert_leq(verdict.retry_after_ns, HOUR_NS * 2 / 10);
	cr_assert_eq(weir_limiter_allow(limiter, 11, &verdict), -EAGAIN);
	cr_assert_eq(verdict.retry_after_ns, UINT64_MAX);
	cr_assert_eq(weir_limiter_allow(limiter, 0, &verdict), -EINVAL);
	cr_assert_eq(weir_limiter_allow_key(limiter, "k", 1, 1, &verdict), -EINVAL);
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.allowed, 1);
	cr_assert_eq(stat.denied, 2);
	cr_assert_eq(stat.tokens, 3);
	cr_assert_eq(stat.remaining, 7);
	cr_assert_eq(stat.burst, 10);
}

Test(limiter, a_denial_writes_nothing_shared)
{
	uint64_t before;

	make(1, HOUR_NS, 0, 0, 0);
	cr_assert_eq(weir_limiter_allow(limiter, 1, NULL), 0);
	before = weir_load_relaxed(&shm()->tat);
	cr_assert_eq(weir_limiter_allow(limiter, 1, NULL), -EAGAIN);
	cr_assert_eq(weir_load_relaxed(&shm()->tat), before);
}

Test(limiter, heals_from_an_impossible_time)
{
	struct weir_verdict verdict;

	make(10, 1000 * MS, 0, 0, 0);
	weir_store_relaxed(&shm()->tat, UINT64_MAX - 3);
	cr_assert_eq(weir_limiter_allow(limiter, 1, &verdict), 0);
	cr_assert_eq(verdict.remaining, 9);
	cr_assert_lt(weir_load_relaxed(&shm()->tat), UINT64_MAX / 2);
}

Test(limiter, refuses_a_head_that_contradicts_itself)
{
	struct weir_limiter *other;

	make(10, HOUR_NS, 0, 64, 0);
	shm()->sets = 1u << 20;
	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), -EBADMSG);
	shm()->sets = 3;
	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), -EBADMSG);
	shm()->sets = 16;
	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), 0);
	shm()->interval++;
	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), -EBADMSG);
	shm()->interval--;
	shm()->lanes = 1000000;
	cr_assert_eq(weir_limiter_open(seg, "limit", NULL, &other), -EBADMSG);
}

Test(limiter, refunds_never_more_than_full)
{
	struct weir_verdict verdict;

	make(10, HOUR_NS, 0, 0, 0);
	cr_assert_eq(weir_limiter_allow(limiter, 5, NULL), 0);
	cr_assert_eq(weir_limiter_refund(limiter, 3), 0);
	cr_assert_eq(weir_limiter_allow(limiter, 1, &verdict), 0);
	cr_assert_eq(verdict.remaining, 7);
	cr_assert_eq(weir_limiter_refund(limiter, UINT64_MAX), 0);
	cr_assert_eq(weir_limiter_allow(limiter, 1, &verdict), 0);
	cr_assert_eq(verdict.remaining, 9);
	cr_assert_eq(weir_limiter_refund(limiter, 0), -EINVAL);
}

Test(limiter, reserves_the_future_as_far_as_allowed)
{
	struct weir_verdict verdict;
	uint64_t wait_ns = 77;

	make(10, HOUR_NS, 0, 0, 0);
	cr_assert_eq(weir_limiter_reserve(limiter, 10, 0, &wait_ns), 0);
	cr_assert_eq(wait_ns, 0);
	wait_ns = 77;
	cr_assert_eq(weir_limiter_reserve(limiter, 1, HOUR_NS / 20, &wait_ns), -EAGAIN);
	cr_assert_eq(wait_ns, 77);
	cr_assert_eq(weir_limiter_reserve(limiter, 5, UINT64_MAX, &wait_ns), 0);
	cr_assert_leq(wait_ns, HOUR_NS / 2);
	cr_assert_gt(wait_ns, HOUR_NS / 2 - 60000 * MS);
	cr_assert_eq(weir_limiter_allow(limiter, 1, &verdict), -EAGAIN);
	cr_assert_gt(verdict.retry_after_ns, HOUR_NS * 6 / 10 - 60000 * MS);
	cr_assert_eq(weir_limiter_reserve(limiter, 11, UINT64_MAX, &wait_ns), -EINVAL);
}

Test(limiter, waiting_keeps_the_rate)
{
	uint64_t start = weir_now_ns();

	make(1000, 1000 * MS, 1, 0, 0);
	for (int i = 0; i < 21; i++)
		cr_assert_eq(weir_limiter_wait(limiter, 1, NULL), 0);
	cr_assert_geq(weir_now_ns() - start, 20 * MS);
}

Test(limiter, does_not_begin_to_wait_in_vain)
{
	struct weir_verdict verdict;
	struct weir_ctx ctx;
	uint64_t before;

	make(1, HOUR_NS, 1, 0, 0);
	cr_assert_eq(weir_limiter_allow(limiter, 1, NULL), 0);
	before = weir_load_relaxed(&shm()->tat);
	cr_assert_eq(weir_ctx_init(&ctx, NULL, HOUR_NS / 4), 0);
	cr_assert_eq(weir_limiter_wait(limiter, 1, &ctx), -ETIMEDOUT);
	cr_assert_eq(weir_load_relaxed(&shm()->tat), before);
	weir_ctx_cancel(&ctx);
	cr_assert_eq(weir_limiter_wait(limiter, 1, &ctx), -ECANCELED);
	cr_assert_eq(weir_limiter_allow(limiter, 1, &verdict), -EAGAIN);
}

static struct weir_ctx wait_ctx;

static void *cancel_when_reserved(void *arg)
{
	uint64_t before = *(uint64_t *)arg;

	while (weir_load_full(&shm()->tat) == before)
		sched_yield();
	weir_ctx_cancel(&wait_ctx);
	return NULL;
}

Test(limiter, a_cancelled_wait_gives_its_tokens_back)
{
	pthread_t thread;
	uint64_t before;

	make(1, HOUR_NS, 1, 0, 0);
	cr_assert_eq(weir_limiter_allow(limiter, 1, NULL), 0);
	before = weir_load_relaxed(&shm()->tat);
	cr_assert_eq(weir_ctx_init(&wait_ctx, NULL, UINT64_MAX), 0);
	cr_assert_eq(pthread_create(&thread, NULL, cancel_when_reserved, &before), 0);
	cr_assert_eq(weir_limiter_wait(limiter, 1, &wait_ctx), -ECANCELED);
	pthread_join(thread, NULL);
	cr_assert_eq(weir_load_relaxed(&shm()->tat), before);
}

/* --- keys -------------------------------------------------------------------------------- */

Test(limiter, keys_do_not_share_their_budgets)
{
	struct weir_limiter_stat stat;
	struct weir_verdict verdict;

	make(3, HOUR_NS, 0, 100, 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(allow_key("a", 1, &verdict), 0);
	cr_assert_eq(verdict.remaining, 0);
	cr_assert_eq(allow_key("a", 1, &verdict), -EAGAIN);
	cr_assert_gt(verdict.retry_after_ns, HOUR_NS / 3 - 60000 * MS);
	cr_assert_eq(allow_key("b", 2, &verdict), 0);
	cr_assert_eq(verdict.remaining, 1);
	cr_assert_eq(allow_key("", 3, &verdict), 0);
	cr_assert_eq(allow_key("c", 4, &verdict), -EAGAIN);
	cr_assert_eq(verdict.retry_after_ns, UINT64_MAX);
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.keys_busy, 3);
	cr_assert_geq(stat.keys_room, 200);
	cr_assert_eq(weir_limiter_allow(limiter, 1, NULL), -EINVAL);
	cr_assert_eq(weir_limiter_refund(limiter, 1), -EINVAL);
	cr_assert_eq(weir_limiter_allow_key(limiter, NULL, 1, 1, NULL), -EINVAL);
}

Test(limiter, keys_with_full_buckets_make_room)
{
	struct weir_limiter_stat stat;
	struct weir_verdict verdict = {0};
	char key[16];

	make(1000, 1000 * MS, 1, 8, 0); /* two sets of 8 */
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		while (allow_key(key, 1, &verdict) < 0) /* at most an interval: 1 ms */
			cr_assert_leq(verdict.retry_after_ns, 1002 * MS / 1000);
	}
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.allowed, 2000);
	cr_assert_leq(stat.keys_busy, 16);
}

Test(limiter, a_full_set_follows_the_policy)
{
	struct weir_limiter_stat stat;
	struct weir_verdict verdict;
	int allowed = 0;
	char key[16];

	make(1, HOUR_NS, 0, 4, 0); /* one set */
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "%d", i);
		allowed += allow_key(key, 1, &verdict) == 0;
	}
	cr_assert_eq(allowed, 8);
	cr_assert_gt(verdict.retry_after_ns, 0);
	cr_assert_leq(verdict.retry_after_ns, HOUR_NS + HOUR_NS / 1000);
	weir_object_unlink(seg, "limit");
	make(1, HOUR_NS, 0, 4, 1);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "%d", i);
		cr_assert_eq(allow_key(key, 1, &verdict), 0);
	}
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.overfull, 12);
	cr_assert_eq(stat.keys_busy, 8);
}

Test(limiter, two_entries_of_a_key_become_one_and_nothing_is_forgotten)
{
	struct weir_limiter_stat stat;
	struct weir_verdict verdict;
	WEIR_ATOMIC(uint64_t) * entry;
	uint64_t word;

	make(10, HOUR_NS, 0, 100, 0);
	cr_assert_eq(allow_key("a", 3, NULL), 0);
	entry = entry_find();
	word = weir_load_relaxed(entry);
	weir_store_relaxed(entry + 5, word);
	cr_assert_eq(allow_key("a", 1, &verdict), 0);
	cr_assert_eq(verdict.remaining, 3);
	cr_assert_eq(weir_load_relaxed(entry + 5), 0);
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.keys_busy, 1);
	/* More than a burst together: it is paid back, not forgotten. */
	weir_store_relaxed(entry + 7, weir_load_relaxed(entry));
	cr_assert_eq(allow_key("a", 1, &verdict), -EAGAIN);
	cr_assert_gt(verdict.retry_after_ns, HOUR_NS * 5 / 10 - 60000 * MS);
	cr_assert_eq(weir_load_relaxed(entry + 7), 0);
}

Test(limiter, an_impossible_entry_is_free)
{
	struct weir_verdict verdict;
	WEIR_ATOMIC(uint64_t) * entry;
	uint64_t word;

	make(10, HOUR_NS, 0, 100, 0);
	cr_assert_eq(allow_key("a", 10, NULL), 0);
	entry = entry_find();
	word = weir_load_relaxed(entry);
	weir_store_relaxed(entry,
			   weir_limiter_set_entry_set_tat(word, weir_limiter_set_entry_tat(word) +
									(UINT64_C(1) << 37)));
	cr_assert_eq(allow_key("a", 1, &verdict), 0);
	cr_assert_eq(verdict.remaining, 9);
}

/* --- several processes ------------------------------------------------------------------- */

#define CALLS 1000000 /* long enough to meet also on two processors */
#define BURST 2000000

static void take_all(struct help_board *board, int index)
{
	uint64_t got = 0;

	board_meet(board, 1);
	for (int i = 0; i < CALLS; i++)
		got += weir_limiter_allow(limiter, 1, NULL) == 0;
	weir_store_full(&board->score[index], got);
}

Test(limiter, processes_together_take_exactly_the_burst)
{
	struct help_board *board = board_make();
	struct weir_limiter_stat stat;
	pid_t pid[4];
	uint64_t sum = 0;

	make(BURST, HOUR_NS * 50000, 0, 0, 0);
	for (int i = 0; i < 4; i++)
		pid[i] = child_start(take_all, board, i);
	board_release(board, 4, 1);
	for (int i = 0; i < 4; i++) {
		child_reap(pid[i]);
		sum += weir_load_full(&board->score[i]);
	}
	cr_assert_eq(sum, BURST);
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.tokens, BURST);
	cr_assert_eq(stat.allowed + stat.denied, 4 * CALLS);
}

static void take_for_a_while(struct help_board *board, int index)
{
	uint64_t got = 0;
	uint64_t end;

	board_meet(board, 1);
	for (end = weir_now_ns() + 200 * MS; weir_now_ns() < end;)
		got += weir_limiter_allow(limiter, 1, NULL) == 0;
	weir_store_full(&board->score[index], got);
}

Test(limiter, processes_together_never_exceed_the_rate)
{
	struct help_board *board = board_make();
	pid_t pid[4];
	uint64_t sum = 0;
	uint64_t start;

	make(100000, 1000 * MS, 50, 0, 0);
	for (int i = 0; i < 4; i++)
		pid[i] = child_start(take_for_a_while, board, i);
	start = weir_now_ns();
	board_release(board, 4, 1);
	for (int i = 0; i < 4; i++) {
		child_reap(pid[i]);
		sum += weir_load_full(&board->score[i]);
	}
	cr_assert_gt(sum, 50);
	cr_assert_leq(sum, 50 + (weir_now_ns() - start) / 10000);
}

/* Everybody asks for every key at about the same time: each passes exactly once. */
static void take_keys(struct help_board *board, int index)
{
	uint64_t got = 0;
	char key[16];

	board_meet(board, 1);
	for (int i = 0; i < 4000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		got += allow_key(key, 1, NULL) == 0;
	}
	weir_store_full(&board->score[index], got);
}

Test(limiter, a_new_key_gets_one_budget_however_many_meet_it_first)
{
	struct help_board *board = board_make();
	struct weir_limiter_stat stat;
	pid_t pid[4];
	uint64_t sum = 0;

	make(1, HOUR_NS, 1, 16000, 0);
	for (int i = 0; i < 4; i++)
		pid[i] = child_start(take_keys, board, i);
	board_release(board, 4, 1);
	for (int i = 0; i < 4; i++) {
		child_reap(pid[i]);
		sum += weir_load_full(&board->score[i]);
	}
	cr_assert_eq(weir_limiter_stat(limiter, &stat), 0);
	cr_assert_eq(stat.keys_busy, sum);
	cr_assert_leq(sum, 4000);
	cr_assert_geq(sum, 3990, "only full sets may refuse: %lu", (unsigned long)stat.overfull);
}
