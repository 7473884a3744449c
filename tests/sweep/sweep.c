/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The sweep's ways of looking, the table, the command line.
 *
 * snapshot  one victim is stepped once; after each instruction the bytes are copied to where it is
 *           dead, recovered and checked.
 * real      for each N a new victim is stepped N instructions and gets a SIGKILL.
 * nested    in each state that differs from the one before, a recoverer is stepped through the
 *           recovery, and is dead after each of its steps in turn; the peers do it once more.
 * pairs     see pairs.c.
 * signals   see signals.c.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"
#include "sweep.h"

#define REAL_POINTS 1200 /* of one state, unless asked for more */

struct plan plan = {.seed = 1, .sample = 1, .nested = 1, .at = -1};
static struct tally total;
static uint64_t cut; /* states that the budget left unfinished, or not begun */
static char watched[256];
static struct world watched_world;

/* --- counting and telling ---------------------------------------------------------------- */

bool matches(const char *op, const char *state)
{
	return (!plan.op || strcmp(plan.op, op) == 0) &&
	       (!plan.state || strcmp(plan.state, state) == 0);
}

bool out_of_time(void)
{
	return plan.end_ns && weir_now_ns() > plan.end_ns;
}

static int place_print(char *text, size_t room, const struct place *at)
{
	return snprintf(text, room,
			"%s %s/%s N=%lu seed=%lu\n  replay: %s --%s --op %s --state %s --at %lu "
			"--seed %lu\n",
			at->mode, at->op, at->state, (unsigned long)at->n, (unsigned long)plan.seed,
			program_invocation_name, at->mode, at->op, at->state, (unsigned long)at->n,
			(unsigned long)plan.seed);
}

static void on_alarm(int sig)
{
	static const char head[] = "sweep: FAIL wedged (nothing happens for 30 s): ";

	(void)sig;
	if (write(1, head, sizeof(head) - 1) < 0 || write(1, watched, strlen(watched)) < 0)
		_exit(1);
	unlink(watched_world.v.path);
	for (int i = 0; i < RECOVERERS; i++)
		unlink(watched_world.r[i].path);
	unlink(watched_world.c.path);
	rmdir(watched_world.dir);
	_exit(1);
}

void watch(const struct world *w, const struct place *at)
{
	place_print(watched, sizeof(watched), at);
	watched_world = *w;
	alarm(WATCH_SECONDS);
}

void begin(struct tally *t)
{
	memset(t, 0, sizeof(*t));
	t->start_ns = weir_now_ns();
}

void point(struct world *w, struct tally *t, const struct place *at)
{
	static const char *const names[FAULTS] = {"", "lost", "doubled", "wedged"};
	char text[256];

	t->points++;
	t->count[w->fault]++;
	if (w->fault != FINE && t->count[w->fault] <= 3) {
		place_print(text, sizeof(text), at);
		printf("sweep: FAIL %s: %s: %s", names[w->fault], w->why, text);
		fflush(stdout);
	}
	w->fault = FINE;
}

void line(const struct place *at, const struct tally *t)
{
	printf("%-8s %-22s %-27s %7lu %6lu %4lu %4lu %4lu %6lu %6.1f\n", at->mode, at->op,
	       at->state, (unsigned long)t->points, (unsigned long)t->kills,
	       (unsigned long)t->count[LOST], (unsigned long)t->count[DOUBLED],
	       (unsigned long)t->count[WEDGED], (unsigned long)(t->worst_ns / 1000),
	       (double)(weir_now_ns() - t->start_ns) / 1e9);
	fflush(stdout);
	total.points += t->points;
	total.kills += t->kills;
	for (int i = 0; i < FAULTS; i++)
		total.count[i] += t->count[i];
	if (t->worst_ns > total.worst_ns)
		total.worst_ns = t->worst_ns;
}

/* --- victims ------------------------------------------------------------------------------ */

static void victim(struct world *w, const void *arg)
{
	const struct row *row = arg;

	if (!(row->flags & ROW_ALONE))
		must(hand_open(&w->me, w->v.path, true) == 0);
	if (row->arm)
		row->arm(w);
	marked(row->op, w);
}

static void meanwhile(struct world *w, const struct row *row, enum moment moment)
{
	world_copy(w, &w->v, &w->c);
	w->known.acted = row->during(w, moment);
	if (w->known.acted)
		world_copy(w, &w->c, &w->v);
}

bool loses_swap(struct world *w, enum moment moment, uint32_t which)
{
	if (moment != SWAPS || w->known.swaps++ != which)
		return false;
	w->known.loses = true;
	return true;
}

/* At the end of a victim that nobody killed: what is called lost was lost. */
static void check_lost(const struct world *w, const struct row *row)
{
	const char *state = row->states[w->state];

	if ((strstr(row->name, "_lost") || strstr(state, "lost_")) && !w->known.loses)
		broken("%s, state %s: there was no such compare and swap", row->name, state);
}

static bool sleeps_next(pid_t pid)
{
	long nr;

	return traced_at_syscall(pid, &nr) && traced_call_sleeps(pid, nr);
}

/* One step of the victim, and what others do at that moment.  `last`: it will be killed after it,
 * so if it sleeps and the wake is under way leave it at that.  False: it had finished. */
static bool step(struct world *w, const struct row *row, pid_t pid, bool last)
{
	enum moment moment = STEP;

	if (!row->during || w->state < row->flags >> 8 || w->known.acted)
		return traced_step(pid);
	if (sleeps_next(pid))
		moment = SLEEPS;
	else if (traced_at_swap(pid))
		moment = SWAPS;
	meanwhile(w, row, moment);
	if (w->known.loses) {
		must(traced_step(pid) && !traced_swapped(pid));
		return true;
	}
	if (w->known.acted || moment != SLEEPS || !w->one_file)
		return traced_step(pid);
	if (!traced_step_blocks(pid))
		return true;
	meanwhile(w, row, ASLEEP);
	if (!last)
		traced_join(pid);
	return true;
}

void recover(struct world *w, struct tally *t, uint64_t n)
{
	struct hand fresh = {0};
	uint64_t start = weir_now_ns();
	int r;

	if ((n + plan.seed) % 4 == 0)
		r = hand_open(&fresh, w->c.path, false);
	else
		r = weir_segment_recover(w->peer[n % PEERS].seg, NULL);
	start = weir_now_ns() - start;
	if (r != 0)
		fail(w, WEDGED, "recovery says %d", r);
	if (start > t->worst_ns)
		t->worst_ns = start;
	if (start > 100 * MS)
		fail(w, WEDGED, "recovery took %lu ms", (unsigned long)(start / MS));
	hand_close(&fresh);
}

static void make(struct world *w, const struct row *row, uint32_t state, bool one_file)
{
	world_make(w, plan.seed, state, one_file);
	if (row->prepare)
		row->prepare(w);
	world_freeze(w);
	world_reset(w);
}

/* Is V not what `old` says?  Then it is from now on. */
static bool changed(const struct world *w, uint8_t *old)
{
	if (memcmp(w->v.map, old, w->bytes) == 0)
		return false;
	memcpy(old, w->v.map, w->bytes);
	return true;
}

static bool sampled(uint64_t n, uint64_t every)
{
	return plan.at >= 0 ? n == (uint64_t)plan.at : n % every == plan.seed % every;
}

/* --- snapshot ---------------------------------------------------------------------------- */

/* It goes round in circles. */
static bool ends(struct world *w, struct tally *t, const struct place *at)
{
	if (at->n < STEPS_MAX)
		return false;
	fail(w, WEDGED, "not finished after %u steps", STEPS_MAX);
	point(w, t, at);
	return true;
}

static void snapshot(const struct row *row, uint32_t state, struct place *at)
{
	uint8_t *old;
	struct world w;
	struct tally t;
	pid_t pid;
	bool news;

	begin(&t);
	make(&w, row, state, false);
	old = calloc(1, w.bytes);
	must(old);
	pid = traced_start(victim, &w, row);
	for (at->n = 0;; at->n++) {
		watch(&w, at);
		news = plan.at < 0 && plan.sample > 1 && changed(&w, old);
		if (news || sampled(at->n, plan.sample) || w.note->returned) {
			world_copy(&w, &w.v, &w.c);
			if (row->before)
				row->before(&w);
			recover(&w, &t, at->n);
			row->check(&w);
			point(&w, &t, at);
		}
		if (ends(&w, &t, at))
			break;
		if (out_of_time()) {
			cut++;
			break;
		}
		if (!step(&w, row, pid, false)) {
			check_lost(&w, row);
			break;
		}
	}
	traced_kill(pid);
	free(old);
	world_free(&w);
	line(at, &t);
}

/* --- real --------------------------------------------------------------------------------- */

#define SPIN_STEPS 600u
#define LONG_WAY   2000u /* worth skipping */

/* What one victim that is not killed shows. */
struct scout {
	uint64_t steps;
	uint8_t *worth; /* 1: right before or after a change or a system call */
	uint64_t *call; /* the steps that are system calls */
	size_t calls;
	uint64_t acts;	/* the step before which the peers act; UINT64_MAX: none */
	uint32_t swaps; /* known.swaps before that */
	bool acts_in_call;
};

static void scout_drop(struct scout *s)
{
	free(s->worth);
	free(s->call);
}

static void scout(struct world *w, const struct row *row, struct scout *s)
{
	uint8_t *old = malloc(w->bytes);
	uint64_t room = STEPS_MAX + 2; /* for a mark after the last */
	uint32_t swaps;
	bool call;
	bool acted;
	long nr;
	pid_t pid;

	memset(s, 0, sizeof(*s));
	s->worth = calloc(1, room);
	s->call = calloc(room, sizeof(*s->call));
	must(old && s->worth && s->call);
	s->acts = UINT64_MAX;
	world_reset(w);
	pid = traced_start(victim, w, row);
	memcpy(old, w->v.map, w->bytes);
	for (; s->steps + 2 < room; s->steps++) {
		acted = w->known.acted;
		swaps = w->known.swaps;
		call = traced_at_syscall(pid, &nr);
		if (!step(w, row, pid, false))
			break;
		if (call)
			s->call[s->calls++] = s->steps;
		if (acted != w->known.acted) {
			s->acts = s->steps;
			s->swaps = swaps;
			s->acts_in_call = call;
		}
		if (changed(w, old) || call)
			s->worth[s->steps] = s->worth[s->steps + 1] = 1;
	}
	check_lost(w, row);
	traced_kill(pid);
	free(old);
	s->worth[s->steps] = 1;
}

/* One step after `done` others; the peers are asked only from when they act. */
static bool known_step(struct world *w, const struct row *row, const struct scout *s, pid_t pid,
		       uint64_t done, uint64_t n)
{
	return done < s->acts && !(row->flags & ROW_ASKED) ? traced_step(pid)
							   : step(w, row, pid, done + 1 == n);
}

/* Step until the peers have acted, if that is not in a system call. */
static uint64_t skip_to_acts(struct world *w, const struct row *row, const struct scout *s,
			     pid_t pid, uint64_t n)
{
	uint64_t done = 0;

	if (s->acts_in_call || s->acts == UINT64_MAX)
		return 0;
	while (done <= s->acts && done < n && known_step(w, row, s, pid, done, n))
		done++;
	return done;
}

/* Go on quickly to the last system call before step n; returns how many steps are done. */
static uint64_t skip(struct world *w, const struct row *row, const struct scout *s, pid_t pid,
		     uint64_t n)
{
	uint64_t done = n < LONG_WAY ? 0 : skip_to_acts(w, row, s, pid, n);

	for (size_t i = 0; n >= LONG_WAY && i < s->calls && s->call[i] + 1 < n; i++) {
		bool sleeps;
		long nr;

		if (s->call[i] < done)
			continue;
		nr = traced_to_call(pid);
		if (nr < 0)
			break;
		sleeps = traced_call_sleeps(pid, nr) && row->during;
		if (sleeps && !w->known.acted)
			meanwhile(w, row, SLEEPS);
		if (traced_call_blocks(pid, sleeps && !w->known.acted)) {
			meanwhile(w, row, ASLEEP);
			traced_join(pid);
		}
		done = s->call[i] + 1;
	}
	return done;
}

static void real_kill(struct world *w, const struct row *row, const struct scout *s,
		      struct place *at, struct tally *t)
{
	uint64_t i;
	pid_t pid;

	world_reset(w);
	w->known.swaps = row->flags & ROW_ASKED ? 0 : s->swaps;
	watch(w, at);
	pid = traced_start(victim, w, row);
	i = skip(w, row, s, pid, at->n);
	while (i < at->n && known_step(w, row, s, pid, i, at->n))
		i++;
	traced_kill(pid);
	t->kills++;
	if (row->before)
		row->before(w);
	recover(w, t, at->n);
	row->check(w);
	point(w, t, at);
}

static void real(const struct row *row, uint32_t state, struct place *at)
{
	uint64_t every = plan.sample;
	uint64_t last = 0; /* worth a kill */
	uint64_t worthy = plan.seed;
	struct world w;
	struct tally t;
	struct scout s;

	begin(&t);
	make(&w, row, state, true);
	watch(&w, at);
	scout(&w, row, &s);
	at->n = s.steps;
	ends(&w, &t, at);
	if (s.steps / every > REAL_POINTS)
		every = s.steps / REAL_POINTS + 1;
	for (at->n = 0; at->n <= s.steps && !out_of_time(); at->n++) {
		last = s.worth[at->n] ? at->n : last;
		worthy += s.worth[at->n];
		/* Far from anything that happens it only spins, and stepping there takes long. */
		if (sampled(at->n, at->n - last > SPIN_STEPS ? 499 * every : every) ||
		    (plan.at < 0 && s.worth[at->n] && worthy % (every / 16 + 1) == 0))
			real_kill(&w, row, &s, at, &t);
	}
	scout_drop(&s);
	world_free(&w);
	line(at, &t);
}

/* --- nested ------------------------------------------------------------------------------- */

static int op_recover(struct world *w)
{
	return weir_segment_recover(w->me.seg, NULL);
}

static void recoverer(struct world *w, const void *arg)
{
	const struct file *r = arg;

	w->note = calloc(1, sizeof(*w->note)); /* Not the victim's. */
	must(w->note && hand_open(&w->me, r->path, false) == 0);
	for (;;)
		marked(op_recover, w);
}

/* The recoverers stand at their first markers.  R is what the one who died last left: the first of
 * them goes on in it, and wherever it changed something it dies too.  Then somebody recovers at
 * once, or sometimes the next of them does, likewise. */
static void nested_point(struct world *w, const struct row *row, const pid_t *pid, int which,
			 struct tally *t, struct place *at)
{
	uint8_t *old = calloc(1, w->bytes);
	struct file *r = &w->r[which];
	struct file v = w->v;
	uint64_t news = at->n;
	bool more = true;

	must(old);
	w->v = *r; /* What `changed` looks at. */
	for (uint64_t m = 0; more; m++) {
		if (changed(w, old) && !out_of_time()) {
			world_copy(w, r, &w->c);
			recover(w, t, m);
			row->check(w);
			point(w, t, at);
			if (which + 1 < RECOVERERS && news++ % (plan.nested * 2) == 0) {
				world_copy(w, r, r + 1);
				nested_point(w, row, pid, which + 1, t, at);
			}
		}
		more = traced_step(pid[which]);
	}
	w->v = v;
	free(old);
	traced_run(pid[which]);
}

/* Each is alive for the victim and for those who recover before it, dead for those after it. */
static void recoverers_start(struct world *w, pid_t *pid)
{
	for (uint32_t i = 0; i < RECOVERERS; i++) {
		for (uint32_t j = 0; j < i; j++) /* Or it would be swept right now. */
			must(weir__lock_take(w->r[i].fd, PEERS + j) == 0);
		world_copy(w, NULL, &w->r[i]);
		pid[i] = traced_start(recoverer, w, &w->r[i]);
		memcpy(w->image, w->r[i].map, w->bytes);
		for (uint32_t j = 0; j < i; j++) {
			weir__lock_drop(w->r[i].fd, PEERS + j);
			must(weir__lock_take(w->r[j].fd, PEERS + i) == 0);
		}
		must(weir__lock_take(w->v.fd, PEERS + i) == 0);
	}
	world_reset(w);
}

static void nested(const struct row *row, uint32_t state, struct place *at)
{
	pid_t pid;
	pid_t others[RECOVERERS];
	uint8_t *old;
	struct world w;
	struct tally t;
	uint64_t news = 0;

	begin(&t);
	make(&w, row, state, false);
	recoverers_start(&w, others);
	old = calloc(1, w.bytes);
	must(old);
	pid = traced_start(victim, &w, row);
	for (at->n = 0;; at->n++) {
		watch(&w, at);
		if (changed(&w, old) && (plan.at < 0 || plan.at == (int64_t)at->n) &&
		    news++ % plan.nested == 0 && !out_of_time()) {
			world_copy(&w, &w.v, &w.c);
			if (row->before)
				row->before(&w);
			world_copy(&w, &w.c, &w.r[0]);
			nested_point(&w, row, others, 0, &t, at);
		}
		if (!step(&w, row, pid, false))
			break;
	}
	traced_kill(pid);
	for (int i = 0; i < RECOVERERS; i++)
		traced_kill(others[i]);
	free(old);
	world_free(&w);
	line(at, &t);
}

/* --- all rows ----------------------------------------------------------------------------- */

struct mode {
	const char *name;
	void (*run)(const struct row *row, uint32_t state, struct place *at);
};

static const struct mode modes[] = {
	{"snapshot", snapshot},
	{"real", real},
	{"nested", nested},
};

static void run_row(const struct mode *mode, const struct row *row)
{
	uint32_t count = 0;

	while (row->states[count])
		count++;
	for (uint32_t i = 0; i < count; i++) {
		struct place at = {.mode = mode->name, .op = row->name, .state = row->states[i]};
		bool last = i + 1 == count;
		bool needs_real = row->flags & ROW_REAL || (row->flags & ROW_LAST_REAL && last);

		if (plan.thin && i != plan.seed % count)
			continue;
		if (!matches(row->name, row->states[i]) || (mode->run != real && needs_real))
			continue;
		if (out_of_time())
			cut++;
		else
			mode->run(row, i, &at);
	}
}

static void run_mode(const struct mode *mode)
{
	static const struct row *const tables[] = {limit_rows, queue_rows, life_rows};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct row *row = tables[i]; row->name; row++)
			run_row(mode, row);
	}
}

/* Tracer and traced on one processor: they never run at the same time, and a step is three times
 * quicker. */
static void stay_here(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : (size_t)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static const struct option options[] = {
	{"snapshot", 0, NULL, '0'}, {"real", 0, NULL, '1'},
	{"nested", 2, NULL, '2'},   {"pairs", 0, NULL, '3'},
	{"signals", 0, NULL, '4'},  {"thin", 0, NULL, 't'},
	{"op", 1, NULL, 'o'},	    {"state", 1, NULL, 's'},
	{"at", 1, NULL, 'a'},	    {"sample", 1, NULL, 'k'},
	{"budget", 1, NULL, 'b'},   {"seed", 1, NULL, 'r'},
	{"help", 0, NULL, 'h'},	    {0},
};

static void usage(void)
{
	puts("usage: sweep [--snapshot] [--real] [--nested[=K]] [--pairs] [--signals] (default: "
	     "all)\n"
	     "             [--op NAME] [--state NAME] [--at N] [--sample K] [--budget SECONDS] "
	     "[--seed S] [--thin]\n"
	     "  --sample  every Kth instruction   --nested=K  every Kth state left behind\n"
	     "  --thin    one state of each row, every third pair, by the seed");
	exit(2);
}

/* Returns the modes as bits. */
static uint32_t parse(int argc, char **argv)
{
	uint32_t which = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		uint64_t n = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (c >= '0' && c <= '4')
			which |= 1u << (c - '0');
		if (c == '2' && n)
			plan.nested = n;
		else if (c == 'o')
			plan.op = optarg;
		else if (c == 's')
			plan.state = optarg;
		else if (c == 'a')
			plan.at = (int64_t)n;
		else if (c == 'k')
			plan.sample = n ? n : 1;
		else if (c == 'b')
			plan.end_ns = weir_now_ns() + n * 1000 * MS;
		else if (c == 'r')
			plan.seed = n;
		else if (c == 't')
			plan.thin = true;
		else if (c == 'h' || c == '?')
			usage();
	}
	return which ? which : 31;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"snapshot", "real", "nested", "pairs", "signals"};
	uint32_t which = parse(argc, argv);
	uint64_t bad;

	signal(SIGALRM, on_alarm);
	stay_here();
	printf("%-8s %-22s %-27s %7s %6s %4s %4s %4s %6s %6s\n", "mode", "op", "state", "points",
	       "kills", "lost", "dbl", "wedg", "us", "s");
	for (uint32_t i = 0; i < 3; i++) {
		if (which & 1u << i)
			run_mode(&modes[i]);
	}
	if (which & 8)
		sweep_pairs();
	if (which & 16)
		sweep_signals();
	if (which == 1) {
		traced_swaps();
		printf("sweep: %lu states cut short\n", (unsigned long)cut);
	}
	bad = total.count[LOST] + total.count[DOUBLED] + total.count[WEDGED];
	printf("sweep: worst recovery %lu us\n", (unsigned long)(total.worst_ns / 1000));
	printf("sweep: %s: %lu points, %lu kills, %lu lost, %lu doubled, %lu wedged\n",
	       which & (which - 1) ? "all" : names[__builtin_ctz(which)],
	       (unsigned long)total.points, (unsigned long)total.kills,
	       (unsigned long)total.count[LOST], (unsigned long)total.count[DOUBLED],
	       (unsigned long)total.count[WEDGED]);
	return bad != 0;
}
