/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the parts of the weir command share: options, errors, text, tables, JSON, commands. */
#ifndef WEIR_TOOLS_H
#define WEIR_TOOLS_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <weir.h>

/* Exit statuses; 124 to 127 come only from the commands that run another one. */
enum {
	EXIT_DONE = 0,
	EXIT_NO = 1,	     /* denied, open, empty, problems found */
	EXIT_USAGE = 2,	     /* wrong usage */
	EXIT_MISSING = 3,    /* no such segment or object */
	EXIT_PERMISSION = 4, /* not allowed */
	EXIT_MISMATCH = 5,   /* another layout, or corrupt */
	EXIT_TIMEOUT = 6,    /* timed out */
	EXIT_CANCELLED = 7,  /* cancelled */
	EXIT_SYSTEM = 8,     /* no space, no free slot, input/output error */
	EXIT_RUN_TIMEOUT = 124,
	EXIT_RUN_FAILED = 125,
	EXIT_RUN_CANNOT = 126,
	EXIT_RUN_UNKNOWN = 127,
};

/* --- commands (main.c) ------------------------------------------------------------------- */

/* One command: its row drives dispatch, parsing, help, did-you-mean and completion. */
struct command {
	const char *name;     /* "ls", "sem run" */
	const char *synopsis; /* what follows the name */
	const char *help;     /* one line */
	const char *options;  /* keys of the options it takes, see cli.c; NULL: parses itself */
	int (*fn)(int argc, char **argv);
	const char *details; /* the rest of --help; NULL: nothing */
};

extern const struct command commands[];
extern const size_t command_count;
const struct command *command_find(const char *name);

int weir_cmd_ls(int argc, char **argv);
int weir_cmd_show(int argc, char **argv);
int weir_cmd_ps(int argc, char **argv);
int weir_cmd_stat(int argc, char **argv);
int weir_cmd_events(int argc, char **argv);
int weir_cmd_check(int argc, char **argv);
int weir_cmd_doctor(int argc, char **argv);
int weir_cmd_layout(int argc, char **argv);
int weir_cmd_version(int argc, char **argv);
int weir_cmd_help(int argc, char **argv);
int weir_cmd_completion(int argc, char **argv);
int weir_cmd_gc(int argc, char **argv);
int weir_cmd_rm(int argc, char **argv);
int weir_cmd_sem_run(int argc, char **argv);
int weir_cmd_sem_resize(int argc, char **argv);
int weir_cmd_rate_take(int argc, char **argv);
int weir_cmd_breaker_run(int argc, char **argv);
int weir_cmd_breaker_force(int argc, char **argv);
int weir_cmd_queue_put(int argc, char **argv);
int weir_cmd_queue_get(int argc, char **argv);
int weir_cmd_queue_peek(int argc, char **argv);
int weir_cmd_queue_close(int argc, char **argv);
int weir_cmd_status(int argc, char **argv);
int weir_cmd_trace(int argc, char **argv);

/* --- command line (cli.c) ---------------------------------------------------------------- */

/* A parsed command line.  Numbers are 0 when not given: none of them may be 0. */
struct cli {
	const struct command *command;
	bool json;
	bool json_lines;
	bool yes;
	bool dry_run;
	bool explain;
	bool follow;
	bool quiet;
	bool verbose;
	bool noheadings;
	bool raw;
	bool has_timeout;
	const char *columns;
	const char *failures;
	const char *key;
	uint64_t timeout_ns; /* UINT64_MAX: for ever */
	uint64_t open_ns;
	uint64_t number; /* -n */
	uint64_t permits;
	uint64_t burst;
	uint64_t percent;
	uint64_t probes;
	uint64_t slots;
	uint64_t bytes;
	uint64_t tries;
	uint64_t keys;
	int argc; /* positional arguments */
	char **argv;
};

/* Parse the arguments of command `argv[0]` ("weir sem run"), which must leave at least `min` and at
 * most `max` positional ones (max -1: any number).  Exits on wrong usage, and for --help. */
void cli_parse(int argc, char **argv, int min, int max, struct cli *ret);
/* Complain about the usage of the command; returns the exit status. */
__attribute__((format(printf, 2, 3))) int cli_usage(const struct cli *cli, const char *format, ...);
/* Ask whether to go on: true with --yes, or after y on a terminal. */
bool cli_confirm(const struct cli *cli, const char *question);

/* SEGMENT[:OBJECT], or a path, or with `bare_object` an OBJECT of segment local. */
struct target {
	char segment[PATH_MAX]; /* name or path, as weir_segment_open() takes it */
	char object[64];	/* name or pattern, or empty */
};
/* 0, or the exit status after a complaint. */
int target_parse(const struct cli *cli, const char *text, bool bare_object, struct target *ret);
/* "shop:db" for messages. */
const char *target_text(const struct target *target);

/* --- errors (fail.c) --------------------------------------------------------------------- */

/* What else is known about a failure; any of it may be NULL. */
struct fault {
	const char *path;
	const char *why;
	const char *hint;
};

/* Say what failed, where, as whom, why and what to do next; `error` is an errno, either sign.
 * Returns the exit status. */
__attribute__((format(printf, 3, 4))) int fail(int error, const struct fault *fault,
					       const char *format, ...);
/* From here on every failure of ours is status 125: the status belongs to a command we run. */
void fail_in_run(void);
bool fail_is_run(void);
/* From here on a mapped segment that a peer truncates is a failure with words, not a crash. */
void fail_on_truncation(void);
/* "W-EACCES" and the words for an errno, either sign. */
const char *fail_code(int error);
const char *fail_words(int error);
/* Open the segment of `target` for acting on it (segment local is made on first use), or complain.
 */
int fail_open(const struct target *target, struct weir_segment **ret_seg);
/* Complain that opening object `target` as `type` failed with `error`. */
int fail_object(const struct target *target, const char *type, int error, const char *hint);

/* --- text (text.c) ----------------------------------------------------------------------- */

#define TEXT_BYTES 32

/* "38 ms", "12.4 s", "2 min 59 s", "2 d 3 h". */
const char *text_duration(uint64_t ns, char ret_text[TEXT_BYTES]);
/* "4.0M" */
const char *text_size(uint64_t bytes, char ret_text[TEXT_BYTES]);
/* "500/s", "20/h", "3/250ms" */
const char *text_rate(uint64_t count, uint64_t period_ns, char ret_text[2 * TEXT_BYTES]);
/* Copy at most `bytes` bytes of foreign text up to its NUL; what a terminal might obey becomes '?'.
 */
void text_clean(char *ret_text, size_t room, const char *foreign, size_t bytes);
/* Wall clock now, or at weir_now_ns() == `mono_ns`, as RFC 3339 in UTC. */
const char *text_time(uint64_t mono_ns, char ret_text[TEXT_BYTES + 8]);
const char *text_time_now(char ret_text[TEXT_BYTES + 8]);
/* 30s, 250ms, 1.5h, 5 (seconds), forever.  0 or -EINVAL. */
int text_parse_duration(const char *text, uint64_t *ret_ns);
/* COUNT/PERIOD.  0 or -EINVAL. */
int text_parse_rate(const char *text, uint64_t *ret_count, uint64_t *ret_period_ns);
/* Decimal, 1 to `max`.  0 or -EINVAL. */
int text_parse_number(const char *text, uint64_t max, uint64_t *ret);
/* How many edits make `a` into `b`. */
unsigned text_distance(const char *a, const char *b);

/* --- JSON (output.c) --------------------------------------------------------------------- */

/* {"schema": schema, "time": now} */
json_t *out_document(const char *schema);
/* Print and drop; compact on one line for streams. */
void out_json(json_t *document, bool line);
/* A number; null when it does not fit JSON's signed 64 bits. */
json_t *out_u64(uint64_t n);
/* "key: value" lines, nested ones indented, units taken from the ends of the keys. */
void out_text(const json_t *object, int indent);

/* --- tables (output.c) ------------------------------------------------------------------- */

struct column {
	const char *name;
	bool right;
	bool tree;
};

struct table;

/* Columns as in `columns`, those of -o if given; NULL after a complaint. */
struct table *table_new(const struct cli *cli, const struct column *columns, size_t count);
/* One row with a text for each of the columns given to table_new() (NULL: empty), below `parent`
 * or NULL.  Returns the row. */
void *table_row(struct table *table, void *parent, const char *const *cells);
/* Print and free. */
void table_print(struct table *table);

/* --- running commands (run.c) ------------------------------------------------------------ */

/* Run argv, pass signals on to it, wait.  Returns its exit status, 128 + signal if it was killed,
 * 126 or 127 if it could not be run. */
int run_command(char **argv);
/* Cancel `ctx` when SIGINT, SIGTERM or SIGHUP comes. */
void run_cancel_on_signal(struct weir_ctx *ctx);
/* The signal that came since, or 0; back to the defaults. */
int run_signal_seen(void);

#endif
