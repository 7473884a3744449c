/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The books: what must hold on C after a recovery, whatever the victim was doing.  Lost: something
 * that was there, or was promised, is gone.  Doubled: there is more than there can be.  Wedged:
 * something cannot be used any more.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <weir/shm/all.h>

#include "os/atomic.h"
#include "sweep.h"

/* --- the segment's own tables ------------------------------------------------------------ */

static const struct weir_segment_shm *header(const struct world *w)
{
	return (const void *)w->c.map;
}

static const struct weir_object_shm *object_at(const struct file *f, uint64_t off)
{
	return (const void *)(f->map + off);
}

static uint64_t dir_entry(const struct world *w, const struct file *f, uint32_t i)
{
	const WEIR_ATOMIC(uint64_t) *dir = (const void *)(f->map + header(w)->dir_off);

	return weir_load_acquire(&dir[i]);
}

uint32_t directory_count(const struct world *w, const char *name, uint64_t *ret_off)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < header(w)->dir_count; i++) {
		uint64_t off = dir_entry(w, &w->c, i);

		if (off > 1 && strncmp(object_at(&w->c, off)->name, name, 32) == 0) {
			n++;
			*ret_off = off;
		}
	}
	return n;
}

const struct weir_sem_shm *sem_bytes(const struct world *w, const struct file *f)
{
	/* The first object made: see world.c. */
	return (const void *)object_at(f, dir_entry(w, f, 0));
}

static void check_blocks(struct world *w)
{
	uint64_t off = header(w)->arena_off;

	while (off + 64 <= w->bytes) {
		uint64_t word = weir_load_acquire(&object_at(&w->c, off)->block);
		uint64_t bytes = 64 * weir_object_block_units(word);

		if (word == 0)
			return;
		if (bytes == 0 || bytes > w->bytes - off)
			return fail(w, WEDGED, "the arena's chain is broken");
		if (weir_object_block_state(word) != WEIR_OBJECT_BLOCK_READY &&
		    weir_object_block_state(word) != WEIR_OBJECT_BLOCK_FREE)
			fail(w, LOST, "a block is in state %u",
			     (unsigned)weir_object_block_state(word));
		off += bytes;
	}
}

/* What the directory names is nobody else's. */
static void check_directory(struct world *w)
{
	for (uint32_t i = 0; i < header(w)->dir_count; i++) {
		uint64_t off = dir_entry(w, &w->c, i);
		uint64_t word = off > 1 ? weir_load_acquire(&object_at(&w->c, off)->block) : 0;

		if (off > 1 && weir_object_block_state(word) != WEIR_OBJECT_BLOCK_READY)
			fail(w, LOST, "the block of object %u is in state %u", i,
			     (unsigned)weir_object_block_state(word));
	}
}

/* Nobody but the peers has a slot, and all others can be used. */
void check_slots(struct world *w)
{
	const struct weir_process_shm *procs = (const void *)(w->c.map + header(w)->proc_off);
	const struct weir_thread_shm *threads = (const void *)(w->c.map + header(w)->thread_off);

	for (uint32_t i = 0; i < header(w)->proc_count; i++) {
		uint64_t state = weir_process_word_state(weir_load_acquire(&procs[i].word));

		if (i < PEERS && state != WEIR_PROCESS_STATE_LIVE)
			fail(w, DOUBLED, "the live process %u was swept", i);
		if (i >= PEERS && state != WEIR_PROCESS_STATE_FREE)
			fail(w, LOST, "process slot %u is not free", i);
	}
	for (uint32_t i = 0; i < header(w)->thread_count; i++) {
		uint64_t state = weir_thread_word_state(weir_load_acquire(&threads[i].word));

		if (i < PEERS && state != WEIR_THREAD_STATE_LIVE)
			fail(w, DOUBLED, "the live thread %u was swept", i);
		if (i >= PEERS && state != WEIR_THREAD_STATE_FREE)
			fail(w, LOST, "thread slot %u is not free", i);
	}
	check_blocks(w);
	check_directory(w);
}

/* --- semaphore --------------------------------------------------------------------------- */

/* All that is left can be taken at once, and no more. */
static void check_sem_rest(struct world *w, uint32_t permits, uint32_t held)
{
	struct weir_sem *sem = w->peer[0].sem;
	uint32_t rest = permits > held ? permits - held : 0;

	if (rest && weir_sem_try_acquire(sem, rest) != 0)
		fail(w, WEDGED, "sem: %u permits left, but they cannot be taken", rest);
	if (w->fault != FINE)
		return;
	if (weir_sem_try_acquire(sem, 1) != -EAGAIN)
		fail(w, DOUBLED, "sem: more than %u permits", permits);
	if (rest && weir_sem_release(sem, rest) != 0)
		fail(w, WEDGED, "sem: cannot release");
	if (weir_sem_check(sem, NULL) != 0)
		fail(w, WEDGED, "sem: the books are wrong after use");
}

void check_sem(struct world *w)
{
	const struct known *k = &w->known;
	struct weir_sem *sem = w->peer[0].sem;
	uint32_t held = k->holds[0] + k->holds[1];
	struct weir_sem_stat stat;
	struct weir_wait wait;
	int64_t diff = 0;
	bool waiting = k->waits != 0;

	weir_sem_stat(sem, &stat);
	/* A granted waiter counts from when it looks, so it looks first. */
	if (waiting && weir_sem_poll(w->peer[1].sem, &wait) == 0) {
		waiting = false;
		held += k->waits;
	}
	if (waiting && held + k->waits <= stat.permits)
		fail(w, WEDGED, "sem: a waiter for %u of %u with %u in use is not granted",
		     k->waits, stat.permits, held);
	if (weir_sem_check(sem, &diff) != 0)
		fail(w, diff > 0 ? LOST : DOUBLED, "sem: used - held = %ld", (long)diff);
	weir_sem_stat(sem, &stat);
	if (stat.used != held)
		fail(w, stat.used > held ? LOST : DOUBLED, "sem: %u in use, %u held", stat.used,
		     held);
	if (held > stat.permits)
		fail(w, DOUBLED, "sem: %u of %u held", held, stat.permits);
	if (stat.waiters != waiting)
		fail(w, WEDGED, "sem: %u waiters", stat.waiters);
	if (!waiting)
		check_sem_rest(w, stat.permits, held);
}

/* --- queue ------------------------------------------------------------------------------- */

uint32_t queue_drain(struct world *w, struct hand *h, uint32_t *ret_ids, uint32_t *ret_tries)
{
	struct weir_msg msg;
	uint64_t last = 0;
	uint32_t n = 0;
	int r;

	while (n < QUEUED && (r = weir_queue_try_take(h->queue, &msg)) == 0) {
		if (n && msg.position <= last)
			fail(w, DOUBLED, "queue: position %lu after %lu", (long)msg.position,
			     (long)last);
		last = msg.position;
		ret_ids[n] = message_id(msg.data, msg.bytes);
		ret_tries[n] = msg.tries;
		if (ret_ids[n] == 0)
			fail(w, LOST, "queue: message %u has wrong bytes", n);
		n++;
		if (weir_queue_done(h->queue, &msg) != 0)
			fail(w, WEDGED, "queue: cannot finish a message");
	}
	return n;
}

/* Every slot can be used, twice; nothing else is in there. */
void check_queue_empty(struct world *w, struct hand *h)
{
	struct weir_queue_stat stat;
	uint8_t data[MSG_MAX];
	uint32_t ids[QUEUED];
	uint32_t tries[QUEUED];
	uint32_t bytes;

	weir_queue_stat(h->queue, &stat);
	if (stat.depth || stat.writing || stat.reading)
		fail(w, WEDGED, "queue: drained, but %u full, %u writing, %u reading", stat.depth,
		     stat.writing, stat.reading);
	for (uint32_t lap = 0; lap < 2; lap++) {
		uint32_t sent = 0;
		uint32_t got;

		message_make(lap + 1, data, &bytes);
		while (sent <= SLOTS && weir_queue_try_send(h->queue, data, bytes) == 0)
			sent++;
		if (sent != SLOTS)
			fail(w, WEDGED, "queue: room for %u of %u messages", sent, SLOTS);
		got = queue_drain(w, h, ids, tries);
		if (got != sent)
			fail(w, got < sent ? LOST : DOUBLED, "queue: %u sent, %u received", sent,
			     got);
		for (uint32_t i = 0; i < got; i++) {
			if (ids[i] != lap + 1 || tries[i] != 0)
				fail(w, DOUBLED, "queue: an old message came again");
		}
	}
}

/* A message the victim was receiving is `there` or not: may that be? */
static void check_leaving(struct world *w, uint32_t id, bool there, uint32_t tries)
{
	const struct known *k = &w->known;
	const struct note *note = w->note;
	bool too = id == k->leaving_too;
	bool finished = note->returned && note->result == 0 && (!too || note->bytes == 2);
	uint8_t want[MSG_MAX];
	uint32_t bytes;
	bool seen;

	/* Its length comes last: who dies before it knows it has the bytes all the same. */
	message_make(id, want, &bytes);
	seen = memcmp(note->data + too * MSG_MAX, want, bytes) == 0;

	if (!there && (k->leaving_stays || !seen))
		fail(w, LOST, "queue: message %u is gone, and nobody had it", id);
	if (there && !k->leaving_stays && finished)
		fail(w, DOUBLED, "queue: message %u was received and is still there", id);
	if (there && !k->leaving_stays && k->leaving_taken && tries != 1)
		fail(w, LOST, "queue: message %u came back with %u tries", id, tries);
	if (there && k->leaving_stays && k->leaving_taken && tries > !note->returned)
		fail(w, LOST, "queue: message %u was put back with %u tries", id, tries);
	if (too && note->returned && note->bytes != 2)
		fail(w, LOST, "queue: %u of two messages received", note->bytes);
}

/* How many of the messages that the victim was sending are there, in `ids`. */
static uint32_t arrived(struct world *w, const uint32_t *ids, uint32_t count)
{
	const struct known *k = &w->known;
	const struct note *note = w->note;
	bool sent = note->returned && note->result == 0;
	uint32_t n = 0;

	while (n < count && n <= k->batch && ids[n] == k->arriving + n * SAME_LONG)
		n++;
	if (sent && n < (k->batch ? note->bytes : 1))
		fail(w, LOST, "queue: a message of a finished send is missing");
	return n;
}

static void check_messages(struct world *w)
{
	const struct known *k = &w->known;
	uint32_t ids[QUEUED];
	uint32_t tries[QUEUED];
	uint32_t got = queue_drain(w, &w->peer[0], ids, tries);
	uint32_t at = 0;

	for (uint32_t i = 0; i <= k->queued_count; i++) {
		bool there = i < k->queued_count && at < got && ids[at] == k->queued[i];

		if (i + k->overtaken == k->queued_count && k->arriving) {
			at += arrived(w, ids + at, got - at);
			there = i < k->queued_count && at < got && ids[at] == k->queued[i];
		}
		if (i == k->queued_count)
			break;
		if (k->queued[i] == k->leaving || k->queued[i] == k->leaving_too)
			check_leaving(w, k->queued[i], there, there ? tries[at] : 0);
		else if (!there)
			fail(w, LOST, "queue: message %u is missing or out of order", k->queued[i]);
		at += there;
	}
	if (at != got)
		fail(w, DOUBLED, "queue: message %u comes again, or out of order", ids[at]);
}

void check_queue(struct world *w)
{
	struct hand *h = &w->peer[0];
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	if (w->known.closing) {
		message_make(1, data, &bytes);
		if (w->note->returned && weir_queue_try_send(h->queue, data, bytes) != -ESHUTDOWN)
			fail(w, LOST, "queue: closed, but it takes messages");
		weir_queue_shutdown(h->queue);
	}
	check_messages(w);
	if (!w->known.closing)
		return check_queue_empty(w, h);
	if (weir_queue_try_recv(h->queue, data, sizeof(data), &bytes) != -ESHUTDOWN)
		fail(w, WEDGED, "queue: closed and drained, but receivers are not told");
	if (weir_queue_try_send(h->queue, data, 8) != -ESHUTDOWN)
		fail(w, DOUBLED, "queue: a message got in after the end");
}

/* --- breaker ----------------------------------------------------------------------------- */

/* Half-open: every probe of the budget is left, succeeded, or out with a live peer. */
static void check_probes(struct world *w, const struct weir_breaker_stat *stat, bool mine)
{
	uint32_t sum = stat->probes_left + stat->probes_ok + mine;

	if (sum != PROBES)
		fail(w, sum < PROBES ? LOST : DOUBLED,
		     "breaker: %u probes left, %u succeeded, %u out, of %u", stat->probes_left,
		     stat->probes_ok, mine, PROBES);
	if (stat->probes_out != mine)
		fail(w, LOST, "breaker: %u probes out, not %u", stat->probes_out, mine);
}

/* Heal it: take every probe, let all succeed. */
static void check_healing(struct world *w, bool mine)
{
	struct hand *h = &w->peer[0];
	struct weir_breaker_stat stat;
	struct weir_call calls[PROBES + 1];
	uint32_t n = 0;
	uint32_t want;

	weir_breaker_stat(h->breaker, &stat);
	want = stat.mode == WEIR_BREAKER_OPEN ? PROBES : stat.probes_left;
	for (int i = 0; stat.mode == WEIR_BREAKER_OPEN && i < 50; i++) {
		if (weir_breaker_allow(h->breaker, &calls[0], NULL) == 0) {
			n = 1;
			break;
		}
		usleep(100); /* It is open for 1 ms. */
	}
	while (n <= PROBES && weir_breaker_allow(h->breaker, &calls[n], NULL) == 0)
		n++;
	if (n != want)
		fail(w, n < want ? WEDGED : DOUBLED, "breaker: %u probes admitted of %u", n, want);
	for (uint32_t i = 0; i < n && i < PROBES; i++)
		weir_breaker_done(h->breaker, &calls[i], 0);
	if (mine)
		weir_breaker_done(h->breaker, &h->call, 0);
	weir_breaker_stat(h->breaker, &stat);
	if (stat.mode != WEIR_BREAKER_CLOSED)
		fail(w, WEDGED, "breaker: all probes succeeded, mode %d", (int)stat.mode);
}

void check_breaker(struct world *w)
{
	struct hand *h = &w->peer[0];
	struct weir_breaker_stat stat;
	struct weir_call call;
	bool mine;

	if (weir_breaker_stat(h->breaker, &stat) != 0)
		return fail(w, WEDGED, "breaker: no such state");
	mine = w->known.probe_out && stat.gen == h->call.gen;
	if (stat.mode == WEIR_BREAKER_HALF_OPEN)
		check_probes(w, &stat, mine);
	else if (stat.probes_out)
		fail(w, LOST, "breaker: not half-open, %u probes out", stat.probes_out);
	if (stat.mode != WEIR_BREAKER_CLOSED)
		check_healing(w, mine);
	if (weir_breaker_allow(h->breaker, &call, NULL) != 0 || call.probe)
		fail(w, WEDGED, "breaker: closed, but it refuses");
	else
		weir_breaker_done(h->breaker, &call, 0);
}

/* --- limiter ----------------------------------------------------------------------------- */

static void check_tokens(struct world *w, const char *what, uint32_t got, uint32_t taken,
			 bool taking, bool giving)
{
	const struct note *note = w->note;
	uint32_t most = TOKENS - taken;
	uint32_t least = taking && most ? most - 1 : most;

	if (taking && note->returned) {
		if (note->result == 0 && most == 0)
			return fail(w, DOUBLED, "%s: gave a token that was not there", what);
		most -= note->result == 0;
		least = most;
	}
	if (giving && most < TOKENS) {
		most++;
		least += note->returned != 0;
	}
	if (taking && !note->returned)
		most += w->known.forgets;
	if (got < least || got > most)
		fail(w, got < least ? LOST : DOUBLED, "%s: %u tokens left, not %u to %u", what, got,
		     least, most);
}

void check_limiter(struct world *w)
{
	struct hand *h = &w->peer[0];
	uint32_t got = 0;

	while (got <= TOKENS && weir_limiter_allow(h->limiter, 1, NULL) == 0)
		got++;
	check_tokens(w, "limiter", got, w->known.taken, w->known.taking == 1, w->known.giving);
	got = 0;
	while (got <= TOKENS && weir_limiter_allow_key(h->keyed, "key", 3, 1, NULL) == 0)
		got++;
	check_tokens(w, "keyed limiter", got, w->known.taken + w->known.taken_more,
		     w->known.taking == 2, false);
}

/* --- all of it --------------------------------------------------------------------------- */

void check_everything(struct world *w)
{
	check_sem(w);
	check_queue(w);
	check_breaker(w);
	check_limiter(w);
	check_slots(w);
}
