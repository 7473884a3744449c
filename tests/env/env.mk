# SPDX-License-Identifier: MIT OR Apache-2.0
# The environment matrix; see tests/env/README.md.
ENV_SRC = $(filter-out tests/env/open_%,$(wildcard tests/env/*.c))
ENV_OPEN = $(patsubst tests/env/%.c,$(BUILD)/env/%,$(wildcard tests/env/open_*.c))

$(BUILD)/env/env: $(ENV_SRC) tests/env/env.h $(BUILD)/libweir-run.a $(BUILD)/libweir.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/env $(BASE) -MF $@.d -DWEIR_TOOL='"$(BUILD)/weir"' -o $@ $(ENV_SRC) $(BUILD)/libweir-run.a $(BUILD)/libweir.a -luring -pthread
$(BUILD)/env/open_%: tests/env/open_%.c $(BUILD)/libweir.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) -MF $@.d -o $@ $< $(BUILD)/libweir.a -pthread

env-check: $(BUILD)/env/env $(BUILD)/weir ## what kernels, users and peers do to a process
	$(Q)$(BUILD)/env/env
env-open: $(ENV_OPEN) # tests that fail today
	$(Q)for t in $^; do $$t; done
.PHONY: env-check env-open
