/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Linearizability: a few participants do a few operations on one object; what each was asked and
 * what it answered is a history; a history is good if its steps can be put into one order that the
 * sequential specification allows and that contradicts nobody's clock.  README.md tells the rest.
 */
#ifndef WEIR_TESTS_LIN_H
#define WEIR_TESTS_LIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <weir.h>

#include "history.h"
#include "seg/seg.h"

#define LOG_MAX	    24u /* of a participant */
#define IMAGES	    16u
#define MSG_BYTES   40u
#define NAMES	    2u
#define CLOCK_START UINT64_C(5000000000000)

extern const struct profile profiles[];
extern const char *const broken_names[BROKENS];
extern const char *const concession_names[CONCESSIONS];

/* --- participants ------------------------------------------------------------------------ */

struct log {
	uint32_t count;
	struct op op[LOG_MAX];
};

/* In memory that all participants share. */
struct board {
	WEIR_ATOMIC(uint32_t) stamp;
	WEIR_ATOMIC(uint32_t) go;
	WEIR_ATOMIC(uint32_t) ready;
	WEIR_ATOMIC(uint32_t) finished;
	WEIR_ATOMIC(uint64_t) clock;
	WEIR_ATOMIC(int) dead; /* the first participant that died, -1: none yet */
	int dead_too;	       /* the second; only where the scheduler is ours */
	uint32_t death_stamp_too;
	uint32_t death_stamp;
	uint32_t reaped_stamp; /* now it is certainly dead */
	uint32_t end_stamp;
	uint32_t parties;
	uint32_t ops;  /* of each */
	int victim;    /* who is to die, -1: nobody */
	int cpu;       /* on which they run by turns */
	uint32_t last; /* who does what comes after them */
	volatile bool arrived[PARTIES];
	volatile bool inside[PARTIES]; /* a call of the library */
	uint32_t phase;		       /* 0: the operations, 1: what comes after them */
	const char *wrong;	       /* seen without any search */
	uint64_t seed;
	uint64_t position; /* of the first message, or of none yet */
	const struct profile *profile;
	struct log log[PARTIES];
};
extern struct board *board;

/* One participant: an attachment of its own.  Of a process, or of a coroutine. */
struct party {
	uint32_t index;
	struct weir_segment *seg;
	struct weir_sem *sem;
	struct weir_queue *queue;
	struct weir_limiter *limiter;
	struct weir_limiter *keyed;
	struct weir__self self; /* the thread's cache, while others run */
	uint64_t rng;
	struct op *op;	    /* under way */
	struct op *request; /* in the line */
	uint32_t hold;
	uint32_t sent;
	uint32_t left;
	bool loaned;
	bool taken;
	struct weir_msg loan;
	struct weir_msg message;
};
extern struct party *me;
extern const struct profile *profile;

uint64_t draw(uint64_t *rng);
static inline uint32_t pick(uint64_t *rng, uint32_t n)
{
	return (uint32_t)((draw(rng) >> 32) * n >> 32);
}

/* act.c */
void party_begin(struct party *p, uint32_t ops);
void party_act(struct party *p);   /* one operation of its own choice */
bool party_waits(struct party *p); /* although it gave back all it had */
void party_finish(struct party *p);
void party_drain(struct party *p); /* the last one: is everything there? */
void party_recover(struct party *p);
struct op *op_begin(uint8_t kind);
void op_end(struct op *op, int result);
bool message_read(const void *data, uint32_t bytes, uint32_t *ret_id);
uint32_t message_make(uint32_t id, uint8_t data[MSG_BYTES]);

/* --- world.c: the segment and what it looks like before a history ------------------------- */

struct world {
	char dir[64];
	char path[96];
	struct weir_segment *seg; /* of the maker; a participant like others, but idle */
	uint8_t *map;
	size_t begin;
	size_t tables_end;
	size_t arena;
	size_t end;
	uint8_t *image[IMAGES + 1];
	uint32_t prefill[IMAGES];
	uint64_t tat[IMAGES][KEYS];
	uint64_t position[IMAGES];
	uint32_t capacity;
};
extern struct world world;
void world_make(const struct profile *what, uint32_t capacity);
void world_images(struct party *parties, bool again);
void world_reset(uint32_t image);
void world_drop(void);
void party_open(struct party *p, uint32_t index);
void party_close(struct party *p);
/* Put the logs together; false: it does not fit. */
void history_take(struct history *h, uint64_t seed, uint32_t image);
void *shared(size_t bytes);
void broke(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define must(x) ((x) ? (void)0 : broke("%s:%d: %s", __FILE__, __LINE__, #x))

/* --- generators -------------------------------------------------------------------------- */

struct plan {
	const struct profile *profile;
	uint64_t seed;
	uint64_t histories; /* at most; 0: no limit */
	double seconds;
	uint32_t crash_pct; /* of histories in which somebody dies */
	bool print;
	bool first; /* stop at the first that fails */
	const char *program;
	const char *mode;
};
extern struct plan plan;

struct tally {
	uint64_t histories;
	uint64_t failed;
	uint64_t undecided;
	uint64_t ops;
	uint64_t pairs; /* of operations of different participants */
	uint64_t overlapping;
	uint64_t steps;
	uint64_t deaths;
};
extern struct tally tally;
/* Check, count, and print what fails; false: enough. */
bool judge(struct history *h);
bool more_time(void);
double seconds(void);

void walk_run(void); /* coroutines and a scheduler of ours: walk.c */
/* Processes on the machine's processors: procs.c. */
void procs_run(void);
struct child {
	pid_t pid; /* 0: none */
	struct party party;
};
extern struct child children[PARTIES];
void child_round(struct party *p); /* what one does in a history */
/* All of them anew, as far as they are missing; `body` does not come back. */
void children_start(void (*body)(struct party *p), bool again);
void children_end(void);
uint32_t round_begin(uint64_t seed); /* returns the image */
void step_run(void);		     /* processes, traced, in single steps: step.c */

/* The library's shared accesses come by here if it was built for that (hooks.c). */
extern void (*lin_point)(void);
/* Called before each call of the library (step.c). */
extern void (*lin_enter)(void);

#endif
