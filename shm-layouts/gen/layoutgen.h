/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the three parts of layoutgen share: the layouts as read from their descriptions.
 *
 * layout_read.c fills the model from JSON and refuses what one file alone shows to be wrong;
 * layoutgen.c places the fields and refuses what only all files together show; layout_write.c and
 * layout_manual.c print a model that is known to be right.
 */
#ifndef WEIR_LAYOUTGEN_H
#define WEIR_LAYOUTGEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Bounds that <weir/layout.h> gives to readers of the description text; NUL not counted. */
#define GEN_NAME_MAX   47
#define GEN_TYPE_MAX   31
#define GEN_BYTES_MAX  (UINT64_C(1) << 30)
#define GEN_LINE_BYTES 64

enum gen_kind {
	GEN_U8,
	GEN_U16,
	GEN_U32,
	GEN_U64,
	GEN_I64,
	GEN_F64,
	GEN_CHAR,
	GEN_STRUCT,
	GEN_PAD,
	GEN_KIND_COUNT
};

/* One row per gen_kind; bytes is 0 where another layout says it. */
struct gen_kind_row {
	const char *name;
	const char *c_type;
	const char *constant;
	uint32_t bytes;
};
extern const struct gen_kind_row gen_kinds[GEN_KIND_COUNT];

struct gen_bits {
	const char *name;
	const char *doc;
	uint32_t shift;
	uint32_t width;
};

struct gen_value {
	const char *name;
	const char *doc;
	uint32_t value;
};

struct gen_enum {
	const char *name;
	const char *doc;
	struct gen_value *values;
	uint32_t value_count;
};

/* Strings belong to gen_layout.json; offset and size are known once the layout is placed. */
struct gen_field {
	const char *name;
	const char *type;
	const char *unit;
	const char *write;
	const char *read;
	const char *doc;
	const char *enum_name;
	char struct_name[GEN_NAME_MAX + 1];
	struct gen_bits *bits;
	uint32_t bit_count;
	enum gen_kind kind;
	uint32_t count;
	uint32_t offset;
	uint32_t size;
	bool is_array;
	bool is_atomic;
	bool is_line;
};

enum gen_state { GEN_UNPLACED, GEN_PLACING, GEN_PLACED };

struct gen_layout {
	const char *file;
	json_t *json;
	const char *name;
	const char *doc;
	uint32_t version;
	uint32_t bytes;
	struct gen_enum *enums;
	uint32_t enum_count;
	struct gen_field *fields;
	uint32_t field_count;
	uint32_t align;
	bool has_line;
	enum gen_state state;
};

/* Sorted by name once all are read. */
struct gen_set {
	struct gen_layout *layouts;
	uint32_t count;
};

/* Where in a description something was found; `at` is empty for the file as a whole. */
struct gen_place {
	const char *file;
	char at[192];
};

struct gen_place gen_place(const char *file, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Print `file: place: why, what to do`.  Returns -1, so that a check can end with it. */
int gen_refuse(const struct gen_place *place, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Memory or the end of the program: a generator has nothing better to do without. */
void *gen_alloc(size_t count, size_t bytes);

/* Read one description.  Returns 0, or -1 after a refusal; free the layout in both cases. */
int gen_layout_read(const char *file, struct gen_layout *layout);
void gen_layout_free(struct gen_layout *layout);

void gen_header_write(FILE *out, const struct gen_layout *layout);
void gen_all_write(FILE *out, const struct gen_set *set);
void gen_text_write(FILE *out, const struct gen_set *set);
void gen_tables_write(FILE *out, const struct gen_set *set, const char *text);
void gen_manual_write(FILE *out, const struct gen_set *set);

/* The type as the description text and the manual spell it: atomic words say so. */
static inline const char *gen_atomic_prefix(const struct gen_field *field)
{
	return field->is_atomic ? "atomic-" : "";
}

#endif
