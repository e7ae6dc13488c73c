# `make setup` compiles RocksDB once a machine; everything else is built by cargo with one selection
# (docs/decisions/0002-one-build-of-rocksdb.md).

.PHONY: help setup demo test test-code test-docs command install bench chaos chaos-long replay kill-loop random-graphs ci
.DEFAULT_GOAL := help

# The one selection of packages and features: another one has other features of dependencies, and compiles us and them again.
# CI checks it. Each build names an example, since the features of dev-dependencies count only then.
SELECTION := --release --workspace --features floodmark/aws,floodmark-cli/aws
BUILD := cargo build $(SELECTION) --example network_word_count
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
BENCHES := $(patsubst benches/%.rs,%,$(wildcard benches/*.rs))
SEED ?=
KILLS ?=
CASES ?= 10000

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch libclang and compile RocksDB, once; every other target does it first
	@scripts/setup.sh

demo: setup ## word count over a socket, killed three times, compared with a plain count (SEED=n repeats a run)
	$(BUILD) --bin demo
	@$(RELEASE)/demo $(if $(SEED),--seed $(SEED))

test: test-code test-docs ## all tests

test-code: setup ## unit and integration tests, short kill loops among them
	$(BUILD) --bins --examples # the kill loops run them; `cargo test --examples` builds only their tests
	cargo test $(SELECTION) --lib --bins --tests --examples

test-docs: setup ## the examples in the documentation
	cargo test $(SELECTION) --doc

command: setup ## the command floodmark, in target/release
	$(BUILD) --bin floodmark

install: command ## the command, its completions and its manual pages, below PREFIX (default ~/.local)
	@scripts/install.sh $(RELEASE)/floodmark $(or $(PREFIX),$(HOME)/.local)

bench: setup ## all measurements, one after the other, and their table in the end
	$(BUILD) --examples
	@rm -f target/bench/table.md
	@set -e; for bench in $(BENCHES); do echo "== $$bench"; cargo bench $(filter-out --release,$(SELECTION)) --bench "$$bench"; done
	@printf '\n| what | median (least to most) | to reach |\n|---|---|---|\n'; cat target/bench/table.md

kill-loop: setup ## real processes under SIGKILL: 500 random kills, every named point, 30 kills of two examples each (KILLS=n, SEED=n)
	$(BUILD) --example file_word_count --bin victim --bin kill_loop
	$(RELEASE)/kill_loop $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

chaos: setup ## every durable step x every fault, every byte of a stored job, 500 SIGKILLs: some minutes (SEED=n)
	$(BUILD) --bin chaos --bin victim --bin kill_loop
	$(RELEASE)/chaos $(if $(SEED),--seed $(SEED))
	cargo test $(SELECTION) --test damage -- --ignored --nocapture
	$(RELEASE)/kill_loop --example-kills 0 $(if $(SEED),--seed $(SEED))

chaos-long: setup ## the sweep with 2,000 pairs of faults for so many seeds (SEEDS=n, SEED=first)
	$(BUILD) --bin chaos
	$(RELEASE)/chaos --seeds $(or $(SEEDS),10) $(if $(SEED),--seed $(SEED))

replay: setup ## one run of a sweep again, from its replay file (FILE=target/chaos/...)
	$(BUILD) --bin chaos
	$(RELEASE)/chaos replay $(FILE)

random-graphs: setup ## random graphs of operators against a model (CASES=n, SEED=n)
	$(if $(wildcard /dev/shm),TMPDIR=/dev/shm) FLOODMARK_GRAPH_CASES=$(CASES) FLOODMARK_GRAPH_SEED=$(SEED) cargo test $(SELECTION) --lib random_graphs -- --nocapture

ci: ## what .ci/run does: format, layers, lints, tests, documentation
	@.ci/run
