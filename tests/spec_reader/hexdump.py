"""Prints an annotated hexdump of a segment as a Markdown code block, for SPEC.md section 12.

    python hexdump.py FILE

Every byte of the file appears once, in order: position (hex), bytes, field, value. It follows the tables of SPEC.md section
2, which the lists below repeat. Streams are decoded where their codec is none. The output is deterministic: the same file
gives the same text.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import kseg

# A field: name, size, and kind. "u": unsigned, "i": signed, "x": bytes shown as they are, "t": ASCII, "": no value.
Fields = list[tuple[str, int, str]]

FILE_HEADER: Fields = [
    ("magic", 8, ""), ("major", 2, "u"), ("minor", 2, "u"), ("header_length", 4, "u"), ("incompatible_features", 8, "u"),
    ("compatible_features", 8, "u"), ("segment_id", 16, ""), ("topic_id", 16, ""), ("partition", 4, "i"), ("timestamp_type", 1, "u"),
    ("isolation_level", 1, "u"), ("reserved", 2, ""), ("base_offset", 8, "i"), ("tlv_length", 4, "u"), ("reserved", 12, ""),
]
TLV: Fields = [("type", 2, "u"), ("reserved", 2, ""), ("length", 4, "u")]
BLOCK: Fields = [
    ("magic", 4, "t"), ("header_crc", 4, "c"), ("salt", 8, ""), ("position", 8, "u"), ("sequence", 4, "u"), ("kind", 1, "u"),
    ("stream_count", 1, "u"), ("reserved", 2, ""), ("header_length", 4, "u"), ("block_length", 4, "u"), ("base_offset", 8, "i"),
    ("end_offset", 8, "i"), ("min_timestamp", 8, "i"), ("max_timestamp", 8, "i"), ("record_count", 4, "u"), ("tombstone_count", 4, "u"),
    ("control_count", 4, "u"), ("no_timestamp_count", 4, "u"), ("raw_length", 4, "u"), ("reserved", 4, ""), ("content_digest", 16, ""),
    ("restore_digest", 16, ""), ("min_known_timestamp", 8, "i"), ("reserved", 24, ""),
]
DIRECTORY: Fields = [("stream", 1, "s"), ("codec", 1, "o"), ("reserved", 2, ""), ("stored_crc", 4, "c"), ("stored_length", 4, "u"), ("raw_length", 4, "u")]
SECTION: Fields = [("type", 4, "u"), ("flags", 4, "u"), ("length", 8, "u")]
INDEX_ENTRY: Fields = [
    ("position", 8, "u"), ("base_offset", 8, "i"), ("end_offset", 8, "i"), ("min_timestamp", 8, "i"), ("max_timestamp", 8, "i"),
    ("min_known_timestamp", 8, "i"), ("block_length", 4, "u"), ("header_length", 2, "u"), ("kind", 1, "u"), ("reserved", 1, ""),
    ("record_count", 4, "u"), ("header_crc", 4, "c"), ("raw_length", 4, "u"), ("meta_length", 4, "u"),
]
STATISTICS: Fields = [(name, 8, "i") for name in ("base_offset", "end_offset", "first_offset", "last_offset", "min_timestamp", "max_timestamp")] + [
    (name, 8, "u") for name in (
        "record_count", "tombstone_count", "control_count", "no_timestamp_count", "zero_timestamp_count", "null_key_count", "header_count",
        "key_bytes", "value_bytes", "header_bytes", "max_record_bytes", "max_lateness_ms", "raw_bytes")
] + [("min_known_timestamp", 8, "i"), ("content_digest", 16, ""), ("restore_digest", 16, "")]
GAPS: Fields = [("missing_count", 8, "u"), ("default_reason", 4, "u"), ("entry_count", 4, "u")]
GAP_ENTRY: Fields = [("from_offset", 8, "i"), ("to_offset", 8, "i"), ("reason", 4, "u"), ("reserved", 4, "")]
RENDERED_SIZES: Fields = [("rendering_version", 4, "u"), ("view_count", 4, "u")]
TRAILER: Fields = [
    ("footer_position", 8, "u"), ("file_length", 8, "u"), ("footer_length", 4, "u"), ("footer_crc", 4, "c"), ("segment_id", 16, ""),
    ("block_count", 4, "u"), ("major", 2, "u"), ("minor", 2, "u"), ("header_crc", 4, "c"), ("trailer_crc", 4, "c"), ("magic", 8, ""),
]

TLV_NAMES = {1: "topic", 2: "cluster_id", 3: "writer", 4: "created_at", 5: "compression"}
SECTION_NAMES = {1: "header_copy", 2: "block_index", 3: "statistics", 4: "gaps", 5: "rendered_sizes"}


def show(data: bytes, kind: str) -> str:
    if kind == "u":
        return str(int.from_bytes(data, "little"))
    if kind == "i":
        return str(int.from_bytes(data, "little", signed=True))
    if kind == "c":
        return f"0x{int.from_bytes(data, 'little'):08x}"
    if kind == "s":
        return f"{data[0]} {kseg.STREAM_NAMES.get(data[0], '')}".rstrip()
    if kind == "o":
        return f"{data[0]} {kseg.CODEC_NAMES.get(data[0], '')}".rstrip()
    if kind == "t":
        return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data).join('""')
    return ""


class Dump:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.lines = data, 0, []

    def title(self, text: str) -> None:
        if self.lines:
            self.lines.append("")
        self.lines.append(text)

    def field(self, name: str, size: int, kind: str = "", value: str | None = None) -> bytes:
        """Writes the next `size` bytes, at most 16 per line, with the name and the value on the first line."""
        data = self.data[self.at:self.at + size]
        if value is None:
            value = show(data, kind)
        for at in range(0, size, 16):
            text = f"{name:<22} {value}" if at == 0 else ""
            self.lines.append(f"{self.at + at:08x}  {data[at:at + 16].hex(' '):<47}  {text}".rstrip())
        self.at += size
        return data

    def fields(self, fields: Fields) -> dict[str, int]:
        """Writes all fields of a table; returns their numbers."""
        numbers = {}
        for name, size, kind in fields:
            numbers[name] = int.from_bytes(self.field(name, size, kind), "little")
        return numbers

    def padding(self, end: int) -> None:
        self.field("padding", end - self.at)


def file_header(dump: Dump) -> None:
    start = dump.at
    header = dump.fields(FILE_HEADER)
    tlvs_end = dump.at + header["tlv_length"]
    while dump.at < tlvs_end:
        tlv = dump.fields(TLV)
        dump.field(f"value ({TLV_NAMES.get(tlv['type'], 'unknown')})", tlv["length"], "i" if tlv["type"] == 4 else "t")
        dump.padding(dump.at + -tlv["length"] % 8)
    dump.padding(start + header["header_length"] - 4)
    dump.field("header_crc", 4, "c")


def meta(dump: Dump, stream: bytes, record_count: int) -> None:
    """Writes the columns of META: one line for the encoding and one for the entries of each."""
    signed: Callable[[int], int] = kseg.unzigzag
    count = record_count
    columns = kseg._Columns(stream, dump.at)
    headers = 0
    for name in ("skipped", "time", "attributes", "key", "value", "headers", "header_name", "header_value"):
        if name == "header_name":
            count = headers
        start = columns.at
        entries = columns.column(name, count)
        constant = stream[start] == 0
        dump.field(f"{name}: encoding", 1, value="0 constant" if constant else "1 plain")
        numbers = [signed(entry) if name == "time" else entry for entry in (entries[:1] if constant else entries)]
        dump.field(f"{name}: entries", columns.at - start - 1, value=" ".join(map(str, numbers)))
        if name == "headers":
            headers = sum(entries)


def block(dump: Dump) -> None:
    start = dump.at
    header = dump.fields(BLOCK)
    directory = []
    for _ in range(header["stream_count"]):
        directory.append(dump.fields(DIRECTORY))
    dump.padding(start + header["header_length"])
    for entry in directory:
        name = kseg.STREAM_NAMES[entry["stream"]]
        dump.title(f"stream {name}")
        plain = entry["codec"] == kseg.CODEC_NONE
        if plain and entry["stream"] == kseg.META:
            meta(dump, dump.data[dump.at:dump.at + entry["stored_length"]], header["record_count"])
        else:
            dump.field(name, entry["stored_length"], "t" if plain else "")
    if dump.at < start + header["block_length"]:
        dump.title("padding of the block")
        dump.padding(start + header["block_length"])


def footer(dump: Dump, end: int) -> None:
    blocks = 0
    while dump.at < end and any(dump.data[dump.at:end]):
        section_type = int.from_bytes(dump.data[dump.at:dump.at + 4], "little")
        dump.title(f"footer, section {SECTION_NAMES.get(section_type, 'of an unknown type')}")
        section = dump.fields(SECTION)
        payload_end = dump.at + section["length"]
        if section_type == 1:
            dump.field("header_copy", section["length"], value="the file header once more")
        elif section_type == 2:
            blocks = section["length"] // 64
            for _ in range(blocks):
                dump.fields(INDEX_ENTRY)
        elif section_type == 3:
            dump.fields(STATISTICS)
        elif section_type == 4:
            for _ in range(dump.fields(GAPS)["entry_count"]):
                dump.fields(GAP_ENTRY)
        elif section_type == 5:
            dump.fields(RENDERED_SIZES)
            for view in kseg.VIEWS:
                for _ in range(blocks):
                    dump.field(f"end of {view}", 8, "u")
        else:
            dump.field("payload", section["length"])
        assert dump.at == payload_end
        dump.padding(dump.at + -section["length"] % 8)
    if dump.at < end:
        dump.title("padding of the footer")
        dump.padding(end)


def hexdump(data: bytes) -> str:
    segment = kseg.verify(data)  # the code below trusts what it reads
    dump = Dump(data)
    dump.title("file header")
    file_header(dump)
    for number in range(len(segment.index)):
        dump.title(f"block {number}")
        block(dump)
    footer(dump, segment.trailer.footer_position + segment.trailer.footer_length)
    dump.title("trailer")
    dump.fields(TRAILER)
    assert dump.at == len(data) == struct.unpack_from("<Q", data, len(data) - 56)[0]
    return "```text\n" + "\n".join(dump.lines) + "\n```\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints an annotated hexdump of a segment in Markdown.")
    parser.add_argument("file", type=Path)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.write(hexdump(parser.parse_args().file.read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
