/* SPDX-License-Identifier: (MIT OR GPL-2.0-only) */
/*
 * The wait probe: who waits on which object of a segment, for how long, and who is in the way.
 *
 * 2026-11, the futex call is the probe.  A thread that waits for an object of ours makes a system
 * call on a word in a mapped file, so the kernel can tell everything without help from the process:
 * the file and offset behind the word name the object (the same in every process), the struct waitq
 * around it names the holder, the scheduler says how the time was spent, and the waking thread is
 * the current one.  A process that does not wait pays nothing.
 *
 * 2026-11, one logical wait is many calls (see wait.h).  The state stays with the task between
 * them, so time lost on the run queue between two calls is seen too and does not count as gap.
 *
 * 2026-11, which programs.  fentry and kprobes are refused on some machines, so: classic
 * tracepoints for the futex calls (calls that are none of them pay nothing), BTF tracepoints for
 * the scheduler.  The few kernel structures are written down below and relocated at load, so no
 * vmlinux.h and no kernel headers are needed.
 */
#include <weir/shm/object.h>
#include <weir/shm/sem_lane.h>
#include <weir/shm/waitq.h>

#include "wait.h"

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block {
	uint32_t s_dev;
};
struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
};
struct file {
	struct inode *f_inode;
};
struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_pgoff;
	struct file *vm_file;
};
struct task_struct {
	int pid;
	int tgid;
};
#pragma clang attribute pop

/* From the tracepoints' format files, which are interface. */
struct sys_enter {
	uint64_t common;
	uint64_t nr;
	uint64_t args[6];
};
struct sys_exit {
	uint64_t common;
	uint64_t nr;
	int64_t ret;
};
struct futex_waiter {
	uint64_t val;
	uint64_t uaddr;
	uint32_t flags;
	uint32_t reserved;
};

#define WAITQ_MAGIC	 0x51494557u
#define OBJECT_MAGIC	 0x52494557u
#define CALL_WAIT	 0
#define CALL_WAIT_BITSET 9
#define CALL_MASK	 127
#define CALL_PRIVATE	 128
#define WAITER_32	 2
#define TIMED_OUT	 (-110)
#define PAGE_SHIFT	 12

struct wait_state {
	struct weir_wait_record r;
	uint64_t word;	      /* address */
	uint64_t off_ns;      /* when it left the processor; 0: it is on one */
	uint64_t wake_ns;     /* when it became runnable again; 0: it is asleep */
	uint64_t runqueue_ns; /* of r, at the end of the last call */
	uint32_t active;      /* in a call */
	uint32_t zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct weir_wait_key);
	__type(value, uint32_t);
} files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wait_state);
} waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct weir_wait_counts);
} counts SEC(".maps");

/*
 * How the reader learns the key of a file: it maps a page, writes the address and a random value
 * here, and makes one futex call with them, which answers in learn_key.  The device and inode that
 * stat(2) gives are other ones on some file systems (btrfs, overlayfs).
 */
uint64_t learn_word;
uint32_t learn_val;
struct weir_wait_key learn_key;

/* For the type information of the skeleton. */
const struct weir_wait_record *unused_record __attribute__((unused));

/* --- the file behind a word ---------------------------------------------------------------- */

struct place {
	struct weir_wait_key file;
	uint64_t off;
	uint64_t word;
};

static long place_found(struct task_struct *task, struct vm_area_struct *vma, struct place *place)
{
	struct file *file = vma->vm_file;

	if (!file)
		return 0;
	place->file.dev = file->f_inode->i_sb->s_dev;
	place->file.ino = file->f_inode->i_ino;
	place->off = place->word - vma->vm_start + ((uint64_t)vma->vm_pgoff << PAGE_SHIFT);
	return 0;
}

/* --- a call begins --------------------------------------------------------------------------- */

/* The object around the word, and when the library began to wait if the object says so. */
static __always_inline void read_object(struct weir_wait_record *r, uint64_t word, uint32_t back)
{
	struct weir_object_shm head;
	uint64_t lane = word - WEIR_OFFSETOF(struct weir_sem_lane_shm, waitq);

	r->object_off = 0;
	r->type = 0;
	r->since_ns = 0;
	if (back > r->word_off)
		return;
	r->object_off = r->word_off - back;
	if (bpf_probe_read_user(&head, sizeof(head), (void *)(word - back)) ||
	    head.magic != OBJECT_MAGIC)
		return;
	r->type = head.type;
	__builtin_memcpy(r->object, head.name, sizeof(r->object));
	r->object[sizeof(r->object) - 1] = 0;
	if (head.type == WEIR_OBJECT_TYPE_SEM)
		bpf_probe_read_user(
			&r->since_ns, sizeof(r->since_ns),
			(void *)(lane + WEIR_OFFSETOF(struct weir_sem_lane_shm, since_ns)));
}

/* Is this call one more of the wait that the last one belonged to? */
static __always_inline int continues(const struct wait_state *ws, const struct place *place,
				     uint64_t now_ns)
{
	const struct weir_wait_record *r = &ws->r;
	uint64_t since_ns = 0;

	if (r->calls == 0 || ws->word != place->word || r->word_off != place->off ||
	    r->file.ino != place->file.ino || r->file.dev != place->file.dev)
		return 0;
	if (r->type != WEIR_OBJECT_TYPE_SEM || !r->since_ns)
		return r->result == TIMED_OUT &&
		       now_ns - r->end_ns - (r->runqueue_ns - ws->runqueue_ns) < WEIR_WAIT_GAP_NS;
	/* A semaphore's lane says when the wait began: exact. */
	bpf_probe_read_user(&since_ns, sizeof(since_ns),
			    (void *)(ws->word - WEIR_OFFSETOF(struct weir_sem_lane_shm, waitq) +
				     WEIR_OFFSETOF(struct weir_sem_lane_shm, since_ns)));
	return since_ns == r->since_ns;
}

static __always_inline void begin(struct wait_state *ws, const struct place *place,
				  const struct weir_waitq_shm *q)
{
	struct weir_wait_record *r = &ws->r;
	uint64_t now_ns = bpf_ktime_get_ns();
	uint64_t id = bpf_get_current_pid_tgid();

	if (!continues(ws, place, now_ns)) {
		__builtin_memset(ws, 0, sizeof(*ws));
		ws->word = place->word;
		r->file = place->file;
		r->word_off = place->off;
		r->start_ns = now_ns;
		r->tid = (uint32_t)id;
		r->pid = id >> 32;
		bpf_get_current_comm(r->comm, sizeof(r->comm));
		read_object(r, place->word, q->back);
	}
	if (q->holder_tid && r->holder_tid && q->holder_tid != r->holder_tid)
		r->holder_changes++;
	if (q->holder_tid) {
		r->holder_tid = q->holder_tid;
		r->holder_span = q->holder_span;
	}
	r->waiter_tid = q->waiter_tid;
	r->span = q->span;
	r->trace[0] = q->trace[0];
	r->trace[1] = q->trace[1];
	r->calls++;
	ws->active = 1;
}

static __always_inline int enter(uint64_t word, uint32_t val)
{
	struct place place = {.word = word};
	struct task_struct *task = bpf_get_current_task_btf();
	struct weir_wait_counts *n;
	struct wait_state *ws;
	struct weir_waitq_shm q;
	uint32_t zero = 0;
	long r;

	n = bpf_map_lookup_elem(&counts, &zero);
	if (!n)
		return 0;
	if (word == learn_word && val == learn_val) {
		bpf_find_vma(task, word, place_found, &place, 0);
		learn_key = place.file;
		return 0;
	}
	if (bpf_probe_read_user(&q, sizeof(q), (void *)word)) {
		n->unreadable++;
		return 0;
	}
	if (q.magic != WAITQ_MAGIC)
		return 0;
	r = bpf_find_vma(task, word, place_found, &place, 0);
	if (r < 0) {
		n->vma_busy++;
		return 0;
	}
	if (!bpf_map_lookup_elem(&files, &place.file))
		return 0;
	n->calls++;
	ws = bpf_task_storage_get(&waits, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!ws) {
		n->storage_failed++;
		return 0;
	}
	begin(ws, &place, &q);
	return 0;
}

SEC("tp/syscalls/sys_enter_futex")
int enter_futex(struct sys_enter *ctx)
{
	uint32_t op = (uint32_t)ctx->args[1];

	if (op & CALL_PRIVATE)
		return 0;
	if ((op & CALL_MASK) != CALL_WAIT && (op & CALL_MASK) != CALL_WAIT_BITSET)
		return 0;
	return enter(ctx->args[0], (uint32_t)ctx->args[2]);
}

/* Only the first of the words: the library puts its own there, and those of contexts behind it. */
SEC("tp/syscalls/sys_enter_futex_waitv")
int enter_futex_waitv(struct sys_enter *ctx)
{
	struct futex_waiter waiter;

	if (bpf_probe_read_user(&waiter, sizeof(waiter), (void *)ctx->args[0]))
		return 0;
	if ((waiter.flags & CALL_PRIVATE) || (waiter.flags & 3) != WAITER_32)
		return 0;
	return enter(waiter.uaddr, (uint32_t)waiter.val);
}

/* --- a call ends ------------------------------------------------------------------------------ */

static __always_inline int leave(int64_t result)
{
	struct wait_state *ws = bpf_task_storage_get(&waits, bpf_get_current_task_btf(), 0, 0);
	struct weir_wait_counts *n;
	uint32_t zero = 0;

	if (!ws || !ws->active)
		return 0;
	n = bpf_map_lookup_elem(&counts, &zero);
	if (!n)
		return 0;
	ws->active = 0;
	ws->r.end_ns = bpf_ktime_get_ns();
	ws->r.result = (int)result;
	ws->runqueue_ns = ws->r.runqueue_ns;
	if (result == TIMED_OUT) {
		/* Whoever ran when the timer struck has nothing to do with it. */
		ws->r.waker_tid = 0;
		ws->r.waker_pid = 0;
	}
	if (bpf_ringbuf_output(&records, &ws->r, sizeof(ws->r), BPF_RB_NO_WAKEUP))
		n->reserve_failed++;
	else
		n->emitted++;
	return 0;
}

SEC("tp/syscalls/sys_exit_futex")
int exit_futex(struct sys_exit *ctx)
{
	return leave(ctx->ret);
}

SEC("tp/syscalls/sys_exit_futex_waitv")
int exit_futex_waitv(struct sys_exit *ctx)
{
	return leave(ctx->ret);
}

/* --- in between: the scheduler -----------------------------------------------------------------
 */

/* preempt: it could have gone on, so it waits for a processor from now. */
static __always_inline void off(struct task_struct *task, int preempt, uint64_t now_ns)
{
	struct wait_state *ws = bpf_task_storage_get(&waits, task, 0, 0);

	if (!ws)
		return;
	ws->off_ns = now_ns;
	ws->wake_ns = preempt ? now_ns : 0;
}

static __always_inline void on(struct task_struct *task, uint64_t now_ns)
{
	struct wait_state *ws = bpf_task_storage_get(&waits, task, 0, 0);
	uint64_t wake_ns;

	if (!ws || !ws->off_ns)
		return;
	wake_ns = ws->wake_ns ? ws->wake_ns : now_ns;
	if (ws->active)
		ws->r.blocked_ns += wake_ns - ws->off_ns;
	ws->r.runqueue_ns += now_ns - wake_ns;
	ws->off_ns = 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, _Bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	uint64_t now_ns = bpf_ktime_get_ns();

	off(prev, preempt || prev_state == 0, now_ns);
	on(next, now_ns);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking, struct task_struct *task)
{
	struct wait_state *ws = bpf_task_storage_get(&waits, task, 0, 0);
	uint64_t id;

	if (!ws || !ws->active || ws->wake_ns)
		return 0;
	if (ws->off_ns)
		ws->wake_ns = bpf_ktime_get_ns();
	id = bpf_get_current_pid_tgid();
	ws->r.waker_tid = (uint32_t)id;
	ws->r.waker_pid = id >> 32;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
