/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * weir events: the audit log.
 *
 * Event k is whole while its slot says 2k+2.  A writer that died leaves a torn one, which is waited
 * for a little, then skipped and counted; so are those that were overwritten before we came.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot.h"

#define POLL_NS	 100000000L
#define PATIENCE 5 /* polls that a torn event at the head is waited for */

struct reader {
	struct snapshot *snap;
	uint64_t next; /* number of the next event to print */
	uint64_t torn;
	uint64_t overwritten;
	int stuck; /* polls that `next` has not been whole */
};

static const char *const kinds[] = {"none",   "attach", "detach",  "death",  "reclaim",
				    "create", "remove", "breaker", "resize", "redeliver",
				    "skip",   "close",	"drop"};
static const char *const breaker_states[] = {"closed", "open", "half_open", "forced_open",
					     "disabled"};

static const char *breaker_state(uint64_t n)
{
	return n < 5 ? breaker_states[n] : "?";
}

static const char *kind_name(uint32_t kind)
{
	return kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind] : "unknown";
}

/* What a and b mean, in words. */
static void details(uint32_t kind, uint64_t a, uint64_t b, char *ret_text, size_t room)
{
	unsigned long long x = a;
	unsigned long long y = b;

	switch (kind) {
	case WEIR_EVENT_KIND_ATTACH:
	case WEIR_EVENT_KIND_DETACH:
		snprintf(ret_text, room, "process slot %llu", x);
		break;
	case WEIR_EVENT_KIND_DEATH:
		snprintf(ret_text, room, "pid %llu was found dead", y);
		break;
	case WEIR_EVENT_KIND_RECLAIM:
		snprintf(ret_text, room, "%llu permits of a dead thread", x);
		break;
	case WEIR_EVENT_KIND_CREATE:
		snprintf(ret_text, room, "%s", snapshot_type(a > 5 ? 0 : (uint32_t)a));
		break;
	case WEIR_EVENT_KIND_BREAKER:
		snprintf(ret_text, room, "%s -> %s", breaker_state(a), breaker_state(b));
		break;
	case WEIR_EVENT_KIND_RESIZE:
		snprintf(ret_text, room, "%llu -> %llu permits", x, y);
		break;
	case WEIR_EVENT_KIND_REDELIVER:
		snprintf(ret_text, room, "position %llu, try %llu", x, y);
		break;
	case WEIR_EVENT_KIND_SKIP:
	case WEIR_EVENT_KIND_DROP:
		snprintf(ret_text, room, "position %llu", x);
		break;
	default:
		ret_text[0] = '\0';
		break;
	}
}

static json_t *event_json(const struct reader *reader, const struct weir_event_shm *e)
{
	json_t *j = json_object();
	char time[TEXT_BYTES + 8];
	char text[96];
	char name[32];

	snapshot_object_name(reader->snap, e->object, name);
	details(e->kind, e->a, e->b, text, sizeof(text));
	json_object_set_new(j, "time", json_string(text_time(e->time_ns, time)));
	json_object_set_new(j, "time_ns", out_u64(e->time_ns));
	json_object_set_new(j, "segment", json_string(reader->snap->name));
	json_object_set_new(j, "number", out_u64(reader->next));
	json_object_set_new(j, "kind", json_string(kind_name(e->kind)));
	json_object_set_new(j, "object", e->object ? json_string(name) : json_null());
	json_object_set_new(j, "pid", out_u64(e->pid));
	json_object_set_new(j, "tid", out_u64(e->tid));
	json_object_set_new(j, "a", out_u64(e->a));
	json_object_set_new(j, "b", out_u64(e->b));
	json_object_set_new(j, "text", json_string(text));
	return j;
}

/* The next whole event of this ring, or NULL when there is none (yet). */
static json_t *next_event(struct reader *r, bool patient)
{
	const struct weir_segment_shm *h = (const void *)r->snap->base;
	uint32_t count = r->snap->header.event_count;
	uint64_t end = h->event_next;

	if (end - r->next > count && end > r->next) {
		r->overwritten += end - count - r->next;
		r->next = end - count;
	}
	for (; r->next < end; r->next++) {
		const struct weir_event_shm *e = &r->snap->events[r->next & (count - 1)];
		uint64_t seq = e->seq;
		json_t *j;

		if (seq == 2 * r->next + 2) {
			j = event_json(r, e);
			r->stuck = 0;
			r->next++;
			return j;
		}
		if (seq > 2 * r->next + 2) {
			r->overwritten++;
			continue;
		}
		if (patient && r->stuck < PATIENCE)
			return NULL;
		r->torn++;
		r->stuck = 0;
	}
	return NULL;
}

static void print_event(const struct cli *cli, json_t *j)
{
	json_t *document;

	if (cli->json) {
		document = json_object();
		json_object_set_new(document, "schema", json_string("weir.event/1"));
		json_object_update(document, j);
		json_decref(j);
		out_json(document, true);
		return;
	}
	printf("%.12s  %-16s %-10s %-16s pid %-8lld %s\n",
	       json_string_value(json_object_get(j, "time")) + 11,
	       json_string_value(json_object_get(j, "segment")),
	       json_string_value(json_object_get(j, "kind")),
	       json_is_null(json_object_get(j, "object"))
		       ? "-"
		       : json_string_value(json_object_get(j, "object")),
	       (long long)json_integer_value(json_object_get(j, "pid")),
	       json_string_value(json_object_get(j, "text")));
	json_decref(j);
}

static int by_time(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "time_ns"));
	json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "time_ns"));

	return x < y ? -1 : x > y;
}

/* What is new in all rings, in the order of time. */
static json_t **drain(struct reader *readers, size_t count, bool patient, size_t *ret_count)
{
	json_t **events = NULL;
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		json_t *j;

		while ((j = next_event(&readers[i], patient)) != NULL) {
			json_t **more = realloc(events, (n + 1) * sizeof(json_t *));

			if (!more)
				exit(fail(ENOMEM, NULL, "cannot keep the events"));
			events = more;
			events[n++] = j;
		}
		readers[i].stuck++;
	}
	if (n)
		qsort(events, n, sizeof(json_t *), by_time);
	*ret_count = n;
	return events;
}

static int refresh(struct snapshot *snap)
{
	const struct weir_segment_shm *h = &snap->header;
	int r = snapshot_again(snap, 0, sizeof(*h));

	if (r == 0)
		r = snapshot_again(snap, h->event_off,
				   h->event_count * sizeof(struct weir_event_shm));
	/* Objects may be new; only their heads are needed. */
	for (uint32_t i = 0; r == 0 && i < h->event_count; i++) {
		uint64_t off = snap->events[i].object * UINT64_C(64);

		if (off >= h->arena_off && off <= snap->bytes - 64)
			r = snapshot_again(snap, off, 64);
	}
	return r;
}

static int follow(const struct cli *cli, struct reader *readers, size_t count)
{
	struct timespec pause = {.tv_nsec = POLL_NS};

	for (;;) { /* Until somebody stops us, or a segment cannot be read any more. */
		size_t n;
		json_t **events = drain(readers, count, true, &n);

		for (size_t i = 0; i < n; i++)
			print_event(cli, events[i]);
		free(events);
		if (fflush(stdout) == EOF)
			return EXIT_DONE;
		nanosleep(&pause, NULL);
		for (size_t i = 0; i < count; i++) {
			int r = readers[i].snap->error ? 0 : refresh(readers[i].snap);

			if (r < 0) {
				readers[i].snap->error = r;
				return snapshot_fail(readers[i].snap);
			}
		}
	}
}

static void once(const struct cli *cli, struct reader *readers, size_t count)
{
	json_t *document = out_document("weir.events/1");
	json_t *array = json_array();
	uint64_t torn = 0;
	uint64_t overwritten = 0;
	size_t n;
	json_t **events = drain(readers, count, false, &n);

	for (size_t i = 0; i < n; i++) {
		if (cli->json && !cli->json_lines)
			json_array_append_new(array, events[i]);
		else
			print_event(cli, events[i]);
	}
	free(events);
	for (size_t i = 0; i < count; i++) {
		torn += readers[i].torn;
		overwritten += readers[i].overwritten;
	}
	json_object_set_new(document, "events", array);
	json_object_set_new(document, "torn", out_u64(torn));
	json_object_set_new(document, "overwritten", out_u64(overwritten));
	if (cli->json && !cli->json_lines) {
		out_json(document, false);
		return;
	}
	json_decref(document);
	if (torn || overwritten)
		fprintf(stderr, "%llu older events were overwritten, %llu are torn\n",
			(unsigned long long)overwritten, (unsigned long long)torn);
}

int weir_cmd_events(int argc, char **argv)
{
	struct reader *readers;
	struct snapshot *snaps;
	struct target target;
	struct cli cli;
	size_t count;
	size_t readable = 0;
	int status;

	cli_parse(argc, argv, 0, 1, &cli);
	if (cli.follow && cli.json && !cli.json_lines)
		cli.json_lines = true; /* A stream has no end to close a document at. */
	status = snapshot_wanted(&cli, cli.argv[0], &target, &snaps, &count);
	if (status)
		return status;
	readers = calloc(count + 1, sizeof(*readers));
	if (!readers)
		return fail(ENOMEM, NULL, "cannot read events");
	for (size_t i = 0; i < count; i++) {
		if (!snaps[i].error)
			readers[readable++].snap = &snaps[i];
	}
	if (cli.follow)
		status = follow(&cli, readers, readable);
	else
		once(&cli, readers, readable);
	free(readers);
	snapshot_drop_all(snaps, count);
	return status;
}
