/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir breaker: stop calling what does not answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

/* What an existing breaker is like, in the words of the options. */
static int compare(const struct cli *cli, const struct target *target,
		   const struct weir_breaker_opts *want)
{
	const struct weir_breaker_shm *have = NULL;
	const struct snap_object *o;
	struct breaker_view view;
	struct snapshot snap;
	char why[192] = "";
	char text[96];
	struct fault fault = {.why = why,
			      .hint = "leave the options out, or:  weir rm SEGMENT:OBJECT"};

	if (snapshot_take(target->segment, &snap) == 0) {
		o = snapshot_object(&snap, target->object);
		if (o && breaker_view(&snap, o, &view, text))
			have = view.shm;
	}
	if (have && cli->failures &&
	    (have->min_calls != want->min_calls || have->window_ms != want->window_ms))
		snprintf(why, sizeof(why), "it looks at %u calls in %u ms, --failures says %s",
			 have->min_calls, have->window_ms, cli->failures);
	else if (have && cli->open_ns && have->open_ms != want->open_ms)
		snprintf(why, sizeof(why), "it stays open for %u ms, --open-for says %u",
			 have->open_ms, want->open_ms);
	else if (have && cli->percent && have->failure_pct != want->failure_pct)
		snprintf(why, sizeof(why), "it opens at %u percent, --percent says %u",
			 have->failure_pct, want->failure_pct);
	else if (have && cli->probes && have->probes != want->probes)
		snprintf(why, sizeof(why), "it wants %u probes, --probes says %u", have->probes,
			 want->probes);
	snapshot_drop(&snap);
	return why[0] ? fail(EEXIST, &fault, "cannot use breaker '%s'", target_text(target)) : 0;
}

/* --failures N/PERIOD: of at least N calls in PERIOD. */
static int options(const struct cli *cli, struct weir_breaker_opts *ret)
{
	uint64_t count = 10;
	uint64_t period_ns = UINT64_C(10000000000);

	if (cli->failures &&
	    (text_parse_rate(cli->failures, &count, &period_ns) < 0 || count > UINT32_MAX ||
	     period_ns < 1000000 || period_ns > UINT64_C(3600000000000)))
		return cli_usage(cli,
				 "--failures '%s': N/PERIOD is wanted, such as 5/10s, at most 1h",
				 cli->failures);
	if (cli->open_ns > UINT64_C(86400000000000))
		return cli_usage(cli, "--open-for: at most 1d");
	*ret = WEIR_OPTS(breaker, .window_ms = (uint32_t)(period_ns / 1000000),
			 .min_calls = (uint32_t)count, .failure_pct = (uint32_t)cli->percent,
			 .open_ms = (uint32_t)(cli->open_ns / 1000000),
			 .probes = (uint32_t)cli->probes);
	return 0;
}

static int open_breaker(const struct cli *cli, const struct target *target,
			struct weir_segment *seg, struct weir_breaker **ret)
{
	struct weir_breaker_opts opts = WEIR_OPTS(breaker);
	int status = options(cli, &opts);
	int r;

	if (status)
		return status;
	r = weir_breaker_open(seg, target->object, NULL, ret);
	if (r == 0) {
		status = compare(cli, target, &opts);
		if (status)
			weir_breaker_close(*ret);
		return status;
	}
	if (r == -ENOENT)
		r = weir_breaker_open(seg, target->object, &opts, ret);
	return r < 0 ? fail_object(target, "breaker", r, NULL) : 0;
}

/* --- run --------------------------------------------------------------------------------- */

static int guarded(const struct cli *cli, const struct target *target, struct weir_breaker *breaker)
{
	struct weir_call call;
	uint64_t retry_ns;
	char text[TEXT_BYTES];
	int status;
	int r = weir_breaker_allow(breaker, &call, &retry_ns);

	if (r == -EAGAIN) {
		if (!cli->quiet)
			fprintf(stderr, "weir: breaker '%s' is open: retry in %s\n",
				target_text(target), text_duration(retry_ns, text));
		return EXIT_NO;
	}
	if (r < 0)
		return fail(r, NULL, "cannot ask breaker '%s'", target_text(target));
	status = run_command(cli->argv + 1);
	weir_breaker_done(breaker, &call, status != 0);
	return status;
}

int weir_cmd_breaker_run(int argc, char **argv)
{
	struct weir_breaker *breaker;
	struct weir_segment *seg;
	struct target target;
	struct cli cli;
	int status;

	fail_in_run();
	cli_parse(argc, argv, 2, -1, &cli);
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (!target.object[0])
		return cli_usage(&cli, "'%s' names no object", cli.argv[0]);
	status = fail_open(&target, &seg);
	if (status)
		return status;
	status = open_breaker(&cli, &target, seg, &breaker);
	if (status == 0) {
		status = guarded(&cli, &target, breaker);
		weir_breaker_close(breaker);
	}
	weir_segment_close(seg);
	return status;
}

/* --- open, close, reset, disable --------------------------------------------------------- */

static const struct {
	const char *name;
	enum weir_breaker_mode mode;
	const char *words;
} verbs[] = {
	{"breaker open", WEIR_BREAKER_FORCED_OPEN, "forced open: every call is refused"},
	{"breaker close", WEIR_BREAKER_CLOSED, "closed: calls go through, failures are forgotten"},
	{"breaker reset", WEIR_BREAKER_CLOSED, "closed: calls go through, failures are forgotten"},
	{"breaker disable", WEIR_BREAKER_DISABLED, "disabled: everything goes through uncounted"},
};

static int force(const struct cli *cli, const struct target *target, struct weir_segment *seg)
{
	struct weir_breaker *breaker;
	size_t verb = 0;
	int r = weir_breaker_open(seg, target->object, NULL, &breaker);

	if (r < 0)
		return fail_object(target, "breaker", r, NULL);
	while (strcmp(verbs[verb].name, cli->command->name) != 0)
		verb++;
	if (!cli->dry_run)
		r = weir_breaker_force(breaker, verbs[verb].mode);
	weir_breaker_close(breaker);
	if (r < 0)
		return fail(r, NULL, "cannot change breaker '%s'", target_text(target));
	if (!cli->quiet)
		printf("%s %s %s\n", target_text(target), cli->dry_run ? "would be" : "is now",
		       verbs[verb].words);
	return EXIT_DONE;
}

int weir_cmd_breaker_force(int argc, char **argv)
{
	struct weir_segment *seg;
	struct target target;
	struct cli cli;
	int status;

	cli_parse(argc, argv, 1, 1, &cli);
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (!target.object[0])
		return cli_usage(&cli, "'%s' names no object", cli.argv[0]);
	status = fail_open(&target, &seg);
	if (status)
		return status;
	status = force(&cli, &target, seg);
	weir_segment_close(seg);
	return status;
}
