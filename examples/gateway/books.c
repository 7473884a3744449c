/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the segment's own books say, and what the access log says, as shell assignments. */
#include "gateway.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define P(name, value) printf(name "=%" PRIu64 "\n", (uint64_t)(value))

static int books_limits(const struct gw *gw)
{
	struct weir_limiter_stat limiter = {0};
	struct weir_breaker_stat breaker = {0};
	struct weir_sem_stat sem = {0};
	int64_t diff = 0;
	int r;

	r = weir_limiter_stat(gw->limiter, &limiter);
	if (r == 0)
		r = weir_breaker_stat(gw->breaker, &breaker);
	if (r == 0)
		r = weir_sem_stat(gw->sem, &sem);
	if (r < 0)
		return gw_complain("stat", r);
	P("limiter_allowed", limiter.allowed);
	P("limiter_denied", limiter.denied);
	P("breaker_mode", breaker.mode);
	P("breaker_opened", breaker.opened);
	P("breaker_reopened", breaker.reopened);
	P("breaker_closed", breaker.closed);
	P("breaker_rejected", breaker.rejected);
	P("breaker_probes", breaker.probes_started);
	P("breaker_calls", breaker.calls);
	P("breaker_failures", breaker.failures);
	P("sem_permits", sem.permits);
	P("sem_used", sem.used);
	P("sem_waiters", sem.waiters);
	P("sem_acquires", sem.acquires);
	P("sem_waits", sem.waits);
	P("sem_wait_us", sem.wait_ns / 1000);
	(void)weir_sem_check(gw->sem, &diff); /* Exact when nobody works: at the end. */
	printf("sem_diff=%" PRId64 "\n", diff);
	return 0;
}

static int books_queues(const struct gw *gw)
{
	static const char *const names[GW_QUEUES] = {"log", "parsed", "filtered", "batches"};
	struct weir_queue_stat stat;
	int r;

	for (int i = 0; i < GW_QUEUES; i++) {
		r = weir_queue_stat(gw->queues[i], &stat);
		if (r < 0)
			return gw_complain(names[i], r);
		printf("%s_sent=%" PRIu64 "\n%s_skipped=%" PRIu64 "\n%s_again=%" PRIu64
		       "\n%s_left=%u\n",
		       names[i], stat.sent, names[i], stat.skipped, names[i], stat.redelivered,
		       names[i], stat.depth + stat.reading + stat.writing);
	}
	return 0;
}

int gw_books_main(void)
{
	struct gw gw;
	int r;

	r = gw_open(&gw, "books");
	if (r < 0)
		return r;
	r = books_limits(&gw);
	if (r == 0)
		r = books_queues(&gw);
	gw_close(&gw);
	return r;
}

/* --- the access log ---------------------------------------------------------------------- */

#define CLIENTS 64
#define WORKERS 64

struct audit {
	struct gw_record *records;
	uint64_t count;
	uint64_t room;
	uint64_t malformed;
	uint64_t twice;	   /* positions that occur again */
	uint64_t gaps;	   /* missing numbers of workers */
	uint64_t admitted; /* past the limiter */
	uint64_t limited;
	uint64_t over; /* clients above their limit */
	uint64_t workers;
	/* The client with the least room left to its limit. */
	char tight[GW_CLIENT_BYTES];
	uint64_t tight_count;
	uint64_t tight_max;
};

static int audit_add(struct audit *audit, const struct gw_record *record)
{
	struct gw_record *more;

	if (audit->count == audit->room) {
		audit->room = audit->room ? audit->room * 2 : 1u << 14;
		more = realloc(audit->records, audit->room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		audit->records = more;
	}
	audit->records[audit->count++] = *record;
	return 0;
}

static int audit_read(struct audit *audit, const char *path)
{
	FILE *file = fopen(path, "re");
	struct gw_record record;
	char line[GW_LINE_BYTES];
	char *rest;
	size_t n;
	int r = 0;

	if (!file)
		return -errno;
	while (r == 0 && fgets(line, sizeof(line), file)) {
		uint64_t position = strtoull(line, &rest, 10);

		n = strlen(line);
		if (line[n - 1] != '\n' || *rest != ' ') {
			audit->malformed++;
			continue;
		}
		line[n - 1] = 0;
		if (gw_record_parse(rest + 1, &record) < 0) {
			audit->malformed++;
			continue;
		}
		record.position = position;
		r = audit_add(audit, &record);
	}
	fclose(file);
	return r;
}

static int by_position(const void *a, const void *b)
{
	uint64_t x = ((const struct gw_record *)a)->position;
	uint64_t y = ((const struct gw_record *)b)->position;

	return (x > y) - (x < y);
}

static int by_worker(const void *a, const void *b)
{
	const struct gw_record *x = a;
	const struct gw_record *y = b;

	if (x->worker != y->worker)
		return x->worker < y->worker ? -1 : 1;
	return (x->seq > y->seq) - (x->seq < y->seq);
}

static int by_client(const void *a, const void *b)
{
	return strcmp(((const struct gw_record *)a)->client, ((const struct gw_record *)b)->client);
}

/* Each worker numbers its records from 1; a number that is missing or there twice shows. */
static void audit_numbers(struct audit *audit)
{
	const struct gw_record *r;

	qsort(audit->records, audit->count, sizeof(*audit->records), by_position);
	for (uint64_t i = 1; i < audit->count; i++)
		audit->twice += audit->records[i].position == audit->records[i - 1].position;
	qsort(audit->records, audit->count, sizeof(*audit->records), by_worker);
	for (uint64_t i = 0; i < audit->count; i++) {
		r = &audit->records[i];
		if (i == 0 || r[-1].worker != r->worker) {
			audit->workers++;
			audit->gaps += r->seq != 1;
		} else {
			audit->gaps += r->seq != r[-1].seq + 1;
		}
	}
}

/* One client's records: admitted at most burst + rate * time, time from the first question asked
 * to the last one answered. */
static void audit_client(struct audit *audit, const struct gw_record *records, uint64_t count)
{
	uint64_t first_ns = UINT64_MAX;
	uint64_t last_ns = 0;
	uint64_t admitted = 0;
	uint64_t max;

	for (uint64_t i = 0; i < count; i++) {
		audit->limited += records[i].status == 429;
		if (!records[i].admitted)
			continue;
		admitted++;
		if (records[i].start_ns < first_ns)
			first_ns = records[i].start_ns;
		if (records[i].end_ns > last_ns)
			last_ns = records[i].end_ns;
	}
	audit->admitted += admitted;
	if (!admitted)
		return;
	max = GW_BURST + (last_ns - first_ns) / (1000000000u / GW_LIMIT) + 1;
	audit->over += admitted > max;
	if (!audit->tight_max || admitted * audit->tight_max > audit->tight_count * max) {
		audit->tight_count = admitted;
		audit->tight_max = max;
		memcpy(audit->tight, records[0].client, sizeof(audit->tight));
	}
}

static void audit_clients(struct audit *audit)
{
	uint64_t begin = 0;

	qsort(audit->records, audit->count, sizeof(*audit->records), by_client);
	for (uint64_t i = 1; i <= audit->count; i++) {
		if (i < audit->count && !by_client(&audit->records[i], &audit->records[begin]))
			continue;
		audit_client(audit, audit->records + begin, i - begin);
		begin = i;
	}
}

/* How often each status was given to wrk (whose clients are called w-something), and to all. */
static void audit_statuses(const struct audit *audit)
{
	static uint64_t wrk[600];
	uint64_t sum = 0;
	uint64_t quiet = 0;

	for (uint64_t i = 0; i < audit->count; i++) {
		quiet += !strcmp(audit->records[i].client, "w-quiet") &&
			 audit->records[i].status == 429;
		if (strncmp(audit->records[i].client, "w-", 2) || audit->records[i].status >= 600)
			continue;
		wrk[audit->records[i].status]++;
		sum++;
	}
	P("log_wrk", sum);
	P("log_quiet_limited", quiet);
	for (unsigned int i = 0; i < 600; i++)
		if (wrk[i])
			printf("log_wrk_%u=%" PRIu64 "\n", i, wrk[i]);
}

int gw_audit_main(const char *path)
{
	struct audit audit = {0};
	int r;

	r = audit_read(&audit, path);
	if (r < 0)
		return gw_complain(path, r);
	if (audit.count) {
		audit_numbers(&audit);
		audit_clients(&audit);
	}
	P("log_lines", audit.count);
	P("log_malformed", audit.malformed);
	P("log_twice", audit.twice);
	P("log_gaps", audit.gaps);
	P("log_workers", audit.workers);
	P("log_admitted", audit.admitted);
	P("log_limited", audit.limited);
	P("log_over", audit.over);
	printf("tight_client=%s\n", audit.tight);
	P("tight_count", audit.tight_count);
	P("tight_max", audit.tight_max);
	audit_statuses(&audit);
	free(audit.records);
	return 0;
}
