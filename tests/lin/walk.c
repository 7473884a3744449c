/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Participants as coroutines, switched at shared accesses by a scheduler that follows a seed: the
 * same seed is the same history.  Each has an attachment of its own, and the thread's cache of who
 * it is goes with it, so to the library they are processes.
 *
 * How long one runs before the next is drawn anew at each switch, around a mean drawn for each
 * history: some are ground fine, others run an operation nearly whole.  In a sixth of the histories
 * who is next goes by rank, and whoever is stopped goes to the end (as in PCT, Burckhardt et al.,
 * 2010): then one stands still for long while others do whole operations.
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hooks.h"
#include "lin.h"

#define STACK (64u << 10)

enum life { RUNS, SLEEPS, ENDED, DEAD };

struct coroutine {
	void *sp;
	uint8_t *stack;
	enum life life;
	uint64_t deadline;
	const void *words[11];
	uint32_t word_count;
	bool timed_out;
	bool patience; /* woken by nobody, when all slept */
};

static struct party parties[PARTIES];
static struct coroutine co[PARTIES];
static int current; /* -1: the scheduler */
static void *scheduler_sp;
static uint64_t rng;
static uint32_t fuse;
static uint32_t mean;
static bool ranked;
static uint32_t rank[PARTIES]; /* the lowest goes first */
static uint32_t last_rank;
static uint32_t switches;
static uint32_t die_at; /* switch at which the one that runs dies; 0: nobody */

/* Save where we are, go on there. */
void lin_swap(void **save, void *load);
__asm__(".globl lin_swap\n.type lin_swap, @function\nlin_swap:\n"
	"push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
	".size lin_swap, .-lin_swap\n");

static uint32_t new_fuse(void)
{
	return 1 + pick(&rng, ranked ? 16 * mean : 2 * mean);
}

static void pass_until(uint64_t ns)
{
	/* relaxed: one thread. */
	if (weir_load_relaxed(&board->clock) < ns)
		weir_store_relaxed(&board->clock, ns);
}

static int first_in_rank(const uint32_t *able, uint32_t n)
{
	uint32_t best = able[0];

	for (uint32_t i = 1; i < n; i++)
		best = rank[able[i]] < rank[best] ? able[i] : best;
	return (int)best;
}

/* Who is next?  When all sleep, time passes until the first has slept enough. */
static int next_one(void)
{
	uint32_t able[PARTIES];
	uint32_t n = 0;
	int first = -1;

	for (uint32_t i = 0; i < board->parties; i++) {
		if (co[i].life == RUNS)
			able[n++] = i;
		else if (co[i].life == SLEEPS && (first < 0 || co[i].deadline < co[first].deadline))
			first = (int)i;
	}
	if (n > 0)
		return ranked ? first_in_rank(able, n) : (int)able[n == 1 ? 0 : pick(&rng, n)];
	if (first < 0)
		return -1;
	pass_until(co[first].deadline);
	co[first].life = RUNS;
	co[first].timed_out = true;
	co[first].patience = true;
	return first;
}

static void switch_to(int to)
{
	void **save = current < 0 ? &scheduler_sp : &co[current].sp;

	if (to == current)
		return;
	if (current >= 0)
		parties[current].self = weir__self_cache;
	current = to;
	if (to < 0) {
		lin_swap(save, scheduler_sp);
		return;
	}
	me = &parties[to];
	weir__self_cache = me->self;
	hooks_map = me->seg->base;
	lin_swap(save, co[to].sp);
}

static void die(void)
{
	co[current].life = DEAD;
	/* relaxed, all of it: one thread. */
	if (weir_load_relaxed(&board->dead) >= 0) {
		board->dead_too = current;
		board->death_stamp_too = weir_add_relaxed(&board->stamp, 1) + 1;
		return;
	}
	weir_store_relaxed(&board->dead, current);
	board->death_stamp = weir_add_relaxed(&board->stamp, 1) + 1;
	board->reaped_stamp = board->death_stamp;
	if (board->parties > 2 && pick(&rng, 2))
		die_at = switches + 1 + pick(&rng, 1 + 80 / mean); /* also in the recovery */
}

static void resched(void)
{
	fuse = new_fuse();
	rank[current] = ++last_rank;
	if (++switches == die_at)
		die();
	switch_to(next_one());
}

static void walk_point(void)
{
	if (current >= 0 && --fuse == 0)
		resched();
}

static void body(void)
{
	uint32_t i = (uint32_t)current;
	struct party *p = &parties[i];

	while (p->left-- > 0) {
		party_act(p);
		/* It slept until nobody was awake, and then there was something after all.
		 * relaxed: one thread. */
		if (co[i].patience && weir_load_relaxed(&board->dead) < 0 &&
		    board->log[i].op[board->log[i].count - 1].result == 0)
			board->wrong = "a wake was lost";
		co[i].patience = false;
	}
	co[i].life = ENDED;
	switch_to(next_one());
	__builtin_unreachable();
}

static void coroutine_start(uint32_t i)
{
	uint64_t *sp = (uint64_t *)(void *)(co[i].stack + STACK);

	if (!co[i].stack) {
		co[i].stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);
		must((void *)co[i].stack != MAP_FAILED);
		sp = (uint64_t *)(void *)(co[i].stack + STACK);
	}
	*--sp = 0; /* A frame begins 8 below a multiple of 16. */
	*--sp = (uint64_t)(uintptr_t)body;
	sp -= 6;
	co[i].sp = sp;
	co[i].life = RUNS;
	co[i].timed_out = false;
	co[i].patience = false;
}

/* --- standing in for the kernel ------------------------------------------------------------- */

bool hooks_slot_dead(uint32_t slot)
{
	int dead = weir_load_relaxed(&board->dead); /* relaxed: one thread. */

	return (dead >= 0 && parties[dead].seg->proc_slot == slot) ||
	       (board->dead_too >= 0 && parties[board->dead_too].seg->proc_slot == slot);
}

static long sleep_on(uint64_t deadline)
{
	struct coroutine *c = &co[current];

	c->deadline = deadline;
	c->timed_out = false;
	c->patience = false;
	c->life = SLEEPS;
	resched();
	if (!c->timed_out)
		return 0;
	errno = ETIMEDOUT;
	return -1;
}

static uint64_t ns_of(const struct timespec *t)
{
	return t ? (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec : UINT64_MAX;
}

static void wake(const void *word)
{
	for (uint32_t i = 0; i < board->parties; i++) {
		for (uint32_t w = 0; co[i].life == SLEEPS && w < co[i].word_count; w++) {
			if (co[i].words[w] !=
			    (const uint8_t *)word - me->seg->base + parties[i].seg->base)
				continue;
			co[i].life = RUNS;
			co[i].patience = false;
		}
	}
}

long hooks_futex(long nr, const long args[6])
{
	struct coroutine *c = &co[current < 0 ? 0 : current];
	const struct futex_waitv *waiters = (const void *)args[0];
	uint32_t count = nr == SYS_futex ? 1 : (uint32_t)args[1];

	if (nr == SYS_futex && (args[1] & FUTEX_CMD_MASK) == FUTEX_WAKE) {
		wake((const void *)args[0]);
		return 0;
	}
	if (current < 0) { /* In the epilogue nobody will wake it. */
		pass_until(ns_of((const void *)args[3]));
		errno = ETIMEDOUT;
		return -1;
	}
	for (uint32_t i = 0; i < count; i++) {
		const uint32_t *word =
			nr == SYS_futex ? (const void *)args[0] : (const void *)waiters[i].uaddr;
		uint32_t value = nr == SYS_futex ? (uint32_t)args[2] : (uint32_t)waiters[i].val;

		c->words[i] = word;
		if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
			errno = EAGAIN;
			return -1;
		}
	}
	c->word_count = count;
	return sleep_on(ns_of((const void *)args[3]));
}

/* --- a history ------------------------------------------------------------------------------ */

static void run_all(void)
{
	lin_point = walk_point;
	fuse = new_fuse();
	switch_to(next_one());
	lin_point = NULL;
}

static void become(uint32_t i)
{
	me = &parties[i];
	weir__self_cache = me->self;
	hooks_map = me->seg->base;
}

/* Everybody gives back what he has: then nobody may wait for long. */
static void serve_all(void)
{
	uint32_t waiting = 1;

	for (uint32_t turn = 0; turn < 3 * PARTIES && waiting; turn++) {
		waiting = 0;
		for (uint32_t i = 0; i < board->parties; i++) {
			if (co[i].life == DEAD)
				continue;
			become(i);
			waiting += party_waits(me);
		}
	}
	if (waiting)
		board->wrong = "somebody waits although all permits are free";
}

/* The rest, one after the other, by those who live. */
static void epilogue(void)
{
	uint32_t last = 0;

	while (co[last].life == DEAD)
		last++;
	/* relaxed: one thread. */
	board->end_stamp = weir_load_relaxed(&board->stamp);
	lin_point = walk_point; /* current is -1: no switches, but our kernel. */
	become(last);
	if (weir_load_relaxed(&board->dead) >= 0)
		party_recover(me);
	if (profile->spec == &spec_sem)
		serve_all();
	for (uint32_t i = 0; i < board->parties; i++) {
		if (co[i].life == DEAD)
			continue;
		become(i);
		party_finish(me);
	}
	become(last);
	party_drain(me);
	lin_point = NULL;
}

static void walk_one(uint64_t seed, struct history *h)
{
	static const uint32_t n[] = {2, 3, 4, 4, 4, 4, 4, 4};
	static const uint32_t means[] = {1, 1, 1, 2, 2, 3, 6, 14};
	uint32_t image;

	rng = seed;
	draw(&rng);
	board->seed = seed;
	board->parties = n[pick(&rng, 8)];
	image = pick(&rng, IMAGES);
	mean = means[pick(&rng, 8)];
	ranked = pick(&rng, 6) == 0;
	last_rank = 64;
	for (uint32_t i = 0; i < PARTIES; i++)
		rank[i] = pick(&rng, 64);
	die_at = pick(&rng, 100) < plan.crash_pct ? 1 + pick(&rng, 1 + (ranked ? 20 : 120) / mean)
						  : 0;
	switches = 0;
	world_reset(image);
	hooks_pool_reset();
	for (uint32_t i = 0; i < board->parties; i++) {
		party_begin(&parties[i], 12 / board->parties);
		coroutine_start(i);
	}
	run_all();
	epilogue();
	history_take(h, seed, image);
	tally.steps += switches;
}

/* The rooms of a profile by turns, in stretches: making a world costs more than a history. */
#define STRETCH 20000u

void walk_run(void)
{
	struct history h;
	uint64_t n = 0;
	bool go = true;

	hooks_ours = true;
	board = shared(sizeof(*board));
	board->profile = plan.profile;
	current = -1;
	while (go) {
		uint32_t room = plan.profile->capacity[plan.seed / STRETCH % 2];

		world_make(plan.profile, room);
		hooks_bytes = 160u << 10;
		for (uint32_t i = 0; i < PARTIES; i++)
			party_open(&parties[i], i);
		world_images(parties, false);
		do {
			walk_one(plan.seed++, &h);
			n++;
			go = judge(&h) && (n % 256 != 0 || more_time()) &&
			     (!plan.histories || n < plan.histories);
		} while (go && plan.seed % STRETCH != 0);
		for (uint32_t i = 0; i < PARTIES; i++)
			party_close(&parties[i]);
		world_drop();
	}
}
