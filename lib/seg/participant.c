/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Who takes part.
 *
 * A process is alive while its open file description holds the lock on its slot's byte.  A forked
 * child shares that description, so it gets its own at once (atfork) or at its first call, and
 * becomes a participant of its own when it first does something: open in the master, then fork, is
 * the normal use.  A thread gets a slot at its first operation; when it ends it gives back what it
 * holds.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "seg/seg.h"

/* One per thread and segment.  The exit key holds its id, not its address: a thread may end while
 * another one closes the segment. */
struct weir__joined {
	uintptr_t id;
	uint64_t token;
	uint32_t slot;
	struct weir__joined *next;
};

__thread struct weir__self weir__self_cache;

/* Attaching, closing, forking and the end of a thread exclude each other.  Taken before seg->lock.
 */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weir_segment *table; /* the attach table: the library's only global state */
static WEIR_ATOMIC(uint64_t) tokens;
static bool atfork_set;

/* relaxed: only its being unique matters. */
static uint64_t token_new(void)
{
	return weir_add_relaxed(&tokens, 1) + 1;
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&table_lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&table_lock);
}

/* Our own description in place of the one shared with the parent, so that its death shows.  Without
 * a free descriptor the shared one stays for now. */
static int reopen(struct weir_segment *seg)
{
	int fd;

	if (seg->fd_pid == getpid())
		return 0;
	fd = weir__file_reopen(seg->fd);
	if (fd < 0)
		return fd;
	weir__file_close(seg->fd);
	seg->fd = fd;
	seg->fd_pid = getpid();
	return 0;
}

static void fork_child(void)
{
	for (struct weir_segment *seg = table; seg; seg = seg->next) {
		pthread_mutex_init(&seg->lock,
				   NULL); /* Its holder, if any, is not in this process. */
		reopen(seg);
	}
	pthread_mutex_init(&table_lock, NULL);
}

static int table_add(struct weir_segment *seg)
{
	int r = 0;

	pthread_mutex_lock(&table_lock);
	if (!atfork_set)
		r = -pthread_atfork(fork_prepare, fork_parent, fork_child);
	if (r == 0) {
		atfork_set = true;
		seg->token_value = token_new();
		seg->next = table;
		table = seg;
	}
	pthread_mutex_unlock(&table_lock);
	return r;
}

static void table_remove(struct weir_segment *seg)
{
	for (struct weir_segment **at = &table; *at; at = &(*at)->next) {
		if (*at == seg) {
			*at = seg->next;
			break;
		}
	}
}

/* --- process slots ----------------------------------------------------------------------- */

static void fill_process(struct weir_segment *seg, struct weir_process_shm *p)
{
	p->pid = seg->self.pid;
	p->start_time = seg->self.start_time;
	p->pidns = seg->self.pidns;
	p->pidfs = seg->self.pidfs;
	p->attached_ns = weir__now_ns();
	memcpy(p->role, seg->role, sizeof(p->role));
	weir__exe_name(p->exe);
	memset(p->version, 0, sizeof(p->version));
	memcpy(p->version, WEIR_VERSION, sizeof(WEIR_VERSION));
}

static bool claim_process(struct weir_segment *seg, uint32_t slot)
{
	struct weir_process_shm *p = &seg->procs[slot];
	/* EDGE process.word (acquire <- claim_process, sweep): the last life is over. */
	uint64_t word = weir_load_acquire(&p->word);

	if (weir_process_word_state(word) != WEIR_PROCESS_STATE_FREE)
		return false;
	if (weir__lock_take(seg->fd, slot) < 0)
		return false;
	/* EDGE process.word (acquire <- claim_process, sweep): again, now that it is ours. */
	word = weir_load_acquire(&p->word);
	if (weir_process_word_state(word) != WEIR_PROCESS_STATE_FREE) {
		weir__lock_drop(seg->fd, slot); /* Somebody lived and died here in between. */
		return false;
	}
	WEIR_CRASH_POINT(process_locked);
	fill_process(seg, p);
	word = weir_process_word_set_gen(word, weir_process_word_gen(word) + 1);
	word = weir_process_word_set_state(word, WEIR_PROCESS_STATE_LIVE);
	/* EDGE process.word (release -> process_dead, sweep): the identity before the life. */
	weir_store_release(&p->word, word);
	seg->proc_slot = slot;
	return true;
}

static int join_process(struct weir_segment *seg)
{
	int r = weir__identity_self(&seg->self);

	seg->proc_slot = UINT32_MAX;
	if (r == 0)
		r = weir__sweep(seg, NULL);
	if (r < 0)
		return r;
	for (uint32_t slot = 0; slot < seg->proc_count; slot++) {
		if (claim_process(seg, slot)) {
			*seg->token = seg->token_value;
			weir__event(seg, WEIR_EVENT_KIND_ATTACH, NULL, slot, 0);
			return 0;
		}
	}
	return -EUSERS;
}

int weir__process_dead(struct weir_segment *seg, uint32_t proc)
{
	const struct weir_process_shm *p = &seg->procs[proc];
	struct weir__identity id;
	uint64_t before;
	int held;

	if (proc == seg->proc_slot)
		return 0;
	held = weir__lock_probe(seg->fd, proc);
	if (held <= 0)
		return held < 0 ? held : 1;
	/* EDGE process.word (acquire <- claim_process): the identity of this life. */
	before = weir_load_acquire(&p->word);
	id.pid = p->pid;
	id.pidns = p->pidns;
	id.pidfs = p->pidfs;
	weir_fence_acquire(); /* EDGE process.word (acquire <- claim_process): fields, then word. */
	/* relaxed: after the fence. */
	if (weir_load_relaxed(&p->word) != before)
		return 0; /* Somebody new. */
	return weir__identity_gone(&id, &seg->self);
}

/* --- thread slots ------------------------------------------------------------------------ */

static void raise_high(struct weir_segment *seg, uint32_t slot)
{
	/* relaxed: the full CAS below orders it before any use of the slot. */
	uint32_t high = weir_load_relaxed(&seg->shm->thread_high);

	while (high <= slot) {
		/* EDGE thread.high (full -> weir__thread_high): known before used. */
		if (weir_cas_full(&seg->shm->thread_high, &high, slot + 1))
			return;
	}
}

static int claim_thread(struct weir_segment *seg)
{
	for (uint32_t slot = 0; slot < seg->thread_count; slot++) {
		struct weir_thread_shm *t = &seg->threads[slot];
		/* EDGE thread.word (acquire <- weir__sweep_thread): its lanes are clean. */
		uint64_t word = weir_load_acquire(&t->word);
		uint64_t next;

		if (weir_thread_word_state(word) != WEIR_THREAD_STATE_FREE)
			continue;
		next = weir_thread_word_set_gen(word, weir_thread_word_gen(word) + 1);
		next = weir_thread_word_set_state(next, WEIR_THREAD_STATE_LIVE);
		next = weir_thread_word_set_proc(next, seg->proc_slot);
		/* EDGE thread.word (full -> weir__sweep_thread): free -> live, named. */
		if (!weir_cas_full(&t->word, &word, next))
			continue;
		WEIR_CRASH_POINT(thread_claimed);
		/* relaxed: for display. */
		weir_store_relaxed(&t->tid, weir__tid());
		weir_store_relaxed(&t->waiting, 0);
		weir_store_relaxed(&t->span, 0);
		raise_high(seg, slot);
		return (int)slot;
	}
	return -EUSERS;
}

/* The sweep, for a thread that ends while its process goes on. */
static void leave(struct weir_segment *seg, uint32_t slot)
{
	struct weir__victim victim = {.seg = seg, .thread = slot};

	/* EDGE thread.word (acquire <- claim_thread): our own claim. */
	victim.word = weir_load_acquire(&seg->threads[slot].word);
	weir__sweep_thread(&victim, NULL);
}

/* Take the entry of thread `id` out of the list, or NULL. */
static struct weir__joined *joined_remove(struct weir_segment *seg, uintptr_t id)
{
	struct weir__joined *j = NULL;

	pthread_mutex_lock(&seg->lock);
	for (struct weir__joined **at = &seg->joined; *at; at = &(*at)->next) {
		if ((*at)->id == id) {
			j = *at;
			*at = j->next;
			break;
		}
	}
	pthread_mutex_unlock(&seg->lock);
	return j;
}

/* The segment may have been closed since this thread began to end: then nothing is found. */
static void thread_exit(void *arg)
{
	pthread_mutex_lock(&table_lock);
	for (struct weir_segment *seg = table; seg; seg = seg->next) {
		struct weir__joined *j = joined_remove(seg, (uintptr_t)arg);

		if (!j)
			continue;
		if (*seg->token != 0 && j->token == *seg->token)
			leave(seg, j->slot);
		free(j);
		break;
	}
	pthread_mutex_unlock(&table_lock);
	weir__self_cache.token = 0;
}

static struct weir__joined *joined_here(struct weir_segment *seg)
{
	uintptr_t id = (uintptr_t)pthread_getspecific(seg->exit_key);
	struct weir__joined *j = id ? seg->joined : NULL;

	while (j && j->id != id)
		j = j->next;
	if (j)
		return j;
	j = calloc(1, sizeof(*j));
	id = (uintptr_t)token_new();
	if (!j || pthread_setspecific(seg->exit_key, (const void *)id) != 0) {
		free(j);
		return NULL;
	}
	j->id = id;
	j->next = seg->joined;
	seg->joined = j;
	return j;
}

/* In a forked child: own description, own process slot.  What the parent holds stays the parent's.
 */
static int rejoin(struct weir_segment *seg)
{
	int r = reopen(seg);

	if (r < 0)
		return r;
	seg->token_value = token_new(); /* Old cache entries of this thread match no more. */
	return join_process(seg);
}

int weir__self_slow(struct weir_segment *seg)
{
	struct weir__joined *j;
	int slot = 0;

	pthread_mutex_lock(&seg->lock);
	if (*seg->token == 0)
		slot = rejoin(seg);
	j = slot < 0 ? NULL : joined_here(seg);
	if (slot == 0 && !j)
		slot = -ENOMEM;
	if (slot == 0 && j->token != *seg->token) {
		slot = claim_thread(seg);
		if (slot == -EUSERS && weir__sweep(seg, NULL) == 0)
			slot = claim_thread(seg);
		if (slot >= 0) {
			j->slot = (uint32_t)slot;
			j->token = *seg->token;
		}
	}
	if (slot >= 0) {
		slot = (int)j->slot;
		weir__self_cache.token = *seg->token;
		weir__self_cache.slot = j->slot;
		weir__self_cache.thread = &seg->threads[j->slot];
	}
	pthread_mutex_unlock(&seg->lock);
	return slot;
}

int weir_segment_join(struct weir_segment *seg)
{
	int r = weir__self(seg);

	return r < 0 ? r : 0;
}

int weir_segment_set_trace(struct weir_segment *seg, const struct weir_trace *trace)
{
	int self = weir__self(seg);
	struct weir_thread_shm *t;
	uint64_t span = 0;
	uint64_t ids[2] = {0, 0};

	if (self < 0)
		return self;
	if (trace) {
		memcpy(&span, trace->span_id, 8);
		memcpy(ids, trace->trace_id, 16);
	}
	t = &seg->threads[self];
	/* relaxed: readers want a recent value; a torn mix of two spans only misleads a display. */
	weir_store_relaxed(&t->trace[0], ids[0]);
	weir_store_relaxed(&t->trace[1], ids[1]);
	weir_store_relaxed(&t->span, span);
	return 0;
}

uint32_t weir__thread_tid(const struct weir_segment *seg, uint32_t slot)
{
	const struct weir_thread_shm *t = &seg->threads[slot];

	/* relaxed: for display. */
	return weir_thread_word_state(weir_load_relaxed(&t->word)) == WEIR_THREAD_STATE_LIVE
		       ? weir_load_relaxed(&t->tid)
		       : 0;
}

void weir__self_waits(struct weir_segment *seg, uint32_t slot, const void *object, uint64_t now)
{
	struct weir_thread_shm *t = &seg->threads[slot];

	/* relaxed: for display. */
	weir_store_relaxed(&t->since_ns, now);
	weir_store_relaxed(&t->waiting, weir__object_id(seg, object));
}

/* --- attach and detach ------------------------------------------------------------------- */

int weir__participant_attach(struct weir_segment *seg)
{
	void *page;
	int r = weir__page_wipeonfork(&page, &seg->token_bytes);

	if (r < 0)
		return r;
	seg->token = page;
	seg->fd_pid = getpid();
	pthread_mutex_init(&seg->lock, NULL);
	r = -pthread_key_create(&seg->exit_key, thread_exit);
	if (r < 0)
		goto out_page;
	r = table_add(seg);
	if (r < 0)
		goto out_key;
	r = join_process(seg);
	if (r == 0)
		return 0;
	pthread_mutex_lock(&table_lock);
	table_remove(seg);
	pthread_mutex_unlock(&table_lock);
out_key:
	pthread_key_delete(seg->exit_key);
out_page:
	weir__file_unmap(page, seg->token_bytes);
	return r;
}

static void leave_process(struct weir_segment *seg)
{
	struct weir_process_shm *p = &seg->procs[seg->proc_slot];
	uint64_t word;

	for (uint32_t slot = 0; slot < seg->thread_count; slot++) {
		/* EDGE thread.word (acquire <- claim_thread): who claimed it. */
		word = weir_load_acquire(&seg->threads[slot].word);
		if (weir_thread_word_state(word) == WEIR_THREAD_STATE_LIVE &&
		    weir_thread_word_proc(word) == seg->proc_slot)
			leave(seg, slot);
	}
	weir__event(seg, WEIR_EVENT_KIND_DETACH, NULL, seg->proc_slot, 0);
	/* relaxed: ours. */
	word = weir_process_word_set_state(weir_load_relaxed(&p->word), WEIR_PROCESS_STATE_FREE);
	/* EDGE process.word (release -> claim_process): all given back before the next life. */
	weir_store_release(&p->word, word);
}

void weir__participant_detach(struct weir_segment *seg)
{
	pthread_mutex_lock(&table_lock);
	table_remove(seg);
	/* A forked child that never did anything here is no participant. */
	if (*seg->token != 0)
		leave_process(seg);
	weir__file_close(seg->fd); /* And with it the lock; not between a fork and its child. */
	pthread_mutex_unlock(&table_lock);
	pthread_key_delete(seg->exit_key);
	while (seg->joined) {
		struct weir__joined *next = seg->joined->next;

		free(seg->joined);
		seg->joined = next;
	}
	weir__file_unmap(seg->token, seg->token_bytes);
	weir__self_cache.token = 0;
}
