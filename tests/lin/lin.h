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

#include "seg/seg.h"

#define PARTIES	    4u
#define OPS_MAX	    32u /* of a history; two bits of progress each */
#define LOG_MAX	    24u /* of a participant */
#define IMAGES	    16u
#define MSG_BYTES   40u
#define NAMES	    2u
#define KEYS	    2u
#define INTERVAL    UINT64_C(1000) /* of one token, ns */
#define CLOCK_START UINT64_C(5000000000000)
#define GARBAGE	    255u /* not a message that anybody sent */

enum kind {
	SEND,
	RECV,
	LOAN,
	COMMIT,
	ABORT,
	TAKE,
	DONE,
	PUT_BACK,
	SHUTDOWN,
	TRY_ACQUIRE,
	RELEASE,
	REQUEST, /* acquire, or from start to the poll or stop that ended it */
	RESIZE,
	ALLOW,
	RESERVE,
	REFUND,
	OPEN,
	FIND,
	UNLINK,
	RECOVER,
	DEATH, /* what recovery does for the dead: from the death to the end of a recovery */
	KINDS
};
extern const char *const kind_names[KINDS];

enum op_flags {
	OP_OPTIONAL = 1, /* its caller died in it: it happened or not, or in part */
	OP_SPURIOUS = 2, /* overlaps what loosens it: see spec_sem.c, spec_queue.c */
};

struct op {
	uint8_t kind;
	uint8_t who;
	uint8_t part; /* key or name: parts are checked one by one */
	uint8_t flags;
	int32_t result;
	uint32_t arg;	/* message, weight, cost, permits, kind of object */
	uint32_t value; /* message, object */
	uint64_t now;	/* the clock as the operation read it */
	uint64_t more[3];
	uint32_t inv;
	uint32_t resp;
};

struct history {
	const struct profile *profile;
	uint64_t seed;
	int dead[2]; /* participants, -1: none */
	uint32_t death_stamp[2];
	uint32_t end_stamp; /* from here on one after the other */
	uint32_t capacity;  /* slots or permits */
	uint32_t prefill;   /* messages in the queue before it all began: 0x80, 0x81 ... */
	uint64_t tat[KEYS];
	const char *wrong; /* what is wrong without any search, or NULL */
	uint32_t count;
	struct op op[OPS_MAX];
};

/* --- specifications ---------------------------------------------------------------------- */

/* Zeros where nothing is: states are compared byte by byte. */
union state {
	uint64_t words[6];
	uint8_t bytes[48];
};

enum verdict {
	REFUSED, /* not now, not like this */
	LAST,	 /* this choice does not exist, and none after it */
	STAYS,	 /* the step was made and the operation is where it was */
	NEXT,	 /* on to its next step */
	COMPLETE,
};

/* An operation is up to three steps; each is atomic. */
struct spec {
	void (*init)(const struct history *h, uint8_t part, union state *s);
	enum verdict (*apply)(const struct history *h, const struct op *op, uint32_t step,
			      uint32_t choice, union state *s);
	/* NULL, or set OP_SPURIOUS. */
	void (*prepare)(struct history *h);
};
extern const struct spec spec_queue;
extern const struct spec spec_sem;
extern const struct spec spec_limiter;
extern const struct spec spec_directory;

/* --- check.c ----------------------------------------------------------------------------- */

enum answer { LINEARIZABLE, NOT_LINEARIZABLE, UNDECIDED };
enum answer check(struct history *h, uint8_t *ret_part);
void history_print(const struct history *h, FILE *to);
bool ops_overlap(const struct op *a, const struct op *b);

/* --- profiles: what is done -------------------------------------------------------------- */

struct chance {
	uint8_t kind;
	uint8_t weight;
};

enum profile_flags {
	WAITS = 1, /* operations may sleep: only where the scheduler is ours */
	KEYED = 2,
};

struct profile {
	const char *name;
	const struct spec *spec;
	struct chance chances[12];
	uint32_t flags;
	uint32_t clock_step; /* ns that pass between two looks at the clock, at most */
	uint32_t capacity[2];
};
extern const struct profile profiles[];

/* Deliberate faults: --broken N. */
enum broken { RIGHT, LIFO, LOSES, DOUBLES, ONE_MORE, GENEROUS, EARLY, FORGETS, BROKENS };
extern const char *const broken_names[BROKENS];
extern enum broken broken;

/* What the specifications concede to the library; --strict N takes it back. */
enum concession { CLOSING, PASSED, CONCESSIONS };
extern const char *const concession_names[CONCESSIONS];
extern uint32_t strict;
static inline bool conceded(enum concession c)
{
	return !(strict >> c & 1);
}

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
