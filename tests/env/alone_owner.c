/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A segment must belong to root or to the caller.  In a user namespace whoever has no number
 * there shows as the overflow uid, and so does a caller without one: then the file of any stranger
 * looks like the caller's own, and must not be opened.  As root; needs user namespaces.
 */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

#define OWNER  54321
#define CALLER 54322
#define GROUP  54323

static char dir[] = "/dev/shm/weir-open-XXXXXX";
static char path[64];

/* What opening another user's segment says, inside or outside of a namespace. */
static int open_as_another(int flags)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct weir_segment *seg;
		int r;

		if (setgroups(0, NULL) < 0 || setgid(GROUP) < 0 || setuid(CALLER) < 0 ||
		    (flags && unshare(flags) < 0))
			_exit(255);
		r = weir_segment_open(path, NULL, &seg);
		_exit(r < 0 ? -r : 0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

int main(void)
{
	struct weir_segment *seg;
	int outside;
	int inside;

	if (geteuid() != 0) {
		printf("another user's segment: skipped, needs root\n0 passed, 0 failed\n");
		return 0;
	}
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return 1;
	snprintf(path, sizeof(path), "%s/seg", dir);
	if (weir_segment_open(path, &WEIR_OPTS(segment, .flags = WEIR_CREATE, .mode = 0660),
			      &seg) != 0 ||
	    chown(path, OWNER, GROUP) < 0)
		return 1;
	weir_segment_close(seg);
	outside = open_as_another(0);
	inside = open_as_another(CLONE_NEWUSER);
	unlink(path);
	rmdir(dir);
	printf("outside: errno %d, %d wanted\n", outside, EPERM);
	printf("inside:  errno %d, %d wanted\n", inside, EPERM);
	printf("%d passed, %d failed\n", (outside == EPERM) + (inside == EPERM),
	       (outside != EPERM) + (inside != EPERM));
	return outside != EPERM || inside != EPERM;
}
