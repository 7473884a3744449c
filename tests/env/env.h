/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One row of the fault table each: a process of its own, a segment, a board shared by all. */
#ifndef WEIR_TESTS_ENV_H
#define WEIR_TESTS_ENV_H

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

#define MS UINT64_C(1000000)

#define MUST(condition)                                                                        \
	do {                                                                                   \
		if (!(condition))                                                              \
			broken("%s:%d: %s (errno %d)", __FILE__, __LINE__, #condition, errno); \
	} while (0)
#define IS(got, wanted)                                                                         \
	do {                                                                                    \
		long long is_got = (long long)(got);                                            \
		long long is_wanted = (long long)(wanted);                                      \
		if (is_got != is_wanted)                                                        \
			broken("%s:%d: %s is %lld, not %lld", __FILE__, __LINE__, #got, is_got, \
			       is_wanted);                                                      \
	} while (0)

struct row {
	const char *fault;
	const char *what;
	void (*run)(void);
};
extern const struct row death_rows[];
extern const struct row space_rows[];
extern const struct row clock_rows[];
extern const struct row async_rows[];
extern const struct row file_rows[];
extern const struct row wrap_rows[];

/* What a child does after exec: `env ROLE DIRECTORY`. */
struct role {
	const char *name;
	void (*run)(void);
};
extern const struct role space_roles[];

/* In a file of the row's directory: children see it, also after exec. */
struct board {
	int flag[16];
	uint64_t value[16];
	struct weir_ctx ctx;
	char note[160];
	char why[240];
};
extern struct board *board;
extern char env_dir[64];
extern char env_path[80];
extern struct weir_segment *seg;
extern struct weir_sem *sem;

__attribute__((format(printf, 1, 2), noreturn)) void broken(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void skip(const char *format, ...);
/* What the row has measured, for the table. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);

void say(int flag, int n);
void until_said(int flag, int n);
/* A segment and in it semaphore "sem". */
void seg_make(uint32_t permits);
/* A child that dies with the row and ends with 0, or with the row failed. */
pid_t child(void (*fn)(void));
/* fork() without the C library's handlers: it keeps our descriptors as they are. */
pid_t raw_child(void (*fn)(void));
pid_t exec_role(const char *role);
int reap(pid_t pid);
void end(pid_t pid); /* SIGKILL, and reap */
char state_of(pid_t pid);
void until_state(pid_t pid, char state);
void sleep_ms(uint64_t ms);
void forever(void);
uint64_t since_ms(uint64_t start_ns);
uint32_t used(void);
uint32_t waiters(void);
struct weir_recovery recover(void);
uint32_t random_below(uint32_t n);

#endif
