# SPDX-License-Identifier: MIT OR Apache-2.0
# The kill table of the peers; see docs/KILLS.md.  Peers that are not installed are left out, by name.
KILL_OBJ = $(addprefix $(BUILD)/kill/,kill.o peer_weir.o peer_posix.o peer_control.o)
ifneq ($(wildcard /usr/include/ck_ring.h /usr/local/include/ck_ring.h),)
KILL_OBJ += $(BUILD)/kill/peer_ck.o
KILL_FLAGS += -DKILL_CK
endif
ifneq ($(wildcard /usr/include/boost/lockfree/queue.hpp /usr/local/include/boost/lockfree/queue.hpp),)
KILL_OBJ += $(BUILD)/kill/peer_boost.o
KILL_FLAGS += -DKILL_BOOST
endif

$(BUILD)/kill/%.o: tests/kill/%.c tests/kill/kill.h | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) $(KILL_FLAGS) -c -o $@ $<
# It has those peers that there were when it was made.
$(BUILD)/kill/kill.o: $(filter %peer_ck.o %peer_boost.o,$(KILL_OBJ))
# Its headers are not written for our warnings.
$(BUILD)/kill/peer_ck.o: tests/kill/peer_ck.c tests/kill/kill.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -g $(OPT) -Wall -Wextra -c -o $@ $<
$(BUILD)/kill/peer_boost.o: tests/kill/peer_boost.cc tests/kill/kill.h
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) -std=gnu++14 -D_GNU_SOURCE -g $(OPT) -Wall -c -o $@ $<
# Static, so that an operation is not preceded by a look for its symbols.
$(BUILD)/kill/kill: $(KILL_OBJ) $(BUILD)/libweir.a
	$(call say,LD,$@)
	$(Q)$(if $(filter %peer_boost.o,$(KILL_OBJ)),$(CXX),$(CC)) -static -pthread -o $@ $^

kill-table: $(BUILD)/kill/kill ## kill ours and the peers at each instruction
	$(Q)$<
kill-check: $(BUILD)/kill/kill ## a sample of ours, and three queues whose faults must be seen
	$(Q)KILL_POINTS=25 $< --check
instruments: $(BUILD)/kill/kill
.PHONY: kill-table kill-check instruments
