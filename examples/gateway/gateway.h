/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A prefork HTTP gateway whose processes share one segment.
 *
 *	client --> worker 0..3 --> upstream          shared by all: limiter, semaphore, breaker
 *	               |             ^
 *	               |             +-- job         blocks where the workers wait in their loops
 *	               |
 *	               +-log-> parse -parsed-> filter -filtered-> batch -batches-> write
 *
 * Below, every arrow is a bounded queue and every name a process.  Any process may be killed at
 * any time; the master starts it again.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <http_parser.h>
#include <stdbool.h>
#include <sys/un.h>
#include <weir.h>
#include <weir/run.h>

#define GW_WORKERS	  4
#define GW_PERMITS	  8u
#define GW_WEIGHT_CHEAP	  1u
#define GW_WEIGHT_REPORT  4u
#define GW_LIMIT	  200u /* requests per second and client ... */
#define GW_BURST	  100u /* ... and at once after a pause */
#define GW_PROBES	  3u
#define GW_OPEN_MS	  2000u
#define GW_PERMIT_WAIT_NS 2000000000ull
#define GW_CALL_NS	  8000000000ull
#define GW_IDLE_NS	  30000000000ull
#define GW_DRAIN_NS	  2000000000ull
#define GW_TICK_NS	  100000000ull

#define GW_HEADER_BYTES 8192u
#define GW_BODY_BYTES	65536u
#define GW_TARGET_BYTES 256
#define GW_CLIENT_BYTES 32
#define GW_ANSWER_BYTES 2048

/* --- what all share ---------------------------------------------------------------------- */

enum gw_queue { GW_LOG, GW_PARSED, GW_FILTERED, GW_BATCHES, GW_QUEUES };

struct gw {
	struct weir_segment *seg;
	struct weir_limiter *limiter;
	struct weir_sem *sem;
	struct weir_breaker *breaker;
	struct weir_spans *spans;
	struct weir_queue *queues[GW_QUEUES];
	char run[80]; /* directory of pid files, sockets and the access log */
};

/* Attach to the segment as `role`, get or create everything in it.  Says itself what is wrong. */
int gw_open(struct gw *gw, const char *role);
/* Forget everything, give back what is held. */
void gw_close(struct gw *gw);
/* Where the upstream listens. */
int gw_upstream_address(const struct gw *gw, struct sockaddr_un *ret_address);
/* The default handlers of signals that end a process: `fn` for SIGTERM, SIGINT is the master's. */
void gw_on_term(void (*fn)(int));
/* "what: why" on stderr. */
int gw_complain(const char *what, int error);

/* --- access log -------------------------------------------------------------------------- */

#define GW_LINE_BYTES  512u /* what a worker puts into the queue: one line of text */
#define GW_LINE_TARGET 96

/* A line, parsed.  `position` is its place in the first queue and names it from there on. */
struct gw_record {
	uint64_t position;
	uint64_t seq; /* counts the records of its worker, from 1 */
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t wait_ns;
	uint32_t worker;
	uint16_t status;
	uint8_t weight;
	uint8_t admitted;
	char trace_id[33];
	char client[GW_CLIENT_BYTES];
	char target[GW_LINE_TARGET];
};

#define GW_BATCH 32u

/* `text` (NUL-terminated) as a worker writes it: all fields but the position.  0, -EBADMSG. */
int gw_record_parse(const char *text, struct gw_record *ret_record);
/* The line of the access log: the position, then the fields.  Returns its length. */
int gw_record_format(const struct gw_record *record, char *ret_text, size_t text_bytes);

/* --- HTTP -------------------------------------------------------------------------------- */

struct gw_request {
	char target[GW_TARGET_BYTES];
	char client[GW_CLIENT_BYTES];
	char traceparent[72];
	char name[24];	/* of the header being read */
	char value[72]; /* of the header being read */
	uint32_t target_used;
	uint32_t name_used;
	uint32_t value_used;
	uint32_t body_used;
	bool value_began;
	bool complete;
	bool keep_alive;
	uint16_t refused; /* status to answer at once, 0: none */
	const char *why;
	uint8_t method;
};

struct gw_answer {
	uint16_t status;
	bool close;
	uint64_t retry_ns; /* 0: no Retry-After */
	uint32_t worker;
	const struct weir_trace *trace;
	const char *body;
	uint32_t body_bytes;
};

extern const http_parser_settings gw_request_settings;
void gw_request_reset(struct gw_request *request);
/* The status for a parser that gave up, and why in words. */
uint16_t gw_parser_status(const http_parser *parser, const char **ret_why);
/* Returns the length, 0 if there is no room. */
uint32_t gw_answer_format(const struct gw_answer *answer, char *ret_text, uint32_t text_bytes);

/* --- worker ------------------------------------------------------------------------------ */

struct gw_worker;

enum conn_state { CONN_READ, CONN_WORK, CONN_SEND, CONN_DRAIN };

/* One client.  It does one thing at a time, so one operation is enough. */
struct conn {
	struct weir_op op;
	struct gw_worker *worker;
	struct conn *next;
	struct conn *prev;
	enum conn_state state;
	int fd;
	char peer[GW_CLIENT_BYTES];
	uint64_t active_ns;
	http_parser parser;
	uint32_t in_begin;
	uint32_t in_end;
	uint32_t out_begin;
	uint32_t out_end;
	uint64_t drained;
	/* The request under way. */
	struct gw_request request;
	struct weir_span span;
	struct weir_call call;
	struct weir_msg msg;
	uint64_t start_ns;
	uint64_t asked_ns;
	uint64_t wait_ns;
	uint32_t weight;
	uint16_t status;
	bool admitted;
	bool closing;
	char in[GW_HEADER_BYTES];
	char out[GW_ANSWER_BYTES];
};

/* One connection to the upstream, kept for the next request. */
struct link {
	struct weir_op op;
	struct gw_worker *worker;
	struct link *next;
	struct conn *conn; /* NULL when idle */
	int fd;
	bool connected;
	bool timed_out;
	bool complete;
	bool keep_alive;
	uint64_t until_ns;
	http_parser parser;
	struct weir_span span;
	uint32_t out_begin;
	uint32_t out_end;
	uint32_t body_used;
	char out[GW_TARGET_BYTES + 256];
	char in[GW_ANSWER_BYTES];
	char body[1024];
};

struct gw_worker {
	struct gw gw;
	struct weir_loop *loop;
	struct weir_op accept_op;
	struct weir_op tick_op;
	struct sockaddr_un upstream;
	struct conn *conns;
	struct link *links;
	uint32_t conn_count;
	uint32_t pid;
	uint64_t seq;
	int listen_fd;
	bool accepting;
	bool stopping;
};

int gw_worker_main(int listen_fd);

/* request.c: what is decided about a request whose header is complete. */
void request_begin(struct conn *conn);
/* conn.c: the answer is known; log it, send it.  `retry_ns` 0: no Retry-After. */
void conn_answer(struct conn *conn, uint16_t status, const char *body, uint64_t retry_ns);
void conn_close(struct conn *conn);
void conn_open(struct gw_worker *worker, int fd);
/* Close who has been idle too long, and when stopping who has no request under way. */
void conns_tick(struct gw_worker *worker, uint64_t now_ns);
/* link.c: send the request of conn on; request_upstream_done() follows, perhaps at once. */
void link_call(struct conn *conn);
void link_tick(struct gw_worker *worker, uint64_t now_ns);
void links_close(struct gw_worker *worker);
void request_upstream_done(struct conn *conn, int status, const char *body);

/* --- the other processes ----------------------------------------------------------------- */

int gw_master_main(int port);
int gw_upstream_main(void);
int gw_stage_main(const char *name);
int gw_sink_main(void);
int gw_job_main(void);
/* Print what the segment's books say, as shell assignments. */
int gw_books_main(void);
/* Check an access log line by line, print what it says, as shell assignments. */
int gw_audit_main(const char *path);
/* Kill a worker that holds all permits, and measure. */
int gw_killprobe_main(int port);

#endif
