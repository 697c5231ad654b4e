# make run [ARGS='...']   builds what is needed and runs `wingbeat up`
# make test               checks and tests everything
# The rest is for developers; `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

ARGS ?=
BINARY := target/release/wingbeat
UI_SOURCES := $(shell find ui/src ui/public ui/index.html ui/package-lock.json ui/vite.config.ts ui/svelte.config.js ui/tsconfig.json -type f 2>/dev/null)

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: run
run: build ## Builds what is needed and runs `wingbeat up` with ARGS
	./$(BINARY) up $(ARGS)

.PHONY: build
build: tools ui/dist/index.html ## Builds the program, optimised, with the page in it
	cargo build --release --locked -p wingbeat

.PHONY: ui
ui: ui/dist/index.html ## Builds the page

ui/dist/index.html: ui/node_modules/.package-lock.json $(UI_SOURCES)
	cd ui && npm run --silent build
	@touch $@

ui/node_modules/.package-lock.json: ui/package-lock.json
	cd ui && npm ci --no-audit --no-fund
	@touch $@

.PHONY: test
test: tools chromium nats nats-py ui/dist/index.html lint ## Checks and tests everything
	cd ui && npm run --silent check && npm test --silent
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --locked --no-fail-fast; \
	else \
		cargo test --workspace --locked --no-fail-fast; \
	fi

.PHONY: test-pds
test-pds: tools ui/dist/index.html ## Tests against a real PDS; to install it takes minutes
	tests/support/install-pds.sh
	WINGBEAT_PDS="$(CURDIR)/target/tools/pds" cargo test --locked -p wingbeat --test pds -- --nocapture

.PHONY: test-chaos
test-chaos: tools nats ui/dist/index.html ## Five minutes of killed and held-up servers and services
	WINGBEAT_CHAOS_SECONDS=$${WINGBEAT_CHAOS_SECONDS:-300} WINGBEAT_CHAOS_RATE=$${WINGBEAT_CHAOS_RATE:-2000} \
		cargo test --locked --release -p wingbeat --test chaos -- --nocapture

.PHONY: check-unsafe
check-unsafe: ## Unsafe code under Miri and the address sanitizer (needs a nightly Rust with Miri)
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked -p wingbeat-transformer --lib kernels
	RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked -p wingbeat-transformer \
		--target $$(rustc -vV | sed -n 's/^host: //p') --target-dir target/sanitizer

.PHONY: lint
lint: ui/dist/index.html ## Formatting and lints of the Rust code
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: deny
deny: ## Licences, bans and advisories of the dependencies (needs cargo-deny)
	cargo deny check

.PHONY: bench
bench: build ## Benchmarks beside their peers; docs/performance.md holds the figures
	cargo run --release --locked -p wingbeat-bench -- all

.PHONY: bench-encoder
bench-encoder: build ## Encoders beside ONNX Runtime, which it installs
	bench/python/install.sh
	PYTHON="$${PYTHON:-target/tools/bench-python/bin/python}" \
		cargo run --release --locked -p wingbeat-bench -- encoder

.PHONY: docs
docs: build ## Writes the generated pages anew
	./$(BINARY) config reference > docs/reference/configuration.md

.PHONY: clean
clean: ## Removes everything that was built
	rm -rf target ui/dist ui/node_modules

.PHONY: tools
tools:
	@tests/support/check-tools.sh

.PHONY: chromium
chromium:
	@tests/support/install-chromium.sh

.PHONY: nats
nats:
	@tests/support/install-nats.sh

.PHONY: nats-py
nats-py:
	@tests/support/install-nats-py.sh
