/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See litmus.h.  Names as usual: Alglave, Maranget, Tautschnig, TOPLAS 2014. */
#include <stdatomic.h>
#include <stddef.h>

#include "litmus.h"

#define RLX memory_order_relaxed
#define ACQ memory_order_acquire
#define REL memory_order_release
#define SC  memory_order_seq_cst

#define W(var, value, order)   atomic_store_explicit(&m->var, (value), order)
#define R(var, order)	       atomic_load_explicit(&m->var, order)
#define ADD(var, value, order) atomic_fetch_add_explicit(&m->var, (value), order)
#define SWAP(var, v, order)    atomic_exchange_explicit(&m->var, (v), order)
#define CAS(var, expected, v) \
	atomic_compare_exchange_strong_explicit(&m->var, expected, (v), SC, ACQ)
#define F(order) atomic_thread_fence(order)

#define BODY(name, code)                                    \
	static void name(struct litmus_mem *m, uint32_t *r) \
	{                                                   \
		(void)m;                                    \
		(void)r;                                    \
		code;                                       \
	}

/* clang-format off */
BODY(sb0_rlx, W(x, 1, RLX); r[0] = R(y, RLX))
BODY(sb1_rlx, W(y, 1, RLX); r[1] = R(x, RLX))
BODY(sb0_ra, W(x, 1, REL); r[0] = R(y, ACQ))
BODY(sb1_ra, W(y, 1, REL); r[1] = R(x, ACQ))
BODY(sb0_sc, W(x, 1, SC); r[0] = R(y, SC))
BODY(sb1_sc, W(y, 1, SC); r[1] = R(x, SC))
BODY(sb0_f, W(x, 1, RLX); F(SC); r[0] = R(y, RLX))
BODY(sb1_f, W(y, 1, RLX); F(SC); r[1] = R(x, RLX))
BODY(sb0_rmw, SWAP(x, 1, SC); r[0] = R(y, ACQ))
BODY(sb1_rmw, SWAP(y, 1, SC); r[1] = R(x, ACQ))
BODY(sb0_rmwsc, SWAP(x, 1, SC); r[0] = R(y, SC))
BODY(sb1_rmwsc, SWAP(y, 1, SC); r[1] = R(x, SC))
BODY(mp0_rlx, W(x, 1, RLX); W(y, 1, RLX))
BODY(mp1_rlx, r[0] = R(y, RLX); r[1] = R(x, RLX))
BODY(mp0_rel, W(x, 1, RLX); W(y, 1, REL))
BODY(mp1_acq, r[0] = R(y, ACQ); r[1] = R(x, RLX))
BODY(mp0_f, W(x, 1, RLX); F(REL); W(y, 1, RLX))
BODY(mp1_f, r[0] = R(y, RLX); F(ACQ); r[1] = R(x, RLX))
BODY(mp0_plain, m->plain = 1; W(y, 1, REL))
BODY(mp1_plain, r[0] = R(y, ACQ); r[1] = r[0] ? m->plain : 2)
BODY(mp0_racy, m->plain = 1; W(y, 1, RLX))
BODY(lb0, r[0] = R(x, RLX); W(y, 1, RLX))
BODY(lb1, r[1] = R(y, RLX); W(x, 1, RLX))
BODY(iriw0_rel, W(x, 1, REL))
BODY(iriw1_rel, W(y, 1, REL))
BODY(iriw0_sc, W(x, 1, SC))
BODY(iriw1_sc, W(y, 1, SC))
BODY(iriw0_rlx, W(x, 1, RLX))
BODY(iriw1_rlx, W(y, 1, RLX))
BODY(iriw2_acq, r[0] = R(x, ACQ); r[1] = R(y, ACQ))
BODY(iriw3_acq, r[2] = R(y, ACQ); r[3] = R(x, ACQ))
BODY(iriw2_sc, r[0] = R(x, SC); r[1] = R(y, SC))
BODY(iriw3_sc, r[2] = R(y, SC); r[3] = R(x, SC))
BODY(iriw2_f, r[0] = R(x, RLX); F(SC); r[1] = R(y, RLX))
BODY(iriw3_f, r[2] = R(y, RLX); F(SC); r[3] = R(x, RLX))
BODY(ww0_rlx, W(x, 1, RLX); W(y, 2, RLX))
BODY(ww1_rlx, W(y, 1, RLX); W(x, 2, RLX))
BODY(ww0_sc, W(x, 1, SC); W(y, 2, SC))
BODY(ww1_sc, W(y, 1, SC); W(x, 2, SC))
BODY(w1, W(x, 1, RLX))
BODY(w2, W(x, 2, RLX))
BODY(corr, r[0] = R(x, RLX); r[1] = R(x, RLX))
BODY(corr2, r[0] = R(x, RLX); r[1] = R(x, RLX); r[2] = R(x, RLX))
BODY(cowr, W(x, 1, RLX); r[0] = R(x, RLX))
BODY(corw, r[0] = R(x, RLX); W(x, 1, RLX))
BODY(wrc1_rel, r[0] = R(x, RLX); W(y, 1, REL))
BODY(wrc1_rlx, r[0] = R(x, RLX); W(y, 1, RLX))
BODY(wrc2_acq, r[1] = R(y, ACQ); r[2] = R(x, RLX))
BODY(wrc2_rlx, r[1] = R(y, RLX); r[2] = R(x, RLX))
BODY(rs_add, ADD(y, 2, RLX))
BODY(rs_store, W(y, 2, RLX))
BODY(add0, r[0] = ADD(x, 1, RLX))
BODY(add1, r[1] = ADD(x, 1, RLX))
BODY(add2, r[2] = ADD(x, 1, RLX))
BODY(cas0, r[0] = 0; atomic_compare_exchange_strong(&m->x, &r[0], 1))
BODY(cas1, r[1] = 0; atomic_compare_exchange_strong(&m->x, &r[1], 2))
BODY(casw0, r[0] = 0; CAS(x, &r[0], 1))
BODY(casw1, r[1] = 0; (void)R(x, ACQ); CAS(x, &r[1], 2))
BODY(r0_sc, W(x, 1, SC); W(y, 1, SC))
BODY(r1_sc, W(y, 2, SC); r[0] = R(x, SC))
BODY(r0_rlx, W(x, 1, RLX); W(y, 1, RLX))
BODY(r1_rlx, W(y, 2, RLX); r[0] = R(x, RLX))
BODY(s0, W(x, 2, RLX); W(y, 1, REL))
BODY(s1, r[0] = R(y, ACQ); W(x, 1, RLX))

#define IRIW_ALL                                                                \
	"0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1010 1011 1100 1101" \
	" 1110 1111"
#define IRIW_SC                                                                    \
	"0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 1100 1101 1110 1111"

const struct litmus litmus_tests[] = {
	{"SB", 2, 2, "", {sb0_rlx, sb1_rlx}, "00 01 10 11", NULL, NULL},
	{"SB+rel+acq", 2, 2, "", {sb0_ra, sb1_ra}, "00 01 10 11", NULL, NULL},
	{"SB+sc", 2, 2, "", {sb0_sc, sb1_sc}, "01 10 11", NULL, NULL},
	{"SB+fences", 2, 2, "", {sb0_f, sb1_f}, "01 10 11", NULL, NULL},
	{"SB+fence+sc", 2, 2, "", {sb0_f, sb1_sc}, "01 10 11", NULL, NULL},
	{"SB+rmw+acq", 2, 2, "", {sb0_rmw, sb1_rmw}, "00 01 10 11", NULL, NULL},
	{"SB+rmw+sc", 2, 2, "", {sb0_rmwsc, sb1_rmwsc}, "01 10 11", NULL, NULL},
	{"SB+rmw+sc+fence", 2, 2, "", {sb0_rmwsc, sb1_f}, "01 10 11", NULL, NULL},
	{"MP", 2, 2, "", {mp0_rlx, mp1_rlx}, "00 01 10 11", NULL, NULL},
	{"MP+rel", 2, 2, "", {mp0_rel, mp1_rlx}, "00 01 10 11", NULL, NULL},
	{"MP+acq", 2, 2, "", {mp0_rlx, mp1_acq}, "00 01 10 11", NULL, NULL},
	{"MP+rel+acq", 2, 2, "", {mp0_rel, mp1_acq}, "00 01 11", NULL, NULL},
	{"MP+fences", 2, 2, "", {mp0_f, mp1_f}, "00 01 11", NULL, NULL},
	{"MP+fence+acq", 2, 2, "", {mp0_f, mp1_acq}, "00 01 11", NULL, NULL},
	{"MP+rel+fence", 2, 2, "", {mp0_rel, mp1_f}, "00 01 11", NULL, NULL},
	{"MP+plain", 2, 2, "", {mp0_plain, mp1_plain}, "02 11", NULL, NULL},
	{"MP+plain+rlx", 2, 2, "", {mp0_racy, mp1_plain}, "", NULL, "data race"},
	{"LB", 2, 2, "", {lb0, lb1}, "00 01 10", "11", NULL},
	{"IRIW+rel+acq", 4, 4, "", {iriw0_rel, iriw1_rel, iriw2_acq, iriw3_acq}, IRIW_ALL, NULL,
	 NULL},
	{"IRIW+sc+acq", 4, 4, "", {iriw0_sc, iriw1_sc, iriw2_acq, iriw3_acq}, IRIW_ALL, NULL, NULL},
	{"IRIW+sc", 4, 4, "", {iriw0_sc, iriw1_sc, iriw2_sc, iriw3_sc}, IRIW_SC, NULL, NULL},
	{"IRIW+fences", 4, 4, "", {iriw0_rlx, iriw1_rlx, iriw2_f, iriw3_f}, IRIW_SC, NULL, NULL},
	{"2+2W", 2, 0, "xy", {ww0_rlx, ww1_rlx}, "12 21 22", "11", NULL},
	{"2+2W+sc", 2, 0, "xy", {ww0_sc, ww1_sc}, "12 21 22", NULL, NULL},
	{"R", 2, 1, "y", {r0_rlx, r1_rlx}, "01 02 11 12", NULL, NULL},
	{"R+sc", 2, 1, "y", {r0_sc, r1_sc}, "01 11 12", NULL, NULL},
	{"S+rel+acq", 2, 1, "x", {s0, s1}, "01 02 11", NULL, NULL},
	{"CoRR", 2, 2, "", {w1, corr}, "00 01 11", NULL, NULL},
	{"CoRR2", 3, 3, "", {w1, w2, corr2},
	 "000 001 002 011 012 021 022 111 112 122 211 221 222", NULL, NULL},
	{"CoWR", 2, 1, "x", {cowr, w2}, "11 12 22", NULL, NULL},
	{"CoRW", 2, 1, "x", {corw, w2}, "01 02 21", NULL, NULL},
	{"WRC", 3, 3, "", {w1, wrc1_rlx, wrc2_rlx}, "000 001 010 011 100 101 110 111", NULL, NULL},
	{"WRC+rel+acq", 3, 3, "", {w1, wrc1_rel, wrc2_acq}, "000 001 010 011 100 101 111", NULL,
	 NULL},
	{"RelSeq+rmw", 3, 2, "", {mp0_rel, rs_add, mp1_acq}, "00 01 11 20 21 31", NULL, NULL},
	{"RelSeq+store", 3, 2, "", {mp0_rel, rs_store, mp1_acq}, "00 01 11 20 21", NULL, NULL},
	{"RMW", 2, 2, "x", {add0, add1}, "012 102", NULL, NULL},
	{"RMW3", 3, 3, "x", {add0, add1, add2}, "0123 0213 1023 1203 2013 2103", NULL, NULL},
	{"CAS", 2, 2, "x", {cas0, cas1}, "011 202", NULL, NULL},
	{"CAS+acq", 2, 2, "x", {casw0, casw1}, "011 202", NULL, NULL},
};
const int litmus_count = sizeof(litmus_tests) / sizeof(litmus_tests[0]);
/* clang-format on */
