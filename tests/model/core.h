/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The checker from the inside: events, memory, threads, the search. */
#ifndef WEIR_MODEL_CORE_H
#define WEIR_MODEL_CORE_H

#include "model.h"

#define ARENA_BYTES (160u << 10) /* the segment, then locks, then what models share */
#define EXTRA_BYTES (8u << 10)
#define SEG_MAX	    (ARENA_BYTES - EXTRA_BYTES)
#define CELLS	    (ARENA_BYTES / 4)
#define LOCKS	    16
#define DEPTH_MAX   6000
#define LABELS_MAX  16
#define ENTRIES_MAX 96
#define WORDS_MAX   10 /* that one futex wait can name */

#define CORE __attribute__((visibility("hidden")))

/* --- clocks and views ---------------------------------------------------------------------- */

typedef int16_t vc_t __attribute__((vector_size(16))); /* one clock per thread */

static inline vc_t vc_join(vc_t a, vc_t b)
{
	vc_t more = a > b;

	return (a & more) | (b & ~more);
}

/* hb is happens-before, for data races.  co is what loads must respect: hb, and what SC fences add
 * to it.  The clock on the wall goes with them: who sees a store sees its author's time. */
struct view {
	vc_t hb;
	vc_t co;
	uint64_t time;
};

static inline void view_join(struct view *to, const struct view *from)
{
	to->hb = vc_join(to->hb, from->hb);
	to->co = vc_join(to->co, from->co);
	if (from->time > to->time)
		to->time = from->time;
}

/* --- operations ---------------------------------------------------------------------------- */

enum op_kind {
	OP_LOAD,
	OP_STORE,
	OP_RMW,
	OP_CAS,
	OP_FENCE,
	OP_WAIT,  /* compare and go to sleep */
	OP_SLEEP, /* asleep: woken, timed out, or neither */
	OP_WAKE,
	OP_PROBE, /* a load of the newest value */
	OP_AWAIT, /* a recoverer's wait for a death */
	OP_YIELD,
	OP_END, /* nothing: so that a thread can die after its last operation */
	OP_DIE,
};

enum rmw { RMW_SWAP, RMW_ADD, RMW_SUB, RMW_AND, RMW_OR, RMW_XOR, RMW_LOCK };

struct op {
	enum op_kind kind;
	enum rmw rmw;
	int order;
	int order_failed;
	uint8_t size;
	uint8_t words; /* of a futex wait */
	bool ok;
	bool late; /* a compare-and-swap that would have won before a later store */
	uint32_t cell;
	uint64_t value;
	uint64_t expected;
	uint64_t result;
	uint64_t deadline;
	int victim;
	uint32_t *word;
	uint32_t *word_value;
	const void *caller;
};

/* What a transition touches, for dependence. */
enum touch {
	T_READ = 1,   /* the store that its label names */
	T_LATEST = 2, /* a read that is always of the newest: comes before any later store */
	T_WRITE = 4,
	T_SC = 8,
	T_FENCE = 16,  /* a seq_cst fence */
	T_SLEEP = 32,  /* in or out of a futex queue */
	T_WAKE = 64,   /* a wake of one */
	T_MANY = 128,  /* several words: with every store and wake */
	T_WORLD = 256, /* only because nobody else could run: with everything */
};

struct event {
	vc_t vc; /* order of dependent events */
	uint32_t cell;
	uint16_t touch;
	int16_t index; /* in its thread, from 1 */
	uint8_t thread;
	uint16_t label;
};

/* --- memory -------------------------------------------------------------------------------- */

struct store {
	struct view msg; /* what who acquires it gets */
	uint64_t value;
	struct store *prev;
	int event; /* depth, or -1 for what was there before */
	int16_t index;
	int16_t clock;
	uint8_t thread;
	bool sc;
};

/* Thread u had seen store `index` by its clock `clock`: coherence for whoever is after that. */
struct seen {
	struct seen *prev;
	int16_t clock;
	int16_t index;
};

struct link {
	struct link *prev;
	int event;
};

/* Four bytes, or eight if they are accessed as such.  Made when first touched. */
struct cell {
	vc_t plain_reads;
	vc_t atomic_reads;
	vc_t atomic_writes;
	struct store *last;
	struct seen *seen[THREADS_MAX];
	struct link *readers; /* events */
	struct link *sleepers;
	struct link *wakes;
	uint32_t at;
	int last_write; /* event, -1: none */
	int last_sc_write;
	int16_t last_sc; /* store index, -1: none */
	int16_t plain_clock;
	uint8_t plain_thread; /* THREADS_MAX: nobody wrote it plainly */
	uint8_t size;	      /* 0: never atomic */
	bool stale;	      /* plainly written since the last store */
};

CORE extern uint8_t arena[ARENA_BYTES];

static inline bool in_arena(const volatile void *p)
{
	return (uintptr_t)p - (uintptr_t)arena < ARENA_BYTES;
}

static inline uint32_t cell_of(const volatile void *p)
{
	return (uint32_t)(((uintptr_t)p - (uintptr_t)arena) / 4);
}

CORE void memory_pristine(void); /* what is there now is how each execution begins */
CORE void memory_reset(void);
CORE struct cell *memory_cell(uint32_t at, unsigned size);
CORE void memory_touch(const volatile void *p, size_t bytes); /* to be put back */
CORE void memory_plain(const volatile void *p, size_t bytes, bool write);
/* Labels of the stores that `op` of the running view may read, newest first; returns how many. */
CORE int memory_labels(int thread, const struct op *op, uint16_t *ret_labels);
CORE bool sc_load(int order);
CORE uint64_t memory_hash(void);
CORE uint64_t privates_hash(void);
CORE const struct store *memory_perform(int thread, struct op *op, uint16_t label);
CORE uint64_t raw_read(uint32_t at, unsigned size);
CORE void quiet_set(uint32_t at, size_t bytes, bool on);
CORE bool quiet_is(uint32_t at);

/* --- threads ------------------------------------------------------------------------------- */

struct thread {
	struct view view;
	struct view fence;  /* what a relaxed store publishes: the view at the last release fence */
	struct view loaded; /* what relaxed loads brought, for the next acquire fence */
	vc_t vc;	    /* order of dependent events */
	struct op *op;	    /* pending */
	struct op die;
	void *sp;
	int16_t steps;	 /* events so far */
	int16_t visible; /* those that count for kills */
	uint32_t yields; /* stores of others at the last yield, plus one */
	int timeouts;
	int spurious;
	int rescues;
	int woken_by; /* event, -1: not woken */
	int died_by;
	const char *point; /* the last crash point it came past */
	bool finished;
	bool dead;
	bool asleep;
};

CORE extern struct thread threads[THREADS_MAX];
CORE extern int thread_count;
CORE extern int running; /* thread, or -1 in setup, reset and check */
CORE extern const struct model *model;

static inline bool modelled(void)
{
	return running >= 0;
}

CORE void visible(struct op *op);
CORE void self_save(int thread); /* the thread-local variable of the library */
CORE void self_load(int thread);
CORE void kernel_leave(int last, uint64_t time); /* from bodies to checks */
CORE void kernel_pristine(void);
CORE void kernel_reset(void);
CORE uint32_t lock_cell(int thread); /* of the process slot of `thread` */
CORE void world_drop(void);
CORE void world_quiet(void);

/* --- the search ---------------------------------------------------------------------------- */

struct plan {
	int victim[2]; /* -1: nobody */
	int at[2];     /* before which of its visible operations */
};

struct entry { /* a transition that was explored or sleeps */
	uint32_t cell;
	uint16_t touch;
	uint16_t label;
	uint8_t thread;
};

struct frame {
	struct entry sleep[ENTRIES_MAX];
	struct entry done[ENTRIES_MAX];
	uint16_t labels[THREADS_MAX][LABELS_MAX];
	uint8_t label_count[THREADS_MAX];
	uint8_t sleep_count;
	uint8_t done_count;
	uint8_t enabled;
	uint8_t backtrack;
	uint8_t tried;
	uint8_t thread;
	uint16_t label;
	bool world; /* nobody can run but by time passing */
	int preempts;
};

enum mode { MODE_SEARCH, MODE_NAIVE, MODE_RANDOM, MODE_PCT, MODE_REPLAY };

struct tally {
	uint64_t executions;
	uint64_t blocked;   /* cut short: nothing new behind them */
	uint64_t kills;	    /* places */
	uint64_t kills_all; /* of them, in all orders */
	uint64_t states;
	uint64_t cut; /* loads with more choices than LABELS_MAX, or too long */
};

struct limits {
	enum mode mode;
	uint64_t executions; /* per plan, 0: no limit */
	double seconds;	     /* per model */
	uint64_t seed;
	int preempt; /* -1: none */
	int depth;   /* of PCT */
	bool states; /* count the final states */
	bool one_death;
	uint64_t cross; /* so many random walks must reach no final state that the search did not */
	/* Acquire loads are as strong as processors make them (x86 loads, ARMv8 LDAR): not
	 * overtaking an earlier seq_cst store.  C11 does not promise that. */
	bool rcsc;
};

CORE extern struct frame frames[DEPTH_MAX];
CORE extern struct event events[DEPTH_MAX];
CORE extern int depth; /* events so far in this execution */
CORE extern struct plan plan;
CORE extern bool failed;
CORE extern bool complete; /* the execution came to its end, nothing cut it short */
CORE extern int prefix;	   /* frames that only repeat the last execution */
CORE extern int frame_count;
CORE extern char failure[512];
CORE extern bool tracing;
CORE extern struct tally tally;
CORE extern bool world_waits; /* the transition being made: only because nobody else could run */
CORE extern uint32_t stores_by[THREADS_MAX]; /* stores of all others */
CORE extern int16_t visible_max[THREADS_MAX];
CORE extern struct limits limits;

/* Next transition: thread, and *ret_label; -1: this execution is over. */
CORE int pick(uint16_t *ret_label);
CORE void race(int first, int second);
CORE void order_event(int thread, const struct op *op, uint16_t label, const struct store *read);
CORE void order_reset(void);
CORE int labels_of(int thread, bool world, uint16_t *ret_labels);
CORE bool run_one(void); /* false: failed */
CORE void sleep_inherit(struct frame *f, int at);
CORE extern struct choice {
	uint8_t thread;
	uint16_t label;
} choices[DEPTH_MAX];
CORE extern int choice_count; /* made in this execution */
CORE bool model_begin(const struct model *m);
CORE bool search_quietly(const struct model *m); /* without plans and without words */
CORE bool explore_model(const struct model *m, const char *wanted);
CORE int litmus_run(int *ret_passed);
CORE double seconds_now(void);
CORE int replay_parse(const char *text);
CORE void replay_print(void);
CORE void outcomes_reset(void);
CORE const char *outcomes_text(void);

/* --- words --------------------------------------------------------------------------------- */

CORE void name_of(uint32_t at, char *ret, size_t bytes);
/* The EDGE comment at the access that calls us from `pc`, or "". */
CORE const char *edge_name(const void *pc);
CORE bool race_declared(uint32_t at);
CORE void trace_event(int thread, const struct op *op, uint16_t label, uint64_t before);
CORE extern int trace_last;
CORE void trace_note(const char *text);

#endif
