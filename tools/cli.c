/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The command line: one table of options, of which each command takes those its row names.  A
 * command that cannot do JSON has no J in its row and so refuses --json.
 */
#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools.h"

/* Options without a letter of their own have capitals as keys; only those in `short_keys` are also
 * letters on the command line. */
static const char short_keys[] = "Jofqvrynwk";

static const struct argp_option all_options[] = {
	{"json", 'J', "lines", OPTION_ARG_OPTIONAL,
	 "Print JSON; --json=lines: one document per line", 0},
	{"output", 'o', "COLUMNS", 0, "Print these columns, separated by commas", 0},
	{"raw", 'r', NULL, 0, "Columns separated by one blank, for scripts", 0},
	{"noheadings", 'H', NULL, 0, "No line of column names", 0},
	{"explain", 'E', NULL, 0, "Say what each field means", 0},
	{"follow", 'f', NULL, 0, "Go on printing what is new", 0},
	{"quiet", 'q', NULL, 0, "Say nothing, only the exit status", 0},
	{"verbose", 'v', NULL, 0, "Say more", 0},
	{"yes", 'y', NULL, 0, "Do it without asking", 0},
	{"dry-run", 'D', NULL, 0, "Only say what would be done", 0},
	{"timeout", 'T', "TIME", 0, "Wait at most TIME: 30s, 250ms, 5 (seconds), forever", 0},
	{"number", 'n', "N", 0, "How many: permits, tokens or messages (1)", 0},
	{"permits", 'P', "N", 0, "Make it with N permits, if there is none", 0},
	{"burst", 'B', "N", 0, "Tokens at once after a pause (COUNT of the limit)", 0},
	{"key", 'k', "KEY", 0, "A limit of its own for each KEY", 0},
	{"keys", 'K', "N", 0, "Make it with room for N busy keys (1024)", 0},
	{"failures", 'F', "N/PERIOD", 0,
	 "Make it to open when of at least N calls within PERIOD too many failed (10/10s)", 0},
	{"percent", 'C', "N", 0, "How many are too many: N percent (50)", 0},
	{"open-for", 'O', "TIME", 0, "Stay open for TIME, then let probes through (5s)", 0},
	{"probes", 'R', "N", 0, "Probes that must succeed to close it again (1)", 0},
	{"slots", 'S', "N", 0, "Make it with room for N messages (256)", 0},
	{"bytes", 'Z', "N", 0, "Longest message in bytes (1024)", 0},
	{"tries", 'X', "N", 0, "Drop a message after N receivers died with it (64)", 0},
};

#define OPTION_COUNT (sizeof(all_options) / sizeof(all_options[0]))

struct parse {
	struct cli *cli;
	int max;
};

int cli_usage(const struct cli *cli, const char *format, ...)
{
	char what[512];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	text_clean(what, sizeof(what), what, sizeof(what));
	fflush(stdout);
	fprintf(stderr, "weir: %s: %s (W-USAGE)\n", cli->command->name, what);
	fprintf(stderr, "  usage  weir %s %s\n", cli->command->name, cli->command->synopsis);
	fprintf(stderr, "  hint   weir help %s\n", cli->command->name);
	return fail_is_run() ? EXIT_RUN_FAILED : EXIT_USAGE;
}

/* --- one option -------------------------------------------------------------------------- */

static void number(const struct cli *cli, const char *option, const char *text, uint64_t max,
		   uint64_t *ret)
{
	if (text_parse_number(text, max, ret) < 0)
		exit(cli_usage(cli, "--%s '%s': a number from 1 to %llu is wanted", option, text,
			       (unsigned long long)max));
}

static void duration(const struct cli *cli, const char *option, const char *text, uint64_t *ret)
{
	if (text_parse_duration(text, ret) < 0)
		exit(cli_usage(cli,
			       "--%s '%s': a time is wanted, such as 30s, 250ms, 1.5h or forever",
			       option, text));
}

static bool set_flag(struct cli *cli, int key)
{
	bool *flags[] = {
		['q'] = &cli->quiet,   ['v'] = &cli->verbose,	 ['y'] = &cli->yes,
		['D'] = &cli->dry_run, ['f'] = &cli->follow,	 ['E'] = &cli->explain,
		['r'] = &cli->raw,     ['H'] = &cli->noheadings,
	};

	if (key < 0 || (size_t)key >= sizeof(flags) / sizeof(flags[0]) || !flags[key])
		return false;
	*flags[key] = true;
	return true;
}

static bool set_number(struct cli *cli, int key, const char *arg)
{
	static const struct {
		int key;
		const char *name;
		uint64_t max;
		size_t at;
	} numbers[] = {
		{'n', "number", UINT32_MAX, offsetof(struct cli, number)},
		{'P', "permits", WEIR_SEM_PERMITS_MAX, offsetof(struct cli, permits)},
		{'B', "burst", INT64_MAX, offsetof(struct cli, burst)},
		{'K', "keys", 1u << 26, offsetof(struct cli, keys)},
		{'C', "percent", 100, offsetof(struct cli, percent)},
		{'R', "probes", 63, offsetof(struct cli, probes)},
		{'S', "slots", 1u << 20, offsetof(struct cli, slots)},
		{'Z', "bytes", 1u << 20, offsetof(struct cli, bytes)},
		{'X', "tries", 63, offsetof(struct cli, tries)},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (numbers[i].key == key) {
			number(cli, numbers[i].name, arg, numbers[i].max,
			       (uint64_t *)(void *)((char *)cli + numbers[i].at));
			return true;
		}
	}
	return false;
}

static void set_json(struct cli *cli, const char *arg)
{
	cli->json = true;
	cli->json_lines = arg != NULL;
	if (arg && strcmp(arg, "lines") != 0)
		exit(cli_usage(cli, "--json=%s: only --json and --json=lines are known", arg));
}

static error_t parse_one(int key, char *arg, struct argp_state *state)
{
	struct parse *parse = state->input;
	struct cli *cli = parse->cli;

	if (set_flag(cli, key) || (arg && key != ARGP_KEY_ARG && set_number(cli, key, arg)))
		return 0;
	switch (key) {
	case 'J':
		set_json(cli, arg);
		return 0;
	case 'o':
		cli->columns = arg;
		return 0;
	case 'k':
		cli->key = arg;
		return 0;
	case 'F':
		cli->failures = arg;
		return 0;
	case 'T':
		duration(cli, "timeout", arg, &cli->timeout_ns);
		cli->has_timeout = true;
		return 0;
	case 'O':
		duration(cli, "open-for", arg, &cli->open_ns);
		if (cli->open_ns < 1000000)
			exit(cli_usage(cli, "--open-for %s: at least 1ms is wanted", arg));
		return 0;
	case ARGP_KEY_ARG:
		if (parse->max >= 0 && cli->argc >= parse->max)
			exit(cli_usage(cli, "'%s' is one argument too many", arg));
		cli->argv[cli->argc++] = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* --- the whole --------------------------------------------------------------------------- */

/* Keys of options without a letter are moved out of the range of letters and back. */
static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	if (key > 0x100 && key < 0x200)
		key -= 0x100;
	return parse_one(key, arg, state);
}

static void choose(const struct command *command, struct argp_option *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (!strchr(command->options, all_options[i].key))
			continue;
		ret[n] = all_options[i];
		if (!strchr(short_keys, ret[n].key))
			ret[n].key += 0x100;
		n++;
	}
}

static char **arguments; /* used until the program ends */

static void arguments_free(void)
{
	free(arguments);
}

void cli_parse(int argc, char **argv, int min, int max, struct cli *ret)
{
	struct argp_option options[OPTION_COUNT + 1] = {0};
	struct parse parse = {.cli = ret, .max = max};
	char doc[2048];
	struct argp argp = {.options = options, .parser = parse_key, .doc = doc};
	const char *space = strchr(argv[0], ' ');
	error_t r;

	*ret = (struct cli){.command = command_find(space ? space + 1 : argv[0])};
	arguments = calloc((size_t)argc + 1, sizeof(*arguments));
	ret->argv = arguments;
	atexit(arguments_free);
	if (!ret->command || !ret->argv)
		exit(fail(ENOMEM, NULL, "cannot start"));
	choose(ret->command, options);
	argp.args_doc = ret->command->synopsis;
	snprintf(doc, sizeof(doc), "%s.%s%s", ret->command->help, ret->command->details ? "\v" : "",
		 ret->command->details ? ret->command->details : "");
	argp_err_exit_status = fail_is_run() ? EXIT_RUN_FAILED : EXIT_USAGE;
	r = argp_parse(&argp, argc, argv, 0, NULL, &parse);
	if (r != 0)
		exit(fail(r, NULL, "cannot read the arguments"));
	if (ret->argc < min)
		exit(cli_usage(ret, "something is missing"));
}

bool cli_confirm(const struct cli *cli, const char *question)
{
	char answer[16];

	if (cli->yes)
		return true;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		fprintf(stderr,
			"weir: %s: nobody to ask here; say --yes to do it, --dry-run to "
			"only look (W-CONFIRM)\n",
			cli->command->name);
		return false;
	}
	fprintf(stderr, "%s [y/N] ", question);
	fflush(stderr);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* --- targets ----------------------------------------------------------------------------- */

static int object_check(const struct cli *cli, const char *text, const char *object, bool pattern)
{
	if (pattern && strpbrk(object, "*?[") && strlen(object) < 64 && !strchr(object, '/'))
		return 0;
	if (weir_name_check(object) == 0)
		return 0;
	return cli_usage(cli,
			 "'%s' names no object: 1 to 31 of A-Z a-z 0-9 . _ - are wanted, not "
			 "beginning with . or -",
			 text);
}

int target_parse(const struct cli *cli, const char *text, bool bare_object, struct target *ret)
{
	const char *slash = strrchr(text, '/');
	const char *colon = strchr(slash ? slash : text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);

	memset(ret, 0, sizeof(*ret));
	if (bare_object && !colon) {
		memcpy(ret->segment, "local", sizeof("local"));
		snprintf(ret->object, sizeof(ret->object), "%.63s", text);
		return object_check(cli, text, text, false);
	}
	if (n == 0 || n >= sizeof(ret->segment))
		return cli_usage(cli, "'%s' names no segment", text);
	memcpy(ret->segment, text, n);
	if (!slash && weir_name_check(ret->segment) < 0 && !strpbrk(ret->segment, "*?["))
		return cli_usage(cli,
				 "'%s' names no segment: 1 to 31 of A-Z a-z 0-9 . _ - are wanted, "
				 "not beginning with . or -, or a path with a /",
				 ret->segment);
	if (!colon)
		return 0;
	snprintf(ret->object, sizeof(ret->object), "%.63s", colon + 1);
	return object_check(cli, text, colon + 1, !bare_object);
}

const char *target_text(const struct target *target)
{
	static char text[PATH_MAX + 80];
	const char *slash = strrchr(target->segment, '/');

	snprintf(text, sizeof(text), "%s%s%s", slash ? slash + 1 : target->segment,
		 target->object[0] ? ":" : "", target->object);
	return text;
}
