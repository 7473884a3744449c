# SPDX-License-Identifier: MIT OR Apache-2.0
# make bench: weir beside its peers, see docs/BENCH.md.  Peers that are not installed are left out.
# The library is compiled into each program with link-time optimisation; bench_sem measures
# libweir.so as well.
# Across files gcc cannot see that a result is set when 0 is returned.
BENCH_FLAGS = $(BASE) -flto=auto -Wno-maybe-uninitialized -pthread
BENCH_LTO = $(patsubst %.c,$(BUILD)/bench/lto/%.o,$(LIB_SRC) bench/bench.c bench/table.c) \
	$(BUILD)/bench/lto/layout_tables.o
have = $(shell pkg-config --exists $(1) 2>/dev/null && echo 1)

ifeq ($(call have,hiredis),1)
BENCH_REDIS_SRC = bench/peer_redis.c
BENCH_REDIS_FLAGS = -DBENCH_REDIS $(shell pkg-config --cflags-only-I hiredis)
BENCH_REDIS_LIBS = $(shell pkg-config --libs hiredis)
endif
ifeq ($(call have,ck),1)
BENCH_PEERS += $(BUILD)/bench/peer_ck.o
BENCH_PEER_FLAGS += -DBENCH_CK
endif
ifeq ($(call have,libdpdk),1)
BENCH_PEERS += $(BUILD)/bench/peer_rte.o
BENCH_PEER_FLAGS += -DBENCH_RTE
BENCH_PEER_LIBS += -lrte_ring -lrte_eal
endif
ifneq ($(wildcard /usr/include/boost/lockfree/queue.hpp /usr/local/include/boost/lockfree/queue.hpp),)
BENCH_PEERS += $(BUILD)/bench/peer_boost.o
BENCH_PEER_FLAGS += -DBENCH_BOOST
BENCH_PEER_LIBS += -lstdc++ -lrt
endif

bench: $(BENCHES) $(BUILD)/libweir.so.$(SOVERSION) ## weir beside its peers, under 4 minutes
	$(Q)for b in $(BENCHES); do $$b || exit 1; done

BENCH_DEFINES = -DBENCH_DIR='"$(BUILD)/bench"' -DBENCH_SO='"$(BUILD)/libweir.so"'
BENCH_LINK = $(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(BENCH_FLAGS) $(BENCH_DEFINES) -MF $@.d -o $@

$(BUILD)/bench/lto/layout_tables.o: $(GEN)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BENCH_FLAGS) -c -o $@ $<
$(BUILD)/bench/lto/%.o: %.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BENCH_FLAGS) $(BENCH_DEFINES) -c -o $@ $<
$(BUILD)/bench/bench_%: bench/bench_%.c $(BENCH_LTO)
	$(call say,LD,$@)
	$(BENCH_LINK) $(filter %.c %.o,$^) -lm
$(BUILD)/bench/bench_limiter: bench/bench_limiter.c $(BENCH_REDIS_SRC) $(BENCH_LTO)
	$(call say,LD,$@)
	$(BENCH_LINK) $(BENCH_REDIS_FLAGS) $(filter %.c %.o,$^) $(BENCH_REDIS_LIBS) -lm
$(BUILD)/bench/bench_queue: bench/bench_queue.c $(BENCH_LTO) $(BENCH_PEERS)
	$(call say,LD,$@)
	$(BENCH_LINK) $(BENCH_PEER_FLAGS) $(filter %.c %.o,$^) $(BENCH_PEER_LIBS) -lm
-include $(BENCH_LTO:.o=.d) $(BENCHES:=.d)

# Their headers are not written for our warnings.
$(BUILD)/bench/peer_ck.o: bench/peer_ck.c bench/bench_queue.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -g $(OPT) -Wall -Wextra -c -o $@ $<
$(BUILD)/bench/peer_rte.o: bench/peer_rte.c bench/bench_queue.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -g $(OPT) -Wall $(shell pkg-config --cflags libdpdk) -c -o $@ $<
$(BUILD)/bench/peer_boost.o: bench/peer_boost.cc bench/bench_queue.h
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) -std=gnu++14 -g $(OPT) -Wall -c -o $@ $<
