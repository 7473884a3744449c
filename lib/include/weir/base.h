/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every weir header needs.
 *
 * Conventions of the whole interface: functions return 0 or -errno; results go to ret_
 * parameters, last, and are set only on success; what can block takes a struct weir_ctx *
 * (NULL: no deadline); a name with try_ never blocks; options begin with their size and are made
 * with WEIR_OPTS(); times are nanoseconds of weir_now_ns().
 *
 * After fork() the child may use every handle of the parent: at its first call it becomes a
 * participant of its own.  It holds nothing of what the parent holds.
 *
 * Unless a function says otherwise it may be called from any thread, not from a signal handler,
 * and it is not a cancellation point.
 */
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define WEIR_EXTERN extern "C"
#else
#define WEIR_EXTERN extern
#endif
#define WEIR_API WEIR_EXTERN __attribute__((visibility("default")))

#define WEIR_VERSION  "0.1.0"
#define WEIR_NAME_MAX 31 /* characters in the name of a segment or an object */

/* Options of type struct weir_NAME_opts: WEIR_OPTS(sem, .permits = 20). */
#define WEIR_OPTS(name, ...) \
	((struct weir_##name##_opts){.size = sizeof(struct weir_##name##_opts), ##__VA_ARGS__})

/* Version of the library in use, "0.1.0".  Never NULL. */
WEIR_API const char *weir_version(void);

/* CLOCK_MONOTONIC without the offset of the caller's time namespace: the clock of all segments. */
WEIR_API uint64_t weir_now_ns(void);

/* 0 when `name` may name a segment or an object: 1 to 31 of A-Z a-z 0-9 . _ - and not beginning
 * with '.' or '-'.  Otherwise -EINVAL or -ENAMETOOLONG. */
WEIR_API int weir_name_check(const char *name);

#endif
