/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir sem run, sem resize: permits for shell scripts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

/* Open the semaphore; an existing one wins, --permits makes it if there is none and must agree. */
static int open_sem(const struct cli *cli, const struct target *target, struct weir_segment *seg,
		    struct weir_sem **ret_sem)
{
	uint32_t permits = (uint32_t)cli->permits;
	struct weir_sem_stat stat;
	struct fault fault = {.hint = "leave --permits out, or change it:  weir sem resize"};
	char why[96];
	int r = weir_sem_open(seg, target->object, NULL, ret_sem);

	if (r == -ENOENT && permits)
		r = weir_sem_open(seg, target->object, &WEIR_OPTS(sem, .permits = permits),
				  ret_sem);
	if (r == -ENOENT)
		return fail_object(target, "sem", r, "say how many there are:  --permits N");
	if (r < 0)
		return fail_object(target, "sem", r, NULL);
	if (!permits || weir_sem_stat(*ret_sem, &stat) < 0 || stat.permits == permits)
		return 0;
	weir_sem_close(*ret_sem);
	snprintf(why, sizeof(why), "it has %u permits, --permits says %u", stat.permits, permits);
	fault.why = why;
	return fail(EEXIST, &fault, "cannot use sem '%s'", target_text(target));
}

/* The permits are ours: 0; else the exit status. */
static int acquire(const struct cli *cli, const struct target *target, struct weir_sem *sem,
		   uint32_t weight)
{
	struct weir_sem_stat stat = {0};
	struct fault fault = {0};
	struct weir_ctx ctx;
	char text[128];
	char time[TEXT_BYTES];
	int signal;
	int r;

	weir_ctx_init(&ctx, NULL, cli->has_timeout ? cli->timeout_ns : UINT64_MAX);
	run_cancel_on_signal(&ctx);
	r = weir_sem_acquire(sem, weight, &ctx);
	signal = run_signal_seen();
	if (r == 0 && !signal)
		return 0;
	if (r == 0)
		weir_sem_release(sem, weight);
	if (signal)
		return 128 + signal;
	weir_sem_stat(sem, &stat);
	fault.why = text;
	if (r == -ETIMEDOUT) {
		fault.hint = "see who has them:  weir sem status NAME";
		snprintf(text, sizeof(text), "%u of %u permits are taken, %u more wait; waited %s",
			 stat.used, stat.permits, stat.waiters,
			 text_duration(cli->timeout_ns, time));
		fail(r, &fault, "no %u permits of '%s'", weight, target_text(target));
		return EXIT_RUN_TIMEOUT;
	}
	snprintf(text, sizeof(text), "%u wanted, and there are %u", weight, stat.permits);
	return fail(r, r == -EINVAL ? &fault : NULL, "no %u permits of '%s'", weight,
		    target_text(target));
}

int weir_cmd_sem_run(int argc, char **argv)
{
	struct weir_segment *seg;
	struct weir_sem *sem;
	struct target target;
	struct cli cli;
	uint32_t weight;
	int status;

	fail_in_run();
	cli_parse(argc, argv, 2, -1, &cli);
	weight = cli.number ? (uint32_t)cli.number : 1;
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (!target.object[0])
		return cli_usage(&cli, "'%s' names no object", cli.argv[0]);
	if (weight > WEIR_SEM_WEIGHT_MAX || (cli.permits && weight > cli.permits))
		return cli_usage(&cli, "-n %u is more than there %s", weight,
				 cli.permits ? "are" : "may be");
	status = fail_open(&target, &seg);
	if (status)
		return status;
	status = open_sem(&cli, &target, seg, &sem);
	if (status == 0) {
		status = acquire(&cli, &target, sem, weight);
		if (status == 0) {
			status = run_command(cli.argv + 1);
			weir_sem_release(sem, weight);
		}
		weir_sem_close(sem);
	}
	weir_segment_close(seg);
	return status;
}

int weir_cmd_sem_resize(int argc, char **argv)
{
	struct weir_sem_stat stat;
	struct weir_segment *seg;
	struct weir_sem *sem;
	struct target target;
	uint64_t permits;
	struct cli cli;
	int status;
	int r;

	cli_parse(argc, argv, 2, 2, &cli);
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (text_parse_number(cli.argv[1], WEIR_SEM_PERMITS_MAX, &permits) < 0)
		return cli_usage(&cli, "'%s': a number from 1 to %u is wanted", cli.argv[1],
				 WEIR_SEM_PERMITS_MAX);
	status = fail_open(&target, &seg);
	if (status)
		return status;
	r = weir_sem_open(seg, target.object, NULL, &sem);
	if (r < 0) {
		weir_segment_close(seg);
		return fail_object(&target, "sem", r, NULL);
	}
	weir_sem_stat(sem, &stat);
	if (!cli.dry_run)
		r = weir_sem_resize(sem, (uint32_t)permits);
	if (!cli.quiet && r == 0)
		printf("%s: %s %u -> %llu permits\n", target_text(&target),
		       cli.dry_run ? "would change" : "changed", stat.permits,
		       (unsigned long long)permits);
	weir_sem_close(sem);
	weir_segment_close(seg);
	return r < 0 ? fail(r, NULL, "cannot resize '%s'", target_text(&target)) : EXIT_DONE;
}
