#!/bin/sh
# Makes the vectors into a new directory: docs/vectors/make.sh DIRECTORY [later]
# "later" makes only those that came after the format was frozen.
set -eu
out=${1:?"make.sh DIRECTORY [later]"}
if [ -e "$out" ]; then
    echo "$out is there already" >&2
    exit 1
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../.."
# Only the others need encryption.
features="encryption"
[ "${2:-}" != later ] || features=""
MAKE_VECTORS="$out" MAKE_VECTORS_OF="${2:-}" cargo test --no-default-features --features "$features" --test it -- --ignored --exact vectors::make_the_vectors
