/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Queues between two processes: how long a message takes there and back, and how many per second.
 *
 * 2026-11, the yardstick.  The two virtual CPUs are sometimes neighbours and sometimes far apart,
 * a factor of 3.5, and that changes under us.  So the bare cache-line ping-pong is measured right
 * before and right after each slice of each peer; a slice is thrown away if the two disagree by
 * more than a fifth, and the ratio is made with their mean.
 *
 *	two lines	each direction has a line of its own, written by one side and polled by
 *			the other: the least for two one-way channels (at many addresses in turn)
 *	one line	both sides write the same line: less than any queue can do
 *	64 B		two lines as above, and 64 bytes in a line beside each, fetched
 *			when the first has come
 *	both looked at	the same, but each look fetches both: the least for a message of
 *			that size that has anything before it
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "bench_queue.h"

#define BATCH	     16 /* round trips between two looks at the clock */
#define BATCHES	     40 /* per slice */
#define BATCHES_SLOW 4
#define FLOW_NS	     1000000		   /* a one-way slice */
#define FLOW_MIN     8192		   /* messages: the queue fills only once */
#define KEPT_MIN     3			   /* slices: fewer in a round are chance */
#define BUDGET_NS    UINT64_C(50000000000) /* then what is not measured stays "-" */
#define SLICES	     12
#define SIZES	     3
#define AGREE	     1.2
static const uint32_t sizes[SIZES] = {8, 64, 1024};

void bench_queue_wrong(const char *name)
{
	fprintf(stderr, "bench: %s delivered a wrong message\n", name);
	exit(1);
}

/* --- the raw lines ------------------------------------------------------------------------- */

#define PLACES 512
#define WINDOW 8 /* of them in one slice, so that they are warm in most of its batches */

/* One direction.  What it costs depends on the address (we take it: on the slice of the last-level
 * cache that it belongs to; docs/BENCH.md has figures).  A queue goes through many addresses, so
 * this does as well. */
struct raw {
	struct {
		_Alignas(64) uint64_t batch;
	} turn[2]; /* of the pinger, of the ponger */
	struct {
		_Alignas(64) _Atomic uint64_t line;
		_Alignas(64) uint8_t data[64];
	} place[PLACES];
};

BENCH_INLINE void raw_write(struct raw *r, uint64_t i, uint64_t value, size_t bytes)
{
	uint8_t data[64];

	__asm__ volatile("" : "=m"(data));
	memcpy(r->place[i].data, data, bytes);
	atomic_store_explicit(&r->place[i].line, value, memory_order_release);
}

BENCH_INLINE void raw_await(struct raw *r, uint64_t i, uint64_t value, size_t bytes, bool both)
{
	uint8_t data[64];

	for (;;) {
		uint64_t seen = atomic_load_explicit(&r->place[i].line, memory_order_acquire);

		if (both)
			__builtin_prefetch(r->place[i].data);
		if (seen == value)
			break;
		bench_relax();
	}
	memcpy(data, r->place[i].data, bytes);
	__asm__ volatile("" : : "m"(data));
}

static uint64_t raw_place(uint64_t *batch)
{
	uint64_t slice = *batch / (BATCHES + 1);
	uint64_t i = (*batch)++ % (BATCHES + 1);

	return (slice * WINDOW + i % WINDOW) % PLACES;
}

/* `count` is a multiple of BATCH. */
BENCH_INLINE void raw_pings(struct raw *mine, struct raw *theirs, size_t bytes, bool both,
			    uint64_t count)
{
	uint64_t step = mine == theirs ? 2 : 1; /* On one line each answer is a step as well. */

	for (uint64_t b = 0; b < count / BATCH; b++) {
		uint64_t i = raw_place(&mine->turn[0].batch);
		uint64_t value = atomic_load(&mine->place[i].line);

		for (uint64_t n = 0; n < BATCH; n++, value += step) {
			raw_write(mine, i, value + 1, bytes);
			raw_await(theirs, i, value + step, bytes, both);
		}
	}
}

BENCH_INLINE void raw_pongs(struct raw *mine, struct raw *theirs, size_t bytes, bool both,
			    uint64_t count)
{
	uint64_t step = mine == theirs ? 2 : 1;

	for (uint64_t b = 0; b < count / BATCH; b++) {
		uint64_t i = raw_place(&mine->turn[1].batch);
		/* The first ping may be there already: at rest the one line is even. */
		uint64_t value = atomic_load(&mine->place[i].line) & ~(step - 1);

		for (uint64_t n = 0; n < BATCH; n++, value += step) {
			raw_await(theirs, i, value + 1, bytes, both);
			raw_write(mine, i, value + step, bytes);
		}
	}
}

#define RAW_LOOPS(tag, size, both)                                                  \
	static void tag##_ping(void *out, void *in, uint32_t bytes, uint64_t count) \
	{                                                                           \
		(void)bytes;                                                        \
		raw_pings(out, in, size, both, count);                              \
	}                                                                           \
	static void tag##_pong(void *out, void *in, uint32_t bytes, uint64_t count) \
	{                                                                           \
		(void)bytes;                                                        \
		raw_pongs(out, in, size, both, count);                              \
	}

RAW_LOOPS(raw, 0, false)
RAW_LOOPS(load, 64, false)
RAW_LOOPS(both, 64, true)

static void *raw_make(uint32_t bytes)
{
	(void)bytes;
	return bench_shared(sizeof(struct raw));
}

/* --- weir ---------------------------------------------------------------------------------- */

static struct weir_segment *segment;

static void *weir_make(uint32_t bytes)
{
	static uint32_t made;
	struct weir_queue *queue;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "q%u", made++);
	r = weir_queue_open(segment, name,
			    &WEIR_OPTS(queue, .slots = BENCH_QUEUE_SLOTS, .bytes = bytes), &queue);
	if (r < 0)
		bench_die("weir_queue_open", r);
	return queue;
}

BENCH_INLINE bool copy_put(void *queue, const void *data, uint32_t bytes)
{
	return weir_queue_try_send(queue, data, bytes) == 0;
}

BENCH_INLINE bool copy_get(void *queue, void *data, uint32_t bytes)
{
	uint32_t got;

	return weir_queue_try_recv(queue, data, bytes, &got) == 0;
}

BENCH_QUEUE_LOOPS(copy)

BENCH_INLINE bool loan_put(void *queue, const void *data, uint32_t bytes)
{
	struct weir_msg msg;

	if (weir_queue_try_loan(queue, &msg) != 0)
		return false;
	memcpy(msg.data, data, bytes);
	msg.bytes = bytes;
	return weir_queue_commit(queue, &msg) == 0;
}

/* In place: every cache line is read (payloads need not begin with one), nothing is copied. */
BENCH_INLINE bool loan_get(void *queue, void *data, uint32_t bytes)
{
	struct weir_msg msg;
	const volatile uint64_t *from;
	uint64_t *to = data;

	if (weir_queue_try_take(queue, &msg) != 0)
		return false;
	from = msg.data;
	for (uint32_t i = 0; i < bytes / 8; i += 8)
		to[i] = from[i];
	to[bytes / 8 - 1] = from[bytes / 8 - 1];
	return weir_queue_done(queue, &msg) == 0;
}

BENCH_QUEUE_LOOPS(loan)

/* --- pipe ---------------------------------------------------------------------------------- */

BENCH_INLINE bool pipe_put(void *queue, const void *data, uint32_t bytes)
{
	return write(((int *)queue)[1], data, bytes) == (ssize_t)bytes;
}

BENCH_INLINE bool pipe_get(void *queue, void *data, uint32_t bytes)
{
	return read(((int *)queue)[0], data, bytes) == (ssize_t)bytes;
}

BENCH_QUEUE_LOOPS(pipe)

static void *pipe_make(uint32_t bytes)
{
	int *fds = bench_shared(2 * sizeof(*fds));

	(void)bytes;
	if (pipe2(fds, O_CLOEXEC) < 0)
		bench_die("pipe2", errno);
	return fds;
}

/* --- the peers ----------------------------------------------------------------------------- */

#define copy_make weir_make
#define loan_make weir_make
static const struct bench_queue_peer peer_two = {
	.name = "raw, two lines", .make = raw_make, .ping = raw_ping, .pong = raw_pong};
static const struct bench_queue_peer peer_one = {
	.name = "raw, one line", .make = raw_make, .ping = raw_ping, .pong = raw_pong};
static const struct bench_queue_peer peer_load = {
	.name = "raw, two lines, 64 B", .make = raw_make, .ping = load_ping, .pong = load_pong};
static const struct bench_queue_peer peer_both = {
	.name = "the same, both looked at", .make = raw_make, .ping = both_ping, .pong = both_pong};
static const struct bench_queue_peer peer_copy =
	BENCH_QUEUE_PEER(copy, "weir try_send/try_recv", false);
static const struct bench_queue_peer peer_loan =
	BENCH_QUEUE_PEER(loan, "weir loan/commit/take/done", false);
static const struct bench_queue_peer peer_pipe = BENCH_QUEUE_PEER(pipe, "pipe, blocking", true);

static const struct bench_queue_peer *const peers[] = {
	&peer_two,
	&peer_one,
	&peer_load,
	&peer_both,
	&peer_copy,
	&peer_loan,
#ifdef BENCH_CK
	&bench_peer_ck_spsc,
	&bench_peer_ck_mpmc,
#endif
#ifdef BENCH_RTE
	&bench_peer_rte,
#endif
#ifdef BENCH_BOOST
	&bench_peer_lockfree,
	&bench_peer_message_queue,
#endif
	&peer_pipe,
};
#define PEERS (sizeof(peers) / sizeof(peers[0]))
enum fixed { TWO, ONE, LOAD, BOTH, COPY, LOAN };

/* One peer's queues, and what each round found. */
struct measured {
	void *out;	   /* 64 bytes, ours to the mate's */
	void *in;	   /* 64 bytes, back */
	void *flow[SIZES]; /* one way */
	uint64_t flow_count[SIZES];
	double ns[BENCH_ROUNDS];
	double ratio[BENCH_ROUNDS];
	double rate[SIZES][BENCH_ROUNDS]; /* million messages a second */
};
static struct measured found[PEERS];

/* --- in the mate --------------------------------------------------------------------------- */

enum what { PONG, CONSUME };

/* Messages before a measured slice: until the queue has filled up, if it ever will. */
static uint64_t warm_up(const struct bench_queue_peer *peer, uint64_t count)
{
	return peer->slow ? count / 4 : count / 4 + 2 * BENCH_QUEUE_SLOTS;
}

static double work(void *arg, const struct bench_job *job, struct bench_mate *mate)
{
	const struct bench_queue_peer *peer = peers[job->which];
	const struct measured *m = &found[job->which];
	void *queue = m->flow[job->bytes == 8 ? 0 : job->bytes == 64 ? 1 : 2];
	uint64_t start;

	(void)arg;
	(void)mate;
	if (job->what == PONG) {
		peer->pong(m->in, m->out, job->bytes, job->count);
		return 0;
	}
	peer->consume(queue, job->bytes, warm_up(peer, job->count));
	start = bench_now_ns();
	peer->consume(queue, job->bytes, job->count);
	return (double)(bench_now_ns() - start);
}

/* --- slices -------------------------------------------------------------------------------- */

static uint64_t slices_clean;
static uint64_t slices_all;

static void count_slice(bool clean)
{
	slices_clean += clean;
	slices_all++;
}

/* Has this program used up its time? */
static bool late(void)
{
	static uint64_t begin;
	uint64_t now = bench_now_ns();

	begin = begin ? begin : now;
	return now - begin > BUDGET_NS;
}

/* Median round trip of one slice, NAN if it was disturbed. */
static double trip(uint32_t which, struct bench_mate *mate)
{
	const struct bench_queue_peer *peer = peers[which];
	const struct measured *m = &found[which];
	size_t batches = peer->slow ? BATCHES_SLOW : BATCHES;
	double ns[BATCHES];
	bool clean;
	long before;

	bench_mate_post(mate, (struct bench_job){.what = PONG,
						 .which = which,
						 .bytes = 64,
						 .count = BATCH * (batches + 1)});
	peer->ping(m->out, m->in, 64, BATCH); /* Warm up. */
	before = bench_preempted();
	for (size_t i = 0; i < batches; i++) {
		uint64_t start = bench_now_ns();

		peer->ping(m->out, m->in, 64, BATCH);
		ns[i] = (double)(bench_now_ns() - start) / BATCH;
	}
	clean = bench_preempted() == before;
	bench_mate_wait(mate, &(bool){false});
	return clean ? bench_median(ns, batches) : NAN;
}

/*
 * Million messages a second of one slice, NAN if it was disturbed.  Both sides take the time, each
 * from its own first message after the warm-up, and the slower one counts: else a queue that begins
 * full or ends full would seem faster than it is.
 */
static double flow(uint32_t which, uint32_t size, struct bench_mate *mate)
{
	const struct bench_queue_peer *peer = peers[which];
	struct measured *m = &found[which];
	uint64_t count = m->flow_count[size];
	long before = bench_preempted();
	bool mate_clean;
	uint64_t start;
	double rate;
	double took;
	double sent;
	bool clean;

	bench_mate_post(mate, (struct bench_job){.what = CONSUME,
						 .which = which,
						 .bytes = sizes[size],
						 .count = count});
	peer->produce(m->flow[size], sizes[size], warm_up(peer, count));
	start = bench_now_ns();
	peer->produce(m->flow[size], sizes[size], count);
	sent = (double)(bench_now_ns() - start);
	took = fmax(sent, bench_mate_wait(mate, &mate_clean));
	clean = mate_clean && bench_preempted() == before;
	rate = (double)count / took * 1e3;
	/* The next slice is as long as this one should have been. */
	m->flow_count[size] = (uint64_t)(FLOW_NS * rate / 1e3) + 256;
	if (!peer->slow && m->flow_count[size] < FLOW_MIN)
		m->flow_count[size] = FLOW_MIN;
	count_slice(clean);
	return clean ? rate : NAN;
}

static void trips_of(uint32_t which, uint32_t round, struct bench_mate *mate)
{
	double ns[SLICES];
	double ratio[SLICES];
	size_t n = 0;

	for (uint32_t s = 0; s < SLICES && !late(); s++) {
		double before = trip(TWO, mate);
		double mine = trip(which, mate);
		double after = trip(TWO, mate);

		bool clean = before <= after * AGREE && after <= before * AGREE && !isnan(mine);

		count_slice(clean);
		if (!clean)
			continue;
		ns[n] = mine;
		ratio[n++] = mine / ((before + after) / 2);
	}
	found[which].ns[round] = n < KEPT_MIN ? NAN : bench_median(ns, n);
	found[which].ratio[round] = n < KEPT_MIN ? NAN : bench_median(ratio, n);
}

static void round_of(uint32_t round, struct bench_mate *mate)
{
	double rate[PEERS][SIZES][SLICES];
	size_t kept[PEERS][SIZES] = {0};

	for (uint32_t p = 0; p < PEERS; p++)
		trips_of(p, round, mate);
	for (uint32_t s = 0; s < SLICES && !late(); s++)
		for (uint32_t size = 0; size < SIZES; size++)
			for (uint32_t p = 0; p < PEERS; p++) {
				bool go = peers[p]->produce && !late();
				double r = go ? flow(p, size, mate) : NAN;

				if (!isnan(r))
					rate[p][size][kept[p][size]++] = r;
			}
	for (uint32_t p = 0; p < PEERS; p++)
		for (uint32_t size = 0; size < SIZES; size++)
			found[p].rate[size][round] =
				kept[p][size] < KEPT_MIN
					? NAN
					: bench_median(rate[p][size], kept[p][size]);
}

/* --- all of it ----------------------------------------------------------------------------- */

static void make_all(void)
{
	segment = bench_segment();
	for (uint32_t p = 0; p < PEERS; p++) {
		struct measured *m = &found[p];

		m->out = peers[p]->make(64);
		m->in = p == ONE ? m->out : peers[p]->make(64);
		for (uint32_t size = 0; size < SIZES && peers[p]->produce; size++) {
			m->flow[size] = peers[p]->make(sizes[size]);
			m->flow_count[size] = peers[p]->slow ? 1000 : FLOW_MIN;
		}
	}
}

/* Median over the rounds of a / b, of a if there is no b. */
static double over_rounds(const double *a, const double *b)
{
	double v[BENCH_ROUNDS];
	size_t n = 0;

	for (uint32_t i = 0; i < BENCH_ROUNDS; i++) {
		v[n] = b ? a[i] / b[i] : a[i];
		n += isnan(v[n]) ? 0 : 1;
	}
	return bench_median(v, n);
}

static void bars(struct bench_table *table)
{
	bench_table_bar(table, "round trip, 64 B: x raw two lines",
			over_rounds(found[COPY].ratio, NULL), 1.25, false);
#ifdef BENCH_CK
	enum { CK_MPMC = LOAN + 2 };

	bench_table_bar(table, "one way, 8 B: x ck_ring mpmc",
			over_rounds(found[COPY].rate[0], found[CK_MPMC].rate[0]), 2, true);
	bench_table_bar(table, "one way, 64 B: x ck_ring mpmc",
			over_rounds(found[COPY].rate[1], found[CK_MPMC].rate[1]), 2, true);
	bench_table_bar(table, "one way, 1 KiB: x ck_ring mpmc",
			over_rounds(found[COPY].rate[2], found[CK_MPMC].rate[2]), 2, true);
#endif
}

int main(void)
{
	struct bench_table table = {
		.name = "queue",
		.title = "queue: round trip of 64 B, ratio to raw two lines; one way, million/s",
		.columns = {"rtt ns", "min", "ratio", "8 B", "64 B", "1 KiB"},
		.column_count = 6,
	};
	struct bench_mate *mate;

	bench_table_begin(&table);
	make_all();
	bench_pin(0);
	mate = bench_mate_start(work, NULL);
	for (uint32_t round = 0; round < BENCH_ROUNDS; round++)
		round_of(round, mate);
	bench_mate_end(mate);
	for (uint32_t p = 0; p < PEERS; p++) {
		double *cell = bench_table_row(&table, peers[p]->name);

		cell[0] = over_rounds(found[p].ns, NULL);
		cell[1] = bench_min(found[p].ns, BENCH_ROUNDS);
		cell[2] = over_rounds(found[p].ratio, NULL);
		for (uint32_t size = 0; size < SIZES; size++)
			cell[3 + size] = over_rounds(found[p].rate[size], NULL);
	}
#ifndef BENCH_CK
	bench_table_missing(&table, "ck_ring (libck-dev)");
#endif
#ifndef BENCH_RTE
	bench_table_missing(&table, "rte_ring (dpdk-dev)");
#endif
#ifndef BENCH_BOOST
	bench_table_missing(&table, "Boost (libboost-dev)");
#endif
	bars(&table);
	bench_table_end(&table);
	printf("%llu of %llu slices were undisturbed\n", (unsigned long long)slices_clean,
	       (unsigned long long)slices_all);
	return 0;
}
