/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir doctor: is this machine, and is every segment on it, as it should be? */
#include <errno.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "snapshot.h"

#define SYSTEM_UID_MAX 999
#define FREE_MIN       (UINT64_C(16) << 20)

enum level { OK, INFO, WARN, BAD };
static const char *const level_names[] = {"ok", "info", "warn", "FAIL"};

struct report {
	json_t *checks;
	unsigned count[4];
};

__attribute__((format(printf, 5, 6))) static void say(struct report *report, enum level level,
						      const char *code, const char *fix,
						      const char *format, ...)
{
	json_t *j = json_object();
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_object_set_new(j, "level", json_string(level == BAD ? "fail" : level_names[level]));
	json_object_set_new(j, "code", code ? json_string(code) : json_null());
	json_object_set_new(j, "text", json_string(text));
	json_object_set_new(j, "fix", fix ? json_string(fix) : json_null());
	json_array_append_new(report->checks, j);
	report->count[level]++;
}

static bool read_line(const char *path, char *ret_text, int room)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(ret_text, room, file);

	if (file)
		fclose(file);
	if (ok)
		ret_text[strcspn(ret_text, "\n")] = '\0';
	return ok;
}

/* --- the kernel -------------------------------------------------------------------------- */

static void check_kernel(struct report *report)
{
	struct utsname name;
	char disabled[16] = "0";
	int pidfd;

	uname(&name);
	/* No waiters: EINVAL from a kernel that knows the call. */
	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS)
		say(report, BAD, "W-KERNEL", "use Linux 5.16 or newer",
		    "kernel %s has no futex_waitv: waiting with a context does not work",
		    name.release);
	else
		say(report, OK, NULL, NULL, "kernel %s has futex_waitv", name.release);
	pidfd = pidfd_open(getpid(), 0);
	if (pidfd < 0)
		say(report, WARN, "W-PIDFD", "use Linux 5.3 or newer, and let the sandbox allow it",
		    "no pidfd_open (%s): the dead are known by their locks alone", strerror(errno));
	else
		say(report, OK, NULL, NULL, "pidfd_open works");
	if (pidfd >= 0)
		close(pidfd);
	read_line("/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled));
	if (syscall(SYS_io_uring_setup, 0, NULL) < 0 && (errno == ENOSYS || errno == EPERM))
		say(report, WARN, "W-URING",
		    "sysctl kernel.io_uring_disabled=0, and let the sandbox allow io_uring_setup",
		    "no io_uring (%s, io_uring_disabled=%s): event loops of libweir-run do not "
		    "start",
		    strerror(errno), disabled);
	else
		say(report, OK, NULL, NULL, "io_uring works (io_uring_disabled=%s)", disabled);
	if (access("/sys/kernel/btf/vmlinux", R_OK) == 0)
		say(report, OK, NULL, NULL, "BTF is there: weir trace can use eBPF%s",
		    geteuid() ? " with CAP_BPF and CAP_PERFMON" : "");
	else
		say(report, INFO, "W-BTF", NULL, "no /sys/kernel/btf/vmlinux: no tracing by eBPF");
}

/* --- the directory ----------------------------------------------------------------------- */

/* Does logind empty /dev/shm when this user logs out? */
static bool remove_ipc_is_off(void)
{
	char line[256];
	bool off = false;
	FILE *file = fopen("/etc/systemd/logind.conf", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "RemoveIPC=no", 12) == 0)
			off = true;
	}
	if (file)
		fclose(file);
	return off;
}

static void check_remove_ipc(struct report *report, const char *dir)
{
	if (strncmp(dir, "/dev/shm", 8) != 0)
		return;
	if (geteuid() <= SYSTEM_UID_MAX || access("/run/systemd/seats", F_OK) != 0 ||
	    remove_ipc_is_off())
		return;
	say(report, WARN, "W-IPC",
	    "make /run/weir on a tmpfs, or set RemoveIPC=no in /etc/systemd/logind.conf",
	    "logind deletes what login user %u has in %s when the last session ends",
	    (unsigned)geteuid(), dir);
}

static void check_space(struct report *report, const char *dir, const struct statfs *fs)
{
	uint64_t room = (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize;
	uint64_t total = (uint64_t)fs->f_blocks * (uint64_t)fs->f_bsize;
	char free_text[TEXT_BYTES];
	char total_text[TEXT_BYTES];

	text_size(room, free_text);
	text_size(total, total_text);
	if (room < FREE_MIN)
		say(report, BAD, "W-SPACE",
		    "remove segments, or enlarge it:  mount -o remount,size=256M DIR;  in docker: "
		    "--shm-size=256m",
		    "%s has %s free of %s: a new segment takes 4.0M and more", dir, free_text,
		    total_text);
	else
		say(report, OK, NULL, NULL, "%s has %s free of %s", dir, free_text, total_text);
}

static void check_dir(struct report *report)
{
	char dir[PATH_MAX];
	struct statfs fs;
	int r = weir_segment_dir(0, dir, sizeof(dir));

	if (r < 0) {
		say(report, BAD, "W-DIR", "set WEIR_DIR, or have its owner remove it",
		    "the directory of segments %s cannot be used: %s", dir, fail_words(r));
		return;
	}
	if (statfs(dir, &fs) < 0) {
		say(report, getenv("WEIR_DIR") ? BAD : INFO, "W-DIR",
		    getenv("WEIR_DIR") ? "make it, or set WEIR_DIR to one that is there" : NULL,
		    "%s: %s", dir, strerror(errno));
		return;
	}
	if (fs.f_type != TMPFS_MAGIC)
		say(report, WARN, "W-TMPFS", "set WEIR_DIR to a directory on a tmpfs",
		    "%s is not on a tmpfs: the kernel writes segments to disk now and then", dir);
	else
		say(report, OK, NULL, NULL, "segments are in %s, on a tmpfs", dir);
	if (access(dir, W_OK | X_OK) < 0)
		say(report, WARN, "W-EACCES", "see weir-errors(7)",
		    "no segment can be made in %s: %s", dir, strerror(errno));
	check_space(report, dir, &fs);
	check_remove_ipc(report, dir);
}

/* --- segments ---------------------------------------------------------------------------- */

static void check_dead(struct report *report, const struct snapshot *snap)
{
	for (uint32_t i = 0; i < snap->header.proc_count; i++) {
		json_t *held;

		if (snap->life[i] != SNAP_DEAD)
			continue;
		held = describe_holdings(snap, i);
		say(report, BAD, "W-DEAD", "weir gc --yes",
		    "'%s': pid %u is dead and was not swept; it holds %zu things", snap->name,
		    snap->procs[i].pid, json_array_size(held));
		json_decref(held);
	}
}

static void check_room(struct report *report, const struct snapshot *snap)
{
	uint64_t used = snap->header.arena_off;
	uint32_t live = snapshot_count(snap, SNAP_LIVE);

	/* Blocks lie back to back; bounded by the file. */
	while (used <= snap->bytes - 64) {
		const struct weir_object_shm *head = (const void *)(snap->base + used);
		uint64_t bytes = weir_object_block_units(head->block) * 64;

		if (bytes == 0 || bytes > snap->bytes - used)
			break;
		used += bytes;
	}
	if (used > snap->bytes - snap->bytes / 10)
		say(report, WARN, "W-ENOSPC", "make the segment bigger when it is made next",
		    "'%s': %llu of %llu bytes are taken", snap->name, (unsigned long long)used,
		    (unsigned long long)snap->bytes);
	if (live > snap->header.proc_count - snap->header.proc_count / 10)
		say(report, WARN, "W-EUSERS",
		    "make the segment for more processes when it is made next",
		    "'%s': %u of %u process slots are taken", snap->name, live,
		    snap->header.proc_count);
}

static void check_segment(struct report *report, const struct snapshot *snap)
{
	unsigned before = report->count[WARN] + report->count[BAD];

	if (snap->error) {
		say(report, BAD, fail_code(snap->error),
		    snap->error == -ESTALE ? "weir gc --yes" : "see weir-errors(7)", "'%s': %s: %s",
		    snap->name, fail_words(snap->error), snap->why);
		return;
	}
	if (snap->st.st_mode & S_IWOTH)
		say(report, BAD, "W-EPERM", "chmod o-w FILE",
		    "'%s': everybody may write to it, so no library opens it", snap->name);
	else if (snap->st.st_uid != 0 && snap->st.st_uid != geteuid())
		say(report, INFO, "W-EPERM", NULL,
		    "'%s': belongs to uid %u, so you can look but not take part", snap->name,
		    (unsigned)snap->st.st_uid);
	check_dead(report, snap);
	check_room(report, snap);
	if (before == report->count[WARN] + report->count[BAD])
		say(report, OK, NULL, NULL, "'%s': %u objects, %u processes, layout of this build",
		    snap->name, snap->object_count, snapshot_count(snap, SNAP_LIVE));
}

/* --- the whole --------------------------------------------------------------------------- */

static void print(const struct cli *cli, const struct report *report)
{
	json_t *document;
	size_t i;
	json_t *j;

	if (cli->json) {
		document = out_document("weir.doctor/1");
		json_object_set_new(document, "problems", out_u64(report->count[BAD]));
		json_object_set_new(document, "warnings", out_u64(report->count[WARN]));
		json_object_set(document, "checks", report->checks);
		out_json(document, cli->json_lines);
		return;
	}
	json_array_foreach(report->checks, i, j)
	{
		const char *level = json_string_value(json_object_get(j, "level"));
		const char *code = json_string_value(json_object_get(j, "code"));
		const char *fix = json_string_value(json_object_get(j, "fix"));

		printf(" %-5s %s%s%s%s\n", strcmp(level, "fail") == 0 ? "FAIL" : level,
		       json_string_value(json_object_get(j, "text")), code ? " (" : "",
		       code ? code : "", code ? ")" : "");
		if (fix)
			printf("         fix: %s\n", fix);
	}
	printf("%u problems, %u warnings\n", report->count[BAD], report->count[WARN]);
}

int weir_cmd_doctor(int argc, char **argv)
{
	struct report report = {.checks = json_array()};
	struct snapshot *snaps;
	struct cli cli;
	size_t count;
	int r;

	cli_parse(argc, argv, 0, 1, &cli);
	check_kernel(&report);
	check_dir(&report);
	r = snapshot_all(cli.argv[0], &snaps, &count);
	if (r < 0)
		say(&report, BAD, fail_code(r), "see weir-errors(7)",
		    "cannot list the segments: %s", fail_words(r));
	if (r == 0 && count == 0 && cli.argc) {
		json_decref(report.checks);
		return fail(ENOENT, NULL, "cannot look at segment '%s'", cli.argv[0]);
	}
	for (size_t i = 0; i < count; i++)
		check_segment(&report, &snaps[i]);
	snapshot_drop_all(snaps, count);
	if (!cli.quiet)
		print(&cli, &report);
	json_decref(report.checks);
	return report.count[BAD] ? EXIT_NO : EXIT_DONE;
}
