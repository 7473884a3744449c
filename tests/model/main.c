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
	"             [--preempt N] [--no-kills] [--expect-failure] [--replay CHOICES]\n"
	"             [--rcsc] [--states]\n"
	"Without --model and --litmus: everything.  --budget is per model, 0: no limit.\n"
	"--random and --pct N: N random walks per model and place of death instead of all "
	"orders.\n";

static const char *names[32];
static int name_count;
static bool do_litmus;
static bool quick;
static bool expect_failure;
static bool no_kills;
static int preempt = -2;
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

static void run_models(void)
{
	for (int i = 0; models_all[i]; i++) {
		struct model m = *models_all[i];
		bool ok;

		if (!wanted(&m))
			continue;
		limits.preempt = preempt > -2 ? preempt : m.preempt ? m.preempt : -1;
		if (no_kills)
			m.killable = 0;
		if (replay)
			ok = replay_one(&m);
		else if (m.weak && !limits.rcsc && !expect_failure)
			ok = weak_one(&m);
		else
			ok = explore_model(&m, NULL) != expect_failure;
		passed += ok;
		bad += !ok;
	}
}

static void set_mode(enum mode mode, const char *count)
{
	limits.mode = mode;
	if (count)
		limits.executions = strtoull(count, NULL, 0);
}

static int parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"list", 0, NULL, 'l'},	    {"litmus", 0, NULL, 'L'},
		{"quick", 0, NULL, 'q'},    {"model", 1, NULL, 'm'},
		{"budget", 1, NULL, 'b'},   {"executions", 1, NULL, 'e'},
		{"random", 1, NULL, 'r'},   {"pct", 1, NULL, 'p'},
		{"naive", 0, NULL, 'n'},    {"seed", 1, NULL, 's'},
		{"depth", 1, NULL, 'd'},    {"preempt", 1, NULL, 'P'},
		{"no-kills", 0, NULL, 'k'}, {"expect-failure", 0, NULL, 'x'},
		{"replay", 1, NULL, 'R'},   {"rcsc", 0, NULL, 'c'},
		{"states", 0, NULL, 'S'},   {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'l':
			for (int i = 0; models_all[i]; i++)
				printf("%-24s %s\n", models_all[i]->name, models_all[i]->what);
			exit(0);
		case 'L':
			do_litmus = true;
			break;
		case 'q':
			quick = true;
			break;
		case 'm':
			if (name_count < 32)
				names[name_count++] = optarg;
			break;
		case 'b':
			limits.seconds = atof(optarg) > 0 ? atof(optarg) : 1e9;
			break;
		case 'e':
			limits.executions = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			set_mode(MODE_RANDOM, optarg);
			break;
		case 'p':
			set_mode(MODE_PCT, optarg);
			break;
		case 'n':
			set_mode(MODE_NAIVE, NULL);
			break;
		case 's':
			limits.seed = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			limits.depth = atoi(optarg);
			break;
		case 'P':
			preempt = atoi(optarg);
			break;
		case 'k':
			no_kills = true;
			break;
		case 'x':
			expect_failure = true;
			break;
		case 'c':
			limits.rcsc = true;
			break;
		case 'S':
			limits.states = true;
			break;
		case 'R':
			replay = optarg;
			break;
		default:
			return -1;
		}
	}
	return optind == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	double began = seconds_now();
	double took;

	limits.seconds = 60;
	limits.seed = 1;
	limits.depth = 3;
	if (parse(argc, argv) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	if (do_litmus || (name_count == 0 && limits.mode == MODE_SEARCH))
		bad += litmus_run(&passed);
	if (!do_litmus || name_count)
		run_models();
	took = seconds_now() - began;
	printf("model: %llu executions, %llu places of death, %.1f s, %.0f executions/s\n",
	       (unsigned long long)tally.executions, (unsigned long long)tally.kills, took,
	       (double)tally.executions / (took > 0 ? took : 1));
	printf("%d passed, %d failed\n", passed, bad);
	return bad != 0;
}
