/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The functions that `gcc -fsanitize=thread` calls for every access to memory, and the C library's
 * that touch memory for the library (tests/model/seam.syms renames them).  What lies outside the
 * modelled memory belongs to one thread and is simply done.
 */
#include <string.h>

#include "core.h"

void __tsan_init(void);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);
void __tsan_read_range(const void *p, size_t n);
void __tsan_write_range(void *p, size_t n);
void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_signal_fence(int order);
void *model_memcpy(void *to, const void *from, size_t n);
void *model_memmove(void *to, const void *from, size_t n);
void *model_memset(void *to, int c, size_t n);
int model_memcmp(const void *a, const void *b, size_t n);
void model_relax(void);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void)
{
}

static void plain(const volatile void *p, size_t n, bool write)
{
	if (!in_arena(p) || !n)
		return;
	if (modelled() && !quiet_is(cell_of(p)))
		memory_plain(p, n, write);
	else if (write)
		memory_touch(p, n);
}

#define PLAIN(size)                                 \
	void __tsan_read##size(void *p);            \
	void __tsan_write##size(void *p);           \
	void __tsan_unaligned_read##size(void *p);  \
	void __tsan_unaligned_write##size(void *p); \
	void __tsan_read##size(void *p)             \
	{                                           \
		plain(p, size, false);              \
	}                                           \
	void __tsan_write##size(void *p)            \
	{                                           \
		plain(p, size, true);               \
	}                                           \
	void __tsan_unaligned_read##size(void *p)   \
	{                                           \
		plain(p, size, false);              \
	}                                           \
	void __tsan_unaligned_write##size(void *p)  \
	{                                           \
		plain(p, size, true);               \
	}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_read_range(const void *p, size_t n)
{
	plain(p, n, false);
}

void __tsan_write_range(void *p, size_t n)
{
	plain(p, n, true);
}

void *model_memcpy(void *to, const void *from, size_t n)
{
	plain(from, n, false);
	plain(to, n, true);
	return memcpy(to, from, n);
}

void *model_memmove(void *to, const void *from, size_t n)
{
	plain(from, n, false);
	plain(to, n, true);
	return memmove(to, from, n);
}

void *model_memset(void *to, int c, size_t n)
{
	plain(to, n, true);
	return memset(to, c, n);
}

int model_memcmp(const void *a, const void *b, size_t n)
{
	plain(a, n, false);
	plain(b, n, false);
	return memcmp(a, b, n);
}

/* --- atomics ------------------------------------------------------------------------------- */

/* Or done at once: what is no shared memory, or quiet, or not in a body. */
static bool simulated(const volatile void *p)
{
	if (!in_arena(p))
		return false;
	if (modelled() && !quiet_is(cell_of(p)))
		return true;
	memory_touch(p, 8);
	return false;
}

static uint64_t run(struct op *op, const volatile void *p, unsigned size, const void *caller)
{
	op->cell = cell_of(p);
	op->size = (uint8_t)size;
	op->caller = caller;
	visible(op);
	return op->result;
}

#define HERE __builtin_return_address(0)

#define ATOMIC_RMW(bits, type, name, kind_of, builtin)                                       \
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int order);              \
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int order)               \
	{                                                                                    \
		struct op op = {.kind = OP_RMW, .rmw = kind_of, .order = order, .value = v}; \
                                                                                             \
		if (!simulated(p))                                                           \
			return builtin(p, v, __ATOMIC_RELAXED);                              \
		return (type)run(&op, p, sizeof(type), HERE);                                \
	}

#define ATOMIC(bits, type)                                                                        \
	type __tsan_atomic##bits##_load(const volatile type *p, int order);                       \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order);                    \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected,       \
							  type v, int order, int order2);         \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *expected, type v, \
							int order, int order2);                   \
	type __tsan_atomic##bits##_load(const volatile type *p, int order)                        \
	{                                                                                         \
		struct op op = {.kind = OP_LOAD, .order = order};                                 \
                                                                                                  \
		if (!simulated(p))                                                                \
			return *p;                                                                \
		return (type)run(&op, p, sizeof(type), HERE);                                     \
	}                                                                                         \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                     \
	{                                                                                         \
		struct op op = {.kind = OP_STORE, .order = order, .value = v};                    \
                                                                                                  \
		if (simulated(p))                                                                 \
			run(&op, p, sizeof(type), HERE);                                          \
		else                                                                              \
			*p = v;                                                                   \
	}                                                                                         \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected,       \
							  type v, int order, int order2)          \
	{                                                                                         \
		struct op op = {.kind = OP_CAS, .order = order, .order_failed = order2};          \
                                                                                                  \
		if (!simulated(p))                                                                \
			return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_RELAXED,   \
							   __ATOMIC_RELAXED);                     \
		op.value = v;                                                                     \
		op.expected = *expected;                                                          \
		run(&op, p, sizeof(type), HERE);                                                  \
		*expected = (type)op.result;                                                      \
		return op.ok;                                                                     \
	}                                                                                         \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *expected, type v, \
							int order, int order2)                    \
	{                                                                                         \
		return __tsan_atomic##bits##_compare_exchange_strong(p, expected, v, order,       \
								     order2);                     \
	}                                                                                         \
	ATOMIC_RMW(bits, type, exchange, RMW_SWAP, __atomic_exchange_n)                           \
	ATOMIC_RMW(bits, type, fetch_add, RMW_ADD, __atomic_fetch_add)                            \
	ATOMIC_RMW(bits, type, fetch_sub, RMW_SUB, __atomic_fetch_sub)                            \
	ATOMIC_RMW(bits, type, fetch_and, RMW_AND, __atomic_fetch_and)                            \
	ATOMIC_RMW(bits, type, fetch_or, RMW_OR, __atomic_fetch_or)                               \
	ATOMIC_RMW(bits, type, fetch_xor, RMW_XOR, __atomic_fetch_xor)

ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
	struct op op = {.kind = OP_FENCE, .order = order, .caller = HERE};

	if (modelled())
		visible(&op);
}

void __tsan_atomic_signal_fence(int order)
{
	(void)order;
}

/* weir_relax() of the library comes here: see relax.h. */
void model_relax(void)
{
	struct op op = {.kind = OP_YIELD, .caller = HERE};

	if (modelled())
		visible(&op);
}
