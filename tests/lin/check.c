/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The search of Wing and Gong (1993) with the memory of Lowe (2017): try what may come next, and
 * never twice the same set of steps made with the same state.  A history whose operations are on
 * independent parts (keys, names) is checked part by part (Herlihy and Wing: linearizability is
 * local).
 */
#include <string.h>

#include "history.h"

#define TABLE (1u << 15)

enum broken broken;
uint32_t strict;
const char *const kind_names[KINDS] = {
	[SEND] = "send",	 [RECV] = "recv",
	[LOAN] = "loan",	 [COMMIT] = "commit",
	[ABORT] = "abort",	 [TAKE] = "take",
	[DONE] = "done",	 [PUT_BACK] = "put-back",
	[SHUTDOWN] = "shutdown", [TRY_ACQUIRE] = "try-acquire",
	[RELEASE] = "release",	 [REQUEST] = "request",
	[RESIZE] = "resize",	 [ALLOW] = "allow",
	[RESERVE] = "reserve",	 [REFUND] = "refund",
	[OPEN] = "open",	 [FIND] = "find",
	[UNLINK] = "unlink",	 [RECOVER] = "recover",
	[DEATH] = "death",
};

struct seen {
	uint64_t progress;
	union state state;
	uint32_t round;
};

struct search {
	const struct history *h;
	const struct spec *spec;
	const struct op *op[OPS_MAX];
	uint32_t before[OPS_MAX]; /* operations that had returned when this one was called */
	uint32_t count;
	uint32_t wanted; /* operations that must have happened */
	uint32_t used;
	bool full;
};

static struct seen table[TABLE];
static uint32_t table_round;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

/* Have we been here?  If not, we have now. */
static bool been_here(struct search *s, uint64_t progress, const union state *state)
{
	uint64_t hash = mix(progress);
	uint32_t i;

	for (i = 0; i < 6; i++)
		hash = mix(hash + state->words[i]);
	for (i = (uint32_t)hash % TABLE;; i = (i + 1) % TABLE) {
		struct seen *e = &table[i];

		if (e->round != table_round) {
			*e = (struct seen){progress, *state, table_round};
			if (++s->used > TABLE / 4 * 3)
				s->full = true;
			return false;
		}
		if (e->progress == progress && memcmp(&e->state, state, sizeof(*state)) == 0)
			return true;
	}
}

static bool search(struct search *s, uint64_t progress, uint32_t done, const union state *state)
{
	if ((s->wanted & ~done) == 0)
		return true;
	if (s->full || been_here(s, progress, state))
		return false;
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t step = progress >> (2 * i) & 3;
		enum verdict verdict = REFUSED;

		if ((done >> i & 1) || (s->before[i] & ~done))
			continue;
		for (uint32_t choice = 0; verdict != LAST; choice++) {
			union state next = *state;
			uint64_t at = progress;

			verdict = s->spec->apply(s->h, s->op[i], step, choice, &next);
			if (verdict == REFUSED || verdict == LAST)
				continue;
			if (verdict == NEXT)
				at += UINT64_C(1) << (2 * i);
			else if (verdict == COMPLETE)
				at |= UINT64_C(3) << (2 * i);
			if (search(s, at, verdict == COMPLETE ? done | 1u << i : done, &next))
				return true;
		}
	}
	return false;
}

static bool in_part(const struct op *op, uint8_t part)
{
	return op->kind != RECOVER && (op->part == part || op->kind == DEATH);
}

static enum answer check_part(const struct history *h, uint8_t part)
{
	struct search s = {.h = h, .spec = h->profile->spec};
	union state state;

	for (uint32_t i = 0; i < h->count; i++) {
		if (in_part(&h->op[i], part))
			s.op[s.count++] = &h->op[i];
	}
	for (uint32_t i = 0; i < s.count; i++) {
		if (!(s.op[i]->flags & OP_OPTIONAL))
			s.wanted |= 1u << i;
		for (uint32_t j = 0; j < s.count; j++) {
			if (s.op[j]->resp < s.op[i]->inv && !(s.op[j]->flags & OP_OPTIONAL))
				s.before[i] |= 1u << j;
		}
	}
	table_round++;
	memset(&state, 0, sizeof(state));
	s.spec->init(h, part, &state);
	if (search(&s, 0, 0, &state))
		return LINEARIZABLE;
	return s.full ? UNDECIDED : NOT_LINEARIZABLE;
}

enum answer check(struct history *h, uint8_t *ret_part)
{
	uint8_t parts = 1;

	if (h->profile->spec->prepare)
		h->profile->spec->prepare(h);
	for (uint32_t i = 0; i < h->count; i++) {
		if (h->op[i].part >= parts)
			parts = (uint8_t)(h->op[i].part + 1);
	}
	for (uint8_t part = 0; part < parts; part++) {
		enum answer answer = check_part(h, part);

		*ret_part = part;
		if (answer != LINEARIZABLE)
			return answer;
	}
	return LINEARIZABLE;
}

bool ops_overlap(const struct op *a, const struct op *b)
{
	return a->inv < b->resp && b->inv < a->resp;
}

void history_print(const struct history *h, FILE *to)
{
	fprintf(to, "  # capacity %u, %u in it", h->capacity, h->prefill);
	for (int i = 0; i < 2; i++) {
		if (h->dead[i] >= 0)
			fprintf(to, ", %d dies at %u", h->dead[i], h->death_stamp[i]);
	}
	fprintf(to,
		"\n  # from   to who part operation       arg  result value  now/position ...\n");
	for (uint32_t i = 0; i < h->count; i++) {
		const struct op *op = &h->op[i];

		fprintf(to, "  %6u %4d  %u    %u   %-12s %5u %7d %5u  %llu/%llu %llu %llu%s\n",
			op->inv, op->resp == UINT32_MAX ? -1 : (int)op->resp, op->who, op->part,
			kind_names[op->kind], op->arg, op->result, op->value,
			(unsigned long long)op->now, (unsigned long long)op->more[0],
			(unsigned long long)op->more[1], (unsigned long long)op->more[2],
			op->flags & OP_OPTIONAL ? "  (died in it)" : "");
	}
}
