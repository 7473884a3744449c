/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Operations on sockets, files and the clock: one request to the kernel each. */
#include "run/loop.h"

/* An entry for `op`, which is from now on with the kernel; the caller fills it at once. */
static int io_start(struct weir_loop *loop, struct weir_op *op, struct io_uring_sqe **ret_sqe)
{
	struct io_uring_sqe *sqe;
	int r;

	r = weir__loop_admit(loop, op);
	if (r < 0)
		return r;
	sqe = weir__loop_sqe(loop, op, LOOP_TAG_OP);
	if (!sqe)
		return -EAGAIN;
	op->state = LOOP_RING;
	op->cancelled = 0;
	op->timer[0] = -1;
	weir__loop_list_append(&loop->flying, op);
	loop->active++;
	*ret_sqe = sqe;
	return 0;
}

int weir_loop_accept(struct weir_loop *loop, struct weir_op *op, int fd)
{
	struct io_uring_sqe *sqe;
	int r;

	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
	return 0;
}

int weir_loop_connect(struct weir_loop *loop, struct weir_op *op, int fd,
		      const struct sockaddr *address, socklen_t address_bytes)
{
	struct io_uring_sqe *sqe;
	int r;

	if (!address)
		return -EINVAL;
	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_connect(sqe, fd, address, address_bytes);
	return 0;
}

int weir_loop_recv(struct weir_loop *loop, struct weir_op *op, int fd, void *data, uint32_t bytes)
{
	struct io_uring_sqe *sqe;
	int r;

	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_recv(sqe, fd, data, bytes, 0);
	return 0;
}

int weir_loop_send(struct weir_loop *loop, struct weir_op *op, int fd, const void *data,
		   uint32_t bytes)
{
	struct io_uring_sqe *sqe;
	int r;

	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_send(sqe, fd, data, bytes, MSG_NOSIGNAL);
	return 0;
}

int weir_loop_read(struct weir_loop *loop, struct weir_op *op, int fd, void *data, uint32_t bytes,
		   uint64_t offset)
{
	struct io_uring_sqe *sqe;
	int r;

	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_read(sqe, fd, data, bytes, offset);
	return 0;
}

int weir_loop_write(struct weir_loop *loop, struct weir_op *op, int fd, const void *data,
		    uint32_t bytes, uint64_t offset)
{
	struct io_uring_sqe *sqe;
	int r;

	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_write(sqe, fd, data, bytes, offset);
	return 0;
}

int weir_loop_fdatasync(struct weir_loop *loop, struct weir_op *op, int fd)
{
	struct io_uring_sqe *sqe;
	int r;

	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	return 0;
}

/* Relative: the time runs from the submission, so it is never short. */
int weir_loop_after(struct weir_loop *loop, struct weir_op *op, uint64_t ns)
{
	struct io_uring_sqe *sqe;
	int r;

	_Static_assert(sizeof(op->timer) == sizeof(struct __kernel_timespec),
		       "timer is a timespec");
	r = io_start(loop, op, &sqe);
	if (r < 0)
		return r;
	op->timer[0] = (int64_t)(ns / 1000000000u);
	op->timer[1] = (int64_t)(ns % 1000000000u);
	/* In op, not on the stack: the kernel copies it when the entry is submitted. */
	io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(void *)op->timer, 0, 0);
	return 0;
}
