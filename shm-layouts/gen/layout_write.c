/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Prints the C of a placed set of layouts: one header each, the description text and the tables.
 *
 * The text is what the stamp is computed over and what a segment carries about itself; its order
 * and spelling are part of the shared bytes.  The tables are for this build only.
 */
#include "layoutgen.h"

#include <ctype.h>
#include <string.h>

#define COLUMNS	    100
#define TAB_COLUMNS 8

/* What stands at the head of every generated file. */
static void banner_put(FILE *out, const char *from)
{
	fprintf(out, "/* SPDX-License-Identifier: MIT OR Apache-2.0 */\n");
	fprintf(out, "/* Made by layoutgen from %s: change that, not this. */\n", from);
}

static const char *file_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void tabs_put(FILE *out, int tabs)
{
	for (; tabs > 0; tabs--)
		fputc('\t', out);
}

/* One word of a comment, kept from opening or closing one. */
static void comment_word_put(FILE *out, const char *word, int length)
{
	int i;

	for (i = 0; i < length; i++) {
		if (i && ((word[i - 1] == '*' && word[i] == '/') ||
			  (word[i - 1] == '/' && word[i] == '*')))
			fputc(' ', out);
		fputc(word[i], out);
	}
}

/* A comment of its own, wrapped; `first` (may be empty) stands before the text. */
static void comment_put(FILE *out, int tabs, const char *first, const char *text)
{
	int column = tabs * TAB_COLUMNS + 2 + (int)strlen(first);
	int length;

	tabs_put(out, tabs);
	fprintf(out, "/*%s", first);
	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		length = (int)strcspn(text, " ");
		if (column + 1 + length + 3 > COLUMNS) {
			fputc('\n', out);
			tabs_put(out, tabs);
			fprintf(out, " *");
			column = tabs * TAB_COLUMNS + 2;
		}
		fputc(' ', out);
		comment_word_put(out, text, length);
		column += 1 + length;
		text += length;
	}
	fprintf(out, " */\n");
}

static void upper_put(FILE *out, const char *name)
{
	for (; *name; name++)
		fputc(toupper((unsigned char)*name), out);
}

static void upper_name_put(FILE *out, const char *layout, const char *part, const char *name)
{
	fprintf(out, "WEIR_");
	upper_put(out, layout);
	fputc('_', out);
	upper_put(out, part);
	fputc('_', out);
	upper_put(out, name);
}

static void enum_put(FILE *out, const struct gen_layout *layout, const struct gen_enum *list)
{
	const struct gen_value *value = list->values;
	uint32_t i;

	fputc('\n', out);
	comment_put(out, 0, "", list->doc);
	fprintf(out, "enum weir_%s_%s {\n", layout->name, list->name);
	for (i = 0; i < list->value_count; i++, value++) {
		comment_put(out, 1, "", value->doc);
		fputc('\t', out);
		upper_name_put(out, layout->name, list->name, value->name);
		fprintf(out, " = %u,\n", value->value);
	}
	fprintf(out, "};\n");
}

static uint64_t bits_max(const struct gen_bits *bits)
{
	return UINT64_MAX >> (64 - bits->width);
}

/* Plain literals, no casts: the constants work in #if and without <stdint.h>'s macros. */
static void bits_constants_put(FILE *out, const struct gen_layout *layout,
			       const struct gen_field *field, const struct gen_bits *bits)
{
	fprintf(out, "#define ");
	upper_name_put(out, layout->name, field->name, bits->name);
	fprintf(out, "_SHIFT %u\n#define ", bits->shift);
	upper_name_put(out, layout->name, field->name, bits->name);
	fprintf(out, "_MAX 0x%llx%s\n", (unsigned long long)bits_max(bits),
		field->kind == GEN_U64 ? "ULL" : "U");
}

static void bits_helpers_put(FILE *out, const struct gen_layout *layout,
			     const struct gen_field *field, const struct gen_bits *bits)
{
	const char *type = gen_kinds[field->kind].c_type;
	const char *one = field->kind == GEN_U64 ? "ULL" : "U";
	unsigned long long max = bits_max(bits);

	fprintf(out, "\nstatic inline %s weir_%s_%s_%s(%s w)\n{\n", type, layout->name, field->name,
		bits->name, type);
	fprintf(out, "\treturn (w >> %u) & 0x%llx%s;\n}\n", bits->shift, max, one);
	fprintf(out, "\nstatic inline %s weir_%s_%s_set_%s(%s w, %s v)\n{\n", type, layout->name,
		field->name, bits->name, type, type);
	fprintf(out, "\treturn (w & ~(0x%llx%s << %u)) | ((v & 0x%llx%s) << %u);\n}\n", max, one,
		bits->shift, max, one, bits->shift);
}

static void field_bits_put(FILE *out, const struct gen_layout *layout,
			   const struct gen_field *field)
{
	char first[4 * GEN_NAME_MAX];
	uint32_t i;

	if (!field->bit_count)
		return;
	fputc('\n', out);
	for (i = 0; i < field->bit_count; i++) {
		snprintf(first, sizeof(first), " %s.%s:", field->name, field->bits[i].name);
		comment_put(out, 0, first, field->bits[i].doc);
		bits_constants_put(out, layout, field, &field->bits[i]);
	}
	for (i = 0; i < field->bit_count; i++)
		bits_helpers_put(out, layout, field, &field->bits[i]);
}

static void declarator_put(FILE *out, const struct gen_field *field)
{
	char first[32];

	snprintf(first, sizeof(first), " offset %u%s", field->offset, field->doc ? ":" : "");
	comment_put(out, 1, first, field->doc ? field->doc : "");
	if (field->kind == GEN_STRUCT)
		fprintf(out, "\tstruct weir_%s_shm %s", field->struct_name, field->name);
	else if (field->is_atomic)
		fprintf(out, "\tWEIR_ATOMIC(%s) %s", gen_kinds[field->kind].c_type, field->name);
	else
		fprintf(out, "\t%s %s", gen_kinds[field->kind].c_type, field->name);
	if (field->is_array)
		fprintf(out, "[%u]", field->count);
	fprintf(out, ";\n");
}

static void struct_put(FILE *out, const struct gen_layout *layout)
{
	uint32_t i;

	fputc('\n', out);
	comment_put(out, 0, "", layout->doc);
	fprintf(out, "struct weir_%s_shm {\n", layout->name);
	for (i = 0; i < layout->field_count; i++)
		declarator_put(out, &layout->fields[i]);
	fprintf(out, "};\n");
}

static void asserts_put(FILE *out, const struct gen_layout *layout)
{
	const struct gen_field *field = layout->fields;
	uint32_t i;

	fprintf(out, "\nWEIR_STATIC_ASSERT(sizeof(struct weir_%s_shm) == %u, \"%s: bytes\");\n",
		layout->name, layout->bytes, layout->name);
	for (i = 0; i < layout->field_count; i++, field++) {
		if (field->kind == GEN_PAD)
			continue;
		fprintf(out, "WEIR_STATIC_ASSERT(WEIR_OFFSETOF(struct weir_%s_shm, %s) == %u,\n",
			layout->name, field->name, field->offset);
		fprintf(out, "\t\t   \"%s.%s: offset\");\n", layout->name, field->name);
	}
}

/* One include per embedded layout; an include guard makes the second of the same one harmless. */
static void includes_put(FILE *out, const struct gen_layout *layout)
{
	uint32_t i;

	fprintf(out, "#include <weir/shm/base.h>\n");
	for (i = 0; i < layout->field_count; i++) {
		if (layout->fields[i].kind == GEN_STRUCT)
			fprintf(out, "#include <weir/shm/%s.h>\n", layout->fields[i].struct_name);
	}
}

void gen_header_write(FILE *out, const struct gen_layout *layout)
{
	uint32_t i;

	banner_put(out, file_base(layout->file));
	fprintf(out, "#ifndef WEIR_SHM_");
	upper_put(out, layout->name);
	fprintf(out, "_H\n#define WEIR_SHM_");
	upper_put(out, layout->name);
	fprintf(out, "_H\n\n");
	includes_put(out, layout);
	for (i = 0; i < layout->enum_count; i++)
		enum_put(out, layout, &layout->enums[i]);
	for (i = 0; i < layout->field_count; i++)
		field_bits_put(out, layout, &layout->fields[i]);
	struct_put(out, layout);
	asserts_put(out, layout);
	fprintf(out, "\n#endif\n");
}

void gen_all_write(FILE *out, const struct gen_set *set)
{
	uint32_t i;

	banner_put(out, "shm-layouts/");
	fprintf(out, "#ifndef WEIR_SHM_ALL_H\n#define WEIR_SHM_ALL_H\n\n");
	for (i = 0; i < set->count; i++)
		fprintf(out, "#include <weir/shm/%s.h>\n", set->layouts[i].name);
	fprintf(out, "\n#endif\n");
}

static void field_text_put(FILE *out, const struct gen_field *field)
{
	uint32_t i;

	fprintf(out, "%s %u %u %s%s\n", field->name, field->offset, field->size,
		gen_atomic_prefix(field), field->type);
	for (i = 0; i < field->bit_count; i++)
		fprintf(out, "%s.%s %u %u bits\n", field->name, field->bits[i].name,
			field->bits[i].shift, field->bits[i].width);
}

void gen_text_write(FILE *out, const struct gen_set *set)
{
	const struct gen_layout *layout = set->layouts;
	uint32_t i;
	uint32_t f;

	for (i = 0; i < set->count; i++, layout++) {
		fprintf(out, "struct %s %u %u\n", layout->name, layout->version, layout->bytes);
		for (f = 0; f < layout->field_count; f++) {
			if (layout->fields[f].kind != GEN_PAD)
				field_text_put(out, &layout->fields[f]);
		}
	}
}

/* A C string; `?` is escaped because C11 reads trigraphs inside strings. */
static void string_put(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\' || *text == '?')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/* NULL for what the description does not say, so that a reader can tell. */
static void member_put(FILE *out, const char *member, const char *text)
{
	if (!text)
		return;
	fprintf(out, "\t\t.%s = ", member);
	string_put(out, text);
	fprintf(out, ",\n");
}

static void table_lists_put(FILE *out, const struct gen_layout *layout, uint32_t index)
{
	const struct gen_field *field = layout->fields;
	uint32_t i;
	uint32_t b;

	for (i = 0; i < layout->field_count; i++, field++) {
		if (!field->bit_count)
			continue;
		fprintf(out, "\n/* %s.%s */\n", layout->name, field->name);
		fprintf(out, "static const struct weir_layout_bits bits_%u_%u[] = {\n", index, i);
		for (b = 0; b < field->bit_count; b++) {
			fprintf(out, "\t{ \"%s\", %u, %u, ", field->bits[b].name,
				field->bits[b].shift, field->bits[b].width);
			string_put(out, field->bits[b].doc);
			fprintf(out, " },\n");
		}
		fprintf(out, "};\n");
	}
}

static void table_enums_put(FILE *out, const struct gen_layout *layout, uint32_t index)
{
	const struct gen_enum *list = layout->enums;
	uint32_t i;
	uint32_t v;

	if (!layout->enum_count)
		return;
	for (i = 0; i < layout->enum_count; i++, list++) {
		fprintf(out, "\n/* %s.%s */\n", layout->name, list->name);
		fprintf(out, "static const struct weir_layout_enum_value values_%u_%u[] = {\n",
			index, i);
		for (v = 0; v < list->value_count; v++) {
			fprintf(out, "\t{ \"%s\", %u, ", list->values[v].name,
				list->values[v].value);
			string_put(out, list->values[v].doc);
			fprintf(out, " },\n");
		}
		fprintf(out, "};\n");
	}
	fprintf(out, "\nstatic const struct weir_layout_enum enums_%u[] = {\n", index);
	for (i = 0, list = layout->enums; i < layout->enum_count; i++, list++) {
		fprintf(out, "\t{ \"%s\", ", list->name);
		string_put(out, list->doc);
		fprintf(out, ", values_%u_%u, %u },\n", index, i, list->value_count);
	}
	fprintf(out, "};\n");
}

static void table_field_put(FILE *out, const struct gen_field *field, uint32_t index, uint32_t i)
{
	fprintf(out, "\t{\n");
	member_put(out, "name", field->name);
	fprintf(out, "\t\t.kind = WEIR_LAYOUT_KIND_%s,\n", gen_kinds[field->kind].constant);
	member_put(out, "struct_name", field->struct_name[0] ? field->struct_name : NULL);
	fprintf(out, "\t\t.offset = %u,\n\t\t.size = %u,\n\t\t.count = %u,\n", field->offset,
		field->size, field->count);
	fprintf(out, "\t\t.atomic = %s,\n", field->is_atomic ? "true" : "false");
	member_put(out, "unit", field->unit);
	member_put(out, "write", field->write);
	member_put(out, "read", field->read);
	member_put(out, "doc", field->doc);
	member_put(out, "enum_name", field->enum_name);
	if (field->bit_count)
		fprintf(out, "\t\t.bits = bits_%u_%u,\n\t\t.bit_count = %u,\n", index, i,
			field->bit_count);
	fprintf(out, "\t},\n");
}

static void table_fields_put(FILE *out, const struct gen_layout *layout, uint32_t index)
{
	uint32_t i;

	table_lists_put(out, layout, index);
	table_enums_put(out, layout, index);
	fprintf(out, "\n/* %s */\nstatic const struct weir_layout_field fields_%u[] = {\n",
		layout->name, index);
	for (i = 0; i < layout->field_count; i++)
		table_field_put(out, &layout->fields[i], index, i);
	fprintf(out, "};\n");
}

static void table_layouts_put(FILE *out, const struct gen_set *set)
{
	const struct gen_layout *layout = set->layouts;
	uint32_t i;

	fprintf(out, "\nconst struct weir_layout weir_layouts[] = {\n");
	for (i = 0; i < set->count; i++, layout++) {
		fprintf(out, "\t{\n");
		member_put(out, "name", layout->name);
		fprintf(out, "\t\t.version = %u,\n\t\t.bytes = %u,\n", layout->version,
			layout->bytes);
		member_put(out, "doc", layout->doc);
		fprintf(out, "\t\t.fields = fields_%u,\n\t\t.field_count = %u,\n", i,
			layout->field_count);
		if (layout->enum_count)
			fprintf(out, "\t\t.enums = enums_%u,\n\t\t.enum_count = %u,\n", i,
				layout->enum_count);
		fprintf(out, "\t},\n");
	}
	fprintf(out, "};\nconst uint32_t weir_layout_count = %u;\n", set->count);
}

/* FNV-1a, 64 bits; weir_layout_stamp_of() computes the same. */
static uint64_t stamp_of(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return hash;
}

void gen_tables_write(FILE *out, const struct gen_set *set, const char *text)
{
	unsigned long long stamp = stamp_of(text);
	size_t bytes = strlen(text);
	uint32_t i;
	int length;

	banner_put(out, "shm-layouts/");
	fprintf(out, "#include <weir/layout.h>\n\n#include <assert.h>\n\n");
	fprintf(out, "/* The text is longer than the strings that ISO C promises. */\n");
	fprintf(out, "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n");
	for (i = 0; i < set->count; i++)
		table_fields_put(out, &set->layouts[i], i);
	table_layouts_put(out, set);
	fprintf(out, "\nconst char weir_layout_text[] =");
	for (; *text; text += length + 1) {
		length = (int)strcspn(text, "\n");
		fprintf(out, "\n\t\"%.*s\\n\"", length, text);
	}
	fprintf(out, ";\nconst uint32_t weir_layout_text_bytes = %zu;\n", bytes);
	fprintf(out, "const uint64_t weir_layout_stamp = 0x%016llxULL;\n\n", stamp);
	fprintf(out, "static_assert(sizeof(weir_layout_text) == %zu, \"text\");\n", bytes + 1);
	fprintf(out, "static_assert(%zu <= WEIR_LAYOUT_TEXT_BYTES_MAX, \"text\");\n", bytes);
	fprintf(out, "static_assert(WEIR_LAYOUT_NAME_BYTES == %d, \"name\");\n", GEN_NAME_MAX + 1);
	fprintf(out, "static_assert(WEIR_LAYOUT_TYPE_BYTES == %d, \"type\");\n", GEN_TYPE_MAX + 1);
}
