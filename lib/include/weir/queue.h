/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bounded queue: many senders, many receivers, and no death wedges it or loses a message. */
#ifndef WEIR_QUEUE_H
#define WEIR_QUEUE_H

#include <weir/ctx.h>
#include <weir/segment.h>
#include <weir/sem.h>

struct weir_queue;

struct weir_queue_opts {
	size_t size;
	uint32_t slots; /* rounded up to a power of two; 2 to 2^20 */
	uint32_t bytes; /* longest message; 1 to 1 MiB */
	/* Drop a message (stat: dropped) after this many deaths of its receivers, 1 to 63; 0: after
	 * 64, which is as far as the count goes. */
	uint32_t tries_max;
};

/* A message on loan: in the queue's own memory, no copy. */
struct weir_msg {
	void *data;
	uint32_t bytes;	   /* room when sending, length when received */
	uint32_t tries;	   /* receivers that died with it before */
	uint64_t position; /* place in the queue: never repeats; the same when redelivered */
	/* Received: the sender's.  Sending: set it, or the thread's is sent. */
	struct weir_trace trace;
	uint64_t sent_ns; /* 0 when the sender had no trace */
	void *slot;	  /* the library's */
};

/* Get queue `name`, creating it exactly once; see weir_sem_open() for the errors. */
WEIR_API int weir_queue_open(struct weir_segment *seg, const char *name,
			     const struct weir_queue_opts *opts, struct weir_queue **ret_queue);
WEIR_API int weir_queue_close(struct weir_queue *queue);

/*
 * Send a copy of `bytes` bytes.  try_: -EAGAIN when full, or while the receiver of the slot's last
 * lap is not finished.
 * Returns  0; -EMSGSIZE; -ESHUTDOWN the queue is closed; -EAGAIN; -ETIMEDOUT, -ECANCELED; -EUSERS.
 * Order    each sender's messages arrive in its order; all in the order of their claims.
 * Progress lock-free until it sleeps.  No system call unless it waits or somebody sleeps, or a try_
 *          says -EAGAIN: every eighth looks for the dead, at most once in WEIR_RECOVERY_NS.
 * Crash    before the commit: no message, its slot is skipped; after it: the message is in.
 * Source   D. Vyukov's bounded MPMC queue; claims name their owner and lie apart from the slot.
 */
WEIR_API int weir_queue_send(struct weir_queue *queue, const void *data, uint32_t bytes,
			     struct weir_ctx *ctx);
WEIR_API int weir_queue_try_send(struct weir_queue *queue, const void *data, uint32_t bytes);

/* Send up to `count` messages of `bytes` bytes each, back to back in `data`, without waiting.
 * *ret_sent is how many went in (set also with -EAGAIN and -ESHUTDOWN). */
WEIR_API int weir_queue_try_send_batch(struct weir_queue *queue, const void *data, uint32_t bytes,
				       uint32_t count, uint32_t *ret_sent);

/*
 * Receive into `data`.  The message is gone from the queue when this returns.
 * Returns  0; -EMSGSIZE the room is too small (the message stays); -ESHUTDOWN closed and drained:
 *          nothing is in it, and nobody else has taken a message that could still come back if he
 *          dies; -EAGAIN (try_: empty, or the oldest sender is not finished, or closed and another
 *          receiver is not finished; the others wait for him); -ETIMEDOUT, -ECANCELED; -EUSERS.
 *          Two that wait at the end of a closed queue, each with a message taken and not finished,
 *          wait for each other: finish what you have first.
 * Crash    before it has the message copied: it is delivered again; after that it counts as
 *          delivered.  To work on a message safely until it is finished use take and done.
 */
WEIR_API int weir_queue_recv(struct weir_queue *queue, void *data, uint32_t room,
			     uint32_t *ret_bytes, struct weir_ctx *ctx);
WEIR_API int weir_queue_try_recv(struct weir_queue *queue, void *data, uint32_t room,
				 uint32_t *ret_bytes);

/*
 * Receive up to `count` messages without waiting, number i to data + i * room, and its length to
 * ret_bytes[i] unless that is NULL.  *ret_received is how many came (set also on errors).
 * Returns  0 if all came, else why not one more, as try_recv.
 * Crash    each counts as delivered as soon as it is copied: who dies in here takes along those
 *          that were.  To lose none use take and done.
 */
WEIR_API int weir_queue_try_recv_batch(struct weir_queue *queue, void *data, uint32_t room,
				       uint32_t count, uint32_t *ret_bytes, uint32_t *ret_received);

/* Loan a slot, fill msg->data, set msg->bytes, then commit; or give it up (an empty slot is
 * skipped).  Returns as send.  A loan is the thread's; its slot blocks later messages until it
 * is committed, so be quick.  loan with ctx waits, try_loan does not. */
WEIR_API int weir_queue_loan(struct weir_queue *queue, struct weir_msg *ret_msg,
			     struct weir_ctx *ctx);
WEIR_API int weir_queue_try_loan(struct weir_queue *queue, struct weir_msg *ret_msg);
WEIR_API int weir_queue_commit(struct weir_queue *queue, struct weir_msg *msg);
WEIR_API int weir_queue_abort(struct weir_queue *queue, struct weir_msg *msg);

/* Take the next message and work on it in place; it is off the queue only with done.  If the
 * taker dies it is delivered again (tries + 1); put_back does that on purpose.  -EINVAL: not this
 * thread's. */
WEIR_API int weir_queue_take(struct weir_queue *queue, struct weir_msg *ret_msg,
			     struct weir_ctx *ctx);
WEIR_API int weir_queue_try_take(struct weir_queue *queue, struct weir_msg *ret_msg);
WEIR_API int weir_queue_done(struct weir_queue *queue, struct weir_msg *msg);
WEIR_API int weir_queue_put_back(struct weir_queue *queue, struct weir_msg *msg);

/* Stop sends for good; receivers get what is in, and what is put back, then -ESHUTDOWN.  A send
 * that overlaps the call may get in after another was refused, until a receiver was told so.
 * Idempotent.  0. */
WEIR_API int weir_queue_shutdown(struct weir_queue *queue);

/* Where to sleep until a receive (send) is worth trying again; sleep only if *word is still `value`
 * and not longer than WEIR_RECOVERY_NS.  Call it, try once more, then sleep. */
WEIR_API int weir_queue_wait_recv(struct weir_queue *queue, struct weir_wait *ret_wait);
WEIR_API int weir_queue_wait_send(struct weir_queue *queue, struct weir_wait *ret_wait);

struct weir_queue_stat {
	uint32_t slots;
	uint32_t bytes;
	uint32_t depth;	  /* committed and not taken */
	uint32_t writing; /* on loan to senders */
	uint32_t reading; /* on loan to receivers */
	uint32_t closed;
	uint64_t sent;	   /* positions claimed so far */
	uint64_t received; /* positions that receivers have finished, or gone past */
	uint64_t redelivered;
	uint64_t skipped;
	uint64_t dropped;
};
WEIR_API int weir_queue_stat(const struct weir_queue *queue, struct weir_queue_stat *ret_stat);

#endif
