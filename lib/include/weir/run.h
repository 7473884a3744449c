/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libweir-run: one io_uring per worker for sockets, files, timers, and for waiting on the queues
 * and semaphores of a segment.
 *
 * An operation lives in the caller's memory from the call that starts it until its function has
 * been called, exactly once and always from weir_loop_run() or weir_loop_close(), with the result:
 * >= 0, or -errno (-ECANCELED after weir_loop_cancel()).  What it points to (buffers, addresses,
 * ret_msg) lives as long.  The function may use the same operation again.
 *
 * A call that starts one returns 0; -EINVAL; -ENOMEM; -EAGAIN the kernel takes no more right now;
 * -ESHUTDOWN from within weir_loop_close().  Then the function is not called.
 *
 * All calls belong to one thread, except weir_loop_stop().  A forked child must not touch the loop.
 * File descriptors should be blocking ones: the ring waits for them, and O_NONBLOCK means -EAGAIN.
 */
#ifndef WEIR_RUN_H
#define WEIR_RUN_H

#include <sys/socket.h>
#include <weir.h>

struct weir_loop;
struct weir_op;
typedef void weir_op_fn(struct weir_loop *loop, struct weir_op *op, int result);

struct weir_op {
	weir_op_fn *fn;
	void *user;
	/* The library's from here on. */
	struct weir_op *next;
	struct weir_op *prev;
	void *line; /* the waiting line it stands in */
	struct weir_msg *msg;
	uint64_t deadline_ns;
	int64_t timer[2]; /* seconds, nanoseconds */
	uint32_t weight;
	uint32_t state;
	int32_t result;
	uint32_t cancelled;
};

enum weir_loop_flags {
	WEIR_LOOP_NO_FUTEX = 1, /* look every millisecond even where the kernel could wait */
};

struct weir_loop_opts {
	size_t size;
	uint32_t entries; /* submission queue; 0: 256 */
	uint32_t flags;	  /* enum weir_loop_flags */
};

/* Returns 0; -EINVAL; -ENOSYS, -EPERM where io_uring is missing or forbidden; -ENOMEM, -EMFILE.
 * opts NULL: the defaults. */
WEIR_API int weir_loop_create(const struct weir_loop_opts *opts, struct weir_loop **ret_loop);
/* Cancels what is open (functions are called with -ECANCELED, or with the result that came first),
 * leaves every waiting line, frees.  NULL is fine.  0, or -EBUSY from within weir_loop_run(). */
WEIR_API int weir_loop_close(struct weir_loop *loop);
/* Work until weir_loop_stop() (0), nothing is left to do (0), or ctx ends (-ETIMEDOUT, -ECANCELED).
 * What is open then stays open: run again, or close.  -EBUSY from within itself. */
WEIR_API int weir_loop_run(struct weir_loop *loop, struct weir_ctx *ctx);
/* End the run under way, or the next one.  From any thread or signal handler.  Always 0. */
WEIR_API int weir_loop_stop(struct weir_loop *loop);

/* Sockets and files: each takes op (fn and user set), and ends with the result of the system call.
 * Accepted sockets are close-on-exec; sending never raises SIGPIPE; the offset UINT64_MAX is the
 * file's own position. */
WEIR_API int weir_loop_accept(struct weir_loop *loop, struct weir_op *op, int fd);
WEIR_API int weir_loop_connect(struct weir_loop *loop, struct weir_op *op, int fd,
			       const struct sockaddr *address, socklen_t address_bytes);
WEIR_API int weir_loop_recv(struct weir_loop *loop, struct weir_op *op, int fd, void *data,
			    uint32_t bytes);
WEIR_API int weir_loop_send(struct weir_loop *loop, struct weir_op *op, int fd, const void *data,
			    uint32_t bytes);
WEIR_API int weir_loop_read(struct weir_loop *loop, struct weir_op *op, int fd, void *data,
			    uint32_t bytes, uint64_t offset);
WEIR_API int weir_loop_write(struct weir_loop *loop, struct weir_op *op, int fd, const void *data,
			     uint32_t bytes, uint64_t offset);
WEIR_API int weir_loop_fdatasync(struct weir_loop *loop, struct weir_op *op, int fd);
/* Ends with 0 after `ns`. */
WEIR_API int weir_loop_after(struct weir_loop *loop, struct weir_op *op, uint64_t ns);

/* Take `weight` permits: ends with 0 (they belong to the loop's thread), or -ETIMEDOUT after
 * timeout_ns (UINT64_MAX: never).  First come, first served within the loop, and the loop stands in
 * the semaphore's line with its first.  Permits that came before the time ran out, or before a
 * cancel, are delivered: 0. */
WEIR_API int weir_loop_acquire(struct weir_loop *loop, struct weir_op *op, struct weir_sem *sem,
			       uint32_t weight, uint64_t timeout_ns);
/* Take one message: ends with 0 and *ret_msg filled, or -ESHUTDOWN when the queue is closed and
 * drained. */
WEIR_API int weir_loop_take(struct weir_loop *loop, struct weir_op *op, struct weir_queue *queue,
			    struct weir_msg *ret_msg);
/* Loan one slot to fill and commit: ends with 0 and *ret_msg, or -ESHUTDOWN. */
WEIR_API int weir_loop_loan(struct weir_loop *loop, struct weir_op *op, struct weir_queue *queue,
			    struct weir_msg *ret_msg);

/* Ask for the early end of op; its function is still called, with -ECANCELED or the result that
 * came first.  0; -ENOENT it is not under way (op must have been started once, or be zero);
 * -EAGAIN the kernel takes no more right now. */
WEIR_API int weir_loop_cancel(struct weir_loop *loop, struct weir_op *op);

/* True where waiting goes through IORING_OP_FUTEX_WAIT, false where the loop has to look every
 * millisecond. */
WEIR_API int weir_loop_has_futex(const struct weir_loop *loop);

/*
 * A stage of a pipeline: queue in, function, queue out.  The function gets the message and, when
 * there is a queue out, a slot on loan to fill; it returns 1 to send the slot, 0 to send nothing,
 * or -errno to stop the stage (the message goes back).  A message leaves `in` only after its result
 * is in `out`: a stage that dies is at least once, and `msg->position` tells repeats apart.  What
 * fn keeps to itself after it returned 0 dies with the process: to batch safely take, commit, then
 * done by hand, as examples/gateway/stage.c does.
 */
struct weir_stage_opts {
	size_t size;
	struct weir_queue *in;
	struct weir_queue *out; /* or NULL: the last stage */
	int (*fn)(void *user, const struct weir_msg *msg, struct weir_msg *out);
	void *user;
	int (*idle)(void *user); /* or NULL: called before the stage goes to sleep and at the end; a
				  * batching stage flushes here; -errno stops the stage */
};

/* Run until `in` is closed and drained (0; `out` is then shut down), ctx ends, or fn or idle fails.
 * -EINVAL without `in` or fn.  Blocks; needs no loop. */
WEIR_API int weir_stage_run(const struct weir_stage_opts *opts, struct weir_ctx *ctx);

#endif
