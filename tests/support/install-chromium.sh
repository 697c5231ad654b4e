#!/usr/bin/env bash
# The browser tests need Chromium. Installs Debian's where this user may; otherwise says how.
set -eu

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        exit 0
    fi
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Chromium for the browser tests" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >&2
    exit 0
fi

echo "wingbeat: Chromium is missing; on Debian and Ubuntu run \`sudo apt-get install chromium\`" >&2
exit 1
