/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Trace ids: making, parsing and printing them.
 *
 * 2026-08: ids must be unique, not secret, so each thread draws them from a generator of its own
 * that getrandom(2) seeds once: a system call per span would cost more than the span.  fork()
 * leaves exactly one thread, with a copy of its parent's generator: the atfork handler runs in that
 * very thread and makes it seed again.  (A child of a raw clone(2) would repeat its parent's ids.)
 *
 * Source: W3C Trace Context level 1, section 3.2; xoroshiro128++ by Blackman and Vigna, 2019.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <weir/ctx.h>

#include "os/os.h"

#define HEADER_CHARS (WEIR_TRACEPARENT_BYTES - 1)
#define SAMPLED	     1u

static __thread struct {
	bool seeded;
	uint64_t s[2];
} generator;

static void forked(void)
{
	generator.seeded = false;
}

__attribute__((constructor)) static void watch_fork(void)
{
	/* Without memory for the handler the children of this process repeat its ids; nothing else
	 * depends on them. */
	pthread_atfork(NULL, NULL, forked);
}

static uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

/* A random number that is not zero. */
static uint64_t draw(void)
{
	uint64_t a;
	uint64_t b;
	uint64_t value;

	do { /* One zero in 2^64. */
		a = generator.s[0];
		b = generator.s[1];
		value = rotl(a + b, 17) + a;
		b ^= a;
		generator.s[0] = rotl(a, 49) ^ b ^ b << 21;
		generator.s[1] = rotl(b, 28);
	} while (value == 0);
	return value;
}

static int generator_ready(void)
{
	int r;

	if (generator.seeded)
		return 0;
	r = weir__random(generator.s, sizeof(generator.s));
	if (r < 0)
		return r;
	generator.s[0] |= 1; /* The one seed that stays zero for ever. */
	generator.seeded = true;
	return 0;
}

int weir_trace_new(struct weir_trace *ret_trace)
{
	uint64_t ids[3];
	int r;

	r = generator_ready();
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		ids[i] = draw();
	memcpy(ret_trace->trace_id, ids, sizeof(ret_trace->trace_id));
	memcpy(ret_trace->span_id, &ids[2], sizeof(ret_trace->span_id));
	ret_trace->flags = SAMPLED;
	return 0;
}

int weir_trace_child(const struct weir_trace *parent, struct weir_trace *ret_child)
{
	uint64_t id;
	int r;

	r = generator_ready();
	if (r < 0)
		return r;
	id = draw();
	*ret_child = *parent;
	memcpy(ret_child->span_id, &id, sizeof(ret_child->span_id));
	return 0;
}

/* --- the header -------------------------------------------------------------------------- */

/* version-trace_id-span_id-flags: 2, 32, 16 and 2 lower case hexadecimal digits. */
#define AT_TRACE 3
#define AT_SPAN	 36
#define AT_FLAGS 53

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Digits to bytes; *ret_any has all bits that are set in them.  False: not all are digits. */
static bool hex_parse(const char *text, uint8_t *ret, size_t bytes, uint8_t *ret_any)
{
	int high;
	int low;

	*ret_any = 0;
	for (size_t i = 0; i < bytes; i++) {
		high = hex_digit(text[2 * i]);
		low = hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		ret[i] = (uint8_t)(high << 4 | low);
		*ret_any |= ret[i];
	}
	return true;
}

int weir_traceparent_parse(const char *text, size_t bytes, struct weir_trace *ret_trace)
{
	struct weir_trace trace;
	uint8_t version;
	uint8_t any;

	if (bytes < HEADER_CHARS || !hex_parse(text, &version, 1, &any) || version == 0xff)
		return -EINVAL;
	if (bytes > HEADER_CHARS && (version == 0 || text[HEADER_CHARS] != '-'))
		return -EINVAL;
	if (text[AT_TRACE - 1] != '-' || text[AT_SPAN - 1] != '-' || text[AT_FLAGS - 1] != '-')
		return -EINVAL;
	if (!hex_parse(text + AT_TRACE, trace.trace_id, sizeof(trace.trace_id), &any) || !any)
		return -EINVAL;
	if (!hex_parse(text + AT_SPAN, trace.span_id, sizeof(trace.span_id), &any) || !any)
		return -EINVAL;
	if (!hex_parse(text + AT_FLAGS, &trace.flags, 1, &any))
		return -EINVAL;
	trace.flags &= SAMPLED; /* What we do not know we must not pass on. */
	*ret_trace = trace;
	return 0;
}

static void hex_format(const uint8_t *data, size_t bytes, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes; i++) {
		ret_text[2 * i] = digits[data[i] >> 4];
		ret_text[2 * i + 1] = digits[data[i] & 15];
	}
}

void weir_traceparent_format(const struct weir_trace *trace, char ret_text[WEIR_TRACEPARENT_BYTES])
{
	uint8_t flags = trace->flags & SAMPLED;

	memset(ret_text, '-', HEADER_CHARS);
	memset(ret_text, '0', 2);
	hex_format(trace->trace_id, sizeof(trace->trace_id), ret_text + AT_TRACE);
	hex_format(trace->span_id, sizeof(trace->span_id), ret_text + AT_SPAN);
	hex_format(&flags, 1, ret_text + AT_FLAGS);
	ret_text[HEADER_CHARS] = '\0';
}
