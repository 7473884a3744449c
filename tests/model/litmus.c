/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The litmus tests through the checker: once with reduction, once every order; both exact. */
#include "litmus.h"

#include <stdio.h>
#include <string.h>

#include "core.h"

static const struct litmus *now;
static struct litmus_mem *mem;
static uint32_t regs[LITMUS_REGS];

static void body(int self)
{
	now->body[self](mem, regs);
}

static void setup(void)
{
	mem = world_shared("mem", sizeof(*mem));
}

static void check(void)
{
	char text[16];
	int n = 0;

	for (int i = 0; i < now->regs; i++)
		text[n++] = (char)('0' + regs[i]);
	for (const char *l = now->last; *l; l++)
		text[n++] = (char)('0' + (*l == 'x' ? mem->x : mem->y));
	text[n] = '\0';
	model_outcome(text);
}

/* One search; true if its outcomes are what they must be. */
static bool look(const struct model *m, enum mode mode, uint64_t *ret_executions)
{
	uint64_t before = tally.executions;
	bool ok;

	limits.mode = mode;
	outcomes_reset();
	ok = search_quietly(m);
	*ret_executions = tally.executions - before;
	if (now->fails)
		return !ok && strstr(failure, now->fails);
	return ok && strcmp(outcomes_text(), now->allowed) == 0;
}

/* Returns how many failed. */
int litmus_run(int *ret_passed)
{
	int bad = 0;

	for (int i = 0; i < litmus_count; i++) {
		struct model m = {.check = check, .setup = setup};
		uint64_t few = 0;
		uint64_t many = 0;
		bool ok;

		now = &litmus_tests[i];
		m.name = now->name;
		m.peers = now->threads;
		for (int k = 0; k < now->threads; k++)
			m.body[k] = body;
		ok = look(&m, MODE_SEARCH, &few) && look(&m, MODE_NAIVE, &many);
		printf("%-4s litmus %-16s %4llu executions, %5llu without reduction: %s\n",
		       ok ? "ok" : "FAIL", now->name, (unsigned long long)few,
		       (unsigned long long)many, now->fails ? now->fails : now->allowed);
		if (!ok)
			printf("     found: %s %s\n", outcomes_text(), failed ? failure : "");
		*ret_passed += ok;
		bad += !ok;
	}
	limits.mode = MODE_SEARCH;
	return bad;
}
