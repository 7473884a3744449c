/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The way of a request through the shared limits: limiter, permits, breaker, upstream. */
/*
 * The permits come before the breaker is asked: a probe of a half-open breaker then never stands in
 * a line, and the only way from an allowed call to its result is the upstream itself.
 */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WAIT_SPAN_NS 100000u /* shorter waits are no spans of their own */

static void release(struct conn *conn)
{
	int r = weir_sem_release(conn->worker->gw.sem, conn->weight);

	if (r < 0)
		gw_complain("release", r);
}

/* The wait for the permits, as a child of the request. */
static void wait_span(struct conn *conn, int result)
{
	struct gw_worker *worker = conn->worker;
	struct weir_span span;

	if (conn->wait_ns < WAIT_SPAN_NS ||
	    weir_span_begin(worker->gw.spans, &conn->span.trace, "wait permits", 1, &span) < 0)
		return;
	span.start_ns = conn->asked_ns;
	span.wait_ns = conn->wait_ns;
	span.value = conn->weight;
	span.status = result < 0 ? 2 : 1;
	span.code = (uint16_t)-result;
	(void)weir_span_end(worker->gw.spans, &span);
}

/* Permits are here, or the time is up. */
static void on_permits(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct conn *conn = op->user;
	uint64_t retry_ns = 0;
	int r;

	(void)loop;
	conn->wait_ns = weir_now_ns() - conn->asked_ns;
	wait_span(conn, result);
	if (result < 0) {
		conn_answer(conn, 503, "no permit in time\n", 1000000000u);
		return;
	}
	r = weir_breaker_allow(conn->worker->gw.breaker, &conn->call, &retry_ns);
	if (r < 0) {
		release(conn);
		conn_answer(conn, 503, "the upstream is resting\n", retry_ns ? retry_ns : 1);
		return;
	}
	link_call(conn);
}

/* `status` of the upstream, or -errno. */
void request_upstream_done(struct conn *conn, int status, const char *body)
{
	int failed = status < 0 || status >= 500;

	(void)weir_breaker_done(conn->worker->gw.breaker, &conn->call, failed);
	release(conn);
	if (status == -ETIMEDOUT)
		conn_answer(conn, 504, "the upstream took too long\n", 0);
	else if (failed)
		conn_answer(conn, 502, "the upstream failed\n", 0);
	else
		conn_answer(conn, (uint16_t)status, body, 0);
}

static bool is_report(const char *target)
{
	return !strncmp(target, "/report", 7) && (!target[7] || target[7] == '?');
}

void request_begin(struct conn *conn)
{
	struct gw_worker *worker = conn->worker;
	const char *key = conn->request.client[0] ? conn->request.client : conn->peer;
	struct weir_verdict verdict;
	int r;

	if (!strcmp(conn->request.target, "/health")) {
		conn_answer(conn, 200, "up\n", 0);
		return;
	}
	r = weir_limiter_allow_key(worker->gw.limiter, key, strlen(key), 1, &verdict);
	if (r == -EAGAIN) {
		conn_answer(conn, 429, "too many requests\n", verdict.retry_after_ns);
		return;
	}
	if (r < 0) {
		gw_complain("limiter", r);
		conn_answer(conn, 500, "limiter\n", 0);
		return;
	}
	conn->admitted = true;
	conn->weight = is_report(conn->request.target) ? GW_WEIGHT_REPORT : GW_WEIGHT_CHEAP;
	conn->asked_ns = weir_now_ns();
	conn->op.fn = on_permits;
	/* Whoever waits or is waited for shows this request. */
	(void)weir_segment_set_trace(worker->gw.seg, &conn->span.trace);
	r = weir_loop_acquire(worker->loop, &conn->op, worker->gw.sem, conn->weight,
			      GW_PERMIT_WAIT_NS);
	if (r < 0) {
		gw_complain("acquire", r);
		conn_answer(conn, 500, "acquire\n", 0);
	}
}
