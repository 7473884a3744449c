/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Reads one layout description and refuses everything that this file alone shows to be wrong.
 *
 * Keys and types that are not known are refused, not ignored: a description is a contract between
 * programs built months apart, and a misspelt "atomic" must not go unnoticed.
 */
#include "layoutgen.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const struct gen_kind_row gen_kinds[GEN_KIND_COUNT] = {
	[GEN_U8] = {"u8", "uint8_t", "U8", 1},	   [GEN_U16] = {"u16", "uint16_t", "U16", 2},
	[GEN_U32] = {"u32", "uint32_t", "U32", 4}, [GEN_U64] = {"u64", "uint64_t", "U64", 8},
	[GEN_I64] = {"i64", "int64_t", "I64", 8},  [GEN_F64] = {"f64", "double", "F64", 8},
	[GEN_CHAR] = {"char", "char", "CHAR", 1},  [GEN_STRUCT] = {"struct", NULL, "STRUCT", 0},
	[GEN_PAD] = {"pad", "uint8_t", "PAD", 1},
};

/* What people write first, and why it cannot lie in memory that other programs read. */
static const struct {
	const char *type;
	const char *why;
} refused_types[] = {
	{"pointer", "addresses differ in every process, use u64 with an offset into the segment"},
	{"bool", "a bool has values that are undefined behaviour to read, use u8 with 0 and 1"},
	{"_Bool", "a bool has values that are undefined behaviour to read, use u8 with 0 and 1"},
	{"int", "its size is the compiler's choice, use u32 or i64"},
	{"unsigned", "its size is the compiler's choice, use u32"},
	{"short", "its size is the compiler's choice, use u16"},
	{"long", "its size is the compiler's choice, use u64 or i64"},
	{"size_t", "its size differs between 32 and 64 bits, use u64"},
	{"ssize_t", "its size differs between 32 and 64 bits, use i64"},
	{"uintptr_t", "addresses differ in every process, use u64 with an offset"},
	{"off_t", "its size differs between builds, use u64"},
	{"pid_t", "its size is the platform's choice, use u32"},
	{"time_t", "its size differs between builds, use u64 with the unit ns"},
	{"timespec", "wall-clock time does not belong here, use u64 with the unit ns"},
	{"float", "use f64"},
	{"double", "write f64"},
	{"i8", "signed words are i64 only, use u8 or i64"},
	{"i16", "signed words are i64 only, use u16 or i64"},
	{"i32", "signed words are i64 only, use u32 or i64"},
	{"uint8_t", "write u8"},
	{"uint16_t", "write u16"},
	{"uint32_t", "write u32"},
	{"uint64_t", "write u64"},
	{"int64_t", "write i64"},
	{"enum", "its size is the compiler's choice, use u32 and \"enum\": \"NAME\""},
	{"flags", "use u32 or u64 with \"bits\""},
	{"bytes", "write u8[N]"},
	{"pthread_mutex_t", "libc's objects are no stable bytes, use a struct waitq"},
	{"pthread_cond_t", "libc's objects are no stable bytes, use a struct waitq"},
	{"sem_t", "libc's objects are no stable bytes, use a struct sem"},
};

/* Field names that one of the three compilers would not take as a member. */
static const char *const reserved_names[] = {
	"alignas",
	"alignof",
	"and",
	"asm",
	"auto",
	"bitand",
	"bitor",
	"bool",
	"break",
	"case",
	"catch",
	"char",
	"class",
	"compl",
	"const",
	"constexpr",
	"continue",
	"decltype",
	"default",
	"delete",
	"do",
	"double",
	"else",
	"enum",
	"explicit",
	"export",
	"extern",
	"false",
	"float",
	"for",
	"friend",
	"goto",
	"if",
	"inline",
	"int",
	"long",
	"mutable",
	"namespace",
	"new",
	"noexcept",
	"not",
	"nullptr",
	"operator",
	"or",
	"private",
	"protected",
	"public",
	"register",
	"requires",
	"restrict",
	"return",
	"short",
	"signed",
	"sizeof",
	"static",
	"struct",
	"switch",
	"template",
	"this",
	"throw",
	"true",
	"try",
	"typedef",
	"typeid",
	"typename",
	"typeof",
	"union",
	"unsigned",
	"using",
	"virtual",
	"void",
	"volatile",
	"while",
	"xor",
	"concept",
	"linux",
	"unix",
	"thread_local",
	"static_assert",
	"and_eq",
	"or_eq",
	"xor_eq",
	"not_eq",
	"const_cast",
	"dynamic_cast",
	"reinterpret_cast",
	"static_cast",
	"wchar_t",
	"char8_t",
	"char16_t",
	"char32_t",
	"co_await",
	"co_return",
	"co_yield",
	"consteval",
	"constinit",
};

static bool name_ok(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return name[0] >= 'a' && name[0] <= 'z' && !name[length] && length <= GEN_NAME_MAX;
}

static int keys_check(const struct gen_place *place, json_t *object, const char *const *known)
{
	const char *key;
	json_t *value;
	uint32_t i;

	if (!json_is_object(object))
		return gen_refuse(place, "not a JSON object, write {...}");
	json_object_foreach(object, key, value)
	{
		for (i = 0; known[i] && strcmp(known[i], key); i++)
			;
		if (!known[i])
			return gen_refuse(place,
					  "key \"%s\" is not known here, remove it or "
					  "correct its spelling",
					  key);
	}
	return 0;
}

/* Texts go into C comments, C strings and a manual page: one line of printable ASCII fits all. */
static int text_get(const struct gen_place *place, json_t *object, const char *key,
		    const char **ret_text)
{
	json_t *value = json_object_get(object, key);
	const char *text;
	size_t i;

	if (!json_is_string(value))
		return gen_refuse(place, "\"%s\" is not a string, write \"%s\": \"...\"", key, key);
	text = json_string_value(value);
	if (!text[strspn(text, " ")])
		return gen_refuse(place, "\"%s\" is empty, say something", key);
	for (i = 0; text[i]; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return gen_refuse(place,
					  "\"%s\" holds a character that is not printable "
					  "ASCII, write it in one line of plain letters",
					  key);
	}
	*ret_text = text;
	return 0;
}

static int text_need(const struct gen_place *place, json_t *object, const char *key,
		     const char **ret_text)
{
	if (!json_object_get(object, key))
		return gen_refuse(place, "\"%s\" is missing, add it", key);
	return text_get(place, object, key, ret_text);
}

static int text_maybe(const struct gen_place *place, json_t *object, const char *key,
		      const char **ret_text)
{
	return json_object_get(object, key) ? text_get(place, object, key, ret_text) : 0;
}

static int name_need(const struct gen_place *place, json_t *object, const char *key,
		     const char **ret_name)
{
	if (text_need(place, object, key, ret_name))
		return -1;
	if (!name_ok(*ret_name))
		return gen_refuse(place,
				  "\"%s\" is no name, use at most %d of a-z 0-9 _ with a "
				  "letter first",
				  *ret_name, GEN_NAME_MAX);
	return 0;
}

static int number_need(const struct gen_place *place, json_t *object, const char *key, uint64_t max,
		       uint32_t *ret_number)
{
	json_t *value = json_object_get(object, key);
	json_int_t number = json_integer_value(value);

	if (!value)
		return gen_refuse(place, "\"%s\" is missing, add it", key);
	if (!json_is_integer(value) || number < 0 || (uint64_t)number > max)
		return gen_refuse(place, "\"%s\" is not a whole number from 0 to %llu, correct it",
				  key, (unsigned long long)max);
	*ret_number = (uint32_t)number;
	return 0;
}

static int flag_maybe(const struct gen_place *place, json_t *object, const char *key,
		      bool *ret_flag)
{
	json_t *value = json_object_get(object, key);

	if (value && !json_is_boolean(value))
		return gen_refuse(place, "\"%s\" is neither true nor false, write one of them",
				  key);
	*ret_flag = json_is_true(value);
	return 0;
}

/* An array that may be absent, but not empty.  ret_count is 0 if it is absent. */
static int list_maybe(const struct gen_place *place, json_t *object, const char *key,
		      uint32_t *ret_count)
{
	json_t *value = json_object_get(object, key);

	*ret_count = 0;
	if (!value)
		return 0;
	if (!json_is_array(value) || !json_array_size(value))
		return gen_refuse(place,
				  "\"%s\" is not a list with something in it, write [...] "
				  "or leave it out",
				  key);
	if (json_array_size(value) > UINT16_MAX)
		return gen_refuse(place, "\"%s\" is too long, split the structure", key);
	*ret_count = (uint32_t)json_array_size(value);
	return 0;
}

static int type_refuse(const struct gen_place *place, const char *type)
{
	size_t length = strcspn(type, "[ <");
	size_t i;

	if (strchr(type, '*') || !strncmp(type, "offset<", 7) || !strncmp(type, "handle<", 7))
		return gen_refuse(place, "type \"%s\" is refused: %s", type, refused_types[0].why);
	for (i = 0; i < sizeof(refused_types) / sizeof(refused_types[0]); i++) {
		if (strlen(refused_types[i].type) == length &&
		    !strncmp(refused_types[i].type, type, length))
			return gen_refuse(place, "type \"%s\" is refused: %s", type,
					  refused_types[i].why);
	}
	return gen_refuse(place,
			  "type \"%s\" is not known, use u8 u16 u32 u64 i64 f64 char "
			  "\"struct NAME\", each with or without [N], or pad[N]",
			  type);
}

/* "[N]" at the end of a type: 1 if there is a good one, 0 if there is none, -1 if it is bad. */
static int type_count_parse(const char *tail, uint32_t *ret_count)
{
	unsigned long number;
	char *end;

	*ret_count = 1;
	if (!*tail)
		return 0;
	if (tail[1] < '1' || tail[1] > '9')
		return -1;
	number = strtoul(tail + 1, &end, 10);
	if (strcmp(end, "]") || number > GEN_BYTES_MAX)
		return -1;
	*ret_count = (uint32_t)number;
	return 1;
}

static int type_parse(const struct gen_place *place, struct gen_field *field)
{
	size_t length = strcspn(field->type, "[");
	int array = type_count_parse(field->type + length, &field->count);
	uint32_t kind;

	if (array < 0)
		return gen_refuse(place,
				  "type \"%s\" has a bad array length, write [N] with N "
				  "from 1 to %llu",
				  field->type, (unsigned long long)GEN_BYTES_MAX);
	field->is_array = array;
	if (!strncmp(field->type, "struct ", 7) && length - 7 <= GEN_NAME_MAX) {
		field->kind = GEN_STRUCT;
		memcpy(field->struct_name, field->type + 7, length - 7);
		return name_ok(field->struct_name) ? 0 : type_refuse(place, field->type);
	}
	for (kind = 0; kind < GEN_KIND_COUNT; kind++) {
		if (kind != GEN_STRUCT && strlen(gen_kinds[kind].name) == length &&
		    !strncmp(gen_kinds[kind].name, field->type, length))
			break;
	}
	if (kind == GEN_KIND_COUNT)
		return type_refuse(place, field->type);
	field->kind = (enum gen_kind)kind;
	if (kind == GEN_PAD && !array)
		return gen_refuse(place, "padding without a length, write pad[N]");
	return 0;
}

static int bit_read(const struct gen_place *place, json_t *object, uint32_t word_bits,
		    struct gen_bits *bits)
{
	static const char *const known[] = {"name", "shift", "width", "doc", NULL};

	if (keys_check(place, object, known) || name_need(place, object, "name", &bits->name) ||
	    number_need(place, object, "shift", word_bits - 1, &bits->shift) ||
	    number_need(place, object, "width", word_bits, &bits->width) ||
	    text_need(place, object, "doc", &bits->doc))
		return -1;
	if (!bits->width || bits->shift + bits->width > word_bits)
		return gen_refuse(place,
				  "bits '%s' from %u to %u do not fit into %u bits, make "
				  "the width 1 to %u",
				  bits->name, bits->shift, bits->shift + bits->width, word_bits,
				  word_bits - bits->shift);
	return 0;
}

static int bits_clash_check(const struct gen_place *place, const struct gen_field *field,
			    const struct gen_bits *bits)
{
	const struct gen_bits *other;

	if (strlen(field->name) + 1 + strlen(bits->name) > GEN_NAME_MAX)
		return gen_refuse(place,
				  "bits '%s': the two names together are longer than %d, "
				  "shorten one",
				  bits->name, GEN_NAME_MAX - 1);
	for (other = field->bits; other < bits; other++) {
		if (!strcmp(other->name, bits->name))
			return gen_refuse(place, "two bits named '%s', rename one", bits->name);
		if (other->shift < bits->shift + bits->width &&
		    bits->shift < other->shift + other->width)
			return gen_refuse(place, "bits '%s' overlap bits '%s', move one",
					  bits->name, other->name);
	}
	return 0;
}

static int bits_read(const struct gen_place *place, json_t *object, struct gen_field *field)
{
	json_t *list = json_object_get(object, "bits");
	uint32_t i;

	if (list_maybe(place, object, "bits", &field->bit_count))
		return -1;
	if (!field->bit_count)
		return 0;
	if (field->kind != GEN_U32 && field->kind != GEN_U64)
		return gen_refuse(place, "\"bits\" on a %s, only u32 and u64 have bits",
				  gen_kinds[field->kind].name);
	field->bits = gen_alloc(field->bit_count, sizeof(*field->bits));
	for (i = 0; i < field->bit_count; i++) {
		if (bit_read(place, json_array_get(list, i), gen_kinds[field->kind].bytes * 8,
			     &field->bits[i]) ||
		    bits_clash_check(place, field, &field->bits[i]))
			return -1;
	}
	return 0;
}

static int pad_read(const struct gen_place *place, json_t *object, struct gen_field *field)
{
	static const char *const known[] = {"name", "type", "doc", "write", "read", NULL};

	if (keys_check(place, object, known) || text_maybe(place, object, "write", &field->write) ||
	    text_maybe(place, object, "read", &field->read) ||
	    text_maybe(place, object, "doc", &field->doc))
		return -1;
	return 0;
}

static int access_check(const struct gen_place *place, const struct gen_field *field)
{
	bool is_word = field->kind <= GEN_U64;

	if (field->is_atomic && !is_word)
		return gen_refuse(place,
				  "\"atomic\" on a %s, only u8 u16 u32 u64 can be accessed "
				  "atomically",
				  gen_kinds[field->kind].name);
	if (field->enum_name && !is_word)
		return gen_refuse(place, "\"enum\" on a %s, only u8 u16 u32 u64 can hold one",
				  gen_kinds[field->kind].name);
	if (strcmp(field->read, "atomic") && strcmp(field->read, "owner") &&
	    strcmp(field->read, "plain") && strncmp(field->read, "seqlock:", 8))
		return gen_refuse(place,
				  "\"read\" is \"%s\", use atomic, owner, plain or "
				  "seqlock:FIELD",
				  field->read);
	if (!strcmp(field->read, "atomic") && field->kind != GEN_STRUCT && !field->is_atomic)
		return gen_refuse(place, "\"read\" is atomic but the field is not, add "
					 "\"atomic\": true");
	return 0;
}

static int data_field_read(const struct gen_place *place, json_t *object, struct gen_field *field)
{
	static const char *const known[] = {"name", "type", "atomic", "write", "read", "unit",
					    "line", "doc",  "bits",   "enum",  NULL};

	if (keys_check(place, object, known) || text_need(place, object, "write", &field->write) ||
	    text_need(place, object, "read", &field->read) ||
	    text_need(place, object, "doc", &field->doc) ||
	    text_maybe(place, object, "unit", &field->unit) ||
	    text_maybe(place, object, "enum", &field->enum_name) ||
	    flag_maybe(place, object, "atomic", &field->is_atomic) ||
	    flag_maybe(place, object, "line", &field->is_line) || access_check(place, field))
		return -1;
	return bits_read(place, object, field);
}

static int field_read(const struct gen_layout *layout, json_t *object, struct gen_field *field)
{
	struct gen_place place =
		gen_place(layout->file, "field %u", (unsigned int)(field - layout->fields));
	uint32_t i;

	if (!json_is_object(object))
		return gen_refuse(&place, "not a JSON object, write {...}");
	if (text_need(&place, object, "name", &field->name))
		return -1;
	place = gen_place(layout->file, "field '%s'", field->name);
	if (name_need(&place, object, "name", &field->name))
		return -1;
	for (i = 0; i < sizeof(reserved_names) / sizeof(reserved_names[0]); i++) {
		if (!strcmp(reserved_names[i], field->name))
			return gen_refuse(&place, "a word of C or C++, rename it");
	}
	if (text_need(&place, object, "type", &field->type) || type_parse(&place, field))
		return -1;
	if (field->kind == GEN_PAD ? pad_read(&place, object, field)
				   : data_field_read(&place, object, field))
		return -1;
	if (strlen(field->type) + strlen(gen_atomic_prefix(field)) > GEN_TYPE_MAX)
		return gen_refuse(&place, "type \"%s%s\" is longer than %d, shorten the name",
				  gen_atomic_prefix(field), field->type, GEN_TYPE_MAX);
	for (i = 0; &layout->fields[i] < field; i++) {
		if (!strcmp(layout->fields[i].name, field->name))
			return gen_refuse(&place, "two fields of this name, rename one");
	}
	return 0;
}

static int value_read(const struct gen_layout *layout, json_t *object, const struct gen_enum *list,
		      struct gen_value *value)
{
	static const char *const known[] = {"name", "value", "doc", NULL};
	struct gen_place place = gen_place(layout->file, "enum '%s'", list->name);
	const struct gen_value *other;

	if (keys_check(&place, object, known) || name_need(&place, object, "name", &value->name) ||
	    number_need(&place, object, "value", INT32_MAX, &value->value) ||
	    text_need(&place, object, "doc", &value->doc))
		return -1;
	for (other = list->values; other < value; other++) {
		if (!strcmp(other->name, value->name))
			return gen_refuse(&place, "two values named '%s', rename one", value->name);
		if (other->value == value->value)
			return gen_refuse(&place, "'%s' and '%s' are both %u, renumber one",
					  other->name, value->name, value->value);
	}
	return 0;
}

static int enum_read(const struct gen_layout *layout, json_t *object, struct gen_enum *list)
{
	static const char *const known[] = {"name", "doc", "values", NULL};
	struct gen_place place =
		gen_place(layout->file, "enum %u", (unsigned int)(list - layout->enums));
	const struct gen_enum *other;
	uint32_t i;

	if (keys_check(&place, object, known) || name_need(&place, object, "name", &list->name))
		return -1;
	place = gen_place(layout->file, "enum '%s'", list->name);
	if (text_need(&place, object, "doc", &list->doc) ||
	    list_maybe(&place, object, "values", &list->value_count))
		return -1;
	if (!list->value_count)
		return gen_refuse(&place, "\"values\" is missing, add it");
	for (other = layout->enums; other < list; other++) {
		if (!strcmp(other->name, list->name))
			return gen_refuse(&place, "two enums of this name, rename one");
	}
	list->values = gen_alloc(list->value_count, sizeof(*list->values));
	for (i = 0; i < list->value_count; i++) {
		if (value_read(layout, json_array_get(json_object_get(object, "values"), i), list,
			       &list->values[i]))
			return -1;
	}
	return 0;
}

static int field_enum_check(const struct gen_layout *layout, const struct gen_field *field)
{
	struct gen_place place = gen_place(layout->file, "field '%s'", field->name);
	uint32_t max = field->kind == GEN_U8 ? UINT8_MAX : UINT16_MAX;
	const struct gen_enum *list;
	uint32_t i;

	for (i = 0; i < layout->enum_count; i++) {
		if (!strcmp(layout->enums[i].name, field->enum_name))
			break;
	}
	if (i == layout->enum_count)
		return gen_refuse(&place, "enum '%s' is not in this file, add it to \"enums\"",
				  field->enum_name);
	list = &layout->enums[i];
	for (i = 0; field->kind < GEN_U32 && i < list->value_count; i++) {
		if (list->values[i].value > max)
			return gen_refuse(&place,
					  "value '%s' of enum '%s' does not fit into %s, "
					  "take a wider type",
					  list->values[i].name, list->name,
					  gen_kinds[field->kind].name);
	}
	return 0;
}

/* The lock word of a seqlock may stand behind what it guards, so this runs when all are read. */
static int field_seqlock_check(const struct gen_layout *layout, const struct gen_field *field)
{
	struct gen_place place = gen_place(layout->file, "field '%s'", field->name);
	const char *lock = field->read + 8;
	const struct gen_field *other;
	uint32_t i;

	for (i = 0; i < layout->field_count; i++) {
		if (!strcmp(layout->fields[i].name, lock))
			break;
	}
	if (i == layout->field_count)
		return gen_refuse(&place,
				  "\"read\" names '%s', which is no field of this layout, "
				  "name the field that holds the sequence",
				  lock);
	other = &layout->fields[i];
	if (other == field || !other->is_atomic || other->is_array || other->kind < GEN_U32)
		return gen_refuse(&place,
				  "'%s' cannot be the sequence, use another field that is "
				  "one atomic u32 or u64",
				  lock);
	return 0;
}

static int references_check(const struct gen_layout *layout)
{
	const struct gen_field *field = layout->fields;
	uint32_t i;

	for (i = 0; i < layout->field_count; i++, field++) {
		if (field->enum_name && field_enum_check(layout, field))
			return -1;
		if (field->kind != GEN_PAD && !strncmp(field->read, "seqlock:", 8) &&
		    field_seqlock_check(layout, field))
			return -1;
	}
	return 0;
}

static int head_read(const struct gen_place *place, struct gen_layout *layout)
{
	static const char *const known[] = {"layout", "version", "doc", "bytes",
					    "enums",  "fields",	 NULL};
	json_t *json = layout->json;

	if (keys_check(place, json, known) || name_need(place, json, "layout", &layout->name) ||
	    number_need(place, json, "version", UINT16_MAX, &layout->version) ||
	    text_need(place, json, "doc", &layout->doc) ||
	    number_need(place, json, "bytes", GEN_BYTES_MAX, &layout->bytes) ||
	    list_maybe(place, json, "enums", &layout->enum_count) ||
	    list_maybe(place, json, "fields", &layout->field_count))
		return -1;
	if (!strcmp(layout->name, "all") || !strcmp(layout->name, "base") ||
	    !strcmp(layout->name, "layout"))
		return gen_refuse(place, "layout name \"%s\" is taken by a header, rename it",
				  layout->name);
	if (!layout->version)
		return gen_refuse(place, "\"version\" is 0, versions count from 1");
	if (!layout->field_count)
		return gen_refuse(place, "\"fields\" is missing, add it");
	return 0;
}

int gen_layout_read(const char *file, struct gen_layout *layout)
{
	struct gen_place place = gen_place(file, "%s", "");
	json_error_t error;
	uint32_t i;

	memset(layout, 0, sizeof(*layout));
	layout->file = file;
	layout->json = json_load_file(file, JSON_REJECT_DUPLICATES, &error);
	if (!layout->json && error.line < 0)
		return gen_refuse(&place, "%s, correct the file name", error.text);
	if (!layout->json) {
		place = gen_place(file, "line %d column %d", error.line, error.column);
		return gen_refuse(&place, "%s, correct the JSON", error.text);
	}
	if (head_read(&place, layout))
		return -1;
	layout->enums = gen_alloc(layout->enum_count, sizeof(*layout->enums));
	for (i = 0; i < layout->enum_count; i++) {
		if (enum_read(layout, json_array_get(json_object_get(layout->json, "enums"), i),
			      &layout->enums[i]))
			return -1;
	}
	layout->fields = gen_alloc(layout->field_count, sizeof(*layout->fields));
	for (i = 0; i < layout->field_count; i++) {
		if (field_read(layout, json_array_get(json_object_get(layout->json, "fields"), i),
			       &layout->fields[i]))
			return -1;
	}
	return references_check(layout);
}

void gen_layout_free(struct gen_layout *layout)
{
	uint32_t i;

	for (i = 0; layout->enums && i < layout->enum_count; i++)
		free(layout->enums[i].values);
	for (i = 0; layout->fields && i < layout->field_count; i++)
		free(layout->fields[i].bits);
	free(layout->enums);
	free(layout->fields);
	json_decref(layout->json);
}
