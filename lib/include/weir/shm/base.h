/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every generated layout header <weir/shm/NAME.h> stands on.
 *
 * The same structure is read by three compilers: C11, C++11 and clang -target bpf, which has no
 * libc headers and whose back end (clang 14) cannot take _Atomic.  So only sizes and offsets are
 * shared; how a word is accessed is the reader's business.
 *
 * 2026: under __bpf__ the types are spelled out and not taken from __UINT64_TYPE__, because that is
 * `unsigned long` there while vmlinux.h says `unsigned long long`: a probe that includes both would
 * not compile.  Repeating an identical typedef is allowed since C11.
 */
#ifndef WEIR_SHM_BASE_H
#define WEIR_SHM_BASE_H

#if defined(__bpf__)
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* A word that several processes access: C must go through os/atomic.h, C++ and BPF only look. */
#if defined(__bpf__) || defined(__cplusplus)
#define WEIR_ATOMIC(T) T
#else
#define WEIR_ATOMIC(T) _Atomic(T)
#endif

#if defined(__cplusplus)
#define WEIR_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define WEIR_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* offsetof without <stddef.h>, which BPF programs do not include. */
#define WEIR_OFFSETOF(type, member) __builtin_offsetof(type, member)

#endif
