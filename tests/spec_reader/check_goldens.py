"""Reads every golden and broken segment with kseg.py and compares with the JSON beside it.

    python check_goldens.py DIR

DIR is fixtures/, or one of its folders; for fixtures/golden/... the folder fixtures/broken/... is checked too. Prints
one line per file, then `N passed, M failed`. make_goldens.py describes the JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import kseg


def check_file(path: Path) -> list[str]:
    """Returns how the segment `path` differs from the JSON beside it."""
    try:
        expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        return [f"cannot be read: {error}"]
    try:
        if "error_class" in expected:
            return check_broken(data, expected)
        return check_golden(data, expected)
    except kseg.FormatError as error:
        return [str(error)]
    except Exception as error:  # a defect of the reader is reported like any other; the remaining files are still checked
        return [f"the reader failed: {type(error).__name__}: {error}"]


# --------------------------------------------------------------------------------------------------------------
# Goldens


def expected_records(expected: dict) -> list[dict]:
    records = []
    for record in expected["records"]:
        record = dict(record)
        repeat = record.pop("value_repeat", 1)
        if repeat != 1:
            record["value_hex"] *= repeat
        records.append(record)
    return records


def check_golden(data: bytes, expected: dict) -> list[str]:
    problems = []

    def compare(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            problems.append(f"{what}: found {shorten(found)}, expected {shorten(wanted)}")

    segment = kseg.verify(data)
    info = kseg.info_to_json(segment)
    expected.setdefault("whole_lines", None)
    expected.setdefault("hours", None)
    expected.setdefault("batch_bounds", None)
    expected.setdefault("key_filter", None)
    for name in ("header", "tlvs", "blocks", "statistics", "gaps", "rendered_sizes", "whole_lines", "hours", "batch_bounds", "key_filter"):
        if isinstance(expected[name], dict) and isinstance(info[name], dict):
            for member in sorted(expected[name].keys() | info[name].keys()):
                compare(f"{name}.{member}", info[name].get(member, "nothing"), expected[name].get(member, "nothing"))
        else:
            compare(name, info[name], expected[name])

    records = list(segment.records())
    wanted = expected_records(expected)
    compare("number of records", len(records), len(wanted))
    for record, one in zip(records, wanted):
        compare(f"record {one['offset']}", kseg.record_to_json(record), one)
    for view, digest in expected["rendered_sha256"].items():
        compare(f"rendering {view}", hashlib.sha256(kseg.render(records, view, segment.header)).hexdigest(), digest)

    for key_hex, blocks, offsets in expected.get("look_ups", []):
        key = None if key_hex is None else bytes.fromhex(key_hex)
        compare(f"blocks of key {key_hex}", segment.key_filter.look_up(data, key), blocks)
        compare(f"records of key {key_hex}", [record.offset for record in segment.select_key(key)], offsets)
    for offset, answer in expected["queries"]["find_by_offset"]:
        compare(f"find_by_offset({offset})", offset_of(segment.find_by_offset(offset)), answer)
    for timestamp, answer in expected["queries"]["offset_for_time"]:
        compare(f"offset_for_time({timestamp})", offset_of(segment.offset_for_time(timestamp)), answer)
    for t0, t1, answer in expected["queries"]["select"]:
        compare(f"select({t0}, {t1})", [record.offset for record in segment.select(t0, t1)], answer)

    # A scan finds the same records in the whole segment, without trailer and footer, without the file header, and without all three.
    headless = bytes(64) + data[64:]
    footer_position = segment.trailer.footer_position
    for what, image in (("scan", data), ("scan without footer", data[:footer_position]), ("scan without header", headless),
                        ("scan without header and footer", headless[:footer_position])):
        result = kseg.scan(image)
        compare(f"{what}: records", [r.offset for r in result.records], [r.offset for r in records])
        compare(f"{what}: reports", [str(report) for report in result.reports], [])
    return problems


def offset_of(record: kseg.Record | None) -> int | None:
    return None if record is None else record.offset


def shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


# --------------------------------------------------------------------------------------------------------------
# Broken segments


def first_error(data: bytes) -> tuple[str, kseg.FormatError] | None:
    """Returns the first step that finds a defect, and the defect."""
    try:
        segment = kseg.open(data)
    except kseg.FormatError as error:
        return "open", error
    try:
        for _ in segment.records():
            pass
    except kseg.FormatError as error:
        return "decode", error
    try:
        kseg.verify(data)
    except kseg.FormatError as error:
        return "verify", error
    return None


def check_broken(data: bytes, expected: dict) -> list[str]:
    problems = []
    found = first_error(data)
    if found is None:
        return [f"reads without an error, expected {expected['error_class']} at {expected['at']}"]
    step, error = found
    if (step, error.error_class) != (expected["at"], expected["error_class"]):
        problems.append(f"at {step}: {error}; expected {expected['error_class']} at {expected['at']}")
    result = kseg.scan(data)  # never fails, whatever the input
    offsets = [record.offset for record in result.records]
    if "scan_offsets" in expected and offsets != expected["scan_offsets"]:
        problems.append(f"a scan returns {offsets}, expected {expected['scan_offsets']}")
    return problems


# --------------------------------------------------------------------------------------------------------------


def folders(given: Path) -> list[Path]:
    """Returns `given`, and the broken segments beside it if it is a folder of goldens."""
    given = given.resolve()
    found = [given]
    if "golden" in given.parts:
        at = len(given.parts) - 1 - given.parts[::-1].index("golden")
        beside = Path(*given.parts[:at], "broken", *given.parts[at + 1:])
        if beside.is_dir():
            found.append(beside)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares golden and broken segments with the JSON beside them.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    arguments = parser.parse_args()

    passed = failed = 0
    for folder in folders(arguments.folder):
        segments = {path.with_suffix(".kseg") for path in folder.rglob("*") if path.suffix in (".kseg", ".json")}
        for path in sorted(segments):
            problems = check_file(path)
            print(f"{'FAILED' if problems else 'ok'} {path.parent.parent.name}/{path.parent.name}/{path.name}")
            for problem in problems:
                print(f"    {problem}")
            passed, failed = passed + (not problems), failed + bool(problems)
    if passed + failed == 0:
        print(f"no segment in {arguments.folder}")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
