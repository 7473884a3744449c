/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names of edges in traces: the EDGE comment at the line of the source that made an access. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core.h"

#define KNOWN 512
#define ABOVE 12 /* as `make tidy` looks for it */

extern const char __executable_start[];

static struct {
	const void *pc;
	char name[40];
} known[KNOWN];
static int known_count;

/* The last EDGE of the function at or above the line. */
static void read_name(const char *path, int line, char *ret, size_t bytes)
{
	FILE *source = fopen(path, "r");
	char text[256];
	int n = 0;

	while (source && n < line && fgets(text, sizeof(text), source)) {
		const char *edge = strstr(text, "EDGE ");

		n += strchr(text, '\n') != NULL;
		if (text[0] == '{')
			*ret = '\0';
		if (edge && n + ABOVE >= line)
			snprintf(ret, bytes, "%.*s", (int)strcspn(edge + 5, " \n"), edge + 5);
	}
	if (source)
		fclose(source);
}

/* The line is the innermost one that is not the atomic access itself. */
static void find_name(const void *pc, char *ret, size_t bytes)
{
	char text[512];
	FILE *lines;

	snprintf(text, sizeof(text), "addr2line -i -e /proc/%d/exe %#tx 2>/dev/null", getpid(),
		 (const char *)pc - 1 - __executable_start);
	lines = popen(text, "r");
	while (lines && fgets(text, sizeof(text), lines)) {
		char *colon = strrchr(text, ':');

		if (!colon || strstr(text, "/os/atomic.h:"))
			continue;
		*colon = '\0';
		read_name(text, atoi(colon + 1), ret, bytes);
		break;
	}
	if (lines)
		pclose(lines);
}

const char *edge_name(const void *pc)
{
	int i;

	for (i = 0; i < known_count; i++) {
		if (known[i].pc == pc)
			return known[i].name;
	}
	if (!pc || i == KNOWN)
		return "";
	known[known_count++].pc = pc;
	find_name(pc, known[i].name, sizeof(known[i].name));
	return known[i].name;
}
