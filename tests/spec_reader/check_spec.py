"""Checks that section 12 of SPEC.md shows its golden segment.

`python check_spec.py SPEC.md FILE.kseg` fails when the dump between the markers is not that of FILE;
with --write it replaces the dump.
"""

import argparse
import subprocess
import sys
from pathlib import Path

BEGIN, END = "<!-- hexdump:begin -->\n", "<!-- hexdump:end -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path)
    parser.add_argument("segment", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()

    hexdump = Path(__file__).with_name("hexdump.py")
    dump = subprocess.run(
        [sys.executable, hexdump, arguments.segment], check=True, capture_output=True, text=True
    ).stdout
    text = arguments.spec.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    shown, after = rest.split(END)
    if arguments.write:
        arguments.spec.write_text(before + BEGIN + dump + END + after, encoding="utf-8")
    elif shown != dump:
        print(f"{arguments.spec}: section 12 does not show {arguments.segment}; run {parser.prog} with --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
