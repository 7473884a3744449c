/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Atomics with the order in the name.  The only file that includes <stdatomic.h>, so that a model
 * checker, a tracer or a port has one place to look at.
 *
 * Each acquire, release or full access in the library carries a comment that names the
 * ordering it provides; both ends carry the same name.  Each relaxed one says why it may be.
 */
#ifndef WEIR_OS_ATOMIC_H
#define WEIR_OS_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define weir_load_relaxed(p)	 atomic_load_explicit((p), memory_order_relaxed)
#define weir_load_acquire(p)	 atomic_load_explicit((p), memory_order_acquire)
#define weir_load_full(p)	 atomic_load_explicit((p), memory_order_seq_cst)
#define weir_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define weir_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define weir_store_full(p, v)	 atomic_store_explicit((p), (v), memory_order_seq_cst)
#define weir_add_relaxed(p, v)	 atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define weir_add_full(p, v)	 atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define weir_swap_full(p, v)	 atomic_exchange_explicit((p), (v), memory_order_seq_cst)
#define weir_fence_acquire()	 atomic_thread_fence(memory_order_acquire)
#define weir_fence_release()	 atomic_thread_fence(memory_order_release)
#define weir_fence_full()	 atomic_thread_fence(memory_order_seq_cst)

/*
 * A full fence right after a compare and swap: nothing where a locked instruction is one already
 * (AMD64 Architecture Programmer's Manual, volume 2, 7.1.2; the sign keeps the compiler in order).
 * Where a checker looks at C11, in which a compare and swap orders less, it is a fence.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define weir_fence_after_cas() atomic_signal_fence(memory_order_seq_cst)
#else
#define weir_fence_after_cas() weir_fence_full()
#endif

/* Compare and swap: on failure *expected is what was there (acquire).  Strong, so a failure always
 * means that somebody else made progress. */
#define weir_cas_full(p, expected, v)                                                       \
	atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_seq_cst, \
						memory_order_acquire)
#define weir_cas_relaxed(p, expected, v)                                                    \
	atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_relaxed, \
						memory_order_relaxed)

/* In every retry loop: tells the core (and a scheduler under test) that we spin. */
static inline void weir_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/*
 * After a lost compare and swap: the winner keeps the line for some of his steps, else it would
 * cross between the processors with each of them.  Nothing is waited for, so a scheduler under test
 * need not know.  (T. E. Anderson, IEEE TPDS 1(1), 1990.)  A pause is some 140 cycles on Intel's
 * since Skylake, fewer elsewhere, and where we know of no such instruction there is none.
 */
static inline void weir_back_off(void)
{
#if defined(__x86_64__) || defined(__i386__)
	for (int i = 0; i < 8; i++)
		__asm__ volatile("pause" ::: "memory");
#endif
}

/* A write to *p is near: have its cache line brought, and taken away from others, meanwhile. */
static inline void weir_prefetch_own(const void *p)
{
#if defined(__x86_64__)
	/* By name: for x86-64 in general compilers make a fetch for reading of
	 * __builtin_prefetch(p, 1).  Where it is missing it does nothing. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/*
 * Between two shared writes: a named place where a process may die.  docs/CRASH.md has a row for
 * each.  Costs nothing unless the tests build with WEIR_CRASH.
 */
#ifdef WEIR_CRASH
void weir__crash_point(const char *name);
#define WEIR_CRASH_POINT(name) weir__crash_point(#name)
#else
#define WEIR_CRASH_POINT(name) ((void)0)
#endif

#endif
