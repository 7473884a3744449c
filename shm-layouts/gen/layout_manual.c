/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Prints LAYOUTS.md: for each structure what it is, its fields, bits and values.
 *
 * Everything comes from the descriptions, so the manual cannot disagree with the headers.
 */
#include "layoutgen.h"

#include <string.h>

/*
 * A text inside a table cell.  `|` would end the cell even inside `code`; < would start HTML, but
 * in `code` an entity would be shown as it is spelt.
 */
static void cell_put(FILE *out, const char *text)
{
	bool in_code = false;

	for (; text && *text; text++) {
		if (*text == '`')
			in_code = !in_code;
		if (*text == '|')
			fputs("\\|", out);
		else if (*text == '<' && !in_code)
			fputs("&lt;", out);
		else
			fputc(*text, out);
	}
}

static void type_put(FILE *out, const struct gen_field *field)
{
	if (field->kind == GEN_STRUCT)
		fprintf(out, "[`%s`](#%s)", field->type, field->struct_name);
	else
		fprintf(out, "`%s%s`", gen_atomic_prefix(field), field->type);
}

static void field_put(FILE *out, const struct gen_field *field)
{
	const char *bold = field->is_line ? "**" : "";

	fprintf(out, "| %s%u%s | %u | `%s` | ", bold, field->offset, bold, field->size,
		field->name);
	type_put(out, field);
	fprintf(out, " | ");
	cell_put(out, field->unit);
	fprintf(out, " | ");
	cell_put(out, field->write);
	fprintf(out, " | ");
	cell_put(out, field->read);
	fprintf(out, " | ");
	cell_put(out, field->doc ? field->doc : "Zero.");
	if (field->enum_name)
		fprintf(out, " Values: `%s`.", field->enum_name);
	fprintf(out, " |\n");
}

static void bits_put(FILE *out, const struct gen_field *field)
{
	const struct gen_bits *bits = field->bits;
	uint32_t i;

	if (!field->bit_count)
		return;
	fprintf(out, "\nBits of `%s`:\n\n", field->name);
	fprintf(out, "| bits | width | name | doc |\n|---:|---:|---|---|\n");
	for (i = 0; i < field->bit_count; i++, bits++) {
		if (bits->width == 1)
			fprintf(out, "| %u", bits->shift);
		else
			fprintf(out, "| %u..%u", bits->shift, bits->shift + bits->width - 1);
		fprintf(out, " | %u | `%s` | ", bits->width, bits->name);
		cell_put(out, bits->doc);
		fprintf(out, " |\n");
	}
}

static void enum_put(FILE *out, const struct gen_enum *list)
{
	uint32_t i;

	fprintf(out, "\nValues of `%s`: ", list->name);
	cell_put(out, list->doc);
	fprintf(out, "\n\n| value | name | doc |\n|---:|---|---|\n");
	for (i = 0; i < list->value_count; i++) {
		fprintf(out, "| %u | `%s` | ", list->values[i].value, list->values[i].name);
		cell_put(out, list->values[i].doc);
		fprintf(out, " |\n");
	}
}

static void layout_put(FILE *out, const struct gen_layout *layout)
{
	uint32_t i;

	fprintf(out, "\n## %s\n\n", layout->name);
	cell_put(out, layout->doc);
	fprintf(out, "\n\n`struct weir_%s_shm`, version %u, %u bytes, ", layout->name,
		layout->version, layout->bytes);
	fprintf(out, "`#include <weir/shm/%s.h>`\n\n", layout->name);
	fprintf(out, "| offset | size | name | type | unit | who writes | how to read | doc |\n");
	fprintf(out, "|---:|---:|---|---|---|---|---|---|\n");
	for (i = 0; i < layout->field_count; i++)
		field_put(out, &layout->fields[i]);
	for (i = 0; i < layout->field_count; i++)
		bits_put(out, &layout->fields[i]);
	for (i = 0; i < layout->enum_count; i++)
		enum_put(out, &layout->enums[i]);
}

void gen_manual_write(FILE *out, const struct gen_set *set)
{
	uint32_t i;

	fprintf(out, "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->\n");
	fprintf(out, "<!-- Made by layoutgen from shm-layouts/: change that, not this. -->\n");
	fprintf(out, "# Layouts\n\n");
	fprintf(out, "The structures that lie in a segment, byte for byte, numbers in the "
		     "machine's byte order.\nAn offset in **bold** must start a 64-byte cache "
		     "line.\n\n");
	fprintf(out, "How to read a field while others write: `atomic`, one load; `seqlock:FIELD`, "
		     "load FIELD, the value,\nand FIELD again; `plain`, it does not change "
		     "once published; `owner`, only its writer may.\n\n");
	for (i = 0; i < set->count; i++)
		fprintf(out, "- [%s](#%s), %u bytes\n", set->layouts[i].name, set->layouts[i].name,
			set->layouts[i].bytes);
	for (i = 0; i < set->count; i++)
		layout_put(out, &set->layouts[i]);
}
