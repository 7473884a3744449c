/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sweeping lives: of segments, processes, threads and objects.  The rows are at the end. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/shm/all.h>

#include "obj/sem_word.h"
#include "os/atomic.h"
#include "seg/seg.h"
#include "sweep.h"

#define STATES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* --- creating a segment ------------------------------------------------------------------ */

static void new_path(const struct world *w, char ret_path[96])
{
	snprintf(ret_path, 96, "%.60s/new", w->dir);
}

static int create(const struct world *w, uint32_t flags, struct weir_segment **ret_seg)
{
	struct weir_segment_opts opts =
		WEIR_OPTS(segment, .flags = WEIR_CREATE | flags, .bytes = 40 << 10, .processes = 4,
			  .threads = 4, .objects = 4);
	char path[96];

	new_path(w, path);
	return weir_segment_open(path, &opts, ret_seg);
}

static int op_create(struct world *w)
{
	return create(w, w->state == 0 ? 0 : WEIR_EXCLUSIVE, &w->me.seg);
}

/* Nothing in the directory but our own files and, perhaps, the segment. */
static bool segment_there(struct world *w)
{
	DIR *dir = opendir(w->dir);
	struct dirent *e;
	bool there = false;

	must(dir);
	while ((e = readdir(dir))) {
		if (strcmp(e->d_name, "new") == 0)
			there = true;
		else if (e->d_name[0] != '.' && strlen(e->d_name) != 1)
			fail(w, LOST, "create: left %s behind", e->d_name);
	}
	closedir(dir);
	return there;
}

static void check_create(struct world *w)
{
	struct weir_sem_opts opts = WEIR_OPTS(sem, .permits = 1);
	struct weir_segment *seg = NULL;
	struct weir_sem *sem = NULL;
	char path[96];
	bool there = segment_there(w);
	int r;

	new_path(w, path);
	r = weir_segment_open(path, NULL, &seg);
	if (!there && r != -ENOENT)
		fail(w, WEDGED, "create: no file, but open says %d", r);
	if (there && r != 0)
		fail(w, WEDGED, "create: half a segment, open says %d", r);
	if (!there && w->note->returned)
		fail(w, LOST, "create: it returned, but there is no segment");
	weir_segment_close(seg);
	seg = NULL;
	r = create(w, 0, &seg);
	if (r != 0 || weir_sem_open(seg, "sem", &opts, &sem) != 0 ||
	    weir_sem_try_acquire(sem, 1) != 0)
		fail(w, WEDGED, "create: cannot be used after it: %d", r);
	weir_sem_close(sem);
	weir_segment_close(seg);
	unlink(path);
}

/* --- attaching, joining, detaching ------------------------------------------------------- */

static int op_attach(struct world *w)
{
	return weir_segment_open(w->v.path, NULL, &w->me.seg);
}

static void attach_arm(struct world *w)
{
	must(op_attach(w) == 0);
}

static int op_join(struct world *w)
{
	return weir_segment_join(w->me.seg);
}

/* Every other process slot can be taken, by attachments with a thread each. */
static void check_attach(struct world *w)
{
	struct hand h[8];
	uint32_t n = 0;
	int r = 0;

	check_everything(w);
	while (n < 8 && (r = hand_open(&h[n], w->c.path, false)) == 0)
		n++;
	if (n != 6 - PEERS || r != -EUSERS)
		fail(w, LOST, "attach: %u of %u slots can be used, then %d", n, 6 - PEERS, r);
	while (n)
		hand_close(&h[--n]);
	check_slots(w);
}

/* Somebody who holds everything that can be held. */
static void detach_prepare(struct world *w)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	for (uint32_t id = 1; id <= 2; id++) {
		message_make(id, data, &bytes);
		must(weir_queue_try_send(w->peer[0].queue, data, bytes) == 0);
		w->known.queued[w->known.queued_count++] = id;
	}
	w->known.leaving = 1;
	w->known.leaving_stays = true;
	must(weir_breaker_force(w->peer[0].breaker, WEIR_BREAKER_OPEN) == 0);
	usleep(2000);
}

static void detach_arm(struct world *w)
{
	struct weir_msg loan;

	must(weir_sem_acquire(w->me.sem, 2, NULL) == 0);
	must(weir_queue_try_take(w->me.queue, &w->me.msg) == 0);
	must(weir_queue_try_loan(w->me.queue, &loan) == 0);
	must(weir_breaker_allow(w->me.breaker, &w->me.call, NULL) == 0);
}

static bool detach_during(struct world *w, enum moment moment)
{
	(void)moment;
	if (w->state == 1) {
		w->known.waits = 2;
		must(weir_sem_start(w->peer[1].sem, 2) == -EINPROGRESS);
	}
	return true;
}

/* Somebody died who held all that, or stood in line; this one attaches, and so recovers. */
static void dead_prepare(struct world *w)
{
	int status;
	pid_t pid;

	detach_prepare(w);
	if (w->state == 2) {
		must(weir_sem_acquire(w->peer[0].sem, PERMITS, NULL) == 0);
		w->known.holds[0] = PERMITS;
	}
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(hand_open(&w->me, w->c.path, true) == 0);
		if (w->state == 2)
			must(weir_sem_start(w->me.sem, 1) == -EINPROGRESS);
		else
			detach_arm(w);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
	if (w->state == 1) {
		w->known.waits = 2;
		must(weir_sem_start(w->peer[1].sem, 2) == -EINPROGRESS);
	}
}

static int op_detach(struct world *w)
{
	return weir_segment_close(w->me.seg);
}

/* What the library has called when a thread ends: see sweep.mk. */
static void (*thread_ends)(void *value);
int __real_pthread_key_create(pthread_key_t *ret_key, void (*destructor)(void *value));
int __wrap_pthread_key_create(pthread_key_t *ret_key, void (*destructor)(void *value));

int __wrap_pthread_key_create(pthread_key_t *ret_key, void (*destructor)(void *value))
{
	thread_ends = destructor;
	return __real_pthread_key_create(ret_key, destructor);
}

/* As the C library does it; the process goes on. */
static int op_thread_end(struct world *w)
{
	void *value = pthread_getspecific(w->me.seg->exit_key);

	must(value);
	pthread_setspecific(w->me.seg->exit_key, NULL);
	thread_ends(value);
	return 0;
}

/* Whoever left in good order has left nothing to those who recover. */
static void left_before(struct world *w)
{
	if (!w->note->returned)
		return;
	for (uint32_t i = PEERS; i < w->peer[0].seg->thread_count; i++) {
		const struct weir_thread_shm *t = w->peer[0].seg->threads + i;

		if (weir_thread_word_state(weir_load_acquire(&t->word)) != WEIR_THREAD_STATE_FREE)
			fail(w, LOST, "its thread slot is not free");
	}
}

static void unlink_arm(struct world *w)
{
	struct weir_segment *seg;

	must(create(w, 0, &seg) == 0);
	weir_segment_close(seg);
}

static int op_segment_unlink(struct world *w)
{
	char path[96];

	new_path(w, path);
	return weir_segment_unlink(path);
}

/* There and whole, or not at all. */
static void check_segment_unlink(struct world *w)
{
	struct weir_segment *seg = NULL;
	bool there = segment_there(w);
	char path[96];
	int r;

	new_path(w, path);
	r = weir_segment_open(path, NULL, &seg);
	if (there && w->note->returned)
		fail(w, DOUBLED, "unlink: it returned, and the segment is there");
	if (r != (there ? 0 : -ENOENT))
		fail(w, WEDGED, "unlink: open says %d", r);
	weir_segment_close(seg);
	unlink(path);
}

/* --- objects ----------------------------------------------------------------------------- */

static int open_new(struct weir_segment *seg, struct weir_sem **ret_sem)
{
	struct weir_sem_opts opts = WEIR_OPTS(sem, .permits = 2);

	return weir_sem_open(seg, "new", &opts, ret_sem);
}

enum {
	OBJ_VIRGIN,
	OBJ_REUSED,
	OBJ_EXISTS,
	OBJ_LOST_BLOCK,
	OBJ_LOST_ENTRY,
	OBJ_LOST_NAME,
	OBJ_LOST_READY
};

static void object_prepare(struct world *w)
{
	struct weir_sem *sem;
	void *block;

	if (w->state == OBJ_REUSED) { /* As a lost race leaves it. */
		must(weir__arena_claim(w->peer[0].seg, 0, 2048, &block) == 0);
		memset((uint8_t *)block + 8, 0xa5, 2040);
		weir__arena_settle(block, WEIR_OBJECT_BLOCK_FREE);
	}
	if (w->state == OBJ_EXISTS) {
		must(open_new(w->peer[0].seg, &sem) == 0);
		weir_sem_close(sem);
	}
}

/* A peer is quicker to claim the block, the entry of the directory, or the name, or to use it. */
static bool object_during(struct world *w, enum moment moment)
{
	static const uint32_t which[] = {0, 1, 1, 2};
	struct weir_sem_opts opts = WEIR_OPTS(sem, .permits = 1);
	struct weir_sem *sem;

	if (!loses_swap(w, moment, which[w->state - OBJ_LOST_BLOCK]))
		return false;
	if (w->state >= OBJ_LOST_NAME)
		must(open_new(w->peer[0].seg, &sem) == 0);
	else
		must(weir_sem_open(w->peer[0].seg, "other", &opts, &sem) == 0);
	weir_sem_close(sem);
	return true;
}

static int op_object(struct world *w)
{
	struct weir_sem *sem;
	int r = open_new(w->me.seg, &sem);

	if (r == 0)
		w->note->object = (uint64_t)((uint8_t *)sem->v.shm - w->me.seg->base);
	return r;
}

static void check_object(struct world *w)
{
	struct weir_sem *sem[PEERS] = {0};
	uint64_t off;
	int r = open_new(w->peer[0].seg, &sem[0]);

	if (r == 0)
		r = open_new(w->peer[1].seg, &sem[1]);
	if (r != 0)
		fail(w, WEDGED, "object: cannot be opened: %d", r);
	else if (weir_sem_try_acquire(sem[0], 2) != 0 || weir_sem_try_acquire(sem[1], 1) != -EAGAIN)
		fail(w, DOUBLED, "object: two processes have different ones");
	if (directory_count(w, "new", &off) != 1)
		fail(w, DOUBLED, "object: %u entries", directory_count(w, "new", &off));
	else if (w->note->object && w->note->object != off)
		fail(w, DOUBLED, "object: the victim has a different one");
	weir_sem_close(sem[0]);
	weir_sem_close(sem[1]);
	check_everything(w);
}

/* An object of each other type; `ret` is closed by the caller's hand. */
static int open_kind(struct weir_segment *seg, uint32_t state, struct hand *ret,
		     struct weir_spans **ret_spans)
{
	struct weir_queue_opts queue = WEIR_OPTS(queue, .slots = SLOTS, .bytes = 32);
	struct weir_limiter_opts limiter =
		WEIR_OPTS(limiter, .count = TOKENS, .period_ns = 86400000 * MS);
	struct weir_limiter_opts keyed =
		WEIR_OPTS(limiter, .count = TOKENS, .period_ns = 86400000 * MS, .keys = 8);
	struct weir_breaker_opts breaker = WEIR_OPTS(breaker, .probes = PROBES);
	struct weir_spans_opts spans = WEIR_OPTS(spans, .slots = 4);

	switch (state) {
	case 0:
		return weir_queue_open(seg, "new", &queue, &ret->queue);
	case 1:
		return weir_limiter_open(seg, "new", &limiter, &ret->limiter);
	case 2:
		return weir_limiter_open(seg, "new", &keyed, &ret->keyed);
	case 3:
		return weir_breaker_open(seg, "new", &breaker, &ret->breaker);
	default:
		return weir_spans_open(seg, "new", &spans, ret_spans);
	}
}

static int op_kind(struct world *w)
{
	struct weir_spans *spans;
	struct hand h = {0};

	return open_kind(w->me.seg, w->state, &h, &spans);
}

/* Is what one peer did to it there for the other? */
static bool kind_shared(struct world *w, struct hand h[PEERS], struct weir_spans *spans[PEERS])
{
	struct weir_span span;
	uint8_t data[32];
	uint32_t bytes;

	switch (w->state) {
	case 0:
		return weir_queue_try_send(h[0].queue, "one", 3) == 0 &&
		       weir_queue_try_recv(h[1].queue, data, sizeof(data), &bytes) == 0;
	case 1:
		return weir_limiter_allow(h[0].limiter, TOKENS, NULL) == 0 &&
		       weir_limiter_allow(h[1].limiter, 1, NULL) == -EAGAIN;
	case 2:
		return weir_limiter_allow_key(h[0].keyed, "k", 1, TOKENS, NULL) == 0 &&
		       weir_limiter_allow_key(h[1].keyed, "k", 1, 1, NULL) == -EAGAIN;
	case 3:
		return weir_breaker_force(h[0].breaker, WEIR_BREAKER_OPEN) == 0 &&
		       weir_breaker_allow(h[1].breaker, &h[1].call, NULL) != 0;
	default:
		return weir_span_begin(spans[0], NULL, "one", 1, &span) == 0 &&
		       weir_span_end(spans[0], &span) == 0;
	}
}

static void check_kind(struct world *w)
{
	struct weir_spans *spans[PEERS] = {0};
	struct hand h[PEERS] = {0};
	uint64_t off;
	int r = open_kind(w->peer[0].seg, w->state, &h[0], &spans[0]);

	if (r == 0)
		r = open_kind(w->peer[1].seg, w->state, &h[1], &spans[1]);
	if (r != 0)
		fail(w, WEDGED, "object: cannot be opened: %d", r);
	else if (!kind_shared(w, h, spans))
		fail(w, DOUBLED, "object: two processes have different ones");
	if (directory_count(w, "new", &off) != 1)
		fail(w, DOUBLED, "object: %u entries", directory_count(w, "new", &off));
	for (int i = 0; i < PEERS; i++) {
		hand_close(&h[i]);
		weir_spans_close(spans[i]);
	}
	check_everything(w);
}

static struct weir_sem *unlinked;

/* The creator is dead, perhaps between publishing and calling the block ready; the object is in use
 * and its name is removed.  Its memory must not be given to anybody. */
static void unlink_before(struct world *w)
{
	weir_sem_close(unlinked); /* Of the point before; a nested one is checked many times. */
	unlinked = NULL;
	w->known.published = weir_sem_open(w->peer[0].seg, "new", NULL, &unlinked) == 0;
	if (!w->known.published)
		return;
	must(weir_sem_try_acquire(unlinked, 1) == 0);
	must(weir_object_unlink(w->peer[0].seg, "new") == 0);
}

static void check_unlink(struct world *w)
{
	struct weir_sem_stat stat;
	struct weir_sem *sem;

	if (open_new(w->peer[1].seg, &sem) != 0)
		fail(w, WEDGED, "object: cannot be made again");
	else
		weir_sem_close(sem);
	if (w->known.published) {
		weir_sem_stat(unlinked, &stat);
		if (stat.used != 1)
			fail(w, LOST, "object: its memory was given away while in use");
	}
	check_everything(w);
}

static int op_unlink(struct world *w)
{
	return weir_object_unlink(w->me.seg, "new");
}

static void unlink_prepare(struct world *w)
{
	uint32_t state = w->state;

	w->state = OBJ_EXISTS;
	object_prepare(w);
	w->state = state;
}

static void check_object_unlink(struct world *w)
{
	uint64_t off;

	if (w->note->returned && directory_count(w, "new", &off) != 0)
		fail(w, LOST, "unlink: it returned, and the object is there");
	if (w->note->returned && w->note->result != (w->state == 0 ? 0 : -ENOENT))
		fail(w, DOUBLED, "unlink: %d", w->note->result);
	check_object(w);
}

/* State 1: a peer removes it first. */
static bool unlink_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	must(weir_object_unlink(w->peer[0].seg, "new") == 0);
	return true;
}

/* --- spans ------------------------------------------------------------------------------- */

enum { SPAN_SLOTS = 4 };

static const struct weir_spans_opts spans_opts = {.size = sizeof(spans_opts), .slots = SPAN_SLOTS};

static void span_one(struct weir_segment *seg, const char *name)
{
	struct weir_spans *spans;
	struct weir_span span;

	must(weir_spans_open(seg, "spans", &spans_opts, &spans) == 0);
	must(weir_span_begin(spans, NULL, name, 1, &span) == 0);
	must(weir_span_end(spans, &span) == 0);
	weir_spans_close(spans);
}

/* The ring of the next slots has been all round. */
static void span_prepare(struct world *w)
{
	struct hand h;

	must(hand_open(&h, w->c.path, false) == 0);
	for (int i = 0; i < (w->state == 0 ? 1 : SPAN_SLOTS + 1); i++)
		span_one(h.seg, "old");
	hand_close(&h);
}

static struct weir_spans *victims;

static void span_arm(struct world *w)
{
	must(weir_spans_open(w->me.seg, "spans", NULL, &victims) == 0);
}

static int op_span(struct world *w)
{
	struct weir_span span;
	int r = weir_span_begin(victims, NULL, "new", 1, &span);

	(void)w;
	return r < 0 ? r : weir_span_end(victims, &span);
}

static struct weir_span_ring_shm *ring(struct world *w, uint32_t slot)
{
	uint64_t off = 0;
	struct weir_spans_shm *shm;

	must(directory_count(w, "spans", &off) == 1);
	shm = (void *)(w->c.map + off);
	return (void *)((uint8_t *)(shm + 1) + slot * (sizeof(struct weir_span_ring_shm) +
						       SPAN_SLOTS * sizeof(struct weir_span_shm)));
}

/* What is counted is whole, in its place, and old or the victim's; returns how many of its. */
static uint64_t check_ring(struct world *w, uint32_t slot)
{
	const struct weir_span_ring_shm *head = ring(w, slot);
	const struct weir_span_shm *record = (const void *)(head + 1);
	uint64_t recorded = weir_load_acquire(&head->recorded);
	uint64_t found = 0;

	for (uint64_t k = recorded > SPAN_SLOTS ? recorded - SPAN_SLOTS : 0; k < recorded; k++) {
		uint64_t seq = weir_load_acquire(&record[k % SPAN_SLOTS].seq);
		char name[9] = "";
		uint64_t word = weir_load_relaxed(&record[k % SPAN_SLOTS].name[0]);

		memcpy(name, &word, 8);
		/* The oldest may be the one that is being overwritten. */
		if (seq != 2 * k + 2 && (k + SPAN_SLOTS != recorded || seq != 2 * recorded + 1) &&
		    (k + SPAN_SLOTS != recorded || seq != 2 * recorded + 2))
			fail(w, LOST, "spans: record %lu of ring %u has seq %lu", (long)k, slot,
			     (long)seq);
		else if (seq == 2 * k + 2 && strcmp(name, "old") && strcmp(name, "new") &&
			 strcmp(name, "after"))
			fail(w, LOST, "spans: record %lu of ring %u is called %s", (long)k, slot,
			     name);
		found += seq == 2 * k + 2 && strcmp(name, "new") == 0;
	}
	return found;
}

/* All slots get new owners, and each of them records one. */
static void check_spans(struct world *w)
{
	struct hand h[6 - PEERS];
	uint64_t before[6];
	uint64_t found = 0;
	bool ended = w->note->returned && w->note->result == 0;

	for (uint32_t slot = PEERS; slot < 6; slot++) {
		found += check_ring(w, slot);
		before[slot] = weir_load_acquire(&ring(w, slot)->recorded);
	}
	if (found > 1 || found < ended)
		fail(w, found ? DOUBLED : LOST, "spans: %lu of the victim's", (long)found);
	for (uint32_t i = 0; i < 6 - PEERS; i++) {
		must(hand_open(&h[i], w->c.path, false) == 0);
		span_one(h[i].seg, "after");
	}
	found = 0;
	for (uint32_t slot = PEERS; slot < 6; slot++) {
		uint64_t more = weir_load_acquire(&ring(w, slot)->recorded) - before[slot];

		if (more != 1 && more != 2) /* 2: the victim's, which was whole. */
			fail(w, LOST, "spans: ring %u counts %lu more", slot, (long)more);
		found += check_ring(w, slot);
	}
	if (found > 1 || found < ended)
		fail(w, found ? DOUBLED : LOST, "spans: %lu of the victim's, after it",
		     (long)found);
	for (uint32_t i = 0; i < 6 - PEERS; i++)
		hand_close(&h[i]);
	check_everything(w);
}

/* --- rows -------------------------------------------------------------------------------- */

const struct row life_rows[] = {
	{"segment_create", STATES("create", "exclusive"), ROW_ALONE | ROW_REAL, NULL, NULL,
	 op_create, NULL, NULL, check_create},
	{"segment_unlink", STATES("there"), ROW_ALONE | ROW_REAL, NULL, unlink_arm,
	 op_segment_unlink, NULL, NULL, check_segment_unlink},
	{"segment_attach", STATES("attach"), ROW_ALONE, NULL, NULL, op_attach, NULL, NULL,
	 check_attach},
	{"thread_join", STATES("join"), ROW_ALONE, NULL, attach_arm, op_join, NULL, NULL,
	 check_attach},
	{"segment_attach_after", STATES("held_all", "with_waiter", "in_line"), ROW_ALONE,
	 dead_prepare, NULL, op_attach, NULL, NULL, check_attach},
	{"segment_close", STATES("holding_all", "with_waiter"), 0, detach_prepare, detach_arm,
	 op_detach, detach_during, left_before, check_everything},
	{"thread_end", STATES("holding_all", "with_waiter"), 0, detach_prepare, detach_arm,
	 op_thread_end, detach_during, left_before, check_everything},
	{"object_create",
	 STATES("virgin", "reused", "exists", "lost_block", "lost_entry", "lost_name",
		"lost_ready"),
	 ROW_FROM(OBJ_LOST_BLOCK), object_prepare, NULL, op_object, object_during, NULL,
	 check_object},
	{"object_create_kind", STATES("queue", "limiter", "keyed", "breaker", "spans"), 0, NULL,
	 NULL, op_kind, NULL, NULL, check_kind},
	{"span_begin_end", STATES("first", "wrapped"), 0, span_prepare, span_arm, op_span, NULL,
	 NULL, check_spans},
	{"object_in_use", STATES("virgin"), 0, object_prepare, NULL, op_object, NULL, unlink_before,
	 check_unlink},
	{"object_unlink", STATES("exists", "lost_swap"), ROW_FROM(1), unlink_prepare, NULL,
	 op_unlink, unlink_during, NULL, check_object_unlink},
	{0},
};
