# The entry points for people and CI. Every target installs what it needs, says so, and can be rerun.

# The folders of rustup and of Go are not on the path of every shell.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# One set of features and one profile everywhere, so that dependencies and the C libraries are built once.
ALL := --workspace --all-features

.DEFAULT_GOAL := help
.PHONY: help demo release image test check bench soak reference deny lint docs cargo-test cargo-test-quick batches-test goldens fuzz-smoke

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: ## Build kbk and demonstrate it on an in-process broker; DIR=folder sets where the repository goes
	scripts/setup build
	cargo build $(ALL) --bin kbk
	$(TARGET_DIR)/debug/kbk demo $(DIR)
	@echo
	@echo "This kbk is $(TARGET_DIR)/debug/kbk: optimised, with overflow checks, ready to use."
	@echo "'make release' takes longer and builds the fastest one, $(TARGET_DIR)/release/kbk."

release: ## Build the fastest kbk, one file that needs only a glibc, to copy to other machines; GLIBC=2.34 fails if it needs a newer one
	scripts/setup build
	OPENSSL_NO_VENDOR=0 cargo build --release --locked --bin kbk
	scripts/check-binary $(TARGET_DIR)/release/kbk $(GLIBC)

image: ## Build a container image, kbk, with docker or podman; its binary needs glibc 2.28
	$(or $(shell command -v docker),podman) build -f deploy/Containerfile -t kbk .

# Compiling the workspace's own crates takes longer than what optimising them would save: their tests wait more than they compute. What decodes and
# encodes is optimised all the same (Cargo.toml names it).
test check: export CARGO_PROFILE_DEV_OPT_LEVEL := 0
test check: export CARGO_PROFILE_DEV_DEBUG := 0

test: ## Run everything that CI runs, including tests against a real Apache Kafka
	scripts/setup all
	$(MAKE) lint docs cargo-test goldens fuzz-smoke

check: export RUST_TEST_THREADS := 8
check: ## Run the quick loop: format, lints, docs and all tests that need no broker
	scripts/setup build
	$(MAKE) lint docs cargo-test-quick

bench: ## Measure the format, then whole processes against a real Apache Kafka; KBK_BENCH_QUICK=1 is short
	scripts/setup build kafka mount
	cargo bench -p kbk-format --bench density
	cargo bench -p kbk-format --features repo --bench repo
	cargo bench -p kbk-format --bench format -- $(if $(KBK_BENCH_QUICK),--quick,--warm-up-time 1 --measurement-time 3)
	cargo bench -p kbk-tools --bench distant
	cargo bench -p kbk-tools --bench compact
	cargo bench -p kbk-tools --bench grep
	cargo bench -p kbk --bench export
	cargo bench -p kbk --bench kafka
	cargo bench -p kbk --bench mount

soak: ## Run `make test` with more seeds, kills and data, and against an old Apache Kafka
	scripts/setup kafka old-kafka
	KBK_SOAK=1 $(MAKE) test

reference: ## Write docs/reference/ again, from the definitions of the options
	KBK_WRITE_REFERENCE=1 cargo test --all-features -p kbk --test cli reference::

deny: ## Check licences, bans and sources of all dependencies
	scripts/setup deny
	cargo deny --all-features check licenses bans sources

lint:
	scripts/check-language --self-test
	scripts/check-language
	cargo fmt --all --check
	cargo clippy $(ALL) --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc $(ALL) --no-deps

# Tests of `kafka` wait for brokers more than they compute: a third one at a time ends them in two thirds of the time. Cargo's patterns can exclude
# only first letters, hence "not k", and `kernel`.
cargo-test:
	cargo test $(ALL) --lib --bins --examples --test '[!k]*' --test kernel
	RUST_TEST_THREADS=3 cargo test $(ALL) --test kafka
	cargo test $(ALL) --doc
	$(MAKE) batches-test

# What works on segments of columns works on segments of Kafka's own batches, whether their numbers were computed or not: the same tests once more,
# with worlds of these. A test of what only columns have ends at once.
batches-test:
	for segments in batches not-computed; do \
		KBK_TEST_SEGMENTS=$$segments cargo test $(ALL) --test tools --test view && \
		KBK_TEST_SEGMENTS=$$segments cargo test $(ALL) --lib -- compact::tests recover::tests || exit 1; \
	done

# All tests except `kafka`, which needs a broker, `mount`, which needs /dev/fuse and root, and `page`, which needs a browser. Cargo's patterns can
# exclude only first letters, hence "not k", "not m" and "not p".
cargo-test-quick:
	cargo test $(ALL) --lib --bins --examples --test '[!kmp]*' --test model
	cargo test $(ALL) --doc

goldens:
	.cache/venv/bin/python tests/spec_reader/check_goldens.py fixtures
	.cache/venv/bin/python tests/spec_reader/check_spec.py SPEC.md fixtures/golden/v1/minimal.kseg

fuzz-smoke:
	scripts/fuzz-smoke
