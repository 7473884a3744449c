/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tracing can do here and why not more, and what got lost. */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "trace.h"

/* --- capabilities -------------------------------------------------------------------------- */

bool trace_has_capability(int number)
{
	char line[128];
	uint64_t effective = 0;
	FILE *file = fopen("/proc/self/status", "re");

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "CapEff: %" SCNx64, &effective) == 1)
			break;
	}
	fclose(file);
	return effective >> number & 1;
}

struct report {
	struct trace *t;
	struct table *table;
	json_t *list;
};

__attribute__((format(printf, 4, 5))) static void row(struct report *report, const char *what,
						      bool yes, const char *format, ...)
{
	char detail[TRACE_WHY_BYTES + 64];
	const char *cells[] = {what, yes ? "yes" : "no", detail};
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	if (report->list)
		json_array_append_new(report->list, json_pack("{s:s, s:b, s:s}", "name", what, "ok",
							      (int)yes, "detail", detail));
	else
		table_row(report->table, NULL, cells);
}

static void report_call(struct report *report, const char *name)
{
	const char *where = "";
	int r = trace_bpf_tracepoint(name, &where);

	if (r == 0)
		row(report, name, true, "seen in %s", where);
	else
		row(report, name, false, "%s: %s", where, strerror(-r));
}

static void report_privilege(struct report *report)
{
	static const struct {
		const char *name;
		int number;
		const char *use;
	} wanted[] = {{"CAP_BPF", CAP_BPF, "load the probe"},
		      {"CAP_PERFMON", CAP_PERFMON, "read the memory and times of others"},
		      {"CAP_SYS_ADMIN", CAP_SYS_ADMIN,
		       "both of them, and tracefs where it is not mounted"}};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		bool has = trace_has_capability(wanted[i].number);

		row(report, wanted[i].name, has, "to %s; you are uid %u", wanted[i].use,
		    (unsigned)geteuid());
	}
}

int trace_caps(struct trace *t)
{
	static const struct column columns[] = {
		{.name = "FEATURE"}, {.name = "OK"}, {.name = "DETAIL"}};
	struct report report = {.t = t};
	struct utsname uts = {0};
	bool btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
	json_t *document;
	int r;

	if (t->cli.json)
		report.list = json_array();
	else
		report.table = table_new(&t->cli, columns, 3);
	if (!report.list && !report.table)
		return EXIT_USAGE;
	(void)uname(&uts);
	row(&report, "spans", true, "rings in segments, read without any privilege but the file's");
	report_privilege(&report);
	row(&report, "BTF", btf, "/sys/kernel/btf/vmlinux of kernel %s", uts.release);
	report_call(&report, "sys_enter_futex");
	report_call(&report, "sys_enter_futex_waitv");
	r = trace_bpf_open(&t->bpf, t->bpf_why);
	row(&report, "waits", r == 0, "%s",
	    r == 0 ? "who waits for what, who is in the way, who woke: the probe loads and attaches"
		   : t->bpf_why);
	row(&report, "io_uring waits", false, "%s",
	    "no thread sleeps in them; event loops show as spans only");
	if (report.table) {
		table_print(report.table);
		return EXIT_DONE;
	}
	document = out_document("weir.trace.caps/1");
	json_object_set_new(document, "features", report.list);
	out_json(document, t->cli.json_lines);
	return EXIT_DONE;
}

/* --- losses -------------------------------------------------------------------------------- */

static json_t *ring_json(const struct trace_ring *ring)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "started", out_u64(ring->started),
			 "recorded", out_u64(ring->recorded), "skipped", out_u64(ring->skipped),
			 "read", out_u64(ring->read), "overwritten", out_u64(ring->overwritten),
			 "torn", out_u64(ring->torn));
}

static uint64_t not_over(const struct weir_wait_counts *n)
{
	uint64_t over = n->emitted + n->reserve_failed + n->storage_failed;

	return n->calls > over ? n->calls - over : 0;
}

static json_t *kernel_json(const struct trace *t)
{
	struct weir_wait_counts n;
	uint64_t missed;

	if (!t->bpf)
		return json_null();
	trace_bpf_counts(t->bpf, &n, &missed);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sleeps", out_u64(n.calls),
			 "emitted", out_u64(n.emitted), "reserve_failed", out_u64(n.reserve_failed),
			 "storage_failed", out_u64(n.storage_failed), "not_over",
			 out_u64(not_over(&n)), "unreadable", out_u64(n.unreadable), "vma_busy",
			 out_u64(n.vma_busy), "missed_runs", out_u64(missed));
}

json_t *trace_losses(const struct trace *t)
{
	struct trace_ring sum = trace_rings_sum(t);

	return json_pack("{s:o, s:o, s:o, s:o}", "rings", ring_json(&sum), "kernel", kernel_json(t),
			 "kernel_why", t->bpf_why[0] ? json_string(t->bpf_why) : json_null(),
			 "dropped", out_u64(t->dropped));
}

void trace_totals(const struct trace *t)
{
	struct trace_ring sum = trace_rings_sum(t);
	struct weir_wait_counts n;
	uint64_t missed;

	fflush(stdout);
	fprintf(stderr, "weir: trace: %" PRIu64 " spans, %" PRIu64 " waits", t->spans, t->waits);
	if (t->dropped)
		fprintf(stderr, ", %" PRIu64 " dropped for want of room", t->dropped);
	fprintf(stderr,
		"\n  rings  %" PRIu64 " recorded = %" PRIu64 " before + %" PRIu64 " read + %" PRIu64
		" overwritten + %" PRIu64 " torn\n",
		sum.recorded, sum.skipped, sum.read, sum.overwritten, sum.torn);
	if (!t->bpf)
		return;
	trace_bpf_counts(t->bpf, &n, &missed);
	fprintf(stderr,
		"  kernel %" PRIu64 " sleeps = %" PRIu64 " seen + %" PRIu64 " ring full + %" PRIu64
		" no memory + %" PRIu64 " not over; not known whose: %" PRIu64 " busy, %" PRIu64
		" unreadable; %" PRIu64 " runs missed\n",
		n.calls, n.emitted, n.reserve_failed, n.storage_failed, not_over(&n), n.vma_busy,
		n.unreadable, missed);
}

/* --- stats --------------------------------------------------------------------------------- */

static void stats_row(struct table *table, const struct trace_source *source,
		      const struct trace_ring *ring)
{
	const struct trace_who *who = source->threads[ring->thread];
	uint64_t numbers[6] = {ring->started, ring->recorded,	 ring->skipped,
			       ring->read,    ring->overwritten, ring->torn};
	char texts[8][24];
	const char *cells[10] = {source->snap.name, ring->object};

	snprintf(texts[6], sizeof(texts[6]), "%u", ring->thread);
	snprintf(texts[7], sizeof(texts[7]), "%u", who ? who->tid : 0);
	cells[2] = texts[6];
	cells[3] = who ? texts[7] : "-";
	for (int i = 0; i < 6; i++) {
		snprintf(texts[i], sizeof(texts[i]), "%" PRIu64, numbers[i]);
		cells[4 + i] = texts[i];
	}
	table_row(table, NULL, cells);
}

static void stats_json(const struct trace *t)
{
	json_t *document = out_document("weir.trace.stats/1");
	json_t *rings = json_array();

	for (size_t i = 0; i < t->source_count; i++) {
		const struct trace_source *source = t->sources[i];

		for (size_t j = 0; j < source->ring_count; j++) {
			json_t *ring = ring_json(&source->rings[j]);

			json_object_set_new(ring, "segment", json_string(source->snap.name));
			json_object_set_new(ring, "object", json_string(source->rings[j].object));
			json_object_set_new(ring, "ring", out_u64(source->rings[j].thread));
			if (source->rings[j].started || source->rings[j].recorded)
				json_array_append_new(rings, ring);
			else
				json_decref(ring);
		}
	}
	json_object_set_new(document, "rings", rings);
	json_object_set_new(document, "loss", trace_losses(t));
	out_json(document, t->cli.json_lines);
}

int trace_stats(struct trace *t)
{
	static const struct column columns[] = {
		{.name = "SEGMENT"},
		{.name = "OBJECT"},
		{.name = "RING", .right = true},
		{.name = "TID", .right = true},
		{.name = "STARTED", .right = true},
		{.name = "RECORDED", .right = true},
		{.name = "SKIPPED", .right = true},
		{.name = "READ", .right = true},
		{.name = "OVERWRITTEN", .right = true},
		{.name = "TORN", .right = true},
	};
	struct table *table;

	if (t->cli.json) {
		stats_json(t);
		return EXIT_DONE;
	}
	table = table_new(&t->cli, columns, sizeof(columns) / sizeof(columns[0]));
	if (!table)
		return EXIT_USAGE;
	for (size_t i = 0; i < t->source_count; i++) {
		const struct trace_source *source = t->sources[i];

		for (size_t j = 0; j < source->ring_count; j++) {
			if (source->rings[j].started || source->rings[j].recorded)
				stats_row(table, source, &source->rings[j]);
		}
	}
	table_print(table);
	trace_totals(t);
	return EXIT_DONE;
}
