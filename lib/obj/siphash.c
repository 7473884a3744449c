/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SipHash-2-4, so that callers who choose their keys cannot choose collisions.
 *
 * Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF", Indocrypt 2012.
 */
#include "obj/limiter_math.h"

static uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static void sip_rounds(uint64_t v[4], int rounds)
{
	while (rounds-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotl(v[1], 13) ^ v[0];
		v[3] = rotl(v[3], 16) ^ v[2];
		v[0] = rotl(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotl(v[1], 17) ^ v[2];
		v[3] = rotl(v[3], 21) ^ v[0];
		v[2] = rotl(v[2], 32);
	}
}

uint64_t weir__siphash(const uint64_t key[2], const void *data, size_t bytes)
{
	uint64_t v[4] = {
		key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
		key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
	const uint8_t *p = data;
	uint64_t word;
	size_t left;

	for (left = bytes;; left -= 8, p += 8) {
		word = left < 8 ? (uint64_t)bytes << 56 : 0;
		for (size_t i = 0; i < (left < 8 ? left : 8); i++)
			word |= (uint64_t)p[i] << (8 * i);
		v[3] ^= word;
		sip_rounds(v, 2);
		v[0] ^= word;
		if (left < 8)
			break;
	}
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
