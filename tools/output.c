/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* JSON documents, the same as text, and tables. */
#include <errno.h>
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tools.h"

/* --- JSON -------------------------------------------------------------------------------- */

json_t *out_document(const char *schema)
{
	char time[TEXT_BYTES + 8];
	json_t *document = json_object();

	json_object_set_new(document, "schema", json_string(schema));
	json_object_set_new(document, "time", json_string(text_time_now(time)));
	return document;
}

void out_json(json_t *document, bool line)
{
	json_dumpf(document, stdout, line ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
	if (line)
		fflush(stdout); /* Somebody follows. */
	json_decref(document);
}

json_t *out_u64(uint64_t n)
{
	return n <= INT64_MAX ? json_integer((json_int_t)n) : json_null();
}

/* --- JSON as text ------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text);
	size_t m = strlen(end);

	return n > m && strcmp(text + n - m, end) == 0;
}

/* "wait_ns_total" as "wait total", its unit goes to the value. */
static void print_key(const char *key, int indent, int width)
{
	char text[64];
	char *unit;

	snprintf(text, sizeof(text), "%s", key);
	unit = strstr(text, "_ns");
	if (!unit || (unit[3] && unit[3] != '_'))
		unit = strstr(text, "_bytes");
	if (unit) {
		size_t skip = unit[1] == 'n' ? 3 : 6;

		memmove(unit, unit + skip, strlen(unit + skip) + 1);
	}
	for (char *c = text; *c; c++)
		*c = *c == '_' ? ' ' : *c;
	printf("%*s%-*s ", indent, "", width, text);
}

/* States that want attention are in capitals. */
static void print_state(const char *state)
{
	bool good = strcmp(state, "ok") == 0 || strcmp(state, "closed") == 0 ||
		    strcmp(state, "live") == 0;

	for (; *state; state++)
		putchar(!good && *state >= 'a' && *state <= 'z' ? *state & ~0x20 : *state);
}

static void print_value(const char *key, const json_t *value)
{
	char text[TEXT_BYTES];
	json_int_t n;

	switch (json_typeof(value)) {
	case JSON_STRING:
		if (strcmp(key, "state") == 0)
			print_state(json_string_value(value));
		else
			fputs(json_string_value(value), stdout);
		break;
	case JSON_INTEGER:
		n = json_integer_value(value);
		if (ends_with(key, "_ns") || strstr(key, "_ns_"))
			fputs(text_duration((uint64_t)n, text), stdout);
		else if (ends_with(key, "_bytes"))
			printf("%" JSON_INTEGER_FORMAT " bytes", n);
		else
			printf("%" JSON_INTEGER_FORMAT, n);
		break;
	case JSON_REAL:
		printf("%.1f", json_real_value(value));
		break;
	case JSON_TRUE:
		fputs("yes", stdout);
		break;
	case JSON_FALSE:
		fputs("no", stdout);
		break;
	default:
		putchar('-');
		break;
	}
}

static void print_item(const json_t *item, int indent)
{
	const char *key;
	json_t *value;

	printf("%*s", indent, "");
	json_object_foreach((json_t *)(uintptr_t)item, key, value)
	{
		print_key(key, 0, 0);
		print_value(key, value);
		fputs("  ", stdout);
	}
	putchar('\n');
}

void out_text(const json_t *object, int indent)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (json_is_object(value)) {
			print_key(key, indent, 0);
			putchar('\n');
			out_text(value, indent + 2);
		} else if (json_is_array(value)) {
			size_t i;
			json_t *item;

			print_key(key, indent, 20);
			printf("%zu\n", json_array_size(value));
			json_array_foreach(value, i, item) print_item(item, indent + 2);
		} else {
			print_key(key, indent, 20);
			print_value(key, value);
			putchar('\n');
		}
	}
}

/* --- tables ------------------------------------------------------------------------------ */

#define COLUMNS_MAX 16

struct table {
	struct libscols_table *scols;
	size_t chosen[COLUMNS_MAX];
	size_t count;
};

static int column_add(struct table *table, const struct column *columns, size_t index)
{
	int flags = (columns[index].right ? SCOLS_FL_RIGHT : 0) |
		    (columns[index].tree ? SCOLS_FL_TREE : 0);

	if (table->count == COLUMNS_MAX ||
	    !scols_table_new_column(table->scols, columns[index].name, 0, flags))
		return -ENOMEM;
	table->chosen[table->count++] = index;
	return 0;
}

static int columns_choose(struct table *table, const struct cli *cli, const struct column *columns,
			  size_t count)
{
	char *copy = strdup(cli->columns);
	char *rest = copy;
	char *name;
	int r = copy ? 0 : -ENOMEM;

	while (r == 0 && (name = strsep(&rest, ",")) != NULL) {
		size_t i = 0;

		while (i < count && strcasecmp(columns[i].name, name) != 0)
			i++;
		r = i < count ? column_add(table, columns, i) : -EINVAL;
		if (r == -EINVAL) {
			fprintf(stderr, "weir: %s: no column '%s'; there are:", cli->command->name,
				name);
			for (i = 0; i < count; i++)
				fprintf(stderr, " %s", columns[i].name);
			fputs(" (W-USAGE)\n", stderr);
		}
	}
	free(copy);
	return r;
}

struct table *table_new(const struct cli *cli, const struct column *columns, size_t count)
{
	struct table *table = calloc(1, sizeof(*table));
	int r = 0;

	if (table)
		table->scols = scols_new_table();
	if (!table || !table->scols)
		exit(fail(ENOMEM, NULL, "cannot make a table"));
	if (cli->columns) {
		r = columns_choose(table, cli, columns, count);
	} else {
		for (size_t i = 0; i < count && r == 0; i++)
			r = column_add(table, columns, i);
	}
	if (r < 0) {
		scols_unref_table(table->scols);
		free(table);
		return NULL;
	}
	scols_table_enable_noheadings(table->scols, cli->noheadings);
	scols_table_enable_raw(table->scols, cli->raw);
	scols_table_enable_ascii(table->scols, 1);
	/* What is cut to the width of the terminal cannot be read back; nothing here is long. */
	scols_table_enable_nowrap(table->scols, 1);
	scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_NEVER);
	return table;
}

void *table_row(struct table *table, void *parent, const char *const *cells)
{
	struct libscols_line *line = scols_table_new_line(table->scols, parent);

	if (!line)
		exit(fail(ENOMEM, NULL, "cannot make a table"));
	for (size_t i = 0; i < table->count; i++) {
		const char *cell = cells[table->chosen[i]];

		if (cell && scols_line_set_data(line, i, cell) < 0)
			exit(fail(ENOMEM, NULL, "cannot make a table"));
	}
	return line;
}

void table_print(struct table *table)
{
	if (scols_table_get_nlines(table->scols) > 0)
		scols_print_table(table->scols);
	scols_unref_table(table->scols);
	free(table);
}
