/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The litmus tests: small programs, and exactly the outcomes they may have.  Compiled twice: for
 * the checker, which must find each of them and no other, and for the processor, which must show no
 * other.
 */
#ifndef WEIR_MODEL_LITMUS_H
#define WEIR_MODEL_LITMUS_H

#include <stdint.h>

#define LITMUS_REGS 4

struct litmus_mem {
	_Alignas(64) _Atomic uint32_t x;
	_Alignas(64) _Atomic uint32_t y;
	_Alignas(64) uint32_t plain;
};

struct litmus {
	const char *name;
	int threads;
	int regs;	  /* that are part of the outcome */
	const char *last; /* "x", "y", "xy": what is in memory at the end is too */
	void (*body[4])(struct litmus_mem *m, uint32_t *r);
	const char *allowed; /* sorted */
	/* C11 allows these too; the checker does not make them, see README.md. */
	const char *beyond;
	const char *fails; /* or the checker must report this */
};

extern const struct litmus litmus_tests[];
extern const int litmus_count;

#endif
