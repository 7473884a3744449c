/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The model checker's command line. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

static const char usage[] =
	"usage: model [--list] [--litmus] [--quick] [--model NAME]... [--budget SECONDS]\n"
	"             [--executions N] [--random N | --pct N | --naive] [--seed N] [--depth N]\n"
	"             [--preempt N] [--no-kills] [--one-death] [--expect-failure] [--replay "
	"CHOICES]\n"
	"             [--rcsc] [--states] [--cross N]\n"
	"Without --model and --litmus: everything.  --budget is per model, 0: no limit.\n"
	"--random and --pct N: N random walks per model and place of death instead of all "
	"orders.\n";

static const char *names[32];
static int name_count;
static bool do_litmus;
static bool quick;
static bool expect_failure;
static bool no_kills;
static const char *replay;
static int passed;
static int bad;

static bool wanted(const struct model *m)
{
	for (int i = 0; i < name_count; i++) {
		size_t n = strlen(names[i]);

		if (strcmp(names[i], m->name) == 0 ||
		    (n && names[i][n - 1] == '*' && strncmp(names[i], m->name, n - 1) == 0))
			return true;
	}
	return name_count == 0 && (!quick || m->quick);
}

static bool replay_one(const struct model *m)
{
	bool ok;

	limits.mode = MODE_REPLAY;
	if (replay_parse(replay) < 0 || !model_begin(m)) {
		printf("cannot replay this\n");
		return false;
	}
	tracing = true;
	ok = run_one();
	printf("  %s\n", ok ? "nothing wrong" : failure);
	return ok;
}

/* What is known to be too weak for C11 must be found; the rest is looked at without it. */
static bool weak_one(const struct model *m)
{
	bool found = explore_model(m, m->weak);

	printf("%-4s %-22s with the weakest acquire loads: %s\n", found ? "ok" : "FAIL", m->name,
	       found ? m->weak : "no longer fails, drop .weak");
	passed += found;
	bad += !found;
	limits.rcsc = true;
	found = explore_model(m, NULL);
	limits.rcsc = false;
	return found;
}

static bool plain_one(const struct model *m)
{
	bool rcsc = limits.rcsc;
	bool ok;

	limits.rcsc |= m->rcsc;
	ok = explore_model(m, NULL);
	limits.rcsc = rcsc;
	return ok;
}

static void run_models(void)
{
	for (int i = 0; models_all[i]; i++) {
		struct model m = *models_all[i];
		bool ok;

		if (!wanted(&m))
			continue;
		if (no_kills)
			m.killable = 0;
		if (replay)
			ok = replay_one(&m);
		else if (m.weak && !limits.rcsc && !expect_failure)
			ok = weak_one(&m);
		else
			ok = plain_one(&m) != expect_failure;
		passed += ok;
		bad += !ok;
	}
}

enum {
	LIST = 'l',
	LITMUS = 'L',
	QUICK = 'q',
	MODEL = 'm',
	BUDGET = 'b',
	EXECUTIONS = 'e',
	RANDOM = 'r',
	PCT = 'p',
	NAIVE = 'n',
	SEED = 's',
	DEPTH = 'd',
	PREEMPT = 'P',
	NO_KILLS = 'k',
	EXPECT_FAILURE = 'x',
	REPLAY = 'R',
	RCSC = 'c',
	STATES = 'S',
	CROSS = 'X',
	HELP = 'h',
	ONE_DEATH = '1'
};

static const struct option longs[] = {{"list", 0, NULL, LIST},
				      {"litmus", 0, NULL, LITMUS},
				      {"quick", 0, NULL, QUICK},
				      {"model", 1, NULL, MODEL},
				      {"budget", 1, NULL, BUDGET},
				      {"executions", 1, NULL, EXECUTIONS},
				      {"random", 1, NULL, RANDOM},
				      {"pct", 1, NULL, PCT},
				      {"naive", 0, NULL, NAIVE},
				      {"seed", 1, NULL, SEED},
				      {"depth", 1, NULL, DEPTH},
				      {"preempt", 1, NULL, PREEMPT},
				      {"no-kills", 0, NULL, NO_KILLS},
				      {"expect-failure", 0, NULL, EXPECT_FAILURE},
				      {"replay", 1, NULL, REPLAY},
				      {"rcsc", 0, NULL, RCSC},
				      {"help", 0, NULL, HELP},
				      {"one-death", 0, NULL, ONE_DEATH},
				      {"states", 0, NULL, STATES},
				      {"cross", 1, NULL, CROSS},
				      {NULL, 0, NULL, 0}};

static void list(void)
{
	for (int i = 0; models_all[i]; i++)
		printf("%-20s %-7s %d %s\n", models_all[i]->name,
		       models_all[i]->killable ? "deaths" : "none", models_all[i]->peers,
		       models_all[i]->what);
	exit(0);
}

/* An option that has no value. */
static void flag(int c)
{
	if (c == LIST)
		list();
	if (c == HELP) {
		fputs(usage, stdout);
		exit(0);
	}
	do_litmus |= c == LITMUS;
	quick |= c == QUICK;
	no_kills |= c == NO_KILLS;
	expect_failure |= c == EXPECT_FAILURE;
	limits.rcsc |= c == RCSC;
	limits.states |= c == STATES;
	limits.one_death |= c == ONE_DEATH;
	if (c == NAIVE)
		limits.mode = MODE_NAIVE;
}

static bool value(int c, const char *text)
{
	uint64_t number = strtoull(text, NULL, 0);

	switch (c) {
	case MODEL:
		if (name_count < 32)
			names[name_count++] = text;
		return true;
	case BUDGET:
		limits.seconds = atof(text) > 0 ? atof(text) : 1e9;
		return true;
	case RANDOM:
	case PCT:
		limits.mode = c == PCT ? MODE_PCT : MODE_RANDOM;
		limits.executions = number;
		return true;
	case EXECUTIONS:
		limits.executions = number;
		return true;
	case CROSS:
		limits.cross = number;
		limits.states = true;
		return true;
	case SEED:
		limits.seed = number;
		return true;
	case DEPTH:
		limits.depth = (int)number;
		return true;
	case PREEMPT:
		limits.preempt = (int)number;
		return true;
	case REPLAY:
		replay = text;
		return true;
	default:
		return false;
	}
}

static bool parse(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?')
			return false;
		if (!optarg)
			flag(c);
		else if (!value(c, optarg))
			return false;
	}
	return optind == argc;
}

int main(int argc, char **argv)
{
	double began = seconds_now();
	double took;

	limits.seconds = 60;
	limits.seed = 1;
	limits.depth = 3;
	if (!parse(argc, argv)) {
		fputs(usage, stderr);
		return 2;
	}
	if (do_litmus || (name_count == 0 && limits.mode == MODE_SEARCH))
		bad += litmus_run(&passed);
	if (!do_litmus || name_count)
		run_models();
	if (name_count && passed + bad == 0) {
		printf("no such model\n");
		bad++;
	}
	took = seconds_now() - began;
	printf("model: %llu executions, %llu places of death, %.1f s, %.0f executions/s\n",
	       (unsigned long long)tally.executions, (unsigned long long)tally.kills, took,
	       (double)tally.executions / (took > 0 ? took : 1));
	printf("%d passed, %d failed\n", passed, bad);
	return bad != 0;
}
