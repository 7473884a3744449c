/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The segment, what it looks like before a history, and the history put together after it. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lin.h"
#include "obj/queue_word.h"

struct world world;

void broke(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "lin: broken: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (errno %d)\n", errno);
	_exit(2);
}

void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

static bool fixed_objects(const struct profile *what)
{
	return what->spec != &spec_directory;
}

static void party_objects(struct party *p, bool make)
{
	struct weir_sem_opts sem = WEIR_OPTS(sem, .permits = world.capacity);
	struct weir_queue_opts queue =
		WEIR_OPTS(queue, .slots = world.capacity, .bytes = MSG_BYTES);
	struct weir_limiter_opts limiter =
		WEIR_OPTS(limiter, .count = 1, .period_ns = INTERVAL, .burst = world.capacity);
	struct weir_limiter_opts keyed = limiter;

	keyed.keys = 4;
	if (profile->spec == &spec_queue)
		must(weir_queue_open(p->seg, "o", make ? &queue : NULL, &p->queue) == 0);
	if (profile->spec == &spec_sem)
		must(weir_sem_open(p->seg, "o", make ? &sem : NULL, &p->sem) == 0);
	if (profile->spec == &spec_limiter && profile->flags & KEYED)
		must(weir_limiter_open(p->seg, "o", make ? &keyed : NULL, &p->keyed) == 0);
	else if (profile->spec == &spec_limiter)
		must(weir_limiter_open(p->seg, "o", make ? &limiter : NULL, &p->limiter) == 0);
}

void party_open(struct party *p, uint32_t index)
{
	memset(p, 0, sizeof(*p));
	p->index = index;
	must(weir_segment_open(world.path, NULL, &p->seg) == 0);
	must(weir_segment_join(p->seg) == 0);
	if (fixed_objects(profile))
		party_objects(p, false);
	p->self = weir__self_cache;
}

void party_close(struct party *p)
{
	weir_queue_close(p->queue);
	weir_sem_close(p->sem);
	weir_limiter_close(p->limiter);
	weir_limiter_close(p->keyed);
	weir_segment_close(p->seg);
	memset(p, 0, sizeof(*p));
}

static struct party maker;

void world_make(const struct profile *what, uint32_t capacity)
{
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 160u << 10, .processes = 6,
			  .threads = 6, .objects = 24);
	size_t bytes;

	memset(&world, 0, sizeof(world));
	memset(&maker, 0, sizeof(maker));
	profile = what;
	world.capacity = capacity;
	strcpy(world.dir, "/dev/shm/weir-lin.XXXXXX");
	must(mkdtemp(world.dir));
	snprintf(world.path, sizeof(world.path), "%s/s", world.dir);
	must(weir_segment_open(world.path, &opts, &maker.seg) == 0);
	must(weir_segment_join(maker.seg) == 0);
	if (fixed_objects(profile))
		party_objects(&maker, true);
	maker.self = weir__self_cache;
	world.seg = maker.seg;
	world.map = (uint8_t *)(uintptr_t)weir_segment_base(maker.seg, &bytes);
	world.begin = maker.seg->shm->dir_off;
	world.tables_end = maker.seg->shm->event_off;
	world.arena = maker.seg->arena_off;
	world.end = world.arena;
	for (uint64_t off = world.arena; off; off = weir__arena_next(maker.seg, off)) {
		const struct weir_object_shm *o = (const void *)(world.map + off);

		world.end = off + weir_object_block_units(weir_load_relaxed(&o->block)) * 64;
	}
	if (!fixed_objects(profile))
		world.end = bytes;
}

void world_drop(void)
{
	party_close(&maker);
	unlink(world.path);
	rmdir(world.dir);
	for (uint32_t i = 0; i <= IMAGES; i++)
		free(world.image[i]);
}

/* Move everything on a little, differently for each image: counters pass their wraps. */
static void warm(struct party *p, uint32_t i)
{
	uint8_t data[MSG_BYTES];
	uint32_t bytes;

	weir__self_cache = p->self;
	if (p->sem) {
		must(weir_sem_try_acquire(p->sem, 1) == 0 && weir_sem_release(p->sem, 1) == 0);
		must(weir_sem_start(p->sem, 1) == 0 && weir_sem_release(p->sem, 1) == 0);
	}
	if (p->queue) {
		must(weir_queue_try_send(p->queue, data, message_make(i, data)) == 0);
		must(weir_queue_try_recv(p->queue, data, sizeof(data), &bytes) == 0);
	}
}

static void fill(uint32_t i)
{
	uint8_t data[MSG_BYTES];
	uint32_t tokens = i % 4;

	weir__self_cache = maker.self;
	if (maker.queue) {
		world.position[i] =
			weir_queue_first_pos(weir_load_relaxed(&maker.queue->v.shm->first));
		for (uint32_t n = 0; n < i % 3; n++)
			must(weir_queue_try_send(maker.queue, data, message_make(0x80 + n, data)) ==
			     0);
		world.prefill[i] = i % 3;
	}
	if (maker.limiter && tokens) {
		must(weir_limiter_allow(maker.limiter, tokens, NULL) == 0);
		world.tat[i][0] = CLOCK_START + tokens * INTERVAL;
	}
	for (uint32_t k = 0; maker.keyed && k < KEYS; k++) {
		tokens = 4 + (i + k) % 4; /* so many that no entry becomes free meanwhile */
		must(weir_limiter_allow_key(maker.keyed, k ? "b" : "a", 1, tokens, NULL) == 0);
		world.tat[i][k] = CLOCK_START + tokens * INTERVAL;
	}
}

static void image_take(uint32_t i)
{
	size_t tables = world.tables_end - world.begin;

	if (!world.image[i])
		world.image[i] = malloc(tables + world.end - world.arena);
	must(world.image[i]);
	memcpy(world.image[i], world.map + world.begin, tables);
	memcpy(world.image[i] + tables, world.map + world.arena, world.end - world.arena);
}

static void image_put(uint32_t i)
{
	size_t tables = world.tables_end - world.begin;

	memcpy(world.map + world.begin, world.image[i], tables);
	memcpy(world.map + world.arena, world.image[i] + tables, world.end - world.arena);
}

/* Again: somebody has attached in place of a dead one. */
void world_images(struct party *parties, bool again)
{
	size_t tables = world.tables_end - world.begin;

	if (again) { /* The directory and what is in it; not who is who. */
		memcpy(world.map + world.begin, world.image[IMAGES],
		       maker.seg->shm->proc_off - world.begin);
		memcpy(world.map + world.arena, world.image[IMAGES] + tables,
		       world.end - world.arena);
	}
	/* relaxed: nobody else runs. */
	weir_store_relaxed(&board->clock, CLOCK_START);
	for (uint32_t i = 0; i < IMAGES; i++) {
		image_take(IMAGES); /* Without what fill() puts in. */
		fill(i);
		image_take(i);
		image_put(IMAGES);
		for (uint32_t p = 0; parties && p < PARTIES; p++)
			warm(&parties[p], i);
		warm(&maker, i);
	}
	weir__self_cache = maker.self;
}

void world_reset(uint32_t image)
{
	image_put(image);
	/* relaxed, all of it: nobody else runs. */
	weir_store_relaxed(&board->clock, CLOCK_START);
	weir_store_relaxed(&board->stamp, 0);
	weir_store_relaxed(&board->dead, -1);
	board->dead_too = -1;
	board->wrong = NULL;
	board->phase = 0;
	board->end_stamp = UINT32_MAX;
	board->position = world.position[image];
	for (uint32_t i = 0; i < PARTIES; i++)
		board->log[i].count = 0;
}

/* What recovery owes the dead one, as an operation of its own.  What it died in has happened by the
 * end of that, or never. */
static void add_death(struct history *h, int who, uint32_t stamp, uint32_t reaped)
{
	uint32_t end = UINT32_MAX;

	for (uint32_t i = 0; i < h->count; i++) {
		const struct op *op = &h->op[i];

		if (op->kind == RECOVER && op->inv > reaped && op->resp < end)
			end = op->resp;
	}
	if (end == UINT32_MAX || h->count == OPS_MAX) {
		history_print(h, stderr);
		broke("nobody recovered after %u", reaped);
	}
	for (uint32_t i = 0; i < h->count; i++) {
		struct op *op = &h->op[i];

		if (op->who != who || op->resp != UINT32_MAX)
			continue;
		op->flags |= OP_OPTIONAL;
		op->resp = end;
	}
	h->op[h->count++] =
		(struct op){.kind = DEATH, .who = (uint8_t)who, .inv = stamp, .resp = end};
}

void history_take(struct history *h, uint64_t seed, uint32_t image)
{
	uint32_t next[PARTIES] = {0};

	h->profile = profile;
	h->seed = seed;
	h->dead[0] = weir_load_relaxed(&board->dead); /* relaxed: it is over. */
	h->dead[1] = board->dead_too;
	h->death_stamp[0] = board->death_stamp;
	h->death_stamp[1] = board->death_stamp_too;
	h->end_stamp = board->end_stamp;
	h->capacity = broken == ONE_MORE ? world.capacity - 1 : world.capacity;
	h->prefill = world.prefill[image];
	memcpy(h->tat, world.tat[image], sizeof(h->tat));
	h->wrong = board->wrong;
	h->count = 0;
	for (;;) { /* Merge by call. */
		struct op *first = NULL;
		uint32_t who = 0;

		for (uint32_t p = 0; p < board->parties; p++) {
			struct log *log = &board->log[p];

			if (next[p] == log->count)
				continue;
			if (first && log->op[next[p]].inv > first->inv)
				continue;
			first = &log->op[next[p]];
			who = p;
		}
		if (!first)
			break;
		next[who]++;
		if (first->inv == 0)
			continue; /* It died before it called. */
		must(h->count < OPS_MAX);
		h->op[h->count] = *first;
		if (first->resp == 0)
			h->op[h->count].resp = UINT32_MAX;
		h->count++;
	}
	if (h->dead[0] >= 0)
		add_death(h, h->dead[0], board->death_stamp, board->reaped_stamp);
	if (h->dead[1] >= 0)
		add_death(h, h->dead[1], board->death_stamp_too, board->death_stamp_too);
}
