/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The semaphore: exclusion, fairness of wakes, cancelling, and every place to die in. */
#include "help.h"
#include "obj/sem_word.h"

static struct weir_sem *sem[BODIES_MAX];
static int *inside; /* plain: only who holds the permit may touch it */
static int taken[BODIES_MAX];

static const struct weir__semv *view(void)
{
	return (const struct weir__semv *)sem[0]; /* its only member */
}

static void make(int count, uint32_t permits)
{
	inside = world_shared("inside", sizeof(*inside));
	world_private(taken, sizeof(taken));
	memset(taken, 0, sizeof(taken));
	world_make(count);
	for (int i = 0; i < count; i++) {
		world_as(i);
		EXPECT(weir_sem_open(world_seg(i), "s", &WEIR_OPTS(sem, .permits = permits),
				     &sem[i]) == 0);
	}
}

static void always(void)
{
	uint64_t word = *(volatile uint64_t *)(uintptr_t)&view()->shm->word;
	uint32_t cap = *(volatile uint32_t *)(uintptr_t)&view()->shm->cap;

	EXPECT(weir_sem_word_used(word) <= cap);
}

/* Nobody holds anything any more, and nobody is thought to wait. */
static void check_empty(int who)
{
	struct weir_sem_stat stat;
	int64_t diff = 0;

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	EXPECT(weir_sem_check(sem[who], &diff) == 0);
	EXPECT(weir_sem_stat(sem[who], &stat) == 0);
	EXPECT(stat.used == 0);
	EXPECT(stat.waiters == 0);
	EXPECT(weir_sem_try_acquire(sem[who], stat.permits) == 0);
}

static void acquire(int self, uint32_t weight)
{
	struct weir_wait wait;
	int r = weir_sem_start(sem[self], weight);

	while (r == -EINPROGRESS) { /* Ends: with the grant. */
		r = weir_sem_poll(sem[self], &wait);
		if (r == -EINPROGRESS)
			sleep_at(&wait);
	}
	EXPECT(r == 0);
	taken[self]++;
}

static void enter(int self)
{
	*inside += 1;
	EXPECT(weir_sem_release(sem[self], 1) == 0);
}

/* --- trying ----------------------------------------------------------------------------------- */

static void setup_two(void)
{
	make(2, 1);
}

static void try_twice(int self)
{
	for (int i = 0; i < 2; i++) {
		int r = weir_sem_try_acquire(sem[self], 1);

		EXPECT(r == 0 || r == -EAGAIN);
		if (r == 0) {
			taken[self]++;
			enter(self);
		}
	}
}

static void check_two(void)
{
	EXPECT(*inside == taken[0] + taken[1]);
	EXPECT(*inside >= 1);
	check_empty(0);
}

const struct model sem_try = {.name = "sem-try",
			      .what = "2 x 2 tries for one permit: exclusion, nothing lost",
			      .body = {try_twice, try_twice},
			      .peers = 2,
			      .setup = setup_two,
			      .always = always,
			      .check = check_two,
			      .quick = true};

/* --- waiting ---------------------------------------------------------------------------------- */

static void wait_once(int self)
{
	acquire(self, 1);
	enter(self);
}

static void check_waited(void)
{
	EXPECT(*inside == 2);
	check_empty(0);
}

const struct model sem_wait = {.name = "sem-wait",
			       .what = "2 wait for one permit: no wake is lost",
			       .body = {wait_once, wait_once},
			       .peers = 2,
			       .setup = setup_two,
			       .always = always,
			       .check = check_waited,
			       .quick = true};

static void setup_three(void)
{
	make(3, 1);
}

static void check_three(void)
{
	EXPECT(*inside == 3);
	check_empty(0);
}

const struct model sem_wait3 = {.name = "sem-wait3",
				.what = "3 wait for one permit",
				.body = {wait_once, wait_once, wait_once},
				.peers = 3,
				.setup = setup_three,
				.always = always,
				.check = check_three,
				.preempt = 2};

/* --- weights ---------------------------------------------------------------------------------- */

static void setup_weights(void)
{
	make(2, 3);
}

static void wait_two(int self)
{
	acquire(self, 2);
	enter(self);
	EXPECT(weir_sem_release(sem[self], 1) == 0);
}

static void wait_three(int self)
{
	acquire(self, 3);
	enter(self);
	EXPECT(weir_sem_release(sem[self], 2) == 0);
}

const struct model sem_weights = {.name = "sem-weights",
				  .what = "2 and 3 of three permits, given back in parts",
				  .body = {wait_two, wait_three},
				  .peers = 2,
				  .setup = setup_weights,
				  .always = always,
				  .check = check_waited};

/* --- cancelling ------------------------------------------------------------------------------- */

static void setup_held(void)
{
	make(3, 1);
	world_as(0);
	EXPECT(weir_sem_try_acquire(sem[0], 1) == 0);
}

static void give_back(int self)
{
	*inside += 1;
	EXPECT(weir_sem_release(sem[self], 1) == 0);
}

static void want_and_leave(int self)
{
	int r = weir_sem_start(sem[self], 1);

	if (r == -EINPROGRESS)
		r = weir_sem_stop(sem[self]);
	EXPECT(r == 0 || r == -ECANCELED);
	if (r == 0) {
		taken[self]++;
		enter(self);
	}
}

static void check_cancel(void)
{
	EXPECT(*inside == 1 + taken[1] + taken[2]);
	check_empty(0);
}

const struct model sem_cancel = {.name = "sem-cancel",
				 .what = "a waiter leaves while the holder gives back",
				 .body = {give_back, want_and_leave},
				 .peers = 2,
				 .setup = setup_held,
				 .always = always,
				 .check = check_cancel,
				 .quick = true};

/* As the library waits (block() in sem.c), but without spinning first. */
static int want_until(int self, struct weir_ctx *until)
{
	struct weir_waitq_shm *q = &view()->lanes[self].waitq;
	struct weir_wait wait;
	int r;

	do { /* Ends: with the grant, or the time-out. */
		uint32_t value = weir__waitq_prepare(q);

		if (weir_sem_poll(sem[self], &wait) == 0)
			return 0;
		r = weir__waitq_sleep(q, value, until);
	} while (r == 0 && weir_sem_poll(sem[self], &wait) != 0);
	return r != 0 ? weir_sem_stop(sem[self]) : 0;
}

static void want_for_a_while(int self)
{
	struct weir_ctx until;
	int r = weir_sem_start(sem[self], 1);

	EXPECT(weir_ctx_init(&until, NULL, weir_now_ns() + 1000000) == 0);
	if (r == -EINPROGRESS)
		r = want_until(self, &until);
	EXPECT(r == 0 || r == -ECANCELED);
	if (r == 0) {
		taken[self]++;
		enter(self);
	}
}

const struct model sem_timeout = {.name = "sem-timeout",
				  .what = "a sleeper times out while the holder gives back",
				  .body = {give_back, want_for_a_while},
				  .peers = 2,
				  .setup = setup_held,
				  .always = always,
				  .check = check_cancel,
				  .timeouts = 1,
				  .spurious = 1,
				  .quick = true};

static void check_cancel_wait(void)
{
	EXPECT(*inside == 2 + taken[1]);
	EXPECT(taken[2] == 1);
	check_empty(0);
}

const struct model sem_cancel3 = {.name = "sem-cancel3",
				  .what = "a waiter leaves in front of another one",
				  .body = {give_back, want_and_leave, wait_once},
				  .peers = 3,
				  .setup = setup_held,
				  .always = always,
				  .check = check_cancel_wait,
				  .preempt = 2};

/* --- the wait bit ------------------------------------------------------------------------------
 */

/* Who waited has left: the bit is up and nobody is in the line. */
static void setup_clear(void)
{
	setup_held();
	weir__sem_flag(&sem[0]->v);
}

static void only_release(int self)
{
	EXPECT(weir_sem_release(sem[self], 1) == 0);
}

static void only_grant(int self)
{
	weir__sem_grant(&sem[self]->v);
}

static void only_acquire(int self)
{
	acquire(self, 1);
}

static void check_clear(void)
{
	EXPECT(taken[2] == 1);
	world_as(2);
	EXPECT(weir_sem_release(sem[2], 1) == 0);
	check_empty(0);
}

const struct model sem_clear = {.name = "sem-clear",
				.what = "the wait bit is cleared while one comes to wait",
				.body = {only_release, only_grant, only_acquire},
				.peers = 3,
				.setup = setup_clear,
				.always = always,
				.check = check_clear,
				.preempt = 2};

/* --- resizing --------------------------------------------------------------------------------- */

/* Thread 1 waits for two, and there is one only: it has been told, and has not looked yet. */
static void setup_resize(void)
{
	make(2, 2);
	world_as(0);
	EXPECT(weir_sem_try_acquire(sem[0], 1) == 0);
	world_as(1);
	EXPECT(weir_sem_start(sem[1], 2) == -EINPROGRESS);
	world_as(0);
	EXPECT(weir_sem_resize(sem[0], 1) == 0);
}

static void grow(int self)
{
	EXPECT(weir_sem_resize(sem[self], 3) == 0);
}

static void look_again(int self)
{
	struct weir_wait wait;
	int r;

	do { /* Ends: with the grant, or told that it does not fit. */
		r = weir_sem_poll(sem[self], &wait);
		if (r == -EINPROGRESS)
			sleep_at(&wait);
	} while (r == -EINPROGRESS);
	EXPECT(r == 0 || r == -EINVAL);
	if (r == 0)
		EXPECT(weir_sem_release(sem[self], 2) == 0);
}

static void check_resize(void)
{
	world_as(0);
	EXPECT(weir_sem_release(sem[0], 1) == 0);
	check_empty(0);
}

const struct model sem_resize = {.name = "sem-resize",
				 .what = "two permits more let the waiter in, unless it has left",
				 .body = {grow, look_again},
				 .peers = 2,
				 .setup = setup_resize,
				 .always = always,
				 .check = check_resize,
				 .quick = true};

static void setup_shrink(void)
{
	make(2, 3);
	world_as(0);
	EXPECT(weir_sem_try_acquire(sem[0], 2) == 0);
	EXPECT(weir_sem_start(sem[0], 2) == -EINPROGRESS);
}

/* Who leaves the line serves it, perhaps by the old number. */
static void leave(int self)
{
	EXPECT(weir_sem_stop(sem[self]) == -ECANCELED);
}

static void shrink_and_ask(int self)
{
	EXPECT(weir_sem_resize(sem[self], 2) == 0);
	EXPECT(weir_sem_start(sem[self], 1) == -EINPROGRESS);
}

extern const struct model sem_kill_resize;

static void setup_kill_shrink(void)
{
	make(4, 3);
	world_as(1);
	EXPECT(weir_sem_try_acquire(sem[1], 2) == 0);
	EXPECT(weir_sem_start(sem[1], 2) == -EINPROGRESS);
}

static void shrink(int self)
{
	EXPECT(weir_sem_resize(sem[self], 2) == 0);
}

/* The dead one's resize is over with its recovery: done, or never.  (If thread 1 died it is alive.)
 */
static void recover_and_ask(int self)
{
	struct weir_sem_stat stat;
	int r;

	recover(self);
	r = weir_sem_start(sem[self], 1);
	EXPECT(r == 0 || r == -EINPROGRESS);
	EXPECT(weir_sem_stat(sem[self], &stat) == 0);
	EXPECT(r != 0 || stat.permits == 3 || !model_dead(0));
}

static void check_kill_resize(void)
{
	int who = survivor(&sem_kill_resize);

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	EXPECT(weir_sem_check(sem[who], NULL) == 0);
}

const struct model sem_kill_resize = {.name = "sem-kill-resize",
				      .what = "who resizes dies; after recovery it is done or not",
				      .body = {shrink, leave, recover_and_ask, recover},
				      .peers = 2,
				      .setup = setup_kill_shrink,
				      .always = always,
				      .check = check_kill_resize,
				      .killable = 1 | 2 | 4,
				      .patient = true,
				      .quick = true,
				      .preempt = 2};

static void check_shrink(void)
{
	struct weir_wait wait;

	world_as(0);
	EXPECT(weir_sem_release(sem[0], 2) == 0);
	world_as(1);
	EXPECT(weir_sem_poll(sem[1], &wait) == 0);
	EXPECT(weir_sem_release(sem[1], 1) == 0);
	check_empty(0);
}

const struct model sem_shrink = {.name = "sem-shrink",
				 .what = "after a resize nobody is let in by the old number",
				 .body = {leave, shrink_and_ask},
				 .peers = 2,
				 .setup = setup_shrink,
				 .always = always,
				 .check = check_shrink,
				 .quick = true};

/* --- dying ------------------------------------------------------------------------------------ */

extern const struct model sem_kill;
extern const struct model sem_kill_waiter;

/* One of two permits is thread 1's all the time: giving back too much for the dead shows. */
static void setup_kill(void)
{
	make(4, 2);
	for (int i = 0; i < 44; i++) { /* 30 bits of steps are used up before the model ends */
		world_as(i & 1);
		EXPECT(weir_sem_try_acquire(sem[i & 1], 1) == 0);
		EXPECT(weir_sem_release(sem[i & 1], 1) == 0);
	}
	world_as(1);
	EXPECT(weir_sem_try_acquire(sem[1], 1) == 0);
	world_as(0); /* signs the word last: its next step is a fast one */
	EXPECT(weir_sem_try_acquire(sem[0], 1) == 0);
	EXPECT(weir_sem_release(sem[0], 1) == 0);
}

static void fast_or_wait(int self)
{
	if (weir_sem_try_acquire(sem[self], 1) != 0)
		acquire(self, 1);
	else
		taken[self]++;
	enter(self);
}

static void check_kill(void)
{
	int who = survivor(&sem_kill);

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	EXPECT(weir_sem_check(sem[who], NULL) == 0);
	if (!model_dead(1)) {
		EXPECT(taken[1] == 1);
		world_as(1);
		EXPECT(weir_sem_release(sem[1], 1) == 0);
		world_as(who);
	}
	check_empty(who);
}

const struct model sem_kill = {.name = "sem-kill",
			       .what = "two take and wait; one dies anywhere; so does who recovers",
			       .body = {fast_or_wait, wait_once, recover, recover},
			       .peers = 2,
			       .setup = setup_kill,
			       .always = always,
			       .check = check_kill,
			       .killable = 1 | 2 | 4,
			       .patient = true,
			       .quick = true,
			       .preempt = 2};

/* --- dying with a grant on the way --------------------------------------------------------------
 */

extern const struct model sem_kill_granted;

static void setup_granted(void)
{
	make(4, 2);
	world_as(1);
	EXPECT(weir_sem_try_acquire(sem[1], 2) == 0);
}

static void wait_and_keep(int self)
{
	acquire(self, 1);
}

static void check_granted(void)
{
	struct weir_sem_stat stat;

	int who = survivor(&sem_kill_granted);
	uint32_t used = !model_dead(0) + (model_dead(1) ? 0u : 1u);

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	EXPECT(weir_sem_check(sem[who], NULL) == 0);
	EXPECT(weir_sem_stat(sem[who], &stat) == 0);
	EXPECT(stat.used == used);
	EXPECT(model_dead(0) || taken[0] == 1);
}

const struct model sem_kill_granted = {
	.name = "sem-kill-granted",
	.what = "one waits for one of two permits; he or the giver dies",
	.body = {wait_and_keep, give_back, recover, recover},
	.peers = 2,
	.setup = setup_granted,
	.always = always,
	.check = check_granted,
	.killable = 1 | 2 | 4,
	.patient = true,
	.preempt = 2,
	.quick = true};

/* --- two deaths ---------------------------------------------------------------------------------
 */

extern const struct model sem_kill_two;
extern const struct model sem_close;

static void check_two_dead(void)
{
	int who = survivor(&sem_kill_two);

	check_empty(who);
	EXPECT(model_dead(0) || taken[0] == 1);
	EXPECT(model_dead(1) || taken[1] == 1);
}

static void setup_one_of_four(void)
{
	make(4, 1);
}

const struct model sem_kill_two = {.name = "sem-kill-two",
				   .what = "both that want the permit die, each anywhere",
				   .body = {fast_or_wait, wait_once, recover, recover},
				   .peers = 2,
				   .together = true,
				   .setup = setup_one_of_four,
				   .always = always,
				   .check = check_two_dead,
				   .killable = 1 | 2,
				   .second = 1,
				   .patient = true,
				   .preempt = 2};

/* --- three and a death --------------------------------------------------------------------------
 */

extern const struct model sem_kill3;

static void check_kill3(void)
{
	check_empty(survivor(&sem_kill3));
	EXPECT(model_dead(0) || taken[0] == 1);
	EXPECT(model_dead(2) || taken[2] == 1);
}

const struct model sem_kill3 = {.name = "sem-kill3",
				.what = "one takes, one waits and leaves, one waits; one dies",
				.body = {fast_or_wait, want_and_leave, wait_once, recover},
				.peers = 3,
				.setup = setup_one_of_four,
				.always = always,
				.check = check_kill3,
				.killable = 1 | 2 | 4,
				.patient = true,
				.preempt = 2};

/* --- leaving in good order ----------------------------------------------------------------------
 */

static void setup_close(void)
{
	make(4, 1);
	world_as(0);
	EXPECT(weir_sem_try_acquire(sem[0], 1) == 0);
}

static void detach(int self)
{
	*inside += 1;
	EXPECT(weir_segment_close(world_seg(self)) == 0);
}

static void check_close(void)
{
	check_empty(survivor(&sem_close));
	EXPECT(model_dead(1) || taken[1] == 1);
}

const struct model sem_close = {.name = "sem-close",
				.what = "a holder detaches under a waiter, or dies in it",
				.body = {detach, wait_once, recover, recover},
				.peers = 2,
				.setup = setup_close,
				.always = always,
				.check = check_close,
				.killable = 1 | 2 | 4,
				.patient = true,
				.quick = true};

/* --- two who sweep, and a newcomer in the dead one's slot --------------------------------------
 */

static struct weir_sem *const *newcomer = &sem[3];

static void setup_reuse(void)
{
	inside = world_shared("inside", sizeof(*inside));
	world_private(taken, sizeof(taken));
	memset(taken, 0, sizeof(taken));
	for (int i = 0; i < 4; i++) {
		world_attach(i, 6);
		if (i < 3)
			EXPECT(weir_segment_join(world_seg(i)) == 0);
		EXPECT(weir_sem_open(world_seg(i), "s", &WEIR_OPTS(sem, .permits = 2), &sem[i]) ==
		       0);
	}
	world_as(0);
	EXPECT(weir_sem_try_acquire(sem[0], 1) == 0);
}

static void hold_on(int self)
{
	taken[self] = weir_sem_try_acquire(sem[self], 1) == 0;
	EXPECT(weir_sem_release(sem[self], 1) == 0);
}

/* It joins after the death, perhaps into the slot that has just been swept, and keeps a permit. */
static void join_and_take(int self)
{
	taken[self] = weir_sem_try_acquire(*newcomer, 1) == 0;
}

static void check_reuse(void)
{
	struct weir_sem_stat stat;

	world_as(3);
	EXPECT(weir_segment_recover(world_seg(3), NULL) == 0);
	EXPECT(weir_sem_check(sem[3], NULL) == 0);
	EXPECT(weir_sem_stat(sem[3], &stat) == 0);
	if (model_victim() == 0) {
		EXPECT(stat.used == (uint32_t)taken[3]);
		EXPECT(stat.held_here == (uint32_t)taken[3]);
	}
}

const struct model sem_reuse = {.name = "sem-reuse",
				.what = "two sweep at once; a newcomer takes the dead one's slot",
				.body = {hold_on, recover, recover, join_and_take},
				.peers = 1,
				.together = true,
				.setup = setup_reuse,
				.always = always,
				.check = check_reuse,
				.killable = 1,
				.preempt = 2};

static void setup_kill_held(void)
{
	make(4, 1);
	world_as(0);
	EXPECT(weir_sem_try_acquire(sem[0], 1) == 0);
}

static void check_kill_waiter(void)
{
	check_empty(survivor(&sem_kill_waiter));
}

const struct model sem_kill_waiter = {.name = "sem-kill-waiter",
				      .what = "a waiter that may leave dies beside a release",
				      .body = {give_back, want_and_leave, recover, recover},
				      .peers = 2,
				      .setup = setup_kill_held,
				      .always = always,
				      .check = check_kill_waiter,
				      .killable = 1 | 2 | 4,
				      .patient = true,
				      .preempt = 2};

/* --- two who recover, and one of them dies ------------------------------------------------------
 */

/* Participant 3 only holds a permit. */
static void setup_race(void)
{
	make(4, 2);
	world_as(3);
	EXPECT(weir_sem_try_acquire(sem[3], 1) == 0);
}

static void hold_and_want(int self)
{
	int r;

	EXPECT(weir_sem_try_acquire(sem[self], 1) == 0);
	EXPECT(weir_sem_release(sem[self], 1) == 0);
	EXPECT(weir_sem_start(sem[self], 2) == -EINPROGRESS);
	r = weir_sem_stop(sem[self]);
	EXPECT(r == -ECANCELED);
}

static void check_race(void)
{
	world_as(2);
	EXPECT(weir_segment_recover(world_seg(2), NULL) == 0);
	world_as(3);
	EXPECT(weir_sem_release(sem[3], 1) == 0);
	check_empty(3);
}

const struct model sem_race = {.name = "sem-race",
			       .what = "two recover at once, and one of them dies in it",
			       .body = {hold_and_want, recover, recover},
			       .peers = 1,
			       .together = true,
			       .setup = setup_race,
			       .always = always,
			       .check = check_race,
			       .killable = 1 | 2,
			       .preempt = 2};
