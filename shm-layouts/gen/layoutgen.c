/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * layoutgen OUTDIR FILE.json...: writes the headers, tables and manual of the shared structures.
 *
 *	FILE.json... -> layout_read.c -> place, cross-check -> layout_write.c  -> headers, tables
 *	                                                    -> layout_manual.c -> LAYOUTS.md
 *
 * The descriptions say every byte, padding included, so nothing here is decided by a compiler; the
 * generated asserts only confirm it.  All files are read before one is written, and a file whose
 * content stays the same is not touched, so that make does not rebuild what did not change.
 */
#define _POSIX_C_SOURCE 200809L
#include "layoutgen.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void *gen_alloc(size_t count, size_t bytes)
{
	void *memory = calloc(count ? count : 1, bytes);

	if (!memory) {
		fprintf(stderr, "layoutgen: out of memory\n");
		exit(1);
	}
	return memory;
}

struct gen_place gen_place(const char *file, const char *format, ...)
{
	struct gen_place place = {.file = file};
	va_list args;

	va_start(args, format);
	vsnprintf(place.at, sizeof(place.at), format, args);
	va_end(args);
	return place;
}

int gen_refuse(const struct gen_place *place, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: %s%s", place->file, place->at, place->at[0] ? ": " : "");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return -1;
}

static struct gen_layout *layout_find(const struct gen_set *set, const char *name)
{
	uint32_t i;

	for (i = 0; i < set->count; i++) {
		if (!strcmp(set->layouts[i].name, name))
			return &set->layouts[i];
	}
	return NULL;
}

static int layout_place(const struct gen_set *set, struct gen_layout *layout);

/* The layout that a struct field embeds, itself placed.  The depth is at most the layout count. */
static int nested_get(const struct gen_set *set, const struct gen_place *place,
		      const struct gen_field *field, struct gen_layout **ret_nested)
{
	struct gen_layout *nested = layout_find(set, field->struct_name);

	if (!nested)
		return gen_refuse(place,
				  "layout '%s' is not known, add its file to the command "
				  "line or correct the name",
				  field->struct_name);
	if (nested->state == GEN_PLACING)
		return gen_refuse(place,
				  "struct cycle, '%s' would contain itself, refer to it by "
				  "an offset instead",
				  field->struct_name);
	if (layout_place(set, nested))
		return -1;
	*ret_nested = nested;
	return 0;
}

static int offset_check(const struct gen_place *place, uint64_t offset, uint32_t align,
			const char *what)
{
	if (offset % align)
		return gen_refuse(place,
				  "offset %llu is no multiple of %u, which %s needs, put a "
				  "pad[%llu] before it",
				  (unsigned long long)offset, align, what,
				  (unsigned long long)(align - offset % align));
	return 0;
}

/* Give the field its place at *inout_offset and move that behind it. */
static int field_place(const struct gen_set *set, struct gen_layout *layout,
		       struct gen_field *field, uint64_t *inout_offset)
{
	struct gen_place place = gen_place(layout->file, "field '%s'", field->name);
	uint32_t bytes = gen_kinds[field->kind].bytes;
	struct gen_layout *nested = NULL;
	uint32_t align = bytes;

	if (field->kind == GEN_STRUCT) {
		if (nested_get(set, &place, field, &nested))
			return -1;
		bytes = nested->bytes;
		align = nested->align;
	}
	if (offset_check(&place, *inout_offset, align, field->type))
		return -1;
	if (field->is_line && offset_check(&place, *inout_offset, GEN_LINE_BYTES, "\"line\""))
		return -1;
	/* A line promised inside the embedded structure holds only if the whole lies on one. */
	if (nested && nested->has_line &&
	    offset_check(&place, *inout_offset, GEN_LINE_BYTES, "a \"line\" inside it"))
		return -1;
	if (nested && nested->has_line && field->is_array && bytes % GEN_LINE_BYTES)
		return gen_refuse(&place,
				  "an array of a structure with \"line\" needs elements "
				  "of a multiple of 64 bytes, not %u, pad struct %s",
				  bytes, nested->name);
	if (align > layout->align)
		layout->align = align;
	if (field->is_line || (nested && nested->has_line))
		layout->has_line = true;
	field->offset = (uint32_t)*inout_offset;
	*inout_offset += (uint64_t)bytes * field->count;
	if (*inout_offset > GEN_BYTES_MAX)
		return gen_refuse(&place, "ends behind %llu bytes, make it smaller",
				  (unsigned long long)GEN_BYTES_MAX);
	field->size = (uint32_t)(*inout_offset - field->offset);
	return 0;
}

static int layout_place(const struct gen_set *set, struct gen_layout *layout)
{
	struct gen_place place = gen_place(layout->file, "%s", "");
	uint64_t offset = 0;
	uint32_t i;

	if (layout->state == GEN_PLACED)
		return 0;
	layout->state = GEN_PLACING;
	layout->align = 1;
	for (i = 0; i < layout->field_count; i++) {
		if (field_place(set, layout, &layout->fields[i], &offset))
			return -1;
	}
	if (offset < layout->bytes)
		return gen_refuse(&place,
				  "the sizes add up to %llu, \"bytes\" is %u, put a "
				  "pad[%llu] at the end or correct \"bytes\"",
				  (unsigned long long)offset, layout->bytes,
				  (unsigned long long)(layout->bytes - offset));
	if (offset > layout->bytes)
		return gen_refuse(&place,
				  "the sizes add up to %llu, \"bytes\" is %u, take out "
				  "%llu bytes or correct \"bytes\"",
				  (unsigned long long)offset, layout->bytes,
				  (unsigned long long)(offset - layout->bytes));
	if (offset % layout->align)
		return gen_refuse(&place,
				  "%u bytes are no multiple of the alignment %u, the "
				  "compiler would pad, put a pad[%llu] at the end",
				  layout->bytes, layout->align,
				  (unsigned long long)(layout->align - offset % layout->align));
	layout->state = GEN_PLACED;
	return 0;
}

/*
 * Names are glued together with _, so `a` + `b_c` and `a_b` + `c` meet in the generated C.  Every
 * name that a header makes goes through here once, over all layouts, because all.h has them all.
 */
__attribute__((format(printf, 3, 4))) static int
identifier_claim(json_t *taken, const struct gen_place *place, const char *format, ...)
{
	char name[4 * GEN_NAME_MAX + 32];
	json_t *before;
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	before = json_object_get(taken, name);
	if (before)
		return gen_refuse(place,
				  "the generated name %s is made twice, the other time by "
				  "%s, rename one",
				  name, json_string_value(before));
	if (json_object_set_new(taken, name, json_string(place->at))) {
		fprintf(stderr, "layoutgen: out of memory\n");
		exit(1);
	}
	return 0;
}

static int field_identifiers_check(json_t *taken, const struct gen_layout *layout,
				   const struct gen_field *field)
{
	struct gen_place place = gen_place(layout->file, "field '%s'", field->name);
	const struct gen_bits *bits;
	const char *l = layout->name;
	const char *f = field->name;
	uint32_t i;

	for (i = 0; i < field->bit_count; i++) {
		bits = &field->bits[i];
		if (identifier_claim(taken, &place, "weir_%s_%s_%s", l, f, bits->name) ||
		    identifier_claim(taken, &place, "weir_%s_%s_set_%s", l, f, bits->name) ||
		    identifier_claim(taken, &place, "WEIR_%s_%s_%s_shift", l, f, bits->name) ||
		    identifier_claim(taken, &place, "WEIR_%s_%s_%s_max", l, f, bits->name))
			return -1;
	}
	return 0;
}

static int identifiers_check(json_t *taken, const struct gen_layout *layout)
{
	struct gen_place place;
	const struct gen_enum *list;
	uint32_t i;
	uint32_t v;

	for (i = 0; i < layout->enum_count; i++) {
		list = &layout->enums[i];
		place = gen_place(layout->file, "enum '%s'", list->name);
		if (identifier_claim(taken, &place, "enum weir_%s_%s", layout->name, list->name))
			return -1;
		for (v = 0; v < list->value_count; v++) {
			if (identifier_claim(taken, &place, "WEIR_%s_%s_%s", layout->name,
					     list->name, list->values[v].name))
				return -1;
		}
	}
	for (i = 0; i < layout->field_count; i++) {
		if (field_identifiers_check(taken, layout, &layout->fields[i]))
			return -1;
	}
	return 0;
}

static int layout_compare(const void *a, const void *b)
{
	return strcmp(((const struct gen_layout *)a)->name, ((const struct gen_layout *)b)->name);
}

/* Everything that only all files together show.  Sorts the set. */
static int set_check(struct gen_set *set)
{
	struct gen_place place;
	json_t *taken = json_object();
	uint32_t i;
	int r = 0;

	qsort(set->layouts, set->count, sizeof(*set->layouts), layout_compare);
	for (i = 1; i < set->count; i++) {
		if (strcmp(set->layouts[i - 1].name, set->layouts[i].name))
			continue;
		place = gen_place(set->layouts[i].file, "%s", "");
		r = gen_refuse(&place, "layout '%s' is in %s too, rename one", set->layouts[i].name,
			       set->layouts[i - 1].file);
	}
	for (i = 0; !r && i < set->count; i++) {
		r = layout_place(set, &set->layouts[i]);
		if (!r)
			r = identifiers_check(taken, &set->layouts[i]);
	}
	json_decref(taken);
	return r;
}

/* Read every file even after a refusal: one run shows the first mistake of each. */
static int set_read(struct gen_set *set, char **files, uint32_t count)
{
	uint32_t i;
	int r = 0;

	set->layouts = gen_alloc(count, sizeof(*set->layouts));
	set->count = count;
	for (i = 0; i < count; i++) {
		if (gen_layout_read(files[i], &set->layouts[i]))
			r = -1;
	}
	return r ? r : set_check(set);
}

static void set_free(struct gen_set *set)
{
	uint32_t i;

	for (i = 0; i < set->count; i++)
		gen_layout_free(&set->layouts[i]);
	free(set->layouts);
}

/* A file being written in memory: fill out, then output_save(). */
struct output {
	FILE *out;
	char *data;
	size_t bytes;
	char path[PATH_MAX];
};

static void output_open(struct output *output, const char *dir, const char *before,
			const char *name, const char *after)
{
	int length =
		snprintf(output->path, sizeof(output->path), "%s/%s%s%s", dir, before, name, after);

	output->data = NULL;
	output->bytes = 0;
	output->out = open_memstream(&output->data, &output->bytes);
	if (!output->out || length < 0 || (size_t)length >= sizeof(output->path)) {
		fprintf(stderr, "layoutgen: %s: path too long or out of memory\n", dir);
		exit(1);
	}
}

static bool output_is_same(const struct output *output)
{
	FILE *file = fopen(output->path, "re");
	char *old = gen_alloc(output->bytes + 1, 1);
	bool same = false;

	if (file) {
		/* One byte more is asked for, so that a longer file shows. */
		same = fread(old, 1, output->bytes + 1, file) == output->bytes &&
		       !memcmp(old, output->data, output->bytes);
		fclose(file);
	}
	free(old);
	return same;
}

/* Write beside and rename: an interrupted run leaves no half header that looks new to make. */
static int output_write(const struct output *output)
{
	char path[PATH_MAX + 8];
	FILE *file;
	bool ok;

	snprintf(path, sizeof(path), "%s.new", output->path);
	file = fopen(path, "we");
	if (file) {
		ok = fwrite(output->data, 1, output->bytes, file) == output->bytes;
		if (!fclose(file) && ok && !rename(path, output->path))
			return 0;
	}
	fprintf(stderr, "layoutgen: %s: %s\n", output->path, strerror(errno));
	return -1;
}

static int output_save(struct output *output)
{
	int r = 0;

	if (fclose(output->out)) {
		fprintf(stderr, "layoutgen: out of memory\n");
		exit(1);
	}
	if (!output_is_same(output))
		r = output_write(output);
	free(output->data);
	return r;
}

static int directory_make(const char *dir, const char *below)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%s%s", dir, below);
	char *slash = path;

	if (length < 0 || (size_t)length >= sizeof(path))
		return -1;
	do {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, 0777) && errno != EEXIST) {
			fprintf(stderr, "layoutgen: %s: %s\n", path, strerror(errno));
			return -1;
		}
		if (slash)
			*slash = '/';
	} while (slash);
	return 0;
}

static int headers_write(const struct gen_set *set, const char *dir)
{
	struct output output;
	uint32_t i;

	for (i = 0; i < set->count; i++) {
		output_open(&output, dir, "weir/shm/", set->layouts[i].name, ".h");
		gen_header_write(output.out, &set->layouts[i]);
		if (output_save(&output))
			return -1;
	}
	output_open(&output, dir, "weir/shm/", "all", ".h");
	gen_all_write(output.out, set);
	return output_save(&output);
}

static int tables_write(const struct gen_set *set, const char *dir)
{
	struct output output;
	char *text = NULL;
	size_t text_bytes = 0;
	FILE *out = open_memstream(&text, &text_bytes);

	if (!out)
		return -1;
	gen_text_write(out, set);
	if (fclose(out))
		return -1;
	output_open(&output, dir, "", "layout_tables", ".c");
	gen_tables_write(output.out, set, text);
	free(text);
	return output_save(&output);
}

static int set_write(const struct gen_set *set, const char *dir)
{
	struct output output;

	if (directory_make(dir, "/weir/shm") || headers_write(set, dir) || tables_write(set, dir))
		return -1;
	output_open(&output, dir, "", "LAYOUTS", ".md");
	gen_manual_write(output.out, set);
	return output_save(&output);
}

int main(int argc, char **argv)
{
	struct gen_set set;
	int r;

	if (argc < 3 || argv[1][0] == '-' || !argv[1][0]) {
		fprintf(stderr, "usage: layoutgen OUTDIR FILE.json...\n"
				"Writes OUTDIR/weir/shm/*.h, OUTDIR/layout_tables.c and "
				"OUTDIR/LAYOUTS.md.\n");
		return 2;
	}
	r = set_read(&set, argv + 2, (uint32_t)(argc - 2));
	if (!r)
		r = set_write(&set, argv[1]);
	set_free(&set);
	return r ? 1 : 0;
}
