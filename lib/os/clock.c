/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The one clock: CLOCK_MONOTONIC without the offset of our time namespace. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "os/call.h"
#include "os/os.h"
#include <weir/base.h>

static int64_t timens_offset_ns;

/* What the file says holds for our children; unless we have left their namespace, for us too. */
static bool is_ours(void)
{
	struct stat mine;
	struct stat childrens;

	return stat("/proc/self/ns/time", &mine) == 0 &&
	       stat("/proc/self/ns/time_for_children", &childrens) == 0 &&
	       mine.st_ino == childrens.st_ino;
}

static void read_timens_offset(void)
{
	char text[256];
	int fd = weir__call_open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC, 0);
	ssize_t n;
	const char *line;
	long long sec;
	long long nsec;

	if (fd < 0)
		return; /* No time namespaces here. */
	if (!is_ours()) {
		weir__call_close(fd);
		return;
	}
	n = weir__call_read(fd, text, sizeof(text) - 1);
	weir__call_close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	line = strstr(text, "monotonic");
	if (line && sscanf(line, "monotonic %lld %lld", &sec, &nsec) == 2)
		timens_offset_ns = sec * 1000000000 + nsec;
}

/* A process changes its time namespace by being born or by exec, so these two looks are enough. */
__attribute__((constructor)) static void watch_timens(void)
{
	read_timens_offset();
	pthread_atfork(NULL, NULL, read_timens_offset);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec - timens_offset_ns);
}

uint64_t weir__now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t weir__now_coarse_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t weir_now_ns(void)
{
	return weir__now_ns();
}

struct timespec weir__clock_local(uint64_t deadline_ns)
{
	uint64_t local = deadline_ns + (uint64_t)timens_offset_ns;
	struct timespec t;

	t.tv_sec = (time_t)(local / 1000000000);
	t.tv_nsec = (long)(local % 1000000000);
	return t;
}

void weir__sleep_until(uint64_t deadline_ns)
{
	struct timespec t = weir__clock_local(deadline_ns);

	weir__call_sleep(TIMER_ABSTIME, &t);
}
