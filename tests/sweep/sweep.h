/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The single-step kill sweep.  One victim (a child process, traced) does one operation; it is
 * killed after N instructions, for every N; survivors recover and check the books.
 *
 * Three files: the victim works on V, survivors ("peers", attachments of this process) on C, in
 * nested sweeps two recoverers on an R each.  They are copies of each other but for the liveness
 * locks, which lie on the file: a copy of V in C shows the victim as dead and the peers as alive.
 * In real mode and in pairs there is one file, V = C, and the kill is a real one.
 */
#ifndef WEIR_TESTS_SWEEP_H
#define WEIR_TESTS_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <weir.h>

#define MS	   UINT64_C(1000000)
#define PEERS	   2
#define RECOVERERS 2 /* in nested sweeps, one after the other */
#define PERMITS	   3u
#define SLOTS	   4u
#define TOKENS	   8u
#define PROBES	   2u
#define MSG_MAX	   96u
#define QUEUED	   16u
#define STEPS_MAX  (1u << 20)	  /* of one operation: more is going round in circles */
#define SPARE_ID   100u		  /* the victim's message */
#define SAME_LONG  (MSG_MAX - 8u) /* messages whose ids are so far apart are of the same length */

enum fault { FINE, LOST, DOUBLED, WEDGED, FAULTS };

/* One attachment and its handles. */
struct hand {
	struct weir_segment *seg;
	struct weir_sem *sem;
	struct weir_queue *queue;
	struct weir_breaker *breaker;
	struct weir_limiter *limiter;
	struct weir_limiter *keyed;
	struct weir_msg msg;
	struct weir_call call;
};

struct file {
	char path[96];
	int fd; /* for the locks of those who are alive here by decree */
	uint8_t *map;
};

/* What the victim tells: in memory that outlives it. */
struct note {
	volatile int returned;
	volatile int result;
	uint32_t bytes;
	uint64_t object;	   /* offset of what it opened */
	uint8_t data[2 * MSG_MAX]; /* of two messages, one behind the other */
	struct weir_ctx ctx;
};

/* What the survivors know; copied back before each victim. */
struct known {
	uint32_t holds[PEERS];	 /* permits of the semaphore */
	uint32_t waits;		 /* peer 1 wants that many; 0: it does not wait */
	uint32_t queued[QUEUED]; /* message ids in the queue, in order */
	uint32_t queued_count;
	uint32_t arriving;    /* id the victim sends, 0: none */
	uint32_t batch;	      /* it sends so many more, with ids SAME_LONG apart */
	uint32_t overtaken;   /* this many of the queued came after its claim */
	uint32_t leaving;     /* id the victim receives, 0: none */
	uint32_t leaving_too; /* id it receives after that, 0: none */
	bool leaving_taken;   /* it had it before the operation: tries must show it */
	bool leaving_stays;   /* the operation gives it back */
	uint32_t taken;	      /* tokens of both limiters */
	uint32_t taken_more;  /* besides, of the keyed one */
	uint32_t forgets;     /* of these, so many are forgotten if it died where it was */
	uint32_t taking;      /* the victim takes one of: 1 the limiter, 2 the keyed one */
	bool giving;	      /* it gives one back to the limiter */
	bool probe_out;	      /* peer 0 has one */
	bool closing;	      /* the queue is being shut down */
	bool acted;	      /* row.during has done its part */
	uint32_t swaps;	      /* compare and swaps that were next so far, see loses_swap() */
	bool loses;	      /* the one that is next must fail */
	bool published;	      /* row.before found the victim's object */
};

struct world {
	char dir[64];
	struct file v;
	struct file r[RECOVERERS];
	struct file c;
	size_t bytes;
	uint8_t *image;	 /* everything as prepared */
	size_t text_off; /* constant bytes: not copied */
	size_t text_end;
	bool one_file;
	uint32_t state;
	uint64_t seed;
	struct hand peer[PEERS];
	struct hand me; /* in the victim */
	struct known known;
	struct known known_image;
	struct note *note;
	enum fault fault;
	char why[200];
};

enum row_flags {
	ROW_ALONE = 1,	   /* the operation attaches or makes the segment: no victim before */
	ROW_REAL = 2,	   /* only with a real victim in the file that the peers are in */
	ROW_LAST_REAL = 4, /* the same for its last state only */
	ROW_ASKED = 8,	   /* `during` does something before it returns true, too */
};
/* Flags too: the first state in which `during` is asked. */
#define ROW_FROM(state) ((uint32_t)(state) << 8)

/* The moment before a step, as `during` sees it. */
enum moment {
	STEP,
	SWAPS,	/* next is a compare and swap */
	SLEEPS, /* next is a futex wait */
	ASLEEP	/* really in it */
};

struct row {
	const char *name;
	const char *const *states;
	uint32_t flags;
	void (*prepare)(struct world *w); /* peers, before the victim is there */
	void (*arm)(struct world *w);	  /* the victim, before the operation */
	int (*op)(struct world *w);	  /* the victim: what is swept */
	/* Peers, before each step until it returns true: something happens meanwhile. */
	bool (*during)(struct world *w, enum moment moment);
	void (*before)(struct world *w); /* peers, after the death and before the recovery */
	void (*check)(struct world *w);	 /* peers, after the recovery */
};
extern const struct row limit_rows[]; /* ended by a row without a name, each */
extern const struct row queue_rows[];
extern const struct row life_rows[];

/* --- world.c ----------------------------------------------------------------------------- */

void fail(struct world *w, enum fault fault, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Something the sweep itself needs went wrong: say so and end. */
void broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define must(x) ((x) ? (void)0 : broken("%s:%d: %s", __FILE__, __LINE__, #x))

void world_make(struct world *w, uint64_t seed, uint32_t state, bool one_file);
void world_freeze(struct world *w); /* what is now is the image */
void world_reset(struct world *w);  /* V as in the image, nothing known but that */
void world_free(struct world *w);
void world_copy(const struct world *w, const struct file *from, const struct file *to);
int hand_open(struct hand *h, const char *path, bool objects);
void hand_close(struct hand *h);
void message_make(uint32_t id, uint8_t data[MSG_MAX], uint32_t *ret_bytes);
/* The id, or 0 if the bytes are not what was sent. */
uint32_t message_id(const uint8_t *data, uint32_t bytes);

/* --- step.c ------------------------------------------------------------------------------ */

/* Where the child announces the beginning and the end of what is swept. */
int marked(int (*op)(struct world *w), struct world *w);
/* Fork `body`, run it up to the first marker. */
pid_t traced_start(void (*body)(struct world *w, const void *arg), struct world *w,
		   const void *arg);
/* One instruction.  False: at the end marker. */
bool traced_step(pid_t pid);
/* The next thing that happens to it is signal `sig`. */
void traced_signal(pid_t pid, int sig);
/* In a system call (see traced_to_call) comes signal `sig`; then on to the next marker. */
void traced_interrupt(pid_t pid, int sig);
/* Is the next instruction the system call `nr` (0: any)? */
bool traced_at_syscall(pid_t pid, long *ret_nr);
/* Is the next instruction a compare and swap?  And was the last one, which was one, in time? */
bool traced_at_swap(pid_t pid);
bool traced_swapped(pid_t pid);
/* Print which ones were stepped, and how often somebody else was quicker. */
void traced_swaps(void);
/* Is system call `nr`, which is next or was just begun, a wait on a futex? */
bool traced_call_sleeps(pid_t pid, long nr);
/* Begin a step that may block: true if it did not come back within 2 ms. */
bool traced_step_blocks(pid_t pid);
void traced_join(pid_t pid); /* wait until it came back */
/* The quick way to the next system call, returns which (-1: none, at the end); and through it. */
long traced_to_call(pid_t pid);
bool traced_call_blocks(pid_t pid, bool may);
void traced_run(pid_t pid); /* to the next marker */
/* Untraced, and stopped by SIGSTOP as anybody might stop it; and on, to the next marker. */
void traced_let_go(pid_t pid);
void traced_go_on(pid_t pid);
void traced_kill(pid_t pid);

/* --- books.c ----------------------------------------------------------------------------- */

struct weir_sem_shm;
void check_slots(struct world *w);
void check_sem(struct world *w);
void check_queue(struct world *w);
void check_queue_empty(struct world *w, struct hand *h);
void check_breaker(struct world *w);
void check_limiter(struct world *w);
void check_everything(struct world *w);
/* Take everything out; returns how many, with id and tries of each (QUEUED of them). */
uint32_t queue_drain(struct world *w, struct hand *h, uint32_t *ret_ids, uint32_t *ret_tries);
/* Entries of that name; *ret_off is where the last one points. */
uint32_t directory_count(const struct world *w, const char *name, uint64_t *ret_off);
const struct weir_sem_shm *sem_bytes(const struct world *w, const struct file *f);

/* --- sweep.c ----------------------------------------------------------------------------- */

struct tally {
	uint64_t points;
	uint64_t kills;
	uint64_t count[FAULTS];
	uint64_t worst_ns; /* recovery */
	uint64_t start_ns;
};

/* Where we are: for messages and for the watchdog. */
struct place {
	const char *mode;
	const char *op;
	const char *state;
	uint64_t n;
};

struct plan {
	const char *op;
	const char *state;
	uint64_t seed;
	uint64_t sample;
	uint64_t nested;
	int64_t at;	 /* -1: everywhere */
	bool thin;	 /* one state of each row, every third pair */
	uint64_t end_ns; /* 0: no budget */
};
extern struct plan plan;

/* For `during`: is compare and swap number `which` of the operation (from 0) next?  Then whoever
 * asks changes the word that it is about, and the sweep sees to it that it fails. */
bool loses_swap(struct world *w, enum moment moment, uint32_t which);
bool matches(const char *op, const char *state);
bool out_of_time(void);
void begin(struct tally *t);
/* The survivors look for the dead; how long it took is counted. */
void recover(struct world *w, struct tally *t, uint64_t n);
/* Count what the check found, and print how to see it again. */
void point(struct world *w, struct tally *t, const struct place *at);
void line(const struct place *at, const struct tally *t);
/* If no step is made for so long, `at` is where it happened. */
#define WATCH_SECONDS 30
void watch(const struct world *w, const struct place *at);

/* --- pairs.c, signals.c ------------------------------------------------------------------ */

void sweep_pairs(void);
void sweep_signals(void);

#endif
