/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * weir: look into and work with segments.  The table below is the command line.
 *
 * 2026-11: "sem run" and its like are rows of their own, so that each has its own synopsis, options
 * and help; "sem" alone is no command.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools.h"

#define NAMES "NAME is SEGMENT:OBJECT; a bare NAME is an object of segment 'local'."

const struct command commands[] = {
	{"ls", "[SEGMENT[:OBJECT]]", "List segments and their objects", "JorH", weir_cmd_ls,
	 "Segments lie in $WEIR_DIR, else /run/weir if that is on a tmpfs, else "
	 "/dev/shm/weir-UID."},
	{"show", "SEGMENT[:OBJECT]", "Print everything about a segment or an object", "JE",
	 weir_cmd_show, "SEGMENT may be a path, OBJECT a pattern such as 'jobs*'."},
	{"ps", "[SEGMENT]", "List attached processes: what they hold and wait for", "JorH",
	 weir_cmd_ps, "DEAD: gone without leaving; what it held comes back at the next sweep."},
	{"stat", "[SEGMENT[:OBJECT]] [INTERVAL [COUNT]]", "Print rates per second", "J",
	 weir_cmd_stat,
	 "Without INTERVAL: one line per object, over one second.  COUNT lines else, or for ever."},
	{"events", "[SEGMENT]", "Print the audit log: attached, died, reclaimed, opened ...", "Jf",
	 weir_cmd_events, NULL},
	{"check", "[SEGMENT[:OBJECT]]", "Compare the books: do all sums agree?", "Jqv",
	 weir_cmd_check,
	 "Only what is found in five looks in a row is reported: a busy segment may look wrong "
	 "once."},
	{"gc", "[SEGMENT]", "Reclaim what dead processes held, remove what reboots left", "JyDq",
	 weir_cmd_gc, "Without --yes it only says what there is to do; status 1 if there is."},
	{"rm", "SEGMENT[:OBJECT]...", "Remove segments or objects", "yDq", weir_cmd_rm,
	 "Processes that use them go on with what they have."},
	{"sem run", "NAME [--permits N] [-n W] [--timeout T] -- COMMAND [ARG]...",
	 "Run a command while holding W permits", "PnT", weir_cmd_sem_run,
	 NAMES "  The status is the command's, 124 after waiting for T, 125 if weir failed, 126 or "
	       "127 if the command could not be run.  If weir is killed, its permits come back and "
	       "the command gets SIGTERM."},
	{"sem status", "NAME", "Print a semaphore: holders and waiters", "JE", weir_cmd_status,
	 NAMES},
	{"sem resize", "NAME PERMITS", "Change the number of permits", "Dq", weir_cmd_sem_resize,
	 NAMES},
	{"rate take", "NAME [LIMIT] [-n COST] [--burst N] [--key KEY] [--timeout T]",
	 "Take from a limit: status 0 allowed, 1 denied", "JqnBkKT", weir_cmd_rate_take,
	 NAMES
	 "  LIMIT is COUNT/PERIOD, such as 20/hour, 5/s or 3/250ms; the first who names it makes "
	 "it.  With --timeout it waits for its turn."},
	{"rate status", "NAME", "Print a limit and what can be taken now", "JE", weir_cmd_status,
	 NAMES},
	{"breaker run",
	 "NAME [--failures N/PERIOD] [--percent P] [--open-for T] [--probes N] -- COMMAND [ARG]...",
	 "Run a command unless the breaker is open", "FCORq", weir_cmd_breaker_run,
	 NAMES
	 "  A command that ends with another status than 0 has failed.  The breaker opens when of "
	 "at least N calls within PERIOD P percent failed.  The status is the command's, or 1 "
	 "without running it while the breaker is open."},
	{"breaker status", "NAME", "Print a breaker", "JE", weir_cmd_status, NAMES},
	{"breaker open", "NAME", "Refuse all calls until told otherwise", "Dq",
	 weir_cmd_breaker_force, NAMES},
	{"breaker close", "NAME", "Let calls through again and forget the failures", "Dq",
	 weir_cmd_breaker_force, NAMES},
	{"breaker reset", "NAME", "The same as close", "Dq", weir_cmd_breaker_force, NAMES},
	{"breaker disable", "NAME", "Let everything through and count nothing", "Dq",
	 weir_cmd_breaker_force, NAMES},
	{"queue put", "NAME [--slots N] [--bytes N] [--timeout T] [MESSAGE]...",
	 "Send messages, or each line of the input", "qSZXT", weir_cmd_queue_put,
	 NAMES "  Status 1 when full, unless --timeout says how long to wait."},
	{"queue get", "NAME [-n N] [--timeout T]", "Receive messages, one line each", "JnTq",
	 weir_cmd_queue_get,
	 NAMES "  Status 1 when empty, unless --timeout says how long to wait."},
	{"queue peek", "NAME [-n N]", "Look at what is waiting, without taking it", "Jn",
	 weir_cmd_queue_peek, NAMES},
	{"queue status", "NAME", "Print a queue and who works on its messages", "JE",
	 weir_cmd_status, NAMES},
	{"queue close", "NAME", "Take no more messages, for good", "yDq", weir_cmd_queue_close,
	 NAMES},
	{"trace", "[export|caps|stats] [-f] [SEGMENT[:OBJECT]]", "Follow and export spans", NULL,
	 weir_cmd_trace, NULL},
	{"doctor", "[SEGMENT]", "Check the machine and every segment", "Jqv", weir_cmd_doctor,
	 "Status 1 when something is wrong."},
	{"layout", "[NAME]", "Print the layout of the shared structures", "J", weir_cmd_layout,
	 NULL},
	{"version", "", "Print the version", "Jv", weir_cmd_version, NULL},
	{"completion", "bash", "Print a completion script", "", weir_cmd_completion, NULL},
	{"help", "[COMMAND]", "Explain a command", NULL, weir_cmd_help, NULL},
};
const size_t command_count = sizeof(commands) / sizeof(commands[0]);

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < command_count; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* Is `name` the first word of commands of two words? */
static bool is_group(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < command_count; i++) {
		if (strncmp(commands[i].name, name, n) == 0 && commands[i].name[n] == ' ')
			return true;
	}
	return false;
}

/* --- help -------------------------------------------------------------------------------- */

static void print_commands(FILE *out, const char *group)
{
	size_t n = group ? strlen(group) : 0;

	for (size_t i = 0; i < command_count; i++) {
		if (!group || (strncmp(commands[i].name, group, n) == 0 &&
			       (commands[i].name[n] == ' ' || !commands[i].name[n])))
			fprintf(out, "  %-16s %s\n", commands[i].name, commands[i].help);
	}
}

static void print_overview(FILE *out)
{
	fputs("usage: weir COMMAND [OPTION]... [SEGMENT[:OBJECT]]...\n"
	      "Limits, queues and circuit breakers that all processes of a host share.\n\n",
	      out);
	print_commands(out, NULL);
	fputs("\nexamples:\n"
	      "  weir rate take mail 20/hour && sendmail ...      the 21st is denied\n"
	      "  weir sem run build --permits 4 -n 2 -- make      at most 4 at a time\n"
	      "  weir breaker run api --failures 5/10s --open-for 30s -- curl ...\n"
	      "  weir ls; weir ps; weir show local:mail           look at it\n"
	      "\n'weir help COMMAND' says more; so does weir(1).\n",
	      out);
}

/* The closest command, or NULL if none is close. */
static const char *closest(const char *name)
{
	const char *best = NULL;
	unsigned best_distance = 4;

	for (size_t i = 0; i < command_count; i++) {
		const char *full = commands[i].name;
		const char *space = strchr(full, ' ');
		static char first[32];
		unsigned distance = text_distance(name, full);

		if (space && !strchr(name, ' ')) {
			snprintf(first, sizeof(first), "%.*s", (int)(space - full), full);
			distance = text_distance(name, first);
		}
		/* Of a short word, little may be wrong. */
		if (distance < best_distance && distance < strlen(name)) {
			best_distance = distance;
			best = space && !strchr(name, ' ') ? first : full;
		}
	}
	return best;
}

static int unknown(const char *name)
{
	char clean[64];
	const char *guess = closest(name);

	text_clean(clean, sizeof(clean), name, strlen(name));
	fprintf(stderr, "weir: '%s' is not a command.", clean);
	if (guess)
		fprintf(stderr, " Did you mean '%s'?", guess);
	fputs(" (W-USAGE)\n  hint   weir help\n", stderr);
	return EXIT_USAGE;
}

/* Run a command with the words it was called with as its argv[0]. */
static int run(const struct command *command, int argc, char **argv)
{
	char name[48];

	snprintf(name, sizeof(name), "weir %s", command->name);
	argv[0] = name;
	return command->fn(argc, argv);
}

int weir_cmd_help(int argc, char **argv)
{
	char *arguments[] = {NULL, (char[]){"--help"}, NULL};
	char name[64] = "";
	const struct command *command;

	if (argc < 2 || argv[1][0] == '-') {
		print_overview(stdout);
		return EXIT_DONE;
	}
	snprintf(name, sizeof(name), "%.30s%s%.30s", argv[1], argc > 2 ? " " : "",
		 argc > 2 ? argv[2] : "");
	command = command_find(name);
	if (command && command->fn == weir_cmd_help) {
		print_overview(stdout);
		return EXIT_DONE;
	}
	if (command)
		return run(command, 2, arguments);
	if (!is_group(name))
		return unknown(name);
	printf("usage: weir %s COMMAND ...\n\n", name);
	print_commands(stdout, name);
	return EXIT_DONE;
}

int weir_cmd_completion(int argc, char **argv)
{
	struct cli cli;

	cli_parse(argc, argv, 1, 1, &cli);
	if (strcmp(cli.argv[0], "bash") != 0)
		return cli_usage(&cli, "only bash is known, not '%s'", cli.argv[0]);
	puts("# bash completion for weir: source <(weir completion bash)\n"
	     "_weir() {\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words\n"
	     "\tcase \"$COMP_CWORD ${COMP_WORDS[1]}\" in");
	fputs("\t1\\ *) words=\"", stdout);
	for (size_t i = 0; i < command_count; i++) {
		const char *name = commands[i].name;
		size_t n = strcspn(name, " ");

		if (i == 0 || strncmp(commands[i - 1].name, name, n) != 0 ||
		    (commands[i - 1].name[n] && commands[i - 1].name[n] != ' '))
			printf("%.*s ", (int)n, name);
	}
	puts("\" ;;");
	for (size_t i = 0; i < command_count; i++) {
		const char *space = strchr(commands[i].name, ' ');

		if (space)
			printf("\t2\\ %.*s) words=\"$words %s\" ;;&\n",
			       (int)(space - commands[i].name), commands[i].name, space + 1);
	}
	puts("\t[2-9]*) words=\"$words $(weir ls --raw --noheadings -o PATH 2>/dev/null)\" ;;\n"
	     "\tesac\n"
	     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	     "\t__ltrim_colon_completions \"$cur\" 2>/dev/null\n"
	     "}\n"
	     "complete -F _weir weir");
	return EXIT_DONE;
}

/* --- dispatch ---------------------------------------------------------------------------- */

static int dispatch(int argc, char **argv)
{
	const struct command *command = command_find(argv[1]);
	char name[64];

	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "-?") == 0)
		command = command_find("help");
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		command = command_find("version");
	if (command)
		return run(command, argc - 1, argv + 1);
	if (!is_group(argv[1]))
		return unknown(argv[1]);
	if (argc > 2 && strcmp(argv[2], "--help") != 0) {
		snprintf(name, sizeof(name), "%.30s %.30s", argv[1], argv[2]);
		command = command_find(name);
		return command ? run(command, argc - 2, argv + 2) : unknown(name);
	}
	fprintf(argc > 2 ? stdout : stderr, "usage: weir %s COMMAND ...\n\n", argv[1]);
	print_commands(argc > 2 ? stdout : stderr, argv[1]);
	return argc > 2 ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 2) {
		print_overview(stderr);
		return EXIT_USAGE;
	}
	fail_on_truncation();
	status = dispatch(argc, argv);
	/* A full disk must not look like success. */
	if (fflush(stdout) == EOF || ferror(stdout))
		return status ? status : fail(errno, NULL, "cannot write the output");
	return status;
}
