/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a history is, and what the specifications and their checker know of it. */
#ifndef WEIR_TESTS_HISTORY_H
#define WEIR_TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PARTIES	 4u
#define OPS_MAX	 32u /* of a history; two bits of progress each */
#define KEYS	 2u
#define INTERVAL UINT64_C(1000) /* of one token, ns */
#define GARBAGE	 255u		/* not a message that anybody sent */

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

/* Deliberate faults: --broken N. */
enum broken { RIGHT, LIFO, LOSES, DOUBLES, ONE_MORE, GENEROUS, EARLY, FORGETS, BROKENS };
extern enum broken broken;

/* What the specifications concede to the library; --strict N takes it back. */
enum concession { CLOSING, PASSED, CONCESSIONS };
extern uint32_t strict;
static inline bool conceded(enum concession c)
{
	return !(strict >> c & 1);
}

#endif
