# Kickstage. `make help` tells what there is.
#
# Scripts do what is longer than a line: see scripts/README.md.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# Options for kickstage-bench or kickstage-initramfs, or a filter for the black-box tests.
ARGS ?=
# What make initramfs packs, what runs in it, and where it goes.
ROOT ?=
CMD ?=
OUT ?= initramfs.cpio
# What make fuzz may take.
FUZZ_SECONDS ?= 3600
# Releases of Debian whose kernels make test-kernels takes.
SUITES ?= bullseye trixie sid
# How many pods make soak starts.
STARTS ?= 100000

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
RELEASE := $(TARGET)/release
MAN := $(TARGET)/man
MAN_PAGES := $(MAN)/fly.1 $(MAN)/fly-seccomp.1 $(MAN)/stage0.1 $(MAN)/stage1-init.8
export KICKSTAGE_BIN := $(RELEASE)

.DEFAULT_GOAL := help
.PHONY: help setup run test test-kernels fuzz bench bench-guest bench-plan soak initramfs lint lint-selftest build programs floors man install clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make install takes PREFIX ($(PREFIX)) and DESTDIR; make bench, make initramfs and make test take ARGS."

setup: ## Checks for what run, test, bench and lint need; installs what is missing
	@scripts/setup.sh all

run: ## Starts a pod and shows what a program sees from inside
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory build
	@scripts/demo.py --binaries $(RELEASE) --root $(TARGET)/demo-root

test: ## Runs all tests: unit tests, then the black-box tests (root)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	@CARGO="$(CARGO)" scripts/test.sh $(ARGS)

test-kernels: ## The tests of the guest with the kernels of other releases of Debian: SUITES (bullseye trixie sid) (root)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	@for suite in $(SUITES); do \
		echo "$$suite:"; \
		KICKSTAGE_GUEST_SUITE=$$suite CARGO="$(CARGO)" scripts/test.sh guest::another_kernel || exit 1; \
	done

bench: ## Measures starts against the floor and other launchers (root)
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory build floors
	$(CARGO) run --quiet --release -p kickstage-bench -- $(ARGS)

bench-guest: ## The same in a guest with Linux 6.1: what limits by cgroups of version 2 cost (root)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build floors
	@$(CARGO) build --quiet --release -p kickstage-bench
	@KICKSTAGE_CACHE=$(TARGET) $(CARGO) run --quiet -p kickstage-tests --bin kickstage-guest -- \
		$(RELEASE)/kickstage-bench --binaries $(RELEASE) $(or $(ARGS),--only limits --only default --rounds 300)

soak: ## STARTS (100,000) pods in a row: whether anything has grown of what the kernel keeps (root)
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory build floors
	$(CARGO) run --quiet --release -p kickstage-bench -- --soak $(STARTS)

initramfs: ## Packs ROOT into an initramfs that runs CMD: OUT (initramfs.cpio)
	@$(MAKE) --no-print-directory programs
	@$(CARGO) build --quiet --release -p kickstage-image
	@test -n "$(ROOT)" && test -n "$(CMD)" || { echo "make initramfs: name ROOT=DIR and CMD='PROGRAM ARGS'" >&2; exit 1; }
	$(RELEASE)/kickstage-initramfs --output $(OUT) $(ARGS) --tree $(ROOT):/root.d -- --rootfs /root.d -- $(CMD)

fuzz: ## Runs the fuzz targets for FUZZ_SECONDS in total (nightly)
	@scripts/fuzz.sh $(FUZZ_SECONDS)

bench-plan: ## Measures building, writing and checking of plans (Criterion)
	@scripts/setup.sh run
	$(CARGO) bench --quiet -p kickstage-bench --bench plan -- $(ARGS)

lint: ## fmt, clippy, shellcheck, and the gates of scripts/gates.py
	@scripts/setup.sh lint
	@$(MAKE) --no-print-directory programs man
	@CARGO="$(CARGO)" scripts/lint.sh $(RELEASE) $(MAN)

lint-selftest: ## Shows that each gate of lint catches a bad sample
	@python3 -B scripts/gates_selftest.py

install: ## Installs programs, man pages, documents below DESTDIR and PREFIX
	@scripts/setup.sh install
	@$(MAKE) --no-print-directory programs man
	@$(CARGO) build --quiet --release -p kickstage-image
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin libexec/kickstage share/man/man1 share/man/man8 share/doc/kickstage/docs/examples)
	install -m 755 $(RELEASE)/fly $(RELEASE)/fly-full $(RELEASE)/fly-seccomp $(RELEASE)/stage0 $(RELEASE)/stage0-full $(RELEASE)/stage1-init $(RELEASE)/stage1-machine $(RELEASE)/kickstage-initramfs $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(RELEASE)/stage1-init $(RELEASE)/stage0-image $(DESTDIR)$(PREFIX)/libexec/kickstage
	install -m 644 $(MAN)/fly.1 $(MAN)/fly-seccomp.1 $(MAN)/stage0.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(MAN)/stage1-init.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 README.md CHANGELOG.md LICENSE LICENSE-APACHE LICENSE-MIT $(DESTDIR)$(PREFIX)/share/doc/kickstage
	install -m 644 fly/src/seccomp/default.json $(DESTDIR)$(PREFIX)/share/doc/kickstage/seccomp-default.json
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/kickstage/docs
	install -m 644 docs/examples/* $(DESTDIR)$(PREFIX)/share/doc/kickstage/docs/examples

clean: ## Removes target/
	$(CARGO) clean

# The programs that ship are built by themselves: built together with others,
# cargo would give them the features that those want of a shared dependency.
programs:
	@$(CARGO) build --quiet --release -p fly -p stage1-init -p stage0

build: programs
	@$(CARGO) build --quiet --release -p probe -p kickstage-image
	@$(CARGO) build --quiet --release -p fly --examples
	@$(CARGO) build --quiet --release -p stage1-init --features examples --examples

floors:
	@$(CARGO) build --quiet --release -p floor

man: $(MAN_PAGES)

$(MAN_PAGES): scripts/man.sh Cargo.toml CHANGELOG.md

$(MAN)/%.1: docs/%.md
	@mkdir -p $(MAN)
	@scripts/man.sh $< 1 >$@.new && mv $@.new $@

$(MAN)/%.8: docs/%.md
	@mkdir -p $(MAN)
	@scripts/man.sh $< 8 >$@.new && mv $@.new $@
