# SPDX-License-Identifier: MIT OR Apache-2.0
# The kill sweep, with the library built by gcc and by clang; see tests/sweep/README.md.
SWEEP_SRC = $(wildcard tests/sweep/*.c)
SWEEP_FLAGS = $(BASE) -static -pthread -Wl,-z,now -Wl,--wrap=pthread_key_create

$(BUILD)/sweep: $(SWEEP_SRC) tests/sweep/sweep.h $(BUILD)/libweir.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/sweep $(SWEEP_FLAGS) -MF $@.d -o $@ $(SWEEP_SRC) $(BUILD)/libweir.a
$(BUILD)/sweep-clang: $(SWEEP_SRC) tests/sweep/sweep.h $(LIB_SRC) $(wildcard lib/*/*.h lib/include/weir/*.h) $(GEN)
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/clang CC=$(CLANG) $(BUILD)/clang/libweir.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/sweep $(SWEEP_FLAGS) -MF $@.d -o $@ $(SWEEP_SRC) $(BUILD)/clang/libweir.a

sweep: $(BUILD)/sweep $(BUILD)/sweep-clang ## kill at every instruction of every operation
	$(Q)tests/sweep/broken.sh run $(BUILD) $(CPPFLAGS) $(BASE)
	$(Q)tests/sweep/run.sh $(HOW) $^
sweep-check: $(BUILD)/sweep ## a sample of it
	$(Q)tests/sweep/run.sh sample $^
instruments: $(BUILD)/sweep $(BUILD)/sweep-clang
.PHONY: sweep-check instruments
