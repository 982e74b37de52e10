#!/usr/bin/env bash
# Writes requirements/lock-*.txt with uv; versions stay as they are, `scripts/lock.sh --upgrade` takes newer ones.
# The hashes in setuptools.txt, uv.txt and torch.txt are put in by hand.
set -euo pipefail
cd "$(dirname "$0")/../requirements"

lock() {
  local out=$1 of=$2
  shift 2
  uv pip compile -q --universal --python-version 3.11 --only-binary :all: --no-binary empy \
    --generate-hashes --no-header --no-annotate --no-emit-package setuptools "$@" -o "$out"
  sed -i "1i # Written by scripts/lock.sh from $of: every package at one version, with the hashes of its files." "$out"
}

node=(setuptools.txt runtime.txt build.txt)
lock lock-runtime.txt "runtime.txt and build.txt" "$@" "${node[@]}"
mapfile -t known < <(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package=\1/p' lock-runtime.txt)
lock lock-test.txt "test.txt beyond lock-runtime.txt" "$@" "${known[@]}" -c lock-runtime.txt test.txt \
  "${node[@]}"
lock lock-docs.txt "docs.txt" "$@" docs.txt
