#!/usr/bin/env bash
# Runs a fuzz target: fuzz/run.sh TARGET [LIBFUZZER_OPTION...]
set -euo pipefail
cd "$(dirname "$0")"
target=$1
shift
mkdir -p "corpus/$target" artifacts
# Coverage for libFuzzer. The flags are those of cargo-fuzz; these ones are stable.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target given, build scripts and macros are built without the flags.
cargo run --release --quiet --target "$host" --bin "$target" -- \
	"corpus/$target" -artifact_prefix=artifacts/ "$@"
