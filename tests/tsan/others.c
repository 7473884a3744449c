/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Twins of queue, spans, directory, and of processes and threads that come and go. */
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <weir/shm/all.h>

#include "twins.h"

/* --- queue --------------------------------------------------------------------------------- */

#define SENDERS 2
#define ITEMS	1500

struct item {
	uint32_t sender;
	uint32_t number;
	uint64_t filled[6];
};

static struct weir_queue *queue;
static uint32_t items;
static uint8_t *seen[SENDERS]; /* how often each was finished; its receiver writes it */

static void item_fill(struct item *item, uint32_t sender, uint32_t number)
{
	*item = (struct item){.sender = sender, .number = number};
	for (int i = 0; i < 6; i++)
		item->filled[i] = UINT64_C(1000003) * number + sender;
}

static void item_finish(const struct item *item)
{
	MUST(item->sender < SENDERS && item->number < items);
	for (int i = 0; i < 6; i++)
		IS(item->filled[i], UINT64_C(1000003) * item->number + item->sender);
	/* Plain: if two receivers got it, this is a race too. */
	seen[item->sender][item->number]++;
}

static void queue_make(uint32_t slots)
{
	IS(weir_queue_open(seg, "queue",
			   &WEIR_OPTS(queue, .slots = slots, .bytes = sizeof(struct item)), &queue),
	   0);
	items = (uint32_t)(ITEMS * rounds);
	for (int i = 0; i < SENDERS; i++)
		MUST((seen[i] = calloc(items, 1)));
}

static void queue_drop(void)
{
	for (int i = 0; i < SENDERS; i++) {
		for (uint32_t k = 0; k < items; k++)
			IS(seen[i][k], 1);
		free(seen[i]);
	}
	weir_queue_close(queue);
}

static int senders_left;

static void sender(uint32_t index)
{
	struct item item;

	for (uint32_t k = 0; k < items; k++) {
		item_fill(&item, index, k);
		IS(weir_queue_send(queue, &item, sizeof(item), NULL), 0);
	}
	if (__atomic_sub_fetch(&senders_left, 1, __ATOMIC_ACQ_REL) == 0)
		IS(weir_queue_shutdown(queue), 0);
}

static void copy_thread(struct thread *t)
{
	uint32_t last[SENDERS] = {0};
	struct item item;
	uint32_t bytes;
	int r;

	if (t->index < SENDERS) {
		sender((uint32_t)t->index);
		return;
	}
	for (;;) {
		r = weir_queue_recv(queue, &item, sizeof(item), &bytes, NULL);
		if (r == -ESHUTDOWN)
			return;
		IS(r, 0);
		IS(bytes, sizeof(item));
		item_finish(&item);
		/* A receiver sees each sender's messages in their order. */
		MUST(item.number + 1 > last[item.sender]);
		last[item.sender] = item.number + 1;
	}
}

static void queue_2x2_until_drained(void)
{
	queue_make(8);
	senders_left = SENDERS;
	run_threads(4, copy_thread);
	queue_drop();
}

static uint32_t finished;

static void loan_sender(struct thread *t)
{
	struct weir_msg msg;

	for (uint32_t k = 0; k < items;) {
		IS(weir_queue_loan(queue, &msg, NULL), 0);
		if (pick(t, 8) == 0) {
			memset(msg.data, 0xff, sizeof(struct item));
			IS(weir_queue_abort(queue, &msg), 0);
			continue;
		}
		item_fill(msg.data, (uint32_t)t->index, k++);
		msg.bytes = sizeof(struct item);
		IS(weir_queue_commit(queue, &msg), 0);
	}
}

static void loan_thread(struct thread *t)
{
	struct weir_ctx ctx;
	struct weir_msg msg;
	int r;

	if (t->index < SENDERS) {
		loan_sender(t);
		return;
	}
	while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < SENDERS * items) {
		weir_ctx_init(&ctx, NULL, 2 * MS);
		r = weir_queue_take(queue, &msg, &ctx);
		if (r == -ETIMEDOUT)
			continue;
		IS(r, 0);
		if (pick(t, 8) == 0) {
			IS(weir_queue_put_back(queue, &msg), 0);
			continue;
		}
		item_finish(msg.data);
		__atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
		IS(weir_queue_done(queue, &msg), 0);
	}
}

static void queue_loans_and_put_back(void)
{
	queue_make(4);
	run_threads(4, loan_thread);
	queue_drop();
}

/* Ends in the middle of a loan or of a message. */
static void leave_thread(struct thread *t)
{
	struct weir_msg msg;
	struct item item;
	int r;

	if (t->index % 2) {
		r = weir_queue_try_loan(queue, &msg);
		MUST(r == 0 || r == -EAGAIN);
		if (r == 0)
			memset(msg.data, t->index, sizeof(item));
		return;
	}
	item_fill(&item, 0, 0);
	r = weir_queue_try_send(queue, &item, sizeof(item));
	MUST(r == 0 || r == -EAGAIN);
	if (weir_queue_try_take(queue, &msg) == 0)
		item_fill(&item, 0, msg.tries);
}

static void queue_threads_end(void)
{
	struct weir_queue_stat stat;
	struct weir_msg msg;

	queue_make(8);
	for (int i = 0; i < 20 * rounds; i++)
		run_threads(4, leave_thread);
	IS(weir_queue_stat(queue, &stat), 0);
	IS(stat.writing, 0);
	IS(stat.reading, 0);
	while (weir_queue_try_take(queue, &msg) == 0)
		IS(weir_queue_done(queue, &msg), 0);
	for (int i = 0; i < SENDERS; i++)
		memset(seen[i], 1, items);
	queue_drop();
}

/* --- spans --------------------------------------------------------------------------------- */

static struct weir_spans *spans;
static int writers_left;
static uint64_t whole;

/* As a reader of the layout does it: see lib/obj/span.c. */
static bool read_record(struct weir_span_shm *r, uint64_t k)
{
	uint64_t value;
	uint64_t wait;

	if (__atomic_load_n((uint64_t *)&r->seq, __ATOMIC_ACQUIRE) != 2 * k + 2)
		return false;
	value = __atomic_load_n((uint64_t *)&r->value, __ATOMIC_RELAXED);
	wait = __atomic_load_n((uint64_t *)&r->wait_ns, __ATOMIC_RELAXED);
	/* An acquire fence belongs here.  ThreadSanitizer does not know fences; a read-modify-write
	 * of the same word orders as much on the machine and is known to it. */
	if (__atomic_fetch_add((uint64_t *)&r->seq, 0, __ATOMIC_ACQ_REL) != 2 * k + 2)
		return false;
	IS(value, wait);
	return true;
}

static struct weir_spans_shm *spans_shm(void)
{
	size_t bytes;
	const uint8_t *base = weir_segment_base(seg, &bytes);
	const struct weir_segment_shm *h = (const void *)base;
	const uint64_t *dir = (const void *)(base + h->dir_off);

	return (void *)(uintptr_t)(base + __atomic_load_n(&dir[0], __ATOMIC_ACQUIRE));
}

static void span_reader(void)
{
	struct weir_spans_shm *shm = spans_shm();
	size_t ring_bytes =
		sizeof(struct weir_span_ring_shm) + shm->slots * sizeof(struct weir_span_shm);

	while (__atomic_load_n(&writers_left, __ATOMIC_ACQUIRE)) {
		for (uint32_t i = 0; i < 8; i++) {
			uint8_t *at = (uint8_t *)(shm + 1) + i * ring_bytes;
			struct weir_span_ring_shm *ring = (void *)at;
			struct weir_span_shm *records = (void *)(ring + 1);
			uint64_t n = __atomic_load_n((uint64_t *)&ring->recorded, __ATOMIC_ACQUIRE);

			for (uint64_t k = n > shm->slots ? n - shm->slots : 0; k < n; k++)
				whole += read_record(&records[k & (shm->slots - 1)], k);
		}
	}
}

static void span_thread(struct thread *t)
{
	struct weir_span span;
	struct weir_trace parent;

	if (t->index == 0) {
		span_reader();
		return;
	}
	IS(weir_trace_new(&parent), 0);
	for (int i = 0; i < 3000 * rounds; i++) {
		IS(weir_span_begin(spans, pick(t, 2) ? &parent : NULL, "twin", 1, &span), 0);
		span.value = span.wait_ns = (uint64_t)i * 16 + (uint64_t)t->index;
		IS(weir_span_end(spans, &span), 0);
	}
	__atomic_sub_fetch(&writers_left, 1, __ATOMIC_RELEASE);
}

static void span_ring_and_reader(void)
{
	IS(weir_spans_open(seg, "spans", &WEIR_OPTS(spans, .slots = 8), &spans), 0);
	for (int i = 0; i < 2;
	     i++) { /* Twice: the second threads go on in the rings of the first. */
		writers_left = 2;
		run_threads(3, span_thread);
	}
	MUST(whole > 0);
	weir_spans_close(spans);
}

/* --- directory ----------------------------------------------------------------------------- */

static void directory_thread(struct thread *t)
{
	struct weir_sem *sem;
	char name[16];
	int r;

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "obj%d", i % 6);
		r = weir_sem_open(seg, name, pick(t, 5) ? &WEIR_OPTS(sem, .permits = 3) : NULL,
				  &sem);
		MUST(r == 0 || r == -ENOENT || r == -ENOSPC);
		if (r < 0)
			continue;
		IS(weir_sem_acquire(sem, 1, NULL), 0); /* It is whole. */
		IS(weir_sem_release(sem, 1), 0);
		weir_sem_close(sem);
		if (pick(t, 6) == 0) {
			r = weir_object_unlink(seg, name);
			MUST(r == 0 || r == -ENOENT);
		}
	}
}

static void directory_get_or_create_and_unlink(void)
{
	struct weir_segment *first = seg;

	for (int i = 0; i < 2 * rounds; i++) {
		/* A new segment each time: removed names are not used again. */
		IS(weir_segment_open(seg_path, NULL, &seg), -ENOENT);
		snprintf(seg_path, sizeof(seg_path), "/dev/shm/weir-twin-%d", getpid());
		IS(weir_segment_open(seg_path,
				     &WEIR_OPTS(segment, .flags = WEIR_CREATE | WEIR_EXCLUSIVE,
						.threads = 16, .objects = 256),
				     &seg),
		   0);
		IS(weir_segment_unlink(seg_path), 0);
		run_threads(THREADS, directory_thread);
		IS(weir_segment_close(seg), 0);
	}
	seg = first;
}

/* --- coming and going ---------------------------------------------------------------------- */

static void join_thread(struct thread *t)
{
	struct weir_trace trace;

	IS(weir_segment_join(seg), 0);
	IS(weir_trace_new(&trace), 0);
	IS(weir_segment_set_trace(seg, pick(t, 2) ? &trace : NULL), 0);
	if (t->index == 0)
		IS(weir_segment_recover(seg, NULL), 0);
}

static void threads_join_and_end(void)
{
	for (int i = 0; i < 15 * rounds; i++)
		run_threads(6, join_thread);
}

/* Another handle of the same file, in the same process: a mapping and a participant of its own.
 * What it shares with the first is the process's own state: table, keys, cached slot. */
static void twice_thread(struct thread *t)
{
	struct weir_segment *mine;
	struct weir_sem *sems[2];

	for (int i = 0; i < 12 * rounds; i++) {
		IS(weir_segment_open(seg_path, NULL, &mine), 0);
		IS(weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = 2), &sems[0]), 0);
		IS(weir_sem_open(mine, "sem", &WEIR_OPTS(sem, .permits = 2), &sems[1]), 0);
		for (int k = 0; k < 10; k++) { /* The cached slot changes sides each time. */
			uint32_t a = pick(t, 2);

			IS(weir_sem_acquire(sems[a], 1, NULL), 0);
			IS(weir_sem_release(sems[a], 1), 0);
		}
		IS(weir_sem_acquire(sems[1], 1, NULL), 0);
		weir_sem_close(sems[0]);
		weir_sem_close(sems[1]);
		IS(weir_segment_close(mine), 0); /* And with it what it holds. */
	}
}

static void one_process_attached_twice(void)
{
	struct weir_segment *first = seg;
	struct weir_sem_stat stat;
	struct weir_sem *sem;

	snprintf(seg_path, sizeof(seg_path), "/dev/shm/weir-twin-%d", getpid());
	IS(weir_segment_open(seg_path, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &seg), 0);
	run_threads(THREADS, twice_thread);
	IS(weir_sem_open(seg, "sem", NULL, &sem), 0);
	IS(weir_sem_stat(sem, &stat), 0);
	IS(stat.used, 0);
	weir_sem_close(sem);
	IS(weir_segment_unlink(seg_path), 0);
	IS(weir_segment_close(seg), 0);
	seg = first;
}

/* --- recovery ------------------------------------------------------------------------------ */

static struct weir_sem *sem;
static struct weir_breaker *breaker;

/* Dies with permits, in the line, with a message of each kind and a half-built object. */
static void victim(void)
{
	struct weir_call call;
	struct weir_msg msg;
	struct item item;

	item_fill(&item, 0, 0);
	weir_sem_acquire(sem, 1, NULL);
	weir_queue_try_send(queue, &item, sizeof(item));
	weir_queue_try_take(queue, &msg);
	weir_queue_try_loan(queue, &msg);
	weir_breaker_allow(breaker, &call, NULL);
	weir_sem_start(sem, 3);
	raise(SIGKILL);
}

static void recover_thread(struct thread *t)
{
	join_and_meet();
	if (t->index % 2) {
		IS(weir_sem_acquire(sem, 2, NULL), 0); /* Finds the dead while it waits. */
		IS(weir_sem_release(sem, 2), 0);
	}
	for (int i = 0; i < 3; i++)
		IS(weir_segment_recover(seg, NULL), 0);
}

/* A victim died with one message, its own or the other's, or with none: the oldest sender was not
 * finished. */
static uint32_t tries_of_two(void)
{
	struct weir_msg msg;
	uint32_t tries = 0;

	for (int k = 0; k < 2; k++) {
		IS(weir_queue_take(queue, &msg, NULL), 0);
		tries += msg.tries;
		IS(weir_queue_done(queue, &msg), 0);
	}
	return tries;
}

static void recoverers_at_once(void)
{
	struct weir_sem_stat stat;
	struct weir_queue_stat queue_stat;
	int status;

	queue_make(8);
	IS(weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = 3), &sem), 0);
	IS(weir_breaker_open(seg, "breaker", &WEIR_OPTS(breaker), &breaker), 0);
	for (int i = 0; i < 6 * rounds; i++) {
		pid_t pids[2];

		for (int k = 0; k < 2; k++) { /* No other thread is there yet: fork is safe. */
			pids[k] = fork();
			if (pids[k] == 0)
				victim();
		}
		for (int k = 0; k < 2; k++) {
			IS(waitpid(pids[k], &status, 0), pids[k]);
			IS(WTERMSIG(status), SIGKILL);
		}
		run_threads(THREADS, recover_thread);
		IS(weir_sem_stat(sem, &stat), 0);
		IS(stat.used, 0);
		IS(stat.waiters, 0);
		IS(weir_queue_stat(queue, &queue_stat), 0);
		IS(queue_stat.writing + queue_stat.reading, 0);
		IS(queue_stat.depth, 2);
		MUST(tries_of_two() <= 2);
	}
	for (int i = 0; i < SENDERS; i++)
		memset(seen[i], 1, items);
	queue_drop();
	weir_sem_close(sem);
	weir_breaker_close(breaker);
}

/* --- open: what is reported today ------------------------------------------------------------ */

/*
 * claim_thread() writes the thread number plainly, who waits reads that of the holder plainly, for
 * display.  The holder ends and a new thread gets its slot: nothing orders that read before this
 * write.  The pauses order them in time and are no synchronisation.
 */
static int held;

static void *tid_holder(void *unused)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	__atomic_store_n(&held, 1, __ATOMIC_RELEASE);
	usleep(60000);
	return unused;
}

static void *tid_waiter(void *unused)
{
	struct weir_wait wait;

	while (!__atomic_load_n(&held, __ATOMIC_ACQUIRE))
		usleep(100);
	IS(weir_sem_start(sem, 1), -EINPROGRESS);
	usleep(90000);
	while (weir_sem_poll(sem, &wait) == -EINPROGRESS)
		usleep(1000);
	return unused;
}

static void *tid_newcomer(void *unused)
{
	IS(weir_segment_join(seg), 0);
	return unused;
}

static void joining_while_another_waits(void)
{
	void *(*const fns[3])(void *unused) = {tid_holder, tid_waiter, tid_newcomer};
	pthread_t ids[3];

	IS(weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = 1), &sem), 0);
	for (int i = 0; i < 3; i++) {
		if (i == 2)
			IS(pthread_join(ids[0], NULL), 0); /* Its slot is free now. */
		IS(pthread_create(&ids[i], NULL, fns[i], NULL), 0);
	}
	IS(pthread_join(ids[1], NULL), 0);
	IS(pthread_join(ids[2], NULL), 0);
	weir_sem_close(sem);
}

const struct scenario others[] = {
	{"queue_2x2_until_drained", queue_2x2_until_drained},
	{"queue_loans_and_put_back", queue_loans_and_put_back},
	{"queue_threads_end", queue_threads_end},
	{"span_ring_and_reader", span_ring_and_reader},
	{"directory_get_or_create_and_unlink", directory_get_or_create_and_unlink},
	{"threads_join_and_end", threads_join_and_end},
	{"one_process_attached_twice", one_process_attached_twice},
	{"recoverers_at_once", recoverers_at_once},
	{"joining_while_another_waits", joining_while_another_waits},
	{NULL, NULL},
};

/* --- does the sanitizer see anything? ------------------------------------------------------- */

static uint64_t unordered;

static void broken_thread(struct thread *t)
{
	for (int i = 0; i < 100000; i++)
		unordered += (uint64_t)t->index;
}

/* Two that hold a permit each, where one would have to. */
static void semaphore_thread(struct thread *t)
{
	for (int i = 0; i < 100; i++) {
		IS(weir_sem_acquire(sem, 1, NULL), 0);
		unordered += (uint64_t)t->index;
		usleep(50);
		IS(weir_sem_release(sem, 1), 0);
	}
}

static void broken_plain(void)
{
	run_threads(2, broken_thread);
}

static void broken_two_permits(void)
{
	IS(weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = 2), &sem), 0);
	run_threads(2, semaphore_thread);
}

const struct scenario broken[] = {
	{"broken_plain", broken_plain},
	{"broken_two_permits", broken_two_permits},
	{NULL, NULL},
};
