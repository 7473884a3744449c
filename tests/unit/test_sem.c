/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>
#include <sys/prctl.h>

#include "help.h"
#include "obj/sem_word.h"

TestSuite(sem, .fini = help_cleanup, .timeout = 60);

static struct weir_sem *open_sem(struct weir_segment *seg, uint32_t permits)
{
	struct weir_sem *sem = NULL;

	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = permits), &sem), 0);
	return sem;
}

static uint32_t used(struct weir_sem *sem)
{
	struct weir_sem_stat s;

	weir_sem_stat(sem, &s);
	return s.used;
}

Test(sem, takes_and_gives_back)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);

	for (int i = 0; i < 200; i++) { /* Past the wrap of the sequence numbers. */
		cr_assert_eq(weir_sem_acquire(sem, 3, NULL), 0);
		cr_assert_eq(weir_sem_try_acquire(sem, 2), -EAGAIN);
		cr_assert_eq(weir_sem_try_acquire(sem, 1), 0);
		cr_assert_eq(used(sem), 4);
		cr_assert_eq(weir_sem_release(sem, 4), 0);
		cr_assert_eq(weir_sem_check(sem, NULL), 0);
	}
	cr_assert_eq(used(sem), 0);
	weir_segment_close(seg);
}

Test(sem, refuses_what_cannot_be)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	struct weir_sem *other;

	cr_assert_eq(weir_sem_acquire(sem, 0, NULL), -EINVAL);
	cr_assert_eq(weir_sem_acquire(sem, 5, NULL), -EINVAL);
	cr_assert_eq(weir_sem_release(sem, 1), -EPERM);
	cr_assert_eq(weir_sem_release(sem, 0), -EINVAL);
	cr_assert_eq(weir_sem_open(seg, "t", &WEIR_OPTS(sem), &other), -EINVAL);
	cr_assert_eq(weir_sem_open(seg, "t", NULL, &other), -ENOENT);
	cr_assert_eq(weir_sem_open(seg, "a/b", &WEIR_OPTS(sem, .permits = 1), &other), -EINVAL);
	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = 5), &other), -EEXIST);
	cr_assert_eq(used(sem), 0);
	weir_segment_close(seg);
}

Test(sem, times_out_and_is_cancelled)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 1);
	struct weir_ctx ctx;

	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	for (int i = 0; i < 40; i++) {
		weir_ctx_init(&ctx, NULL, 1 * MS);
		cr_assert_eq(weir_sem_acquire(sem, 1, &ctx), -ETIMEDOUT);
	}
	weir_ctx_init(&ctx, NULL, UINT64_MAX);
	weir_ctx_cancel(&ctx);
	cr_assert_eq(weir_sem_acquire(sem, 1, &ctx), -ECANCELED);
	cr_assert_eq(weir_sem_release(sem, 1), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), 0, "the line must be empty again");
	weir_segment_close(seg);
}

/* A child that does not outlive a failed test. */
static pid_t child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t holder(struct weir_sem *sem, uint32_t weight, volatile int *flag)
{
	pid_t pid = child();

	if (pid == 0) {
		if (weir_sem_acquire(sem, weight, NULL) != 0)
			_exit(1);
		help_say(flag, 1);
		pause();
		_exit(0);
	}
	help_until(flag, 1);
	help_say(flag, 0);
	return pid;
}

Test(sem, the_dead_give_back_within_100_ms)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	volatile int *flag = help_shared(64);
	uint64_t worst = 0;

	for (int i = 0; i < 10; i++) {
		pid_t pid = holder(sem, 4, flag);
		uint64_t start;

		help_kill(pid);
		start = weir_now_ns();
		cr_assert_eq(weir_sem_acquire(sem, 4, NULL), 0);
		if (weir_now_ns() - start > worst)
			worst = weir_now_ns() - start;
		cr_assert_eq(weir_sem_check(sem, NULL), 0);
		cr_assert_eq(weir_sem_release(sem, 4), 0);
	}
	printf("worst %llu us\n", (unsigned long long)worst / 1000);
	weir_segment_close(seg);
}

Test(sem, a_stopped_holder_keeps_its_permits)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	volatile int *flag = help_shared(64);
	pid_t pid = holder(sem, 2, flag);
	struct weir_ctx ctx;

	kill(pid, SIGSTOP);
	weir_ctx_init(&ctx, NULL, 200 * MS);
	cr_assert_eq(weir_sem_acquire(sem, 1, &ctx), -ETIMEDOUT);
	cr_assert_eq(weir_segment_recover(seg, NULL), 0);
	cr_assert_eq(used(sem), 2);
	kill(pid, SIGCONT);
	help_kill(pid);
	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	weir_segment_close(seg);
}

Test(sem, a_zombie_is_dead)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	volatile int *flag = help_shared(64);
	pid_t pid = holder(sem, 2, flag);

	kill(pid, SIGKILL); /* Not waited for. */
	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	help_wait(pid);
	weir_segment_close(seg);
}

Test(sem, death_shows_although_a_forked_child_keeps_the_descriptor)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	volatile int *flag = help_shared(64);
	pid_t pid = child();

	if (pid == 0) {
		if (weir_sem_acquire(sem, 2, NULL) != 0)
			_exit(1);
		/* vfork-like: no atfork handler runs in the grandchild, and it lives on. */
		if (syscall(57 /* fork */) == 0) {
			help_say(flag + 1, getpid());
			pause();
			_exit(0);
		}
		help_say(flag, 1);
		pause();
	}
	help_until(flag, 1);
	help_until(flag + 1, 1);
	help_kill(pid);
	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	kill(flag[1], SIGKILL);
	weir_segment_close(seg);
}

Test(sem, a_killed_waiter_does_not_stop_the_line)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	volatile int *flag = help_shared(64);
	struct weir_sem_stat s;
	pid_t first;
	pid_t second;

	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	first = child();
	if (first == 0) {
		weir_sem_acquire(sem, 2, NULL);
		_exit(1);
	}
	do {
		weir_sem_stat(sem, &s);
	} while (s.waiters < 1);
	second = child();
	if (second == 0)
		_exit(weir_sem_acquire(sem, 1, NULL) != 0);
	do {
		weir_sem_stat(sem, &s);
	} while (s.waiters < 2);
	help_kill(first);
	cr_assert_eq(weir_sem_release(sem, 2), 0);
	cr_assert_eq(help_wait(second), 0);
	(void)flag;
	weir_segment_close(seg);
}

Test(sem, big_requests_are_not_overtaken)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	struct weir_sem_stat s;
	pid_t pid;

	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	pid = child();
	if (pid == 0)
		_exit(weir_sem_acquire(sem, 4, NULL) != 0);
	do {
		weir_sem_stat(sem, &s);
	} while (s.waiters < 1);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), -EAGAIN);
	cr_assert_eq(weir_sem_release(sem, 1), 0);
	cr_assert_eq(help_wait(pid), 0);
	weir_segment_close(seg);
}

Test(sem, many_processes_keep_the_books)
{
	enum { PROCS = 6, ROUNDS = 20000 };
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 3);
	volatile int *inside = help_shared(64);
	struct weir_sem_stat s;
	pid_t pids[PROCS];

	for (int i = 0; i < PROCS; i++) {
		pids[i] = child();
		if (pids[i] == 0) {
			for (int k = 0; k < ROUNDS; k++) {
				int w = 1 + (k + i) % 3;

				if (weir_sem_acquire(sem, (uint32_t)w, NULL) != 0)
					_exit(1);
				if (__atomic_add_fetch(inside, w, __ATOMIC_SEQ_CST) > 3)
					_exit(2);
				__atomic_sub_fetch(inside, w, __ATOMIC_SEQ_CST);
				if (weir_sem_release(sem, (uint32_t)w) != 0)
					_exit(3);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < PROCS; i++)
		cr_assert_eq(help_wait(pids[i]), 0);
	cr_assert_eq(used(sem), 0);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	weir_sem_stat(sem, &s);
	cr_assert_eq(s.acquires, PROCS * ROUNDS);
	weir_segment_close(seg);
}

Test(sem, random_kills_lose_nothing)
{
	enum { PROCS = 4, KILLS = 60 };
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 5);
	pid_t pids[PROCS] = {0};
	unsigned seed = (unsigned)getpid();

	printf("seed %u\n", seed);
	srand(seed);
	for (int k = 0; k < KILLS; k++) {
		int i = k % PROCS;

		if (pids[i] != 0)
			help_kill(pids[i]);
		pids[i] = child();
		if (pids[i] == 0) {
			for (int n = 0;; n++) {
				uint32_t w = 1 + (uint32_t)((n + i) % 5);

				if (weir_sem_acquire(sem, w, NULL) != 0 ||
				    weir_sem_release(sem, w) != 0)
					_exit(1);
			}
		}
		usleep((unsigned)(rand() % 8000));
	}
	for (int i = 0; i < PROCS; i++)
		help_kill(pids[i]);
	cr_assert_eq(weir_sem_acquire(sem, 5, NULL), 0);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	cr_assert_eq(weir_sem_release(sem, 5), 0);
	weir_segment_close(seg);
}

static void *take_two(void *sem)
{
	return (void *)(intptr_t)weir_sem_acquire(sem, 2, NULL);
}

Test(sem, a_thread_that_ends_gives_back)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	pthread_t thread;

	for (int i = 0; i < 5; i++) {
		pthread_create(&thread, NULL, take_two, sem);
		pthread_join(thread, NULL);
		cr_assert_eq(used(sem), 0);
	}
	weir_segment_close(seg);
}

Test(sem, closing_gives_back)
{
	struct weir_segment *seg = help_segment();
	struct weir_segment *again;
	struct weir_sem *sem = open_sem(seg, 2);

	cr_assert_eq(weir_segment_open(help_path, NULL, &again), 0);
	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	weir_segment_close(seg);
	cr_assert_eq(weir_sem_open(again, "s", NULL, &sem), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 2), 0);
	weir_segment_close(again);
}

Test(sem, resizing_wakes_and_never_takes_away)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	struct weir_sem_stat s;
	pid_t pid;

	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	pid = child();
	if (pid == 0)
		_exit(weir_sem_acquire(sem, 2, NULL) != 0);
	do {
		weir_sem_stat(sem, &s);
	} while (s.waiters < 1);
	cr_assert_eq(weir_sem_resize(sem, 4), 0);
	cr_assert_eq(help_wait(pid), 0);
	cr_assert_eq(weir_sem_resize(sem, 1), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), -EAGAIN);
	cr_assert_eq(weir_sem_release(sem, 2), 0);
	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	weir_segment_close(seg);
}

Test(sem, waiting_in_an_event_loop_leaves_room_to_release)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	struct weir_wait wait;

	for (int i = 0; i < 50; i++) {
		cr_assert_eq(weir_sem_start(sem, 2), 0);
		cr_assert_eq(weir_sem_start(sem, 1), -EINPROGRESS);
		cr_assert_eq(weir_sem_start(sem, 1), -EBUSY);
		cr_assert_eq(weir_sem_poll(sem, &wait), -EINPROGRESS);
		if (i % 2 == 0) {
			cr_assert_eq(weir_sem_release(sem, 1), 0);
			cr_assert_eq(weir_sem_poll(sem, &wait), 0);
			cr_assert_eq(weir_sem_release(sem, 2), 0);
		} else {
			cr_assert_eq(weir_sem_stop(sem), -ECANCELED);
			cr_assert_eq(weir_sem_release(sem, 2), 0);
		}
		cr_assert_eq(weir_sem_check(sem, NULL), 0);
		cr_assert_eq(used(sem), 0);
	}
	weir_segment_close(seg);
}

Test(sem, what_is_waited_for_counts_as_held)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 40000);
	volatile int *flag = help_shared(64);
	pid_t first = holder(sem, WEIR_SEM_WEIGHT_MAX, flag);
	pid_t second = holder(sem, WEIR_SEM_WEIGHT_MAX, flag);
	struct weir_sem_stat s;
	struct weir_wait wait;

	cr_assert_eq(weir_sem_start(sem, 10000), -EINPROGRESS);
	help_kill(second);
	cr_assert_eq(weir_segment_recover(seg, NULL), 0); /* And now it is granted. */
	cr_assert_eq(weir_sem_try_acquire(sem, WEIR_SEM_WEIGHT_MAX - 9999), -EOVERFLOW);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), 0);
	/* The last step was ours: the quick way must count it too. */
	cr_assert_eq(weir_sem_try_acquire(sem, WEIR_SEM_WEIGHT_MAX - 10000), -EOVERFLOW);
	cr_assert_eq(weir_sem_try_acquire(sem, WEIR_SEM_WEIGHT_MAX - 10001), 0);
	cr_assert_eq(weir_sem_poll(sem, &wait), 0);
	weir_sem_stat(sem, &s);
	cr_assert_eq(s.held_here, WEIR_SEM_WEIGHT_MAX);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	cr_assert_eq(weir_sem_release(sem, WEIR_SEM_WEIGHT_MAX), 0);
	help_kill(first);
	cr_assert_eq(weir_segment_recover(seg, NULL), 0);
	cr_assert_eq(used(sem), 0);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	weir_segment_close(seg);
}

/* A helper that stands still between its look at the word and its CAS, for 2^29 steps of the
 * author. */
Test(sem, a_late_helper_does_not_turn_an_acknowledgement_back)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	uint64_t late;
	uint32_t lane;
	uint32_t which;

	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	late = weir_load_acquire(&sem->v.shm->word);
	lane = (uint32_t)weir_sem_word_author(late) / 2;
	which = (uint32_t)weir_sem_word_author(late) & 1;
	/* Told once: the word is still the author's. */
	weir__sem_ack(&sem->v, late);
	cr_assert_eq(weir_load_acquire(&sem->v.lanes[lane].ack[which]), weir_sem_word_seq(late));
	for (uint32_t steps = (1 << 29) - 1; steps <= (1 << 29) + 1; steps++) {
		uint32_t now = ((uint32_t)weir_sem_word_seq(late) + steps) & 0x3fffffff;

		weir_store_release(&sem->v.shm->word, weir_sem_word_set_seq(late, now + 1));
		weir_store_release(&sem->v.lanes[lane].ack[which], now);
		weir__sem_ack(&sem->v, late);
		cr_assert_eq(weir_load_acquire(&sem->v.lanes[lane].ack[which]), now, "%u", steps);
	}
	/* The wait bit is no change of author. */
	weir_store_release(&sem->v.shm->word, weir_sem_word_set_wait(late, 1));
	weir_store_release(&sem->v.lanes[lane].ack[which],
			   (uint32_t)(weir_sem_word_seq(late) - 1) & 0x3fffffff);
	weir__sem_ack(&sem->v, late);
	cr_assert_eq(weir_load_acquire(&sem->v.lanes[lane].ack[which]), weir_sem_word_seq(late));
	weir_segment_close(seg);
}

Test(sem, a_request_that_a_resize_made_impossible_leaves_the_line)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	volatile int *flag = help_shared(64);
	struct weir_sem_stat s;
	struct weir_wait wait;
	uint64_t begin;
	pid_t pid;

	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	pid = child();
	if (pid == 0) { /* In front, and too big soon. */
		struct weir_ctx ctx;
		int r;

		weir_ctx_init(&ctx, NULL, 2000 * MS);
		r = weir_sem_acquire(sem, 4, &ctx);
		help_say(flag, 1);
		_exit(r != -EINVAL);
	}
	do {
		weir_sem_stat(sem, &s);
	} while (s.waiters < 1);
	cr_assert_eq(weir_sem_start(sem, 3), -EINPROGRESS);
	cr_assert_eq(weir_sem_poll(sem, &wait), -EINPROGRESS);
	usleep(30000);
	begin = weir_now_ns();
	cr_assert_eq(weir_sem_resize(sem, 2), 0);
	cr_assert_neq(__atomic_load_n(wait.word, __ATOMIC_SEQ_CST), wait.value, "not woken");
	cr_assert_eq(weir_sem_poll(sem, &wait), -EINVAL);
	cr_assert_eq(weir_sem_poll(sem, &wait), -EINVAL, "the request is gone");
	cr_assert_eq(weir_sem_stop(sem), -EINVAL);
	cr_assert_eq(weir_sem_start(sem, 3), -EINVAL);
	help_until(flag, 1);
	printf("noticed after %llu us\n", (unsigned long long)(weir_now_ns() - begin) / 1000);
	cr_assert_eq(help_wait(pid), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), 0, "the line moves on");
	cr_assert_eq(weir_sem_release(sem, 2), 0);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	weir_segment_close(seg);
}

/* Behind a request that does not fit, whose owner has not noticed yet: a stopped process, say. */
Test(sem, nobody_waits_behind_a_request_that_cannot_be)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	struct weir_sem_stat s;
	struct weir_ctx ctx;
	int status;
	pid_t pid;

	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	pid = child();
	if (pid == 0) {
		int r = weir_sem_start(sem, 4);

		raise(SIGSTOP);
		_exit(r != -EINPROGRESS || weir_sem_poll(sem, &(struct weir_wait){0}) != 0);
	}
	cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
	cr_assert_eq(weir_sem_resize(sem, 2), 0);
	weir_ctx_init(&ctx, NULL, 1000 * MS);
	cr_assert_eq(weir_sem_acquire(sem, 1, &ctx), 0);
	/* There are enough again before it has noticed: it is in the line again. */
	cr_assert_eq(weir_sem_resize(sem, 4), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), -EAGAIN);
	cr_assert_eq(weir_sem_release(sem, 2), 0);
	weir_sem_stat(sem, &s);
	cr_assert_eq(s.used, 4);
	kill(pid, SIGCONT);
	cr_assert_eq(help_wait(pid), 0);
	cr_assert_eq(weir_sem_acquire(sem, 4, NULL), 0);
	weir_segment_close(seg);
}

Test(sem, who_only_tries_gets_back_what_the_dead_held)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	volatile int *flag = help_shared(64);

	for (int i = 0; i < 3; i++) {
		pid_t pid = holder(sem, 2, flag);
		uint64_t start;
		int r;

		cr_assert_eq(weir_sem_try_acquire(sem, 1), -EAGAIN);
		help_kill(pid);
		start = weir_now_ns();
		do {
			r = weir_sem_try_acquire(sem, 1);
			cr_assert(r == 0 || r == -EAGAIN);
		} while (r != 0 && weir_now_ns() - start < 1000 * MS);
		cr_assert_eq(r, 0);
		printf("after %llu us\n", (unsigned long long)(weir_now_ns() - start) / 1000);
		cr_assert_eq(weir_sem_release(sem, 1), 0);
	}
	weir_segment_close(seg);
}

/* A sweeper that was stopped before its CAS, until the thread slot was somebody else's. */
Test(sem, a_late_sweeper_does_not_decide_for_the_next_owner)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	struct weir__victim victim = {.seg = seg};
	struct weir_thread_shm *thread;
	uint64_t before;
	uint64_t seq;

	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	before = weir_load_acquire(&sem->v.shm->word);
	victim.thread = (uint32_t)weir_sem_word_author(before) / 2;
	thread = &seg->threads[victim.thread];
	victim.word = weir_load_acquire(&thread->word);
	/* Two steps on, so that it is open; the life before ours. */
	seq = weir_sem_lane_cell_seq(weir_load_acquire(&sem->v.lanes[victim.thread].cell)) + 2;
	victim.word = weir_thread_word_set_gen(victim.word, weir_thread_word_gen(victim.word) - 1);
	cr_assert_not(weir__sem_resolve_cancel(&sem->v, victim.thread, seq, &victim));
	cr_assert_eq(weir_load_acquire(&sem->v.shm->word), before);
	/* The same with the true life: the word is signed. */
	victim.word = weir_load_acquire(&thread->word);
	cr_assert_not(weir__sem_resolve_cancel(&sem->v, victim.thread, seq, &victim));
	cr_assert_neq(weir_load_acquire(&sem->v.shm->word), before);
	weir_segment_close(seg);
}

/* Events of a kind so far. */
static int events(const struct weir_segment *seg, enum weir_event_kind kind)
{
	uint64_t next = weir_load_acquire(&seg->shm->event_next);
	int found = 0;

	cr_assert_leq(next, seg->event_count, "the ring is too small for this test");
	for (uint64_t k = 0; k < next; k++)
		found += weir_load_relaxed(&seg->events[k].kind) == (uint32_t)kind;
	return found;
}

Test(sem, only_what_recovery_gave_back_is_reclaimed)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	volatile int *flag = help_shared(64);
	struct weir_recovery rec;
	struct weir_segment *again;
	pid_t pid = child();

	if (pid == 0) { /* Gives back itself: that is still written in its ledger. */
		if (weir_sem_acquire(sem, 2, NULL) != 0 || weir_sem_release(sem, 2) != 0)
			_exit(1);
		help_say(flag, 1);
		pause();
	}
	help_until(flag, 1);
	help_say(flag, 0);
	help_kill(pid);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.processes, 1);
	cr_assert_eq(rec.permits, 0);
	cr_assert_eq(events(seg, WEIR_EVENT_KIND_RECLAIM), 0);
	help_kill(holder(sem, 3, flag));
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.permits, 3);
	cr_assert_eq(events(seg, WEIR_EVENT_KIND_RECLAIM), 1);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.permits, 0);
	/* Leaving with nothing, then leaving with something. */
	cr_assert_eq(weir_segment_open(help_path, NULL, &again), 0);
	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	cr_assert_eq(weir_sem_release(sem, 1), 0);
	weir_segment_close(seg);
	cr_assert_eq(events(again, WEIR_EVENT_KIND_RECLAIM), 1);
	cr_assert_eq(weir_sem_open(again, "s", NULL, &sem), 0);
	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
	cr_assert_eq(weir_segment_open(help_path, NULL, &seg), 0);
	weir_segment_close(again);
	cr_assert_eq(events(seg, WEIR_EVENT_KIND_RECLAIM), 2);
	weir_segment_close(seg);
}

Test(sem, the_check_judges_open_steps)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	volatile int *flag = help_shared(64);
	pid_t pid = holder(sem, 4, flag);
	struct weir_sem_lane_shm *lane;
	struct weir_wait wait;
	uint64_t ledger;
	uint64_t cell;
	uint64_t next;
	int64_t diff;

	cr_assert_eq(weir_sem_start(sem, 3), -EINPROGRESS);
	lane = &sem->v.lanes[weir__self_cache.slot];
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	help_kill(pid);
	cr_assert_eq(weir_segment_recover(seg, NULL), 0);
	cr_assert_eq(weir_sem_check(sem, NULL), 0, "granted, not noticed");
	cell = weir_load_acquire(&lane->cell);
	next = weir__sem_cell(WEIR_SEM_LANE_CELL_CANCEL, 3, weir_sem_lane_cell_seq(cell) + 1);
	weir_store_release(&lane->cell, next);
	cr_assert_eq(weir_sem_check(sem, NULL), 0, "granted, then it wanted out");
	weir_store_release(&lane->cell, cell);
	cr_assert_eq(weir_sem_poll(sem, &wait), 0);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	weir_store_release(&lane->cell, cell);
	cr_assert_eq(weir_sem_check(sem, NULL), 0, "absorbed, the cell still says wait");
	weir_store_release(&lane->cell, weir__sem_cell(WEIR_SEM_LANE_CELL_IDLE, 0,
						       weir_sem_lane_cell_seq(cell)));
	/* Steps that are written and not taken. */
	ledger = weir_load_acquire(&lane->ledger);
	next = weir_sem_lane_ledger_seq(ledger) + 1;
	weir_store_release(&lane->ledger,
			   weir__sem_ledger(ledger, 1, 2, WEIR_SEM_LANE_OP_RELEASE, next));
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	weir_store_release(&lane->ledger,
			   weir__sem_ledger(ledger, 4, 1, WEIR_SEM_LANE_OP_ACQUIRE, next));
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	/* And what is really wrong. */
	weir_store_release(&lane->ledger, weir_sem_lane_ledger_set_hold(ledger, 1));
	cr_assert_eq(weir_sem_check(sem, &diff), -EBADMSG);
	cr_assert_eq(diff, 2);
	weir_store_release(&lane->ledger, ledger);
	cr_assert_eq(weir_sem_check(sem, NULL), 0);
	weir_segment_close(seg);
}

Test(sem, the_check_raises_no_false_alarm)
{
	enum { PROCS = 3, CHECKS = 3000 };
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 3);
	pid_t pids[PROCS];
	int good = 0;

	for (int i = 0; i < PROCS; i++) {
		pids[i] = child();
		if (pids[i] == 0) {
			for (uint32_t n = (uint32_t)i;; n++) {
				uint32_t w = 1 + n % 3;
				struct weir_ctx ctx;

				weir_ctx_init(&ctx, NULL, n % 7 * 1000);
				if (weir_sem_acquire(sem, w, &ctx) == 0)
					weir_sem_release(sem, w);
				if (n % 5 == 0)
					usleep(100);
			}
		}
	}
	for (int i = 0; i < CHECKS; i++) {
		int64_t diff = 0;
		int r = weir_sem_check(sem, &diff);

		cr_assert_neq(r, -EBADMSG, "check %d: %lld", i, (long long)diff);
		good += r == 0;
	}
	for (int i = 0; i < PROCS; i++)
		help_kill(pids[i]);
	printf("%d of %d checks were exact\n", good, CHECKS);
	cr_assert_gt(good, 0);
	weir_segment_close(seg);
}

/* A step that comes to nothing leaves no trace: not even its number is used up. */
Test(sem, a_refused_step_changes_nothing)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	struct weir_sem_stat s;
	uint64_t ledger;
	uint64_t word;

	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	ledger = weir_load_acquire(&sem->v.lanes[weir__self_cache.slot].ledger);
	word = weir_load_acquire(&sem->v.shm->word);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), -EAGAIN);
	cr_assert_eq(weir_sem_release(sem, 3), -EPERM);
	cr_assert_eq(weir_load_acquire(&sem->v.lanes[weir__self_cache.slot].ledger), ledger);
	cr_assert_eq(weir_load_acquire(&sem->v.shm->word), word);
	weir_sem_stat(sem, &s);
	cr_assert_eq(s.acquires, 1);
	weir_segment_close(seg);
}

/* A process that went on alone for so long that its acknowledgement is out of sight. */
Test(sem, an_author_alone_for_long_is_judged_rightly)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 4);
	volatile int *flag = help_shared(64);
	struct weir_recovery rec;

	for (uint64_t steps = (1 << 29) - 1; steps <= (1 << 29) + 1; steps++) {
		pid_t pid = holder(sem, 2, flag);
		struct weir_sem_lane_shm *lane;
		uint64_t word = weir_load_acquire(&sem->v.shm->word);

		lane = &sem->v.lanes[weir_sem_word_author(word) / 2];
		weir_store_release(&sem->v.shm->word, word + (steps << 34));
		weir_store_release(&lane->ledger, weir_load_acquire(&lane->ledger) + (steps << 34));
		cr_assert_eq(weir_sem_check(sem, NULL), 0);
		if (steps % 2 == 0) { /* Told when another signs, or found in the word. */
			cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0);
			cr_assert_eq(weir_sem_check(sem, NULL), 0);
			cr_assert_eq(weir_sem_release(sem, 1), 0);
		}
		help_kill(pid);
		cr_assert_eq(weir_segment_recover(seg, &rec), 0);
		cr_assert_eq(rec.permits, 2);
		cr_assert_eq(used(sem), 0);
		cr_assert_eq(weir_sem_check(sem, NULL), 0);
	}
	weir_segment_close(seg);
}

/* Who set the wait bit died, and its slot, if it had one, was swept before: nobody waits. */
Test(sem, a_wait_bit_without_a_waiter_does_not_refuse_for_ever)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem = open_sem(seg, 2);
	uint64_t start;
	int r;

	cr_assert_eq(weir_sem_resize(sem, 3), 0);
	cr_assert_eq(weir_sem_try_acquire(sem, 1), 0, "a resize leaves no bit behind");
	weir__sem_flag(&sem->v);
	start = weir_now_ns();
	do {
		r = weir_sem_try_acquire(sem, 1);
	} while (r == -EAGAIN && weir_now_ns() - start < 1000 * MS);
	cr_assert_eq(r, 0);
	weir_segment_close(seg);
}
