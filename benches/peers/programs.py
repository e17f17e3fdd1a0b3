"""The programs: ours, the one that measures inside of ours, and those of others that are there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from scratch import Failed, Scratch, run, say

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("duckdb", "chdb")


@dataclass
class Auditctl:
    """The program."""

    path: Path

    def command(self, home: Path, *args: str) -> List[str]:
        """With the log in `logs` below a directory, and its settings."""
        return [str(self.path), "--config", str(home / "auditctl.toml"), "--log-dir", str(home / "logs"), *args]

    def version(self) -> str:
        return run([str(self.path), "--version"]).stdout.decode().strip()


@dataclass
class Measure:
    """benches/peers/measure.rs: one measurement inside of the engine, or as its clients."""

    path: Path
    work: Path

    def json(self, *args: str) -> Dict[str, Any]:
        env = {**os.environ, "BENCH_DIR": str(self.work)}
        found: Dict[str, Any] = json.loads(run([str(self.path), *args], cwd=ROOT, env=env).stdout)
        return found


class Collector:
    """`auditctl serve`, with its log in `logs` of a directory."""

    def __init__(self, scratch: Scratch, auditctl: Auditctl, home: Path, settings: str, http: str = "off") -> None:
        self._scratch = scratch
        (home / "auditctl.toml").write_text(settings, encoding="utf-8")
        self.said = home / "serve.stderr"
        with self.said.open("wb") as out:
            command = auditctl.command(home, "serve", "--http", http)
            self.process = scratch.start(command, cwd=home, stdout=subprocess.DEVNULL, stderr=out)
        self.ready = self._wait_until_ready()

    def _wait_until_ready(self) -> str:
        while True:
            for line in self.said.read_text(encoding="utf-8", errors="replace").splitlines():
                if "ready:" in line:
                    return line
            try:
                # A pause that ends early if it does.
                self.process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            raise Failed("auditctl serve ended: %s" % self.said.read_text(encoding="utf-8", errors="replace"))

    def peak_mib(self) -> float:
        status = Path("/proc", str(self.process.pid), "status").read_text(encoding="ascii", errors="replace")
        found = re.search(r"VmHWM:\s+(\d+)", status)
        return int(found.group(1)) / 1024 if found else 0.0

    def stop(self) -> None:
        self._scratch.stop(self.process)


def build(target: Path, features: Optional[str]) -> "tuple[Path, Path]":
    """Our program as it is released, and measure.rs, which has the feature `testing` as well.

    They are copies, so that a later build changes neither.
    """
    chosen = [] if features is None else ["--no-default-features", "--features", features]
    kept = target / "built"
    kept.mkdir(parents=True, exist_ok=True)
    programs = []
    # The program last: the bench builds one with `testing` in the same place.
    for command, name in ((["bench", "--no-run", "--bench", "peers"], "peers"), (["build", "--release", "--bin", "auditctl"], "auditctl")):
        say("cargo %s" % " ".join(command + chosen))
        done = subprocess.run(
            ["cargo", *command, *chosen, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise Failed("cargo %s failed" % command[0])
        found = [message for message in map(json.loads, done.stdout.splitlines()) if message.get("executable")]
        path = next(Path(message["executable"]) for message in found if message["target"]["name"] == name)
        shutil.copy2(path, kept / name)
        programs.append(kept / name)
    return programs[1], programs[0]


def version_of(program: str) -> Optional[str]:
    """What it says of itself; None where it is not installed."""
    path = shutil.which(program)
    if path is None:
        return None
    argument = {"igzip": "--version", "restic": "version"}.get(program, "--version")
    done = subprocess.run([path, argument], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else program


def python_with_packages(target: Path, missing: Dict[str, str]) -> Optional[Path]:
    """A Python of the bench's own that has the engines; None, and said why, where there is none."""
    home = target / "venv"
    python = home / "bin/python"
    marker = home / "installed"
    if not marker.exists():
        say("installing %s from PyPI" % ", ".join(PACKAGES))
        shutil.rmtree(home, ignore_errors=True)
        try:
            venv.create(home, with_pip=True, symlinks=True)
        except (OSError, subprocess.CalledProcessError) as why:
            missing["Python's venv"] = str(why)
            return None
        good = True
        for package in PACKAGES:
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                good = False
                say("    %s: %s" % (package, done.stderr.strip()[-300:]))
        if good:
            marker.touch()
    for package in PACKAGES:
        if package_version(python, package) is None:
            missing[package] = "pip could not install it"
    return python


def package_version(python: Path, package: str) -> Optional[str]:
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    done = subprocess.run([str(python), "-c", code, package], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def python_version() -> str:
    return "Python %d.%d.%d" % sys.version_info[:3]
