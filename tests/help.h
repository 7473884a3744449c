/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the unit tests share: a segment of their own, and children that can be killed. */
#ifndef WEIR_TESTS_HELP_H
#define WEIR_TESTS_HELP_H

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

#define MS UINT64_C(1000000)

static char help_dir[64];
static char help_path[96];

/* A new segment in a directory of its own; both are removed at exit of the test's process. */
__attribute__((unused)) static void help_cleanup(void)
{
	unlink(help_path);
	rmdir(help_dir);
}

__attribute__((unused)) static struct weir_segment *help_segment(void)
{
	struct weir_segment *seg = NULL;
	char why[256] = "";
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .flags = WEIR_CREATE, .why = why, .why_bytes = sizeof(why));

	snprintf(help_dir, sizeof(help_dir), "/dev/shm/weir-test.XXXXXX");
	cr_assert(mkdtemp(help_dir));
	snprintf(help_path, sizeof(help_path), "%s/seg", help_dir);
	cr_assert_eq(weir_segment_open(help_path, &opts, &seg), 0, "%s", why);
	return seg;
}

/* Memory that the children see too. */
__attribute__((unused)) static void *help_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	return p;
}

__attribute__((unused)) static int help_wait(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

__attribute__((unused)) static void help_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	help_wait(pid);
}

/* Wait until *flag is at least n; the tests' only way to synchronise. */
__attribute__((unused)) static void help_until(volatile int *flag, int n)
{
	while (__atomic_load_n(flag, __ATOMIC_ACQUIRE) < n)
		usleep(200);
}

__attribute__((unused)) static void help_say(volatile int *flag, int n)
{
	__atomic_store_n(flag, n, __ATOMIC_RELEASE);
}

#endif
