/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir ps: attached processes, what they hold and what they wait for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

static const struct column columns[] = {
	{"PID", true, false},	   {"SEGMENT", false, false}, {"ROLE", false, false},
	{"STATE", false, false},   {"UPTIME", true, false},   {"HELD", false, false},
	{"WAITING", false, false}, {"VERSION", false, false}, {"EXE", false, false},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static json_t *waiting(const struct snapshot *snap, uint32_t proc)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < snap->thread_high; i++) {
		struct snap_thread t = snapshot_thread(snap, i);
		uint32_t id = snap->threads[i].waiting;
		uint64_t since = snap->threads[i].since_ns;
		char name[32];
		json_t *j;

		if (!t.live || t.proc != proc || id == 0)
			continue;
		snapshot_object_name(snap, id, name);
		j = json_object();
		json_object_set_new(j, "object", json_string(name));
		json_object_set_new(j, "tid", out_u64(t.tid));
		json_object_set_new(j, "waited_ns",
				    out_u64(snap->now_ns > since ? snap->now_ns - since : 0));
		json_array_append_new(array, j);
	}
	return array;
}

static uint64_t threads_of(const struct snapshot *snap, uint32_t proc)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < snap->header.thread_count; i++) {
		struct snap_thread t = snapshot_thread(snap, i);

		n += t.live && t.proc == proc;
	}
	return n;
}

static json_t *process(const struct snapshot *snap, uint32_t proc)
{
	const struct weir_process_shm *p = &snap->procs[proc];
	uint64_t attached = p->attached_ns;
	json_t *j = json_object();
	char text[20];

	json_object_set_new(j, "segment", json_string(snap->name));
	json_object_set_new(j, "slot", out_u64(proc));
	json_object_set_new(j, "pid", out_u64(p->pid));
	text_clean(text, sizeof(text), p->role, sizeof(p->role));
	json_object_set_new(j, "role", json_string(text));
	json_object_set_new(j, "state",
			    json_string(snap->life[proc] == SNAP_DEAD ? "dead" : "live"));
	json_object_set_new(j, "uptime_ns",
			    snap->life[proc] == SNAP_DEAD || attached > snap->now_ns
				    ? json_null()
				    : out_u64(snap->now_ns - attached));
	text_clean(text, sizeof(text), p->version, sizeof(p->version));
	json_object_set_new(j, "version", json_string(text));
	text_clean(text, sizeof(text), p->exe, sizeof(p->exe));
	json_object_set_new(j, "exe", json_string(text));
	json_object_set_new(j, "pid_namespace", out_u64(p->pidns));
	json_object_set_new(j, "threads", out_u64(threads_of(snap, proc)));
	json_object_set_new(j, "held", describe_holdings(snap, proc));
	json_object_set_new(j, "waiting", waiting(snap, proc));
	return j;
}

/* "db:3 jobs:1" or "db 38 ms"; "-" for nothing. */
static void list(const json_t *array, const char *number, char *ret_text, size_t room)
{
	char time[TEXT_BYTES];
	size_t at = 0;
	size_t i;
	json_t *j;

	snprintf(ret_text, room, "-");
	json_array_foreach(array, i, j)
	{
		json_int_t n = json_integer_value(json_object_get(j, number));
		const char *name = json_string_value(json_object_get(j, "object"));
		int len;

		if (strcmp(number, "amount") == 0)
			len = snprintf(ret_text + at, room - at, "%s%s:%" JSON_INTEGER_FORMAT,
				       i ? " " : "", name, n);
		else
			len = snprintf(ret_text + at, room - at, "%s%s %s", i ? ", " : "", name,
				       text_duration((uint64_t)n, time));
		if (len < 0 || (size_t)len >= room - at)
			return; /* Cut. */
		at += (size_t)len;
	}
}

static void add_row(struct table *table, const json_t *j)
{
	const json_t *up = json_object_get(j, "uptime_ns");
	bool dead = strcmp(json_string_value(json_object_get(j, "state")), "dead") == 0;
	char pid[24];
	char held[256];
	char wait[256];
	char uptime[TEXT_BYTES] = "-";
	const char *cells[COLUMNS] = {pid, NULL, NULL, dead ? "DEAD" : "ok", uptime, held, wait};

	snprintf(pid, sizeof(pid), "%" JSON_INTEGER_FORMAT,
		 json_integer_value(json_object_get(j, "pid")));
	if (json_is_integer(up))
		text_duration((uint64_t)json_integer_value(up), uptime);
	list(json_object_get(j, "held"), "amount", held, sizeof(held));
	list(json_object_get(j, "waiting"), "waited_ns", wait, sizeof(wait));
	if (dead)
		snprintf(wait, sizeof(wait), "(reclaim pending)");
	cells[1] = json_string_value(json_object_get(j, "segment"));
	cells[2] = json_string_value(json_object_get(j, "role"));
	cells[7] = json_string_value(json_object_get(j, "version"));
	cells[8] = json_string_value(json_object_get(j, "exe"));
	if (!cells[2][0])
		cells[2] = "-";
	table_row(table, NULL, cells);
}

static json_t *processes(const struct snapshot *snaps, size_t count)
{
	json_t *array = json_array();

	for (size_t n = 0; n < count; n++) {
		for (uint32_t i = 0; !snaps[n].error && i < snaps[n].header.proc_count; i++) {
			if (snaps[n].life[i] != SNAP_FREE)
				json_array_append_new(array, process(&snaps[n], i));
		}
	}
	return array;
}

int weir_cmd_ps(int argc, char **argv)
{
	struct snapshot *snaps;
	struct target target;
	struct table *table;
	json_t *document;
	json_t *array;
	struct cli cli;
	size_t count;
	size_t i;
	json_t *j;
	int status;

	cli_parse(argc, argv, 0, 1, &cli);
	status = snapshot_wanted(&cli, cli.argv[0], &target, &snaps, &count);
	if (status)
		return status;
	array = processes(snaps, count);
	snapshot_drop_all(snaps, count);
	if (cli.json) {
		document = out_document("weir.ps/1");
		json_object_set_new(document, "processes", array);
		out_json(document, cli.json_lines);
		return EXIT_DONE;
	}
	table = table_new(&cli, columns, COLUMNS);
	if (!table) {
		json_decref(array);
		return EXIT_USAGE;
	}
	json_array_foreach(array, i, j) add_row(table, j);
	if (json_array_size(array) == 0)
		fputs("no processes are attached\n", stderr);
	table_print(table);
	json_decref(array);
	return EXIT_DONE;
}
