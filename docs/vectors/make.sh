#!/bin/sh
# Makes the vectors into a new directory: docs/vectors/make.sh DIRECTORY
set -eu
out=${1:?"make.sh DIRECTORY"}
if [ -e "$out" ]; then
    echo "$out is there already" >&2
    exit 1
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../.."
MAKE_VECTORS="$out" cargo test --no-default-features --features encryption --test it -- --ignored --exact vectors::make_the_vectors
