/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Durations, sizes, rates and times, as people write and read them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools.h"

#define US  UINT64_C(1000)
#define MS  UINT64_C(1000000)
#define SEC UINT64_C(1000000000)

/* The first spelling of a unit is the one that is printed. */
static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"ns", 1},
	{"us", US},
	{"ms", MS},
	{"s", SEC},
	{"min", 60 * SEC},
	{"h", 3600 * SEC},
	{"d", 86400 * SEC},
	{"sec", SEC},
	{"second", SEC},
	{"seconds", SEC},
	{"m", 60 * SEC},
	{"minute", 60 * SEC},
	{"minutes", 60 * SEC},
	{"hour", 3600 * SEC},
	{"hours", 3600 * SEC},
	{"day", 86400 * SEC},
	{"days", 86400 * SEC},
};

static uint64_t unit_ns(const char *name)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(units[i].name, name) == 0)
			return units[i].ns;
	}
	return 0;
}

/* --- printing ---------------------------------------------------------------------------- */

const char *text_duration(uint64_t ns, char ret_text[TEXT_BYTES])
{
	uint64_t s = ns / SEC;

	if (ns < US)
		snprintf(ret_text, TEXT_BYTES, "%" PRIu64 " ns", ns);
	else if (ns < MS)
		snprintf(ret_text, TEXT_BYTES, "%.1f us", (double)ns / 1e3);
	else if (ns < 10 * MS)
		snprintf(ret_text, TEXT_BYTES, "%.1f ms", (double)ns / 1e6);
	else if (ns < SEC)
		snprintf(ret_text, TEXT_BYTES, "%" PRIu64 " ms", ns / MS);
	else if (s < 60)
		snprintf(ret_text, TEXT_BYTES, "%" PRIu64 ".%" PRIu64 " s", s,
			 ns / (SEC / 10) % 10);
	else if (s < 3600)
		snprintf(ret_text, TEXT_BYTES, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(ret_text, TEXT_BYTES, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
			 s / 60 % 60);
	else
		snprintf(ret_text, TEXT_BYTES, "%" PRIu64 " d %" PRIu64 " h", s / 86400,
			 s / 3600 % 24);
	return ret_text;
}

const char *text_size(uint64_t bytes, char ret_text[TEXT_BYTES])
{
	static const char prefixes[] = "BKMGTP";
	double n = (double)bytes;
	int i = 0;

	while (n >= 1024 && i < 5) {
		n /= 1024;
		i++;
	}
	snprintf(ret_text, TEXT_BYTES, i ? "%.1f%c" : "%.0f%c", n, prefixes[i]);
	return ret_text;
}

const char *text_rate(uint64_t count, uint64_t period_ns, char ret_text[2 * TEXT_BYTES])
{
	for (size_t i = 0; i < 7; i++) {
		if (period_ns == units[i].ns) {
			snprintf(ret_text, 2 * TEXT_BYTES, "%" PRIu64 "/%s", count, units[i].name);
			return ret_text;
		}
	}
	for (size_t i = 7; i-- > 0;) {
		if (period_ns % units[i].ns == 0) {
			snprintf(ret_text, 2 * TEXT_BYTES, "%" PRIu64 "/%" PRIu64 "%s", count,
				 period_ns / units[i].ns, units[i].name);
			break;
		}
	}
	return ret_text;
}

void text_clean(char *ret_text, size_t room, const char *foreign, size_t bytes)
{
	size_t i = 0;

	for (; i + 1 < room && i < bytes && foreign[i]; i++)
		ret_text[i] = foreign[i] >= ' ' && foreign[i] <= '~' ? foreign[i] : '?';
	ret_text[i] = '\0';
}

static const char *format_time(struct timespec t, char ret_text[TEXT_BYTES + 8])
{
	char date[TEXT_BYTES];
	struct tm tm;

	gmtime_r(&t.tv_sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret_text, TEXT_BYTES + 8, "%.20s.%06uZ", date,
		 (unsigned)(t.tv_nsec / 1000) % 1000000u);
	return ret_text;
}

const char *text_time_now(char ret_text[TEXT_BYTES + 8])
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return format_time(t, ret_text);
}

const char *text_time(uint64_t mono_ns, char ret_text[TEXT_BYTES + 8])
{
	struct timespec t;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &t);
	/* Unsigned: mono_ns may be anything. */
	ns = (int64_t)((uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec - (weir_now_ns() - mono_ns));
	if (ns < 0)
		ns = 0;
	t.tv_sec = ns / (int64_t)SEC;
	t.tv_nsec = ns % (int64_t)SEC;
	return format_time(t, ret_text);
}

/* --- parsing ----------------------------------------------------------------------------- */

int text_parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t n;
	char *end;

	/* strtoull would take signs and blanks. */
	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n == 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

int text_parse_duration(const char *text, uint64_t *ret_ns)
{
	uint64_t unit;
	double n;
	char *end;

	if (strcmp(text, "forever") == 0) {
		*ret_ns = UINT64_MAX;
		return 0;
	}
	if ((text[0] < '0' || text[0] > '9') || strchr(text, 'x'))
		return -EINVAL;
	n = strtod(text, &end);
	unit = *end ? unit_ns(end) : SEC;
	if (unit == 0 || !(n >= 0) || n * (double)unit > 9e18)
		return -EINVAL;
	*ret_ns = (uint64_t)(n * (double)unit + 0.5);
	return 0;
}

int text_parse_rate(const char *text, uint64_t *ret_count, uint64_t *ret_period_ns)
{
	char count[24];
	const char *slash = strchr(text, '/');
	uint64_t period;

	if (!slash || (size_t)(slash - text) >= sizeof(count))
		return -EINVAL;
	memcpy(count, text, (size_t)(slash - text));
	count[slash - text] = '\0';
	period = unit_ns(slash + 1);
	if (period == 0 && (text_parse_duration(slash + 1, &period) < 0 || period == UINT64_MAX))
		return -EINVAL;
	if (period == 0)
		return -EINVAL;
	if (text_parse_number(count, UINT64_MAX, ret_count) < 0)
		return -EINVAL;
	*ret_period_ns = period;
	return 0;
}

unsigned text_distance(const char *a, const char *b)
{
	unsigned row[33];
	size_t n = strnlen(b, 32);

	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1] && i <= 32; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}
