/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ours. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir.h>

#include "kill.h"

#define MS UINT64_C(1000000)

static char dir[64];
static char path[80];
static struct weir_segment *seg;
static struct weir_queue *queue;
static struct weir_sem *sem;

static bool make(void *area)
{
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 256u << 10, .processes = 8,
			  .threads = 8, .objects = 8);
	struct weir_queue_opts queue_opts = WEIR_OPTS(queue, .slots = ROOM, .bytes = 8);
	struct weir_sem_opts sem_opts = WEIR_OPTS(sem, .permits = PERMITS);

	(void)area;
	strcpy(dir, "/dev/shm/weir-kill.XXXXXX");
	if (!mkdtemp(dir))
		return false;
	strcpy(path, dir);
	strcat(path, "/s");
	return weir_segment_open(path, &opts, &seg) == 0 &&
	       weir_queue_open(seg, "queue", &queue_opts, &queue) == 0 &&
	       weir_sem_open(seg, "sem", &sem_opts, &sem) == 0;
}

static void drop(void *area)
{
	(void)area;
	weir_queue_close(queue);
	weir_sem_close(sem);
	weir_segment_close(seg);
	unlink(path);
	rmdir(dir);
}

static void join(void *area)
{
	(void)area;
	weir_segment_join(seg);
}

static void recover(void *area)
{
	(void)area;
	weir_segment_recover(seg, NULL);
}

static struct weir_ctx *patience(struct weir_ctx *ctx, int ms)
{
	weir_ctx_init(ctx, NULL, (uint64_t)ms * MS);
	return ctx;
}

static bool put(void *area, uint64_t value, int ms)
{
	struct weir_ctx ctx;

	(void)area;
	if (ms == 0)
		return weir_queue_try_send(queue, &value, 8) == 0;
	return weir_queue_send(queue, &value, 8, patience(&ctx, ms)) == 0;
}

static bool get(void *area, uint64_t *ret_value, int ms)
{
	struct weir_ctx ctx;
	uint32_t bytes;

	(void)area;
	if (ms == 0)
		return weir_queue_try_recv(queue, ret_value, 8, &bytes) == 0;
	return weir_queue_recv(queue, ret_value, 8, &bytes, patience(&ctx, ms)) == 0;
}

static bool release(void *area, uint64_t value, int ms)
{
	(void)area;
	(void)value;
	(void)ms;
	return weir_sem_release(sem, 1) == 0;
}

static bool acquire(void *area, uint64_t *ret_value, int ms)
{
	struct weir_ctx ctx;

	(void)area;
	(void)ret_value;
	if (ms == 0)
		return weir_sem_try_acquire(sem, 1) == 0;
	return weir_sem_acquire(sem, 1, patience(&ctx, ms)) == 0;
}

const struct peer peers_weir[] = {
	{"weir queue", {"try_send", "try_recv"}, QUEUE, make, drop, join, recover, put, get},
	{"weir semaphore",
	 {"release", "try_acquire"},
	 SEMAPHORE,
	 make,
	 drop,
	 join,
	 recover,
	 release,
	 acquire},
	{0},
};
