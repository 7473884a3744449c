/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Looks layouts up, and reads and compares description texts.
 *
 * 2026: a text in a segment can be written by others while we read it.  Each step therefore copies
 * the bytes of at most one line into its stack and looks only at the copy; what it finds there is
 * valid by itself or refused, and nothing learnt in one pass over the text is trusted in the next.
 *
 * 2026: the comparison walks both texts once, side by side, and searches only when it has found the
 * first difference, so that a long text costs its length and not its square.
 */
#include <weir/layout.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* "struct " with a name and two numbers, or a field's two names, two numbers and a type. */
#define LINE_BYTES_MAX 128

/* What is still to be read of a line that was copied and ended with a NUL. */
struct scan {
	const char *next;
};

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static size_t name_length(const char *text)
{
	size_t length = 0;

	if (!is_lower(text[0]))
		return 0;
	while (is_lower(text[length]) || is_digit(text[length]) || text[length] == '_')
		length++;
	return length;
}

/* NAME, or NAME.NAME if `dotted`, followed by a space. */
static int scan_name(struct scan *scan, bool dotted, char *ret_name)
{
	size_t length = name_length(scan->next);
	size_t second;

	if (length && dotted && scan->next[length] == '.') {
		second = name_length(scan->next + length + 1);
		length = second ? length + 1 + second : 0;
	}
	if (!length || length >= WEIR_LAYOUT_NAME_BYTES || scan->next[length] != ' ')
		return -EBADMSG;
	memcpy(ret_name, scan->next, length);
	ret_name[length] = '\0';
	scan->next += length + 1;
	return 0;
}

/* A decimal number of 32 bits without leading zeros, followed by `end`. */
static int scan_number(struct scan *scan, char end, uint32_t *ret_number)
{
	const char *digit = scan->next;
	uint64_t number = 0;

	if (digit[0] == '0' && is_digit(digit[1]))
		return -EBADMSG;
	while (is_digit(*digit) && number <= UINT32_MAX)
		number = number * 10 + (uint64_t)(*digit++ - '0');
	if (digit == scan->next || number > UINT32_MAX || *digit != end)
		return -EBADMSG;
	scan->next = end ? digit + 1 : digit;
	*ret_number = (uint32_t)number;
	return 0;
}

/* The rest of the line.  Types of later versions pass, as long as they are safe to print. */
static int scan_kind(const struct scan *scan, char *ret_kind)
{
	size_t start = strncmp(scan->next, "struct ", 7) ? 0 : 7;
	size_t length = strlen(scan->next);
	size_t good = strspn(scan->next + start, "abcdefghijklmnopqrstuvwxyz0123456789_-[]");

	if (!good || start + good != length || length >= WEIR_LAYOUT_TYPE_BYTES)
		return -EBADMSG;
	memcpy(ret_kind, scan->next, length + 1);
	return 0;
}

static int struct_parse(struct scan *scan, struct weir_layout_line *ret_line)
{
	struct weir_layout_line line = {.is_struct = true};

	scan->next += strlen("struct ");
	if (scan_name(scan, false, line.name) || scan_number(scan, ' ', &line.version) ||
	    scan_number(scan, '\0', &line.size))
		return -EBADMSG;
	*ret_line = line;
	return 0;
}

static int field_parse(struct scan *scan, struct weir_layout_line *inout_line)
{
	struct weir_layout_line line = {.version = inout_line->version};

	if (scan_name(scan, true, line.field) || scan_number(scan, ' ', &line.offset) ||
	    scan_number(scan, ' ', &line.size) || scan_kind(scan, line.kind))
		return -EBADMSG;
	memcpy(line.name, inout_line->name, sizeof(line.name));
	*inout_line = line;
	return 0;
}

int weir_layout_text_next(const char *text, size_t bytes, size_t *inout_pos,
			  struct weir_layout_line *inout_line)
{
	char copy[LINE_BYTES_MAX];
	struct scan scan = {.next = copy};
	size_t left;
	char *end;
	int r;

	assert(text || !bytes);
	assert(inout_pos && inout_line);
	if (bytes > WEIR_LAYOUT_TEXT_BYTES_MAX || *inout_pos > bytes)
		return -EBADMSG;
	left = bytes - *inout_pos;
	if (!left)
		return 0;
	if (left > sizeof(copy))
		left = sizeof(copy);
	memcpy(copy, text + *inout_pos, left);
	end = memchr(copy, '\n', left);
	if (!end || memchr(copy, '\0', (size_t)(end - copy)))
		return -EBADMSG;
	*end = '\0';
	if (!strncmp(copy, "struct ", 7))
		r = struct_parse(&scan, inout_line);
	else
		r = *inout_pos ? field_parse(&scan, inout_line) : -EBADMSG;
	if (r < 0)
		return r;
	*inout_pos += (size_t)(end - copy) + 1;
	return 1;
}

const struct weir_layout *weir_layout_at(uint32_t index)
{
	return index < weir_layout_count ? &weir_layouts[index] : NULL;
}

const struct weir_layout *weir_layout_find(const char *name)
{
	uint32_t i;

	assert(name);
	for (i = 0; i < weir_layout_count; i++) {
		if (!strcmp(weir_layouts[i].name, name))
			return &weir_layouts[i];
	}
	return NULL;
}

uint64_t weir_layout_stamp_of(const char *text, size_t bytes)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	size_t i;

	assert(text || !bytes);
	for (i = 0; i < bytes; i++)
		hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* A walk over a text, standing on `line` while `more`. */
struct cursor {
	const char *text;
	size_t bytes;
	size_t pos;
	bool more;
	struct weir_layout_line line;
};

/* Where the sentence goes. */
struct why {
	char *text;
	size_t bytes;
};

/* Verdicts, beside -errno.  NESTED is a difference that another structure should explain. */
enum { EQUAL, DIFFERENT, NESTED };

static int cursor_next(struct cursor *cursor)
{
	int r = weir_layout_text_next(cursor->text, cursor->bytes, &cursor->pos, &cursor->line);

	cursor->more = r > 0;
	return r < 0 ? r : 0;
}

static bool cursor_on_field(const struct cursor *cursor)
{
	return cursor->more && !cursor->line.is_struct;
}

/* Both are walked to the end first, so that a bad line outweighs any difference before it.
 * Sorted names are part of the form: the side-by-side walk depends on them. */
static int cursor_open(struct cursor *cursor, const char *text, size_t bytes)
{
	struct cursor walk = {.text = text, .bytes = bytes};
	char before[WEIR_LAYOUT_NAME_BYTES] = "";
	int r;

	*cursor = walk;
	do {
		r = cursor_next(&walk);
		if (r < 0)
			return r;
		if (!walk.more || !walk.line.is_struct)
			continue;
		if (strcmp(before, walk.line.name) >= 0)
			return -EBADMSG;
		memcpy(before, walk.line.name, sizeof(before));
	} while (walk.more);
	return cursor_next(cursor);
}

static int line_report(const struct why *why, const struct weir_layout_line *line, const char *how)
{
	snprintf(why->text, why->bytes, "%s%s%s: %s", line->name, line->field[0] ? "." : "",
		 line->field, how);
	return DIFFERENT;
}

static int number_differs(const struct why *why, const struct weir_layout_line *line,
			  const char *what, uint32_t here, uint32_t there)
{
	snprintf(why->text, why->bytes, "%s%s%s: %s %u here, %u in the segment", line->name,
		 line->field[0] ? "." : "", line->field, what, here, there);
	return DIFFERENT;
}

/* Lines of the same name.  The kind goes before the size, which follows from it. */
static int field_compare(const struct why *why, const struct weir_layout_line *here,
			 const struct weir_layout_line *there)
{
	bool bits = !strcmp(here->kind, "bits");

	if (here->offset != there->offset)
		return number_differs(why, here, bits ? "shift" : "offset", here->offset,
				      there->offset);
	if (strcmp(here->kind, there->kind)) {
		snprintf(why->text, why->bytes, "%s.%s: kind %s here, %s in the segment",
			 here->name, here->field, here->kind, there->kind);
		return DIFFERENT;
	}
	if (here->size == there->size)
		return EQUAL;
	number_differs(why, here, bits ? "width" : "size", here->size, there->size);
	return strncmp(here->kind, "struct ", 7) ? DIFFERENT : NESTED;
}

/* Find a field in the rest of the structure that the cursor stands in.  1 found, 0 not. */
static int field_find(const struct cursor *from, const char *field,
		      struct weir_layout_line *ret_line)
{
	struct cursor walk = *from;
	int r = 0;

	for (; !r && cursor_on_field(&walk); r = cursor_next(&walk)) {
		if (!strcmp(walk.line.field, field)) {
			*ret_line = walk.line;
			return 1;
		}
	}
	return r;
}

/* Both stand where the names of the fields part: say whose field it is.  A verdict or -errno. */
static int order_explain(const struct why *why, const struct cursor *ours,
			 const struct cursor *theirs)
{
	struct weir_layout_line theirs_of_our_field = {0};
	struct weir_layout_line ours_of_their_field = {0};
	int r;

	if (!cursor_on_field(ours))
		return line_report(why, &theirs->line, "not known here");
	r = field_find(theirs, ours->line.field, &theirs_of_our_field);
	if (r <= 0)
		return r ? r : line_report(why, &ours->line, "missing in the segment");
	r = field_find(ours, theirs->line.field, &ours_of_their_field);
	if (r <= 0)
		return r ? r : line_report(why, &theirs->line, "not known here");
	r = field_compare(why, &ours->line, &theirs_of_our_field);
	if (r == EQUAL)
		r = field_compare(why, &ours_of_their_field, &theirs->line);
	/* Left over: bits listed otherwise, which changes the stamp though not the bytes. */
	if (r == EQUAL)
		line_report(why, &ours->line, "in another order in the segment");
	return DIFFERENT;
}

/* Both stand on the line of the same structure and leave it behind.  A verdict or -errno. */
static int struct_compare(const struct why *why, struct cursor *ours, struct cursor *theirs)
{
	struct weir_layout_line here = ours->line;
	struct weir_layout_line there = theirs->line;
	int verdict = EQUAL;
	int r;

	for (;;) {
		r = cursor_next(ours);
		if (!r)
			r = cursor_next(theirs);
		if (r < 0)
			return r;
		if (!cursor_on_field(ours) && !cursor_on_field(theirs))
			break;
		if (!cursor_on_field(ours) || !cursor_on_field(theirs) ||
		    strcmp(ours->line.field, theirs->line.field))
			return order_explain(why, ours, theirs);
		verdict = field_compare(why, &ours->line, &theirs->line);
		if (verdict)
			return verdict;
	}
	if (here.size == there.size && here.version == there.version)
		return EQUAL;
	if (here.size == there.size)
		return number_differs(why, &here, "version", here.version, there.version);
	snprintf(why->text, why->bytes, "%s: %u bytes here, %u in the segment", here.name,
		 here.size, there.size);
	return DIFFERENT;
}

static int struct_skip(struct cursor *cursor)
{
	int r = 0;

	while (!r && cursor_on_field(cursor))
		r = cursor_next(cursor);
	return r;
}

/* Which structure is whose, until the first difference.  A verdict or -errno. */
static int texts_compare(const struct why *why, struct cursor *ours, struct cursor *theirs)
{
	int verdict = EQUAL;
	int order;
	int r;

	while (ours->more && theirs->more) {
		order = strcmp(ours->line.name, theirs->line.name);
		if (order)
			break;
		r = struct_compare(why, ours, theirs);
		if (r == NESTED) {
			verdict = NESTED;
			r = struct_skip(ours);
			if (!r)
				r = struct_skip(theirs);
		}
		if (r)
			return r;
	}
	if (ours->more && (!theirs->more || strcmp(ours->line.name, theirs->line.name) < 0))
		return line_report(why, &ours->line, "missing in the segment");
	if (theirs->more)
		return line_report(why, &theirs->line, "not known here");
	return verdict;
}

int weir_layout_diff(const char *ours, size_t ours_bytes, const char *theirs, size_t theirs_bytes,
		     char *ret_why, size_t why_bytes)
{
	struct why why = {.text = ret_why, .bytes = why_bytes};
	struct cursor here;
	struct cursor there;
	int r;

	assert(ret_why || !why_bytes);
	if (cursor_open(&here, ours, ours_bytes) < 0)
		return -EINVAL;
	r = cursor_open(&there, theirs, theirs_bytes);
	if (r < 0)
		return r;
	r = texts_compare(&why, &here, &there);
	return r < 0 ? r : r != EQUAL;
}
