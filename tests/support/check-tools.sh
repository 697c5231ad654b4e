#!/usr/bin/env bash
# Says what is missing to build Wingbeat, and how to get it.
set -eu

missing=0
say() {
    echo "wingbeat: $1" >&2
    missing=1
}

# at_least HAVE WANT: whether version HAVE is WANT or newer.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null; then
    say "cargo is missing: install Rust $rust_wanted or newer from https://rustup.rs"
elif rust=$(rustc --version | cut -d' ' -f2) && ! at_least "${rust%%-*}" "$rust_wanted"; then
    say "Rust $rust is too old: run \`rustup update\` (wanted: $rust_wanted or newer)"
fi

node_wanted=20.19
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    say "node or npm is missing: install Node.js $node_wanted or newer from https://nodejs.org"
elif node=$(node --version) && ! at_least "${node#v}" "$node_wanted"; then
    say "Node.js ${node#v} is too old: install $node_wanted or newer from https://nodejs.org"
fi

if ! command -v cc >/dev/null; then
    say "a C compiler is missing: on Debian and Ubuntu run \`apt-get install build-essential\`"
fi

exit $missing
