/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The gateway's one binary: which process to be, and the objects that all of them share. */
#include "gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int gw_complain(const char *what, int error)
{
	fprintf(stderr, "gateway: %s: %s\n", what, strerror(error < 0 ? -error : error));
	return error;
}

void gw_on_term(void (*fn)(int))
{
	struct sigaction act = {.sa_handler = fn};

	sigemptyset(&act.sa_mask);
	sigaction(SIGTERM, &act, NULL);
	act.sa_handler = SIG_IGN; /* Ctrl-C reaches all; the master ends the others in order. */
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGPIPE, &act, NULL);
}

int gw_upstream_address(const struct gw *gw, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/upstream.sock", gw->run);

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	*ret_address = address;
	return 0;
}

static int queues_open(struct gw *gw)
{
	static const struct {
		const char *name;
		uint32_t slots;
		uint32_t bytes;
	} queues[GW_QUEUES] = {
		[GW_LOG] = {"log", 4096, GW_LINE_BYTES},
		[GW_PARSED] = {"parsed", 1024, sizeof(struct gw_record)},
		[GW_FILTERED] = {"filtered", 1024, sizeof(struct gw_record)},
		[GW_BATCHES] = {"batches", 64, GW_BATCH * sizeof(struct gw_record)},
	};
	int r = 0;

	for (int i = 0; i < GW_QUEUES && r == 0; i++)
		r = weir_queue_open(
			gw->seg, queues[i].name,
			&WEIR_OPTS(queue, .slots = queues[i].slots, .bytes = queues[i].bytes),
			&gw->queues[i]);
	return r;
}

/* Whoever comes first creates, everybody gets the same. */
static int objects_open(struct gw *gw)
{
	int r;

	r = weir_limiter_open(gw->seg, "clients",
			      &WEIR_OPTS(limiter, .count = GW_LIMIT, .period_ns = 1000000000ull,
					 .burst = GW_BURST, .keys = 1024),
			      &gw->limiter);
	if (r < 0)
		return r;
	r = weir_sem_open(gw->seg, "permits", &WEIR_OPTS(sem, .permits = GW_PERMITS), &gw->sem);
	if (r < 0)
		return r;
	r = weir_breaker_open(gw->seg, "breaker",
			      &WEIR_OPTS(breaker, .window_ms = 2000, .min_calls = 20,
					 .failure_pct = 50, .open_ms = GW_OPEN_MS,
					 .probes = GW_PROBES),
			      &gw->breaker);
	if (r < 0)
		return r;
	r = weir_spans_open(gw->seg, "spans", &WEIR_OPTS(spans, .slots = 4096), &gw->spans);
	if (r < 0)
		return r;
	return queues_open(gw);
}

int gw_open(struct gw *gw, const char *role)
{
	const char *run = getenv("GATEWAY_RUN");
	char why[200] = "";
	int r;

	memset(gw, 0, sizeof(*gw));
	if (!run || strlen(run) >= sizeof(gw->run))
		return gw_complain("GATEWAY_RUN names no directory, or too long a one", -EINVAL);
	memcpy(gw->run, run, strlen(run) + 1);
	r = weir_segment_open("gateway",
			      &WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 32u << 20,
					 .processes = 32, .threads = 32, .role = role, .why = why,
					 .why_bytes = sizeof(why)),
			      &gw->seg);
	if (r < 0) {
		fprintf(stderr, "gateway: %s: segment: %s%s%s\n", role, strerror(-r),
			why[0] ? ": " : "", why);
		return r;
	}
	r = objects_open(gw);
	if (r < 0)
		gw_complain("objects", r);
	return r;
}

void gw_close(struct gw *gw)
{
	for (int i = 0; i < GW_QUEUES; i++)
		weir_queue_close(gw->queues[i]);
	weir_spans_close(gw->spans);
	weir_breaker_close(gw->breaker);
	weir_sem_close(gw->sem);
	weir_limiter_close(gw->limiter);
	weir_segment_close(gw->seg);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: example-gateway master PORT | books | audit LOG | killprobe PORT\n"
		"and, started by the master: worker FD | upstream | stage NAME | write | job\n"
		"environment: WEIR_DIR, GATEWAY_RUN (directory for pids, socket, log)\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *arg = argc > 2 ? argv[2] : NULL;
	int r;

	setvbuf(stderr, NULL, _IOLBF, 0);
	if (!strcmp(what, "master") && arg)
		r = gw_master_main(atoi(arg));
	else if (!strcmp(what, "worker") && arg)
		r = gw_worker_main(atoi(arg));
	else if (!strcmp(what, "upstream"))
		r = gw_upstream_main();
	else if (!strcmp(what, "stage") && arg)
		r = gw_stage_main(arg);
	else if (!strcmp(what, "write"))
		r = gw_sink_main();
	else if (!strcmp(what, "job"))
		r = gw_job_main();
	else if (!strcmp(what, "books"))
		r = gw_books_main();
	else if (!strcmp(what, "audit") && arg)
		r = gw_audit_main(arg);
	else if (!strcmp(what, "killprobe") && arg)
		r = gw_killprobe_main(atoi(arg));
	else
		return usage();
	return r < 0 ? 1 : 0;
}
