/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Who a process is.  The open-file-description lock is the authority on life and death; what is
 * here is the second evidence, for the one case the lock cannot see: a process that died while a
 * child it forked without our atfork handler still has the descriptor.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "os/call.h"
#include "os/os.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#define PIDFS_MAGIC_NUMBER 0x50494446 /* linux/magic.h, since 6.9 */

static ssize_t read_text(const char *path, char *text, size_t room)
{
	int fd = weir__call_open(path, O_RDONLY | O_CLOEXEC, 0);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = weir__call_read(fd, text, room - 1);
	if (n < 0)
		n = -errno;
	else
		text[n] = '\0';
	weir__call_close(fd);
	return n;
}

/* Field 22 of /proc/PID/stat.  The name in field 2 may contain anything, so count from its end. */
static uint64_t start_time_of(uint32_t pid)
{
	char path[32];
	char text[1024];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (read_text(path, text, sizeof(text)) <= 0)
		return 0;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at + 1, ' ');
	}
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static uint64_t pidfs_of(int pidfd)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(pidfd, &fs) < 0 || fs.f_type != PIDFS_MAGIC_NUMBER || fstat(pidfd, &st) < 0)
		return 0;
	return st.st_ino;
}

int weir__identity_self(struct weir__identity *ret)
{
	struct stat st;
	int pidfd;

	memset(ret, 0, sizeof(*ret));
	ret->pid = (uint32_t)getpid();
	ret->start_time = start_time_of(ret->pid);
	if (stat("/proc/self/ns/pid", &st) == 0)
		ret->pidns = st.st_ino;
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pidfd >= 0) {
		ret->pidfs = pidfs_of(pidfd);
		weir__call_close(pidfd);
	}
	return 0;
}

bool weir__identity_gone(const struct weir__identity *id, const struct weir__identity *self)
{
	struct pollfd poller = {.events = POLLIN};
	uint64_t now;
	bool gone;

	if (id->pidns == 0 || id->pidns != self->pidns || id->pid == 0)
		return false; /* The number means nothing here. */
	poller.fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
	if (poller.fd < 0)
		return errno == ESRCH;
	/* Without pidfs (before Linux 6.9) a number that was given to somebody else cannot be told:
	 * start times differ from one time namespace to the next. */
	now = id->pidfs ? pidfs_of(poller.fd) : 0;
	gone = now && now != id->pidfs;
	/* Readable: all its threads have ended, reaped or not. */
	if (weir__call_poll_now(&poller, 1) == 1)
		gone = true;
	weir__call_close(poller.fd);
	return gone;
}

uint32_t weir__tid(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

void weir__exe_name(char ret_name[16])
{
	memset(ret_name, 0, 16);
	prctl(PR_GET_NAME, ret_name, 0, 0, 0);
}

int weir__boot_id(uint8_t ret_id[16])
{
	char text[64] = "";
	ssize_t n = read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	size_t digits = 0;

	memset(ret_id, 0, 16);
	if (n < 0)
		return (int)n;
	for (ssize_t i = 0; i < n && digits < 32; i++) {
		char c = text[i];
		int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (v < 0)
			continue;
		ret_id[digits / 2] = (uint8_t)(ret_id[digits / 2] << 4 | v);
		digits++;
	}
	return digits == 32 ? 0 : -EIO;
}
