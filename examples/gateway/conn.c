/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One client's connection: read, parse, have it decided, log, send, and again. */
/*
 *	READ --request whole--> WORK --answer known, logged--> SEND --> READ, or what is pipelined
 *	  |                      ^                              |
 *	  +--refused by parser---+                              +--> DRAIN --> closed
 *
 * The record is in the log before the first byte of the answer leaves: whatever a client got is in
 * the log, also when this worker is killed in between.  DRAIN reads what a refused client still
 * sends; closing with unread bytes would make the kernel take our answer back.
 */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_BYTES_MAX (1u << 20)

static void on_op(struct weir_loop *loop, struct weir_op *op, int result);
static void conn_parse(struct conn *conn);

void conn_close(struct conn *conn)
{
	struct gw_worker *worker = conn->worker;

	if (conn->next)
		conn->next->prev = conn->prev;
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		worker->conns = conn->next;
	worker->conn_count--;
	close(conn->fd);
	free(conn);
}

static void conn_read(struct conn *conn)
{
	conn->state = CONN_READ;
	conn->active_ns = weir_now_ns();
	conn->in_begin = 0;
	conn->in_end = 0;
	if (conn->worker->stopping ||
	    weir_loop_recv(conn->worker->loop, &conn->op, conn->fd, conn->in, sizeof(conn->in)) < 0)
		conn_close(conn);
}

static void conn_drain(struct conn *conn)
{
	conn->state = CONN_DRAIN;
	if (weir_loop_recv(conn->worker->loop, &conn->op, conn->fd, conn->in, sizeof(conn->in)) < 0)
		conn_close(conn);
}

/* --- the answer -------------------------------------------------------------------------- */

static void conn_send(struct conn *conn)
{
	conn->state = CONN_SEND;
	if (weir_loop_send(conn->worker->loop, &conn->op, conn->fd, conn->out + conn->out_begin,
			   conn->out_end - conn->out_begin) < 0)
		conn_close(conn);
}

/* The answer is out: the next request, or the end. */
static void conn_sent(struct conn *conn)
{
	if (conn->closing) {
		shutdown(conn->fd, SHUT_WR);
		conn->active_ns = weir_now_ns();
		conn_drain(conn);
		return;
	}
	gw_request_reset(&conn->request);
	http_parser_pause(&conn->parser, 0);
	if (conn->in_begin < conn->in_end)
		conn_parse(conn);
	else
		conn_read(conn);
}

static void trace_hex(const struct weir_trace *trace, char ret_hex[33])
{
	char text[WEIR_TRACEPARENT_BYTES];

	weir_traceparent_format(trace, text);
	memcpy(ret_hex, text + 3, 32);
	ret_hex[32] = 0;
}

/* Fill the slot on loan: the line that the parse stage reads. */
static void log_fill(struct conn *conn)
{
	struct gw_worker *worker = conn->worker;
	const char *client = conn->request.client[0] ? conn->request.client : conn->peer;
	const char *target = conn->request.target[0] == '/' ? conn->request.target : "-";
	char trace[33];
	int n;

	trace_hex(&conn->span.trace, trace);
	(void)weir_segment_set_trace(worker->gw.seg, &conn->span.trace); /* goes with the message */
	n = snprintf(conn->msg.data, GW_LINE_BYTES, "%u %llu %u %u %u %s %s %llu %llu %llu %.*s",
		     worker->pid, (unsigned long long)++worker->seq, conn->status, conn->admitted,
		     conn->weight, client, trace, (unsigned long long)conn->start_ns,
		     (unsigned long long)weir_now_ns(), (unsigned long long)conn->wait_ns,
		     GW_LINE_TARGET - 1, target);
	conn->msg.bytes = (uint32_t)n + 1;
}

/* The span is ended before the answer leaves: a client that has its answer finds it. */
static void on_loan(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct conn *conn = op->user;
	int r = result;

	(void)loop;
	if (r == 0) {
		log_fill(conn);
		r = weir_queue_commit(conn->worker->gw.queues[GW_LOG], &conn->msg);
	}
	conn->span.code = conn->status;
	conn->span.status = conn->status < 500 ? 1 : 2;
	conn->span.wait_ns = conn->wait_ns;
	(void)weir_span_end(conn->worker->gw.spans, &conn->span);
	if (r < 0) { /* No answer without its record. */
		gw_complain("log", r);
		conn_close(conn);
		return;
	}
	conn->op.fn = on_op;
	conn_send(conn);
}

void conn_answer(struct conn *conn, uint16_t status, const char *body, uint64_t retry_ns)
{
	struct gw_worker *worker = conn->worker;
	struct gw_answer answer = {
		.status = status,
		.retry_ns = retry_ns,
		.worker = worker->pid,
		.trace = &conn->span.trace,
		.body = body,
		.body_bytes = (uint32_t)strlen(body),
	};

	conn->status = status;
	if (!conn->request.keep_alive || worker->stopping)
		conn->closing = true;
	answer.close = conn->closing;
	conn->out_begin = 0;
	conn->out_end = gw_answer_format(&answer, conn->out, sizeof(conn->out));
	conn->op.fn = on_loan;
	/* A full log makes the client wait, not the loop. */
	if (weir_loop_loan(worker->loop, &conn->op, worker->gw.queues[GW_LOG], &conn->msg) < 0) {
		(void)weir_span_end(worker->gw.spans, &conn->span);
		conn_close(conn);
	}
}

/* --- the request ------------------------------------------------------------------------- */

/* The span of a request: below the client's if it sent a traceparent.  Its name ends before the
 * query, which is nobody's business. */
static int conn_begin(struct conn *conn)
{
	const char *target = conn->request.target[0] ? conn->request.target : "(refused)";
	struct weir_trace parent;
	bool has_parent;
	char name[24];

	conn->start_ns = weir_now_ns();
	conn->active_ns = conn->start_ns;
	conn->wait_ns = 0;
	conn->weight = 0;
	conn->admitted = false;
	conn->state = CONN_WORK;
	has_parent = weir_traceparent_parse(conn->request.traceparent,
					    strlen(conn->request.traceparent), &parent) == 0;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(target, "?"), target);
	return weir_span_begin(conn->worker->gw.spans, has_parent ? &parent : NULL, name, 2,
			       &conn->span);
}

static void conn_refuse(struct conn *conn, uint16_t status, const char *why)
{
	char body[160];

	snprintf(body, sizeof(body), "%s\n", why);
	conn->closing = true;
	conn_answer(conn, status, body, 0);
}

/* Go on in what has been read; one request at a time. */
static void conn_parse(struct conn *conn)
{
	struct gw_request *request = &conn->request;
	const char *why;
	uint16_t status;
	size_t n;

	n = http_parser_execute(&conn->parser, &gw_request_settings, conn->in + conn->in_begin,
				conn->in_end - conn->in_begin);
	conn->in_begin += (uint32_t)n;
	if (HTTP_PARSER_ERRNO(&conn->parser) == HPE_OK && !request->complete) {
		conn_read(conn); /* All of it is inside the parser now. */
		return;
	}
	if (conn_begin(conn) < 0) {
		conn_close(conn);
		return;
	}
	if (!request->complete || request->refused) {
		status = gw_parser_status(&conn->parser, &why);
		conn_refuse(conn, status, why);
		return;
	}
	request_begin(conn);
}

static void on_op(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct conn *conn = op->user;

	(void)loop;
	if (result < 0 || (result == 0 && conn->state != CONN_SEND)) {
		conn_close(conn);
		return;
	}
	switch (conn->state) {
	case CONN_READ:
		conn->in_end = (uint32_t)result;
		conn_parse(conn);
		break;
	case CONN_SEND:
		conn->out_begin += (uint32_t)result;
		if (conn->out_begin < conn->out_end)
			conn_send(conn);
		else
			conn_sent(conn);
		break;
	default:
		conn->drained += (uint32_t)result;
		if (conn->drained > DRAIN_BYTES_MAX)
			conn_close(conn);
		else
			conn_drain(conn);
		break;
	}
}

void conn_open(struct gw_worker *worker, int fd)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close(fd);
		return;
	}
	conn->op.fn = on_op;
	conn->op.user = conn;
	conn->worker = worker;
	conn->fd = fd;
	snprintf(conn->peer, sizeof(conn->peer), "127.0.0.1"); /* We listen on the loopback only. */
	http_parser_init(&conn->parser, HTTP_REQUEST);
	conn->parser.data = &conn->request;
	conn->next = worker->conns;
	if (conn->next)
		conn->next->prev = conn;
	worker->conns = conn;
	worker->conn_count++;
	conn_read(conn);
}

/* Who neither sends nor reads for too long makes room.  The shutdown ends the operation. */
void conns_tick(struct gw_worker *worker, uint64_t now_ns)
{
	uint64_t limit_ns;

	for (struct conn *conn = worker->conns; conn; conn = conn->next) {
		limit_ns = conn->state == CONN_DRAIN ? GW_DRAIN_NS : GW_IDLE_NS;
		if (conn->state != CONN_WORK && now_ns - conn->active_ns > limit_ns)
			shutdown(conn->fd, SHUT_RDWR);
		if (worker->stopping && conn->state == CONN_READ)
			(void)weir_loop_cancel(worker->loop, &conn->op);
	}
}
