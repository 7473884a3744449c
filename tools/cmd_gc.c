/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * weir gc: reclaim what the dead held.  weir rm: remove.
 *
 * What there is to do is found by looking only; what is done is the library's sweep, which every
 * attach does anyway.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "snapshot.h"

static void add(json_t *array, const char *action, const char *name, const char *text)
{
	json_t *j = json_object();

	json_object_set_new(j, "action", json_string(action));
	json_object_set_new(j, "name", json_string(name));
	json_object_set_new(j, "text", json_string(text));
	json_array_append_new(array, j);
}

static void plan_process(const struct snapshot *snap, uint32_t proc, json_t *array)
{
	json_t *held = describe_holdings(snap, proc);
	char name[128];
	char text[128];
	size_t i;
	json_t *j;

	snprintf(text, sizeof(text), "process slot %u of pid %u (dead)", proc,
		 snap->procs[proc].pid);
	add(array, "reclaim", snap->name, text);
	json_array_foreach(held, i, j)
	{
		const char *type = json_string_value(json_object_get(j, "type"));

		snprintf(name, sizeof(name), "%s:%s", snap->name,
			 json_string_value(json_object_get(j, "object")));
		snprintf(text, sizeof(text), "%lld %s held by pid %u (dead)",
			 (long long)json_integer_value(json_object_get(j, "amount")),
			 strcmp(type, "sem") == 0     ? "permits"
			 : strcmp(type, "queue") == 0 ? "messages"
						      : "probes",
			 snap->procs[proc].pid);
		add(array, "reclaim", name, text);
	}
	json_decref(held);
}

static void plan(const struct snapshot *snap, json_t *array)
{
	if (snap->error == -ESTALE)
		add(array, "unlink", snap->name, "made before the last reboot");
	for (uint32_t i = 0; !snap->error && i < snap->header.proc_count; i++) {
		if (snap->life[i] == SNAP_DEAD)
			plan_process(snap, i, array);
	}
}

static void print_plan(const json_t *array, const char *verb)
{
	size_t i;
	json_t *j;

	json_array_foreach((json_t *)(uintptr_t)array, i, j)
		printf("%s%-8s %-24s %s\n", verb, json_string_value(json_object_get(j, "action")),
		       json_string_value(json_object_get(j, "name")),
		       json_string_value(json_object_get(j, "text")));
}

/* Remove the file we looked at, and no other that has taken its name since. */
static int unlink_same(const struct snapshot *snap)
{
	struct stat st;

	if (lstat(snap->path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_ino != snap->st.st_ino || st.st_dev != snap->st.st_dev)
		return 0;
	return unlink(snap->path) < 0 ? -errno : 0;
}

static int do_one(const struct snapshot *snap)
{
	char why[256] = "";
	struct fault fault = {.path = snap->path, .why = why};
	struct weir_segment *seg;
	int r;

	if (snap->error == -ESTALE) {
		r = unlink_same(snap);
		return r < 0 ? fail(r, &fault, "cannot remove segment '%s'", snap->name) : 0;
	}
	if (snap->error || snapshot_count(snap, SNAP_DEAD) == 0)
		return 0;
	r = weir_segment_open(
		snap->path,
		&WEIR_OPTS(segment, .role = "weir gc", .why = why, .why_bytes = sizeof(why)), &seg);
	if (r == 0) {
		r = weir_segment_recover(seg, NULL);
		weir_segment_close(seg);
	}
	return r < 0 ? fail(r, &fault, "cannot reclaim in segment '%s'", snap->name) : 0;
}

static int gc(const struct cli *cli, const struct snapshot *snaps, size_t count, json_t *array)
{
	size_t n = json_array_size(array);
	int status = EXIT_DONE;

	if (n == 0) {
		if (!cli->quiet && !cli->json)
			puts("nothing to reclaim");
		return EXIT_DONE;
	}
	if ((!cli->yes || cli->dry_run) && !cli->json && !cli->quiet)
		print_plan(array, "would ");
	if (cli->dry_run || (!cli->yes && !(isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))) {
		if (!cli->quiet && !cli->json)
			puts("Run 'weir gc --yes' to do it.");
		return EXIT_NO;
	}
	if (!cli_confirm(cli, "do it?"))
		return EXIT_NO;
	for (size_t i = 0; i < count; i++) {
		int r = do_one(&snaps[i]);

		status = r ? r : status;
	}
	if (cli->yes && !cli->json && !cli->quiet && status == EXIT_DONE)
		print_plan(array, "did ");
	return status;
}

int weir_cmd_gc(int argc, char **argv)
{
	struct snapshot *snaps;
	struct target target;
	json_t *document;
	json_t *array;
	struct cli cli;
	size_t count;
	int status;

	cli_parse(argc, argv, 0, 1, &cli);
	if (cli.argc && strchr(cli.argv[0], '/') == NULL && weir_name_check(cli.argv[0]) == 0) {
		/* One that is stale cannot be looked at but can be removed. */
		status = snapshot_all(cli.argv[0], &snaps, &count);
		if (status == 0 && count == 0)
			status = -ENOENT;
		if (status < 0)
			return fail(status, NULL, "cannot look at segment '%s'", cli.argv[0]);
	} else {
		status = snapshot_wanted(&cli, cli.argv[0], &target, &snaps, &count);
		if (status)
			return status;
	}
	array = json_array();
	for (size_t i = 0; i < count; i++)
		plan(&snaps[i], array);
	status = gc(&cli, snaps, count, array);
	if (cli.json) {
		document = out_document("weir.gc/1");
		json_object_set_new(document, "done", json_boolean(cli.yes && !cli.dry_run));
		json_object_set(document, "actions", array);
		out_json(document, cli.json_lines);
	}
	json_decref(array);
	snapshot_drop_all(snaps, count);
	return status;
}

/* --- rm ---------------------------------------------------------------------------------- */

static int rm_object(const struct target *target)
{
	struct weir_segment *seg;
	int status = fail_open(target, &seg);
	int r;

	if (status)
		return status;
	r = weir_object_unlink(seg, target->object);
	weir_segment_close(seg);
	return r < 0 ? fail(r, NULL, "cannot remove '%s'", target_text(target)) : 0;
}

static int rm_segment(const struct target *target, const struct snapshot *snap)
{
	struct fault fault = {.path = snap->path};
	int r = unlink_same(snap);

	return r < 0 ? fail(r, &fault, "cannot remove segment '%s'", target_text(target)) : 0;
}

/* Is that a segment, perhaps a broken one?  rm must not become a way to remove other files. */
static bool removable(const struct snapshot *snap)
{
	uint64_t magic = 0;

	if (snap->error == 0 || snap->error == -EPROTO || snap->error == -ESTALE)
		return true;
	if (snap->fd < 0 || !S_ISREG(snap->st.st_mode))
		return false;
	return pread(snap->fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	       magic == UINT64_C(0x3147455352494557);
}

static void describe_rm(const struct target *target, const struct snapshot *snap, char *ret_text,
			size_t room)
{
	uint32_t live = snap->error ? 0 : snapshot_count(snap, SNAP_LIVE);

	snprintf(ret_text, room, "remove %s '%s'%s", target->object[0] ? "object" : "segment",
		 target_text(target), "");
	if (live)
		snprintf(ret_text + strlen(ret_text), room - strlen(ret_text),
			 "; %u attached process%s go%s on with what %s", live,
			 live == 1 ? "" : "es", live == 1 ? "es" : "",
			 live == 1 ? "it has" : "they have");
}

static int rm_one(const struct cli *cli, const char *arg)
{
	char text[PATH_MAX + 256];
	char question[PATH_MAX + 260];
	struct snapshot snap;
	struct target target;
	int status = target_parse(cli, arg, false, &target);

	if (status)
		return status;
	if (strpbrk(target.object, "*?[") ||
	    (!strchr(target.segment, '/') && strpbrk(target.segment, "*?[")))
		return cli_usage(cli, "'%s': rm takes no patterns", arg);
	snapshot_take(target.segment, &snap);
	describe_rm(&target, &snap, text, sizeof(text));
	snprintf(question, sizeof(question), "%s?", text);
	if (snap.error && (target.object[0] || !removable(&snap)))
		status = snapshot_fail(&snap);
	else if (target.object[0] && !snapshot_object(&snap, target.object))
		status = fail(ENOENT, NULL, "segment '%s' has no object '%s'", snap.name,
			      target.object);
	else if (cli->dry_run)
		printf("would %s\n", text);
	else if (!cli_confirm(cli, question))
		status = EXIT_USAGE;
	else
		status = target.object[0] ? rm_object(&target) : rm_segment(&target, &snap);
	if (status == 0 && !cli->dry_run && !cli->quiet)
		printf("removed%s\n", text + strlen("remove"));
	snapshot_drop(&snap);
	return status;
}

int weir_cmd_rm(int argc, char **argv)
{
	struct cli cli;
	int status = EXIT_DONE;

	cli_parse(argc, argv, 1, -1, &cli);
	for (int i = 0; i < cli.argc && status == EXIT_DONE; i++)
		status = rm_one(&cli, cli.argv[i]);
	return status;
}
