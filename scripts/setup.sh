#!/usr/bin/env bash
# Puts what the build needs beside the toolchain into .tools, where .cargo/config.toml expects it:
#
#   .tools/lib/libclang.so   generates RocksDB's bindings (from the PyPI package libclang)
#   .tools/include           the C compiler's own headers (stddef.h and the like), which that package lacks
#
# and compiles RocksDB once for all clones on the machine (scripts/rocksdb.py), into ${FLOODMARK_CACHE:-~/.cache/floodmark}.
# Needs no root, writes nowhere else, and does nothing where all is in place.
#
#   scripts/setup.sh --print-env    also prints the variables for a project that depends on this checkout, as `export` lines
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

need() { # command, what it is for, how to get it
    command -v "$1" >/dev/null || fail "$1 is missing: $2" "to get it: $3"
}

[ "$(uname -s)" = Linux ] || fail "this script knows Linux only, not $(uname -s)" \
    "elsewhere: put libclang under .tools/lib and the C compiler's own headers under .tools/include"
need cargo "it builds Floodmark" "https://rustup.rs"
need python3 "it fetches libclang and compiles RocksDB" "apt-get install python3 python3-pip, or your system's like"
need gcc "its headers are needed for RocksDB's bindings" "apt-get install gcc, or your system's like"
need g++ "it compiles RocksDB" "apt-get install g++, or your system's like"

# A moved clone or an updated compiler leaves a link that points nowhere, or at headers of another version.
headers=$(gcc -print-file-name=include)
[ -f "$headers/stddef.h" ] || fail "gcc names $headers as its own headers, but there is no stddef.h"
mkdir -p .tools/lib
if [ "$(readlink .tools/include || true)" != "$headers" ]; then
    ln -sfn "$headers" .tools/include
fi

if [ ! -s .tools/lib/libclang.so ]; then
    python3 -m pip --version >/dev/null 2>&1 ||
        fail "python3 has no pip: it fetches libclang from PyPI" "to get it: apt-get install python3-pip, or python3 -m ensurepip --user"
    echo "setup: fetching libclang 18.1.1 (25 MB) into .tools" >&2
    rm -rf .tools/python
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps \
        --only-binary=:all: --require-hashes --target .tools/python --requirement scripts/requirements.txt ||
        fail "pip could not fetch libclang: see its words above"
    # Linked under its final name only when it is whole: an interrupted run is repaired by the next one.
    cp .tools/python/clang/native/libclang.so .tools/lib/libclang.so.new
    mv .tools/lib/libclang.so.new .tools/lib/libclang.so
    rm -rf .tools/python
fi

# Written only when all of it is there: .cargo/rocksdb.toml, and before that the archive that it names.
scripts/rocksdb.py

if [ "${1:-}" = --print-env ]; then
    printf 'export LIBCLANG_PATH=%q\nexport C_INCLUDE_PATH=%q\n' "$PWD/.tools/lib" "$PWD/.tools/include"
    scripts/rocksdb.py --print-env
fi
