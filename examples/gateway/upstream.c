/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The upstream: answers after a while, or fails when told to.  SIGUSR1: fail.  SIGUSR2: heal. */
/*
 * It keeps its own books, against which the gateway's promises are checked: how much weight was in
 * work at once, and how many probes.  A request whose client is gone is dropped; but a killed
 * worker's permits may be back a few ms before the kernel has closed its sockets and we know.  So
 * what is seen shortly before such an end is counted apart.
 */
#include "gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHEAP_MS    2u
#define REPORT_MS   15u
#define WORK_MS_MAX 6000u
#define SETTLE_NS   200000000ull /* a death shows within this time */

struct server {
	struct gw gw;
	struct weir_loop *loop;
	struct weir_op accept_op;
	int listen_fd;
	uint64_t calls;
	uint64_t failed;
	uint64_t probes;
	uint64_t dropped;
	uint32_t weight;
	uint32_t weight_max;	   /* settled */
	uint32_t weight_recent[2]; /* maxima of this SETTLE_NS and the last, not settled yet */
	uint32_t weight_dying_max; /* while somebody was dying */
	uint64_t recent_ns;	   /* begin of this one */
	uint32_t probes_now;
	uint32_t probes_max;
};

struct peer {
	struct weir_op recv_op; /* always on: this is how we see the end */
	struct weir_op work_op;
	struct weir_op send_op;
	struct server *server;
	int fd;
	uint32_t open; /* operations under way */
	bool gone;
	bool working;
	http_parser parser;
	struct weir_span span;
	struct weir_trace trace;
	uint32_t weight;
	uint32_t probe;
	uint32_t status;
	bool complete;
	char name[24];
	char target[GW_TARGET_BYTES];
	uint32_t target_used;
	uint32_t out_begin;
	uint32_t out_end;
	char in[1024];
	char out[512];
};

static struct weir_loop *stop_loop;
static volatile sig_atomic_t failing;

static void on_term(int signo)
{
	(void)signo;
	(void)weir_loop_stop(stop_loop);
}

static void on_usr(int signo)
{
	failing = signo == SIGUSR1;
}

/* --- parsing: our own gateway sends short requests in one piece -------------------------- */

static int on_url(http_parser *parser, const char *at, size_t bytes)
{
	struct peer *peer = parser->data;

	if (bytes >= sizeof(peer->target) - peer->target_used)
		return 1;
	memcpy(peer->target + peer->target_used, at, bytes);
	peer->target_used += (uint32_t)bytes;
	peer->target[peer->target_used] = 0;
	return 0;
}

static int on_field(http_parser *parser, const char *at, size_t bytes)
{
	struct peer *peer = parser->data;

	snprintf(peer->name, sizeof(peer->name), "%.*s", (int)bytes, at);
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t bytes)
{
	struct peer *peer = parser->data;

	if (!strcasecmp(peer->name, "traceparent"))
		(void)weir_traceparent_parse(at, bytes, &peer->trace);
	else if (!strcasecmp(peer->name, "x-weight"))
		peer->weight = (uint32_t)strtoul(at, NULL, 10);
	else if (!strcasecmp(peer->name, "x-probe"))
		peer->probe = strtoul(at, NULL, 10) != 0;
	return 0;
}

static int on_complete(http_parser *parser)
{
	struct peer *peer = parser->data;

	peer->complete = true;
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_message_complete = on_complete,
};

/* --- work -------------------------------------------------------------------------------- */

static void weigh(struct server *server, uint64_t now_ns)
{
	if (now_ns - server->recent_ns > SETTLE_NS) {
		if (server->weight_recent[1] > server->weight_max)
			server->weight_max = server->weight_recent[1];
		server->weight_recent[1] = server->weight_recent[0];
		server->weight_recent[0] = 0;
		server->recent_ns = now_ns;
	}
	if (server->weight > server->weight_recent[0])
		server->weight_recent[0] = server->weight;
}

/* Somebody died: what was seen just now counts apart. */
static void weigh_death(struct server *server)
{
	for (int i = 0; i < 2; i++) {
		if (server->weight_recent[i] > server->weight_dying_max)
			server->weight_dying_max = server->weight_recent[i];
		server->weight_recent[i] = 0;
	}
}

static void enter(struct peer *peer)
{
	struct server *server = peer->server;

	peer->working = true;
	server->calls++;
	server->weight += peer->weight;
	weigh(server, weir_now_ns());
	server->probes += peer->probe;
	server->probes_now += peer->probe;
	if (server->probes_now > server->probes_max)
		server->probes_max = server->probes_now;
}

static void leave(struct peer *peer)
{
	struct server *server = peer->server;

	if (!peer->working)
		return;
	peer->working = false;
	server->weight -= peer->weight;
	server->probes_now -= peer->probe;
	peer->span.code = (uint16_t)peer->status;
	peer->span.status = peer->status < 500 ? 1 : 2;
	(void)weir_span_end(server->gw.spans, &peer->span);
}

static void peer_put(struct peer *peer)
{
	if (--peer->open)
		return;
	leave(peer);
	close(peer->fd);
	free(peer);
}

static void peer_recv(struct peer *peer)
{
	if (weir_loop_recv(peer->server->loop, &peer->recv_op, peer->fd, peer->in,
			   sizeof(peer->in)) == 0)
		peer->open++;
}

static void peer_send(struct peer *peer)
{
	if (weir_loop_send(peer->server->loop, &peer->send_op, peer->fd,
			   peer->out + peer->out_begin, peer->out_end - peer->out_begin) == 0)
		peer->open++;
	else
		shutdown(peer->fd, SHUT_RDWR);
}

static void on_send(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct peer *peer = op->user;

	(void)loop;
	if (result > 0) {
		peer->out_begin += (uint32_t)result;
		if (peer->out_begin < peer->out_end && !peer->gone)
			peer_send(peer);
	}
	peer_put(peer);
}

static void on_work(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct peer *peer = op->user;
	bool failed = failing;
	char body[128];
	int n;

	(void)loop;
	(void)result;
	peer->status = failed ? 500 : 200;
	peer->server->failed += failed;
	peer->server->dropped += peer->gone;
	if (peer->gone)
		weigh_death(peer->server);
	leave(peer);
	if (!peer->gone) {
		n = snprintf(body, sizeof(body), "weight %u\n", peer->weight);
		peer->out_begin = 0;
		peer->out_end = (uint32_t)snprintf(peer->out, sizeof(peer->out),
						   "HTTP/1.1 %u %s\r\n"
						   "Content-Length: %d\r\n\r\n%s",
						   peer->status, failed ? "Failed" : "OK", n, body);
		peer_send(peer);
	}
	peer_put(peer);
}

/* Work is waiting: cheap requests a little, reports more, or what ?ms= says. */
static void peer_work(struct peer *peer)
{
	const char *ms_text = strstr(peer->target, "ms=");
	unsigned long ms = peer->weight > GW_WEIGHT_CHEAP ? REPORT_MS : CHEAP_MS;

	if (ms_text)
		ms = strtoul(ms_text + 3, NULL, 10);
	if (ms > WORK_MS_MAX)
		ms = WORK_MS_MAX;
	if (weir_span_begin(peer->server->gw.spans, &peer->trace, "upstream", 2, &peer->span) < 0 ||
	    weir_loop_after(peer->server->loop, &peer->work_op, ms * 1000000u) < 0) {
		shutdown(peer->fd, SHUT_RDWR);
		return;
	}
	peer->open++;
	enter(peer);
}

static void on_recv(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct peer *peer = op->user;

	if (result > 0) {
		http_parser_execute(&peer->parser, &settings, peer->in, (size_t)result);
		if (HTTP_PARSER_ERRNO(&peer->parser) != HPE_OK)
			result = 0;
	}
	if (result <= 0) {
		peer->gone = true;
		if (peer->working)
			(void)weir_loop_cancel(loop, &peer->work_op);
		peer_put(peer);
		return;
	}
	if (peer->complete) {
		peer->complete = false;
		peer->target_used = 0;
		peer_work(peer);
	}
	peer_recv(peer);
	peer_put(peer);
}

/* --- lifecycle --------------------------------------------------------------------------- */

static void on_accept(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct server *server = op->user;
	struct peer *peer;

	if (result == -ECANCELED)
		return;
	peer = result >= 0 ? calloc(1, sizeof(*peer)) : NULL;
	if (peer) {
		peer->server = server;
		peer->fd = result;
		peer->recv_op = (struct weir_op){.fn = on_recv, .user = peer};
		peer->work_op = (struct weir_op){.fn = on_work, .user = peer};
		peer->send_op = (struct weir_op){.fn = on_send, .user = peer};
		http_parser_init(&peer->parser, HTTP_REQUEST);
		peer->parser.data = peer;
		peer->open = 1;
		peer_recv(peer);
		peer_put(peer);
	} else if (result >= 0) {
		close(result);
	}
	(void)weir_loop_accept(loop, op, server->listen_fd);
}

static int server_listen(struct server *server)
{
	struct sockaddr_un address;
	int r;

	r = gw_upstream_address(&server->gw, &address);
	if (r < 0)
		return r;
	unlink(address.sun_path);
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->listen_fd < 0 ||
	    bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(server->listen_fd, 128) < 0)
		return -errno;
	return 0;
}

static void server_report(struct server *server)
{
	char path[128];
	FILE *file;

	weigh(server, UINT64_MAX / 2);
	weigh(server, UINT64_MAX);
	snprintf(path, sizeof(path), "%s/upstream.stat", server->gw.run);
	file = fopen(path, "we");
	if (!file) {
		gw_complain(path, errno);
		return;
	}
	fprintf(file,
		"up_calls=%llu\nup_failed=%llu\nup_probes=%llu\nup_dropped=%llu\n"
		"up_weight_max=%u\nup_weight_dying_max=%u\nup_probes_max=%u\nup_weight_left=%u\n",
		(unsigned long long)server->calls, (unsigned long long)server->failed,
		(unsigned long long)server->probes, (unsigned long long)server->dropped,
		server->weight_max, server->weight_dying_max, server->probes_max, server->weight);
	fclose(file);
}

int gw_upstream_main(void)
{
	static struct server server;
	struct sigaction act = {.sa_handler = on_usr, .sa_flags = SA_RESTART};
	int r;

	r = gw_open(&server.gw, "upstream");
	if (r < 0)
		return r;
	r = server_listen(&server);
	if (r < 0)
		return gw_complain("upstream socket", r);
	r = weir_loop_create(NULL, &server.loop);
	if (r < 0)
		return gw_complain("io_uring", r);
	stop_loop = server.loop;
	gw_on_term(on_term);
	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGUSR2, &act, NULL);
	server.accept_op = (struct weir_op){.fn = on_accept, .user = &server};
	r = weir_loop_accept(server.loop, &server.accept_op, server.listen_fd);
	if (r == 0)
		r = weir_loop_run(server.loop, NULL);
	server_report(&server);
	gw_on_term(SIG_IGN);
	(void)weir_loop_close(server.loop);
	gw_close(&server.gw);
	return r;
}
