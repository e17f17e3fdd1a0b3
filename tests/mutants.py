#!/usr/bin/env python3
"""Mutation testing: what could change in src without a test noticing.

    mutants.py --sample 120 --seed 1 [--jobs 2] [--work DIR] [--only FILE]
    mutants.py --sample 40 --seed 1 --dropped-calls

`cargo mutants` makes the list of mutants (and .cargo/mutants.toml says which are left
out); one by one it would build the program 7,000 times. This builds the sample into
one program in which a file switches each of them on, sees once which tests reach
which mutant, and then runs those for each: the same verdicts, without the builds.

A mutant is caught when a test that passes without it fails with it, twice, or does not
end in five times its time and a minute. With --dropped-calls the mutants are ours: a
call whose result nobody uses (`file.sync_all()?;`) is not made.

Needs: cargo-mutants (for the list), Python 3.9, and from PyPI tree-sitter and
tree-sitter-rust. Features: none of the optional ones. Prints each survivor, then the
figures by area; RESULTS.json in the working directory has all of it.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import tree_sitter
import tree_sitter_rust

ROOT = pathlib.Path(__file__).resolve().parent.parent
AREAS = ["src/audit", "src/backup", "src/collector"]
SWITCH = '''
/// Which mutant is switched on; `trace`: none, and each that is reached is noted.
#[doc(hidden)]
pub fn mutant(id: usize) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    static ON: OnceLock<(usize, String)> = OnceLock::new();
    static SEEN: [AtomicBool; 4096] = [const { AtomicBool::new(false) }; 4096];
    const FILE: &str = env!("MUTANT_FILE");
    fn argument(text: &str) -> Option<String> {
        let words: Vec<&str> = text.split('\\0').collect();
        words.contains(&"--exact").then_some(())?;
        words.iter().skip(1).find(|word| !word.starts_with('-') && !word.is_empty()).map(|w| w.to_string())
    }
    fn test() -> String {
        let mut pid = std::process::id().to_string();
        let group = std::fs::read_to_string("/proc/self/stat").ok()
            .and_then(|s| s.rsplit(')').next()?.split(' ').nth(3).map(str::to_owned));
        for _ in 0..12 {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if let Some(name) = argument(&line) { return name; }
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            match stat.rsplit(')').next().and_then(|s| s.split(' ').nth(2)) {
                Some(parent) if parent != "0" && parent != "1" => pid = parent.to_owned(),
                _ => break,
            }
        }
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", group.unwrap_or_default()));
        argument(&line.unwrap_or_default()).unwrap_or_else(|| "unknown".to_owned())
    }
    let (on, name) = ON.get_or_init(|| {
        let text = std::fs::read_to_string(FILE).unwrap_or_default();
        if text.trim() == "trace" { (usize::MAX, test()) }
        else { (text.trim().parse().unwrap_or(usize::MAX - 1), String::new()) }
    });
    if *on == usize::MAX && !SEEN[id].swap(true, Ordering::Relaxed) {
        let dir = format!("{FILE}.trace/{}", name.replace('/', "_"));
        let _ = std::fs::create_dir_all(&dir);
        let _ = std::fs::write(format!("{dir}/{id}"), "");
    }
    *on == id
}
'''


def run(*command, **more):
    return subprocess.run(command, text=True, capture_output=True, **more)


# --- the mutants of the sample, in the source

class Source:
    """One file, and what is changed in it."""

    def __init__(self, path, text):
        self.path, self.text = path, text
        language = tree_sitter.Language(tree_sitter_rust.language())
        self.tree = tree_sitter.Parser(language).parse(text)
        self.lines = [0]
        for line in text.split(b"\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)
        self.at = collections.defaultdict(list)  # (start, end) of a node -> mutants

    def offset(self, place):
        line = self.text[self.lines[place["line"] - 1]:self.lines[place["line"]]]
        return self.lines[place["line"] - 1] + len(line.decode()[:place["column"] - 1].encode())

    def add(self, mutant):
        """Whether the place is one that can be switched."""
        begin, end = self.offset(mutant["span"]["start"]), self.offset(mutant["span"]["end"])
        genre = mutant["genre"]
        if genre == "FnValue":
            self.at[(begin, begin, "insert")].append(mutant)
            return True
        node = self.tree.root_node.descendant_for_byte_range(begin, end)
        if genre == "Call":
            while node and node.type != "expression_statement":
                node = node.parent
        elif genre in ("BinaryOperator", "UnaryOperator"):
            node = node.parent
            wanted = {"BinaryOperator": ("binary_expression", "compound_assignment_expr"),
                      "UnaryOperator": ("unary_expression",)}[genre]
            if node is None or node.type not in wanted:
                return False
        elif genre == "MatchArmGuard":
            while node and not (node.parent and node.parent.type == "match_pattern"):
                node = node.parent
            if node is None or node.start_byte != begin or node.end_byte != end:
                return False
        elif genre == "MatchArm":
            while node and node.type != "match_arm":
                node = node.parent
            node = node and node.child_by_field_name("pattern")
        else:
            return False
        if node is None:
            return False
        self.at[(node.start_byte, node.end_byte, node.type)].append(mutant)
        return True

    def rendered(self, left_out):
        self.out = left_out
        inserts = {key[0]: found for key, found in self.at.items() if key[2] == "insert"}
        return self.render(self.tree.root_node, inserts)

    def live(self, found):
        return [mutant for mutant in found if mutant["id"] not in self.out]

    def inserted(self, place, inserts):
        text = b""
        for mutant in self.live(inserts.get(place, [])):
            n, value = mutant["id"], mutant["replacement"]
            back = f"return {value};" if value != "()" else "return;"
            text += f"/*<{n}*/if crate::mutant({n}) {{ {back} }}/*{n}>*/ ".encode()
        return text

    def render(self, node, inserts):
        text, at = b"", node.start_byte
        for child in node.children:
            text += self.text[at:child.start_byte]
            if node.type == "block":
                text += self.inserted(child.start_byte, inserts)
            text += self.render(child, inserts)
            at = child.end_byte
        text += self.text[at:node.end_byte]
        found = self.live(self.at.get((node.start_byte, node.end_byte, node.type), []))
        return self.switched(node, text, found, inserts) if found else text

    def switched(self, node, text, found, inserts):
        def part(name):
            child = node.child_by_field_name(name)
            return self.render(child, inserts)

        arms, marks = b"", b"".join(f"/*<{m['id']}*/".encode() for m in found)
        ends = b"".join(f"/*{m['id']}>*/".encode() for m in reversed(found))
        for mutant in found:
            on = f"crate::mutant({mutant['id']})".encode()
            new = mutant["replacement"].encode()
            genre = mutant["genre"]
            if genre == "Call":
                return marks + b"if !" + on + b" { " + text + b" }" + ends
            if genre == "MatchArm":
                condition = node.child_by_field_name("condition")
                if condition is None:
                    return marks + text + b" if !" + on + ends
                word = next(child for child in node.children if child.type == "if")
                head = self.text[node.start_byte:word.start_byte]
                guard = self.render(condition, inserts)
                return marks + head + b" if !" + on + b" && (" + guard + b")" + ends
            if genre == "MatchArmGuard":
                other = new
            elif genre == "UnaryOperator":
                other = self.render(node.children[-1], inserts)
            else:
                other = part("left") + b" " + new + b" " + part("right")
            arms += b"if " + on + b" { " + other + b" } else "
        body = arms + b"{ " + text + b" }"
        statement = node.type == "compound_assignment_expr"
        return marks + (body if statement else b"(" + body + b")") + ends


def dropped_calls():
    """Every statement that is a call and nothing else, outside of tests."""
    language = tree_sitter.Language(tree_sitter_rust.language())
    left_out = re.compile(r"^\s*(tracing::|debug_assert|assert|drop\(|.*\.(clear|push|push_str)\()")
    for area in AREAS:
        for path in sorted((ROOT / area).rglob("*.rs")):
            if "tests" in path.name or "tests" in path.parts:
                continue
            text = path.read_bytes()
            stop = text.find(b"#[cfg(test)]\nmod tests")
            nodes = [tree_sitter.Parser(language).parse(text).root_node]
            while nodes:
                node = nodes.pop()
                nodes.extend(node.children)
                if node.type != "expression_statement" or not node.children:
                    continue
                inner = node.children[0]
                while inner.type in ("try_expression", "await_expression"):
                    inner = inner.children[0]
                words = text[node.start_byte:node.end_byte].decode()
                if inner.type != "call_expression" or 0 <= stop < node.start_byte:
                    continue
                if left_out.match(words):
                    continue
                row, column = node.start_point
                before = text[:node.start_byte].split(b"\n")[-1].decode()
                place = {"line": row + 1, "column": len(before) + 1}
                end_row, _ = node.end_point
                last = text[:node.end_byte].split(b"\n")[-1].decode()
                name = f"{path.relative_to(ROOT)}:{row + 1}:{len(before) + 1}: drop the call {' '.join(words.split())}"
                yield {"file": str(path.relative_to(ROOT)), "genre": "Call", "name": name,
                       "replacement": "",
                       "span": {"start": place, "end": {"line": end_row + 1, "column": len(last) + 1}}}


def listed(arguments):
    if arguments.dropped_calls:
        return list(dropped_calls())
    command = ["cargo", "mutants", "--list", "--json"]
    for area in AREAS:
        command += ["--file", f"{area}/**"]
    done = run(*command, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


# --- building

def build(work, tree, sources, target):
    """Leaves out what does not compile; the numbers of these."""
    out = set()
    env = dict(os.environ, MUTANT_FILE=str(work / "mutant"), CARGO_TARGET_DIR=str(target),
               CARGO_PROFILE_DEV_DEBUG="0")
    for _ in range(25):
        for source in sources:
            (tree / source.path).write_bytes(source.rendered(out))
        done = run("cargo", "check", "--lib", "--no-default-features", "--features", "application", "--message-format=json",
                   cwd=tree, env=env)
        if done.returncode == 0:
            break
        wrong = set()
        for line in done.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            if not isinstance(message, dict) or message.get("level") != "error":
                continue
            for span in message["spans"]:
                if not span["is_primary"] or not (tree / span["file_name"]).is_file():
                    continue
                text = (tree / span["file_name"]).read_bytes()
                wrong |= nearest(text, span["byte_start"], span["byte_end"], out)
        if not wrong:
            sys.exit(done.stderr[-3000:])
        out |= wrong
    else:
        sys.exit("it does not compile")
    done = run("cargo", "test", "--no-run", "--no-default-features", "--features", "application", "--lib", "--test", "it",
               "--bin", "auditctl", "--message-format=json", cwd=tree, env=env)
    if done.returncode != 0:
        sys.exit(done.stderr[-3000:])
    binaries = []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("profile", {}).get("test") and message.get("executable"):
            if message["target"]["kind"] != ["bin"]:
                binaries.append(message["executable"])
    return out, binaries


def nearest(text, begin, end, out):
    """The innermost mutant at an error, else the one that is closest to it."""
    around, distance = None, None
    for match in re.finditer(rb"/\*<(\d+)\*/", text):
        number = int(match[1])
        stop = text.find(f"/*{number}>*/".encode(), match.end())
        if match.start() <= begin and end <= stop:
            if around is None or stop - match.start() < around[0]:
                around = (stop - match.start(), number)
        away = min(abs(match.start() - begin), abs(stop - begin))
        if distance is None or away < distance[0]:
            distance = (away, number)
    chosen = around or distance
    return {chosen[1]} if chosen else set()


# --- running

def one_test(test, tree, seconds):
    binary, name = test
    begun = time.monotonic()
    process = subprocess.Popen(
        [binary, name, "--exact", "--nocapture"], cwd=tree, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=dict(os.environ, CARGO_MANIFEST_DIR=str(tree)))
    try:
        good = process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        good = False
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    return good, time.monotonic() - begun


def tests_of(binaries):
    found = []
    for binary in binaries:
        done = run(binary, "--list", "--format", "terse")
        found += [(binary, line[:-6]) for line in done.stdout.splitlines() if line.endswith(": test")]
    return found


def trace(work, tree, tests, jobs):
    """Which mutants each test reaches, and how long it takes; failing ones are left out."""
    (work / "mutant").write_text("trace")
    shutil.rmtree(work / "mutant.trace", ignore_errors=True)
    times, failing = {}, []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for test, (good, took) in zip(tests, pool.map(lambda t: one_test(t, tree, 900), tests)):
            if good:
                times[test] = took
            else:
                failing.append(test[1])
    reached = collections.defaultdict(list)
    for test in times:
        directory = work / "mutant.trace" / test[1].replace("/", "_")
        if directory.is_dir():
            for entry in directory.iterdir():
                reached[int(entry.name)].append(test)
    # What a process reached whose test is not known, every longer test may have reached.
    unknown = work / "mutant.trace" / "unknown"
    strays = {int(entry.name) for entry in unknown.iterdir()} if unknown.is_dir() else set()
    for number in strays:
        reached[number] = sorted(set(reached[number]) | {t for t in times if times[t] > 0.3})
    for number in reached:
        reached[number].sort(key=lambda test: times[test])
    return reached, times, failing


def judge(work, tree, mutant, reached, times, jobs, most):
    """The test that catches it, or none; of those that reach it the quickest `most`."""
    tests = reached.get(mutant["id"], [])[:most]
    (work / "mutant").write_text(str(mutant["id"]))
    lock, caught = [], None
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        def look(test):
            if lock:
                return None
            good, _ = one_test(test, tree, times[test] * 5 + 60)
            if not good and not lock:
                again, _ = one_test(test, tree, times[test] * 5 + 60)
                if not again:
                    lock.append(test[1])
            return None
        list(pool.map(look, tests))
    caught = lock[0] if lock else None
    return caught, len(tests)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target" / "mutants")
    parser.add_argument("--target", type=pathlib.Path, help="a target directory to build in")
    parser.add_argument("--most", type=int, help="tests that are run for each mutant at most, the quickest first:\n"
                        "survivors are then those of these tests")
    parser.add_argument("--only", type=pathlib.Path, help="a file with the names to try, one a line")
    parser.add_argument("--dropped-calls", action="store_true")
    arguments = parser.parse_args()
    # A shell that starts this in the background has SIGINT ignored, which tests would inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    work = arguments.work.resolve()
    tree, target = work / "tree", (arguments.target or work / "target").resolve()
    work.mkdir(parents=True, exist_ok=True)
    everything = listed(arguments)
    if arguments.only:
        # A line number may have moved: the file and what is changed must agree.
        bare = lambda name: re.sub(r":\d+:\d+:", ":", name)
        names = {bare(line.strip()) for line in arguments.only.read_text().splitlines()}
        sample = [mutant for mutant in everything if bare(mutant["name"]) in names]
    else:
        sample = random.Random(arguments.seed).sample(everything, min(arguments.sample, len(everything)))
    sample.sort(key=lambda mutant: mutant["name"])
    print(f"{len(everything)} mutants, {len(sample)} in the sample", flush=True)
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    subprocess.run(f"git -C {ROOT} ls-files -z | (cd {ROOT} && xargs -0 cp --parents -t {tree})",
                   shell=True, check=True)
    for path, old in ((tree / "src/lib.rs", "#![forbid(unsafe_code)]"),
                      (tree / "Cargo.toml", 'unsafe_code = "deny"\n')):
        path.write_text(path.read_text().replace(old, ""))
    lib = tree / "src/lib.rs"
    lib.write_text(lib.read_text() + SWITCH)
    sources, not_tried = {}, []
    for number, mutant in enumerate(sample):
        mutant["id"] = number
        if mutant["file"] not in sources:
            text = (ROOT / mutant["file"]).read_bytes()
            sources[mutant["file"]] = Source(mutant["file"], text)
        if not sources[mutant["file"]].add(mutant):
            not_tried.append(number)
    out, binaries = build(work, tree, sources.values(), target)
    tried = [m for m in sample if m["id"] not in out and m["id"] not in not_tried]
    print(f"{len(out)} do not compile, {len(not_tried)} cannot be switched, {len(tried)} are tried", flush=True)
    tests = tests_of(binaries)
    begun = time.monotonic()
    reached, times, failing = trace(work, tree, tests, arguments.jobs)
    print(f"{len(times)} tests pass without a mutant ({time.monotonic() - begun:.0f} s), "
          f"left out: {', '.join(failing) or 'none'}", flush=True)
    results = []
    # The cheapest first: one in the middle of everything takes as long as all the others.
    tried.sort(key=lambda mutant: sum(times[test] for test in reached.get(mutant["id"], [])))
    for mutant in tried:
        begun = time.monotonic()
        caught, count = judge(work, tree, mutant, reached, times, arguments.jobs, arguments.most)
        results.append({"name": mutant["name"], "file": mutant["file"], "caught": caught, "tests": count})
        if not caught:
            print(f"SURVIVES ({count} tests reach it, {time.monotonic() - begun:.0f} s): {mutant['name']}", flush=True)
        (work / "RESULTS.json").write_text(json.dumps(results, indent=1))
    (work / "mutant").write_text("none")
    for area in AREAS + [""]:
        of_area = [result for result in results if result["file"].startswith(area)]
        good = sum(1 for result in of_area if result["caught"])
        if of_area:
            print(f"{area or 'all':14} {good} of {len(of_area)} caught ({100 * good / len(of_area):.0f}%)")


if __name__ == "__main__":
    main()
