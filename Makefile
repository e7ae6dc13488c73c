# Everything is built with `cargo … --release`: one profile, so that RocksDB is compiled once for all of it
# (docs/decisions/0002-one-build-of-rocksdb.md).

.PHONY: help setup demo test test-code test-docs command install bench chaos chaos-long replay kill-loop random-graphs ci
.DEFAULT_GOAL := help

# The command is behind a feature, and everything here is built with it: one feature set, so that nothing is built twice.
FEATURES := --features floodmark/cli,floodmark/aws
BENCHES := $(patsubst benches/%.rs,%,$(wildcard benches/*.rs))
SEED ?=
KILLS ?=
CASES ?= 10000

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch what the build needs into .tools; every other target does it first
	@scripts/setup.sh

demo: setup ## word count over a socket, killed three times, compared with a plain count (SEED=n repeats a run)
	cargo build --release --workspace $(FEATURES) --example network_word_count --bin demo
	cargo run --release --quiet --package recovery-tests $(FEATURES) --bin demo -- $(if $(SEED),--seed $(SEED))

test: test-code test-docs ## all tests

test-code: setup ## unit and integration tests, short kill loops among them
	cargo build --release --workspace $(FEATURES) --bins --examples # the kill loops run them; `cargo test --examples` builds only their tests
	cargo test --release --workspace $(FEATURES) --lib --bins --tests --examples

test-docs: setup ## the examples in the documentation
	cargo test --release --workspace $(FEATURES) --doc

command: setup ## the command floodmark, in target/release
	cargo build --release --workspace $(FEATURES) --bin floodmark

install: command ## the command, its completions and its manual pages, below PREFIX (default ~/.local)
	@scripts/install.sh target/release/floodmark $(or $(PREFIX),$(HOME)/.local)

bench: setup ## all measurements, one after the other, and their table in the end
	cargo build --release $(FEATURES) --examples
	@rm -f target/bench/table.md
	@set -e; for bench in $(BENCHES); do echo "== $$bench"; cargo bench $(FEATURES) --bench "$$bench"; done
	@printf '\n| what | median (least to most) | to reach |\n|---|---|---|\n'; cat target/bench/table.md

kill-loop: setup ## real processes under SIGKILL: 500 random kills, every named point, 30 kills of two examples each (KILLS=n, SEED=n)
	cargo build --release --workspace $(FEATURES) --example network_word_count --example file_word_count --bin victim --bin kill_loop
	cargo run --release --quiet --package recovery-tests $(FEATURES) --bin kill_loop -- $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

chaos: setup ## every durable step x every fault, every byte of a stored job, 500 SIGKILLs: some minutes (SEED=n)
	cargo build --release --workspace $(FEATURES) --examples --bins
	cargo run --release --quiet --package recovery-tests $(FEATURES) --bin chaos -- $(if $(SEED),--seed $(SEED))
	cargo test --release --package recovery-tests $(FEATURES) --test damage -- --ignored --nocapture
	cargo run --release --quiet --package recovery-tests $(FEATURES) --bin kill_loop -- --example-kills 0 $(if $(SEED),--seed $(SEED))

chaos-long: setup ## the sweep with 2,000 pairs of faults for so many seeds (SEEDS=n, SEED=first)
	cargo run --release --quiet --package recovery-tests $(FEATURES) --bin chaos -- --seeds $(or $(SEEDS),10) $(if $(SEED),--seed $(SEED))

replay: setup ## one run of a sweep again, from its replay file (FILE=target/chaos/...)
	cargo run --release --quiet --package recovery-tests $(FEATURES) --bin chaos -- replay $(FILE)

random-graphs: setup ## random graphs of operators against a model (CASES=n, SEED=n)
	$(if $(wildcard /dev/shm),TMPDIR=/dev/shm) FLOODMARK_GRAPH_CASES=$(CASES) FLOODMARK_GRAPH_SEED=$(SEED) cargo test --release $(FEATURES) --lib random_graphs -- --nocapture

ci: ## what .ci/run does: format, lints, tests, documentation
	@.ci/run
