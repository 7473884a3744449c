/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Objects as JSON.  Text output is made from the same, so both say the same.
 *
 * Keys: _ns and _bytes are units, _total only grows, unknown is null and not left out.
 */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

static void set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

static void set_n(json_t *object, const char *key, uint64_t n)
{
	set(object, key, out_u64(n));
}

static void set_s(json_t *object, const char *key, const char *text)
{
	set(object, key, text ? json_string(text) : json_null());
}

/* {pid, tid, state} of a thread slot. */
static json_t *describe_thread(const struct snapshot *snap, uint32_t slot)
{
	struct snap_thread t = snapshot_thread(snap, slot);
	json_t *j = json_object();

	set(j, "pid", t.live ? out_u64(t.pid) : json_null());
	set(j, "tid", t.live ? out_u64(t.tid) : json_null());
	set_s(j, "state", !t.live ? "gone" : t.dead ? "dead" : "live");
	return j;
}

static uint64_t since(const struct snapshot *snap, uint64_t then)
{
	return then && snap->now_ns > then ? snap->now_ns - then : 0;
}

/* --- semaphore --------------------------------------------------------------------------- */

static json_t *sem_holders(const struct snapshot *snap, const struct sem_view *v)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < v->shm->lanes; i++) {
		uint64_t hold = sem_hold(v, i);
		json_t *j;

		if (hold == 0)
			continue;
		j = describe_thread(snap, i);
		set_n(j, "permits", hold);
		json_array_append_new(array, j);
	}
	return array;
}

struct waiter {
	uint32_t lane;
	int64_t ticket;
};

static int by_ticket(const void *a, const void *b)
{
	int64_t diff = ((const struct waiter *)a)->ticket - ((const struct waiter *)b)->ticket;

	return diff < 0 ? -1 : diff > 0;
}

static json_t *sem_waiters(const struct snapshot *snap, const struct sem_view *v)
{
	struct waiter *waiters = calloc(v->shm->lanes, sizeof(*waiters));
	json_t *array = json_array();
	size_t count = 0;

	for (uint32_t i = 0; waiters && i < v->shm->lanes; i++) {
		if (!sem_waits(v, i))
			continue;
		/* Relative to the next ticket: the counter wraps. */
		waiters[count].ticket = (int64_t)(v->lanes[i].ticket - v->shm->ticket);
		waiters[count++].lane = i;
	}
	if (count)
		qsort(waiters, count, sizeof(*waiters), by_ticket);
	for (size_t i = 0; i < count; i++) {
		const struct weir_sem_lane_shm *lane = &v->lanes[waiters[i].lane];
		json_t *j = describe_thread(snap, waiters[i].lane);

		set_n(j, "permits", weir_sem_lane_cell_amount(lane->cell));
		set_n(j, "waited_ns", since(snap, lane->since_ns));
		json_array_append_new(array, j);
	}
	free(waiters);
	return array;
}

static void describe_sem(const struct snapshot *snap, const struct snap_object *o, json_t *j,
			 bool full)
{
	struct sem_view v;
	char why[96];

	if (!sem_view(snap, o, &v, why)) {
		set_s(j, "state", "inconsistent");
		set_s(j, "problem", why);
		return;
	}
	set_s(j, "state", v.used > v.cap ? "over" : v.used == v.cap ? "full" : "ok");
	set_n(j, "permits", v.cap);
	set_n(j, "used", v.used);
	set_n(j, "waiters", v.waiters);
	set(j, "oldest_wait_ns", v.waiters ? out_u64(v.oldest_ns) : json_null());
	set_n(j, "acquires_total", v.acquires);
	set_n(j, "waits_total", v.waits);
	set_n(j, "wait_ns_total", v.wait_ns);
	set_n(j, "resized_total", v.shm->resized);
	if (full) {
		set(j, "holders", sem_holders(snap, &v));
		set(j, "waiting", sem_waiters(snap, &v));
	}
}

/* --- limiter ----------------------------------------------------------------------------- */

static void describe_limiter(const struct snapshot *snap, const struct snap_object *o, json_t *j)
{
	char text[2 * TEXT_BYTES];
	struct limiter_view v;
	char why[96];

	if (!limiter_view(snap, o, &v, why)) {
		set_s(j, "state", "inconsistent");
		set_s(j, "problem", why);
		return;
	}
	set_s(j, "state", v.shm->sets || v.available ? "ok" : "empty");
	set_s(j, "limit", text_rate(v.shm->count, v.shm->period_ns, text));
	set_n(j, "count", v.shm->count);
	set_n(j, "period_ns", v.shm->period_ns);
	set_n(j, "burst", v.shm->burst);
	set(j, "available", v.shm->sets ? json_null() : out_u64(v.available));
	set(j, "keys_busy", v.shm->sets ? out_u64(v.keys_busy) : json_null());
	set(j, "keys_room", v.shm->sets ? out_u64(8 * (uint64_t)v.shm->sets) : json_null());
	set_n(j, "allowed_total", v.allowed);
	set_n(j, "denied_total", v.denied);
	set_n(j, "tokens_total", v.tokens);
	set_n(j, "overfull_total", v.overfull);
}

/* --- breaker ----------------------------------------------------------------------------- */

static const char *const breaker_states[] = {"closed", "open", "half_open", "forced_open",
					     "disabled"};

static json_t *breaker_probers(const struct snapshot *snap, const struct breaker_view *v)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < v->shm->lanes; i++) {
		uint64_t probe = v->lanes[i].probe;
		json_t *j;

		if (v->state != WEIR_BREAKER_STATE_HALF_OPEN ||
		    weir_breaker_lane_probe_count(probe) == 0 ||
		    weir_breaker_lane_probe_gen(probe) != weir_breaker_word_gen(v->word))
			continue;
		j = describe_thread(snap, i);
		set_n(j, "probes", weir_breaker_lane_probe_count(probe));
		json_array_append_new(array, j);
	}
	return array;
}

static void describe_breaker(const struct snapshot *snap, const struct snap_object *o, json_t *j,
			     bool full)
{
	struct breaker_view v;
	char why[96];
	bool timed;

	if (!breaker_view(snap, o, &v, why)) {
		set_s(j, "state", "inconsistent");
		set_s(j, "problem", why);
		return;
	}
	timed = v.state == WEIR_BREAKER_STATE_OPEN || v.state == WEIR_BREAKER_STATE_HALF_OPEN;
	set_s(j, "state", breaker_states[v.state]);
	set(j, "retry_in_ns", timed ? out_u64(v.deadline_in_ns) : json_null());
	set_n(j, "window_calls", v.window_calls);
	set_n(j, "window_failures", v.window_failures);
	set_n(j, "window_ns", v.shm->window_ms * UINT64_C(1000000));
	set_n(j, "min_calls", v.shm->min_calls);
	set_n(j, "failure_percent", v.shm->failure_pct);
	set_n(j, "open_ns", v.shm->open_ms * UINT64_C(1000000));
	set_n(j, "probe_ns", v.shm->probe_ms * UINT64_C(1000000));
	set_n(j, "probes", v.shm->probes);
	set_n(j, "probes_left", weir_breaker_word_left(v.word));
	set_n(j, "probes_ok", weir_breaker_word_ok(v.word));
	set_n(j, "probes_out", v.probes_out);
	set_n(j, "generation", weir_breaker_word_gen(v.word));
	set_n(j, "calls_total", v.calls);
	set_n(j, "failures_total", v.failures);
	set_n(j, "rejected_total", v.rejected);
	set_n(j, "opened_total", v.shm->opened);
	set_n(j, "reopened_total", v.shm->reopened);
	set_n(j, "closed_total", v.shm->closed);
	set_n(j, "probes_total", v.shm->probes_started);
	if (full)
		set(j, "probing", breaker_probers(snap, &v));
}

/* --- queue ------------------------------------------------------------------------------- */

static json_t *queue_in_flight(const struct snapshot *snap, const struct queue_view *v)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < v->shm->slot_count; i++) {
		struct queue_claim claim;
		json_t *j;

		if (!queue_claim(v, i, &claim))
			continue;
		j = describe_thread(snap, claim.owner);
		set_s(j, "does", claim.writes ? "writes" : "reads");
		set_n(j, "position", claim.position);
		set_n(j, "tries", claim.tries);
		json_array_append_new(array, j);
	}
	return array;
}

static void describe_queue(const struct snapshot *snap, const struct snap_object *o, json_t *j,
			   bool full)
{
	struct queue_view v;
	char why[96];
	uint32_t busy;

	if (!queue_view(snap, o, &v, why)) {
		set_s(j, "state", "inconsistent");
		set_s(j, "problem", why);
		return;
	}
	busy = v.depth + v.writing + v.reading;
	set_s(j, "state", v.closed ? "closed" : busy >= v.shm->slot_count ? "full" : "ok");
	set_n(j, "slots", v.shm->slot_count);
	set_n(j, "depth", v.depth);
	set_n(j, "writing", v.writing);
	set_n(j, "reading", v.reading);
	set_n(j, "message_bytes", v.shm->payload_bytes);
	set_n(j, "tries_max", v.shm->tries_max);
	set_n(j, "in_position", v.tail);
	set_n(j, "out_position", v.first);
	set_n(j, "redelivered_total", v.shm->redelivered);
	set_n(j, "skipped_total", v.shm->skipped);
	set_n(j, "dropped_total", v.shm->dropped);
	if (full)
		set(j, "in_flight", queue_in_flight(snap, &v));
}

/* --- spans ------------------------------------------------------------------------------- */

static json_t *spans_rings(const struct snapshot *snap, const struct spans_view *v)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < v->shm->rings; i++) {
		const struct weir_span_ring_shm *ring = spans_ring(v, i);
		json_t *j;

		if (ring->recorded == 0 && ring->started == 0)
			continue;
		j = describe_thread(snap, i);
		set_n(j, "ring", i);
		set_n(j, "recorded", ring->recorded);
		set_n(j, "started", ring->started);
		json_array_append_new(array, j);
	}
	return array;
}

static void describe_spans(const struct snapshot *snap, const struct snap_object *o, json_t *j,
			   bool full)
{
	struct spans_view v;
	char why[96];

	if (!spans_view(snap, o, &v, why)) {
		set_s(j, "state", "inconsistent");
		set_s(j, "problem", why);
		return;
	}
	set_s(j, "state", "ok");
	set_n(j, "rings", v.shm->rings);
	set_n(j, "rings_used", v.rings_used);
	set_n(j, "records_per_ring", v.shm->slots);
	set_n(j, "recorded_total", v.recorded);
	set_n(j, "started_total", v.started);
	if (full)
		set(j, "used_rings", spans_rings(snap, &v));
}

/* --- any object, segments ---------------------------------------------------------------- */

json_t *describe_object(const struct snapshot *snap, const struct snap_object *o, bool full)
{
	json_t *j = json_object();

	set_s(j, "name", o->name);
	set_s(j, "type", snapshot_type(o->type));
	switch (o->at ? o->type : WEIR_OBJECT_TYPE_NONE) {
	case WEIR_OBJECT_TYPE_SEM:
		describe_sem(snap, o, j, full);
		break;
	case WEIR_OBJECT_TYPE_LIMITER:
		describe_limiter(snap, o, j);
		break;
	case WEIR_OBJECT_TYPE_BREAKER:
		describe_breaker(snap, o, j, full);
		break;
	case WEIR_OBJECT_TYPE_QUEUE:
		describe_queue(snap, o, j, full);
		break;
	case WEIR_OBJECT_TYPE_SPANS:
		describe_spans(snap, o, j, full);
		break;
	default:
		set_s(j, "state", "inconsistent");
		set_s(j, "problem", o->problem);
		break;
	}
	if (o->at && full) {
		set_n(j, "age_ns",
		      since(snap, ((const struct weir_object_shm *)o->at)->created_ns));
		set_n(j, "block_bytes", o->bytes);
	}
	return j;
}

static void describe_file(const struct snapshot *snap, json_t *j)
{
	const struct passwd *pw = getpwuid(snap->st.st_uid);
	const struct group *gr;
	char mode[8];

	set_s(j, "owner", pw ? pw->pw_name : NULL);
	gr = getgrgid(snap->st.st_gid);
	set_s(j, "group", gr ? gr->gr_name : NULL);
	snprintf(mode, sizeof(mode), "%04o", (unsigned)(snap->st.st_mode & 07777));
	set_s(j, "mode", mode);
}

json_t *describe_segment(const struct snapshot *snap)
{
	json_t *j = json_object();
	char version[20] = "";

	set_s(j, "name", snap->name);
	set_s(j, "path", snap->path);
	set_s(j, "state", snap->error ? "unreadable" : "ok");
	set_s(j, "code", snap->error ? fail_code(snap->error) : NULL);
	set_s(j, "problem",
	      snap->error ? (snap->why[0] ? snap->why : fail_words(snap->error)) : NULL);
	set_n(j, "size_bytes", (uint64_t)snap->st.st_size);
	describe_file(snap, j);
	if (snap->error)
		return j;
	text_clean(version, sizeof(version), snap->header.version, sizeof(snap->header.version));
	set_s(j, "version", version);
	set_n(j, "creator_pid", snap->header.creator_pid);
	set_n(j, "age_ns", since(snap, snap->header.created_ns));
	set_n(j, "processes_live", snapshot_count(snap, SNAP_LIVE));
	set_n(j, "processes_dead", snapshot_count(snap, SNAP_DEAD));
	set_n(j, "processes_room", snap->header.proc_count);
	set_n(j, "threads_room", snap->header.thread_count);
	set_n(j, "objects_room", snap->header.dir_count);
	return j;
}

/* --- what a process holds ---------------------------------------------------------------- */

static void add_holding(json_t *array, const struct snapshot *snap, const struct snap_object *o,
			uint32_t lane, uint64_t amount)
{
	json_t *j = json_object();

	set_s(j, "object", o->name);
	set_s(j, "type", snapshot_type(o->type));
	set_n(j, "amount", amount);
	set_n(j, "tid", snapshot_thread(snap, lane).tid);
	json_array_append_new(array, j);
}

static bool thread_of(const struct snapshot *snap, uint32_t lane, uint32_t proc)
{
	struct snap_thread t = snapshot_thread(snap, lane);

	return t.live && t.proc == proc;
}

static void queue_holdings(const struct snapshot *snap, const struct snap_object *o, uint32_t proc,
			   const struct queue_view *v, json_t *array)
{
	for (uint32_t i = 0; i < v->shm->slot_count; i++) {
		struct queue_claim claim;

		if (queue_claim(v, i, &claim) && thread_of(snap, claim.owner, proc))
			add_holding(array, snap, o, claim.owner, 1);
	}
}

json_t *describe_holdings(const struct snapshot *snap, uint32_t proc)
{
	json_t *array = json_array();
	struct breaker_view breaker;
	struct queue_view queue;
	struct sem_view sem;
	char why[96];

	for (uint32_t n = 0; n < snap->object_count; n++) {
		const struct snap_object *o = &snap->objects[n];
		bool is_sem = sem_view(snap, o, &sem, why);
		bool is_breaker = !is_sem && breaker_view(snap, o, &breaker, why);

		if (!is_sem && !is_breaker && queue_view(snap, o, &queue, why))
			queue_holdings(snap, o, proc, &queue, array);
		for (uint32_t i = 0; (is_sem || is_breaker) && i < snap->thread_high; i++) {
			uint64_t amount;

			if (!thread_of(snap, i, proc))
				continue;
			if (is_sem)
				amount = sem_hold(&sem, i);
			else
				amount = breaker.probes_out ? weir_breaker_lane_probe_count(
								      breaker.lanes[i].probe)
							    : 0;
			if (amount)
				add_holding(array, snap, o, i, amount);
		}
	}
	return array;
}
