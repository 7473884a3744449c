/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Errors: what failed, on which path, as which user, why, and what to do next.
 *
 * The codes are stable and explained in weir-errors(7); the words may change.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot.h"
#include "tools.h"

struct code {
	int error;
	int status;
	const char *name;
	const char *words; /* NULL: the system's */
	const char *hint;
};

static const struct code codes[] = {
	{EACCES, EXIT_PERMISSION, "W-EACCES", NULL,
	 "run it as the owner, or give your group access:  chmod g+rw FILE; chgrp GROUP FILE"},
	{EPERM, EXIT_PERMISSION, "W-EPERM", "not trusted",
	 "only segments of root or of yourself are used; run it as the owner"},
	{ELOOP, EXIT_PERMISSION, "W-ELOOP", "a symbolic link where a segment should be",
	 "name the file itself; links are not followed, because anybody could plant one"},
	{ENOENT, EXIT_MISSING, "W-ENOENT", "there is no such thing", "see what there is:  weir ls"},
	{EEXIST, EXIT_USAGE, "W-EEXIST", "it exists and is not like that",
	 "leave the options out, or choose another name"},
	{EINVAL, EXIT_USAGE, "W-EINVAL", "that cannot be", NULL},
	{ENAMETOOLONG, EXIT_USAGE, "W-ENAME", "the name is too long",
	 "names have 1 to 31 of A-Z a-z 0-9 . _ - and do not begin with . or -"},
	{EBADMSG, EXIT_MISMATCH, "W-EBADMSG", "not a sound segment",
	 "if nothing uses it any more, remove it:  weir rm SEGMENT"},
	{EPROTO, EXIT_MISMATCH, "W-ELAYOUT", "another layout",
	 "use the weir it was made with, or stop its programs and remove it:  weir rm SEGMENT"},
	{ESTALE, EXIT_MISMATCH, "W-ESTALE", "made before the last reboot",
	 "remove what reboots left behind:  weir gc --yes"},
	{ETIMEDOUT, EXIT_TIMEOUT, "W-ETIMEDOUT", "timed out", NULL},
	{ECANCELED, EXIT_CANCELLED, "W-ECANCELED", "cancelled", NULL},
	{EAGAIN, EXIT_NO, "W-EAGAIN", "not now", NULL},
	{ESHUTDOWN, EXIT_NO, "W-ESHUTDOWN", "the queue is closed", NULL},
	{EMSGSIZE, EXIT_USAGE, "W-EMSGSIZE", "the message is too long", NULL},
	{EUSERS, EXIT_SYSTEM, "W-EUSERS", "no free slot: too many processes or threads",
	 "see who is attached:  weir ps SEGMENT"},
	{ENOSPC, EXIT_SYSTEM, "W-ENOSPC", "no room", "see what takes it:  weir ls; df -h"},
	{EFBIG, EXIT_SYSTEM, "W-EFBIG", "too big to look at", NULL},
	{EOVERFLOW, EXIT_USAGE, "W-EOVERFLOW", "more than one thread may hold", NULL},
};

static bool in_run;

void fail_in_run(void)
{
	in_run = true;
}

bool fail_is_run(void)
{
	return in_run;
}

/* A peer has truncated the file that we have mapped: memory that was there is not.  The mapping is
 * of no use any more, and neither is anything that stdio holds. */
static void on_sigbus(int signal)
{
	static const char text[] = "weir: the segment's file was truncated while it was in use "
				   "(W-EBADMSG)\n  see    weir-errors(7) \"W-EBADMSG\"\n";
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)signal;
	(void)written;
	_exit(in_run ? EXIT_RUN_FAILED : EXIT_MISMATCH);
}

void fail_on_truncation(void)
{
	struct sigaction action = {.sa_handler = on_sigbus};

	sigaction(SIGBUS, &action, NULL);
}

static const struct code *code_of(int error)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].error == error || codes[i].error == -error)
			return &codes[i];
	}
	return NULL;
}

const char *fail_code(int error)
{
	const struct code *code = code_of(error);

	return code ? code->name : "W-SYSTEM";
}

const char *fail_words(int error)
{
	const struct code *code = code_of(error);

	return code && code->words ? code->words : strerror(error < 0 ? -error : error);
}

/* --- who and where ----------------------------------------------------------------------- */

static void print_user(uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		fputs(pw->pw_name, stderr);
	else
		fprintf(stderr, "uid %u", (unsigned)uid);
}

static void print_group(gid_t gid)
{
	const struct group *gr = getgrgid(gid);

	if (gr)
		fputs(gr->gr_name, stderr);
	else
		fprintf(stderr, "gid %u", (unsigned)gid);
}

static void print_me(void)
{
	gid_t groups[16];
	int n = getgroups(16, groups);

	fputs("   you are ", stderr);
	print_user(geteuid());
	fputs(" (groups: ", stderr);
	print_group(getegid());
	for (int i = 0; i < n; i++) {
		if (groups[i] == getegid())
			continue;
		fputs(", ", stderr);
		print_group(groups[i]);
	}
	fputs(")\n", stderr);
}

static void print_path(const char *path)
{
	char clean[PATH_MAX];
	struct stat st;

	text_clean(clean, sizeof(clean), path, strlen(path));
	fprintf(stderr, "  path   %s", clean);
	if (lstat(path, &st) == 0) {
		fputs("   owner ", stderr);
		print_user(st.st_uid);
		fputc(':', stderr);
		print_group(st.st_gid);
		fprintf(stderr, "  mode %04o", (unsigned)(st.st_mode & 07777));
	} else {
		fprintf(stderr, "   (%s)", strerror(errno));
	}
	print_me();
}

/* --- the complaint ----------------------------------------------------------------------- */

int fail(int error, const struct fault *fault, const char *format, ...)
{
	static const struct fault nothing;
	const struct code *code = code_of(error);
	const char *hint;
	char what[512];
	va_list args;

	if (!fault)
		fault = &nothing;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	text_clean(what, sizeof(what), what, sizeof(what));
	fflush(stdout);
	fprintf(stderr, "weir: %s: %s (%s)\n", what, fail_words(error), fail_code(error));
	if (fault->path)
		print_path(fault->path);
	if (fault->why && fault->why[0])
		fprintf(stderr, "  why    %s\n", fault->why);
	hint = fault->hint ? fault->hint : code ? code->hint : NULL;
	if (hint)
		fprintf(stderr, "  hint   %s\n", hint);
	fprintf(stderr, "  see    weir-errors(7) \"%s\"\n", fail_code(error));
	if (in_run)
		return EXIT_RUN_FAILED;
	return code ? code->status : EXIT_SYSTEM;
}

/* --- opening for acting ------------------------------------------------------------------ */

static int fail_segment(const struct target *target, int error, const char *why)
{
	char path[PATH_MAX];
	char dir[PATH_MAX];
	struct fault fault = {.why = why};

	if (weir_segment_path(target->segment, path, sizeof(path)) == 0)
		fault.path = path;
	if (error == -ENOENT && strcmp(target->segment, "local") == 0 &&
	    weir_segment_dir(0, dir, sizeof(dir)) == 0) {
		fault.path = dir;
		fault.hint = "make that directory, or set WEIR_DIR to one on a tmpfs";
	} else if (error == -ENOENT) {
		fault.hint = "only segment 'local' is made on first use, others by the programs "
			     "that use them; see:  weir ls";
	}
	return fail(error, &fault, "cannot open segment '%s'", target->segment);
}

int fail_open(const struct target *target, struct weir_segment **ret_seg)
{
	char why[256] = "";
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .role = "weir", .why = why, .why_bytes = sizeof(why));
	int r;

	if (strcmp(target->segment, "local") == 0)
		opts.flags = WEIR_CREATE;
	r = weir_segment_open(target->segment, &opts, ret_seg);
	return r < 0 ? fail_segment(target, r, why) : 0;
}

int fail_object(const struct target *target, const char *type, int error, const char *hint)
{
	char why[160] = "";
	char path[PATH_MAX] = "";
	struct fault fault = {.path = path, .why = why, .hint = hint};
	const struct snap_object *object;
	struct snapshot snap;

	weir_segment_path(target->segment, path, sizeof(path));
	if (error == -EEXIST && snapshot_take(target->segment, &snap) == 0) {
		object = snapshot_object(&snap, target->object);
		if (object && strcmp(snapshot_type(object->type), type) != 0) {
			snprintf(why, sizeof(why), "'%s' is a %s, not a %s", object->name,
				 snapshot_type(object->type), type);
			fault.hint = "choose another name, or remove it:  weir rm SEGMENT:OBJECT";
		}
		snapshot_drop(&snap);
	}
	if (error == -ENOENT)
		fault.path = NULL;
	return fail(error, &fault, "cannot open %s '%s'", type, target_text(target));
}
