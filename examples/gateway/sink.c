/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last stage: batches to the access log, each record exactly once, by io_uring. */
/*
 *	take --> lines not in the file yet --> write (behind what is whole) --> sync --> done
 *
 * The file itself is the committed offset.  A new sink reads it, cuts off a half line, and knows
 * by their positions which records are in; a batch is done only when it is on disk, so what a dead
 * sink had under way comes again and only what is missing is written.
 */
#include "gateway.h"

#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The positions in the file.  Open addressing, at most half full, 0 is an empty place. */
struct seen {
	uint64_t *places; /* position + 1; no queue lives long enough for the overflow */
	uint64_t count;
	uint64_t room;
};

struct sink {
	struct gw gw;
	struct weir_loop *loop;
	struct weir_op op;
	struct weir_msg msg;
	struct seen seen;
	int fd;
	bool syncing;
	int error;
	uint64_t offset;
	uint32_t out_begin;
	uint32_t out_end;
	char out[GW_BATCH * GW_LINE_BYTES];
};

/* --- which records are in ---------------------------------------------------------------- */

/* True if it was not in before. */
static bool seen_put(struct seen *seen, uint64_t position)
{
	uint64_t at = position * 0x9e3779b97f4a7c15u & (seen->room - 1);

	while (seen->places[at]) {
		if (seen->places[at] == position + 1)
			return false;
		at = (at + 1) & (seen->room - 1);
	}
	seen->places[at] = position + 1;
	seen->count++;
	return true;
}

/* Room for one more. */
static int seen_grow(struct seen *seen)
{
	struct seen bigger = {.room = seen->room ? seen->room * 2 : 1u << 16};

	if (seen->room && seen->count < seen->room / 2)
		return 0;
	bigger.places = calloc(bigger.room, sizeof(*bigger.places));
	if (!bigger.places)
		return -ENOMEM;
	for (uint64_t i = 0; i < seen->room; i++)
		if (seen->places[i])
			seen_put(&bigger, seen->places[i] - 1);
	free(seen->places);
	*seen = bigger;
	return 0;
}

/* Read what an earlier sink left, up to the last whole line. */
static int sink_resume(struct sink *sink)
{
	int fd = dup(sink->fd);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char line[GW_LINE_BYTES];
	uint64_t position;
	int r = seen_grow(&sink->seen);

	if (!file)
		return -errno;
	while (r == 0 && fgets(line, sizeof(line), file) && strchr(line, '\n')) {
		if (sscanf(line, "%lu", &position) != 1) {
			r = -EBADMSG;
			break;
		}
		seen_put(&sink->seen, position);
		sink->offset += strlen(line);
		r = seen_grow(&sink->seen);
	}
	fclose(file);
	if (r == 0 && ftruncate(sink->fd, (off_t)sink->offset) < 0)
		r = -errno;
	return r;
}

/* --- take, write, sync, done ------------------------------------------------------------- */

static void sink_take(struct sink *sink);

static void sink_fail(struct sink *sink, int error)
{
	sink->error = error;
	(void)weir_loop_stop(sink->loop);
}

static void sink_done(struct sink *sink)
{
	int r = weir_queue_done(sink->gw.queues[GW_BATCHES], &sink->msg);

	if (r < 0)
		sink_fail(sink, r);
	else
		sink_take(sink);
}

static void on_write(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct sink *sink = op->user;
	int r;

	if (result < 0 || (result == 0 && !sink->syncing)) {
		sink_fail(sink, result ? result : -EIO);
		return;
	}
	if (sink->syncing) {
		sink->syncing = false;
		sink_done(sink);
		return;
	}
	sink->out_begin += (uint32_t)result;
	sink->offset += (uint32_t)result;
	if (sink->out_begin < sink->out_end) {
		r = weir_loop_write(loop, op, sink->fd, sink->out + sink->out_begin,
				    sink->out_end - sink->out_begin, sink->offset);
	} else {
		sink->syncing = true;
		r = weir_loop_fdatasync(loop, op, sink->fd);
	}
	if (r < 0)
		sink_fail(sink, r);
}

/* Lines for the records that are not in the file. */
static int sink_format(struct sink *sink)
{
	struct gw_record record;
	const uint8_t *data = sink->msg.data;
	int n;
	int r;

	sink->out_begin = 0;
	sink->out_end = 0;
	if (sink->msg.bytes % sizeof(record) || sink->msg.bytes > GW_BATCH * sizeof(record))
		return -EBADMSG;
	for (uint32_t i = 0; i < sink->msg.bytes / sizeof(record); i++) {
		memcpy(&record, data + i * sizeof(record), sizeof(record));
		r = seen_grow(&sink->seen);
		if (r < 0)
			return r;
		if (!seen_put(&sink->seen, record.position))
			continue;
		n = gw_record_format(&record, sink->out + sink->out_end, GW_LINE_BYTES);
		if (n < 0 || (uint32_t)n >= GW_LINE_BYTES)
			return -EBADMSG;
		sink->out_end += (uint32_t)n;
	}
	return 0;
}

static void on_take(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct sink *sink = op->user;

	if (result < 0) {
		sink_fail(sink, result == -ESHUTDOWN ? 0 : result);
		return;
	}
	result = sink_format(sink);
	if (result == 0 && !sink->out_end) {
		sink_done(sink);
		return;
	}
	op->fn = on_write;
	if (result == 0)
		result =
			weir_loop_write(loop, op, sink->fd, sink->out, sink->out_end, sink->offset);
	if (result < 0)
		sink_fail(sink, result);
}

static void sink_take(struct sink *sink)
{
	int r;

	sink->op.fn = on_take;
	r = weir_loop_take(sink->loop, &sink->op, sink->gw.queues[GW_BATCHES], &sink->msg);
	if (r < 0)
		sink_fail(sink, r);
}

static struct weir_loop *stop_loop;

static void on_term(int signo)
{
	(void)signo;
	(void)weir_loop_stop(stop_loop);
}

static int sink_open(struct sink *sink)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/access.log", sink->gw.run);
	sink->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (sink->fd < 0)
		return -errno;
	return sink_resume(sink);
}

int gw_sink_main(void)
{
	static struct sink sink;
	int r;

	r = gw_open(&sink.gw, "write");
	if (r < 0)
		return r;
	r = sink_open(&sink);
	if (r < 0)
		return gw_complain("access.log", r);
	r = weir_loop_create(NULL, &sink.loop);
	if (r < 0)
		return gw_complain("io_uring", r);
	stop_loop = sink.loop;
	gw_on_term(on_term);
	sink.op.user = &sink;
	sink_take(&sink);
	r = weir_loop_run(sink.loop, NULL);
	if (r == 0)
		r = sink.error;
	if (r < 0)
		gw_complain("access.log", r);
	gw_on_term(SIG_IGN);
	(void)weir_loop_close(sink.loop);
	close(sink.fd);
	free(sink.seen.places);
	gw_close(&sink.gw);
	return r;
}
