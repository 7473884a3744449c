/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Joining spans and waits.
 *
 * 2026-11, a wait belongs below the span that its thread was in.  Places with one waiter (the lanes
 * of semaphores) name that span; at places with several (queues) it is the innermost span of the
 * same thread that covers the wait.  A span is recorded when it ends, so its waits are here before
 * it: nothing is shown before its parent had time to come.
 *
 * 2026-11, parents are foreign data and may form a circle: marks and a bound on the depth end every
 * walk.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define MS	   UINT64_C(1000000)
#define ITEMS_MAX  (1u << 18)
#define LEVEL_MAX  64u	       /* deeper ones begin anew */
#define COVER_MAX  64u	       /* spans of a thread that are looked at for one wait */
#define SETTLE_NS  (150 * MS)  /* a record this old has no newer one on the way */
#define ORPHAN_NS  (500 * MS)  /* a wait without a parent by then has none */
#define PARENT_NS  (2000 * MS) /* a parent that did not come by then is not recorded here */
#define KEEP_NS	   (3000 * MS) /* what was shown stays to give its name to others */
#define TELL_NS	   (1000 * MS)
#define UNSEEN_MAX (UINT64_C(86400) * 1000 * MS)

/* --- items --------------------------------------------------------------------------------- */

struct trace_item *trace_add(struct trace *t, enum trace_how how)
{
	struct trace_item *more;
	uint32_t room;

	if (t->item_count == t->item_room) {
		room = t->item_room ? t->item_room * 2 : 1024;
		more = room <= ITEMS_MAX ? realloc(t->items, room * sizeof(*more)) : NULL;
		if (!more) {
			t->dropped++;
			return NULL;
		}
		t->items = more;
		t->item_room = room;
	}
	if (how == TRACE_WAIT)
		t->waits++;
	else
		t->spans++;
	more = &t->items[t->item_count++];
	*more = (struct trace_item){.how = (uint8_t)how, .seen_ns = weir_now_ns()};
	return more;
}

/* --- waits --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
	hash = (hash ^ (hash >> 27)) * UINT64_C(0x94d049bb133111eb);
	return hash ^ (hash >> 31);
}

static uint32_t bucket_of(uint32_t tid, uint64_t key_ns)
{
	return (uint32_t)(mix(tid, key_ns) % TRACE_BUCKETS);
}

static void wait_name(struct trace_item *item, const struct weir_wait_record *r)
{
	uint64_t at = r->word_off - r->object_off;
	const char *why = "";

	text_clean(item->object, sizeof(item->object), r->object, sizeof(r->object));
	item->tell_ns = TELL_NS;
	if (r->type == WEIR_OBJECT_TYPE_QUEUE && at == offsetof(struct weir_queue_shm, not_empty)) {
		why = " empty";
		item->tell_ns = 0; /* Having nothing to do is no trouble. */
	} else if (r->type == WEIR_OBJECT_TYPE_QUEUE &&
		   at == offsetof(struct weir_queue_shm, not_full)) {
		why = " full";
	}
	snprintf(item->name, sizeof(item->name), "wait %s%s", item->object[0] ? item->object : "?",
		 why);
}

/* Always the same ids for the same wait, so that a second export does not make it two. */
static void wait_ids(struct trace_item *item, const struct weir_wait_record *r)
{
	uint64_t id = mix(mix(mix(r->file.ino, r->tid), r->start_ns), r->word_off);

	item->span = id ? id : 1;
	item->parent = 0;
	item->trace[0] = r->trace[0];
	item->trace[1] = r->trace[1];
	if (r->trace[0] || r->trace[1])
		item->parent = r->span;
	else
		item->trace[0] = item->trace[1] = mix(item->span, r->start_ns) | 1;
}

/* What each record of a wait says anew. */
static void wait_update(struct trace_item *item, const struct weir_wait_record *r)
{
	struct trace_source *source = item->source;

	item->end_ns = r->end_ns >= r->start_ns ? r->end_ns : r->start_ns;
	item->blocked_ns = r->blocked_ns;
	item->runqueue_ns = r->runqueue_ns;
	item->holder = trace_who(source, r->holder_tid, 0, NULL);
	item->holder_span = r->holder_tid ? r->holder_span : 0;
	item->holder_changes = r->holder_changes;
	item->waker = trace_who(source, r->waker_tid, r->waker_pid, NULL);
	item->calls = r->calls;
	item->result = r->result;
	item->seen_ns = weir_now_ns();
	item->shown = false;
}

static struct trace_item *wait_find(struct trace *t, uint32_t tid, uint64_t key_ns)
{
	uint32_t i = t->buckets[bucket_of(tid, key_ns)];

	for (; i; i = t->items[i - 1].chain) {
		if (t->items[i - 1].key_ns == key_ns && t->items[i - 1].key_tid == tid)
			return &t->items[i - 1];
	}
	return NULL;
}

static void wait_chain(struct trace *t, uint32_t index)
{
	struct trace_item *item = &t->items[index];
	uint32_t *bucket = &t->buckets[bucket_of(item->key_tid, item->key_ns)];

	item->chain = *bucket;
	*bucket = index + 1;
}

/* The time before the first futex call that we saw: spinning, or not seen at all. */
static void wait_start(const struct trace *t, struct trace_item *item,
		       const struct weir_wait_record *r)
{
	uint64_t before = r->since_ns && r->since_ns < r->start_ns ? r->start_ns - r->since_ns : 0;

	item->start_ns = r->start_ns;
	if (before == 0 || before > UNSEEN_MAX)
		return;
	item->start_ns = r->since_ns;
	if (r->since_ns >= trace_bpf_since(t->bpf))
		item->spin_ns = before;
	else
		item->unseen_ns = before;
}

void trace_wait_add(void *arg, const struct weir_wait_record *r)
{
	struct trace *t = arg;
	struct trace_source *source = trace_source_by_key(t, &r->file);
	struct trace_item *item = wait_find(t, r->tid, r->start_ns);
	char object[32];

	text_clean(object, sizeof(object), r->object, sizeof(r->object));
	if (!source || (t->target.object[0] && fnmatch(t->target.object, object, 0) != 0))
		return;
	if (!item) {
		item = trace_add(t, TRACE_WAIT);
		if (!item)
			return;
		item->source = source;
		item->who =
			trace_who(source, r->waiter_tid ? r->waiter_tid : r->tid, r->pid, r->comm);
		item->key_tid = r->tid;
		item->key_ns = r->start_ns;
		item->kind = WEIR_SPAN_KIND_INTERNAL;
		item->type = r->type;
		wait_name(item, r);
		wait_ids(item, r);
		wait_start(t, item, r);
		wait_chain(t, t->item_count - 1);
	}
	wait_update(item, r);
}

/* --- sorting ------------------------------------------------------------------------------- */

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int by_parent(const void *a, const void *b, void *arg)
{
	const struct trace_item *items = arg;
	const struct trace_item *x = &items[*(const uint32_t *)a];
	const struct trace_item *y = &items[*(const uint32_t *)b];
	int r = compare(x->parent, y->parent);

	return r ? r : compare(x->start_ns, y->start_ns);
}

static int by_span(const void *a, const void *b, void *arg)
{
	const struct trace_item *items = arg;

	return compare(items[*(const uint32_t *)a].span, items[*(const uint32_t *)b].span);
}

static uint32_t tid_of(const struct trace_item *item)
{
	return item->who ? item->who->tid : 0;
}

static int by_thread(const void *a, const void *b, void *arg)
{
	const struct trace_item *items = arg;
	const struct trace_item *x = &items[*(const uint32_t *)a];
	const struct trace_item *y = &items[*(const uint32_t *)b];
	int r = compare(tid_of(x), tid_of(y));

	return r ? r : compare(x->start_ns, y->start_ns);
}

struct trace_item *trace_item_by_span(const struct trace *t, uint64_t span)
{
	uint32_t low = 0;
	uint32_t high = t->item_count;

	if (span == 0)
		return NULL;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (t->items[t->by_span[middle]].span < span)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == t->item_count || t->items[t->by_span[low]].span != span)
		return NULL;
	return &t->items[t->by_span[low]];
}

/* --- joining ------------------------------------------------------------------------------- */

/* The innermost span of the wait's thread that covers it; `order` is sorted by thread and start. */
static const struct trace_item *cover(const struct trace *t, const uint32_t *order,
				      const struct trace_item *wait)
{
	uint32_t low = 0;
	uint32_t high = t->item_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct trace_item *item = &t->items[order[middle]];

		if (tid_of(item) < tid_of(wait) ||
		    (tid_of(item) == tid_of(wait) && item->start_ns <= wait->start_ns))
			low = middle + 1;
		else
			high = middle;
	}
	for (uint32_t i = low; i-- > 0 && low - i <= COVER_MAX;) {
		const struct trace_item *item = &t->items[order[i]];

		if (tid_of(item) != tid_of(wait))
			break;
		if (item->how == TRACE_SPAN && item->source == wait->source &&
		    item->end_ns >= wait->end_ns)
			return item;
	}
	return NULL;
}

static void join_one(const struct trace *t, const uint32_t *order, struct trace_item *item)
{
	const struct trace_item *other;

	if (item->how == TRACE_WAIT && item->parent == 0) {
		other = cover(t, order, item);
		if (other) {
			item->parent = other->span;
			memcpy(item->trace, other->trace, sizeof(item->trace));
		}
	}
	other = trace_item_by_span(t, item->holder_span);
	if (!other)
		return;
	memcpy(item->holder_trace, other->trace, sizeof(item->holder_trace));
	snprintf(item->holder_name, sizeof(item->holder_name), "%.23s", other->name);
}

int trace_join(struct trace *t)
{
	size_t bytes = ((size_t)t->item_count + 1) * sizeof(uint32_t);
	uint32_t *more_span = realloc(t->by_span, bytes);
	uint32_t *more_parent = realloc(t->by_parent, bytes);

	if (more_span)
		t->by_span = more_span;
	if (more_parent)
		t->by_parent = more_parent;
	if (!more_span || !more_parent)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->item_count; i++) {
		t->by_span[i] = i;
		t->by_parent[i] = i;
	}
	qsort_r(t->by_span, t->item_count, sizeof(uint32_t), by_span, t->items);
	/* First as order by thread, then as what its name says. */
	qsort_r(t->by_parent, t->item_count, sizeof(uint32_t), by_thread, t->items);
	for (uint32_t i = 0; i < t->item_count; i++)
		join_one(t, t->by_parent, &t->items[i]);
	qsort_r(t->by_parent, t->item_count, sizeof(uint32_t), by_parent, t->items);
	return 0;
}

/* --- trees --------------------------------------------------------------------------------- */

static bool remote_parent(const struct trace_item *item)
{
	return item->kind == WEIR_SPAN_KIND_SERVER || item->kind == WEIR_SPAN_KIND_CONSUMER;
}

/* May the tree that begins here be shown: is it a root, and has it had its time? */
static bool ripe(const struct trace *t, const struct trace_item *item, uint64_t now_ns)
{
	const struct trace_item *parent = trace_item_by_span(t, item->parent);
	uint64_t age_ns = now_ns - item->seen_ns;

	if (age_ns >= KEEP_NS)
		return true;
	if (parent && !parent->shown)
		return false;
	if (parent || age_ns < SETTLE_NS)
		return age_ns >= SETTLE_NS;
	if (item->how == TRACE_WAIT)
		return age_ns >= (item->parent ? PARENT_NS : ORPHAN_NS);
	return item->parent == 0 || remote_parent(item) || age_ns >= PARENT_NS;
}

struct walk {
	struct trace *t;
	trace_item_fn *fn;
	void *arg;
};

/* `level` bounds the walk, `depth` is what one sees: hidden items do not count there. */
static void show(const struct walk *walk, struct trace_item *item, uint32_t depth, uint32_t level)
{
	struct trace *t = walk->t;
	uint32_t low = 0;
	uint32_t high = t->item_count;

	item->shown = true;
	if (!item->hidden)
		walk->fn(walk->arg, item, depth);
	if (level == LEVEL_MAX || item->span == 0)
		return;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (t->items[t->by_parent[middle]].parent < item->span)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < t->item_count; low++) {
		struct trace_item *child = &t->items[t->by_parent[low]];

		if (child->parent != item->span)
			break;
		if (!child->shown)
			show(walk, child, depth + !item->hidden, level + 1);
	}
}

static bool is_root(const struct trace *t, const struct trace_item *item)
{
	const struct trace_item *parent = trace_item_by_span(t, item->parent);

	return !parent || parent == item;
}

static int by_start(const void *a, const void *b, void *arg)
{
	const struct trace_item *items = arg;

	return compare(items[*(const uint32_t *)a].start_ns, items[*(const uint32_t *)b].start_ns);
}

static void tell(struct trace_item *item, trace_item_fn *fn, void *arg)
{
	if (item->how != TRACE_WAIT || item->shown || item->hidden || item->tell_ns == 0 ||
	    item->end_ns - item->start_ns < item->tell_ns || item->result != -ETIMEDOUT)
		return;
	while (item->tell_ns <= item->end_ns - item->start_ns)
		item->tell_ns *= 2;
	item->open = true;
	fn(arg, item, 0);
	item->open = false;
}

void trace_trees(struct trace *t, bool all, trace_item_fn *fn, void *arg)
{
	struct walk walk = {.t = t, .fn = fn, .arg = arg};
	uint64_t now_ns = weir_now_ns();
	uint32_t *order = malloc(((size_t)t->item_count + 1) * sizeof(*order));

	if (!order)
		return;
	for (uint32_t i = 0; i < t->item_count; i++)
		order[i] = i;
	qsort_r(order, t->item_count, sizeof(*order), by_start, t->items);
	for (uint32_t i = 0; i < t->item_count; i++) {
		struct trace_item *item = &t->items[order[i]];

		if (!item->shown && (all ? is_root(t, item) : ripe(t, item, now_ns)))
			show(&walk, item, 0, 0);
		else if (!all)
			tell(item, fn, arg);
	}
	/* What hangs on nothing: circles, and what is too deep. */
	for (uint32_t i = 0; all && i < t->item_count; i++) {
		if (!t->items[order[i]].shown)
			show(&walk, &t->items[order[i]], 0, 0);
	}
	free(order);
}

void trace_forget(struct trace *t)
{
	uint64_t now_ns = weir_now_ns();
	uint32_t kept = 0;

	memset(t->buckets, 0, sizeof(t->buckets));
	for (uint32_t i = 0; i < t->item_count; i++) {
		if (t->items[i].shown && now_ns - t->items[i].seen_ns >= KEEP_NS)
			continue;
		if (kept != i)
			t->items[kept] = t->items[i];
		if (t->items[kept].how == TRACE_WAIT)
			wait_chain(t, kept);
		kept++;
	}
	t->item_count = kept;
}
