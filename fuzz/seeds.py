#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets: real files and what is known to be hostile.

    cargo build && fuzz/seeds.py target/debug/auditctl DIR

DIR is then merged into fuzz/corpus by `TARGET -merge=1 fuzz/corpus/TARGET DIR/TARGET`.
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
AUDITCTL = pathlib.Path(sys.argv[1]).resolve()
OUT = pathlib.Path(sys.argv[2])

DEEP = 2_000
HOSTILE_LINES = [
    b"{" * DEEP,
    b'{"event_type":"x","details":' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'{"event_type":"x","details":{"a":' + b"[" * 101 + b"]" * 101 + b"}}",
    b'{"event_type":"x","details":{"n":1e400}}',
    b'{"event_type":"x","details":{"n":-1e309,"m":1e-400}}',
    b'{"event_type":"x","details":{"n":' + b"9" * 400 + b"}}",
    b'{"event_type":"\\ud800"}',
    b'{"event_type":"x","details":{"s":"\\ud800\\u0041"}}',
    b'{"event_type":"x","details":{"s":"\\udc00"}}',
    b'{"event_type":"x","details":{"\\ud83d\\ude00":1}}',
    b'{"event_type":"x","event_type":"y"}',
    b'{"event_type":"x","details":{"a":1,"a":2}}',
    b'{"event_type":"x","event\\u005ftype":"y"}',
    b'{"event_type":"\xff\xfe"}',
    b'{"event_type":"a\\u0000b","actor":"\\u001b[2J"}',
    b'{"event_type":"a\x00b"}',
    b'{"event_type":"\x1b]0;owned\x07"}',
    b'{"event_type":"x","actor":"\xe2\x80\xae\xe2\x80\xa8"}',
    b'{"event_type":"audit.closed"}',
    b'{"event_type":"x","seq":1,"origin":{},"recorded_at":"z"}',
    b'{"event_type":"x","timestamp":"9999-12-31T23:59:60.999999Z"}',
    b'{"event_type":"x","timestamp":"2026-02-04T21:09:40+99:99"}',
    b'{"event_type":null,"details":null}',
    b'[]', b'null', b'"', b'', b'\xef\xbb\xbf{"event_type":"x"}',
    b'{"event_type":"' + b"a" * 129 + b'"}',
    b'{"event_type":"x","unknown":{"a":[1,2,{"b":null}]},"z":"\\u00e9"}',
]
GOOD = [
    b'{"event_type":"login","actor":"alice","source":"billing","target":"acct-7",'
    b'"outcome":"success","details":{"ip":"::1","n":[1,2.5e3,-0]}}',
    b'{"event_type":"login","timestamp":"2026-02-04T21:09:40.123456Z"}',
    b'{"event_type":"l\\u00f6gin","actor":"\xe2\x82\xac","details":{ "a" : "b\\n" } }',
]


def put(target, name, content):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def all_of(target, name, contents):
    for number, content in enumerate(contents):
        put(target, f"{name}-{number:02}", content)


def auditctl(directory, *args, stdin=b""):
    return subprocess.run([AUDITCTL, *args], cwd=directory, input=stdin, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def post(body, content_type=b"application/json", more=b""):
    return (b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + content_type
            + b"\r\n" + more + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def get(path, more=b""):
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n"


def events():
    sample = (ROOT / "tests/fixtures/cloudtrail_sample.ndjson").read_bytes().splitlines()
    short = sorted(sample, key=len)[:3]
    all_of("event", "fixture", short)
    all_of("event", "good", GOOD)
    all_of("event", "hostile", HOSTILE_LINES)
    lines = [b"\n".join(GOOD) + b"\n", b"\r\n\r\n".join(GOOD), b"\n".join(HOSTILE_LINES[3:24])]
    controls = [
        b'{"status":{}}\n', b'{"query":{"limit":3}}\n', b'{"query":{"count":true,"type":["login"]}}\n',
        b'{"query":{"group_by":"actor","top":3}}\n' * 20, b'{"session":{"lenient":true}}\n{"event_type":"x","z":1}\n',
        b'{"session":{"import":true}}\n' + GOOD[0] + b"\n", b'{"status":{},"query":{}}\n', b'{"status":\n',
        b'{"query":{"seq":"0..2","since":"1h"}}\n{"query":{"where":["details.a=1"]}}\n', b"x\n" * 120,
        b'{"hello":{"client":"x/1","more":[1]}}\n{"version":{}}\n{ "status" : {} }\n{"version":{},"event_type":"x"}\n',
        b'{"backup_removed":{}}\n', b'{"query":{"type":["*","!x"],"order":"newest","limit":1,"follow":true}}\n',
    ]
    for number, content in enumerate(lines + controls):
        put("socket", f"seed-{number:02}", bytes([number]) + content)


def http():
    token = b"Authorization: Bearer 0123456789abcdef\r\n"
    ndjson = b"application/x-ndjson"
    chunked = (b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"eve\r\n10;x=y\r\nnt_type\":\"chunk\"\r\n1\r\n}\r\n0\r\n\r\n")
    requests = [
        post(GOOD[0]), post(b"\n".join(GOOD), ndjson), post(b"\n".join(HOSTILE_LINES[3:20]), ndjson),
        post(b"[" + b",".join(GOOD) + b"]"), post(b" [ {} ,]"), post(b'[{"event_type":"x","details":{"a":"],[\\\\\\""}},7'),
        post(b"[" + b",".join(HOSTILE_LINES[3:20]) + b"] x"), get(b"/v1/openapi.yaml"), get(b"/v1/events?format=ocsf", token),
        post(GOOD[1], more=b"Expect: 100-continue\r\n"), post(GOOD[1], b"text/plain"), post(b""),
        post(GOOD[0], more=token), chunked, get(b"/health"), get(b"/metrics", b"Accept: application/openmetrics-text\r\n"),
        get(b"/v1/checkpoint", token), get(b"/v1/events?type=login&limit=2", token),
        get(b"/v1/events?seq=0..3&order=newest", token + b"Accept: application/x-ndjson\r\n"),
        get(b"/v1/events?group_by=actor&top=2&count", token), get(b"/v1/events?limit=x", token), get(b"/nothing"),
        b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"DELETE /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        post(GOOD[0]) + get(b"/health") + post(GOOD[1]), b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", get(b"/health", b"Origin: http://x\r\n"),
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{}",
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        get(b"/health", b"X: " + b"a" * 3000 + b"\r\n"), get(b"/%00%ff?a=%zz"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    for number, content in enumerate(requests):
        put("http", f"seed-{number:02}", bytes([2 * number + (token in content)]) + content)


def config():
    example = (ROOT / "docs/auditctl.example.toml").read_text()
    active = "\n".join(line.removeprefix("# ").removeprefix("#") for line in example.splitlines()
                       if "=" in line or line.startswith("["))
    texts = [
        active, 'log_dir = "/var/log/x"\nprofile = "production"\n', '[collector]\nhttp = "off"\nallowed_uids = [1, 2]\n',
        'rate_limit.per_second = 1e400\n', 'write_buffer_size = 99999999999999999999999999\n', '\ufefflog_dir = "x"\n',
        'log_dir = "\\u0000\\u001b[2J"\n', 'a.b.c.d = ' + "[" * 500 + "]" * 500, 'log_dir = 1\nlog_dir = 2\n', "x = '''\n",
        'write_flush_interval = "3s"\nmax_details_size = "1 KiB"\n', 'durability = "interval"\n[health]\nbackup_age_warn = "off"\n',
        'write_flush_interval = "99999999999999999999d"\nmax_segment_size = "17179869184GiB"\n', "[collector]\n[collector]\n",
    ]
    all_of("config", "seed", [text.encode() for text in texts])


def files():
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "auditctl.toml").write_text('max_segment_size = "1MiB"\n[rate_limit]\nenabled = false\n'
                                                 if "enabled" in (ROOT / "docs/auditctl.example.toml").read_text() else "")
        auditctl(directory, "record", "--file", "-", stdin=b"\n".join(GOOD))
        logs = directory / "logs"
        lines = (logs / "audit.log").read_bytes()
        put("gzip", "lines", lines)
        member = gzip.compress(lines, 6, mtime=0)
        all_of("gzip", "member", [member, member + member, member[:-9], member[:-1], member + b"x",
                                  gzip.compress(b"", mtime=0), gzip.compress(bytes(1 << 20), 9, mtime=0),
                                  member[:-4] + b"\xff\xff\xff\xff", b"\x1f\x8b\x08\x1c" + bytes(30)])
        put("gzip", "last-seq", lines.splitlines()[2].replace(b'"seq":2', b'"seq":18446744073709551615') + b"\n")
        put("checkpoint", "genuine", (ROOT / "fuzz/genuine/audit.checkpoint").read_bytes())
        put("checkpoint", "key", (ROOT / "fuzz/genuine/audit.pub").read_bytes().strip())
        note = (logs / "audit.checkpoint").read_bytes()
        put("checkpoint", "note", note)
        put("checkpoint", "text", note.split(b"\n\n")[0] + b"\n")
        put("checkpoint", "many", note + note.split(b"\n\n")[1] * 3)
        put("checkpoint", "huge", note.replace(b"\n6\n", b"\n18446744073709551615\n"))
        put("checkpoint", "proof", auditctl(directory, "prove", "1"))
        put("checkpoint", "growth", auditctl(directory, "prove", "--from", "2"))
        put("checkpoint", "tlog-proof", auditctl(directory, "prove", "1", "--format", "tlog-proof"))
        auditctl(directory, "verify")
        for state in directory.rglob("*verif*"):
            if state.is_file():
                put("checkpoint", "state", state.read_bytes())
        empty = (logs / "audit.manifest.json").read_bytes()
        put("manifest", "empty", empty)
        auditctl(directory, "backup")
        made = next((directory / "backups/audit").glob("audit_backup_*.json"))
        metadata = made.read_bytes()
        put("metadata", "real", metadata)
        archive = made.with_suffix(".gz").read_bytes()
        put("metadata", "marker", archive[archive.rindex(b"\x1f\x8b\x08\x04"):])
        put("gzip", "archive", archive)
        put("metadata", "name", made.name.encode())
        put("metadata", "name-pin", made.stem.encode() + b".pin")
        put("metadata", "name-out", b"audit_backup_20260101_000000.json.tmp-../../x")
        for number, (old, new) in enumerate([
            (b'"file": "', b'"file": "../../etc/'), (b'"tree_size": ', b'"tree_size": 18446744073709551615'),
            (b'"records": ', b'"records": 9999999999999999999'), (b'"members": [', b'"members": [4294967295,'),
            (b'"id": "', b'"id": "../'), (b'"raw_bytes": ', b'"raw_bytes": -'),
        ]):
            put("metadata", f"absurd-{number}", metadata.replace(old, new))
        text = json.loads(metadata)
        put("metadata", "added", metadata.replace(b": {\n", b': { "added": [{}],\n'))
        put("metadata", "turned", json.dumps(dict(reversed(text.items())), separators=(" , ", " : ")).encode())
        put("metadata", "newer", json.dumps(dict(text, format=2)).encode())
        put("metadata", "unsigned", json.dumps(dict(text, signature=None)).encode())
        marker = archive[archive.rindex(b"\x1f\x8b\x08\x04"):]
        field = b"Zz\x02\x00ab"
        length = (int.from_bytes(marker[10:12], "little") + len(field)).to_bytes(2, "little")
        put("metadata", "marker-field", marker[:10] + length + field + marker[12:])
        put("metadata", "marker-newer", marker.replace(b'"format":1', b'"format":2'))
        auditctl(directory, "restore", "latest", "--target", "beside")
        manifest = (directory / "beside/audit.manifest.json").read_bytes()
        put("manifest", "restored", manifest)
        whole = json.loads(manifest)
        most = 2**64 - 1

        def altered(change):
            copy = json.loads(manifest)
            change(copy)
            return json.dumps(copy, separators=(",", ":")).encode()

        segment = whole["segments"][0]
        for number, change in enumerate([
            lambda m: m["segments"][0].update(records=most), lambda m: m["segments"][0].update(first_seq=most),
            lambda m: m["segments"][0].update(file="../../etc/passwd"), lambda m: m.update(epoch=2**32),
            lambda m: m["segments"][0]["blocks"][0].update(raw_bytes=most),
            lambda m: m["segments"][0]["blocks"][0].update(stored_bytes=most), lambda m: m.update(format=2),
            lambda m: m["segments"][0]["blocks"].append(segment["blocks"][0]), lambda m: m.update(log_id="\x1b[2J"),
            lambda m: m["segments"].append(segment), lambda m: m.update(pruned=segment["blocks"][0]["tree"]),
        ]):
            put("manifest", f"absurd-{number:02}", altered(change))
        put("manifest", "deep", b'{"type":"auditctl/manifest","format":1,"later":' + b"[" * 5000)
        for number, later in enumerate([{"a": [1, 2.5e-7, None]}, "x" * 500, -1e300]):
            put("manifest", f"added-{number}", altered(lambda m: m.update(later=later)))


events()
http()
config()
files()
