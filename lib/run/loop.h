/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of libweir-run share: the loop, its operations and its waiting lines. */
#ifndef WEIR_RUN_LOOP_H
#define WEIR_RUN_LOOP_H

#include <errno.h>
#include <stdbool.h>
#include <liburing.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weir/run.h>

#define LOOP_BLIND_NS  1000000ull /* without futex waits the loop looks this often */
#define LOOP_CTX_WORDS 9	  /* a context and its parents */

/* The low bits of a completion's user data say whose it is; the rest is a pointer. */
enum loop_tag {
	LOOP_TAG_OP,	 /* struct weir_op */
	LOOP_TAG_LINE,	 /* struct weir_line: its futex wait */
	LOOP_TAG_STOP,	 /* the poll on the eventfd */
	LOOP_TAG_CTX,	 /* the futex wait on the words of the context */
	LOOP_TAG_NOBODY, /* cancels and wakes: nobody asks how they ended */
	LOOP_TAG_MASK = 7,
};

/* Where an operation is.  0 so that a zeroed one is not under way. */
enum loop_state {
	LOOP_IDLE,
	LOOP_RING,  /* with the kernel, in loop->flying */
	LOOP_LINE,  /* in op->line->waiting */
	LOOP_READY, /* in loop->ready; result is set */
};

struct loop_list {
	struct weir_op *first;
	struct weir_op *last;
};

enum line_kind {
	LINE_SEM,
	LINE_TAKE,
	LINE_LOAN,
};

/*
 * The operations of this loop that wait for one object.  Only the first one is known to the object;
 * there is at most one futex wait per line in the ring, whatever the number of operations.
 *
 *	armed, leaving:	0,0 --arm--> 1,0 --completion--> 0,0
 *				      |
 *				      +--disarm--> 1,1 --completion--> 0,0
 */
struct weir_line {
	struct weir_line *next;
	void *object;
	struct loop_list waiting;
	struct weir_wait want; /* where the object says to sleep */
	struct weir_wait wait; /* where the ring sleeps, while armed */
	uint64_t look_ns;      /* look again by then, woken or not */
	enum line_kind kind;
	bool started; /* semaphore: the first one's request is open */
	bool armed;
	bool leaving;
	bool blind; /* the kernel refused to wait on its word */
};

struct weir_loop {
	struct io_uring ring;
	struct loop_list flying;
	struct loop_list ready;
	struct weir_line *lines;
	uint64_t deadline_ns; /* no operation in a line times out earlier */
	uint64_t active;      /* operations whose function is still to be called */
	uint64_t inside;      /* the loop's own requests in the ring */
	int stop_fd;
	bool futex;
	bool running;
	bool closing;
	bool stopped;
	bool stop_armed;
	bool ctx_armed;
	bool ctx_blind; /* the kernel refused to wait on the words of this run's context */
	struct futex_waitv ctx_words[LOOP_CTX_WORDS];
};

static inline uint64_t loop_tag(const void *pointer, enum loop_tag tag)
{
	return (uint64_t)(uintptr_t)pointer | tag;
}

/* loop.c */
void weir__loop_list_append(struct loop_list *list, struct weir_op *op);
void weir__loop_list_remove(struct loop_list *list, struct weir_op *op);
int weir__loop_admit(const struct weir_loop *loop, const struct weir_op *op);
struct io_uring_sqe *weir__loop_sqe(struct weir_loop *loop, const void *pointer, enum loop_tag tag);
int weir__loop_recall(struct weir_loop *loop, const void *pointer, enum loop_tag tag);
void weir__loop_ready(struct weir_loop *loop, struct weir_op *op, int result);

/* loop_futex.c */
bool weir__loop_futex_supported(struct io_uring *ring);
int weir__loop_futex_wait(struct weir_loop *loop, struct weir_line *line);
void weir__loop_futex_wake(struct weir_loop *loop, const struct weir_wait *wait);
void weir__loop_ctx_arm(struct weir_loop *loop, struct weir_ctx *ctx);
uint64_t weir__loop_ctx_deadline_ns(const struct weir_ctx *ctx);

/* loop_line.c */
void weir__loop_line_woken(struct weir_loop *loop, struct weir_line *line, int result);
void weir__loop_line_leave(struct weir_loop *loop, struct weir_op *op, int why);
void weir__loop_lines_look(struct weir_loop *loop, uint64_t now_ns);
uint64_t weir__loop_lines_look_ns(const struct weir_loop *loop);
void weir__loop_lines_abandon(struct weir_loop *loop);
void weir__loop_lines_free(struct weir_loop *loop);

#endif
