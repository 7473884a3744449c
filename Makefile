# weir: make, make check, make demo, make bench, make install DESTDIR= PREFIX=.  V=1 shows commands.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
BUILD ?= build
CC = gcc
CLANG ?= clang
OPT ?= -O2
VERSION := $(shell sed -n 's,.*define WEIR_VERSION *"\(.*\)".*,\1,p' lib/include/weir/base.h)
SOVERSION := 0
# Of the instruments in tests/: full, or timed for SECONDS_TO_USE.
HOW ?= full
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

WARN = -Wall -Wextra -Wshadow -Wconversion -Werror
CPPFLAGS += -D_GNU_SOURCE -Ilib -Ilib/include -I$(BUILD)/gen
BASE = -std=c11 -g $(OPT) $(WARN) -MMD -MP $(EXTRA)
# initial-exec: the thread-local cache of who we are costs one load, also in the shared library.
LIBFLAGS = $(BASE) -fPIC -fvisibility=hidden -ftls-model=initial-exec -pthread

LAYOUTS := $(wildcard shm-layouts/*.json)
LAYOUTS := $(filter-out %.schema.json,$(LAYOUTS))
GEN = $(BUILD)/gen/layout_tables.c
LIB_SRC := $(wildcard lib/os/*.c lib/seg/*.c lib/sync/*.c lib/obj/*.c lib/meta/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o) $(BUILD)/gen/layout_tables.o
RUN_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard lib/run/*.c))
TOOL_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/*.c))
EXAMPLES := $(patsubst examples/%/,$(BUILD)/example-%,$(sort $(dir $(wildcard examples/*/*.c))))
UNIT_SRC := $(wildcard tests/unit/*.c)
UNITS := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
REGRESS := $(patsubst tests/regress/%.c,$(BUILD)/regress/%,$(wildcard tests/regress/*.c))
BENCHES := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/bench_*.c))
MAN3 := base segment sem limiter breaker queue span ctx layout run
BPF_SKEL := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.skel.h,$(wildcard bpf/*.bpf.c))
LIBS = $(BUILD)/libweir.a $(BUILD)/libweir.so.$(SOVERSION) $(BUILD)/libweir-run.a $(BUILD)/libweir-run.so.$(SOVERSION)

.PHONY: all edges lib tools examples deps check ci prove demo bench tidy format install clean help
.DELETE_ON_ERROR:
.SECONDARY:
all: lib tools examples
lib: $(LIBS)
tools: $(if $(TOOL_OBJ),$(BUILD)/weir)
examples: $(EXAMPLES)

help:
	@sed -n '1p' Makefile; grep -hE '^[a-z-]+:.*##' Makefile tests/*/*.mk bench/bench.mk | sed 's/:.*##/:/'

# --- generated layouts
$(BUILD)/layoutgen: $(wildcard shm-layouts/gen/*.[ch])
	@mkdir -p $(@D)
	$(call say,HOSTCC,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARN) -o $@ $(filter %.c,$^) -ljansson
$(BUILD)/gen/.stamp: $(BUILD)/layoutgen $(LAYOUTS)
	$(call say,GEN,$(BUILD)/gen)
	$(Q)$(BUILD)/layoutgen $(BUILD)/gen $(LAYOUTS) && touch $@
$(GEN): $(BUILD)/gen/.stamp ;

# --- library
$(BUILD)/gen/layout_tables.o: $(GEN)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(LIBFLAGS) -c -o $@ $<
$(BUILD)/lib/%.o: lib/%.c | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(LIBFLAGS) -c -o $@ $<
$(BUILD)/libweir.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/libweir-run.a: $(RUN_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/libweir.so.$(SOVERSION): $(LIB_OBJ) lib/weir.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ -Wl,-soname,$(@F) -Wl,--version-script,lib/weir.map -Wl,-z,defs $(LIB_OBJ) -pthread
	$(Q)ln -sf $(@F) $(BUILD)/libweir.so
$(BUILD)/libweir-run.so.$(SOVERSION): $(RUN_OBJ) $(BUILD)/libweir.so.$(SOVERSION)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ -Wl,-soname,$(@F) -Wl,-z,defs $(RUN_OBJ) -L$(BUILD) -lweir -luring -pthread
	$(Q)ln -sf $(@F) $(BUILD)/libweir-run.so

# --- eBPF
$(BUILD)/bpf/%.skel.h: bpf/%.bpf.c $(wildcard bpf/*.h) $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) -target bpf -D__TARGET_ARCH_x86 -O2 -g -Wall -Werror -Ibpf -Ilib/include -I$(BUILD)/gen \
		-I/usr/include/$(shell $(CC) -print-multiarch) -c -o $(@:.skel.h=.o) $<
	$(Q)bpftool gen skeleton $(@:.skel.h=.o) name $(*F)_bpf > $@

# --- tools, examples, tests
$(BUILD)/tools/%.o: tools/%.c $(BPF_SKEL) | $(BUILD)/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -I$(BUILD) $(BASE) -c -o $@ $<
$(BUILD)/weir: $(TOOL_OBJ) $(BUILD)/libweir.a
	$(call say,LD,$@)
	$(Q)$(CC) $(EXTRA) -o $@ $^ -ljansson -lsmartcols -lbpf -lelf -lz -pthread
.SECONDEXPANSION:
$(EXAMPLES): $(BUILD)/example-%: $$(wildcard examples/%/*.c examples/%/*.h) $(BUILD)/libweir-run.a $(BUILD)/libweir.a
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) -MF $@.d -o $@ $(filter %.c %.a,$^) -luring -lhttp_parser -pthread
# What the compiler makes of the layouts, for a test that reads it with libbpf.
$(BUILD)/gen/btf.o: $(BUILD)/gen/.stamp
	$(Q)for h in $(patsubst shm-layouts/%.json,%,$(LAYOUTS)); do \
		echo "#include <weir/shm/$$h.h>"; echo "struct weir_$${h}_shm v_$$h;"; done | \
		gcc -D__bpf__ -gbtf -c -x c -Ilib/include -I$(BUILD)/gen -o $@ -
$(BUILD)/unit/test_layout: $(BUILD)/gen/btf.o
$(BUILD)/unit/%: tests/unit/%.c $(wildcard tests/*.h) $(BUILD)/libweir-run.a $(BUILD)/libweir.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(BASE) -MF $@.d -DBTF_OBJECT='"$(BUILD)/gen/btf.o"' -o $@ $< $(BUILD)/libweir-run.a $(BUILD)/libweir.a -luring -lcriterion -lbpf -pthread
$(BUILD)/regress/%: tests/regress/%.c $(wildcard tests/*.h) $(BUILD)/libweir.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(BASE) -MF $@.d -o $@ $< $(BUILD)/libweir.a -lcriterion -pthread

-include $(LIB_OBJ:.o=.d) $(RUN_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(UNITS:=.d) $(EXAMPLES:=.d) $(wildcard tests/*/*.mk) bench/bench.mk

deps: ## install (as root) or name the packages that are missing
	$(Q)tests/deps.sh

check: deps ## build everything; unit, tool and environment tests, of the instruments a sample; under 2 minutes
	$(Q)$(MAKE) --no-print-directory all $(UNITS) $(REGRESS) $(BUILD)/sweep $(BUILD)/model/model \
		$(BUILD)/litmus-hw $(BUILD)/env/env
	$(Q)tests/check.sh

edges: ## write the register of orderings in docs/MEMORY-MODEL.md
	$(Q)tests/edges.sh

ci: deps ## all instruments within BUDGET minutes (40), and the demo
	$(Q)tests/prove.sh ci

prove: deps ## all instruments to their full figures, in one table
	$(Q)tests/prove.sh full

demo: deps ## the main job: a gateway whose workers share limits, a breaker and a queue
	$(Q)$(MAKE) --no-print-directory all
	$(Q)examples/gateway/demo.sh

tidy: $(BUILD)/gen/.stamp ## the rules a script can check, and clang-tidy
	$(Q)tests/tidy.sh
	$(Q)tests/analyse.sh

format:
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include/weir/shm $(addprefix $(DESTDIR)$(PREFIX)/share/man/man,1 3 7)
	install $(BUILD)/weir $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(BUILD)/libweir.a $(BUILD)/libweir-run.a $(DESTDIR)$(LIBDIR)
	install $(BUILD)/libweir.so.$(SOVERSION) $(BUILD)/libweir-run.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)
	ln -sf libweir.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libweir.so
	ln -sf libweir-run.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libweir-run.so
	install -m 644 lib/include/weir.h $(DESTDIR)$(PREFIX)/include
	install -m 644 lib/include/weir/*.h $(DESTDIR)$(PREFIX)/include/weir
	install -m 644 lib/include/weir/shm/*.h $(BUILD)/gen/weir/shm/*.h $(DESTDIR)$(PREFIX)/include/weir/shm
	install -m 644 $(wildcard man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(wildcard man/*.7) $(DESTDIR)$(PREFIX)/share/man/man7
	for h in $(MAN3); do \
		awk -v name=$$h -f man/header.awk lib/include/weir/$$h.h > $(DESTDIR)$(PREFIX)/share/man/man3/weir-$$h.3; \
		for f in $$(sed -n 's/^WEIR_API .*[ *]\(weir_[a-z_]*\)(.*/\1/p' lib/include/weir/$$h.h); do \
			echo ".so man3/weir-$$h.3" > $(DESTDIR)$(PREFIX)/share/man/man3/$$f.3; done; done
	for p in weir weir-run; do sed 's|@PREFIX@|$(PREFIX)|;s|@LIBDIR@|$(LIBDIR)|;s|@VERSION@|$(VERSION)|' \
		lib/$$p.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/$$p.pc; done

clean:
	rm -rf $(BUILD)
