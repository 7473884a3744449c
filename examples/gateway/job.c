/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A batch job that uses the same upstream, and so stands in the same line for its permits. */
/*
 * It is no web server and has no loop: it blocks, in the kernel, where `weir trace` can see it wait
 * and name the one who is in the way.
 */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS 50000000

static struct weir_ctx stop; /* cancelled by SIGTERM */

static void on_term(int signo)
{
	(void)signo;
	(void)weir_ctx_cancel(&stop);
}

/* One report from the upstream, blocking.  0 when it was good. */
static int fetch(const struct gw *gw, const struct weir_trace *trace)
{
	struct sockaddr_un address;
	char traceparent[WEIR_TRACEPARENT_BYTES];
	char text[512];
	int r = gw_upstream_address(gw, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	if (r < 0 || fd < 0)
		return -EIO;
	weir_traceparent_format(trace, traceparent);
	n = snprintf(text, sizeof(text),
		     "GET /report HTTP/1.1\r\nHost: upstream\r\ntraceparent: %s\r\n"
		     "X-Weight: %u\r\n\r\n",
		     traceparent, GW_WEIGHT_REPORT);
	r = -EIO;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    send(fd, text, (size_t)n, MSG_NOSIGNAL) == n) {
		n = recv(fd, text, sizeof(text) - 1, 0);
		r = n > 12 && !memcmp(text, "HTTP/1.1 200", 12) ? 0 : -EIO;
	}
	close(fd);
	return r;
}

static int run_once(struct gw *gw)
{
	struct weir_span span;
	struct weir_call call;
	int r;

	r = weir_span_begin(gw->spans, NULL, "batch job", 1, &span);
	if (r < 0)
		return r;
	r = weir_sem_acquire(gw->sem, GW_WEIGHT_REPORT, &stop);
	if (r < 0)
		goto out_span;
	r = weir_breaker_allow(gw->breaker, &call, NULL);
	if (r == 0)
		weir_breaker_done(gw->breaker, &call, fetch(gw, &span.trace) < 0);
	r = weir_sem_release(gw->sem, GW_WEIGHT_REPORT);

out_span:
	span.status = r < 0 ? 2 : 1;
	(void)weir_span_end(gw->spans, &span);
	return r;
}

int gw_job_main(void)
{
	struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct gw gw;
	int r;

	(void)weir_ctx_init(&stop, NULL, UINT64_MAX);
	gw_on_term(on_term);
	r = gw_open(&gw, "job");
	while (r == 0) {
		r = run_once(&gw);
		if (r == 0)
			nanosleep(&pause, NULL);
		if (r == 0)
			r = weir_ctx_err(&stop);
	}
	if (r == -ECANCELED)
		r = 0;
	if (r < 0)
		gw_complain("job", r);
	gw_close(&gw);
	return r;
}
