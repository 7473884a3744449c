/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Segments: one file of shared memory, the processes attached to it and the objects in it. */
#ifndef WEIR_SEGMENT_H
#define WEIR_SEGMENT_H

#include <weir/base.h>
#include <weir/ctx.h>

struct weir_segment; /* this process's handle */

enum weir_segment_flags {
	WEIR_CREATE = 1,    /* make it if it does not exist */
	WEIR_EXCLUSIVE = 2, /* with WEIR_CREATE: -EEXIST if it exists */
};

struct weir_segment_opts {
	size_t size;
	uint32_t flags;
	uint32_t mode;	    /* of a new file; 0: 0600 */
	uint64_t bytes;	    /* of a new file, rounded up; 0: 4 MiB */
	uint32_t processes; /* a new segment has room for; 0: 64, at most 1024 */
	uint32_t threads;   /* 0: 128, at most 4095 */
	uint32_t objects;   /* 0: 128, at most 4096 */
	const char *role;   /* what `weir ps` calls this process; NULL: "" */
	char *why;	    /* NULL, or where a refusal is explained in words */
	size_t why_bytes;
};

/*
 * Open segment `name` (a name, or a path if it contains '/') and attach to it.  Names are looked up
 * in weir_segment_dir().  Creation is all or nothing: nobody ever sees half a segment, and the
 * memory is reserved, so a full file system is an error here and not a SIGBUS later.  Processes
 * found dead are swept first.  opts NULL: attach only.
 *
 * Returns  0; -ENOENT; -EEXIST; -EACCES, -ELOOP, -ENOSPC ... from the system; -EINVAL bad name or
 *          option; -EBADMSG not a segment, truncated or inconsistent; -EPROTO another layout (why
 *          names the first field that differs); -ESTALE from before a reboot; -EPERM owned by
 *          somebody who is neither root nor the caller; -EUSERS no free process slot.
 * Progress lock-free.  Crash  leaves nothing, or a process slot that the next sweep frees.
 */
WEIR_API int weir_segment_open(const char *name, const struct weir_segment_opts *opts,
			       struct weir_segment **ret_seg);

/* Detach: give back what this process holds, free its slots, unmap.  Handles of objects become
 * invalid.  NULL is fine.  Always 0. */
WEIR_API int weir_segment_close(struct weir_segment *seg);

/* Remove the name.  Processes that are attached go on.  0 or -errno. */
WEIR_API int weir_segment_unlink(const char *name);

/* Directory of named segments: $WEIR_DIR, else /run/weir if it is on a tmpfs and the caller may use
 * it, else /dev/shm/weir-UID.  `create`: make the last one if missing.  0, -ENAMETOOLONG, or what
 * mkdir said. */
WEIR_API int weir_segment_dir(int create, char *ret_path, size_t path_bytes);

/* Path of segment `name`.  0, -EINVAL, -ENAMETOOLONG. */
WEIR_API int weir_segment_path(const char *name, char *ret_path, size_t path_bytes);

/* What a sweep did. */
struct weir_recovery {
	uint32_t processes; /* dead processes swept */
	uint32_t threads;
	uint32_t permits;     /* given back */
	uint32_t probes;      /* of breakers, counted as failed */
	uint32_t redelivered; /* messages put back into queues */
	uint32_t skipped;     /* slots of senders that died before the commit */
	uint32_t blocks;      /* half-built objects given back */
};

/*
 * Sweep the dead: finish or drop what they were doing and give back what they held.  Anybody may
 * call it at any time, any number at once; waiters and weir_segment_open() call it themselves.
 * ret NULL is fine.  Returns 0 or -errno (of the liveness probe).  Progress  lock-free.
 * Crash  the next sweep goes on where this one stopped.
 */
WEIR_API int weir_segment_recover(struct weir_segment *seg, struct weir_recovery *ret);

/* Remove object `name` from the directory.  Handles in use go on working on the old one; its memory
 * is not reused.  0, -ENOENT. */
WEIR_API int weir_object_unlink(struct weir_segment *seg, const char *name);

/* Make the caller's thread a participant now instead of at its first operation.
 * 0, -EUSERS: no free thread (or, after fork, process) slot. */
WEIR_API int weir_segment_join(struct weir_segment *seg);

/* Say which request the calling thread works on (NULL: none), for `weir ps`, waits and messages. */
WEIR_API int weir_segment_set_trace(struct weir_segment *seg, const struct weir_trace *trace);

/* The mapped bytes, for tests and tools that look at their own segment. */
WEIR_API const void *weir_segment_base(const struct weir_segment *seg, size_t *ret_bytes);

#endif
