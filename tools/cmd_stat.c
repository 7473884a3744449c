/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir stat: rates per second, from two looks at the same counters. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot.h"

/* What the text shows of each type: a column is a key of the description, or of the rates. */
static const struct {
	const char *type;
	const char *keys[6];
} shown[] = {
	{"sem", {"used", "permits", "waiters", "acquires_per_s", "waits_per_s", NULL}},
	{"limiter", {"available", "burst", "allowed_per_s", "denied_per_s", NULL}},
	{"breaker", {"window_failures", "calls_per_s", "failures_per_s", "rejected_per_s", NULL}},
	{"queue", {"depth", "slots", "reading", "in_per_s", "out_per_s", NULL}},
	{"spans", {"recorded_per_s", NULL}},
};

/* All objects wanted, by "segment:object". */
static int look(const struct cli *cli, const char *arg, json_t **ret, uint64_t *ret_now_ns)
{
	struct snapshot *snaps;
	struct target target;
	size_t count;
	int status = snapshot_wanted(cli, arg, &target, &snaps, &count);

	if (status)
		return status;
	*ret = json_object();
	*ret_now_ns = weir_now_ns();
	for (size_t n = 0; n < count; n++) {
		for (uint32_t i = 0; i < snaps[n].object_count; i++) {
			const struct snap_object *o = &snaps[n].objects[i];
			char name[128];

			if (!snapshot_matches(&target, o))
				continue;
			snprintf(name, sizeof(name), "%s:%s", snaps[n].name, o->name);
			json_object_set_new(*ret, name, describe_object(&snaps[n], o, false));
		}
	}
	snapshot_drop_all(snaps, count);
	return 0;
}

/* "acquires_total" grew by so much: "acquires_per_s". */
static void add_rates(json_t *now, const json_t *before, double seconds)
{
	json_t *rates = json_object();
	const char *key;
	json_t *value;

	json_object_foreach(now, key, value)
	{
		const char *end = strstr(key, "_total");
		const json_t *old = json_object_get(before, key);
		json_int_t diff;
		char name[64];

		if (!end)
			end = strstr(key, "_position");
		if (!end || !json_is_integer(value) || !json_is_integer(old))
			continue;
		snprintf(name, sizeof(name), "%.*s_per_s", (int)(end - key), key);
		diff = json_integer_value(value) - json_integer_value(old);
		/* A position is pulled back when a message is put back. */
		json_object_set_new(rates, name,
				    json_real(diff > 0 ? (double)diff / seconds : 0.0));
	}
	json_object_update(now, rates);
	json_decref(rates);
}

static void print_line(const char *name, const json_t *j)
{
	const char *type = json_string_value(json_object_get(j, "type"));
	const char *state = json_string_value(json_object_get(j, "state"));
	char time[TEXT_BYTES + 8];

	printf("%.8s %-24s %-8s %-8s", text_time_now(time) + 11, name, type, state);
	for (size_t t = 0; t < sizeof(shown) / sizeof(shown[0]); t++) {
		if (strcmp(shown[t].type, type) != 0)
			continue;
		for (int i = 0; shown[t].keys[i]; i++) {
			const json_t *value = json_object_get(j, shown[t].keys[i]);
			const char *key = shown[t].keys[i];
			const char *per = strstr(key, "_per_s");

			if (json_is_real(value))
				printf("  %.*s/s %.1f", (int)(per - key), key,
				       json_real_value(value));
			else if (json_is_integer(value))
				printf("  %s %" JSON_INTEGER_FORMAT, key,
				       json_integer_value(value));
		}
	}
	putchar('\n');
}

static void print_all(const struct cli *cli, json_t *now)
{
	json_t *objects = json_array();
	json_t *document;
	const char *name;
	json_t *j;

	json_object_foreach(now, name, j)
	{
		if (cli->json) {
			json_object_set_new(j, "name", json_string(name));
			json_array_append(objects, j);
		} else {
			print_line(name, j);
		}
	}
	fflush(stdout);
	if (cli->json) {
		document = out_document("weir.stat/1");
		json_object_set(document, "objects", objects);
		out_json(document, cli->json_lines);
	}
	json_decref(objects);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000),
			     .tv_nsec = (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

static int watch(const struct cli *cli, const char *arg, uint64_t interval_ns, uint64_t count)
{
	json_t *before;
	json_t *now;
	uint64_t before_ns;
	uint64_t now_ns;
	const char *name;
	json_t *j;
	int status = look(cli, arg, &before, &before_ns);

	if (status)
		return status;
	for (uint64_t i = 0; count == 0 || i < count; i++) {
		sleep_ns(interval_ns);
		status = look(cli, arg, &now, &now_ns);
		if (status)
			break;
		json_object_foreach(now, name, j) add_rates(j, json_object_get(before, name),
							    (double)(now_ns - before_ns) / 1e9);
		print_all(cli, now);
		json_decref(before);
		before = now;
		before_ns = now_ns;
	}
	json_decref(before);
	return status;
}

int weir_cmd_stat(int argc, char **argv)
{
	const char *arg = NULL;
	uint64_t interval_ns = 1000000000;
	uint64_t count = 1;
	struct cli cli;
	int next = 0;

	cli_parse(argc, argv, 0, 3, &cli);
	/* `weir stat 1` is all objects every second: a first argument that is a time is one. */
	if (cli.argc > 0 && (cli.argc == 3 || text_parse_duration(cli.argv[0], &interval_ns) < 0))
		arg = cli.argv[next++];
	if (cli.argc > next) {
		if (text_parse_duration(cli.argv[next], &interval_ns) < 0 ||
		    interval_ns < 1000000 || interval_ns > UINT64_C(86400000000000))
			return cli_usage(&cli, "interval '%s': 1ms to 1d is wanted",
					 cli.argv[next]);
		count = 0;
		next++;
	}
	if (cli.argc > next && text_parse_number(cli.argv[next], UINT32_MAX, &count) < 0)
		return cli_usage(&cli, "count '%s': a number from 1 is wanted", cli.argv[next]);
	if (cli.argc > next + 1)
		return cli_usage(&cli, "'%s' is one argument too many", cli.argv[next + 1]);
	if (cli.json && !cli.json_lines && count != 1)
		return cli_usage(&cli, "several samples are a stream: say --json=lines");
	return watch(&cli, arg, interval_ns, count);
}
