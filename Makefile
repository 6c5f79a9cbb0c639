# What people and CI run. Every target sets up what it needs, says what it installs, and can be run
# again.

# rustup's folder is not on the path of every shell.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# One set of features everywhere, so that the C libraries are built once.
ALL := --workspace --all-features

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak deny lint docs cargo-test cargo-test-quick goldens fuzz-smoke

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## Build kbk and see it work, on a broker of its own; DIR=folder keeps the repository there
	scripts/setup build
	cargo build --release
	$(TARGET_DIR)/release/kbk demo $(DIR)

test: ## Everything: what CI runs, a real Apache Kafka included
	scripts/setup all
	$(MAKE) lint docs cargo-test goldens fuzz-smoke

check: ## The quick loop: what needs no broker
	scripts/setup build
	$(MAKE) lint docs cargo-test-quick

bench: ## Measure: the format, then whole processes against a real Apache Kafka; KBK_BENCH_QUICK=1 is short
	scripts/setup build kafka mount
	cargo bench -p kbk-format --bench density
	cargo bench -p kbk-format --bench format -- $(if $(KBK_BENCH_QUICK),--quick,--warm-up-time 1 --measurement-time 3)
	cargo bench -p kbk --bench kafka
	cargo bench -p kbk --bench mount

soak: ## The tests of `make test`, longer: more seeds, kills and data
	KBK_SOAK=1 $(MAKE) test

deny: ## Licences, bans and sources of all dependencies
	scripts/setup deny
	cargo deny --all-features check licenses bans sources

lint:
	cargo fmt --all --check
	cargo clippy $(ALL) --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc $(ALL) --no-deps

cargo-test:
	cargo test $(ALL)

# Every test but `kafka`, which needs a broker, and `mount`, which needs /dev/fuse and root: Cargo's patterns can only say "not
# k" and "not m".
cargo-test-quick:
	cargo test $(ALL) --lib --bins --examples --test '[!km]*' --test model
	cargo test $(ALL) --doc

goldens:
	.cache/venv/bin/python tests/spec_reader/check_goldens.py fixtures
	.cache/venv/bin/python tests/spec_reader/check_spec.py SPEC.md fixtures/golden/v1/minimal.kseg

fuzz-smoke:
	scripts/fuzz-smoke
