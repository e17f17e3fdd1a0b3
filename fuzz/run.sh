#!/usr/bin/env bash
# Fuzzes on stable Rust: builds the targets with the coverage that libFuzzer
# wants (what `cargo fuzz` passes, no sanitizer: the program has no unsafe code
# but one mapped page) and runs them from the committed corpus.
#
#   bash fuzz/run.sh [SECONDS] [TARGET…]     60 s each, all of them
#
# What it finds is in target/fuzz/artifacts, what it learned in target/fuzz/corpus.
# Exit code 1: something was found; its file is named. `cargo fuzz run TARGET`
# works as well, with a nightly Rust.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || for file in fuzz/fuzz_targets/*.rs; do
    name=${file##*/}
    targets+=("${name%.rs}")
done

if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null; then
    echo "fuzz: skipped, libFuzzer needs a C++ compiler (apt-get install g++)"
    exit 0
fi

out=${FUZZ_TARGET_DIR:-$PWD/target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# With --target the flags are not for build scripts, which have no libFuzzer.
RUSTFLAGS="$coverage --cfg fuzzing" cargo build --quiet --release \
    --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$out" --bins

# How long an input may be: to where a target has seen all kinds of things.
longest() {
    case $1 in
    gzip | manifest | metadata | parquet) echo 16384 ;;
    *) echo 4096 ;;
    esac
}

fuzz() {
    local name=$1 log=$out/$1.log
    mkdir -p "$out/corpus/$name" "$out/artifacts/$name"
    # The first folder is the one that what is new goes to.
    if "$out/$host/release/$name" "$out/corpus/$name" "fuzz/corpus/$name" \
        -max_total_time="$seconds" -max_len="$(longest "$name")" -rss_limit_mb=512 \
        -timeout=60 -print_final_stats=1 -artifact_prefix="$out/artifacts/$name/" \
        >"$log" 2>&1; then
        echo "fuzz: $name: $(awk '/number_of_executed_units/ { print $2 }' "$log") inputs," \
            "coverage $(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -1), nothing found"
    else
        # What a panic said, and the file that brings it about again.
        tail -n 40 "$log"
        echo "fuzz: $name: FOUND; $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
        return 1
    fi
}

# Two at a time.
found=0
running=()
for name in "${targets[@]}"; do
    if [ ${#running[@]} -ge 2 ]; then
        wait "${running[0]}" || found=1
        running=("${running[@]:1}")
    fi
    fuzz "$name" &
    running+=($!)
done
for pid in "${running[@]}"; do
    wait "$pid" || found=1
done
exit "$found"
