#!/usr/bin/env python3
"""Reads docs/vectors and says whether each is what index.json says.

    read_vectors.py DIRECTORY
    read_vectors.py --ask       answers each line of its input, a case with its `directory`

Written from docs/format.md and docs/backups.md, on top of verify.py; shares no code with
auditctl and needs nothing but Python 3.9. Exit 0 when all are as they should be.
"""
import hashlib
import os
import re
import struct
import sys
import zlib

import verify
from verify import Checkpoint, Keys, Newer, Note, Tree, Wrong, check_head, from_hex
from verify import leaf_hash, read, read_document, read_json, read_key, sha256, signed_text

MAX_MEMBER = 2 << 20


def members(packed, where):
    """The gzip members of a file: each with its extra field and what it holds."""
    found, at = [], 0
    while at < len(packed):
        header = packed[at : at + 12]
        if len(header) < 12 or header[:3] != b"\x1f\x8b\x08":
            raise Wrong(f"{where}: no gzip member at byte {at}")
        extra = b""
        if header[3] & 4:
            length = int.from_bytes(header[10:12], "little")
            extra = packed[at + 12 : at + 12 + length]
        decompressor = zlib.decompressobj(wbits=31)
        try:
            raw = decompressor.decompress(packed[at:], MAX_MEMBER + 1)
        except zlib.error as error:
            raise Wrong(f"{where}: at byte {at}: {error}") from None
        if len(raw) > MAX_MEMBER:
            raise Wrong(f"{where}: at byte {at}: a member of more than 2 MiB")
        if not decompressor.eof:
            raise Wrong(f"{where}: at byte {at}: cut")
        end = len(packed) - len(decompressor.unused_data)
        found.append((extra, raw, end - at))
        at = end
    return found


def subfield(extra, where):
    """The marker's text; other subfields are passed over."""
    found = None
    while extra:
        if len(extra) < 4:
            raise Wrong(f"{where}: its header field is cut")
        length = int.from_bytes(extra[2:4], "little")
        if len(extra) < 4 + length:
            raise Wrong(f"{where}: its header field is cut")
        if extra[:2] == b"AU":
            if found is not None:
                raise Wrong(f"{where}: two markers in one header")
            found = extra[4 : 4 + length]
        extra = extra[4 + length :]
    if found is None:
        raise Wrong(f"{where}: no marker")
    return found


class Archive:
    """What an archive holds, and what its marker says."""

    def __init__(self, path):
        parts = members(read(path), path)
        if not parts or parts[-1][1]:
            raise Wrong(f"{path}: does not end in its marker")
        self.marker = check_head(verify.parse(subfield(parts[-1][0], path).decode(), path), "auditctl/marker", path)
        pruned = self.marker["pruned"]
        tree = Tree(pruned["begin"], pruned["hashes"], pruned["end"])
        holes = self.marker.get("holes", [])
        if self.marker.get("holes_omitted"):
            raise Wrong(f"{path}: which records it lacks, only its metadata say")
        holes = [Tree(hole["tree"]["begin"], hole["tree"]["hashes"], hole["tree"]["end"]) for hole in holes]
        for _, raw, _ in parts[:-1]:
            self.pass_over(tree, holes)
            if not raw.endswith(b"\n"):
                raise Wrong(f"{path}: a member does not end in a line")
            for line in raw[:-1].split(b"\n"):
                self.pass_over(tree, holes)
                if verify.seq_of(line) != tree.end or not verify.is_record(line):
                    raise Wrong(f"{path}: record {tree.end} is not what stands there")
                tree.append(leaf_hash(line))
        self.pass_over(tree, holes)
        if holes:
            raise Wrong(f"{path}: names records that are not in its range")
        if self.marker["members"] != len(parts) - 1:
            raise Wrong(f"{path}: {len(parts) - 1} members, the marker says {self.marker['members']}")
        self.size, self.root = tree.end, tree.root()
        if self.size != self.marker["tree_size"] or self.root != from_hex(self.marker["root_hash"]):
            raise Wrong(f"{path}: its records are not those that the marker names")
        self.lengths = [length for _, _, length in parts[:-1]]
        self.raw = b"".join(raw for _, raw, _ in parts[:-1])

    def pass_over(self, tree, holes):
        """Records that are not in the archive: their subtree hashes stand for them."""
        while holes and holes[0].begin == tree.end:
            tree.extend(holes.pop(0))


def check_marker_signature(archive, key, where):
    marker = archive.marker
    checkpoint = Checkpoint(marker["checkpoint"], where)
    Keys(key, marker.get("key_chain", []), where).check(checkpoint)
    if (checkpoint.size, checkpoint.root) != (archive.size, archive.root):
        raise Wrong(f"{where}: its checkpoint is over other records")


def archive_alone(case, path):
    archive = Archive(path("path"))
    check_marker_signature(archive, read_key(path("public_key")), path("path"))


def crc32c(data):
    """The check value of the catalogue of CRCs: reflected, polynomial 0x82f63b78."""
    if not TABLE_32C:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
            TABLE_32C.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE_32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


TABLE_32C = []


def check_digests(data, digests, where):
    if digests["bytes"] != len(data) or digests["sha256"] != hashlib.sha256(data).hexdigest():
        raise Wrong(f"{where}: not the bytes that the metadata names")
    if verify.decode64(digests["crc32c"], where) != crc32c(data).to_bytes(4, "big"):
        raise Wrong(f"{where}: its CRC-32C is another")


def metadata_of(path):
    for end in (".gz.age", ".gz"):
        if path.endswith(end):
            return path[: -len(end)] + ".json"
    raise Wrong(f"{path}: no archive's name")


def backup(case, path):
    archive_path, where = path("path"), metadata_of(path("path"))
    stated = read_document(where, "auditctl/backup")
    key, log, held = read_key(path("public_key")), stated["log"], stated["range"]
    keys = Keys(key, log.get("key_chain", []), where)
    checkpoint = Checkpoint(stated["checkpoint"], where)
    keys.check(checkpoint)
    if (checkpoint.origin, checkpoint.size) != (log["origin"], held["tree_size"]) or checkpoint.root != from_hex(stated["root_hash"]):
        raise Wrong(f"{where}: says otherwise than its checkpoint")
    if stated["signature"] is not None:
        note = Note(stated["signature"], where)
        if note.text != signed_text(read(where), "auditctl/backup", log["origin"], held["tree_size"]):
            raise Wrong(f"{where}: its signature is of something else")
        keys.check_later(note, (log["epoch"], held["tree_size"]))
    stored = read(archive_path)
    if stated["encryption"] is not None:
        # Without a library for age: what is stored is what the metadata names.
        return check_digests(stored, stated["encryption"]["digests"], archive_path)
    check_digests(stored, stated["archive"]["digests"], archive_path)
    archive = Archive(archive_path)
    check_marker_signature(archive, key, archive_path)
    if (archive.size, archive.root) != (checkpoint.size, checkpoint.root):
        raise Wrong(f"{archive_path}: holds other records than the metadata says")
    if hashlib.sha256(archive.raw).hexdigest() != stated["archive"]["raw_sha256"]:
        raise Wrong(f"{archive_path}: other lines than the metadata says")
    if [length for segment in stated["segments"] for length in segment["members"]] != archive.lengths:
        raise Wrong(f"{archive_path}: other members than the metadata says")
    same(case, "tree_size", archive.size)
    same(case, "root_hash", archive.root.hex())


def drill(case, path):
    where = path("path")
    report = read_document(where, "auditctl/drill")
    text = signed_text(read(where), "auditctl/drill", report["origin"], report["tree_size"])
    note = Note(report["signature"], where)
    note.check_signature(read_key(path("public_key")))
    if note.text != text:
        raise Wrong(f"{where}: its signature is of something else")
    same(case, "signed_text", text)


def tree(case, path):
    stated = read_json(path("path"))
    leaves = [bytes.fromhex(text) for text in stated["leaves"]]
    roots = [from_hex(text) for text in stated["roots"]]
    whole = Tree()
    for size, root in enumerate(roots):
        if whole.root() != root:
            raise Wrong(f"the root over {size} leaves")
        if size < len(leaves):
            whole.append(leaf_hash(leaves[size]))
    for one in stated["inclusion"]:
        leaf, root = leaves[one["index"]], roots[one["size"]]
        expect(one, lambda: verify.check_inclusion(leaf, one["index"], one["size"], one["proof"], root, "tree"))
    for one in stated["consistency"]:
        first, second = roots[one["first"]], roots[one["second"]]
        expect(one, lambda: verify.check_consistency(one["first"], one["second"], first, second, one["proof"], "tree"))


def expect(one, check):
    try:
        check()
        good = True
    except Wrong:
        good = False
    if good != one["good"]:
        raise Wrong(f"a proof that is {one}")


def log(case, path):
    verify.NOTES.clear()
    size, unsigned, root = verify.check_log(path("path"), None, [])
    same(case, "tree_size", size)
    same(case, "unsigned", unsigned)
    same(case, "root_hash", root)
    given_up = (re.match(r"records (\d+) to (\d+) were given up", text) for text in verify.NOTES)
    holes = [[int(found[1]), int(found[2]) + 1] for found in given_up if found]
    if holes != case.get("holes", []):
        raise Wrong(f"{holes} were given up, not {case.get('holes', [])}")


def checkpoint(case, path):
    key = read_key(path("public_key"))
    keys = verify.read_keys(path("keys"), key) if "keys" in case else Keys(key, [], path("public_key"))
    keys.check(verify.anchor(path("path")))


def proof(case, path):
    verify.check_proof(path("path"), path("public_key"), [], None)


# Words of the status page that a reader needs to say how the writer is.
CLOSED_AT, HEARTBEAT_BOOT_MS, HUNG_AFTER_MS = 57, 7, 5_000


def status(case, path):
    page = read(path("path"))
    if page[:7] == b"AUDSTAT" and page[7:8] > b"1":
        raise Newer("the page is of another version")
    words = struct.unpack("<512Q", page)
    if page[:8] != b"AUDSTAT1" or words[511] != zlib.crc32(page[:4088]):
        raise Wrong("the page's checksum does not fit")
    by_name = {"HeartbeatBootMs": words[HEARTBEAT_BOOT_MS], "ClosedAt": words[CLOSED_AT], "NextSeq": words[13], "DurableSeq": words[14], "Accepted": words[23]}
    for name, value in by_name.items():
        if case["words"].get(name, 0) != value:
            raise Wrong(f"{name} is {value}")
    for one in case["means"]:
        age = one["now_boot_ms"] - words[HEARTBEAT_BOOT_MS]
        if one["lock_held"]:
            writer = "running" if age < HUNG_AFTER_MS else "hung"
        else:
            writer = "stopped" if words[CLOSED_AT] else "died"
        if writer != one["writer"]:
            raise Wrong(f"the writer is {writer}, not {one['writer']}")


FIELDS = {"event_type": 0, "actor": 1, "source": 2, "target": 3}


def is_in(filter_, field, name):
    digest = sha256(bytes([FIELDS[field]]), name.encode())
    a, b = struct.unpack("<QQ", digest[:16])
    bits = len(filter_) * 8
    places = (((a + i * (b | 1)) & (1 << 64) - 1) % bits for i in range(8))
    return all(filter_[place // 8] >> place % 8 & 1 for place in places)


def filter_(case, path):
    stored, segment = read(path("path")), read(path("segment"))
    if stored[:8] != b"AUDFILT1" or stored[8:40] != sha256(segment):
        raise Wrong("not that segment's filters")
    if struct.unpack("<I", stored[-4:])[0] != zlib.crc32(stored[:-4]):
        raise Wrong("the checksum does not fit")
    filters, at = [], 44
    for _ in range(struct.unpack("<I", stored[40:44])[0]):
        length = struct.unpack("<I", stored[at : at + 4])[0]
        filters.append(stored[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(stored) - 4:
        raise Wrong("its length does not fit")
    for field, name in case["has"]:
        if not is_in(filters[case["block"]], field, name):
            raise Wrong(f"{field} {name} is not in it")
    for field, name in case["has_not"]:
        if is_in(filters[case["block"]], field, name):
            raise Wrong(f"{field} {name} is in it")


def same(case, member, value):
    if member in case and case[member] != value:
        raise Wrong(f"{member} is {value!r}, not {case[member]!r}")


READERS = {
    "archive": archive_alone,
    "backup": backup,
    "checkpoint": checkpoint,
    "drill": drill,
    "filter": filter_,
    "log": log,
    "proof": proof,
    "status": status,
    "tree": tree,
}


def verdict(case, directory):
    def path(member):
        return os.path.join(directory, case[member])

    try:
        READERS[case["kind"]](case, path)
    except Newer as newer:
        return "newer", str(newer)
    except Wrong as wrong:
        return "wrong", str(wrong).replace("\n", " ")
    except (KeyError, TypeError, AttributeError, ValueError, struct.error, IndexError) as error:
        return "wrong", f"it lacks what it must have: {error!r}"
    return "ok", ""


def answer():
    for line in sys.stdin:
        case = verify.parse(line, "the question")
        print(*verdict(case, case["directory"]), flush=True)


def main():
    directory = sys.argv[1]
    if directory == "--ask":
        return answer()
    index = read_document(os.path.join(directory, "index.json"), "auditctl/vectors")
    failed = 0
    for case in index["cases"]:
        found, why = verdict(case, directory)
        if found != case["expect"]:
            failed += 1
            print(f"{case['name']}: {found} instead of {case['expect']}: {why}")
    print(f"{len(index['cases'])} vectors, {failed} of them not as they should be")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
