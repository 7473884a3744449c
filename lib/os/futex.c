/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sleeping and waking.  All futexes are shared ones: a private one is another futex. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static int wait_one(const struct weir__sleep *sleep, const struct timespec *deadline)
{
	long r = syscall(SYS_futex, sleep->word, FUTEX_WAIT_BITSET, sleep->value, deadline, NULL,
			 FUTEX_BITSET_MATCH_ANY);

	return r < 0 ? -errno : 0;
}

static int wait_many(const struct weir__sleep *sleeps, uint32_t count,
		     const struct timespec *deadline)
{
	struct futex_waitv waiters[WEIR__SLEEP_MAX] = {0};
	long r;

	for (uint32_t i = 0; i < count; i++) {
		waiters[i].uaddr = (uintptr_t)sleeps[i].word;
		waiters[i].val = sleeps[i].value;
		waiters[i].flags = FUTEX_32;
	}
	r = syscall(SYS_futex_waitv, waiters, count, 0, deadline, CLOCK_MONOTONIC);
	return r < 0 ? -errno : 0;
}

int weir__futex_wait(const struct weir__sleep *sleeps, uint32_t count, uint64_t deadline_ns)
{
	struct timespec t = weir__clock_local(deadline_ns);
	const struct timespec *deadline = deadline_ns == UINT64_MAX ? NULL : &t;
	int r;

	if (count == 1)
		return wait_one(sleeps, deadline);
	r = wait_many(sleeps, count, deadline);
	if (r == -ENOSYS) /* Before 5.16: the first word only; the caller's patience is bounded. */
		r = wait_one(sleeps, deadline);
	return r;
}

void weir__futex_wake(const void *word)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}
