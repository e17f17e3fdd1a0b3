#!/usr/bin/env python3
"""Checks a log, a checkpoint or a proof, independently of auditctl.

    verify.py LOG_DIR [--public-key FILE] [--against FILE]...
    verify.py --checkpoint FILE --public-key FILE [--keys AUDIT_KEYS]
    verify.py --proof FILE [--public-key FILE] [--against FILE] [--record FILE]

Written from docs/format.md and docs/verifying.md, RFC 6962 (the tree), RFC 8032
(Ed25519), C2SP signed-note, tlog-checkpoint and tlog-proof. Needs nothing but Python 3.9.
Exit 0 verified, 1 something is wrong, 2 usage, 3 made by a newer version.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import sys
import unicodedata
import zlib


class Wrong(Exception):
    """What was found, and where."""


NOTES = []


def note(text):
    """Something worth knowing that is no fault."""
    NOTES.append(text)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# --- Ed25519, checking only (RFC 8032, section 6; nothing secret is handled) ---

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def add(one, two):
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c = 2 * one[3] * two[3] * D % P
    d = 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    sum_ = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            sum_ = add(sum_, point)
        point = add(point, point)
        scalar >>= 1
    return sum_


def same_point(one, two):
    return (one[0] * two[2] - two[0] * one[2]) % P == 0 and (one[1] * two[2] - two[1] * one[2]) % P == 0


def unpack_point(packed):
    y = int.from_bytes(packed, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = unpack_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signature(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = unpack_point(key), unpack_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    return same_point(multiply(s, BASE), add(r, multiply(h, a)))


# --- signed notes and checkpoints ---


def decode64(text, what):
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{what}: not base64") from None
    # The last digit may hold bits that mean nothing: one spelling only.
    if base64.b64encode(decoded).decode() != text:
        raise Wrong(f"{what}: not base64 in its one spelling")
    return decoded


MAX_NOTE_BYTES, MAX_SIGNATURES, MAX_ROTATIONS = 131_072, 100, 10_000
# What a key, and an origin, may be called: no spaces, no control characters, no "+".
NAME = r"[^\s+\x00-\x1f\x7f-\x9f]+"


class Unknown(Wrong):
    """A key of an algorithm that is not known here, or no key at all."""


class VerifierKey:
    """`<name>+<8 hex digits>+<base64 of 0x01 and the key>`."""

    def __init__(self, text, where):
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise Unknown(f"{where}: not a verifier key")
        self.name, self.key_id = parts[0], parts[1]
        try:
            packed = decode64(parts[2], where)
        except Wrong:
            raise Unknown(f"{where}: not a verifier key") from None
        if packed[:1] != b"\x01":
            raise Unknown(f"{where}: not an Ed25519 key")
        self.key = packed[1:]
        if len(self.key) != 32 or key_id(self.name, self.key) != self.key_id:
            raise Wrong(f"{where}: the key id is not that of the key")

    def under(self, name):
        """The same key under another name."""
        other = object.__new__(VerifierKey)
        other.name, other.key, other.key_id = name, self.key, key_id(name, self.key)
        return other


def key_id(name, key):
    return sha256(name.encode(), b"\n\x01", key)[:4].hex()


def log_of(origin):
    """The name of the log's keys, and the epoch; None for what is no log's origin."""
    log, _, last = origin.rpartition("/")
    epoch = re.fullmatch(r"e([0-9]{1,10})", last)
    if not epoch:
        log = origin
    elif not re.fullmatch(r"[1-9][0-9]*", epoch[1]) or int(epoch[1]) >= 1 << 32:
        return None
    prefix, _, log_id = log.rpartition("/")
    host = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    is_prefix = re.fullmatch(rf"{host}(\.{host})*(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*", prefix) and len(prefix) <= 128
    is_id = re.fullmatch(r"(?!e[0-9]{1,10}$)[A-Za-z0-9._-]{1,64}", log_id)
    return (log, int(epoch[1]) if epoch else 0) if is_prefix and is_id else None


def read_key(path):
    """The first usable key of a file; those of algorithms to come are skipped. One that
    only stands there under the name of a later epoch is the log's all the same."""
    of_epoch = None
    for line in read_text(path).splitlines():
        try:
            key = VerifierKey(line, path)
        except Unknown:
            continue
        log = log_of(key.name)
        if not log or log[1] == 0:
            return key
        of_epoch = of_epoch or key.under(log[0])
    if of_epoch is None:
        raise Wrong(f"{path}: holds no key that can be used")
    return of_epoch


class Note:
    """A text and its signatures."""

    def __init__(self, note, where):
        self.where = where
        if len(note.encode()) > MAX_NOTE_BYTES or re.search(r"[\x00-\x09\x0b-\x1f]", note):
            raise Wrong(f"{where}: too long for a signed note, or with control characters")
        # The last empty line divides: a text may have some of its own.
        text, empty, signatures = note.rpartition("\n\n")
        if not empty or not signatures.endswith("\n"):
            raise Wrong(f"{where}: not a signed note")
        self.text, self.signatures = text + "\n", []
        for line in signatures[:-1].split("\n"):
            match = re.fullmatch(rf"\u2014 ({NAME}) (\S+)", line)
            packed = decode64(match[2], where) if match else b""
            if len(packed) < 5:
                raise Wrong(f"{where}: a line among its signatures is none")
            self.signatures.append((match[1], packed))
        if len(self.signatures) > MAX_SIGNATURES:
            raise Wrong(f"{where}: too many signatures")

    def signed_by(self, key):
        """Whether the key signed; a signature of its that is wrong spoils the note."""
        found = False
        for name, packed in self.signatures:
            if (name, packed[:4].hex()) != (key.name, key.key_id):
                continue
            if not is_signature(key.key, self.text.encode(), packed[4:]):
                raise Wrong(f"{self.where}: the signature by {key.name}+{key.key_id} is wrong")
            found = True
        return found

    def check_signature(self, key):
        if not self.signed_by(key):
            raise Wrong(f"{self.where}: not signed by {key.name}+{key.key_id}")


class Checkpoint(Note):
    def __init__(self, note, where):
        super().__init__(note, where)
        lines = self.text.split("\n")
        if len(lines) < 4 or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]) or not re.fullmatch(NAME, lines[0]):
            raise Wrong(f"{where}: not a checkpoint")
        self.origin, self.size, self.root = lines[0], int(lines[1]), decode64(lines[2], where)
        if "" in lines[3:-1] or len(self.root) != 32:
            raise Wrong(f"{where}: not a checkpoint")

    def log(self):
        """The name of the log's keys, and the epoch."""
        log = log_of(self.origin)
        if not log:
            raise Wrong(f"{self.where}: {self.origin} is no log")
        return log

    def place(self):
        """Epoch, then size: how far the log had come."""
        return self.log()[1], self.size

    def signed_by(self, key):
        """The same; from epoch 1 on the key may sign under the origin's name as well."""
        found = super().signed_by(key)
        if key.name != self.log()[0]:
            return False
        if self.origin != key.name:
            super().signed_by(key.under(self.origin))
        return found


# --- the tree (RFC 6962): perfect subtrees from left to right, as (begin, size, hash) ---


class Tree:
    def __init__(self, begin=0, hashes=(), end=None):
        self.begin, self.end, self.parts = begin, begin, []
        for text in hashes:
            size = self.end & -self.end or 1 << 63
            while size > end - self.end:
                size //= 2
            self.parts.append((self.end, size, from_hex(text)))
            self.end += size
        if end is not None and self.end != end:
            raise Wrong(f"the hashes of {begin}..{end} do not make up that range")

    def append(self, leaf):
        self.push(1, leaf)

    def extend(self, other):
        """Adds the subtrees of a range that begins where this one ends."""
        if other.begin != self.end:
            raise Wrong(f"records {other.begin} to {other.end - 1} do not follow record {self.end - 1}")
        for _, size, hash_ in other.parts:
            self.push(size, hash_)

    def push(self, size, hash_):
        begin = self.end
        self.end += size
        while self.parts and self.parts[-1][1] == size and self.parts[-1][0] % (2 * size) == 0:
            begin, _, left = self.parts.pop()
            size, hash_ = 2 * size, sha256(b"\x01", left, hash_)
        self.parts.append((begin, size, hash_))

    def hashes(self):
        return [hash_.hex() for _, _, hash_ in self.parts]

    def root(self):
        hashes = [hash_ for _, _, hash_ in self.parts]
        if not hashes:
            return sha256()
        root = hashes.pop()
        while hashes:
            root = sha256(b"\x01", hashes.pop(), root)
        return root


def from_hex(text):
    """64 digits, lower case: a hash has one spelling."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"{text!r} is no hash")
    return bytes.fromhex(text)


def leaf_hash(line):
    return sha256(b"\x00", line)


def check_inclusion(record, index, size, hashes, root, where):
    """RFC 9162, section 2.1.3.2"""
    try:
        proof = [from_hex(text) for text in hashes]
    except (TypeError, ValueError):
        raise Wrong(f"{where}: the inclusion proof is not hex") from None
    node, last, hash_ = index, size - 1, leaf_hash(record)
    for sibling in proof:
        if last == 0:
            raise Wrong(f"{where}: the inclusion proof is too long")
        if node & 1 or node == last:
            hash_ = sha256(b"\x01", sibling, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = sha256(b"\x01", hash_, sibling)
        node, last = node >> 1, last >> 1
    if last or hash_ != root:
        raise Wrong(f"{where}: the record is not in the tree that was signed")


# --- the keys: each valid up to the place where the next one took over ---


class Rotation:
    def __init__(self, stored, where):
        self.text = json.dumps(stored, sort_keys=True)
        self.old, self.new = VerifierKey(stored["old_key"], where), VerifierKey(stored["new_key"], where)
        self.checkpoint = Checkpoint(stored["checkpoint"], where)
        self.replaced = None
        if stored.get("replaced") is not None:
            return self.check_replaced(stored, stored["replaced"], where)
        for key in (self.old, self.new):
            self.checkpoint.check_signature(key)
            if key.name != self.checkpoint.log()[0]:
                raise Wrong(f"{where}: {key.name} does not sign for {self.checkpoint.origin}")
        self.place = self.checkpoint.place()
        record, seq = stored["record"].encode(), stored["seq"]
        named = parse(stored["record"], where)
        keys = {name: named["details"][name] for name in ("old_key", "new_key")}
        if seq_of(record) != seq or not 0 <= seq < self.checkpoint.size or named["event_type"] != "audit.key_rotated":
            raise Wrong(f"{where}: not the record of a change of key")
        if keys != {name: stored[name] for name in keys}:
            raise Wrong(f"{where}: the record names other keys")
        check_inclusion(record, seq, self.checkpoint.size, stored["inclusion_proof"], self.checkpoint.root, where)


    def check_replaced(self, stored, said, where):
        """A key in the place of one that was lost: the new one says so, nobody else does."""
        self.checkpoint.check_signature(self.old)
        name, epoch = self.checkpoint.log()
        if not self.old.name == self.new.name == name:
            raise Wrong(f"{where}: not all of one log")
        if stored["seq"] != self.checkpoint.size or not epoch < said["epoch"] < 1 << 32:
            raise Wrong(f"{where}: it does not go on from the last head of the key before")
        user = "-" if said.get("user") is None else said["user"]
        if any(unicodedata.category(char) == "Cc" for char in user + said["reason"]):
            raise Wrong(f"{where}: control characters in its texts")
        lines = ["auditctl/key-replaced v1", name, stored["old_key"], stored["new_key"], str(said["epoch"])]
        lines += [said["at"], str(said["uid"]), user, said["reason"]]
        lines += [hashlib.sha256(stored["checkpoint"].encode()).hexdigest()]
        statement = Note(said["signature"], where)
        statement.check_signature(self.new)
        if statement.text != "".join(line + "\n" for line in lines):
            raise Wrong(f"{where}: the new key signed something else")
        self.place = (said["epoch"], 0)
        self.replaced = f"on {said['at']} by {user} (uid {said['uid']}), because {said['reason']!r}"

    def signed_to(self):
        """How far the old key had come."""
        return self.checkpoint.place() if self.replaced else self.place


class Keys:
    """The log's keys, by the word of one of them. Over a change that the old key did not
    sign it leads back, and not forward."""

    def __init__(self, believed, rotations, where):
        if not isinstance(rotations, list) or len(rotations) > MAX_ROTATIONS:
            raise Wrong(f"{where}: no list of rotations")
        self.rotations = [Rotation(stored, f"{where}, rotation {n}") for n, stored in enumerate(rotations, 1)]
        self.keys = [self.rotations[0].old] if self.rotations else [believed]
        for before, rotation in zip([None, *self.rotations], self.rotations):
            follows = not before or (
                rotation.signed_to() >= before.place if before.replaced else rotation.signed_to() > before.place
            )
            if before and (not follows or rotation.old.key != before.new.key):
                raise Wrong(f"{where}: the keys do not follow each other")
            if any(rotation.new.key == key.key for key in self.keys):
                raise Wrong(f"{where}: a retired key comes back")
            self.keys.append(rotation.new)
        if all((believed.name, believed.key) != (key.name, key.key) for key in self.keys):
            raise Wrong(f"{where}: {believed.name}+{believed.key_id} is none of the log's keys")
        start = [key.key for key in self.keys].index(believed.key)
        ahead = [n for n, rotation in enumerate(self.rotations) if n >= start and rotation.replaced]
        reach = ahead[0] if ahead else len(self.rotations)
        self.beyond = (self.keys[reach + 1 :], self.rotations[reach:])
        self.known = list(self.keys)
        self.keys, self.rotations = self.keys[: reach + 1], self.rotations[:reach]
        for rotation in self.rotations:
            if rotation.replaced:
                note(f"{rotation.new.key_id} took the place of {rotation.old.key_id} {rotation.replaced}; nobody signed that")

    def refuse_beyond(self, signed):
        """A key that the believed one never authorised."""
        keys, rotations = self.beyond
        for key in keys:
            if signed.signed_by(key):
                raise Wrong(
                    f"{signed.where}: by {key.name}+{key.key_id}, which {rotations[0].old.key_id} never authorised: "
                    f"{rotations[0].new.key_id} took its place {rotations[0].replaced}"
                )

    def check_later(self, note, place):
        """A note about the log at a place, by a key that was valid there or a later one."""
        last = Wrong(f"{note.where}: not signed by a key of the log")
        for index, key in enumerate(self.keys):
            if index < len(self.rotations) and place > self.rotations[index].place:
                continue
            try:
                return note.check_signature(key)
            except Wrong as wrong:
                last = wrong
        self.refuse_beyond(note)
        raise last

    def check(self, checkpoint):
        """The key that signed, if it was valid there. No key of the log may have signed wrongly."""
        for key in self.keys:
            checkpoint.signed_by(key)
        place = checkpoint.place()
        for index, key in enumerate(self.keys):
            begun = index == 0 or self.rotations[index - 1].place <= place
            over = index < len(self.rotations) and place > self.rotations[index].place
            if begun and not over and checkpoint.signed_by(key):
                return key
        self.refuse_beyond(checkpoint)
        for key in self.keys:
            if checkpoint.signed_by(key):
                raise Wrong(f"{checkpoint.where}: {key.name}+{key.key_id} may not sign {checkpoint.size} records")
        checkpoint.check_signature(self.keys[-1])


def read_keys(path, believed):
    """Those of an `audit.keys`, if there is one."""
    if not os.path.exists(path):
        return Keys(believed, [], path)
    stored = read_document(path, "auditctl/keys")
    if believed.name.rpartition("/")[2] != stored["log_id"]:
        raise Wrong(f"{path}: of another log")
    if not stored["rotations"]:
        raise Wrong(f"{path}: without a rotation")
    return Keys(believed, stored["rotations"], path)


# --- a log ---


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from None


def read_text(path):
    try:
        return read(path).decode()
    except UnicodeDecodeError:
        raise Wrong(f"{path}: not UTF-8") from None


class Newer(Exception):
    """A file of a format that came after this program."""


def once(pairs):
    """A member that stands twice would be another one for another reader."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member stands twice")
    return dict(pairs)


def constant(name):
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=once, parse_constant=constant)


def parse(text, where):
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Wrong(f"{where}: not JSON") from None


def read_json(path):
    return parse(read_text(path), path)


def check_head(document, kind, where):
    """What a file says that it is. Members that are not known are none of our business."""
    if not isinstance(document, dict) or document.get("type") != kind:
        raise Wrong(f"{where}: does not say that it is {kind}")
    if type(document.get("format")) is not int or document["format"] < 1:
        raise Wrong(f"{where}: has no format")
    if document["format"] > 1:
        raise Newer(f"{where}: of format {document['format']}: a newer version made it")
    return document


def read_document(path, kind):
    return check_head(read_json(path), kind, path)


def spans(text):
    """The members of the object that a text is: where the value of each begins and ends."""
    found, at = {}, re.compile(r"[ \t\n\r]*")
    skip = lambda place: at.match(text, place).end()
    place = skip(skip(0) + 1)
    while text[place] != "}":
        key, place = DECODER.raw_decode(text, place)
        begin = skip(skip(place) + 1)
        _, end = DECODER.raw_decode(text, begin)
        found[key] = (begin, end)
        place = skip(end)
        if text[place] == ",":
            place = skip(place + 1)
    return found


def signed_text(raw, kind, origin, size, form=1):
    """What a signature in a file is about: the file's bytes with `null` in its place."""
    text = raw.decode()
    begin, end = spans(text)["signature"]
    digest = sha256(text[:begin].encode(), b"null", text[end:].encode()).hex()
    return f"{kind} v{form}\n{origin}\n{size}\n{digest}\n"


def seq_of(line):
    match = re.match(rb'\{"seq":(0|[1-9][0-9]*),', line)
    return int(match[1]) if match else None


def is_record(line):
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def engine_record(line):
    """A record of the log's own: its type and details; the text of an event is none."""
    if b'"event_type":"audit.' not in line:
        return None, {}
    record = json.loads(line)
    engine = record["event_type"].startswith("audit.") and record.get("origin", {}).get("via") == "engine"
    return (record["event_type"], record.get("details", {})) if engine else (None, {})


class OwnRecords:
    """What the log says of itself. Only what was signed while it was written counts:
    records that an opening took over unsigned authorise nothing."""

    def __init__(self):
        self.removals, self.adopted, self.closes = [], [], set()
        self.holes = []
        self.first_keys, self.changed = [], []

    def note(self, seq, line):
        kind, details = engine_record(line)
        if kind == "audit.closed":
            self.closes.add(seq)
        elif kind == "audit.log_created" and seq == 0:
            if details["format"] != 1:
                raise Newer(f"record 0: the log is of format {details['format']}: a newer version made it")
            self.first_keys.append((seq, details["public_key"], False))
        elif kind == "audit.key_rotated":
            self.changed.append((seq, details["old_key"]))
        elif kind == "audit.pruned":
            self.removals.append((seq, details["pruned_to"]))
            if "first_key" in details:
                self.first_keys.append((seq, details["first_key"], False))
        elif kind in ("audit.recovered", "audit.restored", "audit.rollback_accepted"):
            if "keys_from" in details:
                self.first_keys.append((seq, details["keys_from"], True))
            if not details.get("unproven"):
                for hole in details.get("holes", []):
                    if hole["first_seq"] < hole["end_seq"] <= seq:
                        self.holes.append((seq, hole["first_seq"], hole["end_seq"]))
            if kind == "audit.recovered" and "unsigned_first" in details:
                begin, end = details["unsigned_first"], details["unsigned_end"]
                if begin < end <= seq:
                    self.adopted.append((seq, begin, end))

    def judge(self, signed):
        """The newest removal that counts, and what was adopted."""
        adopted = []
        for seq, begin, end in sorted(self.adopted, reverse=True):
            if seq < signed and not any(a <= seq < b for a, b in adopted):
                adopted.append((begin, end))
        counts = [(s, e) for s, e in self.removals if s < signed and not any(a <= s < b for a, b in adopted)]
        return max(counts, default=(None, 0)), sorted(adopted)


    def given_up(self, signed):
        """The runs of records that signed records name as given up, and by which."""
        _, adopted = self.judge(signed)
        return [hole for hole in self.holes if hole[0] < signed and not any(a <= hole[0] < b for a, b in adopted)]

    def named_keys(self, signed):
        """The keys that have to lead to the one that signs, by what the records say last;
        and the record that accepted that the way before is lost."""
        _, adopted = self.judge(signed)
        counts = lambda seq: seq < signed and not any(a <= seq < b for a, b in adopted)
        first = sorted(said for said in self.first_keys if counts(said[0]))
        cut = max((seq for seq, _, lost in first if lost), default=None)
        named = [first[-1][1]] if first else []
        return named + [old for seq, old in self.changed if counts(seq) and (cut is None or seq > cut)], cut


# Nothing is sealed yet.
NO_MANIFEST = {"log_id": None, "epoch": 0, "pruned": {"begin": 0, "end": 0, "hashes": []}, "segments": []}


def whole(value, where):
    if type(value) is not int or value < 0:
        raise Wrong(f"{where}: {value!r} is no whole number")
    return value


def is_stored(segment):
    """Whether any of its records is here: one that is nothing but holes has no file."""
    return not segment["blocks"] or any("hole" not in block for block in segment["blocks"])


def read_manifest(path):
    """The manifest, with the segments of its pages before its own."""
    manifest = read_json(path)
    # Format 2 is one with pages; without any, it is another that is not known here.
    paged = manifest.get("format") == 2 and bool(manifest.get("pages"))
    check_head({**manifest, "format": 1} if paged else manifest, "auditctl/manifest", path)
    segments, end = [], None
    for page in manifest.get("pages", []):
        name = page["file"]
        raw = read(os.path.join(os.path.dirname(path), name))
        if hashlib.sha256(raw).hexdigest() != page["sha256"]:
            raise Wrong(f"{name}: not the page that the manifest lists")
        if name != f"audit.{page['first_seq']:020}.page.{page['sha256'][:16]}":
            raise Wrong(f"{name}: not the name of that page")
        stored = read_document(os.path.join(os.path.dirname(path), name), "auditctl/manifest-page")
        of_page = stored["segments"]
        last = of_page[-1]["first_seq"] + of_page[-1]["records"]
        if stored["log_id"] != manifest["log_id"] or end not in (None, page["first_seq"]):
            raise Wrong(f"{name}: not a page of this manifest")
        if (of_page[0]["first_seq"], last) != (page["first_seq"], page["end_seq"]):
            raise Wrong(f"{name}: it holds other records than the manifest says")
        segments, end = segments + of_page, page["end_seq"]
    removed = manifest["pruned"]["end"]
    segments = [s for s in segments if s["first_seq"] + s["records"] > removed]
    return {**manifest, "segments": segments + manifest["segments"]}


class Log:
    def __init__(self, directory, wanted):
        self.directory = directory
        self.manifest = NO_MANIFEST
        self.own = OwnRecords()
        if os.path.exists(path := os.path.join(directory, "audit.manifest.json")):
            self.manifest = read_manifest(path)
            packed = [s for s in self.manifest["segments"] if s["file"].endswith(".gz") and is_stored(s)]
            if any("sha256" not in s for s in packed):
                raise Wrong("audit.manifest.json: a packed segment has no SHA-256")
        whole(self.manifest["epoch"], "audit.manifest.json")
        pruned = self.manifest["pruned"]
        self.tree = Tree(pruned["begin"], pruned["hashes"], pruned["end"])
        self.roots = {}
        self.holes = []
        self.first = None
        self.wanted = wanted
        self.note_root()

    def note_root(self):
        if self.tree.end in self.wanted:
            self.roots[self.tree.end] = self.tree.root()

    def append(self, line, where):
        if seq_of(line) != self.tree.end or not is_record(line):
            raise Wrong(f"{where}: record {self.tree.end} is not what stands there")
        if self.tree.end == 0:
            self.first = json.loads(line)
        self.own.note(self.tree.end, line)
        self.tree.append(leaf_hash(line))
        self.note_root()

    def segment(self, segment):
        name = segment["file"]
        stored = read(os.path.join(self.directory, name)) if is_stored(segment) else b""
        if self.is_repacked(segment, stored):
            note(f"{name}: somebody packed it anew; its records are those that were recorded")
            return
        if len(stored) != segment["stored_bytes"]:
            raise Wrong(f"{name}: {len(stored)} bytes, the manifest says {segment['stored_bytes']}")
        if segment["first_seq"] != self.tree.end:
            raise Wrong(f"{name}: begins with record {segment['first_seq']}, not {self.tree.end}")
        offset = 0
        for number, block in enumerate(segment["blocks"]):
            where = f"{name}, block {number}, records {block['first_seq']} to {block['first_seq'] + block['records'] - 1}"
            if block["offset"] != offset:
                raise Wrong(f"{where}: the blocks do not follow each other")
            if "hole" in block:
                self.hole(block, where)
                continue
            raw = stored[offset : offset + block["stored_bytes"]]
            offset += block["stored_bytes"]
            if name.endswith(".gz"):
                raw = member(raw, where)
            if len(raw) != block["raw_bytes"] or not raw.endswith(b"\n"):
                raise Wrong(f"{where}: not the lines that the manifest says")
            tree = Tree(block["first_seq"])
            for line in raw[:-1].split(b"\n"):
                tree.append(leaf_hash(line))
                self.append(line, where)
            if tree.hashes() != block["tree"]["hashes"]:
                raise Wrong(f"{where}: its records are not those that were recorded")
        if offset != len(stored) or self.tree.end != segment["first_seq"] + segment["records"]:
            raise Wrong(f"{name}: its blocks do not add up to it")
        if segment.get("sha256") not in (None, hashlib.sha256(stored).hexdigest()):
            raise Wrong(f"{name}: not the SHA-256 that the manifest says")

    def hole(self, block, where):
        """Records that are not here: their subtree hashes keep the tree whole."""
        if block["stored_bytes"] or block["raw_bytes"]:
            raise Wrong(f"{where}: a hole has bytes")
        end = block["first_seq"] + block["records"]
        hole = Tree(block["tree"]["begin"], block["tree"]["hashes"], block["tree"]["end"])
        if (hole.begin, hole.end) != (block["first_seq"], end):
            raise Wrong(f"{where}: the hashes are of other records")
        self.tree.extend(hole)
        self.holes.append((hole.begin, hole.end, block["hole"]))
        self.note_root()

    def is_repacked(self, segment, stored):
        """The recorded lines in other bytes: then they are taken in."""
        if segment.get("sha256") in (None, hashlib.sha256(stored).hexdigest()) or not segment["file"].endswith(".gz"):
            return False
        raw, rest = b"", stored
        try:
            while rest and len(raw) <= segment["raw_bytes"]:
                decompressor = zlib.decompressobj(wbits=31)
                raw += decompressor.decompress(rest, segment["raw_bytes"] + 1)
                rest = decompressor.unused_data
                if not decompressor.eof:
                    return False
        except zlib.error:
            return False
        at, lines = 0, []
        for block in segment["blocks"]:
            if "hole" in block:
                lines.append(block)
                continue
            tree = Tree(block["first_seq"])
            part = raw[at : at + block["raw_bytes"]]
            at += block["raw_bytes"]
            if not part.endswith(b"\n"):
                return False
            for line in part[:-1].split(b"\n"):
                tree.append(leaf_hash(line))
                lines.append(line)
            if tree.hashes() != block["tree"]["hashes"]:
                return False
        if at != len(raw) or segment["first_seq"] != self.tree.end:
            return False
        for line in lines:
            if isinstance(line, dict):
                self.hole(line, segment["file"])
            else:
                self.append(line, segment["file"])
        return True

    def plain(self, name):
        """Lines that the manifest does not list. What is torn at the end is no part of the log."""
        for line in read(os.path.join(self.directory, name)).split(b"\n")[:-1]:
            torn = seq_of(line) != self.tree.end or not is_record(line)
            if torn and self.tree.end >= self.signed:
                self.torn = True
                return
            self.append(line, name)
        self.torn |= read(os.path.join(self.directory, name))[-1:] not in (b"", b"\n")

    def read_all(self, signed):
        self.signed, self.torn = signed, False
        for segment in self.manifest["segments"]:
            self.segment(segment)
        while os.path.exists(os.path.join(self.directory, name := f"audit.{self.tree.end:020}.log")):
            before = self.tree.end
            self.plain(name)
            if self.tree.end == before:
                break
        # A log that was restored has none until it is opened.
        if os.path.exists(os.path.join(self.directory, "audit.log")):
            self.plain("audit.log")


def member(packed, where):
    """What one gzip member holds: exactly one, and nothing behind it."""
    decompressor = zlib.decompressobj(wbits=31)
    try:
        raw = decompressor.decompress(packed, 4 << 20)
    except zlib.error as error:
        raise Wrong(f"{where}: {error}") from None
    if not decompressor.eof or decompressor.unused_data:
        raise Wrong(f"{where}: not one whole gzip member")
    return raw


def anchor(path):
    """A checkpoint, or a JSON object that holds one."""
    text = read_text(path)
    if text.startswith("{"):
        text = read_json(path).get("checkpoint")
        if not isinstance(text, str):
            raise Wrong(f"{path}: holds no checkpoint")
    return Checkpoint(text, path)


def newest_head(directory, checkpoint, keys):
    """The head of the last durable batch, where it goes further than the checkpoint."""
    path = os.path.join(directory, "audit.head")
    if not os.path.exists(path):
        return checkpoint
    head = Checkpoint(read_text(path), "audit.head")
    keys.check(head)
    if head.origin != checkpoint.origin:
        raise Wrong(f"audit.head: is of {head.origin}, the checkpoint is of {checkpoint.origin}")
    if head.size == checkpoint.size and head.root != checkpoint.root:
        raise Wrong("audit.head and audit.checkpoint were signed over as many records, with different roots")
    return head if head.size > checkpoint.size else checkpoint


def check_manifest_signature(directory, log, keys, origin):
    """Signed over the file's bytes with null in the signature's place."""
    if log.manifest is NO_MANIFEST:
        return
    signature = log.manifest["signature"]
    if signature is None:
        note("audit.manifest.json is not signed; nothing rests on it that the records do not show")
        return
    segments = log.manifest["segments"]
    end = segments[-1]["first_seq"] + segments[-1]["records"] if segments else log.manifest["pruned"]["end"]
    signed = Note(signature, "audit.manifest.json")
    raw = read(os.path.join(directory, "audit.manifest.json"))
    if signed.text != signed_text(raw, "auditctl/manifest", origin, end, log.manifest["format"]):
        raise Wrong("audit.manifest.json: its signature is of something else")
    keys.check_later(signed, (log.manifest["epoch"], end))


def check_own_records(log, checkpoint, head):
    """What is missing at the beginning, and what stands behind the end."""
    (record, removed_to), adopted = log.own.judge(head.size)
    begin = log.manifest["pruned"]["end"]
    if begin > removed_to:
        raise Wrong(f"records {removed_to} to {begin - 1} are missing, and no signed audit.pruned record says why")
    if record is not None:
        note(f"removed by retention up to record {removed_to - 1}, by record {record}")
    given_up = log.own.given_up(head.size)
    for first, end, why in log.holes:
        at, by = first, None
        while at < end:
            named = [(seq, b) for seq, a, b in given_up if a <= at < b]
            if not named:
                raise Wrong(f"records {first} to {end - 1} are not there ({why}), and no signed record gave them up")
            by, at = max(named)
        note(f"records {first} to {end - 1} were given up, by record {by}: {why}")
    for first, end in adopted:
        note(f"records {first} to {end - 1} were taken over when the log was opened; nobody had signed them")
    if head.size - 1 in log.own.closes:
        if log.tree.end > head.size or log.torn:
            raise Wrong("behind the signed close of the log stand lines that none of its writers wrote")
        if checkpoint.size < head.size:
            raise Wrong("audit.checkpoint: older than the close of the log, which stores one")


def check_log(directory, key_file, against):
    checkpoint = Checkpoint(read_text(os.path.join(directory, "audit.checkpoint")), "audit.checkpoint")
    key = read_key(key_file or os.path.join(directory, "audit.pub"))
    keys = read_keys(os.path.join(directory, "audit.keys"), key)
    keys.check(checkpoint)
    head = newest_head(directory, checkpoint, keys)
    anchors = [anchor(path) for path in against]
    for kept in anchors:
        keys.check(kept)
    # Both keys signed these; a restore since then may have set the records aside.
    handed_over = [r.checkpoint for r in keys.rotations if r.place[0] == checkpoint.place()[0]]
    log = Log(directory, {kept.size for kept in [checkpoint, head, *anchors, *handed_over]})
    epoch = log.manifest["epoch"]
    origin = key.name + (f"/e{epoch}" if epoch else "")
    if log.manifest is not NO_MANIFEST and (
        checkpoint.origin != origin or key.name.rpartition("/")[2] != log.manifest["log_id"]
    ):
        raise Wrong(f"audit.checkpoint: is of {checkpoint.origin}, the log is {origin}")
    log.read_all(head.size)
    if log.tree.end < head.size:
        raise Wrong(f"{head.where}: signed over {head.size} records, the files end at record {log.tree.end}")
    if log.first and log.first["details"].get("origin", key.name) != key.name:
        raise Wrong(f"record 0: the log began as {log.first['details']['origin']}, its key is {key.name}")
    named, cut = log.own.named_keys(head.size)
    for text in named:
        if all(VerifierKey(text, "a record").key != key.key for key in keys.known):
            raise Wrong(f"audit.keys: nothing leads from {text} to the key that signs")
    if cut is not None:
        note(f"how the log's first key was followed is lost, as record {cut} says")
    for signed in [checkpoint, head, *anchors, *handed_over]:
        if signed.size < log.manifest["pruned"]["end"] and signed in handed_over:
            continue
        if signed.size not in log.roots:
            missing = "removed by retention" if signed.size < log.manifest["pruned"]["end"] else "not there"
            raise Wrong(f"{signed.where}: covers {signed.size} records, which are {missing}")
        if log.roots[signed.size] != signed.root:
            raise Wrong(f"{signed.where}: the records below {signed.size} are not those that were signed")
    check_own_records(log, checkpoint, head)
    check_manifest_signature(directory, log, keys, checkpoint.origin)
    return head.size, log.tree.end - head.size, head.root.hex()


# --- a proof ---


def check_consistency(first, second, first_root, second_root, hashes, where):
    """RFC 9162, section 2.1.4.2"""
    try:
        proof = [from_hex(text) for text in hashes]
    except (TypeError, ValueError):
        raise Wrong(f"{where}: the consistency proof is not hex") from None
    wrong = Wrong(f"{where}: the signed tree does not begin with the earlier one")
    if first > second:
        raise wrong
    if first in (0, second):
        expected = sha256() if first == 0 else second_root
        if proof or first_root != expected:
            raise wrong
        return
    if first & (first - 1) == 0:
        proof.insert(0, first_root)
    if not proof:
        raise wrong
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    earlier = later = proof[0]
    for hash_ in proof[1:]:
        if last == 0:
            raise wrong
        if node & 1 or node == last:
            earlier, later = sha256(b"\x01", hash_, earlier), sha256(b"\x01", hash_, later)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            later = sha256(b"\x01", later, hash_)
        node, last = node >> 1, last >> 1
    if last or earlier != first_root or later != second_root:
        raise wrong


SIGNED_TREE = {"tree_size": int, "checkpoint": str, "public_key": str}
MEMBERS = {
    "auditctl/proof": {"seq": int, "record": str, "inclusion_proof": list},
    "auditctl/consistency-proof": {"from_size": int, "from_root": str, "consistency_proof": list},
}


def signed_tree(document, key_file, path):
    """The checkpoint of a proof document, and the keys that it leads to."""
    key = VerifierKey(document["public_key"], path)
    believed = read_key(key_file) if key_file else key
    checkpoint = Checkpoint(document["checkpoint"], path)
    keys = Keys(believed, document.get("key_chain", []), path)
    signer = keys.check(checkpoint)
    if (signer.name, signer.key) != (key.name, key.key):
        raise Wrong(f"{path}: signed by another key than it says")
    if document["tree_size"] != checkpoint.size:
        raise Wrong(f"{path}: its tree size is not that of its checkpoint")
    return checkpoint, keys


def check_included(record, index, checkpoint, hashes, path):
    if not 0 <= index < checkpoint.size or seq_of(record) != index:
        raise Wrong(f"{path}: record, seq and tree size do not belong together")
    check_inclusion(record, index, checkpoint.size, hashes, checkpoint.root, path)
    return index, checkpoint.size


def check_proof(path, key_file, against, record_file):
    if read(path).startswith(b"c2sp.org/tlog-proof@"):
        return check_tlog_proof(path, key_file, record_file)
    document = read_json(path)
    kind = document.get("type") if isinstance(document, dict) else None
    if kind not in MEMBERS:
        raise Wrong(f"{path}: not a proof document")
    check_head(document, kind, path)
    for member, type_ in {**SIGNED_TREE, **MEMBERS[kind]}.items():
        if type(document.get(member)) is not type_:
            raise Wrong(f"{path}: not a proof document: {member}")
    checkpoint, keys = signed_tree(document, key_file, path)
    if kind == "auditctl/proof":
        return check_included(document["record"].encode(), document["seq"], checkpoint, document["inclusion_proof"], path)
    size, root = document["from_size"], from_hex(document["from_root"])
    check_consistency(size, checkpoint.size, root, checkpoint.root, document["consistency_proof"], path)
    for kept in map(anchor, against):
        if kept.log()[0] != checkpoint.log()[0]:
            raise Wrong(f"{kept.where}: is of {kept.origin}, the proof is of {checkpoint.origin}")
        keys.check(kept)
        if (kept.size, kept.root) != (size, root):
            raise Wrong(f"{kept.where}: is not the earlier tree, of {size} records")
    return size, checkpoint.size


def check_tlog_proof(path, key_file, record_file):
    """C2SP tlog-proof; the record's line stands in `extra`, or is given."""
    if not key_file:
        raise Wrong(f"{path}: names no key, so one has to be given")
    proof, _, checkpoint = read_text(path).partition("\n\n")
    lines = proof.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Wrong(f"{path}: of another version")
    record = decode64(lines.pop(0)[6:], path) if lines[:1] and lines[0].startswith("extra ") else None
    index = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines.pop(0) if lines else "")
    if not index:
        raise Wrong(f"{path}: no index")
    if record_file:
        given = read(record_file).removesuffix(b"\n")
        if record not in (None, given):
            raise Wrong(f"{path}: its record is not the one that was given")
        record = given
    if record is None:
        raise Wrong(f"{path}: does not hold the record, so it has to be given")
    signed = Checkpoint(checkpoint, path)
    Keys(read_key(key_file), [], path).check(signed)
    return check_included(record, int(index[1]), signed, [decode64(line, path).hex() for line in lines], path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log_dir", nargs="?")
    parser.add_argument("--public-key", metavar="FILE")
    parser.add_argument("--against", metavar="FILE", action="append", default=[])
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--keys", metavar="FILE", help="the log's audit.keys, to follow from one key to another")
    parser.add_argument("--proof", metavar="FILE")
    parser.add_argument("--record", metavar="FILE", help="the record's line, for a tlog-proof without it")
    args = parser.parse_args()
    if [args.log_dir, args.checkpoint, args.proof].count(None) != 2:
        parser.error("one of LOG_DIR, --checkpoint and --proof")
    if args.checkpoint and not args.public_key:
        parser.error("--checkpoint needs --public-key")
    try:
        if args.proof:
            print("ok", *check_proof(args.proof, args.public_key, args.against, args.record))
        elif args.checkpoint:
            checkpoint = anchor(args.checkpoint)
            key = read_key(args.public_key)
            keys = read_keys(args.keys, key) if args.keys else Keys(key, [], args.public_key)
            keys.check(checkpoint)
            print("ok", checkpoint.size, checkpoint.root.hex())
        else:
            size, unsigned, root = check_log(args.log_dir, args.public_key, args.against)
            print("ok", size, root, f"and {unsigned} unsigned" if unsigned else "")
            for text in NOTES:
                print("note:", text)
    except Newer as newer:
        print(f"newer: {newer}", file=sys.stderr)
        sys.exit(3)
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        sys.exit(f"wrong: a document lacks what it must have: {error!r}")


if __name__ == "__main__":
    main()
