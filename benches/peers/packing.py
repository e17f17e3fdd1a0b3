"""Packing: seconds for backups, restores and verification; nobody but ours reads back what it wrote, or proves anything."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Callable, Dict, List

from programs import Auditctl, version_of
from scratch import Scratch, run
from turns import Contest, Peer, Run
from work import Work

SECTION = "Packing"


class Packing:
    """The contests of backups and of what is like them."""

    def __init__(self, scratch: Scratch, auditctl: Auditctl, work: Work) -> None:
        self._scratch, self._auditctl, self._work = scratch, auditctl, work
        self._raw = work.lines.stat().st_size
        self._out = scratch.dir("packed") / "lines"

    def contests(self, missing: Dict[str, str], versions: Dict[str, str]) -> List[Contest]:
        for program in ("gzip", "pigz", "igzip", "sha256sum", "restic"):
            version = version_of(program)
            if version is None:
                missing[program] = "not installed"
            else:
                versions[program] = version
        lines = str(self._work.lines)
        packers = {
            "pigz -p2 -6": (["pigz", "-p2", "-6", "-c", lines], 1.5),
            "gzip -6": (["gzip", "-6", "-c", lines], None),
            "igzip -1": (["igzip", "-1", "-c", lines], None),
        }
        full = [Peer(name, self._packed(command), goal) for name, (command, goal) in packers.items() if command[0] in versions]
        # What is sealed is not compressed again: no goal.
        copied = [Peer(peer.name, peer.run) for peer in full]
        if "restic" in versions:
            full.append(Peer("restic backup, first", self._restic_first))
        found = [
            Contest(SECTION, "backup of plain lines, read back", self._backup_full(self._work.plain), full),
            Contest(SECTION, "backup of sealed segments, read back", self._backup_full(self._work.sealed), copied),
        ]
        if "restic" in versions:
            found += self._again()
        unpackers = {
            "gzip -dc": (["gzip", "-dc"], 1 / 0.8),
            "pigz -dc": (["pigz", "-dc"], None),
            "igzip -dc": (["igzip", "-dc"], None),
        }
        if "gzip" in versions:
            packed = self._scratch.dir("gzip") / "lines.gz"
            with packed.open("wb") as out:
                run(["gzip", "-6", "-c", lines], stdout=out)
            peers = [
                Peer(name, self._unpacked([*command, str(packed)]), goal)
                for name, (command, goal) in unpackers.items()
                if command[0] in versions
            ]
            found.append(Contest(SECTION, "restore, all checks", self._restore(), peers))
        if "sha256sum" in versions:
            hashed = Peer("sha256sum of the lines, one core", self._timed(["sha256sum", lines]), 1.5)
            for home, name in ((self._work.sealed, "sealed"), (self._work.plain, "plain lines")):
                verify = self._auditctl.command(home, "verify", "--json")
                found.append(Contest(SECTION, "verify, %s" % name, self._timed(verify), [hashed]))
        return found

    def _timed(self, command: List[str]) -> Callable[[], Run]:
        def measured() -> Run:
            begun = time.perf_counter()
            run(command)
            return Run(time.perf_counter() - begun)

        return measured

    def _packed(self, command: List[str]) -> Callable[[], Run]:
        def measured() -> Run:
            begun = time.perf_counter()
            with self._out.open("wb") as out:
                run(command, stdout=out)
            took = time.perf_counter() - begun
            return Run(took, told={"packed": self._raw / self._out.stat().st_size})

        return measured

    def _unpacked(self, command: List[str]) -> Callable[[], Run]:
        def measured() -> Run:
            begun = time.perf_counter()
            with self._out.open("wb") as out:
                run(command, stdout=out)
            return Run(time.perf_counter() - begun)

        return measured

    def _backup(self, home: Path, out: Path, *args: str) -> Run:
        command = self._auditctl.command(home, "backup", "--local", "--json", "--output-dir", str(out), *args)
        begun = time.perf_counter()
        done = run(command, cwd=home)
        took = time.perf_counter() - begun
        told = json.loads(done.stdout)["backup"]
        made = {} if told.get("nothing_new") else {"packed": told["original_bytes"] / told["compressed_bytes"]}
        return Run(took, told=made)

    def _backup_full(self, home: Path) -> Callable[[], Run]:
        return lambda: self._backup(home, self._scratch.dir("backups"))

    def _restore(self) -> Callable[[], Run]:
        out = self._scratch.dir("to-restore")
        self._backup(self._work.sealed, out)

        def measured() -> Run:
            target = self._scratch.home / "restored"
            shutil.rmtree(target, ignore_errors=True)
            command = self._auditctl.command(
                self._work.sealed, "restore", "latest", "--json", "--output-dir", str(out), "--target", str(target)
            )
            begun = time.perf_counter()
            run(command, cwd=self._work.sealed)
            return Run(time.perf_counter() - begun)

        return measured

    def _restic(self, repository: Path, *args: str) -> None:
        # Its cache and its password are the run's own.
        env = {
            **os.environ,
            "RESTIC_REPOSITORY": str(repository),
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(self._scratch.home / "restic-cache"),
        }
        run(["restic", "--quiet", *args], env=env)

    def _restic_first(self) -> Run:
        repository = self._scratch.dir("restic-first")
        self._restic(repository, "init")
        begun = time.perf_counter()
        self._restic(repository, "backup", str(self._work.plain / "logs/audit.log"))
        took = time.perf_counter() - begun
        stored = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())
        return Run(took, told={"packed": self._raw / stored})

    def _again(self) -> List[Contest]:
        """The second backup, and those of a log that has grown by a hundredth; a log and a repository of their own grow with it."""
        home, out, repository = (self._scratch.dir(name) for name in ("growing", "growing-backups", "restic"))
        shutil.copytree(self._work.sealed, home, dirs_exist_ok=True)
        with (home / "auditctl.toml").open("a", encoding="ascii") as settings:
            # One full backup, and no other within a run.
            settings.write("[backup]\nfull_every = 64\n")
        log = home / "logs"
        self._backup(home, out, "--full")
        self._restic(repository, "init")
        self._restic(repository, "backup", str(log))

        def theirs() -> Run:
            begun = time.perf_counter()
            self._restic(repository, "backup", str(log))
            return Run(time.perf_counter() - begun)

        def grown() -> Run:
            # Before it is timed: also in the pair's other half, the same records are new.
            run(self._auditctl.command(home, "record", "--json", "--from-start", "--file", str(self._work.more)), cwd=home)
            return self._backup(home, out, "--incremental")

        return [
            Contest(SECTION, "second backup, nothing new", lambda: self._backup(home, out), [Peer("restic backup", theirs)]),
            Contest(SECTION, "incremental backup, 1% new, read back", grown, [Peer("restic backup", theirs)]),
        ]
