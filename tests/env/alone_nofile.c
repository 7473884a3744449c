/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A child forked while there is no free descriptor has to open the segment anew and cannot.  Its
 * first call says -EMFILE; the next one tries again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

static char dir[] = "/dev/shm/weir-open-XXXXXX";
static char path[64];

int main(void)
{
	struct weir_segment *seg;
	struct weir_sem *sem;
	struct rlimit limit;
	rlim_t before;
	int status = -1;
	int bad;
	pid_t pid;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/seg", dir);
	if (weir_segment_open(path, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &seg) != 0 ||
	    weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = 2), &sem) != 0)
		return 1;
	unlink(path);
	rmdir(dir);
	getrlimit(RLIMIT_NOFILE, &limit);
	before = limit.rlim_cur;
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &limit);
	pid = fork();
	if (pid == 0) {
		int first = weir_sem_try_acquire(sem, 1);
		int second;

		limit.rlim_cur = before;
		setrlimit(RLIMIT_NOFILE, &limit);
		second = weir_sem_try_acquire(sem, 1);
		printf("without descriptors %d, wanted %d; with descriptors %d, wanted 0\n", first,
		       -EMFILE, second);
		fflush(stdout);
		_exit(first != -EMFILE || second != 0);
	}
	waitpid(pid, &status, 0);
	bad = status != 0;
	printf("%d passed, %d failed\n", !bad, bad);
	return bad;
}
