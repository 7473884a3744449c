/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Participants as processes.  In the program with the instrumented library they are all on one
 * processor and each gives it up now and then, at random, in the middle of its operations: running
 * freely they would hardly meet.  (Every sixteenth history they do run freely.)  Who is to die
 * kills itself there.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lin.h"

struct child children[PARTIES];

static uint64_t wait_rng;
static uint32_t accesses;
static uint32_t die_after;
static uint32_t yields; /* in 256 */

static void procs_point(void)
{
	uint64_t x = draw(&wait_rng);

	if (die_after && ++accesses == die_after) {
		board->death_stamp = weir_add_full(&board->stamp, 1) + 1;
		kill(getpid(), SIGKILL);
	}
	if ((x >> 8 & 255) < yields)
		sched_yield();
}

static void on_one_processor(bool one)
{
	static cpu_set_t all;
	cpu_set_t set;

	if (CPU_COUNT(&all) == 0)
		must(sched_getaffinity(0, sizeof(all), &all) == 0);
	CPU_ZERO(&set);
	CPU_SET((size_t)board->cpu, &set);
	must(sched_setaffinity(0, sizeof(set), one ? &set : &all) == 0);
}

/* Sleep until *word is not `value` any more; spurious returns are fine. */
static void sleep_while(WEIR_ATOMIC(uint32_t) * word, uint32_t value)
{
	struct timespec t = {.tv_nsec = 1000000};

	syscall(SYS_futex, word, FUTEX_WAIT, value, &t, NULL, 0);
}

static void add_and_wake(WEIR_ATOMIC(uint32_t) * word)
{
	weir_add_full(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void child_round(struct party *p)
{
	if (board->phase == 0) {
		party_begin(p, board->ops);
		while (p->left-- > 0)
			party_act(p);
		party_finish(p);
		return;
	}
	me = p;
	if (weir_load_full(&board->dead) >= 0)
		party_recover(p);
	party_drain(p);
}

static void body(struct party *p)
{
	uint32_t seen = weir_load_full(&board->go);

	weir_add_full(&board->ready, 1);
	for (;;) {
		uint64_t rng;

		while (weir_load_full(&board->go) == seen)
			sleep_while(&board->go, seen);
		seen = weir_load_full(&board->go);
		/* Odd: a history begins.  (Who wakes late must not take one for the other.) */
		if (seen % 2 ? p->index >= board->parties : p->index != board->last)
			continue;
		rng = board->seed * 31 + p->index;
		on_one_processor(board->seed % 16 != 0);
		yields = 32u << board->seed % 3;
		wait_rng = rng;
		accesses = 0;
		die_after = seen % 2 && (int)p->index == board->victim ? 1 + pick(&rng, 50) : 0;
		lin_point = procs_point;
		child_round(p);
		lin_point = NULL;
		add_and_wake(&board->finished);
	}
}

void children_start(void (*run)(struct party *p), bool again)
{
	for (uint32_t i = 0; i < PARTIES; i++) {
		uint32_t ready = weir_load_full(&board->ready);

		if (children[i].pid)
			continue;
		children[i].pid = fork();
		must(children[i].pid >= 0);
		if (children[i].pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			party_open(&children[i].party, i);
			run(&children[i].party);
			_exit(0);
		}
		while (weir_load_full(&board->ready) == ready)
			sched_yield();
	}
	world_images(NULL, again);
}

void children_end(void)
{
	for (uint32_t i = 0; i < PARTIES; i++) {
		if (!children[i].pid)
			continue;
		kill(children[i].pid, SIGKILL);
		waitpid(children[i].pid, NULL, __WALL);
		children[i].pid = 0;
	}
}

uint32_t round_begin(uint64_t seed)
{
	static const uint32_t n[] = {2, 3, 4, 4};
	uint64_t rng = seed;
	uint32_t image;

	draw(&rng);
	board->seed = seed;
	board->cpu = sched_getcpu();
	board->parties = n[pick(&rng, 4)];
	board->ops = 12 / board->parties;
	image = pick(&rng, IMAGES);
	board->victim = pick(&rng, 100) < plan.crash_pct ? (int)pick(&rng, board->parties) : -1;
	world_reset(image);
	weir_store_full(&board->finished, 0);
	return image;
}

/* Wait for them; notice a death.  A victim is dead when it was waited for: then the kernel has
 * given up its locks. */
static void round_wait(uint32_t count)
{
	int victim = board->phase == 0 ? board->victim : -1;
	int status;

	for (;;) {
		uint32_t finished = weir_load_full(&board->finished);
		pid_t pid;

		if (finished >= count)
			return;
		sleep_while(&board->finished, finished);
		pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			continue;
		if (victim < 0 || pid != children[victim].pid)
			broke("a child ended: status %#x", (unsigned)status);
		children[victim].pid = 0;
		board->reaped_stamp = weir_add_full(&board->stamp, 1) + 1;
		weir_store_full(&board->dead, victim);
		victim = -1;
		count--;
	}
}

static void one(uint64_t seed, struct history *h)
{
	uint32_t image = round_begin(seed);

	add_and_wake(&board->go);
	round_wait(board->parties);
	board->end_stamp = weir_load_full(&board->stamp);
	board->last = weir_load_full(&board->dead) == 0;
	board->phase = 1;
	weir_store_full(&board->finished, 0);
	add_and_wake(&board->go);
	round_wait(1);
	history_take(h, seed, image);
}

void procs_run(void)
{
	struct history h;
	uint64_t n = 0;
	bool go = true;

	must(!(plan.profile->flags & WAITS));
	board = shared(sizeof(*board));
	while (go) {
		world_make(plan.profile, plan.profile->capacity[plan.seed / 10000 % 2]);
		children_start(body, false);
		do {
			one(plan.seed++, &h);
			n++;
			if (h.dead[0] >= 0)
				children_start(body, true);
			go = judge(&h) && more_time() && (!plan.histories || n < plan.histories);
		} while (go && plan.seed % 10000 != 0);
		children_end();
		world_drop();
	}
}
