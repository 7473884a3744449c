/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tables: for people on the terminal, for programs as JSON. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#ifndef BENCH_DIR
#define BENCH_DIR "build/bench"
#endif

static void cpu_model(char *ret, size_t bytes)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(ret, bytes, "unknown CPU");
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strstr(line, ": ");

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(ret, bytes, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

void bench_table_begin(struct bench_table *table)
{
	struct utsname uts;
	double load[3] = {0};
	char model[64];
	char day[16];
	time_t now = time(NULL);
	struct tm utc;

	cpu_model(model, sizeof(model));
	uname(&uts);
	if (getloadavg(load, 3) < 1)
		load[0] = NAN;
	strftime(day, sizeof(day), "%F", gmtime_r(&now, &utc));
	snprintf(table->machine, sizeof(table->machine),
		 "%s, %ld x %s, Linux %.32s, gcc %s, load before the run %.1f", day,
		 sysconf(_SC_NPROCESSORS_ONLN), model, uts.release, __VERSION__, load[0]);
}

double *bench_table_row(struct bench_table *table, const char *name)
{
	struct bench_row *row = &table->rows[table->row_count++];

	if (table->row_count > BENCH_ROWS_MAX)
		bench_die("too many rows", ENOSPC);
	row->name = name;
	for (size_t i = 0; i < BENCH_COLUMNS_MAX; i++)
		row->cell[i] = NAN;
	return row->cell;
}

void bench_table_missing(struct bench_table *table, const char *name)
{
	if (table->missing_count < BENCH_MISSING_MAX)
		table->missing[table->missing_count++] = name;
}

void bench_table_bar(struct bench_table *table, const char *text, double measured, double bar,
		     bool at_least)
{
	if (table->bar_count < BENCH_BARS_MAX)
		table->bars[table->bar_count++] = (struct bench_bar){text, measured, bar, at_least};
}

static double median_of(const double ns[BENCH_ROUNDS])
{
	double copy[BENCH_ROUNDS];
	size_t n = 0;

	for (size_t i = 0; i < BENCH_ROUNDS; i++)
		if (!isnan(ns[i]))
			copy[n++] = ns[i];
	return bench_median(copy, n);
}

void bench_table_cases(struct bench_table *table, const struct bench_case *cases, size_t count,
		       const struct bench_case *base)
{
	static const char *const columns[] = {"alone ns", "min", "ratio", "two ns", "min", "ratio"};

	memcpy(table->columns, columns, sizeof(columns));
	table->column_count = 6;
	for (size_t i = 0; i < count; i++) {
		double *cell = bench_table_row(table, cases[i].name);

		for (enum bench_mode m = BENCH_ALONE; m < BENCH_MODES; m++) {
			cell[3 * m] = median_of(cases[i].ns[m]);
			cell[3 * m + 1] = bench_min(cases[i].ns[m], BENCH_ROUNDS);
			cell[3 * m + 2] = bench_ratio(&cases[i], base, m);
		}
	}
}

static void print_number(FILE *f, double v, int width, const char *none)
{
	if (isnan(v))
		fprintf(f, "%*s", width, none);
	else
		fprintf(f, "%*.*f", width, fabs(v) < 100 ? 2 : 0, v);
}

static bool met(const struct bench_bar *bar)
{
	return bar->at_least ? bar->measured >= bar->bar : bar->measured <= bar->bar;
}

static void print(const struct bench_table *table)
{
	printf("\n%s\n%s\n\n%-36s", table->title, table->machine, "");
	for (size_t i = 0; i < table->column_count; i++)
		printf(" %10s", table->columns[i]);
	putchar('\n');
	for (size_t r = 0; r < table->row_count; r++) {
		printf("%-36s", table->rows[r].name);
		for (size_t i = 0; i < table->column_count; i++)
			print_number(stdout, table->rows[r].cell[i], 11, "-");
		putchar('\n');
	}
	for (size_t i = 0; i < table->missing_count; i++)
		printf("%-36s not installed\n", table->missing[i]);
	if (table->bar_count)
		printf("\n%-52s %10s %10s\n", "bars", "demand", "measured");
	for (size_t i = 0; i < table->bar_count; i++) {
		const struct bench_bar *bar = &table->bars[i];

		printf("%-52s %s %7.2f", bar->text, bar->at_least ? ">=" : "<=", bar->bar);
		print_number(stdout, bar->measured, 11, "-");
		printf("  %s\n", isnan(bar->measured) ? "not measured" : met(bar) ? "" : "missed");
	}
}

static void write_json(const struct bench_table *t, FILE *f)
{
	fprintf(f, "{\"bench\": \"%s\", \"title\": \"%s\",\n \"machine\": \"%s\",\n \"columns\": [",
		t->name, t->title, t->machine);
	for (size_t i = 0; i < t->column_count; i++)
		fprintf(f, "%s\"%s\"", i ? ", " : "", t->columns[i]);
	fprintf(f, "],\n \"rows\": [");
	for (size_t r = 0; r < t->row_count; r++) {
		fprintf(f, "%s\n  {\"name\": \"%s\", \"cells\": [", r ? "," : "", t->rows[r].name);
		for (size_t i = 0; i < t->column_count; i++) {
			fputs(i ? ", " : "", f);
			print_number(f, t->rows[r].cell[i], 0, "null");
		}
		fprintf(f, "]}");
	}
	fprintf(f, "],\n \"not_installed\": [");
	for (size_t i = 0; i < t->missing_count; i++)
		fprintf(f, "%s\"%s\"", i ? ", " : "", t->missing[i]);
	fprintf(f, "],\n \"bars\": [");
	for (size_t i = 0; i < t->bar_count; i++) {
		fprintf(f, "%s\n  {\"text\": \"%s\", \"kind\": \"%s\", \"bar\": %g, \"measured\": ",
			i ? "," : "", t->bars[i].text,
			t->bars[i].at_least ? ">=" : "<=", t->bars[i].bar);
		print_number(f, t->bars[i].measured, 0, "null");
		fputc('}', f);
	}
	fprintf(f, "]}\n");
}

void bench_table_end(const struct bench_table *table)
{
	char path[256];
	FILE *f;

	print(table);
	snprintf(path, sizeof(path), BENCH_DIR "/%s.json", table->name);
	f = fopen(path, "we");
	if (!f)
		bench_die(path, errno);
	write_json(table, f);
	if (fclose(f) != 0)
		bench_die(path, errno);
}
