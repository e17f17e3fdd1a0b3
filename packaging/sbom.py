"""Turns `cargo metadata` (on standard input) into a CycloneDX 1.5 bill of materials of what is in the program.

Crates that only tests need are left out; those that only build it are in, with the scope "excluded", which is CycloneDX's word
for what is not delivered. Only the standard library; the same sources give the same bytes.
"""

import argparse
import datetime
import json
import re
import sys
import tomllib
import uuid


def delivered(metadata):
    """The ids of the crates that are linked, and of those that only the build needs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    macros = {
        package["id"] for package in metadata["packages"]
        if any("proc-macro" in target["kind"] for target in package["targets"])
    }
    linked, built = set(), set()

    def walk(id, in_build):
        into = built if in_build or id in macros else linked
        if id in into:
            return
        into.add(id)
        for dependency in nodes[id]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if None in kinds:
                walk(dependency["pkg"], in_build or id in macros)
            if "build" in kinds:
                walk(dependency["pkg"], True)

    walk(root, False)
    return root, linked, built - linked, nodes


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums, scope):
    found = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        "scope": scope,
    }
    if package.get("description"):
        found["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # The old form of "or" is a slash.
        found["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", required=True)
    parser.add_argument("--date", required=True, type=int, help="seconds since 1970")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    sys.setrecursionlimit(10_000)

    metadata = json.load(sys.stdin)
    with open(args.lock, "rb") as file:
        lock = tomllib.load(file)
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    root, linked, built, nodes = delivered(metadata)

    components = [component(packages[id], checksums, "required") for id in linked if id != root]
    components += [component(packages[id], checksums, "excluded") for id in built]
    components.sort(key=lambda one: one["bom-ref"])
    program = component(packages[root], checksums, "required")
    program["type"] = "application"
    del program["scope"]
    everything = linked | built
    dependencies = [
        {
            "ref": reference(packages[id]),
            "dependsOn": sorted({reference(packages[one]) for one in nodes[id]["dependencies"] if one in everything}),
        }
        for id in everything
    ]
    dependencies.sort(key=lambda one: one["ref"])
    at = datetime.datetime.fromtimestamp(args.date, datetime.timezone.utc)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": program,
            "tools": {"components": [{"type": "application", "name": "packaging/sbom.py"}]},
        },
        "components": components,
        "dependencies": dependencies,
    }
    content = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    with open(args.output, "w", encoding="utf-8") as file:
        json.dump(bill, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
