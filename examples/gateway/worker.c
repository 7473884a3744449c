/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A worker: one loop that accepts, ticks, and stops without losing a request. */
#include "gateway.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define CONNS_MAX 512u
#define STOP_NS	  5000000000ull

static struct weir_loop *stop_loop;

static void on_term(int signo)
{
	(void)signo;
	(void)weir_loop_stop(stop_loop);
}

static void accept_next(struct gw_worker *worker)
{
	worker->accepting =
		!worker->stopping && worker->conn_count < CONNS_MAX &&
		weir_loop_accept(worker->loop, &worker->accept_op, worker->listen_fd) == 0;
}

static void on_accept(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct gw_worker *worker = op->user;

	(void)loop;
	worker->accepting = false;
	if (result >= 0)
		conn_open(worker, result);
	if (result >= 0)
		accept_next(worker); /* Else the tick tries again: it may be EMFILE. */
}

static void on_tick(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct gw_worker *worker = op->user;
	uint64_t now_ns = weir_now_ns();

	(void)result;
	conns_tick(worker, now_ns);
	link_tick(worker, now_ns);
	if (worker->stopping && !worker->conn_count)
		return; /* Nothing is left, which ends the run. */
	if (!worker->accepting)
		accept_next(worker);
	(void)weir_loop_after(loop, op, GW_TICK_NS);
}

static int worker_init(struct gw_worker *worker, int listen_fd)
{
	int r;

	worker->pid = (uint32_t)getpid();
	worker->listen_fd = listen_fd;
	worker->accept_op = (struct weir_op){.fn = on_accept, .user = worker};
	worker->tick_op = (struct weir_op){.fn = on_tick, .user = worker};
	r = gw_open(&worker->gw, "worker");
	if (r < 0)
		return r;
	r = gw_upstream_address(&worker->gw, &worker->upstream);
	if (r < 0)
		return gw_complain("socket path", r);
	r = weir_loop_create(NULL, &worker->loop);
	if (r < 0)
		return gw_complain("io_uring", r);
	return 0;
}

/* Requests under way are answered; a client that does not read its answer does not hold us up. */
static int worker_stop(struct gw_worker *worker)
{
	struct weir_ctx ctx;
	int r;

	worker->stopping = true;
	if (worker->accepting)
		(void)weir_loop_cancel(worker->loop, &worker->accept_op);
	conns_tick(worker, weir_now_ns());
	(void)weir_ctx_init(&ctx, NULL, STOP_NS);
	r = weir_loop_run(worker->loop, &ctx);
	return r == -ETIMEDOUT ? 0 : r;
}

int gw_worker_main(int listen_fd)
{
	static struct gw_worker worker;
	int r;

	http_parser_set_max_header_size(GW_HEADER_BYTES);
	r = worker_init(&worker, listen_fd);
	if (r < 0)
		return r;
	stop_loop = worker.loop;
	gw_on_term(on_term);
	accept_next(&worker);
	(void)weir_loop_after(worker.loop, &worker.tick_op, GW_TICK_NS);
	r = weir_loop_run(worker.loop, NULL);
	if (r == 0)
		r = worker_stop(&worker);
	if (r < 0)
		gw_complain("loop", r);
	gw_on_term(SIG_IGN);
	(void)weir_loop_close(worker.loop);
	links_close(&worker);
	gw_close(&worker.gw); /* Gives back whatever is still held. */
	return r;
}
