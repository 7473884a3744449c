/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The kernel and the C library as the library sees them: linked instead of those of lib/os.
 * Futexes, file locks and deaths are visible operations; memory, clocks and ids are a thread's own.
 */
#include <string.h>

#include "core.h"
#include "seg/seg.h"
#include <weir/layout.h>

#define HEAP_BYTES (1u << 20)
#define FD_FIRST   100
#define KEYS	   16
#define PRIVATES   16
#define SHARED	   24

struct process {
	struct weir__self self; /* the library's thread-local variable */
	struct weir_segment *seg;
	void *key[KEYS];
	uint64_t token_page;
	uint64_t time; /* in setup and check */
	int fd;
};

/* All that is put back before each execution, besides the modelled memory. */
static struct kernel {
	struct process process[THREADS_MAX];
	size_t heap_used;
	int files; /* descriptions opened so far */
	int keys;
	int as; /* whose calls these are, in setup and check */
	bool published;
} kernel, kernel_first;

static uint8_t heap[HEAP_BYTES] __attribute__((aligned(64)));
static uint8_t heap_first[HEAP_BYTES];
static size_t seg_bytes;
static size_t extra_used;
static struct {
	uint8_t *at;
	uint8_t first[4096];
	size_t bytes;
} privates[PRIVATES];
static int private_count;
static struct {
	char name[24];
	uint32_t at;
	size_t bytes;
} shared[SHARED];
static int shared_count;

static void (*begin_anew)(void);

static int me(void)
{
	return modelled() ? running : kernel.as;
}

static struct process *here(void)
{
	return &kernel.process[me()];
}

/* --- the world of a model ------------------------------------------------------------------ */

static uint32_t *lock_word(uint32_t slot)
{
	return (uint32_t *)(void *)(arena + SEG_MAX) + (slot < LOCKS ? slot : LOCKS - 1);
}

void self_save(int thread)
{
	kernel.process[thread].self = weir__self_cache;
}

void self_load(int thread)
{
	weir__self_cache = kernel.process[thread].self;
}

void world_as(int self)
{
	self_save(kernel.as);
	self_load(self);
	kernel.as = self;
}

void kernel_leave(int last, uint64_t time)
{
	if (last >= 0) {
		self_save(last);
		kernel.as = last;
	}
	for (int i = 0; i < THREADS_MAX; i++)
		kernel.process[i].time = time;
}

struct weir_segment *world_seg(int self)
{
	return kernel.process[self].seg;
}

/* What only serves display: done at once, without order, see README.md. */
static void quiet_struct(const char *layout, uint64_t off, const char *const *fields)
{
	const struct weir_layout *l = weir_layout_find(layout);

	for (uint32_t i = 0; i < l->field_count; i++) {
		for (int k = 0; fields[k]; k++) {
			if (strcmp(l->fields[i].name, fields[k]) == 0)
				quiet_set((uint32_t)(off + l->fields[i].offset) / 4,
					  l->fields[i].size, true);
		}
	}
}

static const char *const quiet_waitq[] = {"holder_tid", "waiter_tid", "holder_span",
					  "span",	"trace",      NULL};
static const char *const quiet_lane[] = {"since_ns", "span", "acquires", "waits", "wait_ns", NULL};
static const char *const quiet_thread[] = {"waiting", "since_ns", "span", "trace", NULL};

void world_quiet(void)
{
	const struct weir_segment *seg = world_seg(0);

	quiet_set(0, ARENA_BYTES, false);
	if (!seg)
		return;
	quiet_set(cell_of(seg->events), sizeof(*seg->events) * seg->event_count, true);
	quiet_set(cell_of(&seg->shm->event_next), sizeof(seg->shm->event_next), true);
	for (uint32_t i = 0; i < seg->thread_count; i++)
		quiet_struct("thread", (uint64_t)((uint8_t *)&seg->threads[i] - arena),
			     quiet_thread);
	for (uint32_t i = 0; i < seg->dir_count; i++) {
		struct weir_object_shm *o = weir__object_at(seg, i);
		struct weir_sem_lane_shm *lane = (void *)((struct weir_sem_shm *)(void *)o + 1);

		for (uint32_t k = 0; o && o->type == WEIR_OBJECT_TYPE_SEM && k < seg->thread_count;
		     k++) {
			quiet_struct("sem_lane", (uint64_t)((uint8_t *)&lane[k] - arena),
				     quiet_lane);
			quiet_struct("waitq", (uint64_t)((uint8_t *)&lane[k].waitq - arena),
				     quiet_waitq);
		}
	}
}

void world_attach(int self, uint32_t processes)
{
	int r;

	world_as(self);
	r = weir_segment_open("/model",
			      &WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 96 << 10,
					 .processes = processes, .threads = 6, .objects = 3),
			      &kernel.process[self].seg);
	if (r < 0)
		model_fail("setup: %s", strerror(-r));
}

void world_make(int count)
{
	for (int i = 0; i < count; i++) {
		world_attach(i, 6);
		if (weir_segment_join(world_seg(i)) < 0)
			model_fail("setup: cannot join");
	}
	world_as(0);
}

void *world_shared(const char *name, size_t bytes)
{
	uint8_t *p = arena + SEG_MAX + LOCKS * 4 + extra_used;

	if (shared_count == SHARED || LOCKS * 4 + extra_used + bytes > EXTRA_BYTES)
		model_fail("too much shared memory");
	shared[shared_count].at = cell_of(p);
	shared[shared_count].bytes = bytes;
	strncpy(shared[shared_count++].name, name, sizeof(shared[0].name) - 1);
	extra_used += (bytes + 63) / 64 * 64;
	return p;
}

void world_private(void *data, size_t bytes)
{
	if (private_count == PRIVATES || bytes > sizeof(privates[0].first))
		model_fail("too much private memory");
	privates[private_count].at = data;
	privates[private_count++].bytes = bytes;
}

const char *shared_name(uint32_t at, uint32_t *ret_off);
const char *shared_name(uint32_t at, uint32_t *ret_off)
{
	static char text[32];

	for (int i = 0; i < shared_count; i++) {
		if (at >= shared[i].at && at < shared[i].at + (shared[i].bytes + 3) / 4) {
			*ret_off = (at - shared[i].at) * 4;
			return shared[i].name;
		}
	}
	*ret_off = 0;
	if (at < SEG_MAX / 4 || at >= SEG_MAX / 4 + LOCKS)
		return NULL;
	strcpy(text, "lock[ ]");
	text[5] = (char)('a' + (at - SEG_MAX / 4));
	return text;
}

void world_drop(void)
{
	memset(arena, 0, sizeof(arena));
	memset(&kernel, 0, sizeof(kernel));
	memset(shared, 0, sizeof(shared));
	memset(&weir__self_cache, 0, sizeof(weir__self_cache));
	for (int i = 0; i < THREADS_MAX; i++) {
		kernel.process[i].fd = -1;
		kernel.process[i].time = 10000000000;
	}
	kernel.files = FD_FIRST;
	extra_used = 0;
	shared_count = 0;
	private_count = 0;
	quiet_set(0, ARENA_BYTES, false);
}

void kernel_pristine(void)
{
	world_as(0);
	kernel_first = kernel;
	memcpy(heap_first, heap, kernel.heap_used);
	for (int i = 0; i < private_count; i++)
		memcpy(privates[i].first, privates[i].at, privates[i].bytes);
}

void kernel_reset(void)
{
	memcpy(heap, heap_first, kernel_first.heap_used);
	kernel = kernel_first;
	weir__self_cache = kernel.process[0].self;
	if (begin_anew)
		begin_anew();
	for (int i = 0; i < private_count; i++)
		memcpy(privates[i].at, privates[i].first, privates[i].bytes);
	for (int i = 0; i < THREADS_MAX; i++)
		threads[i].view.time = kernel.process[i].time;
}

uint64_t privates_hash(void)
{
	uint64_t h = 14695981039346656037u;

	for (int i = 0; i < private_count; i++) {
		for (size_t k = 0; k < privates[i].bytes; k++)
			h = (h ^ privates[i].at[k]) * 1099511628211u;
	}
	return h;
}

/* --- memory and threads -------------------------------------------------------------------- */

void *model_malloc(size_t bytes);
void *model_calloc(size_t count, size_t bytes);
void model_free(void *p);
pid_t model_getpid(void);
int model_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int model_key_create(pthread_key_t *ret, void (*end)(void *));
int model_key_delete(pthread_key_t key);
void *model_getspecific(pthread_key_t key);
int model_setspecific(pthread_key_t key, const void *value);
int model_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *a);
int model_mutex_lock(pthread_mutex_t *m);
int model_mutex_unlock(pthread_mutex_t *m);

void *model_malloc(size_t bytes)
{
	void *p = heap + kernel.heap_used;

	if (bytes > HEAP_BYTES - kernel.heap_used)
		model_fail("out of heap");
	kernel.heap_used += (bytes + 63) / 64 * 64;
	return p;
}

void *model_calloc(size_t count, size_t bytes)
{
	return memset(model_malloc(count * bytes), 0, count * bytes);
}

void model_free(void *p)
{
	(void)p; /* All at once, before the next execution. */
}

pid_t model_getpid(void)
{
	return 1000 + me();
}

int model_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	(void)prepare;
	(void)parent;
	if (!kernel.files) /* From a constructor: what it keeps per thread begins anew. */
		begin_anew = child;
	return 0;
}

int model_key_create(pthread_key_t *ret, void (*end)(void *))
{
	(void)end;
	if (kernel.keys == KEYS)
		return EAGAIN;
	*ret = (pthread_key_t)kernel.keys++;
	return 0;
}

int model_key_delete(pthread_key_t key)
{
	(void)key;
	return 0;
}

void *model_getspecific(pthread_key_t key)
{
	return here()->key[key];
}

int model_setspecific(pthread_key_t key, const void *value)
{
	here()->key[key] = (void *)(uintptr_t)value;
	return 0;
}

/* One thread per process: nobody else can want these. */
int model_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *a)
{
	(void)m;
	(void)a;
	return 0;
}

int model_mutex_lock(pthread_mutex_t *m)
{
	(void)m;
	return 0;
}

int model_mutex_unlock(pthread_mutex_t *m)
{
	(void)m;
	return 0;
}

/* --- clock --------------------------------------------------------------------------------- */

uint64_t weir__now_ns(void)
{
	return modelled() ? threads[running].view.time : here()->time;
}

uint64_t weir__now_coarse_ns(void)
{
	return weir__now_ns();
}

uint64_t weir_now_ns(void)
{
	return weir__now_ns();
}

struct timespec weir__clock_local(uint64_t deadline_ns)
{
	return (struct timespec){.tv_sec = (time_t)(deadline_ns / 1000000000)};
}

void weir__sleep_until(uint64_t deadline_ns)
{
	if (weir__now_ns() < deadline_ns)
		model_pass(deadline_ns - weir__now_ns());
}

void model_pass(uint64_t ns)
{
	if (modelled())
		threads[running].view.time += ns;
	else
		here()->time += ns;
}

/* --- futex --------------------------------------------------------------------------------- */

int weir__futex_wait(const struct weir__sleep *sleeps, uint32_t count, uint64_t deadline_ns)
{
	uint32_t word[WORDS_MAX];
	uint32_t value[WORDS_MAX];
	struct op op = {.kind = OP_WAIT,
			.deadline = deadline_ns,
			.order = __ATOMIC_RELAXED,
			.word = word,
			.word_value = value};

	op.caller = __builtin_return_address(0);
	if (!modelled())
		return -EAGAIN;
	for (uint32_t i = 0; i < count && i < WORDS_MAX; i++) {
		if (!in_arena(sleeps[i].word)) {
			if (*(const volatile uint32_t *)sleeps[i].word != sleeps[i].value)
				return -EAGAIN;
			continue;
		}
		op.word[op.words] = cell_of(sleeps[i].word);
		op.word_value[op.words++] = sleeps[i].value;
	}
	if (op.words == 0)
		model_fail("sleeps on memory of its own");
	op.cell = op.word[0];
	op.size = 4;
	visible(&op);
	return (int)(int64_t)op.result;
}

void weir__futex_wake(const void *word)
{
	struct op op = {.kind = OP_WAKE, .caller = __builtin_return_address(0)};

	if (!modelled() || !in_arena(word))
		return;
	op.cell = cell_of(word);
	visible(&op);
}

int model_sleep(const uint32_t *word, uint32_t value)
{
	struct weir__sleep sleep = {.word = word, .value = value};

	return weir__futex_wait(&sleep, 1, weir__now_ns() + WEIR__RECOVERY_NS);
}

/* --- files and locks ----------------------------------------------------------------------- */

int weir__file_open(const char *path)
{
	(void)path;
	if (!kernel.published)
		return -ENOENT;
	here()->fd = kernel.files++;
	return here()->fd;
}

int weir__file_create(const char *dir, uint64_t bytes, mode_t mode)
{
	(void)dir;
	(void)mode;
	if (bytes > SEG_MAX)
		return -ENOSPC;
	seg_bytes = bytes;
	return kernel.files++;
}

int weir__file_publish(int fd, const char *path)
{
	(void)fd;
	(void)path;
	kernel.published = true;
	return 0;
}

int weir__file_reopen(int fd)
{
	return fd;
}

int weir__file_map(int fd, uint64_t bytes, void **ret_base)
{
	(void)fd;
	(void)bytes;
	*ret_base = arena;
	return 0;
}

void weir__file_unmap(void *base, uint64_t bytes)
{
	(void)base;
	(void)bytes;
}

static void lock_op(enum op_kind kind, enum rmw rmw, uint32_t slot, uint64_t value, struct op *ret)
{
	*ret = (struct op){.kind = kind, .rmw = rmw, .value = value, .order = __ATOMIC_ACQ_REL};
	ret->cell = cell_of(lock_word(slot));
	ret->size = 4;
	if (modelled()) {
		visible(ret);
		return;
	}
	memory_touch(lock_word(slot), 4);
	ret->result = *lock_word(slot);
	if (kind == OP_RMW && (rmw == RMW_SWAP || !ret->result))
		*lock_word(slot) = (uint32_t)value;
}

void weir__file_close(int fd)
{
	struct op op;

	for (uint32_t slot = 0; fd >= 0 && slot < LOCKS; slot++) {
		if (*lock_word(slot) == (uint32_t)fd)
			lock_op(OP_RMW, RMW_SWAP, slot, 0, &op);
	}
}

int weir__file_vet(int fd, uint64_t *ret_bytes)
{
	(void)fd;
	*ret_bytes = seg_bytes;
	return 0;
}

int weir__page_wipeonfork(void **ret_page, size_t *ret_bytes)
{
	*ret_page = &here()->token_page;
	*ret_bytes = sizeof(uint64_t);
	return 0;
}

int weir__lock_take(int fd, uint32_t slot)
{
	struct op op;

	lock_op(OP_RMW, RMW_LOCK, slot, (uint64_t)fd, &op);
	return op.result == 0 || op.result == (uint64_t)fd ? 0 : -EAGAIN;
}

void weir__lock_drop(int fd, uint32_t slot)
{
	struct op op;

	if (*lock_word(slot) == (uint32_t)fd)
		lock_op(OP_RMW, RMW_SWAP, slot, 0, &op);
}

int weir__lock_probe(int fd, uint32_t slot)
{
	struct op op;

	lock_op(OP_PROBE, RMW_SWAP, slot, 0, &op);
	return op.result != 0 && op.result != (uint64_t)fd;
}

uint32_t lock_cell(int thread)
{
	int fd = kernel.process[thread].fd;

	for (uint32_t slot = 0; fd >= 0 && slot < LOCKS; slot++) {
		if (*lock_word(slot) == (uint32_t)fd)
			return cell_of(lock_word(slot));
	}
	return cell_of(lock_word(LOCKS - 1)) - (uint32_t)(thread & 7); /* It holds none. */
}

/* --- identity and the rest ----------------------------------------------------------------- */

int weir__identity_self(struct weir__identity *ret)
{
	*ret = (struct weir__identity){.pid = (uint32_t)model_getpid(), .start_time = 1};
	return 0;
}

bool weir__identity_gone(const struct weir__identity *id, const struct weir__identity *self)
{
	(void)id;
	(void)self;
	return false;
}

uint32_t weir__tid(void)
{
	return (uint32_t)model_getpid();
}

void weir__exe_name(char ret_name[16])
{
	strcpy(ret_name, "model");
}

int weir__random(void *data, size_t bytes)
{
	memset(data, 0x5a, bytes);
	return 0;
}

int weir__boot_id(uint8_t ret_id[16])
{
	memset(ret_id, 0x11, 16);
	return 0;
}

void weir__crash_point(const char *name)
{
	if (modelled())
		threads[running].point = name;
	if (modelled() && tracing)
		trace_note(name);
}
