/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The search: depth first with replay, or random walks; and the plans of who dies where.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core.h"

struct frame frames[DEPTH_MAX];
int frame_count;
int prefix;
bool complete;
struct plan plan = {.victim = {-1, -1}};
struct tally tally;
struct limits limits = {.preempt = -1};

static struct choice given[DEPTH_MAX]; /* to replay */
static int given_count;
static uint64_t random_state;
static int rank[THREADS_MAX]; /* PCT: the highest that is enabled goes */
static int change_at[16];
static int length_seen = 64;

double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % below;
}

/* --- the state at a choice ------------------------------------------------------------------ */

static void look(struct frame *f)
{
	f->enabled = 0;
	f->world = false;
	for (;;) {
		for (int i = 0; i < thread_count; i++) {
			f->label_count[i] = (uint8_t)labels_of(i, f->world, f->labels[i]);
			if (f->label_count[i])
				f->enabled |= (uint8_t)(1u << i);
		}
		if (f->enabled || f->world)
			return;
		f->world = true;
	}
}

/* Nobody can run: the end, or a hang? */
static void ended(void)
{
	for (int i = 0; i < thread_count; i++) {
		struct thread *t = &threads[i];

		if (t->finished || t->dead || (t->op->kind == OP_AWAIT && !t->finished))
			continue;
		model_fail("nobody can run: thread %d %s", i,
			   t->op->kind == OP_SLEEP ? "sleeps and nobody will wake it" : "spins");
	}
	complete = true;
}

static bool listed(const struct entry *list, int count, int thread, uint16_t label)
{
	for (int i = 0; i < count; i++) {
		if (list[i].thread == thread && list[i].label == label)
			return true;
	}
	return false;
}

/* The next label of `thread` in f that has to be tried; -1: none. */
static int label_next(const struct frame *f, int thread)
{
	for (int i = 0; i < f->label_count[thread]; i++) {
		uint16_t label = f->labels[thread][i];

		if (!listed(f->sleep, f->sleep_count, thread, label) &&
		    !listed(f->done, f->done_count, thread, label))
			return label;
	}
	return -1;
}

/* Preemptions if `thread` goes next. */
static int preempts_with(int at, int thread)
{
	const struct frame *f = &frames[at];
	int last = at ? frames[at - 1].thread : thread;
	int before = at ? frames[at - 1].preempts : 0;

	return before + (thread != last && f->enabled & 1u << last);
}

static bool allowed(int at, int thread)
{
	return limits.preempt < 0 || preempts_with(at, thread) <= limits.preempt;
}

static void take(int at, int thread, int label)
{
	struct frame *f = &frames[at];

	f->preempts = preempts_with(at, thread);
	f->thread = (uint8_t)thread;
	f->label = (uint16_t)label;
	f->tried |= (uint8_t)(1u << thread);
}

/* --- depth first ---------------------------------------------------------------------------- */

static int pick_new(void)
{
	struct frame *f = &frames[depth];
	int last = depth ? frames[depth - 1].thread : 0;

	f->sleep_count = 0;
	f->done_count = 0;
	f->tried = 0;
	look(f);
	if (!f->enabled) {
		ended();
		return -1;
	}
	if (limits.mode == MODE_SEARCH)
		sleep_inherit(f, depth);
	for (int i = 0; i < thread_count; i++) {
		int t = (last + i) % thread_count; /* who runs goes on */
		int label = f->enabled & 1u << t ? label_next(f, t) : -1;

		if (label < 0 || !allowed(depth, t))
			continue;
		take(depth, t, label);
		f->backtrack =
			limits.mode == MODE_NAIVE || f->world ? f->enabled : (uint8_t)(1u << t);
		frame_count = depth + 1;
		return t;
	}
	tally.blocked++;
	return -1;
}

static bool frame_next(int at)
{
	struct frame *f = &frames[at];
	const struct event *e = &events[at];
	int label;

	if (f->done_count == ENTRIES_MAX) {
		tally.cut++;
		return false;
	}
	f->done[f->done_count++] = (struct entry){
		.cell = e->cell, .touch = e->touch, .label = f->label, .thread = f->thread};
	label = label_next(f, f->thread);
	if (label >= 0) {
		f->label = (uint16_t)label;
		return true;
	}
	for (int t = 0; t < thread_count; t++) {
		if (!(f->backtrack & ~f->tried & 1u << t))
			continue;
		f->tried |= (uint8_t)(1u << t);
		label = label_next(f, t);
		if (label < 0 || !allowed(at, t))
			continue;
		take(at, t, label);
		return true;
	}
	return false;
}

/* --- random --------------------------------------------------------------------------------- */

static void pct_begin(void)
{
	for (int i = 0; i < thread_count; i++)
		rank[i] = 100 + (int)draw(1000);
	for (int i = 0; i < limits.depth && i < 16; i++)
		change_at[i] = (int)draw((uint32_t)length_seen);
}

static int pick_ranked(const struct frame *f)
{
	int best = -1;

	for (int i = 0; i < thread_count; i++) {
		if (f->enabled & 1u << i && (best < 0 || rank[i] > rank[best]))
			best = i;
	}
	for (int i = 0; i < limits.depth && i < 16; i++) {
		if (change_at[i] == depth)
			rank[best] = i;
	}
	return best;
}

static int pick_random(uint16_t *ret_label)
{
	struct frame *f = &frames[0];
	int t;

	look(f);
	world_waits = f->world;
	if (!f->enabled) {
		length_seen = depth > length_seen ? depth : length_seen;
		ended();
		return -1;
	}
	if (limits.mode == MODE_PCT) {
		t = pick_ranked(f);
	} else {
		do { /* Ends: one is enabled. */
			t = (int)draw((uint32_t)thread_count);
		} while (!(f->enabled & 1u << t));
	}
	*ret_label = f->labels[t][draw(2) ? 0 : draw(f->label_count[t])];
	return t;
}

/* --- replay --------------------------------------------------------------------------------- */

static int pick_given(uint16_t *ret_label)
{
	struct frame *f = &frames[0];

	look(f);
	world_waits = f->world;
	if (!f->enabled) {
		ended();
		return -1;
	}
	if (depth >= given_count || !(f->enabled & 1u << given[depth].thread)) {
		if (depth < given_count)
			model_fail("replay: thread %d cannot run in step %d", given[depth].thread,
				   depth);
		return -1; /* The failure was behind the last choice, in the check. */
	}
	*ret_label = given[depth].label;
	for (int i = 0; i < f->label_count[given[depth].thread]; i++) {
		if (f->labels[given[depth].thread][i] == *ret_label)
			return given[depth].thread;
	}
	model_fail("replay: thread %d has no choice %d in step %d", given[depth].thread, *ret_label,
		   depth);
}

int pick(uint16_t *ret_label)
{
	int t;

	complete = false;
	switch (limits.mode) {
	case MODE_RANDOM:
	case MODE_PCT:
		return pick_random(ret_label);
	case MODE_REPLAY:
		return pick_given(ret_label);
	default:
		t = depth < prefix ? frames[depth].thread : pick_new();
		*ret_label = t < 0 ? 0 : frames[depth].label;
		world_waits = t >= 0 && frames[depth].world;
		return t;
	}
}

/* "1@5+3@2/0x2,1.2,..." : deaths, then thread and label of each choice, and how often. */
int replay_parse(const char *text)
{
	int used = 0;

	plan = (struct plan){.victim = {-1, -1}};
	for (int i = 0; i < 2; i++) {
		if (sscanf(text, "%d@%d%n", &plan.victim[i], &plan.at[i], &used) == 2) {
			text += used;
			text += *text == '+';
		} else {
			plan.victim[i] = -1;
		}
	}
	text += *text == '/';
	for (given_count = 0; *text && given_count < DEPTH_MAX; given_count++) {
		struct choice *c = &given[given_count];
		unsigned long thread = strtoul(text, (char **)&text, 10);

		c->thread = (uint8_t)(thread < THREADS_MAX ? thread : 0);
		c->label = 0;
		if (*text == '.')
			c->label = (uint16_t)strtoul(text + 1, (char **)&text, 10);
		if (*text == 'x') {
			unsigned long same = strtoul(text + 1, (char **)&text, 10);

			for (; same > 1 && given_count < DEPTH_MAX - 1; same--, c++)
				given[++given_count] = *c;
		}
		if (*text && *text++ != ',')
			return -1;
	}
	return 0;
}

void replay_print(void)
{
	printf("  replay: --model %s %s--replay ", model->name, limits.rcsc ? "--rcsc " : "");
	for (int i = 0; i < 2 && plan.victim[i] >= 0; i++)
		printf("%s%d@%d", i ? "+" : "", plan.victim[i], plan.at[i]);
	printf("/");
	for (int i = 0; i < choice_count; i++) {
		int same = 1;

		while (i + same < choice_count && choices[i + same].thread == choices[i].thread &&
		       choices[i + same].label == choices[i].label)
			same++;
		printf("%s%d", i ? "," : "", choices[i].thread);
		if (choices[i].label)
			printf(".%d", choices[i].label);
		if (same > 1)
			printf("x%d", same);
		i += same - 1;
	}
	printf("\n");
}

/* --- exploring ------------------------------------------------------------------------------ */

static void show_failure(void)
{
	enum mode mode = limits.mode;
	char first[sizeof(failure)];

	memcpy(first, failure, sizeof(first));
	memcpy(given, choices, sizeof(given));
	given_count = choice_count;
	trace_last = given_count;
	printf("  %s\n", failure);
	limits.mode = MODE_REPLAY;
	tracing = true;
	run_one();
	tracing = false;
	limits.mode = mode;
	printf("  failed: %s\n", first);
	replay_print();
	failed = true;
}

static bool random_walks(double until)
{
	for (uint64_t i = 0; !limits.executions || i < limits.executions; i++) {
		random_state = (limits.seed + i) * 0x9e3779b97f4a7c15u + 1;
		if (limits.mode == MODE_PCT)
			pct_begin();
		tally.executions++;
		if (!run_one())
			return false;
		if (i % 64 == 0 && seconds_now() > until)
			return true;
	}
	return true;
}

/* All executions under the plan, until `until`; *ret_all: really all. */
static bool search(double until, bool *ret_all)
{
	uint64_t cut = tally.cut;

	*ret_all = false;
	if (limits.mode == MODE_RANDOM || limits.mode == MODE_PCT)
		return random_walks(until);
	frame_count = 0;
	prefix = 0;
	for (uint64_t i = 1;; i++) {
		tally.executions++;
		if (!run_one())
			return false;
		while (frame_count && !frame_next(frame_count - 1))
			frame_count--;
		if (!frame_count) {
			*ret_all = tally.cut == cut;
			return true;
		}
		prefix = frame_count;
		if ((limits.executions && i >= limits.executions) ||
		    (i % 8 == 0 && seconds_now() > until))
			return true;
	}
}

/* Would walks at random find a final state that the search has missed? */
static bool cross_check(double until)
{
	uint64_t states = tally.states;
	uint64_t executions = limits.executions;
	bool ok;

	limits.mode = MODE_RANDOM;
	limits.executions = limits.cross;
	ok = random_walks(until);
	limits.mode = MODE_SEARCH;
	limits.executions = executions;
	if (ok && tally.states != states) {
		snprintf(failure, sizeof(failure), "the search found %llu of %llu final states",
			 (unsigned long long)states, (unsigned long long)tally.states);
		printf("  %s\n", failure);
		return false;
	}
	return ok;
}

static bool search_bounded_first(double until, bool *ret_all)
{
	bool ok = true;

	if (model->preempt && limits.preempt < 0 && limits.mode == MODE_SEARCH) {
		limits.preempt = model->preempt;
		ok = search((seconds_now() + until) / 2, ret_all);
		if (seconds_now() > until)
			*ret_all = false;
		limits.preempt = -1;
	}
	return ok && search(until, ret_all);
}

struct progress {
	double until;
	bool all;
};

/* A recoverer dies too, before each of its operations; the next one goes on. */
static bool search_second(struct progress *p, double until)
{
	int second = model->second ? model->second : model->peers;
	int places = visible_max[second];
	bool all;

	if (limits.one_death || !(model->killable & 1u << second) || plan.victim[0] >= second)
		return true;
	for (int at = 0; at < places; at++) {
		plan.victim[1] = second;
		plan.at[1] = at;
		tally.kills++;
		if (!search(seconds_now() + (until - seconds_now()) / (places - at), &all))
			return false;
		p->all &= all;
		tally.kills_all += all;
	}
	plan.victim[1] = -1;
	return true;
}

static bool search_kills(struct progress *p)
{
	int places[THREADS_MAX] = {0};
	bool two = !limits.one_death &&
		   model->killable & 1u << (model->second ? model->second : model->peers);
	int left = 0;
	bool all;

	for (int i = 0; i < model->peers; i++) {
		places[i] = model->killable & 1u << i ? visible_max[i] : 0;
		left += places[i];
	}
	for (int i = 0; i < model->peers; i++) {
		for (int at = 0; at < places[i]; at++, left--) {
			double now = seconds_now();
			double share = (p->until - now) / left;

			plan = (struct plan){.victim = {i, -1}, .at = {at, 0}};
			memset(visible_max, 0, sizeof(visible_max));
			tally.kills++;
			if (!search_bounded_first(now + share * (two ? 0.5 : 1), &all))
				return false;
			p->all &= all;
			tally.kills_all += all;
			if (all && limits.cross && !cross_check(now + share))
				return false;
			if (!search_second(p, now + share))
				return false;
		}
	}
	return true;
}

/* Nobody dies: first with few preemptions, then all, and if that takes too long at random. */
static bool search_alive(double until, bool *ret_all)
{
	double now = seconds_now();
	double share = (until - now) / 3;
	enum mode mode = limits.mode;
	bool ok = true;

	*ret_all = false;
	if (mode != MODE_SEARCH || limits.preempt >= 0)
		return search(until, ret_all);
	if (model->preempt) {
		limits.preempt = model->preempt;
		ok = search(now + share, ret_all);
		limits.preempt = -1;
	}
	ok = ok && search(until - share, ret_all);
	if (ok && *ret_all && limits.cross)
		ok = cross_check(until);
	if (!ok || *ret_all || model->killable)
		return ok;
	limits.mode = MODE_RANDOM;
	ok = random_walks(until - share / 2);
	limits.mode = MODE_PCT;
	ok = ok && random_walks(until);
	limits.mode = mode;
	return ok;
}

bool search_quietly(const struct model *m)
{
	bool all;

	plan = (struct plan){.victim = {-1, -1}};
	return model_begin(m) && search(seconds_now() + limits.seconds, &all);
}

/* All of a model.  `wanted`: only whether it fails, with this text. */
bool explore_model(const struct model *m, const char *wanted)
{
	struct progress p = {.until = seconds_now() + limits.seconds, .all = true};
	struct tally before;
	double began = seconds_now();
	uint64_t done;
	bool all;
	bool ok;

	plan = (struct plan){.victim = {-1, -1}};
	memset(visible_max, 0, sizeof(visible_max));
	outcomes_reset();
	if (!model_begin(m)) {
		printf("FAIL %s: %s\n", m->name, failure);
		exit(2); /* No answer, also to who expects a failure. */
	}
	tally.states = 0;
	before = tally;
	ok = search_alive(m->killable ? began + limits.seconds * 0.4 : p.until, &all);
	p.all &= all;
	if (ok && m->killable)
		ok = search_kills(&p);
	if (!ok && wanted)
		return strstr(failure, wanted) != NULL;
	if (!ok)
		show_failure();
	done = tally.executions - before.executions;
	if (wanted)
		return false;
	printf("%-4s %-17s %d threads %10llu executions %9llu cut short %5llu kills, %5llu in all "
	       "orders %6.2f s  %s%s\n",
	       ok ? "ok" : "FAIL", m->name, m->peers, (unsigned long long)done,
	       (unsigned long long)(tally.blocked - before.blocked),
	       (unsigned long long)(tally.kills - before.kills),
	       (unsigned long long)(tally.kills_all - before.kills_all), seconds_now() - began,
	       p.all ? "all" : "bounded", tally.cut > before.cut ? ", loads cut" : "");
	if (limits.states)
		printf("     %llu final states\n", (unsigned long long)tally.states);
	if (ok && *outcomes_text())
		printf("     %s\n", outcomes_text());
	return ok;
}
