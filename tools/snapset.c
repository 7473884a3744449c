/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which segments and objects a command is about. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct snapshot *)a)->name, ((const struct snapshot *)b)->name);
}

int snapshot_all(const char *pattern, struct snapshot **ret, size_t *ret_count)
{
	struct snapshot *snaps = NULL;
	struct snapshot *more;
	struct dirent *entry;
	char path[PATH_MAX];
	size_t count = 0;
	DIR *dir;
	int r = weir_segment_dir(0, path, sizeof(path));

	*ret = NULL;
	*ret_count = 0;
	if (r < 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir)) != NULL) {
		/* What no library would open is not ours. */
		if (weir_name_check(entry->d_name) < 0 || entry->d_type == DT_DIR ||
		    (pattern && fnmatch(pattern, entry->d_name, 0) != 0))
			continue;
		more = realloc(snaps, (count + 1) * sizeof(*snaps));
		if (!more) {
			r = -ENOMEM;
			break;
		}
		snaps = more;
		if (snapshot_take(entry->d_name, &snaps[count]) != -ENOENT)
			count++; /* Else it was removed just now. */
	}
	closedir(dir);
	if (count)
		qsort(snaps, count, sizeof(*snaps), by_name);
	*ret = snaps;
	*ret_count = count;
	return r;
}

void snapshot_drop_all(struct snapshot *snaps, size_t count)
{
	for (size_t i = 0; i < count; i++)
		snapshot_drop(&snaps[i]);
	free(snaps);
}

bool snapshot_matches(const struct target *target, const struct snap_object *object)
{
	return !target->object[0] || fnmatch(target->object, object->name, 0) == 0;
}

static bool any_matches(const struct target *target, const struct snapshot *snap)
{
	for (uint32_t i = 0; i < snap->object_count; i++) {
		if (snapshot_matches(target, &snap->objects[i]))
			return true;
	}
	return !target->object[0];
}

static int fail_no_object(const struct target *target, const struct snapshot *snap)
{
	char hint[128];
	struct fault fault = {.path = snap->path};
	unsigned best = 3; /* More edits than that are another word. */

	for (uint32_t i = 0; i < snap->object_count; i++) {
		unsigned distance = text_distance(target->object, snap->objects[i].name);

		if (distance >= best)
			continue;
		best = distance;
		snprintf(hint, sizeof(hint), "did you mean  %s:%s", snap->name,
			 snap->objects[i].name);
		fault.hint = hint;
	}
	return fail(ENOENT, &fault, "segment '%s' has no object '%s'", snap->name, target->object);
}

static int take_one(const struct target *target, struct snapshot **ret, size_t *ret_count)
{
	struct snapshot *snap = malloc(sizeof(*snap));
	int status = 0;

	if (!snap)
		return fail(ENOMEM, NULL, "cannot look");
	if (snapshot_take(target->segment, snap) < 0)
		status = snapshot_fail(snap);
	else if (!any_matches(target, snap))
		status = fail_no_object(target, snap);
	if (status) {
		snapshot_drop_all(snap, 1);
		return status;
	}
	*ret = snap;
	*ret_count = 1;
	return 0;
}

int snapshot_wanted(const struct cli *cli, const char *arg, struct target *ret_target,
		    struct snapshot **ret, size_t *ret_count)
{
	int r;

	memset(ret_target, 0, sizeof(*ret_target));
	if (arg) {
		r = target_parse(cli, arg, false, ret_target);
		if (r)
			return r;
		if (strchr(ret_target->segment, '/') || !strpbrk(ret_target->segment, "*?["))
			return take_one(ret_target, ret, ret_count);
	}
	r = snapshot_all(arg ? ret_target->segment : NULL, ret, ret_count);
	if (r < 0) {
		char dir[PATH_MAX] = "";
		struct fault fault = {.path = dir};

		weir_segment_dir(0, dir, sizeof(dir));
		return fail(r, &fault, "cannot list the segments");
	}
	return 0;
}
