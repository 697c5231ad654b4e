#!/usr/bin/env bash
# The client library of the Python services that are replaced, for tests that do what they did.
set -eu

place=target/tools/nats-py
version=2.16.0
if [ -z "${NATS_PY:-}" ] && [ ! -e "$place/installed-$version" ]; then
    rm -rf "$place"
    if python3 -m venv "$place" >&2 &&
        "$place/bin/pip" install --quiet --disable-pip-version-check "nats-py==$version" >&2; then
        touch "$place/installed-$version"
        echo "installed nats-py $version in $place" >&2
    else
        rm -rf "$place"
        echo "wingbeat: no nats-py $version; set NATS_PY to a Python that has it, or its tests fail" >&2
    fi
fi
