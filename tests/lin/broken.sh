#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# broken.sh edits|build|run BUILD CC-FLAGS...: would the checker notice?  edits: do they still apply?  Each row breaks the library (a
# copy of one file, one edit) or the harness, and must be found.  Prints a table; the last line counts.
# shellcheck disable=SC2016 # The dollars are perl's.
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
build=$2
shift 2
passed=0
failed=0
row() { # what, profile, crash, program, arguments
	local what=$1 profile=$2 crash=$3 out n
	shift 3
	[ "$how" = run ] || return 0
	out=$(timeout 60 "$@" --first --profile "$profile" --crash "$crash" --seconds "${LIN_BROKEN_SECONDS:-5}" 2>&1 | tail -1)
	n=$(printf '%s\n' "$out" | sed -n 's/.*: *\([0-9]*\) histories.*/\1/p')
	if [ "$what" = "$control" ]; then
		case $out in
		*" 0 failed") passed=$((passed + 1)) n="nothing in $n, rightly" ;;
		*) failed=$((failed + 1)) n="**failed**: $out" ;;
		esac
		printf '| %-58s | %-10s | %3s | %s |\n' "$what" "$profile" "$crash" "$n"
		return
	fi
	case $out in
	*" 0 failed") failed=$((failed + 1)) n="**not found** in $n" ;;
	"lin: broken: "* | *" histories, "*" failed") passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) n="no answer: $out" ;;
	esac
	printf '| %-58s | %-10s | %3s | %s |\n' "$what" "$profile" "$crash" "${n:-at once}"
}
# An edit of one library file, as a program of its own.
mutant() { # what, profile, crash, file, name, perl program over the whole file
	local dir=$build/lin/broken/$5 object
	mkdir -p "$dir"
	perl -0pe "$6" "$4" >"$dir/new.c"
	if cmp -s "$4" "$dir/new.c"; then
		failed=$((failed + 1))
		printf '| %-58s | the edit did not apply to %s |\n' "$1" "$4"
		return 1
	fi
	[ "$how" != edits ] || { passed=$((passed + 1)) && return; }
	if [ "$how" = build ] && { ! [ -x "$dir/lin" ] || ! cmp -s "$dir/new.c" "$dir/it.c" || [ "$build/lin/lin" -nt "$dir/lin" ]; }; then
		cp "$dir/new.c" "$dir/it.c"
		object=${4#lib/}
		gcc "${flags[@]}" -w -g0 -c -o "$dir/it.o" "$dir/it.c" || {
			failed=$((failed + 1))
			rm -f "$dir/lin" "$dir/it.c"
			return
		}
		cp "$build/lin/walk.a" "$dir/walk.a"
		ar d "$dir/walk.a" "$(basename "${object%.c}").o"
		gcc -static -pthread -o "$dir/lin" "$build"/lin/harness/*.o "$dir/it.o" "$dir/walk.a" || {
			failed=$((failed + 1))
			rm -f "$dir/lin" "$dir/it.c"
			return
		}
	fi
	row "$1" "$2" "$3" "$dir/lin"
}
flags=("$@")
lin=$build/lin/lin
[ "$how" = build ] || echo "| fault | profile | deaths % | found after histories |"
[ "$how" = build ] || echo "|---|---|---|---|"
control="control: an edit that changes nothing"
q=lib/obj/queue.c
c=lib/obj/queue_claim.c
LIN_BROKEN_SECONDS=0.5 mutant "$control" queue 80 $q control 's/many receivers/many  receivers/'
mutant "receive: a store instead of the CAS of the claim" queue 0 $c receive 's/!weir_cas_full\(weir__take_at\(v, pos\), &take, claim\)/(weir_store_full(weir__take_at(v, pos), claim), 0)/'
mutant "send: a store instead of the CAS of the claim" queue 0 $c send 's/!weir_cas_full\(weir__send_at\(v, pos\), &word,\s*(weir__send_make\(WEIR_QUEUE_SEND_STATE_CLAIMED, self,\s*weir__lap\(v, pos\)\))\)/(weir_store_full(weir__send_at(v, pos), $1), 0)/'
mutant "send: full before the bytes are there" queue 0 $q early 's/(copy\(\(uint8_t \*\)slot \+ v->data, data, bytes\);)(.*?)(commit\(v, slot, pos, bytes\);)/$2$3$1/s'
mutant "send: room is not looked for" queue 0 $c room-for 's/weir__unlikely\(!has_room\(v, pos\)\)/0/'
mutant "put_back: first is not pulled back" queue-loan 0 $q pull 's/weir__queue_pull_back\(v, pos\);//'
mutant "pull_back: no new tag, and no look back" queue-loan 0 $c tag 's/weir_queue_first_tag\(first\) \+ 1/weir_queue_first_tag(first)/; s/if \(weir__unlikely\(weir__queue_waits\(v, pos\)\)\)/if (0)/'
mutant "shutdown: receivers do not seal" queue 0 $c seal 's/(static int ended.*?if \(ahead >= 0\)\s*return -EAGAIN;[^\n]*)/$1\n\treturn -ESHUTDOWN;/s'
mutant "receive: copied out after the slot was given up" queue 0 $q late 's/(copy\(data, \(uint8_t \*\)slot \+ v->data, bytes\);)(.*?)(retire\(v, pos\);)/$2$3$1/s'
mutant "wake: nobody is woken after a commit" queue-wait 0 $q wake 's/(finish\(&v->shm->tail, pos\);\s*)weir__waitq_wake\(&v->shm->not_empty\);/$1/'
s=lib/obj/sem.c
mutant "acquire: room is looked at before the retry only" sem 0 $s room 's/(static int take_on\([^{]*\{)(.*?)too_few\(/$1 bool first = true;$2first \&\& !(first = false) \&\& too_few(/s'
mutant "acquire: one permit too many" sem 0 $s cap 's/(COUNT_BITS\) \+ weight <= weir_load_acquire\(&v->shm->cap\))\)/$1 + 1)/'
mutant "acquire: refused by a number of permits from another moment" sem-resize 0 $s moment 's/while \(\*word != seen\)/while (0)/'
mutant "acquire, fast: a lost CAS counts as taken" sem 0 $s lost 's/return LOST;/return DONE;/'
mutant "acquire: the last author is not told" sem 80 $s ack 's/if \(by_another\(word, self\)\) \{[^}]*\}//g; s/static inline bool by_another/__attribute__((unused)) $&/'
mutant "stop: a grant on its way is forgotten" sem-line 0 $s stop 's/if \(won\) \{/if (0) {/'
mutant "release: nobody in the line is served" sem-wait 0 $s serve 's/if \(weir__unlikely\(weir_sem_word_wait\(word\)\)\)\s*weir__sem_grant\(v\);//'
mutant "start: not flagged after it joined" sem-wait 0 $s flag 's/while \(!weir_sem_word_wait\(word\) &&\s*!weir_cas_full\(&v->shm->word, &word, weir_sem_word_set_wait\(word, 1\)\)\)\s*weir_relax\(\);//'
mutant "resize: who looked before may go by the old number" sem-resize 0 $s cap2 's/give_on\(v, self, 0, ledger, [^;]*;/(void)give_on;/'
l=lib/obj/limiter.c
mutant "limiter: a store instead of the CAS" limiter 0 $l cas 's/if \(weir_cas_full\(&limiter->shm->tat, &tat, now \+ next\)\)\s*return 0;/weir_store_full(\&limiter->shm->tat, now + next); return 0;/'
mutant "refund: fuller than full" limiter 0 $l refund 's/if \(ahead == 0\)\s*return 0;//; s/now \+ weir__gcra_give\(&limiter->conf.gcra, ahead, cost\)/now + ahead - cost * limiter->conf.gcra.interval/'
mutant "keyed: a store instead of the CAS" keyed 0 $l keyed 's/weir_cas_full\(&set->entry\[index\], &view.word\[index\], word\) &&/(weir_store_full(\&set->entry[index], word), 1) \&\&/'
d=lib/seg/directory.c
mutant "directory: published by a store" directory 0 $d publish 's/if \(weir_cas_full\(&seg->dir\[index\], &unused,\s*(\(uint64_t\)\(\(uint8_t \*\)mine - seg->base\))\)\)/(void)unused; weir_store_full(\&seg->dir[index], $1); if (1)/'
mutant "directory: published before it is whole" directory 0 $d whole 's/(\n\tplan->init\(seg, o, plan->opts\);)/\n\tweir__arena_settle(o, WEIR_OBJECT_BLOCK_READY);$1/; s/plan->init\(seg, o, plan->opts\);//; s/(WEIR_CRASH_POINT\(object_published\);)/plan->init(seg, mine, plan->opts);$1/'
mutant "unlink: without looking who is there" directory 0 $d unlink 's/if \(!weir_cas_full\(&seg->dir\[index\], &off, TOMBSTONE\)\)\s*return -ENOENT;/weir_store_full(\&seg->dir[index], TOMBSTONE);/'
a=lib/obj/queue_admin.c
mutant "recovery: the dead one's message is dropped" queue-loan 80 $a drop 's/bool drop = .*?;/bool drop = true;/'
mutant "recovery: tries are not counted" queue-loan 80 $a tries 's/weir_queue_take_word_tries\(take\) \+ 1/weir_queue_take_word_tries(take)/'
mutant "recovery: a half-written message is called sent" queue 80 $a half 's/(static void skip.*?)WEIR_QUEUE_SLOT_STATE_VOID/$1WEIR_QUEUE_SLOT_STATE_FULL/s'
mutant "recovery: first is not pulled back" queue 80 $a first 's/\n\tfind_first\(&v\);//'
r=lib/obj/sem_recover.c
mutant "recovery: nothing is given back" sem-line 80 $r nothing 's/if \(!weir__sem_view\(victim->seg, object, &v\)/if (victim || !weir__sem_view(victim->seg, object, \&v)/'
row "recovery: nothing is given back" sem 80 "$build/lin/broken/nothing/lin"
mutant "recovery: an open acquire counts as done" sem 80 $r open 's/took_effect\(v, victim->thread, seq\)\s*\? hold\s*: weir__sem_hold_sub\(hold, amount\)/(took_effect(v, victim->thread, seq), hold)/'
mutant "recovery: an open acquire counts as not done" sem 80 $r undone 's/took_effect\(v, victim->thread, seq\)\s*\? hold\s*: (weir__sem_hold_sub\(hold, amount\))/(took_effect(v, victim->thread, seq), $1)/'
mutant "recovery: a grant to the dead is not absorbed" sem-line 80 $r absorb 's/!absorb_for\(victim, v, cell\)/0/'
mutant "recovery: a release is done twice" sem 80 $r twice 's/if \(weir__seq_diff\(weir__sem_latest\(v, word, victim->thread, 0\), seq\) >= 0\)\s*return true;//'
row "harness: the specification is last in, first out" queue 0 "$lin" --broken lifo
row "harness: one message in 1,000 is lost" queue 0 "$lin" --broken loses
row "harness: one message in 100 is sent twice" queue 0 "$lin" --broken doubles
row "harness: one send in 100 answers before it is done" queue 0 "$lin" --broken early
row "harness: the specification has one permit less" sem 0 "$lin" --broken one-more
row "harness: one refusal in 100 is called an admission" limiter 0 "$lin" --broken generous
[ "$how" = build ] || echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
