/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Connections to the upstream: one request at a time on each, kept open between requests. */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_link(struct weir_loop *loop, struct weir_op *op, int result);

static int on_body(http_parser *parser, const char *at, size_t bytes)
{
	struct link *link = parser->data;

	if (bytes >= sizeof(link->body) - link->body_used)
		return 1;
	memcpy(link->body + link->body_used, at, bytes);
	link->body_used += (uint32_t)bytes;
	link->body[link->body_used] = 0;
	return 0;
}

static int on_complete(http_parser *parser)
{
	struct link *link = parser->data;

	link->complete = true;
	link->keep_alive = http_should_keep_alive(parser);
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings link_settings = {
	.on_body = on_body,
	.on_message_complete = on_complete,
};

static void link_free(struct link *link)
{
	struct link **at = &link->worker->links;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	if (link->fd >= 0)
		close(link->fd);
	free(link);
}

/* The call is over: `status` of the answer, or -errno.  The link is free before the request goes
 * on, so that the next request can have it. */
static void link_end(struct link *link, int status)
{
	struct conn *conn = link->conn;
	char body[sizeof(link->body)];

	if (link->timed_out)
		status = -ETIMEDOUT;
	link->span.code = (uint16_t)(status < 0 ? -status : status);
	link->span.status = status < 0 || status >= 500 ? 2 : 1;
	(void)weir_span_end(link->worker->gw.spans, &link->span);
	memcpy(body, link->body, link->body_used);
	body[link->body_used] = 0;
	link->conn = NULL;
	if (status < 0 || !link->keep_alive)
		link_free(link);
	request_upstream_done(conn, status, body);
}

static void link_send(struct link *link)
{
	int r = weir_loop_send(link->worker->loop, &link->op, link->fd, link->out + link->out_begin,
			       link->out_end - link->out_begin);

	if (r < 0)
		link_end(link, r);
}

static void link_recv(struct link *link)
{
	int r = weir_loop_recv(link->worker->loop, &link->op, link->fd, link->in, sizeof(link->in));

	if (r < 0)
		link_end(link, r);
}

static void link_received(struct link *link, size_t bytes)
{
	enum http_errno error;

	http_parser_execute(&link->parser, &link_settings, link->in, bytes);
	error = HTTP_PARSER_ERRNO(&link->parser);
	if (link->complete)
		link_end(link, (int)link->parser.status_code);
	else if (error != HPE_OK)
		link_end(link, -EBADMSG);
	else
		link_recv(link);
}

static void on_link(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct link *link = op->user;

	(void)loop;
	if (result < 0) {
		link_end(link, result);
	} else if (!link->connected) {
		link->connected = true;
		link_send(link);
	} else if (link->out_begin < link->out_end) {
		link->out_begin += (uint32_t)result;
		if (link->out_begin < link->out_end)
			link_send(link);
		else
			link_recv(link);
	} else if (result == 0) {
		link_end(link, -ECONNRESET);
	} else {
		link_received(link, (size_t)result);
	}
}

static struct link *link_new(struct gw_worker *worker)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (link->fd < 0) {
		free(link);
		return NULL;
	}
	link->op.fn = on_link;
	link->op.user = link;
	link->worker = worker;
	link->next = worker->links;
	worker->links = link;
	return link;
}

static struct link *link_get(struct gw_worker *worker)
{
	struct link *link;

	for (link = worker->links; link; link = link->next)
		if (!link->conn)
			return link;
	return link_new(worker);
}

/* The request as the upstream sees it.  There are never more links than permits. */
void link_call(struct conn *conn)
{
	struct gw_worker *worker = conn->worker;
	struct link *link = link_get(worker);
	char trace[WEIR_TRACEPARENT_BYTES];
	int r;

	if (!link || weir_span_begin(worker->gw.spans, &conn->span.trace, "call upstream", 3,
				     &link->span) < 0) {
		request_upstream_done(conn, -ENOMEM, "");
		return;
	}
	weir_traceparent_format(&link->span.trace, trace);
	link->conn = conn;
	link->complete = false;
	link->timed_out = false;
	link->keep_alive = false;
	link->body_used = 0;
	link->until_ns = weir_now_ns() + GW_CALL_NS;
	link->out_begin = 0;
	link->out_end =
		(uint32_t)snprintf(link->out, sizeof(link->out),
				   "GET %s HTTP/1.1\r\nHost: upstream\r\n"
				   "traceparent: %s\r\nX-Weight: %u\r\nX-Probe: %u\r\n\r\n",
				   conn->request.target, trace, conn->weight, conn->call.probe);
	http_parser_init(&link->parser, HTTP_RESPONSE);
	link->parser.data = link;
	if (link->connected) {
		link_send(link);
		return;
	}
	r = weir_loop_connect(worker->loop, &link->op, link->fd,
			      (const struct sockaddr *)&worker->upstream, sizeof(worker->upstream));
	if (r < 0)
		link_end(link, r);
}

void link_tick(struct gw_worker *worker, uint64_t now_ns)
{
	for (struct link *link = worker->links; link; link = link->next) {
		if (!link->conn || now_ns < link->until_ns)
			continue;
		link->timed_out = true;
		(void)weir_loop_cancel(worker->loop, &link->op);
	}
}

void links_close(struct gw_worker *worker)
{
	struct link *link;

	while ((link = worker->links)) {
		worker->links = link->next;
		close(link->fd);
		free(link);
	}
}
