/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Segment files: made whole or not at all, opened with suspicion. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "os/call.h"
#include "os/os.h"

/* Locks live far behind the data: no read or write of the file touches them. */
#define LOCK_BASE ((off_t)1 << 40)

int weir__file_open(const char *path)
{
	/* NONBLOCK: a planted FIFO must not hang us; vet() then refuses it. */
	int fd = weir__call_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);

	return fd < 0 ? -errno : fd;
}

int weir__file_create(const char *dir, uint64_t bytes, mode_t mode)
{
	int fd = weir__call_open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	do {
		/* ftruncate would hide a full file system. */
		r = weir__call_fallocate(fd, (off_t)bytes);
	} while (r < 0 && errno == EINTR);
	if (r < 0 || fchmod(fd, mode) < 0) { /* fchmod: what was asked for, whatever the umask */
		r = -errno;
		weir__call_close(fd);
		return r;
	}
	return fd;
}

int weir__file_publish(int fd, const char *path)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return 0;
}

int weir__file_reopen(int fd)
{
	char self[32];
	int r;

	/* By hand: this also runs in a forked child, where stdio may be locked. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	r = weir__call_open(self, O_RDWR | O_CLOEXEC, 0);
	return r < 0 ? -errno : r;
}

int weir__file_map(int fd, uint64_t bytes, void **ret_base)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_base = base;
	return 0;
}

void weir__file_unmap(void *base, uint64_t bytes)
{
	munmap(base, bytes);
}

void weir__file_close(int fd)
{
	if (fd >= 0)
		weir__call_close(fd);
}

/* In a user namespace whoever has no number there shows as the overflow id: then it names nobody.
 */
static bool uid_is_known(uid_t uid)
{
	char text[16384]; /* 340 lines of at most 33 characters */
	char *at = text;
	size_t have = 0;
	int fd = weir__call_open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC, 0);
	ssize_t n;

	if (fd < 0)
		return uid != 65534; /* No namespaces, or no /proc. */
	do {			     /* The kernel gives a page at a time. */
		n = weir__call_read(fd, text + have, sizeof(text) - 1 - have);
		have += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	weir__call_close(fd);
	text[have] = '\0';
	while (*at) {
		unsigned long first = strtoul(at, &at, 10);
		unsigned long count;

		strtoul(at, &at, 10); /* the number outside */
		count = strtoul(at, &at, 10);
		if (uid >= first && uid - first < count)
			return true;
		while (*at && *at++ != '\n')
			continue;
	}
	return false;
}

int weir__file_vet(int fd, uint64_t *ret_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	if ((st.st_uid != 0 && (st.st_uid != geteuid() || !uid_is_known(st.st_uid))) ||
	    (st.st_mode & S_IWOTH))
		return -EPERM;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

int weir__page_wipeonfork(void **ret_page, size_t *ret_bytes)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, bytes, MADV_WIPEONFORK) < 0) {
		r = -errno;
		munmap(page, bytes);
		return r;
	}
	*ret_page = page;
	*ret_bytes = bytes;
	return 0;
}

int weir__lock_take(int fd, uint32_t slot)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

	lock.l_start = LOCK_BASE + (off_t)slot;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	return 0;
}

void weir__lock_drop(int fd, uint32_t slot)
{
	struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};

	lock.l_start = LOCK_BASE + (off_t)slot;
	fcntl(fd, F_OFD_SETLK, &lock);
}

int weir__lock_probe(int fd, uint32_t slot)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

	lock.l_start = LOCK_BASE + (off_t)slot;
	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

int weir__random(void *data, size_t bytes)
{
	ssize_t n;

	do {
		n = weir__call_getrandom(data, bytes);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == bytes ? 0 : -EIO;
}
