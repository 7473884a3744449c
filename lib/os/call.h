/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * System calls that the C library makes cancellation points, without that: a thread that was
 * cancelled must not end inside the library with a lock held or half a segment open.  syscall() is
 * none.  As in the C library -1 and errno say what went wrong.
 */
#ifndef WEIR_OS_CALL_H
#define WEIR_OS_CALL_H

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static inline int weir__call_open(const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static inline int weir__call_close(int fd)
{
	return (int)syscall(SYS_close, fd);
}

static inline ssize_t weir__call_read(int fd, void *data, size_t bytes)
{
	return (ssize_t)syscall(SYS_read, fd, data, bytes);
}

static inline ssize_t weir__call_write(int fd, const void *data, size_t bytes)
{
	return (ssize_t)syscall(SYS_write, fd, data, bytes);
}

static inline int weir__call_fallocate(int fd, off_t bytes)
{
	return (int)syscall(SYS_fallocate, fd, 0, (off_t)0, bytes);
}

/* What is there now; never waits. */
static inline int weir__call_poll_now(struct pollfd *fds, unsigned count)
{
	const struct timespec now = {0};

	return (int)syscall(SYS_ppoll, fds, count, &now, NULL, (size_t)8);
}

static inline int weir__call_sleep(int flags, const struct timespec *t)
{
	return (int)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, flags, t, NULL);
}

static inline ssize_t weir__call_getrandom(void *data, size_t bytes)
{
	return (ssize_t)syscall(SYS_getrandom, data, bytes, 0);
}

#endif
