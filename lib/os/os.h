/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The seam to the kernel: every system call, clock and identity query of the library. */
#ifndef WEIR_OS_OS_H
#define WEIR_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "os/atomic.h"

/* --- clock ------------------------------------------------------------------------------- */

uint64_t weir__now_ns(void);
/* The same clock at the resolution of the kernel's tick (4 ms), five times cheaper. */
uint64_t weir__now_coarse_ns(void);
/* A time of ours as CLOCK_MONOTONIC shows it in this process's time namespace. */
struct timespec weir__clock_local(uint64_t deadline_ns);

/* --- futex ------------------------------------------------------------------------------- */

/* One word to sleep on, as long as it has this value. */
struct weir__sleep {
	const void *word;
	uint32_t value;
};

#define WEIR__SLEEP_MAX 10

/* Sleep until one of `count` words changes or deadline_ns (weir__now_ns; UINT64_MAX never) has
 * come.  Any return value may be spurious: the caller looks again.  -ETIMEDOUT only after the
 * deadline. */
int weir__futex_wait(const struct weir__sleep *sleeps, uint32_t count, uint64_t deadline_ns);
/* Wake everybody who sleeps on `word`.  Async-signal-safe. */
void weir__futex_wake(const void *word);

/* --- files and memory -------------------------------------------------------------------- */

int weir__file_open(const char *path);
/* A new unnamed file in directory `dir`, `bytes` long with all blocks reserved. */
int weir__file_create(const char *dir, uint64_t bytes, mode_t mode);
int weir__file_publish(int fd, const char *path);
/* A second open file description of the same file: locks of the first do not carry over. */
int weir__file_reopen(int fd);
int weir__file_map(int fd, uint64_t bytes, void **ret_base);
void weir__file_unmap(void *base, uint64_t bytes);
void weir__file_close(int fd);
/* Regular file, owned by root or the caller, not writable by the world; *ret_bytes is its size. */
int weir__file_vet(int fd, uint64_t *ret_bytes);
/* A page that reads as zeros in a forked child. */
int weir__page_wipeonfork(void **ret_page, size_t *ret_bytes);

/* --- liveness ---------------------------------------------------------------------------- */

/* Lock byte `slot` of the file for this open file description: 0, -EAGAIN when it is held. */
int weir__lock_take(int fd, uint32_t slot);
void weir__lock_drop(int fd, uint32_t slot);
/* 1 if somebody else holds it, 0 if not, -errno. */
int weir__lock_probe(int fd, uint32_t slot);

/* Who a process is, for later doubt. */
struct weir__identity {
	uint32_t pid;
	uint64_t start_time;
	uint64_t pidns;
	uint64_t pidfs;
};
int weir__identity_self(struct weir__identity *ret);
/* True only if it is certain that the process `id` is gone: same pid namespace as `self`, and the
 * pid is free, another process's, or that of a process that has ended. */
bool weir__identity_gone(const struct weir__identity *id, const struct weir__identity *self);
uint32_t weir__tid(void);
void weir__exe_name(char ret_name[16]);

/* --- the rest ---------------------------------------------------------------------------- */

int weir__random(void *data, size_t bytes);
int weir__boot_id(uint8_t ret_id[16]);
void weir__sleep_until(uint64_t deadline_ns);

#endif
