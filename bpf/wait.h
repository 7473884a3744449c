/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the wait probe (bpf/wait.bpf.c) and its reader (tools/trace_bpf.c) tell each other. */
#ifndef WEIR_BPF_WAIT_H
#define WEIR_BPF_WAIT_H

#include <weir/shm/base.h>

/* A file as the kernel names it: the same in every process that maps it. */
struct weir_wait_key {
	uint64_t dev;
	uint64_t ino;
};

/*
 * One logical wait, as of the end of its last futex call.  The library never sleeps longer than
 * 20 ms in one call, so a long wait is many calls; each emits a record whose figures cover
 * everything since start_ns.  The newest record of (tid, start_ns) is the whole truth: losing an
 * older one loses nothing.
 */
struct weir_wait_record {
	struct weir_wait_key file;
	uint64_t object_off; /* of the object head in the file; 0 if it cannot be right */
	uint64_t word_off;   /* of the futex word in the file */
	uint64_t since_ns;   /* when the library began to wait, spinning included; 0 unknown */
	uint64_t start_ns; /* first futex call; bpf_ktime_get_ns() is the clock of weir_now_ns() */
	uint64_t end_ns;   /* end of the last one */
	uint64_t blocked_ns;  /* asleep, until somebody woke it */
	uint64_t runqueue_ns; /* woken or preempted, and waiting for a processor */
	uint64_t holder_span; /* a hint of the library's, as are holder_tid, span and trace */
	uint64_t span;
	uint64_t trace[2];
	uint32_t holder_tid;
	uint32_t holder_changes; /* how often another holder was seen in the way */
	uint32_t tid;		 /* in the initial pid namespace, as are pid and the waker's */
	uint32_t pid;
	uint32_t waiter_tid; /* as the library knows the thread; 0 when the place is shared */
	uint32_t waker_tid;  /* 0: a timer */
	uint32_t waker_pid;
	uint32_t calls;
	int result;    /* of the last call */
	uint32_t type; /* enum weir_object_type; 0 unreadable */
	char object[32];
	char comm[16];
};

/* Why a wait is missing or incomplete.  Every shared futex wait on a registered file is in `calls`:
 * calls = emitted + reserve_failed + storage_failed + unreadable + those not over yet. */
struct weir_wait_counts {
	uint64_t calls;
	uint64_t emitted;
	uint64_t reserve_failed; /* ring full: the reader was too slow */
	uint64_t storage_failed; /* no memory for the state of the task */
	uint64_t unreadable;	 /* the word is not in a struct waitq, or not readable now */
	uint64_t vma_busy;	 /* mmap lock taken, so the file is unknown: not in `calls` */
};

/* Where an object does not say when a wait began: a sleep that timed out and one that follows after
 * so little time on a processor are the same wait.  Sweeping for the dead in between takes 0.2 ms,
 * and ten times that on an emulated machine. */
#define WEIR_WAIT_GAP_NS 5000000ull

#endif
