/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The litmus tests on this machine's processors, between processes over a shared mapping: no
 * outcome may show that the checker excludes.  What it allows and is not seen is only counted:
 * processors are stronger than C11.
 *
 *	litmus-hw [ITERATIONS of each test]
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "litmus.h"

#define BATCH	   4096
#define PROCS	   4
#define UNSET	   UINT32_MAX
#define KINDS	   64
#define SPINS	   2000
#define MEET_SPINS 400
#define REGS_OF	   (LITMUS_REGS * BATCH)

struct board {
	_Alignas(64) _Atomic uint64_t go;   /* number of the batch that may run */
	_Alignas(64) _Atomic uint64_t done; /* processes that have finished theirs, all batches */
	struct {
		_Alignas(64) _Atomic uint32_t here;
		struct litmus_mem mem;
	} each[BATCH];
	_Alignas(64) uint32_t regs[PROCS][REGS_OF];
};

static struct board *board;
static struct {
	char text[8];
	uint64_t count;
} kinds[KINDS];
static int kind_count;

/* Spin, then let others run: there may be fewer processors than processes. */
static void await(_Atomic uint64_t *word, uint64_t least)
{
	for (int i = 0; atomic_load(word) < least; i++) {
		if (i > SPINS)
			sched_yield();
	}
}

/* Begin together, if the others are on a processor at all. */
static void meet(_Atomic uint32_t *here, uint32_t all)
{
	atomic_fetch_add(here, 1);
	for (int i = 0; i < MEET_SPINS && atomic_load_explicit(here, memory_order_relaxed) < all;)
		i++;
}

static void child(const struct litmus *test, int who, uint64_t batches)
{
	for (uint64_t b = 1; b <= batches; b++) {
		await(&board->go, b);
		for (int i = 0; i < BATCH; i++) {
			meet(&board->each[i].here, (uint32_t)test->threads);
			test->body[who](&board->each[i].mem, &board->regs[who][i * LITMUS_REGS]);
		}
		atomic_fetch_add(&board->done, 1);
	}
	_exit(0);
}

static void count(const char *text)
{
	for (int i = 0; i < kind_count; i++) {
		if (strcmp(kinds[i].text, text) == 0) {
			kinds[i].count++;
			return;
		}
	}
	if (kind_count == KINDS)
		return;
	strcpy(kinds[kind_count].text, text);
	kinds[kind_count++].count = 1;
}

static void collect(const struct litmus *test)
{
	for (int i = 0; i < BATCH; i++) {
		char text[8];
		int n = 0;

		for (int r = 0; r < test->regs; r++) {
			uint32_t value = UNSET;

			for (int p = 0; p < test->threads && value == UNSET; p++)
				value = board->regs[p][i * LITMUS_REGS + r];
			text[n++] = (char)('0' + value);
		}
		for (const char *l = test->last; *l; l++)
			text[n++] = (char)('0' + (*l == 'x' ? board->each[i].mem.x
							    : board->each[i].mem.y));
		text[n] = '\0';
		count(text);
	}
}

static bool is_in(const char *list, const char *text)
{
	size_t n = strlen(text);

	for (const char *at = list; at && (at = strstr(at, text)); at++) {
		if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return true;
	}
	return false;
}

static bool report(const struct litmus *test, uint64_t runs)
{
	bool ok = true;
	/* Two that ran at the same time have passed each other by now. */
	bool passed_by = runs < 1000000 || strcmp(test->name, "SB") != 0;

	printf("litmus-hw %-16s %9llu runs:", test->name, (unsigned long long)runs);
	for (int i = 0; i < kind_count; i++) {
		bool fine =
			is_in(test->allowed, kinds[i].text) || is_in(test->beyond, kinds[i].text);

		printf(" %s%s=%llu", fine ? "" : "FORBIDDEN ", kinds[i].text,
		       (unsigned long long)kinds[i].count);
		ok &= fine;
		passed_by |= strcmp(kinds[i].text, "00") == 0;
	}
	printf("%s\n", passed_by ? "" : " never 00: they do not run at the same time");
	ok &= passed_by;
	return ok;
}

static bool run(const struct litmus *test, uint64_t batches)
{
	kind_count = 0;
	atomic_store(&board->go, 0);
	atomic_store(&board->done, 0);
	fflush(stdout);
	for (int p = 0; p < test->threads; p++) {
		if (fork() == 0)
			child(test, p, batches);
	}
	for (uint64_t b = 1; b <= batches; b++) {
		memset(board->each, 0, sizeof(board->each));
		memset(board->regs, 0xff, sizeof(board->regs));
		atomic_store(&board->go, b);
		await(&board->done, b * (uint64_t)test->threads);
		collect(test);
	}
	while (wait(NULL) > 0) { /* Ends: each child ends. */
	}
	return report(test, batches * BATCH);
}

int main(int argc, char **argv)
{
	uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000000;
	int passed = 0;
	int failed = 0;

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		return 1;
	for (int i = 0; i < litmus_count; i++) {
		const struct litmus *test = &litmus_tests[i];

		if (test->fails)
			continue;
		if (run(test, runs / BATCH + 1))
			passed++;
		else
			failed++;
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
