# Sourced by the scripts beside it. What each of them takes:
#
#   --binary FILE    package this program instead of building one
#   --out DIR        where the package goes [default: target/packages]
#
# The same sources and the same binary give the same bytes: every time in a package is SOURCE_DATE_EPOCH, by default
# that of the commit.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
name=auditctl
# shellcheck disable=SC2034
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
architecture=$(uname -m)
binary=
out=$root/target/packages

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

needs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "$program is not installed, and the package cannot be made without it"
    done
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --binary) [ $# -ge 2 ] || fail "--binary needs a file" && binary=$(realpath "$2") && shift 2 ;;
            --out) [ $# -ge 2 ] || fail "--out needs a directory" && out=$2 && shift 2 ;;
            *) fail "unknown argument $1; there are --binary FILE and --out DIR" ;;
        esac
    done
    mkdir -p "$out"
    out=$(realpath "$out")
}

source_date() {
    if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
        SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/CHANGELOG.md")
    fi
    export SOURCE_DATE_EPOCH
}

# A program that needs no library of the host: with musl where Rust has that target, else with glibc. That one has its
# own ways to look up users, groups and hosts in /etc and hosts by DNS. What else a host's nsswitch.conf names (sss,
# ldap, mdns) it asks only where the host has the same version of glibc, and passes over elsewhere.
static_binary() {
    if [ -n "$binary" ]; then return; fi
    local host target flags=()
    host=$(rustc -vV | sed -n 's/^host: //p')
    target=$architecture-unknown-linux-musl
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] && command -v musl-gcc >/dev/null; then
        export "CC_${target//-/_}=musl-gcc"
    else
        echo "$(basename "$0"): no $target here (rustup target add $target, and musl-tools): static glibc instead" >&2
        target=$host
        flags=(--config "target.$host.rustflags=['-C','target-feature=+crt-static']")
    fi
    (cd "$root" && cargo build --locked --profile dist --bin "$name" --target "$target" "${flags[@]}") >&2
    binary=${CARGO_TARGET_DIR:-$root/target}/$target/dist/$name
}

# For a distribution's package: linked with the distribution's C library.
dynamic_binary() {
    if [ -n "$binary" ]; then return; fi
    (cd "$root" && cargo build --locked --profile dist --bin "$name") >&2
    binary=${CARGO_TARGET_DIR:-$root/target}/dist/$name
}

is_static() { ! LC_ALL=C readelf --program-headers "$1" | grep -q 'INTERP'; }

# `musl`, `gnu`, or `dynamic`: what the program needs of a host.
libc_of() {
    if ! is_static "$1"; then
        echo dynamic
    elif "$1" --version | grep -q -- '-musl$'; then
        echo musl
    else
        echo gnu
    fi
}

# The manual pages and the shells' completions, made by the program itself, for a program called $1, below $2
# (man/, and bash, zsh and fish go to $3, $4 and $5 below it).
manuals_and_completions() {
    local called=$1 below=$2 bash=$3 zsh=$4 fish=$5
    mkdir -p "$below/man/man1" "$below/$bash" "$below/$zsh" "$below/$fish"
    "$binary" man --quiet --name "$called" --dir "$below/man/man1"
    "$binary" completions bash --name "$called" >"$below/$bash/$called"
    "$binary" completions zsh --name "$called" >"$below/$zsh/_$called"
    "$binary" completions fish --name "$called" >"$below/$fish/$called.fish"
    gzip -9n "$below"/man/man1/*
}

# A tar with nothing of this machine in it: names in order, times from the sources, files of root.
reproducible_tar() {
    LC_ALL=C tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --format=ustar --create "$@"
}
