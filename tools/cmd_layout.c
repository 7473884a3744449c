/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir layout and weir version: what this build is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

static const char *const kinds[] = {
	[WEIR_LAYOUT_KIND_U8] = "u8",	  [WEIR_LAYOUT_KIND_U16] = "u16",
	[WEIR_LAYOUT_KIND_U32] = "u32",	  [WEIR_LAYOUT_KIND_U64] = "u64",
	[WEIR_LAYOUT_KIND_I64] = "i64",	  [WEIR_LAYOUT_KIND_F64] = "f64",
	[WEIR_LAYOUT_KIND_CHAR] = "char", [WEIR_LAYOUT_KIND_STRUCT] = "struct",
	[WEIR_LAYOUT_KIND_PAD] = "pad",
};

static void type_text(const struct weir_layout_field *field, char ret_text[64])
{
	char count[16] = "";

	if (field->count != 1)
		snprintf(count, sizeof(count), "[%u]", field->count);
	snprintf(ret_text, 64, "%s%s%s%.30s%s", field->atomic ? "atomic-" : "", kinds[field->kind],
		 field->struct_name ? " " : "", field->struct_name ? field->struct_name : "",
		 count);
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *field_json(const struct weir_layout_field *field)
{
	json_t *j = json_object();
	json_t *bits = json_array();
	char type[64];

	type_text(field, type);
	json_object_set_new(j, "name", json_string(field->name));
	json_object_set_new(j, "type", json_string(type));
	json_object_set_new(j, "offset_bytes", out_u64(field->offset));
	json_object_set_new(j, "size_bytes", out_u64(field->size));
	json_object_set_new(j, "unit", text_or_null(field->unit));
	json_object_set_new(j, "write", text_or_null(field->write));
	json_object_set_new(j, "read", text_or_null(field->read));
	json_object_set_new(j, "doc", text_or_null(field->doc));
	for (uint32_t i = 0; i < field->bit_count; i++) {
		json_t *b = json_object();

		json_object_set_new(b, "name", json_string(field->bits[i].name));
		json_object_set_new(b, "shift", out_u64(field->bits[i].shift));
		json_object_set_new(b, "width", out_u64(field->bits[i].width));
		json_object_set_new(b, "doc", text_or_null(field->bits[i].doc));
		json_array_append_new(bits, b);
	}
	json_object_set_new(j, "bits", bits);
	return j;
}

static json_t *layout_json(const struct weir_layout *layout)
{
	json_t *j = json_object();
	json_t *fields = json_array();

	json_object_set_new(j, "name", json_string(layout->name));
	json_object_set_new(j, "version", out_u64(layout->version));
	json_object_set_new(j, "size_bytes", out_u64(layout->bytes));
	json_object_set_new(j, "doc", text_or_null(layout->doc));
	for (uint32_t i = 0; i < layout->field_count; i++)
		json_array_append_new(fields, field_json(&layout->fields[i]));
	json_object_set_new(j, "fields", fields);
	return j;
}

static void print_layout(const struct weir_layout *layout)
{
	char type[64];

	printf("struct %s   version %u, %u bytes\n%s\n\n", layout->name, layout->version,
	       layout->bytes, layout->doc ? layout->doc : "");
	printf("%6s %5s  %-18s %-14s %s\n", "OFFSET", "SIZE", "NAME", "TYPE", "MEANING");
	for (uint32_t i = 0; i < layout->field_count; i++) {
		const struct weir_layout_field *field = &layout->fields[i];

		type_text(field, type);
		printf("%6u %5u  %-18s %-14s %s\n", field->offset, field->size, field->name, type,
		       field->doc ? field->doc : "");
		for (uint32_t b = 0; b < field->bit_count; b++)
			printf("%12u  .%-17s %2u bits%7s %s\n", field->bits[b].shift,
			       field->bits[b].name, field->bits[b].width, "", field->bits[b].doc);
	}
	for (uint32_t i = 0; i < layout->enum_count; i++) {
		printf("\nenum %s: %s\n", layout->enums[i].name, layout->enums[i].doc);
		for (uint32_t v = 0; v < layout->enums[i].value_count; v++)
			printf("%6u  %-16s %s\n", layout->enums[i].values[v].value,
			       layout->enums[i].values[v].name, layout->enums[i].values[v].doc);
	}
}

static int print_one(const struct cli *cli, const char *name)
{
	const struct weir_layout *layout = weir_layout_find(name);
	const char *best = NULL;
	unsigned least = 4;
	char hint[96];
	json_t *document;

	if (!layout) {
		for (uint32_t i = 0; (layout = weir_layout_at(i)) != NULL; i++) {
			unsigned distance = text_distance(name, layout->name);

			if (distance < least) {
				least = distance;
				best = layout->name;
			}
		}
		snprintf(hint, sizeof(hint), best ? "did you mean '%s'?" : "see them all:  weir %s",
			 best ? best : "layout");
		return fail(ENOENT, &(struct fault){.hint = hint}, "no layout '%s'", name);
	}
	if (!cli->json) {
		print_layout(layout);
		return EXIT_DONE;
	}
	document = out_document("weir.layout/1");
	json_object_set_new(document, "layouts", json_pack("[o]", layout_json(layout)));
	out_json(document, cli->json_lines);
	return EXIT_DONE;
}

int weir_cmd_layout(int argc, char **argv)
{
	const struct weir_layout *layout;
	json_t *document;
	json_t *array;
	char stamp[24];
	struct cli cli;

	cli_parse(argc, argv, 0, 1, &cli);
	if (cli.argc)
		return print_one(&cli, cli.argv[0]);
	document = out_document("weir.layout/1");
	array = json_array();
	snprintf(stamp, sizeof(stamp), "%016llx", (unsigned long long)weir_layout_stamp);
	for (uint32_t i = 0; (layout = weir_layout_at(i)) != NULL; i++) {
		if (cli.json)
			json_array_append_new(array, layout_json(layout));
		else
			printf("%-16s %5u bytes  v%u  %s\n", layout->name, layout->bytes,
			       layout->version, layout->doc);
	}
	json_object_set_new(document, "stamp", json_string(stamp));
	json_object_set_new(document, "layouts", array);
	if (cli.json) {
		out_json(document, cli.json_lines);
	} else {
		json_decref(document);
		printf("stamp %s\n", stamp);
	}
	return EXIT_DONE;
}

int weir_cmd_version(int argc, char **argv)
{
	json_t *document;
	char stamp[24];
	char dir[PATH_MAX];
	struct cli cli;

	cli_parse(argc, argv, 0, 0, &cli);
	snprintf(stamp, sizeof(stamp), "%016llx", (unsigned long long)weir_layout_stamp);
	if (cli.json) {
		document = out_document("weir.version/1");
		json_object_set_new(document, "version", json_string(weir_version()));
		json_object_set_new(document, "layout_stamp", json_string(stamp));
		json_object_set_new(document, "layouts", out_u64(weir_layout_count));
		out_json(document, cli.json_lines);
		return EXIT_DONE;
	}
	printf("weir %s\n", weir_version());
	if (!cli.verbose)
		return EXIT_DONE;
	printf("layout stamp  %s (%u structures)\n", stamp, weir_layout_count);
	if (weir_segment_dir(0, dir, sizeof(dir)) == 0)
		printf("directory     %s\n", dir);
	printf("jansson       %s\ncompiler      %s\n", JANSSON_VERSION, __VERSION__);
	return EXIT_DONE;
}
