/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A batch of spans and waits for other people's viewers: Chrome trace events (chrome://tracing,
 * Perfetto, speedscope) and OTLP/JSON (what POST /v1/traces of an OpenTelemetry collector takes).
 *
 * 2026-11, OTLP in JSON: ids are lower-case hexadecimal, 64-bit numbers are strings, enums are
 * numbers, names are lowerCamelCase.  A link needs the trace id of the span that it names, so a
 * holder whose span is not in the batch is an attribute only.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define FLAGS_KNOWN   0x100u /* whether the parent is remote is known ... */
#define FLAGS_REMOTE  0x200u /* ... and it is */
#define FLAGS_SAMPLED 1u

static json_t *hex(const uint64_t *id, uint32_t words)
{
	char text[33];

	return json_string(trace_hex(id, words, text));
}

/* --- Chrome trace events ------------------------------------------------------------------- */

/* Microseconds with three decimals: exact for some hundred days of uptime. */
static json_t *us(uint64_t ns)
{
	return json_real((double)ns / 1000.0);
}

static json_t *event(const char *phase, const struct trace_who *who, uint64_t at_ns)
{
	uint32_t tid = who ? who->tid : 0;

	return json_pack("{s:s, s:i, s:i, s:o}", "ph", phase, "pid",
			 (int)(who && who->pid ? who->pid : tid), "tid", (int)tid, "ts", us(at_ns));
}

static void chrome_slice(const struct trace *t, const struct trace_item *item, json_t *events)
{
	json_t *slice = event("X", item->who, item->start_ns);

	json_object_set_new(slice, "dur", us(item->end_ns - item->start_ns));
	json_object_set_new(slice, "name", json_string(item->name[0] ? item->name : "(unnamed)"));
	json_object_set_new(slice, "cat", json_string(item->how == TRACE_WAIT ? "wait" : "span"));
	json_object_set_new(slice, "args", trace_json_item(t, item));
	json_array_append_new(events, slice);
}

/* An arrow from a thread at one time to the wait. */
static void chrome_flow(const char *name, const struct trace_who *from, uint64_t from_ns,
			const struct trace_item *item, json_t *events)
{
	uint64_t to_ns = from_ns > item->start_ns ? from_ns : item->start_ns;
	char id[40];
	char hexes[33];

	if (to_ns > item->end_ns)
		to_ns = item->end_ns;
	snprintf(id, sizeof(id), "%s-%c", trace_hex(&item->span, 1, hexes), name[0]);
	for (int end = 0; end < 2; end++) {
		json_t *flow = end ? event("f", item->who, to_ns) : event("s", from, from_ns);

		json_object_set_new(flow, "name", json_string(name));
		json_object_set_new(flow, "cat", json_string("wait"));
		json_object_set_new(flow, "id", json_string(id));
		if (end)
			json_object_set_new(flow, "bp", json_string("e"));
		json_array_append_new(events, flow);
	}
}

/* From the holder's span if it is here, so that the arrow begins in a slice; else from its thread.
 */
static void chrome_flows(const struct trace *t, const struct trace_item *item, json_t *events)
{
	const struct trace_item *span = trace_item_by_span(t, item->holder_span);
	uint64_t from_ns = item->start_ns;

	if (item->holder && item->holder != item->who) {
		if (span && from_ns > span->end_ns)
			from_ns = span->end_ns;
		if (span && from_ns < span->start_ns)
			from_ns = span->start_ns;
		chrome_flow("held by", span && span->who ? span->who : item->holder, from_ns, item,
			    events);
	}
	if (item->waker && item->waker != item->who) {
		from_ns = item->end_ns > item->runqueue_ns ? item->end_ns - item->runqueue_ns : 0;
		chrome_flow("woken by", item->waker, from_ns, item, events);
	}
}

static void chrome_label(const struct trace_who *who, json_t *events)
{
	static const char *const labels[] = {"process_name", "thread_name"};
	const char *name = who->role[0] ? who->role : who->exe;
	char text[64];

	for (int i = 0; i < 2 && name[0]; i++) {
		json_t *label = event("M", who, 0);

		snprintf(text, sizeof(text), i ? "%s/%u" : "%s", name, who->tid);
		json_object_set_new(label, "name", json_string(labels[i]));
		json_object_set_new(label, "args", json_pack("{s:s}", "name", text));
		json_array_append_new(events, label);
	}
}

json_t *trace_chrome(struct trace *t)
{
	json_t *events = json_array();

	for (size_t i = 0; i < t->source_count; i++) {
		for (const struct trace_who *who = t->sources[i]->whos; who; who = who->next)
			chrome_label(who, events);
	}
	for (uint32_t i = 0; i < t->item_count; i++) {
		if (!t->items[i].hidden)
			chrome_slice(t, &t->items[i], events);
		if (t->items[i].how == TRACE_WAIT)
			chrome_flows(t, &t->items[i], events);
	}
	return json_pack("{s:o, s:s, s:{s:s, s:s, s:o}}", "traceEvents", events, "displayTimeUnit",
			 "ns", "otherData", "schema", "weir.trace.chrome/1", "version",
			 WEIR_VERSION, "loss", trace_losses(t));
}

/* --- OTLP ---------------------------------------------------------------------------------- */

static json_t *big(uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	return json_string(text);
}

static void attribute(json_t *list, const char *key, json_t *value)
{
	json_array_append_new(list, json_pack("{s:s, s:o}", "key", key, "value", value));
}

static void attribute_text(json_t *list, const char *key, const char *text)
{
	if (text[0])
		attribute(list, key, json_pack("{s:s}", "stringValue", text));
}

static void attribute_number(json_t *list, const char *key, uint64_t n)
{
	/* It is a signed number over there. */
	attribute(list, key, json_pack("{s:o}", "intValue", big(n & INT64_MAX)));
}

static void attribute_some(json_t *list, const char *key, uint64_t n)
{
	if (n)
		attribute_number(list, key, n);
}

static void attribute_who(json_t *list, const char *prefix, const struct trace_who *who)
{
	char key[48];

	if (!who)
		return;
	snprintf(key, sizeof(key), "weir.%s.tid", prefix);
	attribute_number(list, key, who->tid);
	snprintf(key, sizeof(key), "weir.%s.pid", prefix);
	attribute_some(list, key, who->pid);
	snprintf(key, sizeof(key), "weir.%s.role", prefix);
	attribute_text(list, key, who->role);
}

static json_t *otlp_attributes(const struct trace_item *item)
{
	json_t *list = json_array();
	char text[33];

	if (item->who)
		attribute_number(list, "thread.id", item->who->tid);
	attribute_text(list, "weir.object.name", item->object);
	attribute_who(list, "holder", item->holder);
	if (item->holder_span)
		attribute_text(list, "weir.holder.span_id", trace_hex(&item->holder_span, 1, text));
	if (item->how == TRACE_SPAN) {
		attribute_some(list, "weir.code", item->code);
		attribute_some(list, "weir.value", item->value);
		attribute_some(list, "weir.wait_ns", item->wait_ns);
		return list;
	}
	attribute_text(list, "weir.object.type", snapshot_type(item->type));
	attribute_text(list, "weir.wait.result", trace_result(item));
	attribute_number(list, "weir.wait.blocked_ns", item->blocked_ns);
	attribute_number(list, "weir.wait.runqueue_ns", item->runqueue_ns);
	attribute_number(list, "weir.wait.spin_ns", item->spin_ns);
	attribute_number(list, "weir.wait.oncpu_ns", trace_cpu_ns(item));
	attribute_some(list, "weir.wait.unseen_ns", item->unseen_ns);
	attribute_number(list, "weir.wait.sleeps", item->calls);
	attribute_some(list, "weir.holder.changes", item->holder_changes);
	attribute_who(list, "waker", item->waker);
	return list;
}

static json_t *otlp_links(const struct trace_item *item)
{
	json_t *type = json_array();

	attribute_text(type, "weir.link.type", "held_by");
	return json_pack("[{s:o, s:o, s:o}]", "traceId", hex(item->holder_trace, 2), "spanId",
			 hex(&item->holder_span, 1), "attributes", type);
}

static json_t *otlp_span(const struct trace *t, const struct trace_item *item)
{
	uint64_t wall_ns = (uint64_t)t->wall_ns;
	bool remote = item->parent && (item->kind == WEIR_SPAN_KIND_SERVER ||
				       item->kind == WEIR_SPAN_KIND_CONSUMER);
	bool kind_known = item->kind >= 1 && item->kind <= 5;
	json_t *span = json_object();

	json_object_set_new(span, "traceId", hex(item->trace, 2));
	json_object_set_new(span, "spanId", hex(&item->span, 1));
	if (item->parent)
		json_object_set_new(span, "parentSpanId", hex(&item->parent, 1));
	json_object_set_new(
		span, "flags",
		json_integer(FLAGS_SAMPLED | FLAGS_KNOWN | (remote ? FLAGS_REMOTE : 0)));
	json_object_set_new(span, "name", json_string(item->name[0] ? item->name : "(unnamed)"));
	json_object_set_new(span, "kind", json_integer(kind_known ? item->kind : 0));
	json_object_set_new(span, "startTimeUnixNano", big(wall_ns + item->start_ns));
	json_object_set_new(span, "endTimeUnixNano", big(wall_ns + item->end_ns));
	json_object_set_new(span, "attributes", otlp_attributes(item));
	if (item->holder_span && (item->holder_trace[0] || item->holder_trace[1]))
		json_object_set_new(span, "links", otlp_links(item));
	json_object_set_new(span, "status",
			    item->status == 1 || item->status == 2
				    ? json_pack("{s:i}", "code", (int)item->status)
				    : json_object());
	return span;
}

static json_t *otlp_resource(const struct trace_item *item)
{
	const struct trace_who *who = item->who;
	json_t *list = json_array();
	const char *name = who && who->role[0] ? who->role : who ? who->exe : "";

	attribute_text(list, "service.name", name[0] ? name : "unknown_service");
	if (who && who->pid) {
		attribute_number(list, "process.pid", who->pid);
		attribute_text(list, "process.executable.name", who->exe);
	}
	attribute_text(list, "weir.segment", item->source->snap.name);
	return json_pack("{s:o}", "attributes", list);
}

static void otlp_kernel(const struct trace *t, json_t *list)
{
	struct weir_wait_counts n;
	uint64_t missed;

	trace_bpf_counts(t->bpf, &n, &missed);
	attribute_number(list, "weir.loss.kernel.sleeps", n.calls);
	attribute_number(list, "weir.loss.kernel.emitted", n.emitted);
	attribute_number(list, "weir.loss.kernel.reserve_failed", n.reserve_failed);
	attribute_number(list, "weir.loss.kernel.storage_failed", n.storage_failed);
	attribute_number(list, "weir.loss.kernel.vma_busy", n.vma_busy);
	attribute_number(list, "weir.loss.kernel.missed_runs", missed);
}

/* Sums, so that a collector sees what is missing. */
static json_t *otlp_scope(const struct trace *t)
{
	struct trace_ring sum = trace_rings_sum(t);
	json_t *list = json_array();

	attribute_number(list, "weir.loss.recorded", sum.recorded);
	attribute_number(list, "weir.loss.skipped", sum.skipped);
	attribute_number(list, "weir.loss.read", sum.read);
	attribute_number(list, "weir.loss.overwritten", sum.overwritten);
	attribute_number(list, "weir.loss.torn", sum.torn);
	attribute_number(list, "weir.loss.dropped", t->dropped);
	if (t->bpf)
		otlp_kernel(t, list);
	return json_pack("{s:s, s:s, s:o}", "name", "weir", "version", WEIR_VERSION, "attributes",
			 list);
}

static bool same_resource(const struct trace_item *a, const struct trace_item *b)
{
	if (a->source != b->source || !a->who != !b->who)
		return false;
	return !a->who || (a->who->pid == b->who->pid && strcmp(a->who->role, b->who->role) == 0 &&
			   strcmp(a->who->exe, b->who->exe) == 0);
}

/* One resource: the spans of one process in one segment. */
struct group {
	const struct trace_item *first;
	json_t *spans;
};

static json_t *group_find(struct group *groups, size_t *count, const struct trace *t,
			  const struct trace_item *item, json_t *resources)
{
	struct group *group = groups;
	json_t *scope;

	for (size_t i = 0; i < *count; i++) {
		if (same_resource(groups[i].first, item))
			return groups[i].spans;
	}
	group = &groups[(*count)++];
	group->first = item;
	group->spans = json_array();
	scope = json_pack("{s:o, s:o}", "scope", otlp_scope(t), "spans", group->spans);
	json_array_append_new(resources, json_pack("{s:o, s:[o]}", "resource", otlp_resource(item),
						   "scopeSpans", scope));
	return group->spans;
}

json_t *trace_otlp(struct trace *t)
{
	json_t *resources = json_array();
	struct group *groups = calloc((size_t)t->item_count + 1, sizeof(*groups));
	size_t count = 0;

	for (uint32_t i = 0; groups && i < t->item_count; i++) {
		const struct trace_item *item = &t->items[i];
		json_t *spans;

		if (item->hidden)
			continue;
		/* Without ids it is nothing to a collector. */
		if (!item->span || !(item->trace[0] || item->trace[1])) {
			t->dropped++;
			continue;
		}
		spans = group_find(groups, &count, t, item, resources);
		json_array_append_new(spans, otlp_span(t, item));
	}
	free(groups);
	return json_pack("{s:o}", "resourceSpans", resources);
}
