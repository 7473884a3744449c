/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where segments live and what they may be called. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "seg/seg.h"

const char *weir_version(void)
{
	return WEIR_VERSION;
}

int weir_name_check(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (n > WEIR_NAME_MAX)
		return -ENAMETOOLONG;
	if (n == 0 || name[0] == '.' || name[0] == '-')
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-'))
			return -EINVAL;
	}
	return 0;
}

static bool usable_run_dir(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	       access(path, R_OK | W_OK | X_OK) == 0;
}

int weir_segment_dir(int create, char *ret_path, size_t path_bytes)
{
	const char *env = getenv("WEIR_DIR");
	struct stat st;
	int n;

	if (env && *env)
		n = snprintf(ret_path, path_bytes, "%s", env);
	else if (usable_run_dir("/run/weir"))
		n = snprintf(ret_path, path_bytes, "/run/weir");
	else
		n = snprintf(ret_path, path_bytes, "/dev/shm/weir-%u", (unsigned)geteuid());
	if (n < 0 || (size_t)n >= path_bytes)
		return -ENAMETOOLONG;
	if (create && !(env && *env) && mkdir(ret_path, 0700) < 0 && errno != EEXIST)
		return -errno;
	/* Anybody may plant names in /dev/shm: a directory of somebody else's is no place for us.
	 */
	if (lstat(ret_path, &st) == 0 &&
	    (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid())))
		return env && *env ? (S_ISDIR(st.st_mode) ? 0 : -ENOTDIR) : -EPERM;
	return 0;
}

int weir_segment_path(const char *name, char *ret_path, size_t path_bytes)
{
	char dir[4096];
	int r;
	int n;

	if (!name)
		return -EINVAL;
	if (strchr(name, '/')) {
		n = snprintf(ret_path, path_bytes, "%s", name);
		return n < 0 || (size_t)n >= path_bytes ? -ENAMETOOLONG : 0;
	}
	r = weir_name_check(name);
	if (r < 0)
		return r;
	r = weir_segment_dir(0, dir, sizeof(dir));
	if (r < 0)
		return r;
	n = snprintf(ret_path, path_bytes, "%s/%s", dir, name);
	return n < 0 || (size_t)n >= path_bytes ? -ENAMETOOLONG : 0;
}

int weir_segment_unlink(const char *name)
{
	char path[4096];
	int r = weir_segment_path(name, path, sizeof(path));

	if (r < 0)
		return r;
	return unlink(path) < 0 ? -errno : 0;
}
