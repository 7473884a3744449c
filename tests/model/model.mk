# SPDX-License-Identifier: MIT OR Apache-2.0
# The model checker; see tests/model/README.md.  The library's sources are compiled unchanged, with
# -fsanitize=thread, and linked with our runtime instead of libtsan and instead of lib/os/.
MODEL = $(BUILD)/model
MODEL_LIB := $(wildcard lib/seg/*.c lib/sync/*.c lib/obj/*.c lib/meta/*.c)
MODEL_LIB_OBJ := $(MODEL_LIB:%.c=$(MODEL)/%.o) $(MODEL)/layout_tables.o
MODEL_CORE_OBJ := $(patsubst tests/model/%.c,$(MODEL)/%.o,\
	$(filter-out tests/model/litmus_hw.c tests/model/litmus_tests.c,$(wildcard tests/model/*.c)))
MODEL_TEST_OBJ := $(MODEL)/litmus_tests.o \
	$(patsubst tests/model/models/%.c,$(MODEL)/models/%.o,$(wildcard tests/model/models/*.c))
# What a history is and whether it is linearizable: models/lin.c.
MODEL_LIN_OBJ := $(patsubst %,$(MODEL)/%.o,check spec_queue spec_sem spec_limiter spec_directory)
MODEL_FLAGS = $(CPPFLAGS) -Itests/model $(filter-out $(OPT),$(BASE))

$(MODEL)/lib/%.o: lib/%.c tests/model/relax.h tests/model/seam.syms | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(MODEL_FLAGS) -O1 -Wno-tsan -DWEIR_CRASH -fsanitize=thread -Wno-tsan -include tests/model/relax.h -c -o $@ $<
	$(Q)objcopy --redefine-syms=tests/model/seam.syms $@
$(MODEL)/layout_tables.o: $(GEN)
	@mkdir -p $(@D)
	$(Q)gcc $(MODEL_FLAGS) -O1 -c -o $@ $<
$(MODEL_TEST_OBJ): $(MODEL)/%.o: tests/model/%.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(MODEL_FLAGS) -O1 -fsanitize=thread -Wno-tsan -include tests/model/relax.h -c -o $@ $<
	$(Q)objcopy --redefine-syms=tests/model/seam.syms $@
$(MODEL_CORE_OBJ): $(MODEL)/%.o: tests/model/%.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(MODEL_FLAGS) -O2 -flto -c -o $@ $<
$(MODEL_LIN_OBJ): $(MODEL)/%.o: tests/lin/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(MODEL_FLAGS) -O2 -c -o $@ $<
# One object, optimised as a whole: the search is as fast as this is.
$(MODEL)/core.o: $(MODEL_CORE_OBJ)
	$(Q)gcc -O2 -flto -flto-partition=none -r -flinker-output=nolto-rel -o $@ $^
$(MODEL)/model: $(MODEL)/core.o $(MODEL_TEST_OBJ) $(MODEL_LIB_OBJ) $(MODEL_LIN_OBJ)
	$(call say,LD,$@)
	$(Q)gcc -o $@ $^
-include $(MODEL_LIB_OBJ:.o=.d) $(MODEL_CORE_OBJ:.o=.d) $(MODEL_TEST_OBJ:.o=.d) $(MODEL_LIN_OBJ:.o=.d)

$(BUILD)/litmus-hw: tests/model/litmus_hw.c tests/model/litmus_tests.c tests/model/litmus.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/model $(BASE) -MF $@.d -o $@ $(filter %.c,$^)

model: $(MODEL)/model $(BUILD)/litmus-hw ## every order, every crash point: the model checker, in full
	$(Q)tests/model/run.sh $(HOW) $(BUILD)
model-check: $(MODEL)/model $(BUILD)/litmus-hw ## a sample of it
	$(Q)tests/model/run.sh sample $(BUILD)
instruments: $(MODEL)/model $(BUILD)/litmus-hw
.PHONY: model model-check instruments
