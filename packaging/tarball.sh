#!/usr/bin/env bash
# The program as an archive that runs on any Linux: bin, manual pages, completions, units.
#   packaging/tarball.sh [--binary FILE] [--out DIR]
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
options "$@"
source_date
static_binary
needs tar gzip readelf

kind=$(libc_of "$binary")
whole=$name-$version-$architecture-linux-$kind
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/$whole

install -D -m 755 "$binary" "$top/bin/$name"
manuals_and_completions "$name" "$top" completions/bash completions/zsh completions/fish
mkdir -p "$top/systemd"
install -m 644 "$root"/packaging/systemd/* "$top/systemd"
install -m 644 "$root"/{README.md,CHANGELOG.md,LICENSE,LICENSE-APACHE,LICENSE-MIT} "$top"
install -m 644 "$root/docs/auditctl.example.toml" "$top"
chmod -R u=rwX,go=rX "$top"

reproducible_tar --directory "$stage" "$whole" | gzip -9n >"$out/$whole.tar.gz"
echo "$out/$whole.tar.gz"
