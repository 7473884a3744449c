/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Participants as processes, traced: the parent walks at random through their instructions, a few
 * of one, a few of another.  The library is the one that is shipped.  Slow, but nothing was added
 * to what is tested, and a switch can come after any instruction.
 */
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lin.h"

/* The tracer runs it up to here, and from here on in steps. */
__attribute__((noinline)) static void enter(void)
{
	board->inside[me->index] = true;
	__asm__ volatile("int3" ::: "memory");
}

static void body(struct party *p)
{
	must(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	weir_add_full(&board->ready, 1);
	for (;;) {
		__asm__ volatile("int3" ::: "memory");
		if (board->phase == 0)
			lin_enter = enter;
		child_round(p);
		lin_enter = NULL;
		board->arrived[p->index] = true;
	}
}

static void wait_stop(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, __WALL) == pid);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		broke("a child ended or got a signal: status %#x", (unsigned)status);
}

/* Let one run up to the next int3. */
static void run_on(uint32_t i)
{
	must(ptrace(PTRACE_CONT, children[i].pid, 0, 0) == 0);
	wait_stop(children[i].pid);
}

static void start_all(bool again)
{
	bool fresh[PARTIES];

	for (uint32_t i = 0; i < PARTIES; i++)
		fresh[i] = children[i].pid == 0;
	children_start(body, again);
	for (uint32_t i = 0; i < PARTIES; i++) {
		if (!fresh[i])
			continue;
		wait_stop(children[i].pid);
		must(ptrace(PTRACE_SETOPTIONS, children[i].pid, 0, PTRACE_O_EXITKILL) == 0);
	}
}

static void kill_one(uint32_t i)
{
	kill(children[i].pid, SIGKILL);
	must(waitpid(children[i].pid, NULL, __WALL) == children[i].pid);
	children[i].pid = 0;
	board->death_stamp = weir_add_full(&board->stamp, 1) + 1;
	board->reaped_stamp = board->death_stamp;
	weir_store_full(&board->dead, (int)i);
}

static void step(uint32_t i)
{
	must(ptrace(PTRACE_SINGLESTEP, children[i].pid, 0, 0) == 0);
	wait_stop(children[i].pid);
	tally.steps++;
}

static void walk_through(uint64_t *rng)
{
	uint32_t die_at = board->victim < 0 ? 0 : 1 + pick(rng, 400);
	uint32_t left = board->parties;
	uint32_t able[PARTIES];
	uint32_t steps = 0;

	for (uint32_t i = 0; i < left; i++)
		able[i] = i;
	while (left > 0) {
		uint32_t at = pick(rng, left);
		uint32_t i = able[at];

		if (!board->inside[i])
			run_on(i);
		for (uint32_t n = 1 + pick(rng, 60); n > 0 && board->inside[i]; n--) {
			step(i);
			if (i == (uint32_t)board->victim && ++steps == die_at)
				break;
		}
		if (steps == die_at && i == (uint32_t)board->victim) {
			kill_one(i);
			board->arrived[i] = true;
		}
		if (board->arrived[i])
			able[at] = able[--left];
	}
}

static void one(uint64_t seed, struct history *h)
{
	uint64_t rng = seed * 7;
	uint32_t image = round_begin(seed);

	for (uint32_t i = 0; i < PARTIES; i++)
		board->arrived[i] = board->inside[i] = false;
	walk_through(&rng);
	board->end_stamp = weir_load_full(&board->stamp);
	board->phase = 1;
	run_on(weir_load_full(&board->dead) == 0);
	history_take(h, seed, image);
}

void step_run(void)
{
	struct history h;
	uint64_t n = 0;
	bool go = true;
	cpu_set_t one_only;

	must(!(plan.profile->flags & WAITS));
	board = shared(sizeof(*board));
	/* Tracer and traced run by turns: on one processor no turn waits for another to wake. */
	CPU_ZERO(&one_only);
	CPU_SET((size_t)sched_getcpu(), &one_only);
	must(sched_setaffinity(0, sizeof(one_only), &one_only) == 0);
	while (go) {
		world_make(plan.profile, plan.profile->capacity[plan.seed / 1000 % 2]);
		start_all(false);
		do {
			one(plan.seed++, &h);
			n++;
			if (h.dead[0] >= 0)
				start_all(true);
			go = judge(&h) && more_time() && (!plan.histories || n < plan.histories);
		} while (go && plan.seed % 1000 != 0);
		children_end();
		world_drop();
	}
}
