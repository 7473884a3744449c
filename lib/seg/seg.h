/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Segments from the inside: the handle, who we are in it, objects, the sweep. */
#ifndef WEIR_SEG_SEG_H
#define WEIR_SEG_SEG_H

#include <errno.h>
#include <pthread.h>
#include <weir/segment.h>
#include <weir/shm/all.h>

#include "os/os.h"

#define WEIR__SEGMENT_MAGIC UINT64_C(0x3147455352494557) /* "WEIRSEG1" */
#define WEIR__OBJECT_MAGIC  0x52494557u			 /* "WEIR" */
#define WEIR__WAITQ_MAGIC   0x51494557u			 /* "WEIQ" */
#define WEIR__UNIT	    64u
#define WEIR__RECOVERY_NS   UINT64_C(20000000)

/* Counters begin near their wrap, so that every run passes it. */
#define WEIR__SEQ_START ((UINT64_C(1) << 30) - 48)

#define weir__likely(x)	  __builtin_expect(!!(x), 1)
#define weir__unlikely(x) __builtin_expect(!!(x), 0)

/* Fields are copied out of the header and checked at attach; the header is not read again. */
struct weir_segment {
	uint8_t *base;
	uint64_t bytes;
	struct weir_segment_shm *shm;
	WEIR_ATOMIC(uint64_t) * dir;
	struct weir_process_shm *procs;
	struct weir_thread_shm *threads;
	struct weir_event_shm *events;
	uint64_t arena_off;
	uint32_t dir_count;
	uint32_t proc_count;
	uint32_t thread_count;
	uint32_t event_count;
	int fd;
	pid_t fd_pid; /* the process that opened fd: after a fork it must be opened anew */
	uint32_t proc_slot;
	struct weir__joined *joined;	/* threads of this process with a slot */
	WEIR_ATOMIC(uint64_t) swept_ns; /* last look for the dead by this process */
	struct weir__identity self;
	uint64_t *token;      /* on a page that a forked child finds zero */
	uint64_t token_value; /* what *token was: unique in this process */
	size_t token_bytes;
	pthread_mutex_t lock; /* joining and leaving, within this process */
	pthread_key_t exit_key;
	char role[16];
	struct weir_segment *next; /* the attach table */
};

/* --- who we are -------------------------------------------------------------------------- */

struct weir__self {
	uint64_t token;
	uint32_t slot;
	const struct weir_thread_shm *thread; /* the slot itself */
};
extern __thread struct weir__self weir__self_cache;
int weir__self_slow(struct weir_segment *seg);

/* True if weir__self_cache.slot is the caller's slot in this segment. */
static inline bool weir__self_known(const struct weir_segment *seg)
{
	uint64_t token = weir__self_cache.token;

	return token == *seg->token && token != 0;
}

/* Thread slot of the caller, joining if need be; -EUSERS when the table is full. */
static inline int weir__self(struct weir_segment *seg)
{
	if (weir__likely(weir__self_known(seg)))
		return (int)weir__self_cache.slot;
	return weir__self_slow(seg);
}

int weir__participant_attach(struct weir_segment *seg);
void weir__participant_detach(struct weir_segment *seg);
/* Is the process in slot `proc` dead?  1, 0 or -errno.  Never asks the clock. */
int weir__process_dead(struct weir_segment *seg, uint32_t proc);
/* Highest thread slot ever used, plus one; never more than thread_count. */
static inline uint32_t weir__thread_high(const struct weir_segment *seg)
{
	/* relaxed, at the other end of EDGE thread.high: a slot used later belongs to somebody
	 * who looks for himself. */
	uint32_t high = weir_load_relaxed(&seg->shm->thread_high);

	return high < seg->thread_count ? high : seg->thread_count;
}
/* tid of thread slot `slot` for display, 0 if free. */
uint32_t weir__thread_tid(const struct weir_segment *seg, uint32_t slot);
/* Say that the caller waits for `object` since `now` (NULL: no longer). */
void weir__self_waits(struct weir_segment *seg, uint32_t slot, const void *object, uint64_t now);

/* --- objects ----------------------------------------------------------------------------- */

struct weir__plan {
	uint32_t type;	/* enum weir_object_type */
	uint64_t bytes; /* head included */
	const void *opts;
	void (*init)(struct weir_segment *seg, void *object, const void *opts);
	bool (*match)(const void *object, const void *opts);
};

/* Find object `name`, or create it by the plan (opts NULL: only find).  The block behind
 * *ret_object is at least plan->bytes long only if the caller checks with weir__object_bytes(). */
int weir__object_open(struct weir_segment *seg, const char *name, const struct weir__plan *plan,
		      void **ret_object);
/* Size of the block of a published object, bounded by the segment. */
uint64_t weir__object_bytes(const struct weir_segment *seg, const void *object);
/* Object number `index` of the directory, or NULL; the pointer is checked. */
void *weir__object_at(const struct weir_segment *seg, uint32_t index);
static inline uint32_t weir__object_id(const struct weir_segment *seg, const void *object)
{
	return object ? (uint32_t)(((const uint8_t *)object - seg->base) / WEIR__UNIT) : 0;
}

int weir__arena_claim(struct weir_segment *seg, uint32_t owner, uint64_t bytes, void **ret_object);
void weir__arena_settle(void *object, enum weir_object_block state);
/* Offset of the block that follows the one at `off`; 0 at the end of what was ever used. */
uint64_t weir__arena_next(const struct weir_segment *seg, uint64_t off);

void weir__event(struct weir_segment *seg, enum weir_event_kind kind, const void *object,
		 uint64_t a, uint64_t b);

/* --- the dead ---------------------------------------------------------------------------- */

/*
 * A thread slot whose process is dead.  The rule of every recovery step: load what you will change,
 * then ask weir__victim_still(), then CAS from what you loaded.  If the slot has been swept and
 * given to somebody else meanwhile, either the question says no or the CAS fails, because no word
 * ever has the same value twice.
 */
struct weir__victim {
	struct weir_segment *seg;
	uint32_t thread;
	uint64_t word; /* of the thread slot */
};

static inline bool weir__victim_still(const struct weir__victim *victim)
{
	/* EDGE thread.word (acquire <- weir__thread_free): a freed slot means a finished sweep. */
	return weir_load_acquire(&victim->seg->threads[victim->thread].word) == victim->word;
}

/* One per object type, defined in obj/types.c; recover may be NULL. */
struct weir__type {
	const char *name;
	void (*recover)(const struct weir__victim *victim, void *object, struct weir_recovery *rec);
};
extern const struct weir__type weir__types[];
extern const uint32_t weir__type_count;

/* Sweep one thread slot through all objects and blocks, then free it. */
void weir__sweep_thread(const struct weir__victim *victim, struct weir_recovery *rec);
/* Look for dead processes and sweep them. */
int weir__sweep(struct weir_segment *seg, struct weir_recovery *rec);
/* The same, unless this process has looked within WEIR_RECOVERY_NS. */
void weir__sweep_sometimes(struct weir_segment *seg);

/* a - b of 30-bit sequence numbers, as a signed number. */
static inline int32_t weir__seq_diff(uint64_t a, uint64_t b)
{
	return (int32_t)((uint32_t)(a - b) << 2) >> 2;
}

#endif
