/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Threads as coroutines, and one execution.  A thread runs until its next visible operation, says
 * what that will be, and chooses who goes next, on its own stack: usually no switch is needed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

#define STACK_BYTES (96u << 10)
#define RESCUES_MAX 4

struct thread threads[THREADS_MAX];
int thread_count;
int running = -1;
const struct model *model;
int depth;
bool failed;
char failure[512];
bool tracing;
bool world_waits;
uint32_t stores_by[THREADS_MAX];
int16_t visible_max[THREADS_MAX];
struct choice choices[DEPTH_MAX];
int choice_count;

static uint8_t stacks[THREADS_MAX][STACK_BYTES] __attribute__((aligned(64)));
static void *main_sp;
static bool starting;
static jmp_buf *outside; /* where a failure in setup or check goes */

#if !defined(__x86_64__)
#error "the switch of stacks is written for x86-64 only"
#endif

/* Save what a call preserves, store the stack pointer, take the other one. */
void model_switch(void **save, void *to);
/* clang-format off */
__asm__(".text\n"
	".globl model_switch\n"
	"model_switch:\n"
	"push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"mov %rsp, (%rdi)\n"
	"mov %rsi, %rsp\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
	"ret\n");
/* clang-format on */

static void to_main(void)
{
	void *lost;

	if (running < 0)
		return;
	kernel_leave(running, 0);
	running = -1;
	model_switch(&lost, main_sp);
	__builtin_unreachable();
}

void model_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	failed = true;
	to_main();
	longjmp(*outside, 1);
}

static void resume(int to)
{
	void **save = running < 0 ? &main_sp : &threads[running].sp;

	if (running >= 0)
		self_save(running);
	self_load(to);
	running = to;
	model_switch(save, threads[to].sp);
}

int model_victim(void)
{
	for (int i = 0; i < thread_count; i++) {
		if (threads[i].dead)
			return i;
	}
	return -1;
}

bool model_dead(int thread)
{
	return threads[thread].dead;
}

bool model_died_past(const char *crash_point)
{
	const char *point = threads[model_victim()].point;

	return point && strcmp(point, crash_point) == 0;
}

/* --- what a thread may do next ------------------------------------------------------------- */

static bool dies_now(int thread)
{
	for (int i = 0; i < 2; i++) {
		if (plan.victim[i] == thread && plan.at[i] == threads[thread].visible)
			return true;
	}
	return false;
}

static bool awaited(int self)
{
	if (self > model->peers && !model->together)
		return threads[self - 1].dead;
	for (int i = 0; i < model->peers; i++) {
		if (threads[i].dead)
			return true;
	}
	return false;
}

static int labels_asleep(const struct thread *t, bool world, uint16_t *ret_labels)
{
	int n = 0;

	if (t->woken_by >= 0) {
		ret_labels[n++] = 0;
		return n;
	}
	if (world) {
		if (model->patient && model_victim() >= 0 && t->op->deadline != UINT64_MAX &&
		    t->rescues < RESCUES_MAX)
			ret_labels[n++] = 1;
		return n;
	}
	if (t->timeouts < model->timeouts && t->op->deadline != UINT64_MAX)
		ret_labels[n++] = 1;
	if (t->spurious < model->spurious)
		ret_labels[n++] = 2;
	return n;
}

int labels_of(int thread, bool world, uint16_t *ret_labels)
{
	struct thread *t = &threads[thread];

	if (t->finished || t->dead)
		return 0;
	ret_labels[0] = 0;
	if (dies_now(thread))
		return 1;
	switch (t->op->kind) {
	case OP_SLEEP:
		return labels_asleep(t, world, ret_labels);
	case OP_AWAIT:
		return awaited(thread);
	case OP_YIELD:
		return world || stores_by[thread] + 1 > t->yields;
	default:
		return memory_labels(thread, t->op, ret_labels);
	}
}

/* --- doing it ------------------------------------------------------------------------------ */

static bool words_match(const struct op *op)
{
	for (int i = 0; i < op->words; i++) {
		if (raw_read(op->word[i], 4) != op->word_value[i])
			return false;
	}
	return true;
}

static void wake_all(uint32_t word)
{
	for (int i = 0; i < thread_count; i++) {
		struct thread *t = &threads[i];

		if (t->dead || t->finished || t->op->kind != OP_SLEEP || t->woken_by >= 0)
			continue;
		for (int k = 0; k < t->op->words; k++) {
			if (t->op->word[k] == word)
				t->woken_by = depth;
		}
	}
}

static void die(int thread)
{
	struct thread *t = &threads[thread];

	t->die = (struct op){.kind = OP_DIE, .size = 4, .order = __ATOMIC_ACQ_REL};
	t->die.cell = lock_cell(thread);
	t->op = &t->die;
	t->dead = true;
	t->died_by = depth;
	memory_cell(t->die.cell, 4);
}

static void slept(struct thread *t, uint16_t label)
{
	static const int64_t results[] = {0, -110 /* ETIMEDOUT */, -4 /* EINTR */};

	t->op->result = (uint64_t)results[label];
	t->timeouts += label == 1 && !world_waits;
	t->spurious += label == 2;
	t->rescues += label == 1 && world_waits;
	if (label == 1 && t->op->deadline > t->view.time)
		t->view.time = t->op->deadline;
}

static void awoke(int thread)
{
	for (int i = 0; i < thread_count; i++) {
		if (i != thread && threads[i].dead)
			view_join(&threads[thread].view, &threads[i].view);
	}
}

static void invariant(void)
{
	int self = running;

	if (!model->always)
		return;
	running = -1;
	model->always();
	running = self;
}

/* Make one transition; true if the thread runs on after it. */
static bool perform(int thread, uint16_t label)
{
	struct thread *t = &threads[thread];
	const struct store *read;
	uint64_t before = 0;
	struct op *op;
	bool on = true;

	if (dies_now(thread))
		die(thread);
	op = t->op;
	if (tracing && op->size)
		before = raw_read(op->cell, op->size);
	read = op->kind == OP_SLEEP ? NULL : memory_perform(thread, op, label);
	if (op->kind == OP_WAIT) {
		op->ok = words_match(op);
		op->result = (uint64_t)(int64_t)-11; /* EAGAIN */
		on = !op->ok;
	}
	t->steps++;
	t->visible = (int16_t)(t->visible + (op->kind != OP_YIELD));
	order_event(thread, op, label, read);
	if (tracing)
		trace_event(thread, op, label, before);
	if (op->kind == OP_WAIT && op->ok) {
		op->kind = OP_SLEEP;
		t->woken_by = -1;
	} else if (op->kind == OP_SLEEP) {
		slept(t, label);
	} else if (op->kind == OP_WAKE) {
		wake_all(op->cell);
	} else if (op->kind == OP_YIELD) {
		t->yields = stores_by[thread] + 1;
	} else if (op->kind == OP_AWAIT) {
		awoke(thread);
	}
	t->view.hb[thread]++;
	t->view.co[thread]++;
	if (t->visible > visible_max[thread])
		visible_max[thread] = t->visible;
	depth++;
	return on && !t->dead;
}

static bool writes(const struct op *op)
{
	return op->kind == OP_STORE || op->kind == OP_RMW || (op->kind == OP_CAS && op->ok);
}

/* Choose and make transitions until the calling thread (or main, at the end) goes on. */
static void dispatch(void)
{
	for (;;) {
		uint16_t label = 0;
		int next = pick(&label);
		struct op *op;

		if (next < 0) {
			to_main();
			return;
		}
		if (depth >= DEPTH_MAX - 2)
			model_fail("more than %d steps: somebody spins for ever", depth);
		choices[depth] = (struct choice){.thread = (uint8_t)next, .label = label};
		choice_count = depth + 1;
		op = threads[next].op;
		if (!perform(next, label))
			continue;
		if (writes(op))
			invariant();
		if (next == running)
			return;
		resume(next);
		return;
	}
}

void visible(struct op *op)
{
	struct thread *t = &threads[running];

	t->op = op;
	if (op->size)
		memory_cell(op->cell, op->size);
	if (starting) {
		self_save(running);
		running = -1;
		model_switch(&t->sp, main_sp);
		return;
	}
	dispatch();
}

/* --- one execution ------------------------------------------------------------------------- */

static void thread_main(void)
{
	int self = running;

	if (self >= model->peers) {
		struct op op = {.kind = OP_AWAIT};

		visible(&op);
	}
	model->body[self](self);
	if (model->killable & 1u << self) {
		struct op op = {.kind = OP_END};

		visible(&op);
	}
	threads[self].finished = true;
	if (starting) {
		running = -1;
		model_switch(&threads[self].sp, main_sp);
	}
	dispatch();
	__builtin_trap();
}

static void thread_begin(int i)
{
	struct thread *t = &threads[i];
	void **top = (void **)(void *)(stacks[i] + STACK_BYTES - 64);

	uint64_t time = t->view.time;

	memset(t, 0, sizeof(*t));
	t->view.time = time;
	t->view.hb[i] = 1;
	t->view.co[i] = 1;
	t->woken_by = -1;
	t->died_by = -1;
	*--top = NULL; /* keeps the alignment of a call */
	*--top = (void *)(uintptr_t)thread_main;
	top -= 6;
	memset(top, 0, 6 * sizeof(*top));
	t->sp = top;
	resume(i);
}

static void count_state(void)
{
	static uint64_t known[1 << 20];
	uint64_t h = (memory_hash() ^ privates_hash()) | 1;
	uint64_t at = h >> 8 & ((1 << 20) - 1);

	if (tally.states == 0)
		memset(known, 0, sizeof(known));
	while (known[at] && known[at] != h) /* Ends: it is never filled. */
		at = (at + 1) & ((1 << 20) - 1);
	if (known[at] == 0 && tally.states < 900000) {
		known[at] = h;
		tally.states++;
	}
}

static void finish(void)
{
	uint64_t time = 0;

	if (limits.states)
		count_state();

	for (int i = 0; i < thread_count; i++)
		time = threads[i].view.time > time ? threads[i].view.time : time;
	kernel_leave(-1, time);
	if (model->check)
		model->check();
}

/* Set the model up; every execution begins from what that leaves. */
bool model_begin(const struct model *m)
{
	jmp_buf here;

	model = m;
	running = -1;
	failed = false;
	thread_count = 0;
	while (thread_count < BODIES_MAX && m->body[thread_count])
		thread_count++;
	outside = &here;
	if (setjmp(here))
		return false;
	memory_reset();
	world_drop();
	if (m->setup)
		m->setup();
	world_quiet();
	memory_pristine();
	kernel_pristine();
	return true;
}

bool run_one(void)
{
	jmp_buf here;

	memory_reset();
	kernel_reset();
	order_reset();
	depth = 0;
	choice_count = 0;
	failed = false;
	memset(stores_by, 0, sizeof(stores_by));
	outside = &here;
	if (setjmp(here))
		return false;
	if (model->reset)
		model->reset();
	starting = true;
	for (int i = 0; i < thread_count && !failed; i++)
		thread_begin(i);
	starting = false;
	if (!failed)
		dispatch();
	if (failed)
		return false;
	if (complete)
		finish();
	return !failed;
}
