/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The library compiled with -fsanitize=thread calls these at each access to memory that others may
 * see.  They make the access, and before it call lin_point, which may let others run.  Memory
 * orders are not weakened here: that is another instrument's work.
 *
 * A few functions of the C library are renamed in that build (lin.mk), so that the scheduler can
 * stand in for the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hooks.h"
#include "lin.h"

bool hooks_ours; /* the scheduler stands in for the kernel */
uint32_t hooks_accesses;

static inline void point(void)
{
	hooks_accesses++;
	if (lin_point)
		lin_point();
}

/* Plain accesses: only those to the segment. */
static inline void plain(const void *at)
{
	if ((uintptr_t)at - (uintptr_t)hooks_map < hooks_bytes)
		point();
}

uint8_t *hooks_map; /* of the one who runs */
size_t hooks_bytes;

#define PLAIN(name)          \
	void name(void *at); \
	void name(void *at)  \
	{                    \
		plain(at);   \
	}
PLAIN(__tsan_read1)
PLAIN(__tsan_read2)
PLAIN(__tsan_read4)
PLAIN(__tsan_read8)
PLAIN(__tsan_read16)
PLAIN(__tsan_write1)
PLAIN(__tsan_write2)
PLAIN(__tsan_write4)
PLAIN(__tsan_write8)
PLAIN(__tsan_write16)
PLAIN(__tsan_unaligned_read2)
PLAIN(__tsan_unaligned_read4)
PLAIN(__tsan_unaligned_read8)
PLAIN(__tsan_unaligned_write2)
PLAIN(__tsan_unaligned_write4)
PLAIN(__tsan_unaligned_write8)

void __tsan_init(void);
void __tsan_read_range(void *at, unsigned long bytes);
void __tsan_write_range(void *at, unsigned long bytes);
void __tsan_atomic_thread_fence(int order);

void __tsan_init(void)
{
}

void __tsan_read_range(void *at, unsigned long bytes)
{
	(void)bytes;
	plain(at);
}

void __tsan_write_range(void *at, unsigned long bytes)
{
	(void)bytes;
	plain(at);
}

void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#define FULL __ATOMIC_SEQ_CST
#define ATOMICS(bits, type)                                                                  \
	type __tsan_atomic##bits##_load(const volatile type *p, int order);                  \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order);               \
	type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order);            \
	type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int order);           \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *e, type v, \
							  int order, int failure);           \
	type __tsan_atomic##bits##_load(const volatile type *p, int order)                   \
	{                                                                                    \
		(void)order;                                                                 \
		point();                                                                     \
		return __atomic_load_n(p, FULL);                                             \
	}                                                                                    \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                \
	{                                                                                    \
		(void)order;                                                                 \
		point();                                                                     \
		__atomic_store_n(p, v, FULL);                                                \
	}                                                                                    \
	type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order)             \
	{                                                                                    \
		(void)order;                                                                 \
		point();                                                                     \
		return __atomic_exchange_n(p, v, FULL);                                      \
	}                                                                                    \
	type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int order)            \
	{                                                                                    \
		(void)order;                                                                 \
		point();                                                                     \
		return __atomic_fetch_add(p, v, FULL);                                       \
	}                                                                                    \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *e, type v, \
							  int order, int failure)            \
	{                                                                                    \
		(void)order;                                                                 \
		(void)failure;                                                               \
		point();                                                                     \
		return __atomic_compare_exchange_n(p, e, v, false, FULL, FULL);              \
	}
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

/* --- instead of the C library -------------------------------------------------------------- */

/* In two halves: others may see the first without the second. */
void *lin_memcpy(void *to, const void *from, size_t bytes)
{
	size_t half = bytes / 2;

	plain(to);
	plain(from);
	memcpy(to, from, half);
	plain(to);
	plain(from);
	memcpy((uint8_t *)to + half, (const uint8_t *)from + half, bytes - half);
	return to;
}

/* Handles that are made in a history are given back with it, also those of the dead. */
static uint8_t pool[1u << 16];
static size_t pool_used;

void hooks_pool_reset(void)
{
	pool_used = 0;
}

void *lin_malloc(size_t bytes)
{
	void *p = pool + pool_used;

	if (!hooks_ours || !lin_point)
		return malloc(bytes);
	pool_used += (bytes + 63) / 64 * 64;
	must(pool_used <= sizeof(pool));
	return p;
}

void *lin_calloc(size_t count, size_t bytes)
{
	void *p;

	if (!hooks_ours || !lin_point)
		return calloc(count, bytes);
	p = lin_malloc(count * bytes);
	memset(p, 0, count * bytes);
	return p;
}

void lin_free(void *p)
{
	if ((uintptr_t)p - (uintptr_t)pool >= sizeof(pool))
		free(p);
}

int lin_fcntl(int fd, int what, struct flock *lock)
{
	if (hooks_ours && lin_point && what == F_OFD_GETLK) {
		lock->l_type =
			hooks_slot_dead((uint32_t)(lock->l_start & 0xffff)) ? F_UNLCK : F_WRLCK;
		return 0;
	}
	return fcntl(fd, what, lock);
}

long lin_syscall(long nr, ...)
{
	va_list args;
	long a[6];

	va_start(args, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (!hooks_ours || !lin_point)
		return syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	switch (nr) {
	case SYS_futex:
	case SYS_futex_waitv:
		return hooks_futex(nr, a);
	case SYS_pidfd_open: /* Cannot say; then a lock that is held counts. */
		errno = EINVAL;
		return -1;
	default:
		return 1;
	}
}

int lin_getpid(void)
{
	static int cached;

	if (!hooks_ours)
		return getpid();
	if (!cached)
		cached = getpid();
	return cached;
}
