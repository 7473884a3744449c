/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a peer must offer to be killed in.  C and C++. */
#ifndef WEIR_TESTS_KILL_H
#define WEIR_TESTS_KILL_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define AREA_BYTES (1u << 20) /* shared, zero */
#define ROOM	   8u	      /* messages a queue must hold; Boost's spsc is told so too */
#define PERMITS	   3u
#define PATIENCE   200 /* ms */

enum peer_kind { QUEUE, SEMAPHORE, LOCK };

/*
 * put and get, or release and acquire (then `value` means nothing).  With ms 0 they are the call
 * that is tested, and must not wait; else they try for so long, the best way the peer offers.
 */
struct peer {
	const char *name;
	const char *call[2]; /* of put and get, for the table */
	enum peer_kind kind;
	bool (*make)(void *area);
	void (*drop)(void *area);
	void (*join)(void *area); /* in each process, before it does anything */
	void (*recover)(void *area);
	bool (*put)(void *area, uint64_t value, int ms);
	bool (*get)(void *area, uint64_t *ret_value, int ms);
};

#ifdef __cplusplus
extern "C" {
#endif
extern const struct peer peers_weir[]; /* each list ends with a peer without a name */
extern const struct peer peers_posix[];
extern const struct peer peers_ck[];
extern const struct peer peers_boost[];
extern const struct peer peers_control[];

static inline int64_t kill_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline struct timespec kill_deadline(clockid_t clock, int ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += (long)ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}
#ifdef __cplusplus
}
#endif

/* Try again and again for so long. */
#define KILL_TRY(ms, expression)                                      \
	do {                                                          \
		int64_t until_ = (ms) > 0 ? kill_now_ms() + (ms) : 0; \
		do {                                                  \
			if (expression)                               \
				return true;                          \
		} while (until_ && kill_now_ms() < until_);           \
		return false;                                         \
	} while (0)

#endif
