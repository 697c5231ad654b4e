#!/usr/bin/env bash
# A real PDS with its directory of DIDs, for tests/pds.rs. It takes minutes: one part is compiled.
set -eu

place=target/tools/pds
version=0.3.215
if [ ! -e "$place/node_modules/@atproto/dev-env/package.json" ]; then
    echo "installing @atproto/dev-env $version" >&2
    mkdir -p "$place"
    npm install --silent --no-audit --no-fund --prefix "$place" "@atproto/dev-env@$version" >&2
fi
