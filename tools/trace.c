/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * weir trace: what requests do across processes, and who stands in whose way.
 *
 * 2026-11, two sources, one tree.  Programs write spans into rings of the segment (always on,
 * readable after a crash); the kernel tells about waits while we look (bpf/wait.bpf.c), with no
 * help from the programs.  Without the privilege for the second the first still works, and we say
 * so once.
 */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "trace.h"

#define MS	    UINT64_C(1000000)
#define TICK_NS	    (50 * MS)
#define SHOW_NS	    (200 * MS)
#define LOOK_NS	    (1000 * MS)
#define LATE_NS	    (100 * MS) /* a wait whose last sleep ended so recently goes on */
#define REAL_DIGITS 16

enum { KEY_FORMAT = 0x101, KEY_DURATION, KEY_NO_BPF, KEY_NOHEADINGS };

enum verb { VERB_SHOW, VERB_EXPORT, VERB_CAPS, VERB_STATS };

struct parse {
	struct trace *t;
	enum verb verb;
	bool verb_given;
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = signal;
}

/* --- options ------------------------------------------------------------------------------- */

static const struct argp_option options[] = {
	{"follow", 'f', NULL, 0, "Go on showing what is new, and waits", 0},
	{"json", 'J', "lines", OPTION_ARG_OPTIONAL,
	 "Print JSON; --json=lines: one document per line", 0},
	{"format", KEY_FORMAT, "FORMAT", 0, "export: chrome or otlp-json", 0},
	{"output", 'o', "FILE", 0, "export: write to FILE", 0},
	{"duration", KEY_DURATION, "TIME", 0, "Watch for TIME (2s, 500ms), then end", 0},
	{"no-bpf", KEY_NO_BPF, NULL, 0, "Only spans: do not ask the kernel about waits", 0},
	{"quiet", 'q', NULL, 0, "No totals at the end", 0},
	{"noheadings", KEY_NOHEADINGS, NULL, 0, "No line of column names", 0},
	{"raw", 'r', NULL, 0, "Columns separated by one blank, for scripts", 0},
	{0},
};

static enum verb verb_find(const char *name, bool *ret_found)
{
	static const char *const verbs[] = {
		[VERB_EXPORT] = "export", [VERB_CAPS] = "caps", [VERB_STATS] = "stats"};

	*ret_found = false;
	for (int i = VERB_EXPORT; i <= VERB_STATS; i++) {
		if (strcmp(name, verbs[i]) == 0) {
			*ret_found = true;
			return (enum verb)i;
		}
	}
	return VERB_SHOW;
}

static void parse_word(struct parse *parse, char *word)
{
	struct cli *cli = &parse->t->cli;

	if (!parse->verb_given && cli->argc == 0) {
		parse->verb = verb_find(word, &parse->verb_given);
		if (parse->verb_given)
			return;
	}
	if (cli->argc == 1 || parse->verb == VERB_CAPS)
		exit(cli_usage(cli, "'%s' is one argument too many", word));
	cli->argv[cli->argc++] = word;
}

static void parse_json(struct cli *cli, const char *arg)
{
	cli->json = true;
	cli->json_lines = arg != NULL;
	if (arg && strcmp(arg, "lines") != 0)
		exit(cli_usage(cli, "--json=%s: only --json and --json=lines are known", arg));
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct parse *parse = state->input;
	struct trace *t = parse->t;

	switch (key) {
	case 'f':
		t->cli.follow = true;
		return 0;
	case 'J':
		parse_json(&t->cli, arg);
		return 0;
	case KEY_FORMAT:
		t->format = arg;
		return 0;
	case 'o':
		t->output = arg;
		return 0;
	case KEY_DURATION:
		if (text_parse_duration(arg, &t->duration_ns) < 0 || t->duration_ns == 0)
			exit(cli_usage(&t->cli, "--duration '%s': a time is wanted, such as 2s",
				       arg));
		return 0;
	case KEY_NO_BPF:
		t->no_bpf = true;
		return 0;
	case 'q':
		t->cli.quiet = true;
		return 0;
	case 'r':
		t->cli.raw = true;
		return 0;
	case KEY_NOHEADINGS:
		t->cli.noheadings = true;
		return 0;
	case ARGP_KEY_ARG:
		parse_word(parse, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* What does not go together.  0 or the exit status. */
static int check_options(const struct trace *t, enum verb verb)
{
	const struct cli *cli = &t->cli;

	if (verb != VERB_EXPORT && (t->format || t->output))
		return cli_usage(cli, "--format and --output belong to weir trace export");
	if (verb == VERB_EXPORT && (cli->follow || cli->json))
		return cli_usage(cli, "an export takes --format and --duration, not -f or --json");
	if (verb == VERB_EXPORT && t->format && strcmp(t->format, "chrome") != 0 &&
	    strcmp(t->format, "otlp-json") != 0)
		return cli_usage(cli, "--format '%s': chrome or otlp-json is wanted", t->format);
	if (verb != VERB_SHOW && cli->follow)
		return cli_usage(cli, "only weir trace itself follows");
	if (verb == VERB_SHOW && cli->follow && cli->json && !cli->json_lines)
		return cli_usage(cli, "what has no end is no document: -f takes --json=lines");
	return 0;
}

/* --- collecting ---------------------------------------------------------------------------- */

/* The offset of the wall clock, from the tightest of five looks. */
static int64_t wall_offset(void)
{
	uint64_t best_ns = UINT64_MAX;
	int64_t offset = 0;

	for (int i = 0; i < 5; i++) {
		struct timespec wall;
		uint64_t before = weir_now_ns();
		uint64_t after;

		clock_gettime(CLOCK_REALTIME, &wall);
		after = weir_now_ns();
		if (after - before >= best_ns)
			continue;
		best_ns = after - before;
		offset = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec -
			 (int64_t)(before + best_ns / 2);
	}
	return offset;
}

static void show_item(void *arg, const struct trace_item *item, uint32_t depth)
{
	const struct trace *t = arg;
	json_t *object;

	if (!t->cli.json) {
		trace_text_item(t, item, depth);
		return;
	}
	object = trace_json_item(t, item);
	json_object_set_new(object, "schema", json_string("weir.trace/1"));
	out_json(object, true);
}

static void collect(struct trace *t)
{
	trace_spans_read(t);
	if (t->bpf)
		(void)trace_bpf_read(t->bpf, trace_wait_add, t);
}

static void show_new(struct trace *t)
{
	if (trace_join(t) < 0)
		return;
	t->wall_ns = wall_offset();
	trace_trees(t, false, show_item, t);
	trace_forget(t);
	fflush(stdout);
}

/* Until a signal, or the end of the duration. */
static void watch(struct trace *t)
{
	const struct timespec tick = {.tv_nsec = (long)TICK_NS};
	uint64_t begin_ns = weir_now_ns();
	uint64_t shown_ns = begin_ns;
	uint64_t looked_ns = begin_ns;
	uint64_t now_ns;

	while (!stopped) {
		now_ns = weir_now_ns();
		if (t->duration_ns && now_ns - begin_ns >= t->duration_ns)
			break;
		collect(t);
		if (t->cli.follow && now_ns - shown_ns >= SHOW_NS) {
			show_new(t);
			shown_ns = now_ns;
		}
		if (now_ns - looked_ns >= LOOK_NS) {
			(void)trace_sources_find(t, false);
			looked_ns = now_ns;
		}
		(void)nanosleep(&tick, NULL);
	}
}

/* The last of it: what was on its way, and waits that go on. */
static void settle(struct trace *t)
{
	uint64_t now_ns = weir_now_ns();

	collect(t);
	trace_spans_read(t);
	for (uint32_t i = 0; i < t->item_count; i++) {
		struct trace_item *item = &t->items[i];

		item->open = item->how == TRACE_WAIT && item->result == -ETIMEDOUT &&
			     now_ns - item->end_ns < LATE_NS;
	}
	t->wall_ns = wall_offset();
}

static void start_bpf(struct trace *t)
{
	if (t->no_bpf) {
		snprintf(t->bpf_why, sizeof(t->bpf_why), "--no-bpf");
		return;
	}
	if (trace_bpf_open(&t->bpf, t->bpf_why) < 0)
		fprintf(stderr, "weir: trace: only spans, no waits: %s (W-NOBPF)\n", t->bpf_why);
}

/* --- the verbs ----------------------------------------------------------------------------- */

static void show_document(struct trace *t)
{
	json_t *document = out_document("weir.trace/1");
	json_t *items = json_array();

	for (uint32_t i = 0; i < t->item_count; i++) {
		if (!t->items[i].hidden)
			json_array_append_new(items, trace_json_item(t, &t->items[i]));
	}
	json_object_set_new(document, "items", items);
	json_object_set_new(document, "loss", trace_losses(t));
	out_json(document, false);
}

static int run_show(struct trace *t)
{
	bool watching = t->cli.follow || t->duration_ns;
	int status;

	t->fresh = t->cli.follow;
	if (watching)
		start_bpf(t);
	status = trace_sources_find(t, true);
	if (status)
		return status;
	if (t->source_count == 0 && t->cli.follow)
		fprintf(stderr, "weir: trace: no segment yet, waiting for one\n");
	if (watching)
		watch(t);
	settle(t);
	if (trace_join(t) < 0)
		return fail(ENOMEM, NULL, "cannot sort the spans");
	if (t->cli.json && !t->cli.json_lines)
		show_document(t);
	else
		trace_trees(t, true, show_item, t);
	if (!t->cli.quiet)
		trace_totals(t);
	return EXIT_DONE;
}

static int write_file(const struct trace *t, const json_t *document)
{
	struct fault fault = {.path = t->output};
	size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS);
	FILE *file = t->output ? fopen(t->output, "we") : stdout;
	bool bad;

	if (!file)
		return fail(errno, &fault, "cannot write the export");
	errno = 0;
	bad = json_dumpf(document, file, flags) < 0;
	bad |= fputc('\n', file) == EOF;
	bad |= t->output ? fclose(file) != 0 : fflush(file) != 0;
	return bad ? fail(errno ? errno : EIO, &fault, "cannot write the export") : EXIT_DONE;
}

static int run_export(struct trace *t)
{
	bool otlp = t->format && strcmp(t->format, "otlp-json") == 0;
	json_t *document;
	int status;

	if (t->duration_ns)
		start_bpf(t);
	status = trace_sources_find(t, true);
	if (status)
		return status;
	if (t->duration_ns)
		watch(t);
	settle(t);
	if (trace_join(t) < 0)
		return fail(ENOMEM, NULL, "cannot sort the spans");
	document = otlp ? trace_otlp(t) : trace_chrome(t);
	status = write_file(t, document);
	json_decref(document);
	if (!t->cli.quiet)
		trace_totals(t);
	return status;
}

static int run_stats(struct trace *t)
{
	int status;

	snprintf(t->bpf_why, sizeof(t->bpf_why), "not attached");
	status = trace_sources_find(t, true);
	if (status)
		return status;
	trace_spans_read(t);
	return trace_stats(t);
}

static int run(struct trace *t, enum verb verb)
{
	struct sigaction action = {.sa_handler = stop};
	int status = check_options(t, verb);

	if (status)
		return status;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	switch (verb) {
	case VERB_EXPORT:
		return run_export(t);
	case VERB_CAPS:
		return trace_caps(t);
	case VERB_STATS:
		return run_stats(t);
	default:
		return run_show(t);
	}
}

int weir_cmd_trace(int argc, char **argv)
{
	static struct trace trace;
	struct parse parse = {.t = &trace};
	const struct argp argp = {.options = options,
				  .parser = parse_key,
				  .args_doc = "[export|caps|stats] [SEGMENT[:OBJECT]]",
				  .doc = "Show spans and waits across processes."};
	const char *space = strchr(argv[0], ' ');
	int status;

	trace.cli.command = command_find(space ? space + 1 : argv[0]);
	trace.cli.argv = calloc((size_t)argc + 1, sizeof(*trace.cli.argv));
	if (!trace.cli.command || !trace.cli.argv)
		return fail(ENOMEM, NULL, "cannot start");
	argp_err_exit_status = EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &parse) != 0)
		return EXIT_USAGE;
	status = run(&trace, parse.verb);
	trace_sources_close(&trace);
	trace_bpf_close(trace.bpf);
	free(trace.items);
	free(trace.by_span);
	free(trace.by_parent);
	free(trace.cli.argv);
	return status;
}
