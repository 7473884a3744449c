# SPDX-License-Identifier: MIT OR Apache-2.0
# The environment matrix; see tests/env/README.md.
ENV_SRC = $(filter-out tests/env/alone_%,$(wildcard tests/env/*.c))
ENV_ALONE = $(patsubst tests/env/%.c,$(BUILD)/env/%,$(wildcard tests/env/alone_*.c))

$(BUILD)/env/env: $(ENV_SRC) tests/env/env.h $(BUILD)/libweir-run.a $(BUILD)/libweir.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/env $(BASE) -MF $@.d -DWEIR_TOOL='"$(BUILD)/weir"' -o $@ $(ENV_SRC) $(BUILD)/libweir-run.a $(BUILD)/libweir.a -luring -pthread
$(ENV_ALONE): $(BUILD)/env/%: tests/env/%.c $(BUILD)/libweir.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) -MF $@.d -o $@ $< $(BUILD)/libweir.a -pthread

env-check: $(BUILD)/env/env $(ENV_ALONE) $(BUILD)/weir ## what kernels, users and peers do to a process
	$(Q)for t in $(BUILD)/env/env $(ENV_ALONE); do $$t || printf '\n0 passed, 1 failed\n'; done | awk \
		'/^[0-9]+ passed, [0-9]+ failed$$/ {p += $$1; f += $$3; next} /^[0-9]+ skipped$$/ {s += $$1} {print} END {print "reached checks passed: " p+0; print "reached checks skipped: " s+0; print p+0 " passed, " f+0 " failed"; exit f > 0}'
instruments: $(BUILD)/env/env $(ENV_ALONE)
.PHONY: env-check instruments
