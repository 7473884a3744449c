/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sweeping lives: of segments, processes, threads and objects.  The rows are at the end. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weir/shm/all.h>

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

static int op_detach(struct world *w)
{
	return weir_segment_close(w->me.seg);
}

/* --- objects ----------------------------------------------------------------------------- */

static int open_new(struct weir_segment *seg, struct weir_sem **ret_sem)
{
	struct weir_sem_opts opts = WEIR_OPTS(sem, .permits = 2);

	return weir_sem_open(seg, "new", &opts, ret_sem);
}

enum { OBJ_VIRGIN, OBJ_REUSED, OBJ_EXISTS };

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

static int op_object(struct world *w)
{
	struct weir_sem *sem;

	return open_new(w->me.seg, &sem);
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
	weir_sem_close(sem[0]);
	weir_sem_close(sem[1]);
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
	w->state = OBJ_EXISTS;
	object_prepare(w);
}

/* --- rows -------------------------------------------------------------------------------- */

const struct row life_rows[] = {
	{"segment_create", STATES("create", "exclusive"), ROW_ALONE | ROW_REAL, NULL, NULL,
	 op_create, NULL, NULL, check_create},
	{"segment_attach", STATES("attach"), ROW_ALONE, NULL, NULL, op_attach, NULL, NULL,
	 check_attach},
	{"thread_join", STATES("join"), ROW_ALONE, NULL, attach_arm, op_join, NULL, NULL,
	 check_attach},
	{"segment_close", STATES("holding_all", "with_waiter"), 0, detach_prepare, detach_arm,
	 op_detach, detach_during, NULL, check_everything},
	{"object_create", STATES("virgin", "reused", "exists"), 0, object_prepare, NULL, op_object,
	 NULL, NULL, check_object},
	{"object_in_use", STATES("virgin"), 0, object_prepare, NULL, op_object, NULL, unlink_before,
	 check_unlink},
	{"object_unlink", STATES("exists"), 0, unlink_prepare, NULL, op_unlink, NULL, NULL,
	 check_object},
	{0},
};
