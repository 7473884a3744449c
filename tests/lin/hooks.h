/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Between the instrumented library and the scheduler. */
#ifndef WEIR_TESTS_LIN_HOOKS_H
#define WEIR_TESTS_LIN_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flock;

extern bool hooks_ours;
extern uint32_t hooks_accesses;
extern uint8_t *hooks_map;
extern size_t hooks_bytes;
void hooks_pool_reset(void);

/* walk.c */
bool hooks_slot_dead(uint32_t slot);
long hooks_futex(long nr, const long args[6]);

void *lin_memcpy(void *to, const void *from, size_t bytes);
void *lin_malloc(size_t bytes);
void *lin_calloc(size_t count, size_t bytes);
void lin_free(void *p);
int lin_fcntl(int fd, int what, struct flock *lock);
long lin_syscall(long nr, ...);
int lin_getpid(void);

#endif
