/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir ls: segments and their objects. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

static const struct column columns[] = {
	{"NAME", false, true}, {"TYPE", false, false},	 {"STATE", false, false},
	{"USED", true, false}, {"LIMIT", true, false},	 {"USE%", true, false},
	{"WAIT", true, false}, {"DETAIL", false, false}, {"PATH", false, false},
};
enum { NAME, TYPE, STATE, USED, LIMIT, USE, WAIT, DETAIL, PATH, COLUMNS };

struct row {
	char text[COLUMNS][PATH_MAX + 80];
};

static json_int_t get(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

static const char *get_s(const json_t *j, const char *key)
{
	const char *text = json_string_value(json_object_get(j, key));

	return text ? text : "";
}

static void put(struct row *row, int column, json_int_t n)
{
	snprintf(row->text[column], sizeof(row->text[column]), "%" JSON_INTEGER_FORMAT, n);
}

/* States that want attention are in capitals. */
static void put_state(struct row *row, const char *state)
{
	bool good = strcmp(state, "ok") == 0 || strcmp(state, "closed") == 0;

	for (size_t i = 0; i < TEXT_BYTES && state[i]; i++)
		row->text[STATE][i] =
			!good && state[i] >= 'a' && state[i] <= 'z' ? state[i] & ~0x20 : state[i];
}

static void put_use(struct row *row, json_int_t used, json_int_t limit)
{
	put(row, USED, used);
	put(row, LIMIT, limit);
	if (limit > 0)
		put(row, USE, (json_int_t)((double)used * 100 / (double)limit));
}

static void detail_breaker(struct row *row, const json_t *j)
{
	char text[TEXT_BYTES];
	const char *state = get_s(j, "state");
	json_int_t retry = get(j, "retry_in_ns");

	put(row, USED, get(j, "window_failures"));
	put(row, LIMIT, get(j, "min_calls"));
	if (strcmp(state, "open") == 0 && retry == 0)
		snprintf(row->text[DETAIL], TEXT_BYTES, "probe is due");
	else if (strcmp(state, "open") == 0 || strcmp(state, "half_open") == 0)
		snprintf(row->text[DETAIL], 2 * TEXT_BYTES, "%s %s",
			 state[0] == 'o' ? "retry in" : "probing for",
			 text_duration((uint64_t)retry, text));
	else
		snprintf(row->text[DETAIL], 96,
			 "%" JSON_INTEGER_FORMAT " failed of %" JSON_INTEGER_FORMAT
			 " in the window, %" JSON_INTEGER_FORMAT "%% opens",
			 get(j, "window_failures"), get(j, "window_calls"),
			 get(j, "failure_percent"));
}

static void detail(struct row *row, const json_t *j)
{
	char text[TEXT_BYTES];
	char *d = row->text[DETAIL];
	const char *type = get_s(j, "type");

	if (json_object_get(j, "problem")) {
		snprintf(d, 128, "%s", get_s(j, "problem"));
	} else if (strcmp(type, "sem") == 0) {
		put_use(row, get(j, "used"), get(j, "permits"));
		put(row, WAIT, get(j, "waiters"));
		if (get(j, "waiters"))
			snprintf(d, 64, "oldest wait %s",
				 text_duration((uint64_t)get(j, "oldest_wait_ns"), text));
	} else if (strcmp(type, "limiter") == 0) {
		if (json_is_null(json_object_get(j, "available")))
			put_use(row, get(j, "keys_busy"), get(j, "keys_room"));
		else
			put_use(row, get(j, "burst") - get(j, "available"), get(j, "burst"));
		snprintf(d, 128, "%s%s, %" JSON_INTEGER_FORMAT " denied", get_s(j, "limit"),
			 json_is_null(json_object_get(j, "available")) ? " per key" : "",
			 get(j, "denied_total"));
	} else if (strcmp(type, "breaker") == 0) {
		detail_breaker(row, j);
	} else if (strcmp(type, "queue") == 0) {
		put_use(row, get(j, "depth"), get(j, "slots"));
		snprintf(d, 128,
			 "%" JSON_INTEGER_FORMAT " being read, %" JSON_INTEGER_FORMAT
			 " being written",
			 get(j, "reading"), get(j, "writing"));
	} else if (strcmp(type, "spans") == 0) {
		snprintf(d, 128,
			 "%" JSON_INTEGER_FORMAT " recorded by %" JSON_INTEGER_FORMAT " threads",
			 get(j, "recorded_total"), get(j, "rings_used"));
	}
}

static void *add(struct table *table, void *parent, const struct row *row)
{
	const char *cells[COLUMNS];

	for (int i = 0; i < COLUMNS; i++)
		cells[i] = row->text[i];
	return table_row(table, parent, cells);
}

static void *add_segment(struct table *table, const struct snapshot *snap)
{
	struct row *row = calloc(1, sizeof(*row));
	char size[TEXT_BYTES];
	char age[TEXT_BYTES];
	uint32_t dead;
	void *line;

	if (!row)
		exit(fail(ENOMEM, NULL, "cannot list"));
	snprintf(row->text[NAME], sizeof(row->text[NAME]), "%s", snap->name);
	snprintf(row->text[TYPE], TEXT_BYTES, "segment");
	snprintf(row->text[PATH], sizeof(row->text[PATH]), "%s", snap->path);
	text_size((uint64_t)snap->st.st_size, size);
	if (snap->error) {
		put_state(row, "unreadable");
		snprintf(row->text[DETAIL], 320, "%s: %s", fail_code(snap->error),
			 snap->why[0] ? snap->why : fail_words(snap->error));
	} else {
		dead = snapshot_count(snap, SNAP_DEAD);
		put_state(row, "ok");
		put_use(row, snapshot_count(snap, SNAP_LIVE), snap->header.proc_count);
		text_duration(snap->now_ns > snap->header.created_ns
				      ? snap->now_ns - snap->header.created_ns
				      : 0,
			      age);
		snprintf(row->text[DETAIL], 128, "%s, %s old, processes: %u", size, age,
			 snapshot_count(snap, SNAP_LIVE));
		if (dead) {
			put_state(row, "dead");
			snprintf(row->text[DETAIL] + strlen(row->text[DETAIL]), 32, " and %u DEAD",
				 dead);
		}
	}
	line = add(table, NULL, row);
	free(row);
	return line;
}

static void add_object(struct table *table, void *parent, const struct snapshot *snap,
		       const struct snap_object *o)
{
	json_t *j = describe_object(snap, o, false);
	struct row *row = calloc(1, sizeof(*row));

	if (!row)
		exit(fail(ENOMEM, NULL, "cannot list"));
	snprintf(row->text[NAME], sizeof(o->name), "%s", o->name);
	snprintf(row->text[TYPE], TEXT_BYTES, "%s", snapshot_type(o->type));
	snprintf(row->text[PATH], sizeof(row->text[PATH]), "%s:%s", snap->name, o->name);
	put_state(row, get_s(j, "state"));
	detail(row, j);
	add(table, parent, row);
	free(row);
	json_decref(j);
}

static void list_json(const struct target *target, const struct snapshot *snaps, size_t count)
{
	json_t *document = out_document("weir.ls/1");
	json_t *segments = json_array();

	for (size_t n = 0; n < count; n++) {
		json_t *segment = describe_segment(&snaps[n]);
		json_t *objects = json_array();

		for (uint32_t i = 0; i < snaps[n].object_count; i++) {
			if (snapshot_matches(target, &snaps[n].objects[i]))
				json_array_append_new(
					objects,
					describe_object(&snaps[n], &snaps[n].objects[i], false));
		}
		json_object_set_new(segment, "objects", objects);
		json_array_append_new(segments, segment);
	}
	json_object_set_new(document, "segments", segments);
	out_json(document, false);
}

int weir_cmd_ls(int argc, char **argv)
{
	struct snapshot *snaps;
	struct target target;
	struct table *table;
	char dir[PATH_MAX];
	struct cli cli;
	size_t count;
	int status;

	cli_parse(argc, argv, 0, 1, &cli);
	if (cli.json_lines)
		return cli_usage(&cli, "--json=lines is for streams");
	status = snapshot_wanted(&cli, cli.argv[0], &target, &snaps, &count);
	if (status)
		return status;
	if (cli.json) {
		list_json(&target, snaps, count);
		snapshot_drop_all(snaps, count);
		return EXIT_DONE;
	}
	/* PATH is for -o only: it makes the table too wide. */
	table = table_new(&cli, columns, cli.columns ? COLUMNS : PATH);
	if (!table) {
		snapshot_drop_all(snaps, count);
		return EXIT_USAGE;
	}
	for (size_t n = 0; n < count; n++) {
		void *line = add_segment(table, &snaps[n]);

		for (uint32_t i = 0; i < snaps[n].object_count; i++) {
			if (snapshot_matches(&target, &snaps[n].objects[i]))
				add_object(table, line, &snaps[n], &snaps[n].objects[i]);
		}
	}
	table_print(table);
	if (count == 0 && weir_segment_dir(0, dir, sizeof(dir)) == 0)
		fprintf(stderr, "no segments in %s\n", dir);
	snapshot_drop_all(snaps, count);
	return EXIT_DONE;
}
