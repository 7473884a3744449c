/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A Redis of our own on a unix socket, and a rate limiter script in it. */
#ifndef PEER_REDIS_H
#define PEER_REDIS_H

#include <stdint.h>

/* Start redis-server; NULL if there is none. */
void *bench_redis_start(void);
/* `count` decisions, one round trip each. */
void bench_redis_run(void *redis, uint64_t count);
void bench_redis_stop(void *redis);

#endif
