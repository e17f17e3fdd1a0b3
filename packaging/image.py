"""Puts one layer and its configuration into an archive that is an OCI layout and, for `docker load`, a Docker archive.

Only the standard library; the same layer gives the same bytes.
"""

import argparse
import datetime
import hashlib
import io
import json
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
STATE = "/var/lib/auditctl"
SECOND = 1_000_000_000  # Docker counts in nanoseconds.


def configuration(args, layer_digest):
    created = datetime.datetime.fromtimestamp(args.date, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": "auditctl",
        "org.opencontainers.image.description": "Keeps a service's audit trail: durable, tamper-evident",
        "org.opencontainers.image.version": args.version,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    }
    if args.revision:
        labels["org.opencontainers.image.revision"] = args.revision
    return {
        "created": created,
        "architecture": ARCHITECTURES[args.architecture],
        "os": "linux",
        "config": {
            # A number, so that `runAsNonRoot` can tell; any other number works as well.
            "User": "65532:65532",
            "Env": [
                "PATH=/usr/bin",
                f"HOME={STATE}",
                f"AUDITCTL_LOG_DIR={STATE}/log",
                f"AUDITCTL_BACKUP_OUTPUT_DIR={STATE}/backups",
                "AUDITCTL_COLLECTOR_SOCKET=/run/auditctl/audit.sock",
            ],
            # tini is PID 1: it hands signals on and reaps what others leave behind.
            "Entrypoint": ["/usr/bin/tini", "--", "/usr/bin/auditctl"],
            "Cmd": ["serve"],
            "WorkingDir": STATE,
            "Volumes": {STATE: {}, "/run/auditctl": {}},
            "StopSignal": "SIGTERM",
            "Labels": labels,
            # Liveness: the collector answers. What is critical and no reason to be killed (a full disk) is for
            # `auditctl health` and /health.
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/auditctl", "health", "--fail-on", "critical"],
                "Interval": 30 * SECOND,
                "Timeout": 10 * SECOND,
                "StartPeriod": 30 * SECOND,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": created, "created_by": "packaging/image.sh", "comment": "auditctl"}],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", required=True, help="tar of the root file system")
    parser.add_argument("--version", required=True)
    parser.add_argument("--architecture", required=True, choices=ARCHITECTURES)
    parser.add_argument("--date", required=True, type=int, help="seconds since 1970")
    parser.add_argument("--revision", default="")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()

    blobs = {}

    def blob(content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def document(value):
        return json.dumps(value, sort_keys=True, indent=1).encode()

    with open(args.layer, "rb") as file:
        layer = blob(file.read(), "application/vnd.oci.image.layer.v1.tar")
    config = blob(
        document(configuration(args, layer["digest"].removeprefix("sha256:"))),
        "application/vnd.oci.image.config.v1+json",
    )
    manifest = blob(
        document({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        }),
        "application/vnd.oci.image.manifest.v1+json",
    )
    manifest["annotations"] = {
        "io.containerd.image.name": f"docker.io/library/auditctl:{args.version}",
        "org.opencontainers.image.ref.name": args.version,
    }
    path = lambda descriptor: "blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")
    files = {f"blobs/sha256/{digest}": content for digest, content in blobs.items()}
    files["oci-layout"] = document({"imageLayoutVersion": "1.0.0"})
    files["index.json"] = document({"schemaVersion": 2, "manifests": [manifest]})
    files["manifest.json"] = document(
        [{"Config": path(config), "RepoTags": [f"auditctl:{args.version}"], "Layers": [path(layer)]}]
    )
    with tarfile.open(args.output, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, args.date
            archive.addfile(entry, io.BytesIO(files[name]))


if __name__ == "__main__":
    main()
