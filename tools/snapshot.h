/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A private copy of a segment, for looking.
 *
 * Foreign segments are read with pread() and never mapped: a file that is truncated while we look
 * is a short read and not a SIGBUS, nothing is ever written, and what was checked does not change
 * afterwards.  Whatever is reachable through this interface lies inside the copy.
 */
#ifndef WEIR_TOOLS_SNAPSHOT_H
#define WEIR_TOOLS_SNAPSHOT_H

#include <sys/stat.h>
#include <weir/shm/all.h>

#include "tools.h"

enum snap_life {
	SNAP_FREE,
	SNAP_LIVE,
	SNAP_DEAD, /* attached, and nobody holds its lock any more */
};

struct snap_object {
	char name[32];	/* "?" when there is no sound name */
	uint32_t type;	/* enum weir_object_type */
	uint32_t index; /* in the directory */
	uint64_t off;
	uint64_t bytes;
	const void *at;	  /* NULL when problem is set */
	char problem[96]; /* why it cannot be looked at, or empty */
};

struct snapshot {
	char path[PATH_MAX];
	char name[64]; /* last part of the path */
	int error;     /* 0, or why there is nothing but path, name and st: -errno */
	char why[256]; /* the error in words */
	struct stat st;
	int fd;
	uint8_t *base;
	uint64_t bytes;
	uint64_t now_ns; /* when it was taken */
	struct weir_segment_shm header;
	const struct weir_process_shm *procs;
	const struct weir_thread_shm *threads;
	const struct weir_event_shm *events;
	uint32_t thread_high;
	uint8_t *life; /* enum snap_life, one per process slot */
	struct snap_object *objects;
	uint32_t object_count;
};

/* A thread slot as far as it is in use. */
struct snap_thread {
	bool live;
	bool dead; /* its process is */
	uint32_t proc;
	uint32_t pid;
	uint32_t tid;
};

/* Copy the segment with this name or path.  Returns snap->error. */
int snapshot_take(const char *name, struct snapshot *ret);
void snapshot_drop(struct snapshot *snap);
/* Copy bytes [off, off + bytes) again; 0 or -errno. */
int snapshot_again(struct snapshot *snap, uint64_t off, uint64_t bytes);
/* Say why there is no snapshot; returns the exit status. */
int snapshot_fail(const struct snapshot *snap);

/* All segments of the directory whose names match `pattern` (NULL: all), by name; those that cannot
 * be read have `error` set.  0 or -errno of the directory. */
int snapshot_all(const char *pattern, struct snapshot **ret, size_t *ret_count);
void snapshot_drop_all(struct snapshot *snaps, size_t count);
/* For commands that take [SEGMENT[:OBJECT]]: `arg` NULL means all segments.  A single one that
 * cannot be read, or an object that is not there, is complained about.  Returns 0 or the exit
 * status. */
int snapshot_wanted(const struct cli *cli, const char *arg, struct target *ret_target,
		    struct snapshot **ret, size_t *ret_count);

const struct snap_object *snapshot_object(const struct snapshot *snap, const char *name);
/* Does the object match the pattern of a target (empty: all)? */
bool snapshot_matches(const struct target *target, const struct snap_object *object);
const char *snapshot_type(uint32_t type);
struct snap_thread snapshot_thread(const struct snapshot *snap, uint32_t slot);
/* Name of the object at 64 * `id`, also of a removed one; "-" for 0, "?" for nonsense. */
void snapshot_object_name(const struct snapshot *snap, uint32_t id, char ret_name[32]);
uint32_t snapshot_count(const struct snapshot *snap, enum snap_life life);
/* Is the process of this slot, live in the copy, dead by now?  Display only. */
enum snap_life snapshot_life(const struct snapshot *snap, uint32_t proc);

/* --- objects (view.c) -------------------------------------------------------------------- */

/* What lies behind a head, checked against the size of its block.  False: says why. */
struct sem_view {
	const struct weir_sem_shm *shm;
	const struct weir_sem_lane_shm *lanes;
	uint64_t word;
	uint32_t used;
	uint32_t cap;
	uint32_t waiters;
	uint64_t oldest_ns; /* how long the first in line has waited */
	uint64_t acquires;
	uint64_t waits;
	uint64_t wait_ns;
	uint64_t held; /* sum of the lanes: equal to used when nothing moves */
};
bool sem_view(const struct snapshot *snap, const struct snap_object *object, struct sem_view *ret,
	      char why[96]);

/* What this lane holds, steps under way as far as they have taken effect. */
uint64_t sem_hold(const struct sem_view *view, uint32_t lane);
/* Is it in the line? */
bool sem_waits(const struct sem_view *view, uint32_t lane);

struct limiter_view {
	const struct weir_limiter_shm *shm;
	uint64_t available; /* single limit only */
	uint64_t allowed;
	uint64_t denied;
	uint64_t tokens;
	uint64_t overfull;
	uint64_t keys_busy;
};
bool limiter_view(const struct snapshot *snap, const struct snap_object *object,
		  struct limiter_view *ret, char why[96]);

struct breaker_view {
	const struct weir_breaker_shm *shm;
	const struct weir_breaker_lane_shm *lanes;
	uint64_t word;
	uint32_t state; /* enum weir_breaker_state */
	uint32_t probes_out;
	uint64_t deadline_in_ns;
	uint64_t window_calls;
	uint64_t window_failures;
	uint64_t calls;
	uint64_t failures;
	uint64_t rejected;
};
bool breaker_view(const struct snapshot *snap, const struct snap_object *object,
		  struct breaker_view *ret, char why[96]);

struct queue_view {
	const struct weir_queue_shm *shm;
	const struct weir_queue_send_shm *sends;
	const struct weir_queue_take_shm *takes;
	const uint8_t *slots;
	uint64_t first;
	uint64_t tail;
	bool closed;
	uint32_t depth;
	uint32_t writing;
	uint32_t reading;
	uint32_t odd; /* slots in a state that does not exist, or longer than allowed */
};
bool queue_view(const struct snapshot *snap, const struct snap_object *object,
		struct queue_view *ret, char why[96]);
const struct weir_queue_slot_shm *queue_slot(const struct queue_view *view, uint64_t position);
/* Who is at work in a slot, if anybody is. */
struct queue_claim {
	bool writes; /* else reads */
	uint32_t owner;
	uint32_t tries;
	uint64_t position;
};
bool queue_claim(const struct queue_view *view, uint32_t slot, struct queue_claim *ret);
/* Both ends may lag, and what was given up may lie between them, but what they have passed has been
 * claimed, or finished by its sender. */
bool queue_ends_fit(const struct queue_view *view);
/* The message that waits at `position`, its bytes and the deliveries that failed; NULL if none. */
const uint8_t *queue_message(const struct queue_view *view, uint64_t position, uint32_t *ret_bytes,
			     uint32_t *ret_tries);

struct spans_view {
	const struct weir_spans_shm *shm;
	const uint8_t *rings;
	uint64_t ring_bytes;
	uint64_t recorded;
	uint64_t started;
	uint32_t rings_used;
};
bool spans_view(const struct snapshot *snap, const struct snap_object *object,
		struct spans_view *ret, char why[96]);
const struct weir_span_ring_shm *spans_ring(const struct spans_view *view, uint32_t ring);

/* --- the same as JSON (describe.c) ------------------------------------------------------- */

/* What `weir ls -J` says about an object; `full`: also who holds, waits and works. */
json_t *describe_object(const struct snapshot *snap, const struct snap_object *object, bool full);
json_t *describe_segment(const struct snapshot *snap);
/* Everything that process `proc` holds: an array of {object, type, amount, tid}. */
json_t *describe_holdings(const struct snapshot *snap, uint32_t proc);

#endif
