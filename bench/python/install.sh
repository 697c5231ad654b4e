#!/usr/bin/env bash
# The peers of `make bench-encoder`: Python with ONNX Runtime.
set -eu

place=target/tools/bench-python
packages="numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1 tokenizers==0.23.3"
if [ -z "${PYTHON:-}" ] && [ ! -e "$place/installed" ]; then
    rm -rf "$place"
    python3 -m venv "$place" >&2
    # shellcheck disable=SC2086
    "$place/bin/pip" install --quiet --disable-pip-version-check $packages >&2
    touch "$place/installed"
    echo "installed ONNX Runtime for Python in $place" >&2
fi
