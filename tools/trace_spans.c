/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Spans out of the rings in segments, and who the threads are.
 *
 * 2026-11, rings are read with pread() like everything foreign, in runs of up to 64 records, three
 * times: a record counts as read only if its number was whole and the same before and after the
 * middle copy, which is the one that is used.  A system call and a fence stand between the copies,
 * so a change in the middle shows.  Whatever is not read is counted under the reason why.
 */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define RUN_MAX 64u

/* --- who ----------------------------------------------------------------------------------- */

static struct trace_who *who_new(struct trace_source *source, uint32_t tid, uint32_t pid)
{
	struct trace_who *who = calloc(1, sizeof(*who));

	if (!who)
		return NULL;
	who->tid = tid;
	who->pid = pid;
	who->next = source->whos;
	source->whos = who;
	return who;
}

static void who_refresh(struct trace_source *source, uint32_t slot)
{
	struct snap_thread thread = snapshot_thread(&source->snap, slot);
	struct trace_who *who = source->threads[slot];
	const struct weir_process_shm *proc;
	char role[sizeof(who->role)];

	if (!thread.live)
		return; /* The last one who was there may still be asked for. */
	proc = &source->snap.procs[thread.proc];
	text_clean(role, sizeof(role), proc->role, sizeof(proc->role));
	if (who && who->tid == thread.tid && who->pid == thread.pid && strcmp(who->role, role) == 0)
		return;
	who = who_new(source, thread.tid, thread.pid);
	if (!who)
		return;
	memcpy(who->role, role, sizeof(role));
	text_clean(who->exe, sizeof(who->exe), proc->exe, sizeof(proc->exe));
	source->threads[slot] = who;
}

/* Copy the tables of processes and threads again and see who is new. */
static int tables_refresh(struct trace_source *source)
{
	struct snapshot *snap = &source->snap;
	const struct weir_segment_shm *now = (const void *)snap->base;
	const struct weir_segment_shm *h = &snap->header;
	uint32_t high;
	int r = snapshot_again(snap, 0, sizeof(*now));

	if (r < 0)
		return r;
	high = now->thread_high;
	snap->thread_high = high < h->thread_count ? high : h->thread_count;
	r = snapshot_again(snap, h->thread_off, snap->thread_high * sizeof(*snap->threads));
	if (r == 0)
		r = snapshot_again(snap, h->proc_off, h->proc_count * sizeof(*snap->procs));
	for (uint32_t slot = 0; r == 0 && slot < snap->thread_high; slot++)
		who_refresh(source, slot);
	return r;
}

/* The process and name of a thread that is not in the tables any more or never was. */
static void ask_proc(struct trace_who *who)
{
	char path[64];
	char line[64];
	char name[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/status", who->tid);
	file = fopen(path, "re");
	if (!file)
		return;
	while (who->pid == 0 && fgets(line, sizeof(line), file)) {
		(void)sscanf(line, "Name: %63[^\n]", name);
		(void)sscanf(line, "Tgid: %u", &who->pid);
	}
	fclose(file);
	if (!who->exe[0])
		text_clean(who->exe, sizeof(who->exe), name, sizeof(name));
}

const struct trace_who *trace_who(struct trace_source *source, uint32_t tid, uint32_t pid,
				  const char *exe)
{
	struct trace_who *who;

	if (tid == 0)
		return NULL;
	for (uint32_t slot = 0; slot < source->snap.thread_high; slot++) {
		who = source->threads[slot];
		if (who && who->tid == tid)
			return who;
	}
	for (who = source->whos; who; who = who->next) {
		if (who->tid == tid && (pid == 0 || who->pid == 0 || who->pid == pid))
			return who;
	}
	who = who_new(source, tid, 0);
	if (!who)
		return NULL;
	if (exe)
		text_clean(who->exe, sizeof(who->exe), exe, sizeof(who->exe));
	ask_proc(who);
	if (pid)
		who->pid = pid;
	return who;
}

/* --- sources ------------------------------------------------------------------------------- */

static uint64_t dir_hash(const struct snapshot *snap)
{
	const uint8_t *dir = snap->base + snap->header.dir_off;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < snap->header.dir_count * sizeof(uint64_t); i++)
		hash = (hash ^ dir[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static bool ring_known(const struct trace_source *source, uint64_t off)
{
	for (size_t i = 0; i < source->ring_count; i++) {
		if (source->rings[i].off == off)
			return true;
	}
	return false;
}

/* Add the rings of one recorder of spans. */
static int rings_add(struct trace_source *source, const struct snap_object *object, bool fresh)
{
	struct spans_view view;
	struct trace_ring *more;
	char why[96];
	uint32_t count;

	if (!spans_view(&source->snap, object, &view, why) ||
	    ring_known(source, (uint64_t)(view.rings - source->snap.base)))
		return 0;
	count = view.shm->rings;
	if (count > source->snap.header.thread_count)
		return 0;
	more = realloc(source->rings, (source->ring_count + count) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	source->rings = more;
	for (uint32_t i = 0; i < count; i++) {
		struct trace_ring *ring = &source->rings[source->ring_count++];

		*ring = (struct trace_ring){.thread = i, .slots = view.shm->slots};
		ring->off = (uint64_t)((const uint8_t *)spans_ring(&view, i) - source->snap.base);
		memcpy(ring->object, object->name, sizeof(ring->object));
		if (fresh)
			ring->recorded = spans_ring(&view, i)->recorded;
		ring->next = ring->recorded;
		ring->skipped = ring->recorded;
	}
	return 0;
}

static void rings_find(struct trace_source *source, bool fresh)
{
	for (uint32_t i = 0; i < source->snap.object_count; i++) {
		const struct snap_object *object = &source->snap.objects[i];

		if (object->type == WEIR_OBJECT_TYPE_SPANS && object->at)
			(void)rings_add(source, object, fresh);
	}
	source->dir_hash = dir_hash(&source->snap);
}

/* Take over a snapshot as a new source; drops it when that fails. */
static int source_add(struct trace *t, struct snapshot *snap, bool fresh)
{
	struct trace_source *source = calloc(1, sizeof(*source));
	struct trace_source **more;

	more = realloc(t->sources, (t->source_count + 1) * sizeof(struct trace_source *));
	if (more)
		t->sources = more;
	if (source)
		source->threads = calloc(snap->header.thread_count, sizeof(struct trace_who *));
	if (!more || !source || !source->threads) {
		snapshot_drop(snap);
		free(source);
		return -ENOMEM;
	}
	source->snap = *snap;
	rings_find(source, fresh);
	if (t->bpf)
		source->watched = trace_bpf_watch(t->bpf, snap->fd, &source->key) == 0;
	t->sources[t->source_count++] = source;
	return tables_refresh(source);
}

static struct trace_source *source_by_inode(const struct trace *t, const struct stat *st)
{
	for (size_t i = 0; i < t->source_count; i++) {
		const struct stat *have = &t->sources[i]->snap.st;

		if (have->st_dev == st->st_dev && have->st_ino == st->st_ino)
			return t->sources[i];
	}
	return NULL;
}

/* See whether objects came; then the copy is made anew, for it has only what was there. */
static void source_refresh(struct trace_source *source)
{
	struct snapshot *snap = &source->snap;
	struct snapshot again;

	if (snapshot_again(snap, snap->header.dir_off, snap->header.dir_count * sizeof(uint64_t)) <
		    0 ||
	    dir_hash(snap) == source->dir_hash)
		return;
	if (snapshot_take(snap->path, &again) < 0 || again.st.st_ino != snap->st.st_ino ||
	    again.st.st_dev != snap->st.st_dev) {
		snapshot_drop(&again); /* Another file by now: it will be found as such. */
		return;
	}
	snapshot_drop(snap);
	*snap = again;
	rings_find(source, false);
}

/* What is at `path` now: something known, or something new. */
static void source_look(struct trace *t, const char *path)
{
	struct trace_source *source;
	struct snapshot snap;
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	source = source_by_inode(t, &st);
	if (source)
		source_refresh(source);
	else if (snapshot_take(path, &snap) == 0)
		(void)source_add(t, &snap, false);
	else
		snapshot_drop(&snap);
}

static bool is_pattern(const struct trace *t)
{
	const char *name = t->target.segment;

	return !name[0] || (!strchr(name, '/') && strpbrk(name, "*?["));
}

static void look_again(struct trace *t)
{
	const char *pattern = t->target.segment;
	struct dirent *entry;
	char dir[PATH_MAX];
	char path[PATH_MAX];
	DIR *stream;

	if (!is_pattern(t)) {
		if (weir_segment_path(pattern, path, sizeof(path)) == 0)
			source_look(t, path);
		return;
	}
	stream = weir_segment_dir(0, dir, sizeof(dir)) == 0 ? opendir(dir) : NULL;
	if (!stream)
		return;
	while ((entry = readdir(stream)) != NULL) {
		if (weir_name_check(entry->d_name) < 0 || entry->d_type == DT_DIR ||
		    (pattern[0] && fnmatch(pattern, entry->d_name, 0) != 0))
			continue;
		if (weir_segment_path(entry->d_name, path, sizeof(path)) == 0)
			source_look(t, path);
	}
	closedir(stream);
}

static int look_first(struct trace *t)
{
	struct snapshot *snaps = NULL;
	size_t count = 0;
	int status = snapshot_wanted(&t->cli, t->cli.argc ? t->cli.argv[0] : NULL, &t->target,
				     &snaps, &count);

	for (size_t i = 0; i < count; i++) {
		if (snaps[i].error) {
			(void)snapshot_fail(&snaps[i]);
			snapshot_drop(&snaps[i]);
		} else if (source_add(t, &snaps[i], t->fresh) < 0) {
			status = fail(ENOMEM, NULL, "cannot trace '%s'", snaps[i].name);
		}
	}
	free(snaps);
	return status;
}

int trace_sources_find(struct trace *t, bool first)
{
	if (first)
		return look_first(t);
	look_again(t);
	return 0;
}

void trace_sources_close(struct trace *t)
{
	for (size_t i = 0; i < t->source_count; i++) {
		struct trace_source *source = t->sources[i];
		struct trace_who *next;

		for (struct trace_who *who = source->whos; who; who = next) {
			next = who->next;
			free(who);
		}
		snapshot_drop(&source->snap);
		free(source->rings);
		free(source->threads);
		free(source);
	}
	free(t->sources);
	t->sources = NULL;
	t->source_count = 0;
}

struct trace_source *trace_source_by_key(struct trace *t, const struct weir_wait_key *key)
{
	for (size_t i = 0; i < t->source_count; i++) {
		struct trace_source *source = t->sources[i];

		if (source->watched && source->key.dev == key->dev && source->key.ino == key->ino)
			return source;
	}
	return NULL;
}

/* --- rings --------------------------------------------------------------------------------- */

static void object_name(struct trace_source *source, uint64_t who, char ret_name[32])
{
	uint64_t id = weir_span_who_object(who);

	ret_name[0] = '\0';
	if (id == 0)
		return;
	/* It may be younger than our copy. */
	(void)snapshot_again(&source->snap, id * 64, sizeof(struct weir_object_shm));
	snapshot_object_name(&source->snap, (uint32_t)id, ret_name);
}

static void span_add(struct trace *t, struct trace_source *source, const struct weir_span_shm *s)
{
	uint32_t holder_tid = (uint32_t)weir_span_what_holder_tid(s->what);
	char object[32];
	struct trace_item *item;

	object_name(source, s->who, object);
	item = trace_add(t, TRACE_SPAN);
	if (!item)
		return;
	item->hidden = t->target.object[0] && fnmatch(t->target.object, object, 0) != 0;
	item->source = source;
	item->who = trace_who(source, (uint32_t)weir_span_who_tid(s->who), 0, NULL);
	item->holder = trace_who(source, holder_tid, 0, NULL);
	item->trace[0] = s->trace[0];
	item->trace[1] = s->trace[1];
	item->span = s->span;
	item->parent = s->parent;
	item->start_ns = s->start_ns;
	item->end_ns = s->end_ns >= s->start_ns ? s->end_ns : s->start_ns;
	item->holder_span = s->holder_span;
	item->wait_ns = s->wait_ns;
	item->value = s->value;
	item->kind = (uint8_t)weir_span_what_kind(s->what);
	item->status = (uint8_t)weir_span_what_status(s->what);
	item->code = (uint16_t)weir_span_what_code(s->what);
	text_clean(item->name, sizeof(item->name), (const char *)s->name, sizeof(s->name));
	memcpy(item->object, object, sizeof(object));
}

/* Copy `count` records from number `k`, which lie in one piece; see above why three times. */
static int run_copy(struct trace_source *source, const struct trace_ring *ring, uint64_t k,
		    uint32_t count, struct weir_span_shm ret[RUN_MAX],
		    uint64_t ret_seqs[RUN_MAX][2])
{
	uint64_t off = ring->off + sizeof(struct weir_span_ring_shm) +
		       (k & (ring->slots - 1)) * sizeof(*ret);
	const struct weir_span_shm *records = (const void *)(source->snap.base + off);
	int r;

	for (int copy = 0; copy < 3; copy++) {
		r = snapshot_again(&source->snap, off, count * sizeof(*ret));
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (r < 0)
			return r;
		if (copy == 1)
			memcpy(ret, records, count * sizeof(*ret));
		for (uint32_t i = 0; i < count && copy != 1; i++)
			ret_seqs[i][copy / 2] = records[i].seq;
	}
	return 0;
}

/* Records k to k + count - 1: each is read, or it is known why not. */
static int run_read(struct trace *t, struct trace_source *source, struct trace_ring *ring,
		    uint64_t k, uint32_t count)
{
	struct weir_span_shm records[RUN_MAX];
	uint64_t seqs[RUN_MAX][2];
	int r = run_copy(source, ring, k, count, records, seqs);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t whole = 2 * (k + i) + 2;

		if (seqs[i][0] == whole && seqs[i][1] == whole && records[i].seq == whole) {
			ring->read++;
			span_add(t, source, &records[i]);
		} else if (seqs[i][0] > whole) {
			ring->overwritten++;
		} else {
			ring->torn++;
		}
	}
	return 0;
}

static void ring_read(struct trace *t, struct trace_source *source, struct trace_ring *ring)
{
	const struct weir_span_ring_shm *head = (const void *)(source->snap.base + ring->off);
	uint64_t recorded;

	if (snapshot_again(&source->snap, ring->off, sizeof(*head)) < 0)
		return;
	recorded = head->recorded;
	ring->started = head->started;
	if (recorded < ring->next)
		return; /* It never goes back: somebody wrote nonsense. */
	ring->recorded = recorded;
	if (recorded - ring->next > ring->slots) {
		ring->overwritten += recorded - ring->next - ring->slots;
		ring->next = recorded - ring->slots;
	}
	while (ring->next < recorded) {
		uint64_t left = recorded - ring->next;
		uint64_t piece = ring->slots - (ring->next & (ring->slots - 1));
		uint32_t count = RUN_MAX;

		if (count > left)
			count = (uint32_t)left;
		if (count > piece)
			count = (uint32_t)piece;
		if (run_read(t, source, ring, ring->next, count) < 0)
			return;
		ring->next += count;
	}
}

void trace_spans_read(struct trace *t)
{
	for (size_t i = 0; i < t->source_count; i++) {
		struct trace_source *source = t->sources[i];

		if (tables_refresh(source) < 0)
			continue;
		for (size_t j = 0; j < source->ring_count; j++) {
			if (source->rings[j].thread < source->snap.thread_high)
				ring_read(t, source, &source->rings[j]);
		}
	}
}

struct trace_ring trace_rings_sum(const struct trace *t)
{
	struct trace_ring sum = {0};

	for (size_t i = 0; i < t->source_count; i++) {
		for (size_t j = 0; j < t->sources[i]->ring_count; j++) {
			const struct trace_ring *ring = &t->sources[i]->rings[j];

			sum.recorded += ring->recorded;
			sum.started += ring->started;
			sum.skipped += ring->skipped;
			sum.read += ring->read;
			sum.overwritten += ring->overwritten;
			sum.torn += ring->torn;
		}
	}
	return sum;
}
