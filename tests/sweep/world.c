/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The files of a sweep, the peers in them, and their copies. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <weir/shm/all.h>

#include "os/os.h"
#include "sweep.h"

#define SEGMENT_BYTES (64u << 10)

void broken(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "sweep: broken: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (errno %d)\n", errno);
	_exit(2);
}

void fail(struct world *w, enum fault fault, const char *format, ...)
{
	va_list args;

	if (w->fault != FINE)
		return;
	w->fault = fault;
	va_start(args, format);
	vsnprintf(w->why, sizeof(w->why), format, args);
	va_end(args);
}

void message_make(uint32_t id, uint8_t data[MSG_MAX], uint32_t *ret_bytes)
{
	uint32_t bytes = 8 + id * 7 % SAME_LONG;

	memset(data, 0, MSG_MAX);
	for (uint32_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(id + i * 3);
	memcpy(data, &id, sizeof(id));
	*ret_bytes = bytes;
}

uint32_t message_id(const uint8_t *data, uint32_t bytes)
{
	uint8_t want[MSG_MAX];
	uint32_t want_bytes;
	uint32_t id;

	if (bytes < sizeof(id))
		return 0;
	memcpy(&id, data, sizeof(id));
	message_make(id, want, &want_bytes);
	return bytes == want_bytes && memcmp(data, want, bytes) == 0 ? id : 0;
}

int hand_open(struct hand *h, const char *path, bool objects)
{
	int r;

	memset(h, 0, sizeof(*h));
	r = weir_segment_open(path, NULL, &h->seg);
	if (r < 0)
		return r;
	r = weir_segment_join(h->seg);
	if (r < 0 || !objects)
		return r;
	r = weir_sem_open(h->seg, "sem", NULL, &h->sem);
	if (r == 0)
		r = weir_queue_open(h->seg, "queue", NULL, &h->queue);
	if (r == 0)
		r = weir_breaker_open(h->seg, "breaker", NULL, &h->breaker);
	if (r == 0)
		r = weir_limiter_open(h->seg, "limiter", NULL, &h->limiter);
	if (r == 0)
		r = weir_limiter_open(h->seg, "keyed", NULL, &h->keyed);
	return r;
}

void hand_close(struct hand *h)
{
	weir_sem_close(h->sem);
	weir_queue_close(h->queue);
	weir_breaker_close(h->breaker);
	weir_limiter_close(h->limiter);
	weir_limiter_close(h->keyed);
	weir_segment_close(h->seg);
	memset(h, 0, sizeof(*h));
}

static void objects_make(struct weir_segment *seg)
{
	struct weir_sem_opts sem = WEIR_OPTS(sem, .permits = PERMITS);
	struct weir_queue_opts queue = WEIR_OPTS(queue, .slots = SLOTS, .bytes = MSG_MAX);
	/* Open for 1 ms, so that checks need not wait; half-open for ever, so that a lost probe is
	 * not healed by the deadline before we see it. */
	struct weir_breaker_opts breaker =
		WEIR_OPTS(breaker, .window_ms = 3600000, .min_calls = 2, .failure_pct = 50,
			  .open_ms = 1, .probe_ms = 3600000, .probes = PROBES);
	struct weir_limiter_opts limiter =
		WEIR_OPTS(limiter, .count = TOKENS, .period_ns = 86400000 * MS);
	struct weir_limiter_opts keyed =
		WEIR_OPTS(limiter, .count = TOKENS, .period_ns = 86400000 * MS, .keys = 8);
	struct hand h = {0};

	must(weir_sem_open(seg, "sem", &sem, &h.sem) == 0);
	must(weir_queue_open(seg, "queue", &queue, &h.queue) == 0);
	must(weir_breaker_open(seg, "breaker", &breaker, &h.breaker) == 0);
	must(weir_limiter_open(seg, "limiter", &limiter, &h.limiter) == 0);
	must(weir_limiter_open(seg, "keyed", &keyed, &h.keyed) == 0);
	hand_close(&h);
}

static void file_name(const struct world *w, struct file *f, const char *name)
{
	snprintf(f->path, sizeof(f->path), "%s/%s", w->dir, name);
	f->fd = -1;
}

/* Take the bytes as they are in the image, and the locks of the peers. */
static void file_make(const struct world *w, struct file *f)
{
	f->fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(f->fd >= 0 && ftruncate(f->fd, (off_t)w->bytes) == 0);
	f->map = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	must(f->map != MAP_FAILED);
	memcpy(f->map, w->image, w->bytes);
	for (uint32_t slot = 0; slot < PEERS; slot++)
		must(weir__lock_take(f->fd, slot) == 0);
}

static void file_drop(const struct world *w, struct file *f)
{
	unlink(f->path);
	if (f->fd < 0)
		return;
	munmap(f->map, w->bytes);
	close(f->fd);
}

void world_make(struct world *w, uint64_t seed, uint32_t state, bool one_file)
{
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = SEGMENT_BYTES, .processes = 6,
			  .threads = 6, .objects = 8);
	struct weir_segment *seg;
	const struct weir_segment_shm *shm;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->state = state;
	w->one_file = one_file;
	strcpy(w->dir, "/dev/shm/weir-sweep.XXXXXX");
	must(mkdtemp(w->dir));
	file_name(w, &w->v, "v");
	file_name(w, &w->r[0], "r0");
	file_name(w, &w->r[1], "r1");
	file_name(w, &w->c, "c");
	w->note = mmap(NULL, sizeof(*w->note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	must(w->note != MAP_FAILED);
	must(weir_segment_open(w->c.path, &opts, &seg) == 0);
	objects_make(seg);
	weir_segment_close(seg);
	for (int i = 0; i < PEERS; i++)
		must(hand_open(&w->peer[i], w->c.path, true) == 0);
	w->c.map = (uint8_t *)(uintptr_t)weir_segment_base(w->peer[0].seg, &w->bytes);
	shm = (const void *)w->c.map;
	w->text_off = shm->text_off / 64 * 64;
	w->text_end = shm->dir_off;
	w->image = malloc(w->bytes);
	must(w->image);
}

void world_freeze(struct world *w)
{
	memcpy(w->image, w->c.map, w->bytes);
	w->known_image = w->known;
	if (w->one_file) {
		w->v = w->c;
	} else {
		file_make(w, &w->v);
		for (int i = 0; i < RECOVERERS; i++)
			file_make(w, &w->r[i]);
	}
}

void world_copy(const struct world *w, const struct file *from, const struct file *to)
{
	const uint8_t *source = from ? from->map : w->image;

	if (source == to->map)
		return;
	memcpy(to->map, source, w->text_off);
	memcpy(to->map + w->text_end, source + w->text_end, w->bytes - w->text_end);
}

void world_reset(struct world *w)
{
	world_copy(w, NULL, &w->v);
	w->known = w->known_image;
	memset(w->note, 0, sizeof(*w->note));
	weir_ctx_init(&w->note->ctx, NULL, UINT64_MAX);
	w->fault = FINE;
}

void world_free(struct world *w)
{
	for (int i = 0; i < PEERS; i++)
		hand_close(&w->peer[i]);
	if (!w->one_file) {
		file_drop(w, &w->v);
		for (int i = 0; i < RECOVERERS; i++)
			file_drop(w, &w->r[i]);
	}
	unlink(w->c.path);
	rmdir(w->dir);
	munmap(w->note, sizeof(*w->note));
	free(w->image);
}
