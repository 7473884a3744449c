/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Histories are made and judged; the last line counts them. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lin.h"

#define SHOWN 3

struct plan plan = {.seed = 1};
struct tally tally;
void (*lin_point)(void);
void (*lin_enter)(void);

/*
 * Time is what the history says it is: it moves on a little at each look, and what was seen is
 * written down.  (The library's calls come here; linked statically, also in a child that is
 * stepped, where the vdso's would never end.)
 */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	uint64_t now;

	(void)clock;
	if (!board) {
		ret->tv_sec = (time_t)(CLOCK_START / 1000000000);
		ret->tv_nsec = 0;
		return 0;
	}
	/* full: as any time that is read, it is not before one that was read before. */
	now = me && me->op ? weir_add_full(&board->clock, 1 + pick(&me->rng, profile->clock_step))
			   : weir_load_full(&board->clock);
	if (me && me->op)
		me->op->now = now;
	ret->tv_sec = (time_t)(now / 1000000000);
	ret->tv_nsec = (long)(now % 1000000000);
	return 0;
}

double seconds(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double began;

bool more_time(void)
{
	return plan.seconds <= 0 || seconds() - began < plan.seconds;
}

static void count_overlap(const struct history *h)
{
	for (uint32_t i = 0; i < h->count; i++) {
		for (uint32_t j = i + 1; j < h->count; j++) {
			if (h->op[i].who == h->op[j].who || h->op[j].inv > h->end_stamp ||
			    h->op[i].kind == DEATH || h->op[j].kind == DEATH)
				continue;
			tally.pairs++;
			tally.overlapping += ops_overlap(&h->op[i], &h->op[j]);
		}
	}
}

bool judge(struct history *h)
{
	uint8_t part = 0;
	enum answer answer = check(h, &part);

	tally.histories++;
	tally.ops += h->count;
	tally.deaths += (h->dead[0] >= 0 ? 1u : 0u) + (h->dead[1] >= 0 ? 1u : 0u);
	if (tally.histories % 64 == 1)
		count_overlap(h);
	if (plan.print)
		history_print(h, stdout);
	if (answer == LINEARIZABLE && !h->wrong)
		return true;
	if (answer == UNDECIDED) {
		tally.undecided++;
		return true;
	}
	if (tally.failed++ < SHOWN && broken == RIGHT) {
		printf("FAIL %s: %s in part %u\n", h->profile->name,
		       h->wrong ? h->wrong : "not linearizable", part);
		history_print(h, stdout);
		printf("  %s: %s --%s --profile %s --seed %llu --crash %u --histories %u --print",
		       strcmp(plan.mode, "walk") ? "once more (the seed gives the calls only)"
						 : "the same again",
		       plan.program, plan.mode, h->profile->name, (unsigned long long)h->seed,
		       plan.crash_pct, strcmp(plan.mode, "walk") ? 100000 : 1);
		for (int i = 0; i < CONCESSIONS; i++) {
			if (!conceded((enum concession)i))
				printf(" --strict %s", concession_names[i]);
		}
		printf("\n");
	}
	return !plan.first && tally.failed < 20;
}

static void report(void)
{
	double took = seconds() - began;

	printf("%-11s %-5s crash %3u%%: %9llu histories, %6.0f a second, %4.1f operations each, "
	       "%3.0f%% of pairs overlap, %llu deaths, %llu undecided, "
	       "%llu failed\n",
	       plan.profile->name, plan.mode, plan.crash_pct, (unsigned long long)tally.histories,
	       (double)tally.histories / took,
	       (double)tally.ops / (double)(tally.histories ? tally.histories : 1),
	       100.0 * (double)tally.overlapping / (double)(tally.pairs ? tally.pairs : 1),
	       (unsigned long long)tally.deaths, (unsigned long long)tally.undecided,
	       (unsigned long long)tally.failed);
}

static void usage(void)
{
	fprintf(stderr, "usage: lin [--walk|--procs|--step] [--profile NAME] [--seed N] "
			"[--histories N] [--seconds S] [--crash PERCENT] [--broken NAME] "
			"[--strict NAME] [--first] [--print]\nprofiles:");
	for (const struct profile *p = profiles; p->name; p++)
		fprintf(stderr, " %s", p->name);
	fprintf(stderr, "\nbroken:");
	for (int i = 0; i < BROKENS; i++)
		fprintf(stderr, " %s", broken_names[i]);
	fprintf(stderr, "\nstrict:");
	for (int i = 0; i < CONCESSIONS; i++)
		fprintf(stderr, " %s", concession_names[i]);
	fprintf(stderr, "\n");
	exit(2);
}

static const struct option options[] = {
	{"walk", no_argument, NULL, 'w'},
	{"procs", no_argument, NULL, 'p'},
	{"step", no_argument, NULL, 't'},
	{"profile", required_argument, NULL, 'P'},
	{"seed", required_argument, NULL, 's'},
	{"histories", required_argument, NULL, 'n'},
	{"seconds", required_argument, NULL, 'S'},
	{"crash", required_argument, NULL, 'c'},
	{"first", no_argument, NULL, 'f'},
	{"broken", required_argument, NULL, 'b'},
	{"strict", required_argument, NULL, 'x'},
	{"print", no_argument, NULL, 'v'},
	{NULL, 0, NULL, 0},
};

static void option(int c)
{
	switch (c) {
	case 'w':
	case 'p':
	case 't':
		plan.mode = c == 'w' ? "walk" : c == 'p' ? "procs" : "step";
		break;
	case 's':
		plan.seed = strtoull(optarg, NULL, 0);
		break;
	case 'n':
		plan.histories = strtoull(optarg, NULL, 0);
		break;
	case 'S':
		plan.seconds = strtod(optarg, NULL);
		break;
	case 'c':
		plan.crash_pct = (uint32_t)strtoul(optarg, NULL, 0);
		break;
	case 'v':
		plan.print = true;
		break;
	case 'b':
		for (int i = 0; i < BROKENS; i++) {
			if (strcmp(broken_names[i], optarg) == 0)
				broken = (enum broken)i;
		}
		break;
	case 'f':
		plan.first = true;
		break;
	case 'x':
		for (int i = 0; i < CONCESSIONS; i++) {
			if (strcmp(concession_names[i], optarg) == 0)
				strict |= 1u << i;
		}
		break;
	case 'P':
		for (const struct profile *p = profiles; p->name; p++) {
			if (strcmp(p->name, optarg) == 0)
				plan.profile = p;
		}
		break;
	default:
		usage();
	}
}

int main(int argc, char **argv)
{
	int c;

	plan.program = argv[0];
	plan.mode = LIN_MODE;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		option(c);
	if (!plan.profile || optind != argc)
		usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	began = seconds();
#ifdef LIN_WALK
	if (strcmp(plan.mode, "walk") == 0)
		walk_run();
#endif
#ifdef LIN_STEP
	if (strcmp(plan.mode, "step") == 0)
		step_run();
#endif
	if (strcmp(plan.mode, "procs") == 0)
		procs_run();
	report();
	return tally.failed ? 1 : tally.histories ? 0 : 2;
}
