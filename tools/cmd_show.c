/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir show, and the status of one object: all there is to know about it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

/* Layouts whose fields explain an object, NULL-terminated. */
static const char *const explained[][5] = {
	[WEIR_OBJECT_TYPE_NONE] = {NULL},
	[WEIR_OBJECT_TYPE_SEM] = {"sem", "sem_lane", NULL},
	[WEIR_OBJECT_TYPE_LIMITER] = {"limiter", "limiter_lane", "limiter_set", NULL},
	[WEIR_OBJECT_TYPE_BREAKER] = {"breaker", "breaker_lane", NULL},
	[WEIR_OBJECT_TYPE_QUEUE] = {"queue", "queue_send", "queue_take", "queue_slot", NULL},
	[WEIR_OBJECT_TYPE_SPANS] = {"spans", "span_ring", "span", NULL},
};

static json_t *explain_layout(const struct weir_layout *layout)
{
	json_t *j = json_object();

	json_object_set_new(j, "about", json_string(layout->doc));
	for (uint32_t i = 0; i < layout->field_count; i++) {
		const struct weir_layout_field *field = &layout->fields[i];

		if (field->kind == WEIR_LAYOUT_KIND_PAD || !field->doc)
			continue;
		json_object_set_new(j, field->name, json_string(field->doc));
		for (uint32_t b = 0; b < field->bit_count; b++) {
			char name[2 * WEIR_LAYOUT_NAME_BYTES];

			snprintf(name, sizeof(name), "%s.%s", field->name, field->bits[b].name);
			json_object_set_new(j, name, json_string(field->bits[b].doc));
		}
	}
	return j;
}

static json_t *explain(uint32_t type)
{
	json_t *j = json_object();

	for (int i = 0; explained[type][i]; i++) {
		const struct weir_layout *layout = weir_layout_find(explained[type][i]);

		if (layout)
			json_object_set_new(j, layout->name, explain_layout(layout));
	}
	return j;
}

static void explain_text(const json_t *layouts)
{
	const char *name;
	const char *field;
	json_t *layout;
	json_t *doc;

	json_object_foreach((json_t *)(uintptr_t)layouts, name, layout)
	{
		printf("\n  struct %s: %s\n", name,
		       json_string_value(json_object_get(layout, "about")));
		json_object_foreach(layout, field, doc)
		{
			if (strcmp(field, "about") != 0)
				printf("    %-20s %s\n", field, json_string_value(doc));
		}
	}
}

static void show_text(const struct snapshot *snap, const struct snap_object *o,
		      const struct cli *cli)
{
	json_t *j = describe_object(snap, o, true);

	printf("%s:%s\n", snap->name, o->name);
	json_object_del(j, "name");
	out_text(j, 2);
	json_decref(j);
	if (cli->explain && o->at) {
		j = explain(o->type);
		explain_text(j);
		json_decref(j);
	}
}

static int show(const struct cli *cli, const struct target *target, const struct snapshot *snap)
{
	json_t *document = out_document("weir.show/1");
	json_t *objects = json_array();
	json_t *j = describe_segment(snap);
	bool first = true;

	json_object_set_new(document, "segment", j);
	if (!cli->json && !target->object[0]) {
		out_text(j, 0);
		first = false;
	}
	for (uint32_t i = 0; i < snap->object_count; i++) {
		const struct snap_object *o = &snap->objects[i];

		if (!snapshot_matches(target, o))
			continue;
		if (!cli->json) {
			if (!first)
				putchar('\n');
			show_text(snap, o, cli);
		} else {
			j = describe_object(snap, o, true);
			if (cli->explain && o->at)
				json_object_set_new(j, "explain", explain(o->type));
			json_array_append_new(objects, j);
		}
		first = false;
	}
	json_object_set_new(document, "objects", objects);
	if (cli->json)
		out_json(document, cli->json_lines);
	else
		json_decref(document);
	return EXIT_DONE;
}

int weir_cmd_show(int argc, char **argv)
{
	struct snapshot *snaps;
	struct target target;
	struct cli cli;
	size_t count;
	int status;

	cli_parse(argc, argv, 1, 1, &cli);
	status = snapshot_wanted(&cli, cli.argv[0], &target, &snaps, &count);
	if (status)
		return status;
	for (size_t i = 0; i < count; i++) {
		int r = snaps[i].error ? snapshot_fail(&snaps[i]) : show(&cli, &target, &snaps[i]);

		status = r ? r : status;
	}
	snapshot_drop_all(snaps, count);
	return status;
}

/* `weir sem status NAME`: the same for one object, which must be of that type. */
int weir_cmd_status(int argc, char **argv)
{
	const struct snap_object *o;
	struct snapshot snap;
	struct target target;
	const char *want;
	struct cli cli;
	int status;

	cli_parse(argc, argv, 1, 1, &cli);
	status = target_parse(&cli, cli.argv[0], true, &target);
	if (status)
		return status;
	if (!target.object[0])
		return cli_usage(&cli, "'%s' names no object", cli.argv[0]);
	if (snapshot_take(target.segment, &snap) < 0) {
		status = snapshot_fail(&snap);
		snapshot_drop(&snap);
		return status;
	}
	want = cli.command->name[0] == 's'   ? "sem"
	       : cli.command->name[0] == 'r' ? "limiter"
	       : cli.command->name[0] == 'b' ? "breaker"
					     : "queue";
	o = snapshot_object(&snap, target.object);
	if (!o)
		status = fail_object(&target, want, -ENOENT, NULL);
	else if (strcmp(snapshot_type(o->type), want) != 0)
		status = fail_object(&target, want, -EEXIST, NULL);
	else
		status = show(&cli, &target, &snap);
	snapshot_drop(&snap);
	return status;
}
