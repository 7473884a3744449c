/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What lies in a segment, as data: the layouts of this build, and the description text of any.
 *
 * Tables.  Each structure of shm-layouts/ is one struct weir_layout, sorted by name, with every
 * field, bit and enum value and what their description says about them.  They are constants of this
 * build and live as long as the library.
 *
 * Text.  A segment carries a packed description of the layouts it was created with, so that a tool
 * can print, and a library can refuse, a segment of another build.  One line per structure, field
 * and bit field, structures sorted by name, padding left out, each line ended by one '\n':
 *
 *	struct sem 1 256                  struct NAME VERSION BYTES
 *	head 0 64 struct object           FIELD OFFSET SIZE TYPE
 *	word 128 8 atomic-u64
 *	word.used 0 20 bits               FIELD.BITS SHIFT WIDTH bits
 *
 * The stamp is a hash over the text: two builds whose stamps agree can share a segment.
 */
#ifndef WEIR_LAYOUT_H
#define WEIR_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A longer text, or a longer name or type in one, is malformed. */
#define WEIR_LAYOUT_TEXT_BYTES_MAX (1U << 20)
#define WEIR_LAYOUT_NAME_BYTES	   48
#define WEIR_LAYOUT_TYPE_BYTES	   32

enum weir_layout_kind {
	WEIR_LAYOUT_KIND_U8,
	WEIR_LAYOUT_KIND_U16,
	WEIR_LAYOUT_KIND_U32,
	WEIR_LAYOUT_KIND_U64,
	WEIR_LAYOUT_KIND_I64,
	WEIR_LAYOUT_KIND_F64,
	WEIR_LAYOUT_KIND_CHAR,
	WEIR_LAYOUT_KIND_STRUCT,
	WEIR_LAYOUT_KIND_PAD,
};

/* Bits shift to shift + width - 1 of a word. */
struct weir_layout_bits {
	const char *name;
	uint32_t shift;
	uint32_t width;
	const char *doc;
};

struct weir_layout_enum_value {
	const char *name;
	uint32_t value;
	const char *doc;
};

struct weir_layout_enum {
	const char *name;
	const char *doc;
	const struct weir_layout_enum_value *values;
	uint32_t value_count;
};

/* One field, in order of offset, padding included.  Pointers are NULL for what is not said. */
struct weir_layout_field {
	const char *name;
	enum weir_layout_kind kind;
	/* The layout that the field embeds, only for WEIR_LAYOUT_KIND_STRUCT. */
	const char *struct_name;
	uint32_t offset;
	/* All elements together; count is 1 for what is no array. */
	uint32_t size;
	uint32_t count;
	/* Every element is accessed by several processes at once. */
	bool atomic;
	const char *unit;
	/* any, owner, creator, recoverer, or a text.  Padding may have none, nor read and doc. */
	const char *write;
	/* atomic, owner, plain, or seqlock:FIELD with a field of the same layout. */
	const char *read;
	const char *doc;
	const struct weir_layout_bits *bits;
	uint32_t bit_count;
	/* The enum of the same layout whose values the field holds. */
	const char *enum_name;
};

struct weir_layout {
	const char *name;
	uint32_t version;
	uint32_t bytes;
	const char *doc;
	const struct weir_layout_field *fields;
	uint32_t field_count;
	const struct weir_layout_enum *enums;
	uint32_t enum_count;
};

/*
 * The generated tables.  They can be linked to inside the library and from libweir.a; libweir.so
 * does not export them, because their sizes change with every build and a copy relocation would
 * freeze them into the program.  Programs use weir_layout_at() and weir_layout_find().
 */
extern const struct weir_layout weir_layouts[];
extern const uint32_t weir_layout_count;
extern const char weir_layout_text[];
extern const uint32_t weir_layout_text_bytes;
extern const uint64_t weir_layout_stamp;

/* One line of a description text, copied out of it. */
struct weir_layout_line {
	/* A structure begins: name, version and size are set, field and kind empty, offset 0. */
	bool is_struct;
	/* The structure, also in the lines of its fields. */
	char name[WEIR_LAYOUT_NAME_BYTES];
	/* FIELD or FIELD.BITS. */
	char field[WEIR_LAYOUT_NAME_BYTES];
	/* Of the structure, also in the lines of its fields. */
	uint32_t version;
	/* Bytes; for bits the shift. */
	uint32_t offset;
	/* Bytes; for bits the width. */
	uint32_t size;
	/* The type as written, such as "atomic-u64[4]"; "bits" for bits. */
	char kind[WEIR_LAYOUT_TYPE_BYTES];
};

/* The layout of this name (`sem`, not `weir_sem_shm`), NULL if there is none.
 * Context  never sleeps; any thread; signal handlers too. */
WEIR_API const struct weir_layout *weir_layout_find(const char *name);

/* Layout number `index` of those sorted by name, NULL past the end.
 * Context  never sleeps; any thread; signal handlers too. */
WEIR_API const struct weir_layout *weir_layout_at(uint32_t index);

/* The stamp of a text: FNV-1a, 64 bits.  Reads `bytes` bytes of `text`, whatever they are.
 * Context  never sleeps; any thread; signal handlers too. */
WEIR_API uint64_t weir_layout_stamp_of(const char *text, size_t bytes);

/* Walk a description text.  Begin with *inout_pos = 0 and use the same line for the whole walk: a
 * field's line does not repeat the name of its structure, it stays in inout_line from before.
 * The text may be hostile and may change while it is read: a line is copied once, then checked.
 * Names hold only a-z 0-9 _ (and one dot), kinds also - [ ] and one space: safe to print.
 * Returns  1 and the next line; 0 at the end; -EBADMSG if the text is malformed at *inout_pos,
 *          and then, as at the end, nothing is changed.
 * Context  never sleeps; any thread; signal handlers too. */
WEIR_API int weir_layout_text_next(const char *text, size_t bytes, size_t *inout_pos,
				   struct weir_layout_line *inout_line);

/* Say in ret_why the first thing in which `theirs`, the text of a segment, differs from `ours`:
 *
 *	sem.word: offset 40 here, 48 in the segment     (likewise: kind, size, shift, width)
 *	sem.word: missing in the segment
 *	sem.extra: not known here
 *	sem: 256 bytes here, 320 in the segment         (likewise: version)
 *
 * A field that differs comes before the size of its structure, and both before the version.  An
 * embedded structure of another size is named only if its own fields do not say why.
 * `theirs` may be hostile, see weir_layout_text_next().  ret_why is cut to why_bytes and always
 * terminated; it may be NULL if why_bytes is 0.
 * Returns  0 if equal, and then ret_why is left alone; 1 if different; -EBADMSG if theirs is
 *          malformed; -EINVAL if ours is.
 * Context  never sleeps; any thread; takes time linear in the length of both. */
WEIR_API int weir_layout_diff(const char *ours, size_t ours_bytes, const char *theirs,
			      size_t theirs_bytes, char *ret_why, size_t why_bytes);

#ifdef __cplusplus
}
#endif

#endif
