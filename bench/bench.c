/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Slices, rounds and the mate; see bench.h for the method. */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define SLICE_NS   100000
#define IDLE_SPINS 20000
#define MATE_CHUNK 64 /* operations between two looks at the stop flag */

/* --- time and the machine ---------------------------------------------------------------- */

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void bench_die(const char *what, int error)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

void bench_pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fprintf(stderr, "bench: cannot pin to CPU %u: %s\n", cpu, strerror(errno));
}

long bench_preempted(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
	if (count == 0)
		return NAN;
	qsort(values, count, sizeof(*values), compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

double bench_min(const double *values, size_t count)
{
	double min = NAN;

	for (size_t i = 0; i < count; i++)
		min = fmin(min, values[i]);
	return min;
}

void *bench_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_die("mmap", errno);
	memset(p, 0, bytes);
	return p;
}

struct weir_segment *bench_segment(void)
{
	char path[64];
	char why[128] = "";
	struct weir_segment *seg;
	int r;

	snprintf(path, sizeof(path), "/dev/shm/weir-bench-%d", (int)getpid());
	r = weir_segment_open(path,
			      &WEIR_OPTS(segment, .flags = WEIR_CREATE | WEIR_EXCLUSIVE,
					 .bytes = 16 << 20, .role = "bench", .why = why,
					 .why_bytes = sizeof(why)),
			      &seg);
	if (r < 0)
		bench_die(why[0] ? why : path, r);
	weir_segment_unlink(path);
	return seg;
}

/* --- the mate ------------------------------------------------------------------------------ */

struct bench_mate {
	_Alignas(64) _Atomic uint32_t posted; /* job number; ours */
	struct bench_job job;
	_Alignas(64) _Atomic uint32_t running;	/* the mate's */
	_Alignas(64) _Atomic uint32_t stopped;	/* ours */
	_Alignas(64) _Atomic uint32_t finished; /* the mate's */
	double result;
	bool clean;
	pid_t pid;
	_Alignas(64) _Atomic uint64_t contended; /* operations of contend(), in all */
};

/* Between jobs the mate soon sleeps, so that it does not spend its time slice on nothing. */
static void idle(uint32_t *turn)
{
	struct timespec nap = {.tv_nsec = 50000};

	bench_relax();
	if (++*turn > IDLE_SPINS)
		nanosleep(&nap, NULL);
}

static void mate_loop(struct bench_mate *mate, bench_mate_fn *fn, void *arg)
{
	for (uint32_t seq = 1;; seq++) {
		struct bench_job job;
		uint32_t turn = 0;
		long before;

		while (atomic_load(&mate->posted) != seq)
			idle(&turn);
		job = mate->job;
		before = bench_preempted();
		atomic_store(&mate->running, seq);
		mate->result = fn(arg, &job, mate);
		mate->clean = bench_preempted() == before;
		atomic_store(&mate->finished, seq);
	}
}

struct bench_mate *bench_mate_start(bench_mate_fn *fn, void *arg)
{
	struct bench_mate *mate = bench_shared(sizeof(*mate));
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0)
		bench_die("fork", errno);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		bench_pin(1);
		mate_loop(mate, fn, arg);
	}
	mate->pid = pid;
	return mate;
}

static void mate_await(struct bench_mate *mate, _Atomic uint32_t *word, uint32_t seq)
{
	/* Ends with the mate's progress, or with the mate. */
	for (uint32_t turn = 1; atomic_load(word) != seq; turn++) {
		bench_relax();
		if (turn % (1 << 20) == 0 && waitpid(mate->pid, NULL, WNOHANG) != 0)
			bench_die("the second process ended", ECHILD);
	}
}

void bench_mate_post(struct bench_mate *mate, struct bench_job job)
{
	uint32_t seq = atomic_load(&mate->posted) + 1;

	mate->job = job;
	atomic_store(&mate->posted, seq);
	mate_await(mate, &mate->running, seq);
}

bool bench_mate_stopped(struct bench_mate *mate)
{
	return atomic_load_explicit(&mate->stopped, memory_order_relaxed) ==
	       atomic_load_explicit(&mate->posted, memory_order_relaxed);
}

double bench_mate_wait(struct bench_mate *mate, bool *ret_clean)
{
	uint32_t seq = atomic_load(&mate->posted);

	atomic_store(&mate->stopped, seq);
	mate_await(mate, &mate->finished, seq);
	*ret_clean = mate->clean;
	return mate->result;
}

void bench_mate_end(struct bench_mate *mate)
{
	kill(mate->pid, SIGKILL);
	waitpid(mate->pid, NULL, 0);
	munmap(mate, sizeof(*mate));
}

/* --- cases --------------------------------------------------------------------------------- */

static double contend(void *arg, const struct bench_job *job, struct bench_mate *mate)
{
	struct bench_case *c = (struct bench_case *)arg + job->which;

	while (!bench_mate_stopped(mate)) {
		c->run(c->arg, MATE_CHUNK);
		atomic_fetch_add_explicit(&mate->contended, MATE_CHUNK, memory_order_relaxed);
	}
	return 0;
}

static void calibrate(struct bench_case *c)
{
	uint64_t count = 16;
	uint64_t start;
	uint64_t took = 0;

	/* Ends: the count doubles until a slice is long enough. */
	for (c->run(c->arg, count); took < SLICE_NS / 2; count *= 2) {
		start = bench_now_ns();
		c->run(c->arg, count);
		took = bench_now_ns() - start;
		c->slice_count = count;
	}
}

/*
 * One slice; NAN if it was disturbed.  With a mate it is what an operation takes each of the two,
 * both counted: else whoever starves the other would seem quick.
 */
static double slice(struct bench_case *cases, uint32_t which, struct bench_mate *mate)
{
	struct bench_case *c = &cases[which];
	double done = (double)c->slice_count;
	bool clean = true;
	uint64_t theirs = 0;
	uint64_t start;
	uint64_t took;
	long before;

	if (mate)
		bench_mate_post(mate, (struct bench_job){.which = which});
	c->run(c->arg, c->slice_count / 8 + 1); /* Warm up. */
	before = bench_preempted();
	if (mate)
		theirs = atomic_load(&mate->contended);
	start = bench_now_ns();
	c->run(c->arg, c->slice_count);
	took = bench_now_ns() - start;
	if (mate)
		done = (done + (double)(atomic_load(&mate->contended) - theirs)) / 2;
	if (bench_preempted() != before)
		clean = false;
	if (mate) {
		bool mate_clean;

		bench_mate_wait(mate, &mate_clean);
		clean = clean && mate_clean;
	}
	return clean ? (double)took / done : NAN;
}

static void round_of(struct bench_case *cases, size_t count, uint32_t round,
		     struct bench_mate *mate)
{
	enum bench_mode mode = mate ? BENCH_CONTENDED : BENCH_ALONE;
	double(*got)[BENCH_SLICES] = calloc(count, sizeof(*got));
	size_t *kept = calloc(count, sizeof(*kept));

	for (uint32_t s = 0; s < BENCH_SLICES; s++) {
		for (uint32_t i = 0; i < count; i++) {
			double ns = NAN;

			if (!mate || !cases[i].alone_only)
				ns = slice(cases, i, mate);
			if (!isnan(ns))
				got[i][kept[i]++] = ns;
		}
	}
	for (size_t i = 0; i < count; i++)
		cases[i].ns[mode][round] = bench_median(got[i], kept[i]);
	free(kept);
	free(got);
}

void bench_cases(struct bench_case *cases, size_t count)
{
	struct bench_mate *mate;

	bench_pin(0);
	mate = bench_mate_start(contend, cases);
	for (size_t i = 0; i < count; i++)
		calibrate(&cases[i]);
	for (uint32_t round = 0; round < BENCH_ROUNDS; round++) {
		round_of(cases, count, round, NULL);
		round_of(cases, count, round, mate);
	}
	bench_mate_end(mate);
}

double bench_ratio(const struct bench_case *a, const struct bench_case *b, enum bench_mode mode)
{
	double ratio[BENCH_ROUNDS];
	size_t n = 0;

	for (uint32_t i = 0; i < BENCH_ROUNDS; i++) {
		double r = a->ns[mode][i] / b->ns[mode][i];

		if (!isnan(r))
			ratio[n++] = r;
	}
	return bench_median(ratio, n);
}
