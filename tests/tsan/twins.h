/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the scenarios share: a segment, threads that start together, random numbers, checks. */
#ifndef WEIR_TESTS_TSAN_TWINS_H
#define WEIR_TESTS_TSAN_TWINS_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir.h>

#define MS	UINT64_C(1000000)
#define THREADS 4

#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                        \
		}                                                                       \
	} while (0)
#define IS(got, wanted)                                                                            \
	do {                                                                                       \
		long long is_got = (long long)(got);                                               \
		long long is_wanted = (long long)(wanted);                                         \
		if (is_got != is_wanted) {                                                         \
			fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #got, \
				is_got, is_wanted);                                                \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* One scenario at a time in a process. */
extern struct weir_segment *seg;
extern int rounds; /* how often each thread does its part; a multiple of what `make tsan` says */
extern char seg_path[64];

struct thread {
	pthread_t id;
	int index;
	uint64_t random;
	void (*fn)(struct thread *t);
};

uint32_t pick(struct thread *t, uint32_t below);
/* Run fn in `count` threads (at most 16) that begin together, and wait for their ends. */
void run_threads(int count, void (*fn)(struct thread *t));
/* In a thread: take a slot, and wait until all have one. */
void join_and_meet(void);

struct scenario {
	const char *name;
	void (*run)(void);
};
extern const struct scenario limits[];
extern const struct scenario others[];
extern const struct scenario broken[]; /* races that must be reported */

#endif
