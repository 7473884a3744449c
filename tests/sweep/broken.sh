#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# broken.sh edits|run BUILD CC-FLAGS...: would the sweep notice?  The library with one fault: it loses, it
# doubles, it wedges, it goes on after a lost compare and swap; and without one (a blank more), which must
# pass.  edits: do they still apply?
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
build=$2
shift 2
flags=("$@")
passed=0
failed=0
fault() { # name, what the sweep must count, row, file, perl program over the whole file
	local dir=$build/sweep-broken/$1 out last found
	mkdir -p "$dir"
	perl -0pe "$5" "$4" >"$dir/it.c"
	if cmp -s "$4" "$dir/it.c"; then
		failed=$((failed + 1))
		echo "FAIL sweep fault $1: the edit did not apply to $4"
		return
	fi
	[ "$how" != edits ] || { passed=$((passed + 1)) && return; }
	cp "$build/libweir.a" "$dir/lib.a"
	ar d "$dir/lib.a" "$(basename "${4%.c}").o"
	if ! gcc "${flags[@]}" -w -Itests/sweep -static -pthread -Wl,-z,now -Wl,--wrap=pthread_key_create \
		-o "$dir/sweep" tests/sweep/*.c "$dir/it.c" "$dir/lib.a"; then
		failed=$((failed + 1))
		echo "FAIL sweep fault $1 does not compile"
		return
	fi
	out=$(timeout 120 "$dir/sweep" --snapshot --op "$3" --budget 20)
	last=$(tail -1 <<<"$out")
	found=$(sed -n "s/.* \([0-9]*\) $2.*/\1/p" <<<"$last")
	if [ "$2" = points ] && [[ $last == *" 0 lost, 0 doubled, 0 wedged" ]]; then
		passed=$((passed + 1))
	elif [ "$2" != points ] && [ "${found:-0}" -gt 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL sweep fault %s is not seen\n' "$1"
	fi
	printf '| %-9s | %-16s | %s |\n' "$1" "$3" "${last#sweep: snapshot: }"
	rm -rf "$dir"
}
q=lib/obj/queue_admin.c
c=lib/obj/queue_claim.c
r=lib/obj/sem_recover.c
# shellcheck disable=SC2016 # The dollars are perl's.
{
	fault none points sem_release $r 's/(#include "obj\/sem_word.h")/$1 /'
	fault loses lost sem_acquire $r 's/if \(!weir__sem_view\(victim->seg, object, &v\)/if (victim || !weir__sem_view(victim->seg, object, \&v)/'
	fault doubles doubled sem_release $r 's/if \(weir__seq_diff\(weir__sem_latest\(v, word, victim->thread, 0\), seq\) >= 0\)\s*return true;//'
	fault retries lost sem_try_acquire lib/obj/sem.c 's/(static int take_lost.*?take_on\(v, self, )weight/$1 2 * weight/s'
	fault halves lost sem_release lib/obj/sem.c 's/(fast == LOST\).*?give_on\(v, \(uint32_t\)self, )weight/$1 weight - 1/s'
	fault free doubled limiter_allow lib/obj/limiter.c 's/if (\(weir_cas_full\(&limiter->shm->tat, &tat, now \+ next\)\))\s*return 0;/$1; return 0;/'
	fault claims lost queue_send_lost $c 's/continue;(\s*WEIR_CRASH_POINT\(queue_send_claimed\))/;$1/'
	fault takes doubled queue_recv_lost $c 's/continue;(\s*WEIR_CRASH_POINT\(queue_receive_claimed\))/;$1/'
	fault again lost queue_put_back_lost $c 's/if \((weir_cas_full\(&v->shm->first, &first, next\))\)\s*return;/$1; return;/'
	fault flag wedged sem_start_lost lib/obj/sem.c 's/while (\(!weir_sem_word_wait\(word\) &&)/if $1/'
	fault probe doubled breaker_allow lib/obj/breaker.c 's/if \((change\([^;{]*set_left\(word, left - 1\)\))\) \{/if ($1, 1) {/'
	fault force lost breaker_force lib/obj/breaker.c 's/while \(!change\(\s*breaker->seg/if (!change(breaker->seg/'
	fault publish doubled object_create lib/seg/directory.c 's/if \((weir_cas_full\(&seg->dir\[index\], &unused,.*?seg->base\)\))\) \{/if ($1, 1) {/s'
	fault wedges wedged queue_send $q 's/(static void skip\([^{]*\{)/$1\n\tif (victim)\n\t\treturn;/'
}
[ "$how" = edits ] || echo "reached faults seen by the sweep: $((passed > 0 ? passed - 1 : 0))"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
