/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Spans and waits as lines for people and as JSON. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "trace.h"

#define LINE_BYTES 512

const char *trace_hex(const uint64_t *id, uint32_t words, char ret_text[33])
{
	uint8_t bytes[16];

	memcpy(bytes, id, words * sizeof(*id));
	for (uint32_t i = 0; i < words * 8; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
	return ret_text;
}

const char *trace_result(const struct trace_item *item)
{
	if (item->open)
		return "waiting";
	if (item->result >= 0)
		return "woken";
	if (item->result == -EAGAIN)
		return "changed before it slept";
	if (item->result == -ETIMEDOUT)
		return "timed out";
	if (item->result == -EINTR || item->result <= -512)
		return "interrupted";
	return "failed";
}

uint64_t trace_cpu_ns(const struct trace_item *item)
{
	uint64_t seen_ns = item->end_ns > item->key_ns ? item->end_ns - item->key_ns : 0;
	uint64_t off_ns = item->blocked_ns + item->runqueue_ns;

	return seen_ns > off_ns ? seen_ns - off_ns : 0;
}

/* --- lines --------------------------------------------------------------------------------- */

/* Append to a line; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void add(char line[LINE_BYTES], const char *format,
						      ...)
{
	size_t used = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + used, LINE_BYTES - used, format, args);
	va_end(args);
}

static void add_who(char line[LINE_BYTES], const struct trace_who *who)
{
	const char *name = who->role[0] ? who->role : who->exe;

	add(line, "tid %u", who->tid);
	if (who->pid && name[0])
		add(line, " (%s, pid %u)", name, who->pid);
	else if (who->pid)
		add(line, " (pid %u)", who->pid);
}

static void add_time(char line[LINE_BYTES], const char *what, uint64_t ns)
{
	char text[TEXT_BYTES];

	if (ns)
		add(line, ", %s %s", what, text_duration(ns, text));
}

static void add_holder(char line[LINE_BYTES], const struct trace_item *item)
{
	char id[33];

	if (!item->holder)
		return;
	add(line, "; in the way: ");
	add_who(line, item->holder);
	if (item->holder_span) {
		add(line, " in span %s", trace_hex(&item->holder_span, 1, id));
		if (item->holder_name[0])
			add(line, " \"%s\"", item->holder_name);
	}
	if (item->holder_changes)
		add(line, ", the last of %u", item->holder_changes + 1);
}

static void add_wait(char line[LINE_BYTES], const struct trace_item *item)
{
	char text[TEXT_BYTES];

	add(line, ", %s", trace_result(item));
	if (item->waker) {
		add(line, " by ");
		add_who(line, item->waker);
	}
	add_holder(line, item);
	add(line, "; blocked %s", text_duration(item->blocked_ns, text));
	add_time(line, "run queue", item->runqueue_ns);
	add_time(line, "spin", item->spin_ns);
	add_time(line, "on cpu", trace_cpu_ns(item));
	add_time(line, "not seen", item->unseen_ns);
	if (item->calls > 1)
		add(line, ", %u sleeps", item->calls);
}

static const char *kind_name(uint32_t kind)
{
	static const char *const kinds[] = {"?",      "internal", "server",
					    "client", "producer", "consumer"};

	return kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind] : "?";
}

static void add_span(char line[LINE_BYTES], const struct trace_item *item)
{
	add(line, ", %s", kind_name(item->kind));
	if (item->status == WEIR_SPAN_STATUS_ERROR)
		add(line, ", FAILED");
	if (item->code)
		add(line, ", code %u", item->code);
	if (item->object[0])
		add(line, ", on %s", item->object);
	add_time(line, "waited", item->wait_ns);
	add_holder(line, item);
}

/* The wall clock at `ns`: only the time of day, or all of it. */
static const char *clock_text(const struct trace *t, uint64_t ns, bool full,
			      char ret_text[TEXT_BYTES + 8])
{
	int64_t wall_ns = t->wall_ns + (int64_t)ns;
	time_t seconds = (time_t)(wall_ns / 1000000000);
	int part_ns = (int)(wall_ns % 1000000000);
	char text[TEXT_BYTES];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), full ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &tm);
	snprintf(ret_text, TEXT_BYTES + 8, full ? "%.21s.%09dZ" : "%.21s.%06d", text,
		 full ? part_ns : part_ns / 1000);
	return ret_text;
}

void trace_text_item(const struct trace *t, const struct trace_item *item, uint32_t depth)
{
	char line[LINE_BYTES] = "";
	char clock[TEXT_BYTES + 8];
	char duration[TEXT_BYTES];

	if (item->who)
		add_who(line, item->who);
	if (item->how == TRACE_WAIT)
		add_wait(line, item);
	else
		add_span(line, item);
	printf("%s %10s  %*s%s%s  %s:%s  %s\n", clock_text(t, item->start_ns, false, clock),
	       text_duration(item->end_ns - item->start_ns, duration),
	       depth ? (int)(2 * (depth < 20 ? depth : 20)) - 2 : 0, "", depth ? "- " : "",
	       item->name[0] ? item->name : "(unnamed)", item->source->snap.name,
	       item->how == TRACE_WAIT ? snapshot_type(item->type) : "span", line);
}

/* --- JSON ---------------------------------------------------------------------------------- */

static json_t *id_or_null(const uint64_t *id, uint32_t words)
{
	char text[33];

	for (uint32_t i = 0; i < words; i++) {
		if (id[i])
			return json_string(trace_hex(id, words, text));
	}
	return json_null();
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static void set_who(json_t *object, const struct trace_who *who)
{
	json_object_set_new(object, "tid", who ? out_u64(who->tid) : json_null());
	json_object_set_new(object, "pid", who && who->pid ? out_u64(who->pid) : json_null());
	json_object_set_new(object, "role", who ? text_or_null(who->role) : json_null());
	json_object_set_new(object, "exe", who ? text_or_null(who->exe) : json_null());
}

static json_t *who_or_null(const struct trace_who *who)
{
	json_t *object;

	if (!who)
		return json_null();
	object = json_object();
	set_who(object, who);
	return object;
}

static void set_wait(json_t *object, const struct trace_item *item)
{
	json_object_set_new(object, "result", json_string(trace_result(item)));
	json_object_set_new(object, "blocked_ns", out_u64(item->blocked_ns));
	json_object_set_new(object, "runqueue_ns", out_u64(item->runqueue_ns));
	json_object_set_new(object, "spin_ns", out_u64(item->spin_ns));
	json_object_set_new(object, "cpu_ns", out_u64(trace_cpu_ns(item)));
	json_object_set_new(object, "unseen_ns", out_u64(item->unseen_ns));
	json_object_set_new(object, "sleeps", out_u64(item->calls));
	json_object_set_new(object, "waker", who_or_null(item->waker));
}

static void set_span(json_t *object, const struct trace_item *item)
{
	static const char *const status[] = {"unset", "ok", "error"};

	json_object_set_new(object, "kind", json_string(kind_name(item->kind)));
	json_object_set_new(object, "status",
			    json_string(item->status < 3 ? status[item->status] : "?"));
	json_object_set_new(object, "code", out_u64(item->code));
	json_object_set_new(object, "wait_ns", out_u64(item->wait_ns));
	json_object_set_new(object, "value", out_u64(item->value));
}

static json_t *holder(const struct trace_item *item)
{
	json_t *object = who_or_null(item->holder);

	if (!item->holder)
		return object;
	json_object_set_new(object, "span_id", id_or_null(&item->holder_span, 1));
	json_object_set_new(object, "span_name", text_or_null(item->holder_name));
	json_object_set_new(object, "changes", out_u64(item->holder_changes));
	return object;
}

json_t *trace_json_item(const struct trace *t, const struct trace_item *item)
{
	char clock[TEXT_BYTES + 8];
	json_t *object = json_object();
	bool wait = item->how == TRACE_WAIT;

	json_object_set_new(object, "type", json_string(wait ? "wait" : "span"));
	json_object_set_new(object, "name", text_or_null(item->name));
	json_object_set_new(object, "start_time",
			    json_string(clock_text(t, item->start_ns, true, clock)));
	json_object_set_new(object, "start_ns", out_u64(item->start_ns));
	json_object_set_new(object, "duration_ns", out_u64(item->end_ns - item->start_ns));
	json_object_set_new(object, "segment", json_string(item->source->snap.name));
	json_object_set_new(object, "object", text_or_null(item->object));
	if (wait)
		json_object_set_new(object, "object_type", json_string(snapshot_type(item->type)));
	json_object_set_new(object, "trace_id", id_or_null(item->trace, 2));
	json_object_set_new(object, "span_id", id_or_null(&item->span, 1));
	json_object_set_new(object, "parent_id", id_or_null(&item->parent, 1));
	set_who(object, item->who);
	if (wait)
		set_wait(object, item);
	else
		set_span(object, item);
	json_object_set_new(object, "holder", holder(item));
	return object;
}
