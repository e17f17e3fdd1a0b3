#!/usr/bin/env bash
# The container image, as one file that docker, podman, skopeo and containerd load: no engine is needed to build it.
#   packaging/image.sh [--binary FILE] [--out DIR]
# In it: the program, an init for PID 1 (Debian's tini-static), the authorities that clouds and webhooks are checked
# against. A program that is not static brings its libraries along; a release's is static.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
options "$@"
source_date
static_binary
needs python3 readelf tar
init=$(command -v tini-static) || fail "tini-static is not installed: apt-get install tini"
authorities=/etc/ssl/certs/ca-certificates.crt
[ -f "$authorities" ] || fail "$authorities is missing: apt-get install ca-certificates"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
install -D -m 755 "$binary" "$stage/root/usr/bin/auditctl"
install -D -m 755 "$init" "$stage/root/usr/bin/tini"
install -D -m 644 "$authorities" "$stage/root$authorities"
install -D -m 644 "$root/LICENSE" "$stage/root/usr/share/doc/auditctl/LICENSE"
install -m 644 "$root"/LICENSE-* "$stage/root/usr/share/doc/auditctl"
[ ! -f /usr/share/doc/tini/copyright ] || install -D -m 644 /usr/share/doc/tini/copyright "$stage/root/usr/share/doc/tini/copyright"
if ! is_static "$binary"; then
    echo "image.sh: $binary is not static: its libraries come along" >&2
    ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
        install -D -m 755 "$(realpath "$library")" "$stage/root$library"
    done
fi
# Users by name; anybody else comes as a number. Whatever the number, it may write where the volumes go.
mkdir -p "$stage/root/etc"
printf 'root:x:0:0:root:/:/sbin/nologin\nauditctl:x:65532:65532:auditctl:/var/lib/auditctl:/sbin/nologin\n' >"$stage/root/etc/passwd"
printf 'root:x:0:\nauditctl:x:65532:\n' >"$stage/root/etc/group"
mkdir -p "$stage/root/var/lib/auditctl" "$stage/root/run/auditctl" "$stage/root/tmp"
chmod -R u=rwX,go=rX "$stage/root"
chmod 1777 "$stage/root/var/lib/auditctl" "$stage/root/run/auditctl" "$stage/root/tmp"

mapfile -t folders < <(LC_ALL=C ls "$stage/root")
reproducible_tar --directory "$stage/root" --file "$stage/layer.tar" "${folders[@]}"
file=$out/$name-$version-$architecture-image.tar
python3 "$root/packaging/image.py" --layer "$stage/layer.tar" --version "$version" --architecture "$architecture" \
    --date "$SOURCE_DATE_EPOCH" --revision "$(git -C "$root" rev-parse HEAD 2>/dev/null || true)" --output "$file"
echo "$file"
