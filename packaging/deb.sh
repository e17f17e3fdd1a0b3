#!/usr/bin/env bash
# The Debian package audit-trail: the program as /usr/bin/audit-trail, so that Debian's auditd, whose /sbin/auditctl
# loads the kernel's rules, can be installed beside it.
#   packaging/deb.sh [--binary FILE] [--out DIR]
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
options "$@"
source_date
needs dpkg-deb dpkg-shlibdeps dpkg
dynamic_binary

package=audit-trail
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/$package
share=$top/usr/share
mkdir -p "$top/DEBIAN"

install -D -m 755 "$binary" "$top/usr/bin/$package"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$top/usr/bin/$package"
manuals_and_completions "$package" "$share" bash-completion/completions zsh/vendor-completions fish/vendor_completions.d

units=$top/usr/lib/systemd/system
mkdir -p "$units"
for unit in "$root"/packaging/systemd/*.service "$root"/packaging/systemd/*.timer; do
    sed -e "s,/opt/auditctl/bin/auditctl,/usr/bin/$package,g" -e "s,man:auditctl(1),man:$package(1)," \
        "$unit" >"$units/${unit##*/}"
done
install -D -m 644 "$root/packaging/deb/auditctl.toml" "$top/etc/auditctl/auditctl.toml"

documents=$share/doc/$package
mkdir -p "$documents/examples"
install -m 644 "$root/packaging/deb/README.Debian" "$root/packaging/deb/copyright" "$documents"
install -m 644 "$root/docs/auditctl.example.toml" "$root/packaging/systemd/https.conf" "$documents/examples"
gzip -9nc "$root/CHANGELOG.md" >"$documents/changelog.gz"
{
    printf '%s (%s-1) unstable; urgency=medium\n\n' "$package" "$version"
    printf '  * Version %s; changelog.gz says what changed.\n\n' "$version"
    printf ' -- auditctl maintainers <maintainers@auditctl.invalid>  %s\n' "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$documents/changelog.Debian.gz"
install -D -m 644 "$root/packaging/deb/lintian-overrides" "$share/lintian/overrides/$package"

for script in postinst prerm postrm; do
    install -m 755 "$root/packaging/deb/$script" "$top/DEBIAN/$script"
done
(cd "$top" && find etc -type f | sed 's,^,/,' | LC_ALL=C sort) >"$top/DEBIAN/conffiles"

# What the program is linked with, in the packages of the machine that builds.
mkdir -p "$stage/debian"
printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' "$package" "$package" >"$stage/debian/control"
linked=$(cd "$stage" && dpkg-shlibdeps --ignore-missing-info -O "$top/usr/bin/$package" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
{
    sed -e "s/@VERSION@/$version-1/" -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
        -e "s/@DEPENDS@/${linked:+$linked, }adduser/" \
        -e "s/@SIZE@/$(du -sk --apparent-size --exclude=DEBIAN "$top" | cut -f1)/" "$root/packaging/deb/control"
} >"$top/DEBIAN/control"

chmod -R u=rwX,go=rX "$top"
(cd "$top" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$top/DEBIAN/md5sums"
chmod 644 "$top/DEBIAN/md5sums" "$top/DEBIAN/conffiles" "$top/DEBIAN/control"
file=$out/${package}_$version-1_$(dpkg --print-architecture).deb
dpkg-deb --root-owner-group -Zxz "-z${DEB_LEVEL:-6}" --build "$top" "$file" >/dev/null
echo "$file"
