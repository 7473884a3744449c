/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two processes and one permit, for tests/cli/trace.sh:  trace_help SEGMENT ROUNDS HOLD_MS
 *
 * In each round the holder takes the permit within its span "charge" and keeps it until the waiter
 * has waited HOLD_MS for it within its span "GET /pay".  A third process waits for the message of a
 * queue that comes with the end of the round.  Prints the ids of the threads, one line each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weir.h>

#define MS UINT64_C(1000000)

static struct weir_segment *seg;
static struct weir_sem *sem;
static struct weir_queue *queue;
static struct weir_spans *spans;

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "trace_help: %s: %s\n", what, strerror(-r));
	exit(1);
}

/* Until somebody has waited for the permit for `ns`. */
static void let_wait(uint64_t ns)
{
	const struct timespec pause = {.tv_nsec = 500000};
	struct weir_sem_stat stat = {0};
	uint64_t begin;

	while (stat.waiters == 0) {
		nanosleep(&pause, NULL);
		must(weir_sem_stat(sem, &stat), "stat");
	}
	begin = weir_now_ns();
	while (weir_now_ns() - begin < ns)
		nanosleep(&pause, NULL);
}

/* Go on when the other one is at this step as well. */
static void meet(uint32_t *steps, int me, uint32_t step)
{
	const struct timespec pause = {.tv_nsec = 200000};

	__atomic_store_n(&steps[me], step, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&steps[!me], __ATOMIC_SEQ_CST) < step)
		nanosleep(&pause, NULL);
}

static void hold(uint32_t *steps, uint32_t rounds, uint64_t hold_ns)
{
	struct weir_span span;

	printf("holder %d\n", (int)gettid());
	fflush(stdout);
	for (uint32_t i = 0; i < rounds; i++) {
		must(weir_span_begin(spans, NULL, "charge", 3, &span), "begin");
		must(weir_sem_acquire(sem, 1, NULL), "acquire");
		meet(steps, 0, 2 * i + 1);
		let_wait(hold_ns);
		must(weir_queue_send(queue, "x", 1, NULL), "send");
		must(weir_sem_release(sem, 1), "release");
		span.code = 402;
		span.status = 2;
		must(weir_span_end(spans, &span), "end");
		meet(steps, 0, 2 * i + 2);
	}
}

static void wait_for_it(uint32_t *steps, uint32_t rounds)
{
	struct weir_span span;

	printf("waiter %d\n", (int)gettid());
	fflush(stdout);
	for (uint32_t i = 0; i < rounds; i++) {
		meet(steps, 1, 2 * i + 1);
		must(weir_span_begin(spans, NULL, "GET /pay", 2, &span), "begin");
		must(weir_sem_acquire(sem, 1, NULL), "acquire");
		must(weir_sem_release(sem, 1), "release");
		must(weir_span_end(spans, &span), "end");
		meet(steps, 1, 2 * i + 2);
	}
}

static void receive(uint32_t rounds)
{
	struct weir_span span;
	uint32_t bytes;
	char data[16];

	printf("receiver %d\n", (int)gettid());
	fflush(stdout);
	for (uint32_t i = 0; i < rounds; i++) {
		must(weir_span_begin(spans, NULL, "consume", 1, &span), "begin");
		must(weir_queue_recv(queue, data, sizeof(data), &bytes, NULL), "recv");
		must(weir_span_end(spans, &span), "end");
	}
}

static void open_all(const char *name)
{
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .flags = WEIR_CREATE, .mode = 0644, .role = "helper");
	struct weir_sem_opts sem_opts = WEIR_OPTS(sem, .permits = 1);
	struct weir_queue_opts queue_opts = WEIR_OPTS(queue, .slots = 8, .bytes = 16);
	struct weir_spans_opts spans_opts = WEIR_OPTS(spans, .slots = 16);

	must(weir_segment_open(name, &opts, &seg), "segment");
	must(weir_sem_open(seg, "db", &sem_opts, &sem), "sem");
	must(weir_queue_open(seg, "jobs", &queue_opts, &queue), "queue");
	must(weir_spans_open(seg, "spans", &spans_opts, &spans), "spans");
}

int main(int argc, char **argv)
{
	uint32_t *steps =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t rounds;
	int bad = 0;

	if (argc != 4 || steps == MAP_FAILED)
		return 2;
	rounds = (uint32_t)strtoul(argv[2], NULL, 10);
	for (int i = 0; i < 3; i++) {
		if (fork() != 0)
			continue;
		open_all(argv[1]);
		if (i == 0)
			hold(steps, rounds, strtoul(argv[3], NULL, 10) * MS);
		else if (i == 1)
			wait_for_it(steps, rounds);
		else
			receive(rounds);
		weir_segment_close(seg);
		_exit(0);
	}
	for (int i = 0; i < 3; i++) {
		int status = 1;

		wait(&status);
		bad |= status;
	}
	return bad ? 1 : 0;
}
