#!/usr/bin/env bash
# The bill of materials: every crate in the program, with version, licence and checksum, as CycloneDX JSON.
#   packaging/sbom.sh [--out DIR]
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
options "$@"
source_date
needs python3 cargo rustc

target=$(rustc -vV | sed -n 's/^host: //p')
file=$out/$name-$version.cdx.json
(cd "$root" && cargo metadata --locked --format-version 1 --filter-platform "$target") |
    python3 "$root/packaging/sbom.py" --lock "$root/Cargo.lock" --date "$SOURCE_DATE_EPOCH" --output "$file"
echo "$file"
