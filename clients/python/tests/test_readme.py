"""Every example in README.md runs as it stands, but for paths."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def test_the_examples_of_the_readme_run(make: Any) -> None:
    collector = make()
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(<!-- not run[^\n]*-->\n)?```python\n(.*?)```", text, re.DOTALL)
    run = [block for marker, block in blocks if not marker]
    assert len(run) >= 8 and len(blocks) - len(run) <= 1
    program = "\n".join(run).replace("/run/auditctl/audit.sock", str(collector.socket)).replace("/var/lib/shop", str(collector.home))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=False,
                          env={"PYTHONPATH": str(HERE.parent / "src"), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert "not recorded" not in done.stdout and done.stderr == ""
    collector.stop()
    collector.verify()
    types = [record["event_type"] for record in collector.records()]
    assert types.count("import.row") == 10_000 and types.count("probe") == 100
    assert {"invoice.paid", "user.delete", "report.export", "order.paid"} <= set(types)
