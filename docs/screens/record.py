#!/usr/bin/env python3
"""Records docs/screens/session.svg, the picture at the top of README.md.

    python3 docs/screens/record.py target/release/auditctl

The commands in SESSION run for real, in a new directory and on a terminal of
their own. What they print is drawn as it stands on that terminal at the end.
With --output FILE the picture goes there; with --text its text is printed too.
Needs Python 3.8 or newer, and nothing else. A test runs this again and compares
the text (tests/it/documented.rs).
"""

import argparse
import html
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import fcntl
import termios
from pathlib import Path

COLUMNS = 108
# A command that takes longer hangs.
SECONDS = 60
# Each command, and what a reader should notice about it.
SESSION = [
    ("auditctl record --type login --actor alice --outcome success", ""),
    ("auditctl record --type payment --actor bob --target invoice-17 --details '{\"amount\":4710}'", ""),
    ("auditctl query --actor alice --actor bob", ""),
    ("auditctl backup | grep made", ""),
    ("sed -i 's/4710/9710/' logs/audit.log", "someone edits the log"),
    ("auditctl verify", ""),
    ("auditctl repair", ""),
]

# SGR codes, as colours on a dark background.
COLOURS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#76e3ea"}
FOREGROUND, BACKGROUND, FAINT, PROMPT = "#e6edf3", "#0d1117", "#8b949e", "#7ee787"
CHAR, LINE, MARGIN = 8.0, 19.0, 16.0


class Screen:
    """As much of a terminal as the program uses: text, line ends, SGR, erasing a line."""

    def __init__(self):
        self.lines = [[]]
        self.column = 0
        self.style = ()

    def feed(self, text):
        for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", text):
            if part == "\n":
                self.lines.append([])
                self.column = 0
            elif part == "\r":
                self.column = 0
            elif part.startswith("\x1b["):
                self.control(part)
            else:
                for sign in part:
                    self.put(sign)

    def control(self, sequence):
        numbers, letter = sequence[2:-1], sequence[-1]
        if letter == "m":
            for number in (int(code or 0) for code in numbers.split(";")):
                self.style = () if number == 0 else self.style + (number,)
        elif letter == "K" and numbers == "2":
            self.lines[-1] = []
        elif letter not in "hl":
            raise SystemExit(f"record.py: the program used {sequence!r}, which is not known here")

    def put(self, sign):
        line = self.lines[-1]
        while len(line) <= self.column:
            line.append((" ", ()))
        line[self.column] = (sign, self.style)
        self.column += 1

    def rows(self):
        """The lines, each cut at the terminal's width, without blanks at their end."""
        rows = []
        for line in self.lines:
            while line and line[-1][0] == " ":
                line = line[:-1]
            rows += [line[at:at + COLUMNS] for at in range(0, max(len(line), 1), COLUMNS)]
        while rows and not rows[-1]:
            rows.pop()
        return rows


def run(command, directory, environment):
    """What the command prints on a terminal."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    process = subprocess.Popen(["sh", "-c", command], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                               stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    printed = b""
    while True:
        ready, _, _ = select.select([main], [], [], SECONDS)
        if not ready:
            process.kill()
            raise SystemExit(f"record.py: `{command}` has printed nothing for {SECONDS} s")
        try:
            piece = os.read(main, 65536)
        except OSError:  # The terminal is closed: the command has ended.
            piece = b""
        if not piece:
            break
        printed += piece
    os.close(main)
    process.wait(timeout=SECONDS)
    return printed.decode("utf-8").replace("\r\n", "\n")


def record(program):
    """The session's lines: each a list of (sign, style)."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="auditctl-screen-") as directory:
        places = Path(directory, "bin")
        places.mkdir()
        (places / "auditctl").symlink_to(Path(program).resolve())
        environment = {
            "PATH": f"{places}:/usr/bin:/bin", "HOME": directory, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8",
            # How full this machine's disk is has no place in the picture.
            "AUDITCTL_DISK_WARN_BYTES": "0B", "AUDITCTL_DISK_CRITICAL_BYTES": "0B",
        }
        work = Path(directory, "work")
        work.mkdir()
        for command, comment in SESSION:
            shown = [("$", (1, "prompt")), (" ", ())] + [(sign, (1,)) for sign in command]
            if comment:
                shown += [(sign, (2,)) for sign in f"    # {comment}"]
            screen = Screen()
            screen.feed(run(command, work, environment))
            rows += [shown] + screen.rows()
    return rows


def text_of(rows):
    return "".join("".join(sign for sign, _ in row).rstrip() + "\n" for row in rows)


def spans(row):
    """Runs of one style: where each begins, its text and its style."""
    found = []
    for column, (sign, style) in enumerate(row):
        if found and found[-1][2] == style:
            found[-1][1].append(sign)
        else:
            found.append((column, [sign], style))
    return [(column, "".join(signs), style) for column, signs, style in found]


def svg_of(rows):
    width, height = COLUMNS * CHAR + 2 * MARGIN, len(rows) * LINE + 2 * MARGIN + 14
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img">',
        "<title>A terminal session: recording two events, a backup, an edited log that verify finds, and repair</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{x}" cy="16" r="5" fill="{fill}"/>' for x, fill in ((18, "#ff5f56"), (35, "#ffbd2e"), (52, "#27c93f"))),
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="13.3" '
        f'fill="{FOREGROUND}" xml:space="preserve">',
    ]
    for at, row in enumerate(rows):
        y = MARGIN + 14 + (at + 1) * LINE - 5
        pieces = []
        for column, text, style in spans(row):
            fill = next((COLOURS[code] for code in style if code in COLOURS), None)
            fill = PROMPT if "prompt" in style else FAINT if 2 in style else fill
            attributes = f' fill="{fill}"' if fill else ""
            attributes += ' font-weight="bold"' if 1 in style else ""
            # Every viewer has another font: each run is made as wide as its columns.
            attributes += f' textLength="{len(text) * CHAR:g}" lengthAdjust="spacingAndGlyphs"' if text.strip() else ""
            pieces.append(f'<tspan x="{MARGIN + column * CHAR:g}"{attributes}>{html.escape(text, quote=False)}</tspan>')
        out.append(f'<text y="{y:g}">{"".join(pieces)}</text>')
    return "\n".join(out + ["</g>", "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the auditctl to record")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("session.svg"))
    parser.add_argument("--text", action="store_true", help="print the session's text as well")
    given = parser.parse_args()
    rows = record(given.program)
    given.output.write_text(svg_of(rows), encoding="utf-8")
    if given.text:
        sys.stdout.write(text_of(rows))


if __name__ == "__main__":
    main()
