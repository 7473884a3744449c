# SPDX-License-Identifier: MIT OR Apache-2.0
# Thread twins under ThreadSanitizer; see tests/tsan/README.md.
# gcc says that it does not know fences there (-Wtsan); the README says what follows from it.
TSAN_SRC = $(wildcard tests/tsan/*.c)
TSAN_GCC = -fsanitize=thread -Wno-tsan
TSAN_CLANG = -fsanitize=thread

define tsan_program # target, folder, compiler, flags
$(1): $(TSAN_SRC) tests/tsan/twins.h $(LIB_SRC) $(GEN)
	$(Q)$(MAKE) --no-print-directory BUILD=$(2) CC=$(3) OPT=-O1 EXTRA='$(4)' $(2)/libweir.a
	$(call say,LD,$$@)
	$(Q)$(3) $$(CPPFLAGS) -I$(2)/gen -Itests/tsan $$(BASE) $(4) -MF $$@.d -o $$@ $(TSAN_SRC) $(2)/libweir.a -pthread
endef
$(eval $(call tsan_program,$(BUILD)/twins,$(BUILD)/tsan,$(CC),$(TSAN_GCC)))
$(eval $(call tsan_program,$(BUILD)/twins-clang,$(BUILD)/tsan-clang,$(CLANG),$(TSAN_CLANG)))

tsan: $(BUILD)/twins $(BUILD)/twins-clang ## threads in the place of processes, under ThreadSanitizer
	$(Q)tests/tsan/run.sh 5 $^
tsan-check: $(BUILD)/twins ## once, with gcc
	$(Q)tests/tsan/run.sh 1 $^
instruments: $(BUILD)/twins $(BUILD)/twins-clang
.PHONY: tsan tsan-check instruments
