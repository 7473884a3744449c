/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The stages parse, filter and batch: each a process of its own between two queues. */
/*
 * Any of them may die at any moment.  What it had taken and not done is delivered again, so the
 * next stage may see a record twice but never misses one; the position that parse puts into each
 * record tells the sink which ones it has.
 *
 * Batch takes many messages before it sends one, and is done with them only when the batch is in
 * the next queue: a batch in its own memory alone would die with it.
 */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct weir_ctx stop; /* cancelled by SIGTERM */

static void on_term(int signo)
{
	(void)signo;
	(void)weir_ctx_cancel(&stop);
}

/* Text to record.  A line that is none stops the stage: our own workers wrote it. */
static int parse(void *user, const struct weir_msg *msg, struct weir_msg *out)
{
	struct gw_record record;
	char text[GW_LINE_BYTES];
	int r;

	(void)user;
	if (!msg->bytes || msg->bytes > sizeof(text))
		return -EBADMSG;
	memcpy(text, msg->data, msg->bytes);
	text[msg->bytes - 1] = 0;
	r = gw_record_parse(text, &record);
	if (r < 0)
		return r;
	record.position = msg->position;
	memcpy(out->data, &record, sizeof(record));
	out->bytes = sizeof(record);
	return 1;
}

/* What stands behind the '?' may be a secret and is not for the log. */
static int filter(void *user, const struct weir_msg *msg, struct weir_msg *out)
{
	struct gw_record record;
	char *query;

	(void)user;
	if (msg->bytes != sizeof(record))
		return -EBADMSG;
	memcpy(&record, msg->data, sizeof(record));
	query = memchr(record.target, '?', sizeof(record.target) - 2);
	if (query)
		memcpy(query, "?", 2);
	memcpy(out->data, &record, sizeof(record));
	out->bytes = sizeof(record);
	return 1;
}

/* --- batch ------------------------------------------------------------------------------- */

/* Take the first message, waiting, and whatever else is there. */
static int batch_take(struct weir_queue *in, struct weir_msg *ret_msgs, uint32_t *ret_count)
{
	uint32_t n;
	int r;

	r = weir_queue_take(in, &ret_msgs[0], &stop);
	if (r < 0)
		return r;
	for (n = 1; n < GW_BATCH; n++)
		if (weir_queue_try_take(in, &ret_msgs[n]) < 0)
			break;
	*ret_count = n;
	return 0;
}

static int batch_send(struct weir_queue *out, const struct weir_msg *msgs, uint32_t count)
{
	struct weir_msg slot;
	uint8_t *data;
	int r;

	r = weir_queue_loan(out, &slot, &stop);
	if (r < 0)
		return r;
	data = slot.data;
	for (uint32_t i = 0; i < count; i++)
		memcpy(data + i * sizeof(struct gw_record), msgs[i].data, sizeof(struct gw_record));
	slot.bytes = count * (uint32_t)sizeof(struct gw_record);
	return weir_queue_commit(out, &slot);
}

static int batch_run(struct weir_queue *in, struct weir_queue *out)
{
	struct weir_msg msgs[GW_BATCH];
	uint32_t count;
	int r;

	for (;;) {
		r = batch_take(in, msgs, &count);
		if (r == -ESHUTDOWN)
			return weir_queue_shutdown(out);
		if (r < 0)
			return r;
		r = batch_send(out, msgs, count);
		if (r < 0)
			return r; /* What we took goes back when we are gone. */
		for (uint32_t i = 0; i < count && r == 0; i++)
			r = weir_queue_done(in, &msgs[i]);
		if (r < 0)
			return r;
	}
}

/* --- all --------------------------------------------------------------------------------- */

int gw_stage_main(const char *name)
{
	struct gw gw;
	int r;

	(void)weir_ctx_init(&stop, NULL, UINT64_MAX);
	gw_on_term(on_term);
	r = gw_open(&gw, name);
	if (r < 0)
		return r;
	if (!strcmp(name, "parse"))
		r = weir_stage_run(&WEIR_OPTS(stage, .in = gw.queues[GW_LOG],
					      .out = gw.queues[GW_PARSED], .fn = parse),
				   &stop);
	else if (!strcmp(name, "filter"))
		r = weir_stage_run(&WEIR_OPTS(stage, .in = gw.queues[GW_PARSED],
					      .out = gw.queues[GW_FILTERED], .fn = filter),
				   &stop);
	else if (!strcmp(name, "batch"))
		r = batch_run(gw.queues[GW_FILTERED], gw.queues[GW_BATCHES]);
	else
		r = -EINVAL;
	if (r < 0)
		gw_complain(name, r);
	gw_close(&gw);
	return r;
}
