/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir rate take: may this happen now? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

#define KEYS_DEFAULT 1024

/* What the command line says about the limit; count 0: nothing. */
struct limit {
	uint64_t count;
	uint64_t period_ns;
};

/* Does what was asked for contradict what is there? */
static int compare(const struct cli *cli, const struct target *target, const struct limit *limit,
		   const struct weir_limiter *limiter)
{
	struct weir_limiter_stat stat;
	char have[2 * TEXT_BYTES];
	char want[2 * TEXT_BYTES];
	char why[192] = "";
	struct fault fault = {.why = why};

	if (weir_limiter_stat(limiter, &stat) < 0)
		return 0;
	text_rate(stat.count, stat.period_ns, have);
	if (limit->count && (stat.count != limit->count || stat.period_ns != limit->period_ns)) {
		snprintf(why, sizeof(why), "it is %s, and %s was asked for", have,
			 text_rate(limit->count, limit->period_ns, want));
		fault.hint = "leave LIMIT out to use what is there, or:  weir rm SEGMENT:OBJECT";
	} else if (cli->burst && stat.burst != cli->burst) {
		snprintf(why, sizeof(why), "its burst is %llu, and %llu was asked for",
			 (unsigned long long)stat.burst, (unsigned long long)cli->burst);
		fault.hint = "leave --burst out to use what is there";
	} else if (cli->key && stat.keys_room == 0) {
		snprintf(why, sizeof(why), "it is one limit for all, and --key was given");
		fault.hint = "leave --key out, or choose another name";
	} else if (!cli->key && stat.keys_room != 0) {
		snprintf(why, sizeof(why), "it has a limit for each key, and no --key was given");
		fault.hint = "say whose:  --key KEY";
	}
	return why[0] ? fail(EEXIST, &fault, "cannot use limiter '%s'", target_text(target)) : 0;
}

static int open_limiter(const struct cli *cli, const struct target *target,
			const struct limit *limit, struct weir_segment *seg,
			struct weir_limiter **ret)
{
	struct weir_limiter_opts opts = WEIR_OPTS(
		limiter, .count = limit->count, .period_ns = limit->period_ns, .burst = cli->burst);
	int status;
	int r = weir_limiter_open(seg, target->object, NULL, ret);

	if (cli->key)
		opts.keys = (uint32_t)(cli->keys ? cli->keys : KEYS_DEFAULT);
	if (r == -ENOENT && limit->count)
		r = weir_limiter_open(seg, target->object, &opts, ret);
	if (r == -ENOENT)
		return fail_object(target, "limiter", r, "say the limit:  20/hour, 5/s, 3/250ms");
	if (r == -EINVAL)
		return fail_object(target, "limiter", r,
				   "at most 16 tokens per ns, and a burst that refills within 9 "
				   "years (less with --key)");
	if (r < 0)
		return fail_object(target, "limiter", r, NULL);
	status = compare(cli, target, limit, *ret);
	if (status)
		weir_limiter_close(*ret);
	return status;
}

/* --- the verdict ------------------------------------------------------------------------- */

static int take(const struct cli *cli, struct weir_limiter *limiter, uint64_t cost,
		struct weir_verdict *ret)
{
	uint64_t timeout_ns = cli->has_timeout ? cli->timeout_ns : 0;
	uint64_t start_ns = weir_now_ns();
	struct weir_ctx ctx;
	int r;

	if (!cli->key)
		r = weir_limiter_allow(limiter, cost, ret);
	else
		r = weir_limiter_allow_key(limiter, cli->key, strlen(cli->key), cost, ret);
	if (r != -EAGAIN || timeout_ns == 0 || cli->key || ret->retry_after_ns == UINT64_MAX)
		return r;
	weir_ctx_init(&ctx, NULL, timeout_ns);
	run_cancel_on_signal(&ctx);
	r = weir_limiter_wait(limiter, cost, &ctx);
	(void)run_signal_seen();
	if (r == 0)
		*ret = (struct weir_verdict){0};
	else if (r == -ETIMEDOUT && ret->retry_after_ns > weir_now_ns() - start_ns)
		return -EAGAIN; /* It said so at once: its turn would come too late. */
	return r;
}

static void print_json(const struct target *target, uint64_t cost, bool allowed,
		       const struct weir_verdict *v)
{
	json_t *j = out_document("weir.verdict/1");

	json_object_set_new(j, "name", json_string(target_text(target)));
	json_object_set_new(j, "allowed", json_boolean(allowed));
	json_object_set_new(j, "cost", out_u64(cost));
	json_object_set_new(j, "remaining", out_u64(v->remaining));
	json_object_set_new(j, "retry_after_ns", out_u64(v->retry_after_ns));
	json_object_set_new(j, "reset_ns", out_u64(v->reset_ns));
	out_json(j, false);
}

static int answer(const struct cli *cli, const struct target *target, uint64_t cost, int r,
		  const struct weir_verdict *v)
{
	struct fault fault = {.why = "it costs more than the burst: it could never pass",
			      .hint = "ask for less, or make the limit with a greater --burst"};
	char text[TEXT_BYTES];

	if (r == -EAGAIN && v->retry_after_ns == UINT64_MAX) {
		if (cli->json)
			print_json(target, cost, false, v);
		return fail(EINVAL, &fault, "cannot take %llu of '%s'", (unsigned long long)cost,
			    target_text(target));
	}
	if (r < 0 && r != -EAGAIN)
		return fail(r, NULL, "cannot take from '%s'", target_text(target));
	if (cli->json)
		print_json(target, cost, r == 0, v);
	else if (r < 0 && !cli->quiet)
		fprintf(stderr, "weir: '%s' denied: retry in %s\n", target_text(target),
			text_duration(v->retry_after_ns, text));
	return r == 0 ? EXIT_DONE : EXIT_NO;
}

int weir_cmd_rate_take(int argc, char **argv)
{
	struct limit limit = {0};
	struct weir_limiter *limiter;
	struct weir_verdict verdict = {0};
	struct weir_segment *seg;
	struct target target;
	struct cli cli;
	uint64_t cost;
	int status;

	cli_parse(argc, argv, 1, 2, &cli);
	cost = cli.number ? cli.number : 1;
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (!target.object[0])
		return cli_usage(&cli, "'%s' names no object", cli.argv[0]);
	if (cli.argc > 1 && text_parse_rate(cli.argv[1], &limit.count, &limit.period_ns) < 0)
		return cli_usage(
			&cli, "limit '%s': COUNT/PERIOD is wanted, such as 20/hour, 5/s, 3/250ms",
			cli.argv[1]);
	if (cli.key && cli.has_timeout)
		return cli_usage(&cli, "--timeout does not go with --key");
	status = fail_open(&target, &seg);
	if (status)
		return status;
	status = open_limiter(&cli, &target, &limit, seg, &limiter);
	if (status == 0) {
		int r = take(&cli, limiter, cost, &verdict);

		status = answer(&cli, &target, cost, r, &verdict);
		weir_limiter_close(limiter);
	}
	weir_segment_close(seg);
	return status;
}
