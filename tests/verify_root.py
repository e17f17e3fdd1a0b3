#!/usr/bin/env python3
"""Recomputes a log's root from its files alone and compares it with audit.checkpoint.

usage: verify_root.py LOG_DIR      needs nothing but Python 3

An independent check of the tree (RFC 6962); it checks no signature. Of records that
retention has removed, audit.manifest.json holds the hashes.
"""
import base64
import gzip
import hashlib
import itertools
import json
import os
import re
import sys


def pruned(directory):
    """Roots of the perfect subtrees over removed records, and how many those are."""
    try:
        with open(os.path.join(directory, "audit.manifest.json"), encoding="utf-8") as file:
            removed = json.load(file)["pruned"]
    except FileNotFoundError:
        return [], 0
    return [bytes.fromhex(text) for text in removed["hashes"]], removed["end"]


def lines(directory):
    names = {}  # a segment that is being compressed may be there as both
    for name in sorted(os.listdir(directory)):
        if match := re.fullmatch(r"audit\.(\d{20})\.log(\.gz)?", name):
            names.setdefault(match[1], name)
    for name in [names[first] for first in sorted(names)] + ["audit.log"]:
        opener = gzip.open if name.endswith(".gz") else open
        with opener(os.path.join(directory, name), "rb") as file:
            yield from (line[:-1] for line in file if line.endswith(b"\n"))


def main(directory):
    with open(os.path.join(directory, "audit.checkpoint"), encoding="utf-8") as file:
        size, root = file.read().split("\n")[1:3]
    size, root = int(size), base64.b64decode(root)
    edge, count = pruned(directory)  # roots of the perfect subtrees on the right edge
    for line in itertools.islice(lines(directory), size - count):
        edge.append(hashlib.sha256(b"\0" + line).digest())
        count += 1
        for _ in range((count & -count).bit_length() - 1):
            right = edge.pop()
            edge.append(hashlib.sha256(b"\1" + edge.pop() + right).digest())
    found = edge.pop() if edge else hashlib.sha256().digest()
    while edge:
        found = hashlib.sha256(b"\1" + edge.pop() + found).digest()
    if count != size:
        sys.exit(f"the checkpoint is of {size} records, the files hold {count}")
    if found != root:
        sys.exit(f"the root over {size} records is {found.hex()}, the checkpoint says {root.hex()}")
    print("ok", size, found.hex())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
