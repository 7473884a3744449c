# SPDX-License-Identifier: MIT OR Apache-2.0
# Linearizability; see tests/lin/README.md.
LIN_SRC = $(addprefix tests/lin/,main.c check.c act.c world.c procs.c spec_queue.c spec_sem.c spec_limiter.c spec_directory.c)
# The library with a call at each shared access, and with a kernel that the scheduler can play.
LIN_RENAMED = memcpy malloc calloc free fcntl syscall getpid
LIN_HOOKS = -fsanitize=thread -Wno-tsan --param tsan-instrument-func-entry-exit=0 $(foreach f,$(LIN_RENAMED),-D$(f)=lin_$(f))
LIN_OBJ = $(LIB_SRC:lib/%.c=$(BUILD)/lin/lib/%.o)

$(BUILD)/lin/lib/%.o: lib/%.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(CPPFLAGS) $(BASE) -ftls-model=initial-exec $(LIN_HOOKS) -c -o $@ $<
$(BUILD)/lin/walk.a: $(LIN_OBJ) $(BUILD)/gen/layout_tables.o
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
LIN_WALK_OBJ = $(patsubst tests/lin/%.c,$(BUILD)/lin/harness/%.o,$(LIN_SRC) tests/lin/walk.c tests/lin/hooks.c)
LIN_STEP_OBJ = $(patsubst tests/lin/%.c,$(BUILD)/lin/shipped/%.o,$(LIN_SRC) tests/lin/step.c)
$(BUILD)/lin/harness/%.o: tests/lin/%.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(CPPFLAGS) $(BASE) -DLIN_WALK -DLIN_MODE='"walk"' -c -o $@ $<
$(BUILD)/lin/shipped/%.o: tests/lin/%.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) -DLIN_STEP -DLIN_MODE='"step"' -c -o $@ $<
$(BUILD)/lin/lin: $(LIN_WALK_OBJ) $(BUILD)/lin/walk.a
	$(call say,LD,$@)
	$(Q)gcc -static -pthread -o $@ $^
$(BUILD)/lin/step: $(LIN_STEP_OBJ) $(BUILD)/libweir.a
	$(call say,LD,$@)
	$(Q)$(CC) -static -pthread -o $@ $^
-include $(LIN_OBJ:.o=.d) $(LIN_WALK_OBJ:.o=.d) $(LIN_STEP_OBJ:.o=.d)

# Each fault is a program of its own: the harness with one file of the library edited.
$(BUILD)/lin/broken/.stamp: tests/lin/broken.sh $(BUILD)/lin/lin
	$(call say,BREAK,$@)
	$(Q)tests/lin/broken.sh build $(BUILD) $(CPPFLAGS) $(BASE) -ftls-model=initial-exec $(LIN_HOOKS) && touch $@

lin: $(BUILD)/lin/lin $(BUILD)/lin/step $(BUILD)/lin/broken/.stamp ## are histories linearizable?  LIN_BUDGET seconds
	$(Q)tests/lin/run.sh $(HOW) $(BUILD)
lin-check: $(BUILD)/lin/lin $(BUILD)/lin/step $(BUILD)/lin/broken/.stamp ## a sample of it
	$(Q)tests/lin/run.sh sample $(BUILD)
instruments: $(BUILD)/lin/lin $(BUILD)/lin/step $(BUILD)/lin/broken/.stamp
.PHONY: lin lin-check instruments
