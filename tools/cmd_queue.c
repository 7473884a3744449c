/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir queue: feed, drain, look into and close a queue. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

#define SLOTS_DEFAULT 256u
#define BYTES_DEFAULT 1024u

/* The queue of a command; `create`: make it if there is none. */
struct opened {
	struct weir_segment *seg;
	struct weir_queue *queue;
	struct target target;
};

static int compare(const struct cli *cli, const struct opened *q)
{
	struct weir_queue_stat stat;
	uint64_t slots = 2;
	char why[128] = "";
	struct fault fault = {.why = why, .hint = "leave the options out to use what is there"};

	while (slots < cli->slots)
		slots *= 2;
	if (weir_queue_stat(q->queue, &stat) < 0)
		return 0;
	if (cli->slots && slots != stat.slots)
		snprintf(why, sizeof(why), "it has %u slots, --slots says %llu", stat.slots,
			 (unsigned long long)cli->slots);
	else if (cli->bytes && cli->bytes != stat.bytes)
		snprintf(why, sizeof(why), "its messages have up to %u bytes, --bytes says %llu",
			 stat.bytes, (unsigned long long)cli->bytes);
	return why[0] ? fail(EEXIST, &fault, "cannot use queue '%s'", target_text(&q->target)) : 0;
}

static void close_queue(struct opened *q)
{
	weir_queue_close(q->queue);
	weir_segment_close(q->seg);
}

static int open_queue(const struct cli *cli, bool create, struct opened *ret)
{
	struct weir_queue_opts opts =
		WEIR_OPTS(queue, .slots = (uint32_t)(cli->slots ? cli->slots : SLOTS_DEFAULT),
			  .bytes = (uint32_t)(cli->bytes ? cli->bytes : BYTES_DEFAULT),
			  .tries_max = (uint32_t)cli->tries);
	int status = target_parse(cli, cli->argv[0], true, &ret->target);
	int r;

	ret->queue = NULL;
	if (status)
		return status;
	if (!ret->target.object[0])
		return cli_usage(cli, "'%s' names no object", cli->argv[0]);
	status = fail_open(&ret->target, &ret->seg);
	if (status)
		return status;
	r = weir_queue_open(ret->seg, ret->target.object, NULL, &ret->queue);
	if (r == 0)
		status = compare(cli, ret);
	else if (r == -ENOENT && create)
		r = weir_queue_open(ret->seg, ret->target.object, &opts, &ret->queue);
	if (r < 0)
		status = fail_object(&ret->target, "queue", r,
				     r == -ENOENT ? "the first 'weir queue put' makes it" : NULL);
	if (status)
		close_queue(ret);
	return status;
}

/* How a send or a receive ended; 0 goes on. */
static int ended(const struct cli *cli, const struct opened *q, const char *what, int r)
{
	if (r == 0)
		return 0;
	if (r == -EAGAIN) {
		if (!cli->quiet)
			fprintf(stderr, "weir: queue '%s' is %s\n", target_text(&q->target), what);
		return EXIT_NO;
	}
	if (r == -ESHUTDOWN && cli->quiet)
		return EXIT_NO;
	if (r == -ECANCELED && run_signal_seen())
		return EXIT_CANCELLED;
	return fail(r, NULL, "queue '%s' is %s", target_text(&q->target), what);
}

/* --- put --------------------------------------------------------------------------------- */

static int put_one(const struct cli *cli, const struct opened *q, const char *data, size_t bytes)
{
	struct fault fault = {.hint = "make the queue with a greater --bytes"};
	struct weir_queue_stat stat;
	struct weir_ctx ctx;
	char why[96];
	int r;

	weir_queue_stat(q->queue, &stat);
	if (bytes > stat.bytes) {
		snprintf(why, sizeof(why), "%zu bytes, and at most %u fit", bytes, stat.bytes);
		fault.why = why;
		return fail(EMSGSIZE, &fault, "cannot send to queue '%s'", target_text(&q->target));
	}
	if (cli->has_timeout) {
		weir_ctx_init(&ctx, NULL, cli->timeout_ns);
		run_cancel_on_signal(&ctx);
		r = weir_queue_send(q->queue, data, (uint32_t)bytes, &ctx);
	} else {
		r = weir_queue_try_send(q->queue, data, (uint32_t)bytes);
	}
	return ended(cli, q, r == -ESHUTDOWN ? "closed" : "full", r);
}

static int put_lines(const struct cli *cli, const struct opened *q)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int status = 0;

	while (status == 0 && (n = getline(&line, &room, stdin)) >= 0) {
		if (n > 0 && line[n - 1] == '\n')
			n--;
		status = put_one(cli, q, line, (size_t)n);
	}
	free(line);
	if (status == 0 && ferror(stdin))
		status = fail(errno, NULL, "cannot read the input");
	return status;
}

int weir_cmd_queue_put(int argc, char **argv)
{
	struct opened q;
	struct cli cli;
	int status;

	cli_parse(argc, argv, 1, -1, &cli);
	status = open_queue(&cli, true, &q);
	if (status)
		return status;
	if (cli.argc == 1)
		status = put_lines(&cli, &q);
	for (int i = 1; status == 0 && i < cli.argc; i++)
		status = put_one(&cli, &q, cli.argv[i], strlen(cli.argv[i]));
	close_queue(&q);
	return status;
}

/* --- get and peek ------------------------------------------------------------------------ */

/* A message as JSON: as text where it is text, else in hexadecimal. */
static void set_data(json_t *j, const uint8_t *data, uint32_t bytes)
{
	json_t *text = json_stringn((const char *)data, bytes);
	char *hex;

	json_object_set_new(j, "bytes", out_u64(bytes));
	json_object_set_new(j, "text", text ? text : json_null());
	if (text)
		return;
	hex = malloc(2 * (size_t)bytes + 1);
	for (uint32_t i = 0; hex && i < bytes; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", data[i]);
	if (hex)
		json_object_set_new(j, "hex", json_string(hex));
	free(hex);
}

/* Write the message out; only when that worked is it off the queue. */
static int deliver(const struct cli *cli, struct opened *q, struct weir_msg *msg)
{
	json_t *j;

	if (cli->json) {
		j = out_document("weir.message/1");
		json_object_set_new(j, "position", out_u64(msg->position));
		json_object_set_new(j, "tries", out_u64(msg->tries));
		set_data(j, msg->data, msg->bytes);
		out_json(j, true);
	} else {
		fwrite(msg->data, 1, msg->bytes, stdout);
		putchar('\n');
	}
	if (fflush(stdout) == EOF || ferror(stdout)) {
		int error = errno;

		weir_queue_put_back(q->queue, msg);
		clearerr(stdout);
		return fail(error, NULL, "cannot write the message; it is back in the queue");
	}
	weir_queue_done(q->queue, msg);
	return 0;
}

int weir_cmd_queue_get(int argc, char **argv)
{
	uint64_t want;
	struct weir_msg msg;
	struct weir_ctx ctx;
	struct opened q;
	struct cli cli;
	int status;

	cli_parse(argc, argv, 1, 1, &cli);
	want = cli.number ? cli.number : 1;
	status = open_queue(&cli, false, &q);
	if (status)
		return status;
	if (cli.has_timeout) {
		weir_ctx_init(&ctx, NULL, cli.timeout_ns);
		run_cancel_on_signal(&ctx);
	}
	for (uint64_t i = 0; status == 0 && i < want; i++) {
		int r = cli.has_timeout ? weir_queue_take(q.queue, &msg, &ctx)
					: weir_queue_try_take(q.queue, &msg);

		status = ended(&cli, &q, r == -ESHUTDOWN ? "closed and drained" : "empty", r);
		if (status == 0)
			status = deliver(&cli, &q, &msg);
	}
	close_queue(&q);
	return status;
}

static void print_peeked(const struct cli *cli, json_t *j, const uint8_t *data, uint32_t bytes)
{
	char text[64];

	if (cli->json)
		return;
	text_clean(text, sizeof(text), (const char *)data, bytes);
	printf("%12lld %3lld %7u  %s%s\n",
	       (long long)json_integer_value(json_object_get(j, "position")),
	       (long long)json_integer_value(json_object_get(j, "tries")), bytes, text,
	       strnlen((const char *)data, bytes) >= sizeof(text) ? "..." : "");
}

/* The committed messages in their order, of a copy. */
static json_t *peek(const struct cli *cli, const struct queue_view *v)
{
	uint64_t want = cli->number ? cli->number : 10;
	json_t *array = json_array();
	uint64_t count = v->shm->slot_count;

	/* A copy that was made while many came and went has holes; each slot is seen once. */
	for (uint64_t n = 0; n < count && json_array_size(array) < want; n++) {
		uint64_t position = (v->first + n) & WEIR_QUEUE_TAIL_POS_MAX;
		uint32_t bytes;
		uint32_t tries;
		const uint8_t *data = queue_message(v, position, &bytes, &tries);
		json_t *j;

		if (!data)
			continue;
		j = json_object();
		json_object_set_new(j, "position", out_u64(position));
		json_object_set_new(j, "tries", out_u64(tries));
		set_data(j, data, bytes);
		print_peeked(cli, j, data, bytes);
		json_array_append_new(array, j);
	}
	return array;
}

int weir_cmd_queue_peek(int argc, char **argv)
{
	const struct snap_object *o;
	struct queue_view view;
	struct snapshot snap;
	struct target target;
	json_t *document;
	json_t *array;
	struct cli cli;
	char why[96];
	int status;

	cli_parse(argc, argv, 1, 1, &cli);
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (snapshot_take(target.segment, &snap) < 0) {
		status = snapshot_fail(&snap);
		snapshot_drop(&snap);
		return status;
	}
	o = snapshot_object(&snap, target.object);
	if (!o || o->type != WEIR_OBJECT_TYPE_QUEUE) {
		status = fail_object(&target, "queue", o ? -EEXIST : -ENOENT, NULL);
	} else if (!queue_view(&snap, o, &view, why)) {
		status = fail(EBADMSG, &(struct fault){.path = snap.path, .why = why},
			      "cannot look into queue '%s'", target_text(&target));
	} else {
		array = peek(&cli, &view);
		status = json_array_size(array) ? EXIT_DONE : EXIT_NO;
		document = out_document("weir.peek/1");
		json_object_set_new(document, "messages", array);
		if (cli.json)
			out_json(document, cli.json_lines);
		else
			json_decref(document);
	}
	snapshot_drop(&snap);
	return status;
}

int weir_cmd_queue_close(int argc, char **argv)
{
	struct opened q;
	struct cli cli;
	char question[PATH_MAX + 128];
	int status;

	cli_parse(argc, argv, 1, 1, &cli);
	status = open_queue(&cli, false, &q);
	if (status)
		return status;
	snprintf(question, sizeof(question), "close queue '%s' for good: no more sends?",
		 target_text(&q.target));
	if (cli.dry_run) {
		printf("would close queue '%s'\n", target_text(&q.target));
	} else if (!cli_confirm(&cli, question)) {
		status = EXIT_USAGE;
	} else {
		weir_queue_shutdown(q.queue);
		if (!cli.quiet)
			printf("closed queue '%s'; what is in it can still be received\n",
			       target_text(&q.target));
	}
	close_queue(&q);
	return status;
}
