/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a model is made of.  A model is a few threads, each standing for a process of its own, that
 * call the unchanged library in modelled memory; the checker runs them in every order, with every
 * value that C11 lets a load return, and kills them where it is told to.  See README.md.
 */
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/base.h>

#define THREADS_MAX 8
#define BODIES_MAX  6

struct weir_segment;

struct model {
	const char *name;
	const char *what; /* what it shows */
	/* Thread i runs body[i]; those after the first `peers` are recoverers, started by a death.
	 */
	void (*body[BODIES_MAX])(int self);
	int peers;
	/* Once: the segment, its participants, the objects.  Not modelled. */
	void (*setup)(void);
	/* Before each execution: the model's own variables outside modelled memory. */
	void (*reset)(void);
	/* After each store: the word's invariant.  Not modelled. */
	void (*always)(void);
	/* When all threads have ended or died.  Not modelled; may call the library. */
	void (*check)(void);
	/* All recoverers start at the first death, not each at that of the one before. */
	bool together;
	/* Who may be killed: bits of thread numbers, recoverers included; 0: nobody. */
	unsigned killable;
	/* Who dies besides the first victim, if killable; 0: the first recoverer. */
	int second;
	/* Sleeps that may end by themselves at any time, per thread: time-out, or for no reason. */
	int timeouts;
	int spurious;
	/* After a death, when nobody can run any more, sleepers time out: for what it swallowed. */
	bool patient;
	/* If not 0: first look at executions with so few preemptions; most faults need few. */
	int preempt;
	/* NULL, or what is known to go wrong if acquire loads are as weak as C11 allows: must be
	 * found.  Then the model is run again with loads as processors make them, see README.md. */
	const char *weak;
	/* Only with loads as processors make them: what else would show is another model's .weak.
	 */
	bool rcsc;
	/* Also run by `make model-check`. */
	bool quick;
};

extern const struct model *const models_all[];

/* --- in setup ------------------------------------------------------------------------------ */

/* Make a segment with `count` participants, one process with one thread each, all joined. */
void world_make(int count);
/* Attach one participant; a new segment has room for so many processes. */
void world_attach(int self, uint32_t processes);
struct weir_segment *world_seg(int self);
/* From here on the calls are those of participant `self`. */
void world_as(int self);
/* Modelled memory outside the segment; shows as `name` in traces. */
void *world_shared(const char *name, size_t bytes);
/* Private memory that is put back before each execution. */
void world_private(void *data, size_t bytes);

/* --- in bodies and checks ------------------------------------------------------------------ */

__attribute__((format(printf, 1, 2), noreturn)) void model_fail(const char *format, ...);
#define EXPECT(condition)                                                                  \
	do {                                                                               \
		if (!(condition))                                                          \
			model_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition); \
	} while (0)
/* Sleep on a futex word until it differs from `value`, as a caller of weir_sem_poll() would. */
int model_sleep(const uint32_t *word, uint32_t value);
/* Somebody died in this execution (0 to THREADS_MAX-1), or -1. */
int model_victim(void);
bool model_dead(int thread);
/* Is this the last crash point that the first victim came past? */
bool model_died_past(const char *crash_point);
/* The clock of the calling thread goes on by `ns`. */
void model_pass(uint64_t ns);
/* Count an outcome, for models whose set of outcomes is known exactly. */
void model_outcome(const char *text);

#endif
