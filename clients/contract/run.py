#!/usr/bin/env python3
"""Drives a client through the contract (clients/CONTRACT.md) against a real collector.

    python3 clients/contract/run.py --auditctl target/debug/auditctl --driver 'python3 clients/python/driver.py'

Python's standard library, and openssl for certificates. Exit codes: 0 all that ran is well, 1 something is not, 2 usage.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import List

from suite import recording, spooling, troubles, uncertain  # noqa: F401  (they fill the table)
from suite.collector import Failed, Skipped
from suite.scene import SCENARIOS, Scene


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--auditctl", required=True, help="the program that the collector is run with")
    parser.add_argument("--driver", required=True, help="the command that starts the client's driver")
    parser.add_argument("--only", default="", help="these scenarios, with commas between")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--rounds", type=int, default=8, help="kills and cuts of a scenario (8)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random; 0: another one each time")
    parser.add_argument("--strict", action="store_true", help="a scenario skipped for want of anything but a driver's feature fails")
    parser.add_argument("--features", default="", help="what the driver must have, with commas between; another list fails")
    parser.add_argument("--keep", action="store_true", help="keep the directories of scenarios that failed")
    options = parser.parse_args()
    if options.list:
        print("\n".join(SCENARIOS))
        return 0
    names = [name for name in options.only.split(",") if name] or list(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error("no scenario %s; there are: %s" % (", ".join(unknown), ", ".join(SCENARIOS)))
    auditctl = shutil.which(options.auditctl)
    if auditctl is None:
        parser.error("no program %s" % options.auditctl)
    auditctl = str(Path(auditctl).resolve())
    seed = options.seed or random.randrange(1, 1 << 31)
    print("contract: %s, seed %d" % (options.driver, seed), flush=True)
    failed: List[str] = []
    skipped: List[str] = []
    notes: List[str] = []
    for name in names:
        # Short: a socket's path has a hundred bytes.
        home = Path(tempfile.mkdtemp(prefix="ac-"))
        wanted = options.features.split(",") if options.features else None
        scene = Scene(auditctl, options.driver, home, seed, options.rounds, notes, wanted)
        begun = time.monotonic()
        verdict = "ok"
        try:
            with scene.stack:
                SCENARIOS[name](scene)
                scene.close()
        except Skipped as why:
            verdict = "skipped: %s" % why
            skipped.append(name)
            if options.strict and not why.ours:
                failed.append(name)
        except Failed as why:
            verdict = "FAILED: %s" % why
            failed.append(name)
        except Exception:
            verdict = "FAILED: " + traceback.format_exc()
            failed.append(name)
        print("  %-16s %6.1f s  %s" % (name, time.monotonic() - begun, verdict), flush=True)
        if name in failed and options.keep:
            print("    kept: %s" % home)
        else:
            shutil.rmtree(home, ignore_errors=True)
    for note in notes:
        print("  note: " + note)
    print("%d ok, %d skipped, %d failed" % (len([n for n in names if n not in failed + skipped]), len(skipped), len(failed)))
    if failed:
        print("failed: %s (again with --seed %d --only %s --keep)" % (", ".join(failed), seed, ",".join(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
