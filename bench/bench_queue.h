/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a queue must offer to be measured, and the four loops around it.  C and C++.
 *
 * put and get never block (the pipe excepted) and return true on success.  They are inlined into
 * the loops, and the message size is a constant in each copy, so that no peer pays for our calls.
 * Every message carries its number in the first 8 bytes, and every receiver checks it.
 */
#ifndef BENCH_QUEUE_H
#define BENCH_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BENCH_QUEUE_SLOTS 1024
#define BENCH_QUEUE_BYTES 1024 /* the longest message */

struct bench_queue_peer {
	const char *name;
	void *(*make)(uint32_t bytes); /* called before the fork */
	void (*ping)(void *out, void *in, uint32_t bytes, uint64_t count);
	void (*pong)(void *out, void *in, uint32_t bytes, uint64_t count);
	void (*produce)(void *queue, uint32_t bytes, uint64_t count);
	void (*consume)(void *queue, uint32_t bytes, uint64_t count);
	bool slow; /* a system call or two per message: fewer of them */
};

#ifdef __cplusplus
extern "C" {
#endif

extern const struct bench_queue_peer bench_peer_ck_spsc;
extern const struct bench_queue_peer bench_peer_ck_mpmc;
extern const struct bench_queue_peer bench_peer_rte;
extern const struct bench_queue_peer bench_peer_lockfree;
extern const struct bench_queue_peer bench_peer_message_queue;

void *bench_shared(size_t bytes);
void bench_queue_wrong(const char *name) __attribute__((noreturn, cold));

#ifdef __cplusplus
}
#endif

#define BENCH_INLINE __attribute__((always_inline)) static inline

typedef bool bench_put_fn(void *queue, const void *data, uint32_t bytes);
typedef bool bench_get_fn(void *queue, void *data, uint32_t bytes);

BENCH_INLINE void bench_put_number(bench_put_fn put, void *queue, uint32_t bytes, uint64_t number)
{
	uint64_t data[BENCH_QUEUE_BYTES / 8];

	/* The rest of the message is whatever lies there: it is moved, never looked at. */
	__asm__ volatile("" : "=m"(data));
	data[0] = number;
	while (!put(queue, data, bytes))
		__builtin_ia32_pause();
}

BENCH_INLINE uint64_t bench_get_number(bench_get_fn get, void *queue, uint32_t bytes)
{
	uint64_t data[BENCH_QUEUE_BYTES / 8];

	while (!get(queue, data, bytes))
		__builtin_ia32_pause();
	__asm__ volatile("" : : "m"(data)); /* All of it has arrived. */
	return data[0];
}

BENCH_INLINE void bench_ping_one(bench_put_fn put, bench_get_fn get, void *out, void *in,
				 uint32_t bytes, uint64_t i, const char *name)
{
	bench_put_number(put, out, bytes, i);
	if (bench_get_number(get, in, bytes) != i)
		bench_queue_wrong(name);
}

BENCH_INLINE void bench_pong_one(bench_put_fn put, bench_get_fn get, void *out, void *in,
				 uint32_t bytes)
{
	bench_put_number(put, out, bytes, bench_get_number(get, in, bytes));
}

BENCH_INLINE void bench_consume_one(bench_get_fn get, void *queue, uint32_t bytes, uint64_t i,
				    const char *name)
{
	if (bench_get_number(get, queue, bytes) != i)
		bench_queue_wrong(name);
}

/* Run `statement`, which uses `size` and `i`, `count` times. */
#define BENCH_LOOP(statement)                                \
	do {                                                 \
		if (bytes == 8) {                            \
			enum { size = 8 };                   \
			for (uint64_t i = 0; i < count; i++) \
				statement;                   \
		} else if (bytes == 64) {                    \
			enum { size = 64 };                  \
			for (uint64_t i = 0; i < count; i++) \
				statement;                   \
		} else {                                     \
			enum { size = 1024 };                \
			for (uint64_t i = 0; i < count; i++) \
				statement;                   \
		}                                            \
	} while (0)

/* The loops of the peer whose functions are TAG_put and TAG_get. */
#define BENCH_QUEUE_LOOPS(tag)                                                            \
	static void tag##_ping(void *out, void *in, uint32_t bytes, uint64_t count)       \
	{                                                                                 \
		BENCH_LOOP(bench_ping_one(tag##_put, tag##_get, out, in, size, i, #tag)); \
	}                                                                                 \
	static void tag##_pong(void *out, void *in, uint32_t bytes, uint64_t count)       \
	{                                                                                 \
		BENCH_LOOP(bench_pong_one(tag##_put, tag##_get, out, in, size));          \
	}                                                                                 \
	static void tag##_produce(void *queue, uint32_t bytes, uint64_t count)            \
	{                                                                                 \
		BENCH_LOOP(bench_put_number(tag##_put, queue, size, i));                  \
	}                                                                                 \
	static void tag##_consume(void *queue, uint32_t bytes, uint64_t count)            \
	{                                                                                 \
		BENCH_LOOP(bench_consume_one(tag##_get, queue, size, i, #tag));           \
	}

#define BENCH_QUEUE_PEER(tag, title, is_slow)                                                    \
	{                                                                                        \
		title, tag##_make, tag##_ping, tag##_pong, tag##_produce, tag##_consume, is_slow \
	}

#endif
