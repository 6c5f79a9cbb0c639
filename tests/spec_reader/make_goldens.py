"""Writes the golden and the broken segments under fixtures/, from SPEC.md alone.

    python make_goldens.py [--fixtures DIR] [--force] [NAME ...]

A writer that controls every byte. It shares no code with the reader kseg.py, which checks every file after it is
written.

fixtures/golden/v1/NAME.kseg with NAME.json:

    description     what the segment shows
    header, tlvs    the file header; TLVs as [type, hex of the value], in order
    blocks          [{base, end, records, codecs: {stream name: codec name}}]; of a block of kind 2 with its batches, by the names of SPEC.md:
                    [{base_offset, last_offset, records, codec, leader_epoch, producer_id, producer_epoch, base_sequence, crc}]
                    and, where it is not computed, with computed: false
    statistics      by the names of SPEC.md; digests as the hex digits of their 16 stored bytes; null what is not computed
    gaps            {missing_count, default_reason, entries: [[from, to, reason]]}
    rendered_sizes  {view: [one end per block]} or null where the section is absent
    whole_lines     {values, keys}, where the section is there
    hours           per block a list of [hour, bytes], where the section is there
    batch_bounds    per block of kind 2 [smallest_max_timestamp, largest_batch_bytes, codecs, whether a batch has fewer records than offsets], where
                    there is such a block
    key_filter      where the section is there, by the names of SPEC.md; pages as [end, entry_count, crc]
    look_ups        where the section is there: [[key as hex or null, [blocks that may have it], [offsets of its records]]]
    rendered_sha256 {view: SHA-256 of the whole view}
    queries         {find_by_offset: [[offset, answer]], offset_for_time: [[T, answer]], select: [[T0, T1, [offsets]]]};
                    an answer is the offset of a record, or null
    records         [{offset, timestamp, control, key_hex, value_hex, headers: [[name_hex, value_hex]]}]; null stays null.
                    Where `value_repeat` is present, the value is the bytes of value_hex that many times.

fixtures/broken/v1/NAME.kseg with NAME.json:

    error_class     of SPEC.md section 7
    at              the step at which a reader that follows SPEC.md section 5 detects it: "open" (trailer and footer),
                    "decode" (reading all blocks by the index), "verify" (everything)
    what            the one defect
    scan_offsets    where present: offsets of the records that a scan returns, in order

Files are frozen: an existing file is kept, whatever this program would write now, unless --force is given. (Compressed
bytes depend on the version of the zstd and lz4 libraries; a golden must not. For the same reason the descriptions below,
which are part of the files, are never reworded.)
"""

from __future__ import annotations

import argparse
import base64
import copy
import gzip
import hashlib
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import lz4.block
import lz4.frame
import xxhash
import zstandard

import check_goldens

I64_MIN, I64_MAX = -(2**63), 2**63 - 1
STREAMS = {"META": 1, "KEYS": 2, "HEADERS": 3, "VALUES": 4, "BATCHES": 5}
CODECS = {"none": 0, "zstd": 1, "lz4": 2}
COLUMNS = ("skipped", "time", "attributes", "key", "value", "headers", "header_name", "header_value")
BATCH_CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
VIEWS = ("records.jsonl", "values", "keys")
RENDERING_VERSION = 2
T = 1700000000000  # an ordinary timestamp: 2023-11-14T22:13:20Z

# --------------------------------------------------------------------------------------------------------------
# What to write


@dataclass
class Rec:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    attributes: int = 0


@dataclass
class Batch:
    """A batch of a block of kind 2. Records have their true timestamps; `base_timestamp` and the rest follow from them where not given."""

    records: list[Rec]
    codec: str = "none"
    base: int | None = None  # None: the offset of the first record
    last: int | None = None  # None: the offset of the last record
    base_timestamp: int | None = None  # None: that of the first record
    leader_epoch: int = -1
    producer: tuple[int, int, int] = (-1, -1, -1)  # id, epoch, base sequence
    attributes: int = 0  # added to the codec and the timestamp type
    long_varints: bool = False  # of more bytes than they need
    record_attributes: int = 0
    raw_snappy: bool = False  # without snappy-java's frames

    # Control for broken segments.
    force: dict[str, int] = field(default_factory=dict)  # fields of the header, by the names of SPEC.md
    edit_records: Callable[[bytes], bytes] | None = None  # not compressed
    edit_stored: Callable[[bytes], bytes] | None = None
    offset_deltas: list[int] | None = None


@dataclass
class Block:
    base: int
    end: int
    records: list[Rec] = field(default_factory=list)
    codecs: dict[str, str] = field(default_factory=dict)  # stream name to codec name; none where not given
    plain: bool = False  # write no constant columns
    batches: list[Batch] | None = None  # the records once more, as batches: a block of kind 2
    computed: bool = True  # whether a block of kind 2 states what only decoding it tells

    # Control for broken segments. `force` and `index_force` replace fields of the block header and its index entry;
    # the index entry otherwise repeats the block header. The functions modify their argument in place.
    force: dict[str, object] = field(default_factory=dict)
    index_force: dict[str, object] = field(default_factory=dict)
    edit_columns: Callable[[dict[str, bytes]], None] | None = None
    edit_streams: Callable[[dict[str, bytes]], None] | None = None  # raw bytes by stream name
    edit_stored: Callable[[dict[str, bytes]], None] | None = None  # stored bytes by stream name
    edit_directory: Callable[[list[list]], None] | None = None  # [stream, codec, crc, stored_length, raw_length]


@dataclass
class Plan:
    name: str
    description: str
    blocks: list[Block]
    base: int = 0
    topic: str = "orders"
    partition: int = 0
    minor: int = 0
    major: int = 1
    compatible: int = 0
    incompatible: int = 0
    timestamp_type: int = 0
    isolation_level: int = 1
    topic_id: bytes | None = None  # None: made from the name
    segment_id: bytes | None = None  # None: made from the name
    tlvs: list[tuple[int, bytes]] | None = None  # None: topic, cluster_id, writer, created_at
    gap_entries: list[tuple[int, int, int]] = field(default_factory=list)
    default_reason: int = 0
    batches_bit: bool | None = None  # None: bit 3 of the features where a block is of kind 2
    not_computed_bit: bool | None = None  # None: bit 0 of the features where a block is not computed
    rendered_sizes: bool = True  # never there where a block is not computed, unless keep_sizes
    keep_sizes: bool = False
    whole_lines: int | None = None  # the flags of that section
    hours: bool = False  # whether that section is there
    key_filter: tuple[int, int, int] | None = None  # hash_bits, page_bits and rice_bits of the key filter; None: there is none
    reserved_byte: int = 0  # what reserved bytes are filled with

    header_padding_byte: int = 0
    extra_header_padding: int = 0
    extra_footer_padding: int = 0
    force_statistics: dict[str, object] = field(default_factory=dict)
    force_trailer: dict[str, object] = field(default_factory=dict)
    edit_rendered_sizes: Callable[[dict[str, list[int]]], None] | None = None
    edit_hours: Callable[[list[list[list[int]]]], None] | None = None  # per block, [hour, bytes]
    edit_batch_bounds: Callable[[list[list]], None] | None = None  # per block of kind 2, as in the JSON
    edit_sections: Callable[[list[list]], None] | None = None  # [type, flags, payload]
    edit_key_entries: Callable[[list[list[int]]], None] | None = None  # per page, the values
    edit_key_pages: Callable[[list[list]], None] | None = None  # [bytes, entry_count], before the crc is computed
    edit_key_filter: Callable[[bytearray], None] | None = None  # the pages with their padding, after it is


@dataclass
class Built:
    """The bytes of a segment, the positions of its parts, and the members of its JSON."""

    data: bytearray
    header_length: int
    block_positions: list[int]
    block_lengths: list[int]
    stream_positions: list[dict[str, int]]
    footer_position: int
    section_positions: dict[int, int]  # type to the position of the payload
    json: dict


# --------------------------------------------------------------------------------------------------------------
# Primitives


def crc32c(data: bytes) -> int:
    """Computes the CRC with a table derived bit by bit from the polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_STEP[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_step(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ 0x82F63B78 * (value & 1)
    return value


CRC_STEP = [_crc_step(value) for value in range(256)]
assert crc32c(b"123456789") == 0xE3069283


def up(n: int, a: int) -> int:
    """Returns align(n, a) of section 1."""
    return n + -n % a


def pad(data: bytes, a: int, fill: int = 0) -> bytes:
    return data + bytes([fill]) * (-len(data) % a)


def varint(value: int) -> bytes:
    assert 0 <= value < 2**64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Returns the zigzag form of `value`, reduced modulo 2^64 to a signed 64-bit integer."""
    value = (value + 2**63) % 2**64 - 2**63
    return value * 2 if value >= 0 else -value * 2 - 1


def code(data: bytes | None) -> int:
    return 0 if data is None else len(data) + 1


def h(data: bytes | None) -> bytes:
    """Returns the XXH3-128 as stored: low 64 bits first."""
    hashed = xxhash.xxh3_128_intdigest(data or b"")
    return struct.pack("<QQ", hashed & (2**64 - 1), hashed >> 64)


def number(digest: bytes) -> int:
    return int.from_bytes(digest, "little")


def u128(value: int) -> bytes:
    return (value % 2**128).to_bytes(16, "little")


def fixed_id(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


# --------------------------------------------------------------------------------------------------------------
# Records: digests and rendering


def digests(records: list[Rec], timestamp_type: int) -> tuple[int, int]:
    content = restore = 0
    for r in records:
        chain = bytes(16)
        for name, value in r.headers:
            hashed = chain + struct.pack("<II", len(name), code(value)) + h(name) + h(value)
            assert len(hashed) == 56
            chain = h(hashed)
        hashed = struct.pack("<qIIII", r.timestamp, code(r.key), code(r.value), len(r.headers), r.attributes)
        hashed += h(r.key) + h(r.value) + chain
        assert len(hashed) == 72
        p = h(hashed)
        content += number(h(struct.pack("<Q", r.offset | timestamp_type << 63) + p))
        restore += number(p)
    return content % 2**128, restore % 2**128


def string(text: str) -> str:
    out = '"'
    for char in text:
        if char in '"\\':
            out += "\\" + char
        elif char in "\b\t\n\f\r":
            out += {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}[char]
        elif ord(char) < 0x20:
            out += f"\\u00{ord(char):02x}"
        else:
            out += char
    return out + '"'


def member(name: str, data: bytes | None) -> str:
    if data is None:
        return f'"{name}":null'
    try:
        return f'"{name}":{string(str(data, "utf-8"))}'
    except UnicodeDecodeError:
        return f'"{name}_base64":"{base64.b64encode(data).decode()}"'


def time_of(timestamp: int) -> str:
    """Returns TIME of section 10, from a calendar that is walked year by year and month by month."""
    if timestamp == -1 or not -62167219200000 <= timestamp <= 253402300799999:
        return "null"
    day, ms = divmod(timestamp + 62167219200000, 86400000)
    year = 0
    while day >= (length := 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365):
        day, year = day - length, year + 1
    month = 1
    for length in (31, length - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31):
        if day < length:
            break
        day, month = day - length, month + 1
    return f'"{year:04}-{month:02}-{day + 1:02}T{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}Z"'


def view(plan: Plan, records: list[Rec], name: str) -> bytes:
    out = bytearray()
    origin = '"topic":%s,"partition":%d' % (string(plan.topic), plan.partition)
    for r in records:
        if r.attributes & 1:
            continue
        if name == "records.jsonl":
            headers = ",".join("{%s,%s}" % (member("name", n), member("value", v)) for n, v in r.headers)
            out += ('{%s,"offset":%d,"timestamp":%d,"time":%s,%s,%s,"headers":[%s]}\n' % (
                origin, r.offset, r.timestamp, time_of(r.timestamp), member("key", r.key), member("value", r.value), headers)).encode()
        else:
            out += ((r.value if name == "values" else r.key) or b"") + b"\n"
    return bytes(out)


# --------------------------------------------------------------------------------------------------------------
# Blocks


def columns_of(records: list[Rec], base: int, min_timestamp: int, plain: bool) -> dict[str, bytes]:
    entries: dict[str, list[int]] = {name: [] for name in COLUMNS}
    offset, timestamp = base - 1, min_timestamp
    for r in records:
        entries["skipped"].append(r.offset - offset - 1)
        entries["time"].append(zigzag(r.timestamp - timestamp))
        entries["attributes"].append(r.attributes)
        entries["key"].append(code(r.key))
        entries["value"].append(code(r.value))
        entries["headers"].append(len(r.headers))
        for name, value in r.headers:
            entries["header_name"].append(len(name))
            entries["header_value"].append(code(value))
        offset, timestamp = r.offset, r.timestamp
    columns = {}
    for name, values in entries.items():
        if len(set(values)) == 1 and not plain:
            columns[name] = b"\0" + varint(values[0])
        else:
            columns[name] = b"\1" + b"".join(map(varint, values))
    return columns


def compress(raw: bytes, codec: str) -> bytes:
    if codec == "zstd":
        return zstandard.ZstdCompressor(level=3, write_content_size=True).compress(raw)
    if codec == "lz4":
        return lz4.block.compress(raw, store_size=False)
    return raw


def snappy_block(raw: bytes) -> bytes:
    """Compresses with literals and copies of 4 to 64 bytes, by Snappy's format_description.txt."""
    out, at, literal, seen = bytearray(varint(len(raw))), 0, 0, {}

    def put_literal(end: int) -> None:
        for start in range(literal, end, 256):
            part = raw[start:min(start + 256, end)]
            out.extend(bytes([len(part) - 1 << 2]) if len(part) <= 60 else bytes([60 << 2, len(part) - 1]))
            out.extend(part)

    while at + 4 <= len(raw):
        before = seen.get(raw[at:at + 4])
        seen[raw[at:at + 4]] = at
        if before is None or at - before > 65535:
            at += 1
            continue
        size = 4
        while size < 64 and at + size < len(raw) and raw[before + size] == raw[at + size]:
            size += 1
        put_literal(at)
        distance = at - before
        if size <= 11 and distance < 2048:
            out.extend([distance >> 8 << 5 | size - 4 << 2 | 1, distance & 0xFF])
        else:
            out.extend([size - 1 << 2 | 2, *distance.to_bytes(2, "little")])
        at += size
        literal = at
    put_literal(len(raw))
    return bytes(out)


def compress_batch(raw: bytes, codec: str, raw_snappy: bool) -> bytes:
    if codec == "gzip":
        return gzip.compress(raw, mtime=0)
    if codec == "snappy" and raw_snappy:
        return snappy_block(raw)
    if codec == "snappy":
        chunks = [snappy_block(raw[at:at + 100]) for at in range(0, len(raw), 100)]
        return b"\x82SNAPPY\0" + struct.pack(">II", 1, 1) + b"".join(struct.pack(">I", len(chunk)) + chunk for chunk in chunks)
    if codec == "lz4":
        return lz4.frame.compress(raw, content_checksum=True, store_size=False)
    if codec == "zstd":
        return zstandard.ZstdCompressor(level=3, write_content_size=False).compress(raw)
    return raw


def batch_bytes(batch: Batch, timestamp_type: int) -> tuple[bytes, dict]:
    """Returns the batch and its fields."""
    def signed(value: int) -> bytes:
        short = varint(zigzag(value))
        return short[:-1] + bytes([short[-1] | 0x80, 0]) if batch.long_varints and len(short) < 5 else short

    def nullable(data: bytes | None) -> bytes:
        null = -7 if batch.long_varints else -1
        return signed(null) if data is None else signed(len(data)) + data

    records = batch.records
    base = records[0].offset if batch.base is None else batch.base
    base_timestamp = records[0].timestamp if batch.base_timestamp is None else batch.base_timestamp
    deltas = batch.offset_deltas or [record.offset - base for record in records]
    raw = b""
    for record, delta in zip(records, deltas):
        # With LogAppendTime the deltas mean nothing: what a producer had set may still be there.
        time = record.offset * 1000 if timestamp_type else record.timestamp - base_timestamp
        body = bytes([batch.record_attributes]) + signed(time) + signed(delta) + nullable(record.key) + nullable(record.value)
        body += signed(len(record.headers)) + b"".join(nullable(name) + nullable(value) for name, value in record.headers)
        raw += signed(len(body)) + body
    if batch.edit_records:
        raw = batch.edit_records(raw)
    stored = compress_batch(raw, batch.codec, batch.raw_snappy)
    if batch.edit_stored:
        stored = batch.edit_stored(stored)
    fields = {
        "base_offset": base,
        "batch_length": 49 + len(stored),
        "leader_epoch": batch.leader_epoch,
        "magic": 2,
        "attributes": BATCH_CODECS[batch.codec] | timestamp_type << 3 | batch.attributes,
        "last_offset_delta": (records[-1].offset if batch.last is None else batch.last) - base,
        "base_timestamp": base_timestamp,
        "max_timestamp": max(record.timestamp for record in records),
        "producer_id": batch.producer[0],
        "producer_epoch": batch.producer[1],
        "base_sequence": batch.producer[2],
        "record_count": len(records),
        **batch.force,
    }
    covered = struct.pack(">hiqqqhii", *list(fields.values())[4:12]) + stored
    fields["crc"] = crc32c(covered) ^ fields.pop("crc_change", 0)
    head = struct.pack(">qiibI", fields["base_offset"], fields["batch_length"], fields["leader_epoch"], fields["magic"], fields["crc"])
    return head + covered, fields


def batch_json(batch: Batch, timestamp_type: int) -> dict:
    _, fields = batch_bytes(batch, timestamp_type)
    return {
        "base_offset": fields["base_offset"],
        "last_offset": fields["base_offset"] + fields["last_offset_delta"],
        "records": fields["record_count"],
        "codec": batch.codec,
        "leader_epoch": fields["leader_epoch"],
        "producer_id": fields["producer_id"],
        "producer_epoch": fields["producer_epoch"],
        "base_sequence": fields["base_sequence"],
        "crc": fields["crc"],
    }


def block_bytes(block: Block, plan: Plan, position: int, sequence: int) -> tuple[bytes, dict, dict[str, int]]:
    """Returns the block, its header's fields, and the positions of its streams."""
    records = block.records
    fields: dict = {
        "salt": plan.segment_id[:8],
        "position": position,
        "sequence": sequence,
        "kind": 1 if block.batches is None else 2,
        "base_offset": block.base,
        "end_offset": block.end,
        "min_timestamp": min((r.timestamp for r in records), default=I64_MAX),
        "max_timestamp": max((r.timestamp for r in records), default=I64_MIN),
        "record_count": len(records),
        "tombstone_count": sum(r.value is None for r in records),
        "control_count": sum(r.attributes & 1 for r in records),
        "no_timestamp_count": sum(r.timestamp == -1 for r in records),
        "min_known_timestamp": min((r.timestamp for r in records if r.timestamp != -1), default=I64_MAX),
        "flags": plan.reserved_byte,
    }
    fields["content_digest"], fields["restore_digest"] = digests(records, plan.timestamp_type)
    if not block.computed:
        fields.update({"flags": 1, "min_timestamp": I64_MAX, "min_known_timestamp": I64_MAX, "tombstone_count": 0, "no_timestamp_count": 0,
                       "content_digest": 0, "restore_digest": 0})
        fields["max_timestamp"] = max(batch_bytes(batch, plan.timestamp_type)[1]["max_timestamp"] for batch in block.batches)
    fields.update({name: value for name, value in block.force.items() if name in fields})

    streams: dict[str, bytes] = {}
    if block.batches is not None:
        streams["BATCHES"] = b"".join(batch_bytes(batch, plan.timestamp_type)[0] for batch in block.batches)
    elif records:
        columns = columns_of(records, block.base, fields["min_timestamp"], block.plain)
        if block.edit_columns:
            block.edit_columns(columns)
        streams["META"] = b"".join(columns.values())
        streams["KEYS"] = b"".join(r.key or b"" for r in records)
        streams["HEADERS"] = b"".join(name + (value or b"") for r in records for name, value in r.headers)
        streams["VALUES"] = b"".join(r.value or b"" for r in records)
    if block.edit_streams:
        block.edit_streams(streams)
    streams = {name: raw for name, raw in streams.items() if raw}
    stored = {name: compress(raw, block.codecs.get(name, "none")) for name, raw in streams.items()}
    if block.edit_stored:
        block.edit_stored(stored)
    directory = [
        [STREAMS[name], CODECS[block.codecs.get(name, "none")], crc32c(stored[name]), len(stored[name]), len(streams[name])]
        for name in STREAMS if name in streams
    ]
    if block.edit_directory:
        block.edit_directory(directory)

    header_length = up(160 + 16 * len(directory), 64)
    body = pad(b"".join(stored.values()), 64)
    fields["header_length"] = header_length
    fields["block_length"] = header_length + len(body)
    fields["raw_length"] = sum(entry[4] for entry in directory)
    fields["meta_length"] = sum(entry[3] for entry in directory if entry[0] == 1 or block.batches is not None)
    fields.update(block.force)

    spare = bytes([plan.reserved_byte])
    head = struct.pack(
        "<8sQIBBBsIIqqqqIIIII4s16s16sq24s",
        fields["salt"], fields["position"], fields["sequence"], fields["kind"], len(directory), fields["flags"], spare,
        fields["header_length"], fields["block_length"], fields["base_offset"], fields["end_offset"],
        fields["min_timestamp"], fields["max_timestamp"], fields["record_count"], fields["tombstone_count"],
        fields["control_count"], fields["no_timestamp_count"], fields["raw_length"], spare * 4,
        u128(fields["content_digest"]), u128(fields["restore_digest"]), fields["min_known_timestamp"], spare * 24)
    for stream, codec, crc, stored_length, raw_length in directory:
        head += struct.pack("<BB2sIII", stream, codec, spare * 2, crc, stored_length, raw_length)
    head = pad(b"\0" * 8 + head, 64)[8:]
    fields["header_crc"] = crc32c(head)

    positions, at = {}, position + header_length
    for name, data in stored.items():
        positions[name] = at
        at += len(data)
    return b"KBLK" + struct.pack("<I", fields["header_crc"]) + head + body, fields, positions


# --------------------------------------------------------------------------------------------------------------
# The segment


def file_header(plan: Plan) -> bytes:
    spare = bytes([plan.reserved_byte])
    tlvs = b""
    for tlv_type, value in plan.tlvs:
        tlvs += struct.pack("<H2sI", tlv_type, spare * 2, len(value)) + pad(value, 8)
    length = up(96 + len(tlvs) + 4, 64) + plan.extra_header_padding
    head = struct.pack(
        "<8sHHIQQ16s16siBB2sqI12s",
        b"\x89KSG\r\n\x1a\n", plan.major, plan.minor, length, plan.incompatible, plan.compatible, plan.segment_id, plan.topic_id,
        plan.partition, plan.timestamp_type, plan.isolation_level, spare * 2, plan.base, len(tlvs), spare * 12)
    assert len(head) == 96
    head += tlvs
    head += bytes([plan.header_padding_byte]) * (length - 4 - len(head))
    return head + struct.pack("<I", crc32c(head))


# Of a segment that is not computed (section 2.11): what it states all the same, and what is written for the rest where that is not 0.
STATED = ("base_offset", "end_offset", "max_timestamp", "record_count", "control_count", "raw_bytes")
NOT_STATED = {"first_offset": -1, "last_offset": -1, "min_timestamp": I64_MAX, "min_known_timestamp": I64_MAX}


def statistics_of(plan: Plan, fields: list[dict]) -> dict:
    """Computes the statistics, from the block headers where possible, so that a forced field stays the only defect."""
    records = [r for block in plan.blocks for r in block.records]
    sizes = [len(r.key or b"") + len(r.value or b"") + sum(len(n) + len(v or b"") for n, v in r.headers) for r in records]
    lateness, latest = 0, I64_MIN
    for r in records:
        lateness = max(lateness, latest - r.timestamp)
        latest = max(latest, r.timestamp)
    statistics = {
        "base_offset": plan.base,
        "end_offset": fields[-1]["end_offset"] if fields else plan.base,
        "first_offset": records[0].offset if records else -1,
        "last_offset": records[-1].offset if records else -1,
        "min_timestamp": min((f["min_timestamp"] for f in fields), default=I64_MAX),
        "max_timestamp": max((f["max_timestamp"] for f in fields), default=I64_MIN),
        "record_count": sum(f["record_count"] for f in fields),
        "tombstone_count": sum(f["tombstone_count"] for f in fields),
        "control_count": sum(f["control_count"] for f in fields),
        "no_timestamp_count": sum(f["no_timestamp_count"] for f in fields),
        "zero_timestamp_count": sum(r.timestamp == 0 for r in records),
        "null_key_count": sum(r.key is None for r in records),
        "header_count": sum(len(r.headers) for r in records),
        "key_bytes": sum(len(r.key or b"") for r in records),
        "value_bytes": sum(len(r.value or b"") for r in records),
        "header_bytes": sum(len(n) + len(v or b"") for r in records for n, v in r.headers),
        "max_record_bytes": max(sizes, default=0),
        "max_lateness_ms": lateness,
        "raw_bytes": sum(f["raw_length"] for f in fields),
        "min_known_timestamp": min((f["min_known_timestamp"] for f in fields), default=I64_MAX),
        "content_digest": sum(f["content_digest"] for f in fields) % 2**128,
        "restore_digest": sum(f["restore_digest"] for f in fields) % 2**128,
    }
    if not all(block.computed for block in plan.blocks):
        statistics.update({name: NOT_STATED.get(name, 0) for name in statistics if name not in STATED})
    statistics.update(plan.force_statistics)
    return statistics


def build(plan: Plan) -> Built:
    plan = copy.copy(plan)
    if plan.segment_id is None:
        plan.segment_id = fixed_id("segment " + plan.name)
    if plan.topic_id is None:
        plan.topic_id = fixed_id("topic " + plan.topic)
    if plan.tlvs is None:
        plan.tlvs = [(1, plan.topic.encode()), (2, b"golden-cluster"), (3, b"make_goldens.py"), (4, struct.pack("<q", T))]
    spare = bytes([plan.reserved_byte])
    if plan.key_filter is not None and plan.incompatible == 0:
        plan.incompatible = 4

    has_batches = any(block.batches is not None for block in plan.blocks)
    if has_batches if plan.batches_bit is None else plan.batches_bit:
        plan.incompatible |= 8
    is_computed = all(block.computed for block in plan.blocks)
    if not is_computed if plan.not_computed_bit is None else plan.not_computed_bit:
        plan.incompatible |= 1
    if not is_computed and not plan.keep_sizes:
        plan.rendered_sizes = False

    header = file_header(plan)
    data = bytearray(header)
    fields, block_positions, block_lengths, stream_positions = [], [], [], []
    for sequence, block in enumerate(plan.blocks):
        block_positions.append(len(data))
        raw, block_fields, positions = block_bytes(block, plan, len(data), sequence)
        block_lengths.append(len(raw))
        fields.append(block_fields)
        stream_positions.append(positions)
        data += raw
    pages = key_pages(plan) if plan.key_filter is not None else []
    key_filter_payload = key_filter_section(plan, pages, len(data))
    filter_bytes = bytearray(pad(b"".join(page for page, _ in pages), 64))
    if plan.edit_key_filter:
        plan.edit_key_filter(filter_bytes)
    data += filter_bytes
    footer_position = len(data)

    index = b""
    for block, block_fields in zip(plan.blocks, fields):
        entry = {**block_fields, **block.index_force}
        index += struct.pack(
            "<QqqqqqIHBBIIII", entry["position"], entry["base_offset"], entry["end_offset"], entry["min_timestamp"],
            entry["max_timestamp"], entry["min_known_timestamp"], entry["block_length"], entry["header_length"], entry["kind"], entry["flags"],
            entry["record_count"], entry["header_crc"], entry["raw_length"], entry["meta_length"])

    statistics = statistics_of(plan, fields)
    *numbers, content, restore = statistics.values()
    statistics_payload = struct.pack("<qqqqqq13Qq16s16s", *numbers, u128(content), u128(restore))

    missing = statistics["end_offset"] - statistics["base_offset"] - statistics["record_count"]
    gaps_payload = struct.pack("<QII", missing, plan.default_reason, len(plan.gap_entries))
    for from_offset, to_offset, reason in plan.gap_entries:
        gaps_payload += struct.pack("<qqI4s", from_offset, to_offset, reason, spare * 4)

    ends = {}
    for name in VIEWS:
        length, ends[name] = 0, []
        for block in plan.blocks:
            length += len(view(plan, block.records, name))
            ends[name].append(length)
    if plan.edit_rendered_sizes:
        plan.edit_rendered_sizes(ends)
    rendered_payload = struct.pack("<II", RENDERING_VERSION, 3) + b"".join(struct.pack("<Q", end) for name in VIEWS for end in ends[name])

    reserved_flags = plan.reserved_byte * 0x01010101 & ~1
    sections = [[1, 1, header], [2, 1, index], [3, 1, statistics_payload], [4, 1, gaps_payload]]
    if plan.rendered_sizes:
        sections.append([5, 0, rendered_payload])
    if plan.whole_lines is not None:
        sections.append([6, 0, struct.pack("<II", RENDERING_VERSION, plan.whole_lines)])
    hours = hours_of(plan)
    if plan.hours:
        sections.append([7, 0, hours_payload(hours)])
    bounds = batch_bounds_of(plan)
    if plan.incompatible & 8:
        sections.append([8, 0, b"".join(struct.pack("<qIBB2s", *entry[:3], entry[3] | plan.reserved_byte & ~1, spare * 2) for entry in bounds)])
    if plan.key_filter is not None:
        sections.append([10, 1, key_filter_payload])
    for section in sections:
        section[1] |= reserved_flags
    if plan.edit_sections:
        plan.edit_sections(sections)
    footer = b""
    section_positions = {}
    for section_type, flags, payload in sections:
        section_positions[section_type] = footer_position + len(footer) + 16
        footer += struct.pack("<IIQ", section_type, flags, len(payload)) + pad(payload, 8)
    footer = pad(footer, 64) + bytes(plan.extra_footer_padding)
    data += footer

    trailer = {
        "footer_position": footer_position,
        "file_length": footer_position + len(footer) + 64,
        "footer_length": len(footer),
        "footer_crc": crc32c(footer),
        "segment_id": plan.segment_id,
        "block_count": len(plan.blocks),
        "major": plan.major,
        "minor": plan.minor,
        "header_crc": struct.unpack("<I", header[-4:])[0],
    }
    trailer.update(plan.force_trailer)
    tail = struct.pack("<QQII16sIHHI", *trailer.values())
    data += tail + struct.pack("<I", crc32c(tail)) + b"\x89KSE\r\n\x1a\n"

    description = {
        "description": plan.description,
        "header": {
            "major": plan.major,
            "minor": plan.minor,
            "compatible_features": plan.compatible,
            "segment_id": plan.segment_id.hex(),
            "topic_id": plan.topic_id.hex(),
            "partition": plan.partition,
            "timestamp_type": ("CreateTime", "LogAppendTime")[plan.timestamp_type],
            "isolation_level": ("read_uncommitted", "read_committed")[plan.isolation_level],
            "base_offset": plan.base,
            "topic": plan.topic,
            "cluster_id": next((value.decode() for kind, value in plan.tlvs if kind == 2), None),
            "writer": next((value.decode() for kind, value in plan.tlvs if kind == 3), None),
            "created_at": next((struct.unpack("<q", value)[0] for kind, value in plan.tlvs if kind == 4), None),
        },
        "tlvs": [[kind, value.hex()] for kind, value in plan.tlvs],
        "blocks": [
            {"base": block.base, "end": block.end, "records": len(block.records),
             "codecs": {name: block.codecs.get(name, "none") for name in positions},
             **({} if block.batches is None else {"batches": [batch_json(batch, plan.timestamp_type) for batch in block.batches]}),
             **({} if block.computed else {"computed": False})}
            for block, positions in zip(plan.blocks, stream_positions)
        ],
        "statistics": {name: value if is_computed or name in STATED else None for name, value in
                       {**statistics, "content_digest": u128(content).hex(), "restore_digest": u128(restore).hex()}.items()},
        "gaps": {"missing_count": missing, "default_reason": plan.default_reason, "entries": [list(entry) for entry in plan.gap_entries]},
        "rendered_sizes": ends if plan.rendered_sizes else None,
    }
    if plan.whole_lines is not None:
        description["whole_lines"] = {"values": bool(plan.whole_lines & 1), "keys": bool(plan.whole_lines & 2)}
    if plan.hours and plan.rendered_sizes:
        description["hours"] = hours
    if bounds:
        description["batch_bounds"] = bounds
    if plan.key_filter is not None:
        position, length, hash_bits, page_bits, rice_bits, target_bits = struct.unpack_from("<QIBBBB", key_filter_payload)
        description["key_filter"] = {
            "position": position, "length": length, "hash_bits": hash_bits, "page_bits": page_bits, "rice_bits": rice_bits,
            "target_bits": target_bits, "pages": [list(page) for page in struct.iter_unpack("<III", key_filter_payload[16:])],
        }
        description["look_ups"] = look_ups(plan)
    return Built(data, len(header), block_positions, block_lengths, stream_positions, footer_position, section_positions, description)


def batch_bounds_of(plan: Plan) -> list[list]:
    """Returns what the headers of the batches say together, for each block of kind 2."""
    bounds = []
    for block in plan.blocks:
        if block.batches is not None:
            written = [batch_bytes(batch, plan.timestamp_type) for batch in block.batches]
            times = [fields["max_timestamp"] for _, fields in written if fields["max_timestamp"] != -1]
            codecs = 0
            for _, fields in written:
                codecs |= 1 << (fields["attributes"] & 7)
            gaps = any(fields["record_count"] <= fields["last_offset_delta"] for _, fields in written)
            bounds.append([min(times, default=I64_MAX), max((len(data) for data, _ in written), default=61), codecs & 31 or 1, gaps])
    if plan.edit_batch_bounds:
        plan.edit_batch_bounds(bounds)
    return bounds


def stored_hash(plan: Plan, key: bytes | None) -> int:
    """Returns r of section 2.9."""
    seed = struct.unpack("<Q", plan.segment_id[:8])[0]
    h64 = xxhash.xxh3_64_intdigest(b"", ~seed % 2**64) if key is None else xxhash.xxh3_64_intdigest(key, seed)
    return h64 // 2 ** (64 - plan.key_filter[0])


def key_pages(plan: Plan) -> list[list]:
    """Returns the [bytes, entry_count] of each page, bit by bit."""
    hash_bits, page_bits, rice_bits = plan.key_filter
    count = len(plan.blocks)
    values: list[list[int]] = [[] for _ in range(2**page_bits)]
    for r, number in sorted({(stored_hash(plan, record.key), number)
                             for number, block in enumerate(plan.blocks) for record in block.records if not record.attributes & 1}):
        values[r // 2 ** (hash_bits - page_bits)].append(r * count + number)
    if plan.edit_key_entries:
        plan.edit_key_entries(values)
    pages = []
    for page, of_page in enumerate(values):
        bits = ""
        least = page * 2 ** (hash_bits - page_bits) * count
        for value in of_page:
            high, low = divmod(value - least, 2**rice_bits)
            bits += "1" * high + "0" + "".join(str(low >> bit & 1) for bit in range(rice_bits))
            least = value + 1
        bits += "0" * (-len(bits) % 8)
        pages.append([bytes(int(bits[at:at + 8][::-1], 2) for at in range(0, len(bits), 8)), len(of_page)])
    if plan.edit_key_pages:
        plan.edit_key_pages(pages)
    return pages


def key_filter_section(plan: Plan, pages: list[list], position: int) -> bytes:
    if plan.key_filter is None:
        return b""
    payload = struct.pack("<QIBBBB", position, sum(len(page) for page, _ in pages), *plan.key_filter, 10)
    end = 0
    for page, count in pages:
        end += len(page)
        payload += struct.pack("<III", end, count, crc32c(page))
    return payload


def look_ups(plan: Plan) -> list[list]:
    """Answers look-ups of all keys, and of some that are not there, by comparing the hashes of every record."""
    records = [(number, record) for number, block in enumerate(plan.blocks) for record in block.records if not record.attributes & 1]
    keys = {record.key for _, record in records} | {None, b"", b"absent"} | {b"absent %d" % number for number in range(30)}
    return [
        [None if key is None else key.hex(),
         sorted({number for number, record in records if stored_hash(plan, record.key) == stored_hash(plan, key)}),
         [record.offset for _, record in records if record.key == key]]
        for key in sorted(keys, key=lambda key: (key is not None, key or b""))
    ]


def hours_of(plan: Plan) -> list[list[list[int]]]:
    """Returns the [hour, bytes] of each block that has records of several hours."""
    hours = []
    for block in plan.blocks:
        sizes: dict[int, int] = {}
        all_hours = {hour_of(record.timestamp) for record in block.records}
        for record in block.records if len(all_hours) > 1 else []:
            if not record.attributes & 1:
                sizes[hour_of(record.timestamp)] = sizes.get(hour_of(record.timestamp), 0) + len(view(plan, [record], "records.jsonl"))
        hours.append([list(entry) for entry in sorted(sizes.items())])
    if plan.edit_hours:
        plan.edit_hours(hours)
    return hours


def hour_of(timestamp: int) -> int:
    return min(max(timestamp // 3600000, -(2**31)), 2**31 - 1)


def hours_payload(hours: list[list[list[int]]]) -> bytes:
    ends = [sum(len(block) for block in hours[:number + 1]) for number in range(len(hours))]
    entries = [entry for block in hours for entry in block]
    return struct.pack("<II", RENDERING_VERSION, len(entries)) + b"".join(struct.pack("<I", end) for end in ends) + b"".join(struct.pack("<iI", *entry) for entry in entries)


# --------------------------------------------------------------------------------------------------------------
# The JSON of a golden


def record_json(r: Rec) -> dict:
    out = {
        "offset": r.offset,
        "timestamp": r.timestamp,
        "control": bool(r.attributes & 1),
        "key_hex": None if r.key is None else r.key.hex(),
        "value_hex": None if r.value is None else r.value.hex(),
        "headers": [[name.hex(), None if value is None else value.hex()] for name, value in r.headers],
    }
    if r.value is not None and len(r.value) > 65536:
        period = (r.value + r.value).find(r.value, 1)  # the shortest string that the value repeats
        out["value_hex"] = r.value[:period].hex()
        out["value_repeat"] = len(r.value) // period
    return out


def queries_json(plan: Plan) -> dict:
    """Answers queries by examining every record, without index or binary search."""
    records = [r for block in plan.blocks for r in block.records]
    end = plan.blocks[-1].end if plan.blocks else plan.base

    offsets = {plan.base, end - 1} | {b.base for b in plan.blocks[:4]} | {b.end for b in plan.blocks[:4]}
    for r in records[:6]:
        offsets |= {r.offset - 1, r.offset, r.offset + 1}
    offsets = sorted(o for o in offsets if plan.base <= o < end)

    times = {I64_MIN, -1, 0, I64_MAX}
    for r in sorted({r.timestamp for r in records})[:12] + sorted({r.timestamp for r in records})[-2:]:
        times |= {r - 1, r, r + 1}
    times = sorted(t for t in times if I64_MIN <= t <= I64_MAX)

    ranges = [(times[i], times[j]) for i in range(0, len(times), 3) for j in range(i + 1, len(times), 4)]
    return {
        "find_by_offset": [[o, next((r.offset for r in records if r.offset >= o), None)] for o in offsets],
        "offset_for_time": [[t, next((r.offset for r in records if r.timestamp >= t), None)] for t in times],
        "select": [[t0, t1, [r.offset for r in records if t0 <= r.timestamp < t1]] for t0, t1 in ranges[:24]],
    }


def golden_json(plan: Plan, built: Built) -> dict:
    records = [r for block in plan.blocks for r in block.records]
    return {
        **built.json,
        "rendered_sha256": {name: hashlib.sha256(view(plan, records, name)).hexdigest() for name in VIEWS},
        "queries": queries_json(plan),
        "records": [record_json(r) for r in records],
    }


def json_text(value: dict) -> str:
    """Formats one line per member and one per element of the long lists: short, and readable as a diff."""
    lines = []
    for name, item in value.items():
        if isinstance(item, list) and item and not isinstance(item[0], (int, str)):
            inner = ",\n".join("  " + json.dumps(element) for element in item)
            lines.append(f" {json.dumps(name)}: [\n{inner}\n ]")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(item)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


# --------------------------------------------------------------------------------------------------------------
# Goldens


def simple_records(first: int, count: int, start: int = T, step: int = 1000) -> list[Rec]:
    return [
        Rec(o, start + (o - first) * step, b"key-%d" % (o % 3), b'{"order":%d,"state":"open"}' % o, [(b"trace", b"%04x" % o)])
        for o in range(first, first + count)
    ]


def all_codecs(codec: str) -> dict[str, str]:
    return {name: codec for name in STREAMS}


def three_blocks(name: str = "three-blocks", codec: str = "none", **changes) -> Plan:
    """Returns three blocks of three records each, of the same length; most broken segments derive from it."""
    plan = Plan(name, "three blocks of the same length", [
        Block(base, base + 3, simple_records(base, 3, T + base * 1000), all_codecs(codec)) for base in (100, 103, 106)
    ], base=100)
    return replace(plan, **changes)


def minimal() -> Plan:
    return Plan("minimal", "one block with a record and a tombstone, codec none: the segment of SPEC.md section 12", [
        Block(0, 2, [Rec(0, T, b"k", b"v", [(b"h", b"x")]), Rec(1, T + 1, b"k", None)]),
    ], tlvs=[(1, b"orders")])


def goldens() -> list[Plan]:
    plans = [minimal(), three_blocks()]

    def compressible(first: int) -> list[Rec]:
        return [Rec(o, T + o, b"customer-%04d" % (o % 7), b'{"order":%d,"state":"open","note":"the same words again"}' % o,
                    [(b"content-type", b"application/json"), (b"trace", b"%08x" % (o * 2654435761 % 2**32))])
                for o in range(first, first + 50)]

    for codec in ("zstd", "lz4"):
        plans.append(Plan(f"codec-{codec}", f"every stream stored with {codec}", [
            Block(0, 50, compressible(0), all_codecs(codec)), Block(50, 100, compressible(50), all_codecs(codec), plain=True)]))
    plans.append(Plan("codec-mixed", "another codec for each stream, and other ones in the second block", [
        Block(0, 50, compressible(0), {"META": "none", "KEYS": "lz4", "HEADERS": "none", "VALUES": "zstd"}),
        Block(50, 100, compressible(50), {"META": "zstd", "KEYS": "none", "HEADERS": "lz4", "VALUES": "none"})]))

    pairs = [(k, v) for k in (None, b"", b"k") for v in (None, b"", b"v")]
    plans.append(Plan("null-empty-keys-values", "keys and values null, empty and one byte in every combination; blocks without KEYS, without "
                      "VALUES and with META alone", [
        Block(0, 9, [Rec(o, T + o, k, v) for o, (k, v) in enumerate(pairs)]),
        Block(9, 11, [Rec(9, T, None, b"no key"), Rec(10, T, b"", b"no key")]),
        Block(11, 13, [Rec(11, T, b"no value", None), Rec(12, T, b"no value", b"")]),
        Block(13, 16, [Rec(13, T, None, None), Rec(14, T, b"", b""), Rec(15, T, None, b"")], plain=True)]))

    plans.append(Plan("headers-repeated-nonutf8-null", "headers: repeated names, order, empty names and values, null values, bytes that are not "
                      "UTF-8 (a lone continuation byte, an overlong form, a surrogate, above 10FFFF)", [
        Block(0, 4, [
            Rec(0, T, b"k", b"v", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b"1")]),
            Rec(1, T, b"k", b"v", [(b"", b""), (b"", None), (b"n", b""), (b"n", None)]),
            Rec(2, T, b"k", b"v"),
            Rec(3, T, b"k", b"v", [(b"\x80", b"\xff"), (b"ok", b"\xc0\xaf"), (b"\xed\xa0\x80", None), (b"g", b"\xf4\x90\x80\x80"),
                                   ("grün ✓ 🙂".encode(), "\U0010ffff".encode())])]),
        Block(4, 6, [Rec(4, T, None, None, [(b"only", b"headers")]), Rec(5, T, None, None, [(b"only", b"headers")])]),
        Block(6, 8, [Rec(6, T, None, None, [(b"", None)]), Rec(7, T, None, None, [(b"", b"")])])]))

    plans.append(Plan("gaps", "a range lost before the first record, in a block without records; gaps inside and between blocks, a gap at the end; "
                      "explicit reasons, among them one that nobody knows (99)", [
        Block(1000, 5000),
        Block(5000, 5020, [Rec(5003, T, b"k", b"a"), Rec(5004, T + 1, b"k", b"b"), Rec(5010, T + 2, b"k", b"c")]),
        Block(5020, 5030),
        Block(5030, 5050, [Rec(5030, T + 3, b"k", b"d"), Rec(5035, T + 4, b"k", b"e")])],
        base=1000, default_reason=1,
        gap_entries=[(1000, 5000, 3), (5000, 5003, 1), (5005, 5008, 2), (5008, 5010, 0), (5011, 5030, 99), (5036, 5050, 4)]))

    plans.append(Plan("timestamps-hostile", "timestamps -1, 0, negative, smallest, largest, far future, out of order within and between blocks; the first "
                      "block has no record", [
        Block(0, 2),
        Block(2, 5, [Rec(2, T, b"k", b"now"), Rec(3, -1, b"k", b"none"), Rec(4, 0, b"k", b"epoch")]),
        Block(5, 8, [Rec(5, T + 5000, b"k", b"a"), Rec(6, T - 86400000, b"k", b"a day late"), Rec(7, T + 4000, b"k", b"c")]),
        Block(8, 11, [Rec(8, T - 7200000, b"k", b"late"), Rec(9, T - 3600000, b"k", b"late"), Rec(10, -62135596800000, b"k", b"year 1")]),
        Block(11, 14, [Rec(11, 253402300800000, b"k", b"year 10000"), Rec(12, T + 1, b"k", b"b"), Rec(13, T + 2, b"k", b"c")]),
        Block(14, 18, [Rec(14, I64_MAX, b"k", b"largest"), Rec(15, I64_MIN, b"k", b"smallest"), Rec(16, I64_MAX, b"k", b"largest"),
                       Rec(17, I64_MAX - 1, b"k", b"one less")]),
        Block(18, 20, [Rec(18, -1, b"k", b"none"), Rec(19, -1, b"k", b"none")]),
        Block(20, 22, [Rec(20, -2, b"k", b"just before none"), Rec(21, 1, b"k", b"just after the epoch")])]))

    plans.append(Plan("origin-and-time", "lines with a topic that has to be escaped, the largest partition, and times at the ends of the calendar", [
        Block(0, 6, [Rec(0, -62167219200001, None, b"before year 0"), Rec(1, -62167219200000, None, b"year 0"), Rec(2, -62135596800001, None, b"its end"),
                     Rec(3, 253402300799999, None, b"the end of year 9999"), Rec(4, 253402300800000, None, b"year 10000"), Rec(5, -1, None, b"none")]),
        Block(6, 12, [Rec(6, 951782399999, None, b"28 February"), Rec(7, 951868799999, None, b"29 February 2000"), Rec(8, 951868800000, None, b"1 March"),
                      Rec(9, -2203891200001, None, b"28 February 1900"), Rec(10, -2203891200000, None, b"1 March 1900"), Rec(11, 0, None, b"epoch")])],
        topic='or"de\\rs\t\u00e4', partition=2147483647, hours=True))

    plans.append(replace(three_blocks("log-append-time"), timestamp_type=1, description="timestamp type LogAppendTime, topic id unknown (zeros), partition 11",
                         topic_id=bytes(16), partition=11))

    plans.append(Plan("oversized-record", "a record of 3 MiB in a block of its own, between small ones", [
        Block(0, 2, simple_records(0, 2)),
        Block(2, 3, [Rec(2, T + 5, b"big", b"0123456789abcdef" * (3 * 65536))], {"VALUES": "zstd"}),
        Block(3, 5, simple_records(3, 2))]))

    plans.append(Plan("empty-segment", "base_offset equals end_offset: no blocks", [], base=42))
    plans.append(Plan("empty-coverage", "one block without records", [Block(42, 4711)], base=42, default_reason=2))

    plans.append(three_blocks("unknown-section", description="a non-critical section of type 77, 13 bytes long",
                              edit_sections=lambda sections: sections.append([77, 0, b"of the future"])))
    plans.append(three_blocks("unknown-tlv", description="TLVs of unknown types 4000 and 65535 (without a value) between the known ones", tlvs=[
        (4000, b"not known"), (1, b"orders"), (65535, b""), (4, struct.pack("<q", T))]))
    plans.append(three_blocks("compression-stated", description="a TLV that states the setting of the compression", codec="zstd", tlvs=[
        (1, b"orders"), (4, struct.pack("<q", T)), (5, b"zstd:12")]))
    plans.append(three_blocks("tlv-type-0", description="a TLV of type 0 between the known ones: unknown like any other, and no end of the TLVs", tlvs=[
        (1, b"orders"), (0, b"nothing"), (4, struct.pack("<q", T))]))
    plans.append(three_blocks("critical-bit-of-known-sections", description="the bit CRITICAL the other way round: a reader that knows a section ignores it",
                              whole_lines=3, edit_sections=lambda sections: [section.__setitem__(1, section[1] ^ 1) for section in sections]))
    plans.append(_other_rendering())
    plans.append(_zstd_frames())
    plans.append(three_blocks("unknown-compatible-bit", description="bit 40 of compatible_features", compatible=1 << 40))
    plans.append(three_blocks("higher-minor", description="version 1.7", minor=7))
    plans.append(three_blocks("reserved-bytes-set", description="every reserved byte and flag bit is set (hex a5): not an error, and not to be interpreted",
                              reserved_byte=0xA5, gap_entries=[(109, 110, 0)],
                              blocks=three_blocks().blocks[:2] + [Block(106, 110, simple_records(106, 3))]))

    plans.append(Plan("control-records", "read_uncommitted: transaction markers as control records, which no rendering shows", [
        Block(0, 3, [Rec(0, T, b"k", b"committed"), Rec(1, T + 1, b"k", b"committed"), Rec(2, T + 2, b"\0\0\0\1", b"\0\0\0\0\0\5", [], 1)]),
        Block(3, 5, [Rec(3, T + 3, b"k", b"aborted"), Rec(4, T + 4, b"\0\0\0\0", b"\0\0\0\0\0\5", [], 1)]),
        Block(5, 6, [Rec(5, T + 9, b"\0\0\0\1", b"\0\0\0\0\0\5", [], 1)])], isolation_level=0))

    many = []
    for i in range(40):
        base = 10 * i
        records = [Rec(base + j * 3, T + i * 1000 + (i * 7919 + j * 104729) % 9000 - 4500, b"key-%d" % (i % 5), b"value %d.%d" % (i, j)) for j in range(1 + i % 3)]
        many.append(Block(base, base + 10, records))
    plans.append(Plan("many-blocks", "40 small blocks whose time ranges overlap", many))

    plans.append(three_blocks("no-rendered-sizes", description="section rendered_sizes is absent", rendered_sizes=False))

    awkward = [
        "two\nlines", "ends with one\n", "\n", "quote \" backslash \\ slash /", "tab\tcr\rff\fbs\b", "".join(map(chr, range(0x20))), "\x7f\x80\u2028\u2029",
        "\ufeffBOM", "grün ✓ 🙂", "<&>'", '{"nested":"json\\n"}']
    plans.append(Plan("values-with-newlines-and-escapes", "values, keys and headers that a rendering has to escape, and bytes that are not UTF-8", [
        Block(0, len(awkward), [Rec(i, T + i, t.encode(), t[::-1].encode(), [(t.encode(), t.encode())]) for i, t in enumerate(awkward)]),
        Block(len(awkward), len(awkward) + 5, [
            Rec(len(awkward) + i, T + i, b, b, [(b, b)])
            for i, b in enumerate((b"\xff", b"ok\xe2\x82", b"\xc1\xbf", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80ab"))])]))

    plans.append(Plan("whole-lines", "a line feed in a value and none in keys; a control record with a null key, which does not count", [
        Block(0, 2, [Rec(0, T, b"k", b"v"), Rec(1, T, b"", b"two\nlines")]),
        Block(2, 4, [Rec(2, T, b"k", b""), Rec(3, T, None, None, attributes=1)])], isolation_level=0, whole_lines=2))

    plans.append(several_hours())
    plans.append(several_hours("hours-without-rendered-sizes", description="section hours without rendered_sizes: as if absent", rendered_sizes=False))

    plans.append(segment_in_a_record())

    plans.append(with_key_filter("key-filter"))
    plans.append(with_key_filter("key-filter-coarse", description="a key filter of 3 bits per hash and one page: most keys that are not there match some block",
                                 key_filter=(3, 0, 0)))
    plans.append(Plan("key-filter-without-entries", "a key filter of a segment whose only records are a control record: one page without bytes", [
        Block(0, 2), Block(2, 3, [Rec(2, T, b"\0\0\0\1", b"\0\0\0\0\0\5", [], 1)])], isolation_level=0, key_filter=(10, 0, 9)))
    plans.append(Plan("key-filter-without-blocks", "a key filter of a segment without blocks", [], base=42, key_filter=(0, 0, 0)))

    plans += goldens_of_batches()
    plans += goldens_not_computed()

    entries = [(1 + 2 * i, 3 + 2 * i, i % 5) for i in range(5500)]
    plans.append(Plan("footer-larger-than-tail", "5500 gap entries: the footer is larger than the 131072 bytes that a reader begins with", [
        Block(0, 11002, [Rec(0, T, b"k", b"first"), Rec(11001, T + 1, b"k", b"last")])], gap_entries=entries))
    return plans


def batches_block(base: int, end: int, batches: list[Batch], codec: str = "none", **changes) -> Block:
    return Block(base, end, [record for batch in batches for record in batch.records], {"BATCHES": codec}, batches=batches, **changes)


def goldens_not_computed() -> list[Plan]:
    return [
        Plan("not-computed", "all blocks of kind 2 are not computed: codecs, gaps, tombstones, null keys, a record without a timestamp and timestamps out of order; "
             "max_timestamp is that of the batches' headers", [
                 batches_block(0, 9, [
                     Batch([Rec(0, T + 50, b"a", b"v"), Rec(1, T, None, b"w"), Rec(2, -1, b"b", None, ((b"h", b"1"), (b"h", None)))], "zstd"),
                     Batch([Rec(4, T + 20, b"c", b"x" * 300)], "lz4", last=5), Batch([Rec(7, 0, b"", b"")])], computed=False),
                 batches_block(9, 14, [Batch([Rec(9, T - 7, b"a", b"y"), Rec(10, T - 8, b"a", b"z")], "snappy")], "zstd", computed=False)],
             gap_entries=[(3, 4, 1)]),
        Plan("not-computed-bound", "a block that is not computed whose batches state max_timestamp above those of their records: a bound", [
            batches_block(5, 7, [Batch([Rec(5, T, b"k", b"v")], force={"max_timestamp": T + 9}), Batch([Rec(6, T + 1, b"k", b"v")])], computed=False)], base=5),
        Plan("not-computed-without-times", "a block of which no batch has a timestamp, and one of which only one has: the smallest max_timestamp leaves out -1", [
            batches_block(0, 2, [Batch([Rec(0, -1, b"k", b"v")]), Batch([Rec(1, -1, b"k", b"v")], "lz4")], computed=False),
            batches_block(2, 4, [Batch([Rec(2, -1, b"k", b"v")], "zstd"), Batch([Rec(3, T, b"k", b"v")], "zstd")], computed=False)]),
        Plan("not-computed-log-append-time", "timestamp type LogAppendTime, not computed", [
            batches_block(0, 3, [Batch([Rec(0, T, b"k", b"v"), Rec(1, T, b"k", b"v")], "gzip", base_timestamp=T - 77), Batch([Rec(2, T + 1, b"k", b"v")])], computed=False)],
             timestamp_type=1),
        Plan("not-computed-and-computed", "a block of kind 2 that is not computed between one that is, and blocks of kind 1, one of them without records", [
            Block(0, 2, [Rec(0, T + 5, b"a", b"v"), Rec(1, T, None, b"w")]),
            batches_block(2, 4, [Batch([Rec(2, T + 1, b"b", b"v"), Rec(3, T + 2, b"a", None)], "zstd")]),
            batches_block(4, 7, [Batch([Rec(4, T + 3, b"b", b"v"), Rec(6, T - 9, b"a", b"v")], "lz4")], computed=False),
            Block(7, 9)]),
    ]


def goldens_of_batches() -> list[Plan]:
    pairs = [(k, v) for k in (None, b"", b"k") for v in (None, b"", b"v")]
    headers = [(b"a", b"1"), (b"", None), (b"a", b""), (b"\xff", b"\0")]
    plans = [Plan("batches", "blocks of kind 2: batches of one record and of several, of idempotent, transactional and other producers, with and without leader "
                  "epochs; keys and values null, empty and one byte; headers; timestamps out of order, -1, 0 and the smallest", [
        batches_block(0, 9, [
            Batch([Rec(0, T, *pairs[0])]),
            Batch([Rec(o, T + 100 - o, *pairs[o], headers[:o]) for o in range(1, 5)], leader_epoch=7, producer=(4000, 3, 2147483647)),
            Batch([Rec(o, T + o, *pairs[o]) for o in range(5, 9)], leader_epoch=8, producer=(2**40, 0, 17), attributes=16)]),
        batches_block(9, 14, [
            Batch([Rec(9, T, b"k", b"first"), Rec(10, -1, b"k", b"none"), Rec(11, 0, b"k", b"epoch")]),
            Batch([Rec(12, I64_MIN, b"k", b"smallest"), Rec(13, T, b"k", b"after it")])])])]

    def batch_of(first: int, codec: str, **changes) -> Batch:
        return Batch([Rec(o, T + o, b"customer-%04d" % (o % 3), b'{"order":%d,"state":"open","note":"the same words, the same words"}' % o,
                          [(b"content-type", b"application/json")]) for o in range(first, first + 8)], codec, **changes)

    codecs = [batch_of(0, "none"), batch_of(8, "gzip"), batch_of(16, "snappy"), batch_of(24, "snappy", raw_snappy=True), batch_of(32, "lz4"), batch_of(40, "zstd")]
    plans.append(Plan("batches-codecs", "batches of every codec in one block, snappy with and without frames; and streams of batches that are not compressed, with "
                      "zstd and lz4", [
        batches_block(0, 48, codecs), batches_block(48, 64, [batch_of(48, "none"), batch_of(56, "none")], "zstd"),
        batches_block(64, 72, [batch_of(64, "none")], "lz4")]))
    twice = {"gzip": lambda stored: gzip.compress(b"", mtime=0) + stored, "lz4": lambda stored: lz4.frame.compress(b"") + stored,
             "zstd": lambda stored: zstandard.ZstdCompressor().compress(b"") + stored, "snappy": lambda stored: stored[:16] + stored}
    plans.append(Plan("batches-several-frames", "batches whose records are compressed as two members of gzip, two frames of LZ4 or Zstandard, or two streams of "
                      "snappy-java", [
        batches_block(0, 32, [batch_of(8 * number, codec, edit_stored=edit) for number, (codec, edit) in enumerate(twice.items())])]))

    plans.append(Plan("batches-gaps", "compacted batches: offsets without a record before the first, between and after the last record of a batch, a delete horizon "
                      "for a base timestamp; offsets between batches and around them that the block covers; gaps with reasons", [
        batches_block(1000, 1100, [
            Batch([Rec(1012, T, b"k", b"a"), Rec(1015, T + 1, b"k", b"b")], base=1010, last=1019),
            Batch([Rec(1020, T + 5, b"k", None), Rec(1021, T - 5, b"l", None)], base_timestamp=T + 86400000, attributes=64, last=1030),
            Batch([Rec(1050, T + 9, b"k", b"c")], "gzip")]),
        batches_block(1100, 1101, [Batch([Rec(1100, T + 10, b"k", b"d")])])],
        base=1000, default_reason=1, gap_entries=[(1000, 1012, 3), (1031, 1050, 2), (1051, 1100, 0)]))

    plans.append(Plan("batches-log-append-time", "timestamp type LogAppendTime: every record has the max_timestamp of its batch, whatever its delta is", [
        batches_block(5, 9, [Batch([Rec(5, T, b"k", b"v"), Rec(6, T, b"k", b"v")], base_timestamp=T - 77), Batch([Rec(7, T + 1, b"k", b"v"), Rec(8, T + 1, b"k", None)], "lz4")])],
        base=5, timestamp_type=1))

    plans.append(Plan("batches-other-forms", "what a reader of batches accepts: varints longer than they need to be, lengths below -1 for null, attributes that "
                      "nobody knows, sums of timestamps beyond 64 bits, a max_timestamp that is wrong", [
        batches_block(0, 4, [
            Batch([Rec(0, T, None, b"v", [(b"n", None)]), Rec(1, T + 1, b"k", None)], long_varints=True, record_attributes=0xFF, attributes=-128),
            Batch([Rec(2, I64_MAX, b"k", b"v"), Rec(3, I64_MIN, b"k", b"v")], force={"max_timestamp": 5})])]))

    plans.append(Plan("batches-and-records", "blocks of both kinds in one segment, with a control record in one of kind 1; a key filter, hours and whole_lines over all", [
        Block(0, 2, [Rec(0, T, b"a", b"v"), Rec(1, T + 1, b"\0\0\0\1", b"\0\0\0\0\0\5", [], 1)]),
        batches_block(2, 6, [Batch([Rec(2, T, b"b", b"v"), Rec(3, T + 3600000, b"a", b"v")], "zstd"), Batch([Rec(4, T + 2, None, b"v")])]),
        Block(6, 9),
        batches_block(9, 11, [Batch([Rec(9, T + 7200000, b"c", b"v"), Rec(10, T, b"", b"")])]),
        Block(11, 12, [Rec(11, T, b"c", b"v")])],
        isolation_level=0, key_filter=(12, 1, 9), hours=True, whole_lines=1, incompatible=4))
    return plans


def with_key_filter(name: str, **changes) -> Plan:
    plan = Plan(name, "a key filter of four pages: keys in one block and in several, null and empty ones, of 1 to 300 bytes, a control record, which has no "
                "entry, and a block without records", [
        Block(0, 5, [Rec(0, T, b"a", b"v"), Rec(1, T, b"b", b"v"), Rec(2, T, b"a", None), Rec(3, T, b"long" * 75, b"v"), Rec(4, T, None, b"v")]),
        Block(5, 7),
        Block(7, 12, [Rec(7, T, b"", b"v"), Rec(8, T, b"a", b"v"), Rec(9, T, b"\xff\0", b"v"), Rec(10, T, b"\0\0\0\1", b"\0\0\0\0\0\5", [], 1),
                      Rec(11, T, b"c" * 17, b"v")]),
        Block(12, 30, [Rec(o, T + o, b"key-%d" % o, b"v") for o in range(12, 30)]),
        Block(30, 33, [Rec(30, T, None, None), Rec(31, T, b"", b""), Rec(32, T, b"b" * 129, b"v")])],
        isolation_level=0, key_filter=(12, 2, 9))
    return replace(plan, **changes) if changes else plan


def several_hours(name: str = "hours", **changes) -> Plan:
    plan = Plan(name, "section hours: blocks of one hour, of several, of late records, of the smallest and the largest timestamp, without records, and with "
                "a control record, which has no text", [
        Block(0, 3, [Rec(0, T, b"k", b"v"), Rec(1, T + 1, b"k", b"v"), Rec(2, T + 2, b"k", b"v")]),
        Block(3, 7, [Rec(3, T, b"k", b"v"), Rec(4, T + 3600000, b"k", b"longer"), Rec(5, T + 1, b"k", b"late"), Rec(6, T + 7200000, None, None)]),
        Block(7, 9),
        Block(9, 13, [Rec(9, I64_MAX, b"k", b"largest"), Rec(10, -1, b"k", b"none"), Rec(11, I64_MIN, b"k", b"smallest"), Rec(12, 0, b"k", b"epoch")]),
        Block(13, 15, [Rec(13, T, b"k", b"v"), Rec(14, T + 3600000, b"\0\0\0\1", b"\0\0\0\0\0\5", [], 1)])],
        isolation_level=0, hours=True)
    return replace(plan, **{"segment_id": fixed_id("segment hours"), **changes}) if changes else plan


def _move_a_byte(hours: list[list[list[int]]]) -> None:
    hours[1][0][1] += 1
    hours[1][1][1] -= 1


def _other_rendering() -> Plan:
    """Returns a golden whose JSON has null for sections that a reader treats as absent."""
    def edit(sections: list[list]) -> None:
        sections.append([5, 0, struct.pack("<II", RENDERING_VERSION + 1, 7) + b"of a later rendering"])
        sections.append([6, 0, struct.pack("<II", RENDERING_VERSION + 1, 7) + b"too"])
    return three_blocks("other-rendering-version", description="rendered_sizes and whole_lines of rendering_version 3, of other lengths: as if absent",
                        rendered_sizes=False, edit_sections=edit)


def _zstd_frames() -> Plan:
    """Builds frames by hand, of one raw block each (RFC 8878 section 3.1.1): magic, descriptor, window if any, content size, block."""
    def frame(raw: bytes, descriptor: int, window: bytes, size: bytes) -> bytes:
        return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + window + size + (len(raw) << 3 | 1).to_bytes(3, "little") + raw

    def edit(stored: dict[str, bytes]) -> None:
        raws = {name: zstandard.ZstdDecompressor().decompress(data) for name, data in stored.items()}
        n = {name: len(raw) for name, raw in raws.items()}
        stored["META"] = frame(raws["META"], 0x20, b"", struct.pack("<B", n["META"]))  # single segment, size in 1 byte
        stored["KEYS"] = frame(raws["KEYS"], 0x80, bytes([0]), struct.pack("<I", n["KEYS"]))  # window of 1 KiB, size in 4 bytes
        stored["HEADERS"] = frame(raws["HEADERS"], 0xC0, bytes([13 << 3]), struct.pack("<Q", n["HEADERS"]))  # window of 8 MiB, size in 8 bytes
        stored["VALUES"] = zstandard.ZstdCompressor(write_checksum=True).compress(raws["VALUES"])

    plan = three_blocks("zstd-frames", codec="zstd", description="zstd frames with and without single segment flag and checksum, content size in 1, 4 and 8 bytes")
    plan.blocks[1] = replace(plan.blocks[1], edit_stored=edit)
    return plan


def segment_in_a_record() -> Plan:
    """The inner segment has the outer one's id, hence its salt, and its blocks are aligned to multiples of 64."""
    plan = Plan("segment-in-a-record", "a whole segment as a record's value, codec none, with the same segment_id and with its blocks at multiples of 64: "
                "a reader that looks for blocks must not take the inner ones", [], base=500)
    inner_plan = three_blocks("inner")
    inner_plan.segment_id = fixed_id("segment " + plan.name)
    inner = bytes(build(inner_plan).data)
    for filler in range(64):
        plan.blocks = [
            Block(500, 502, simple_records(500, 2)),
            Block(502, 505, [Rec(502, T, b"k", b"." * filler), Rec(503, T + 1, b"segment", inner), Rec(504, T + 2, b"k", b"after")]),
            Block(505, 507, simple_records(505, 2))]
        built = build(plan)
        if (built.stream_positions[1]["VALUES"] + filler) % 64 == 0 and filler > 0:
            return plan
    raise AssertionError("no filler aligns the inner segment")


# --------------------------------------------------------------------------------------------------------------
# Broken segments


@dataclass
class Broken:
    name: str
    error_class: str
    at: str
    what: str
    data: bytes
    scan_offsets: list[int] | None = None


def broken_segments() -> list[Broken]:
    out: list[Broken] = []
    base = build(three_blocks())
    offsets = list(range(100, 109))
    starts = base.block_positions

    def add(name: str, error_class: str, at: str, what: str, data: bytes | Plan, scan_offsets: list[int] | None = None) -> None:
        if isinstance(data, Plan):
            data = bytes(build(data).data)
        out.append(Broken(name, error_class, at, what, bytes(data), scan_offsets))

    def plan(**changes) -> Plan:
        """Returns three-blocks with changes; the segment keeps its id."""
        return three_blocks(segment_id=fixed_id("segment three-blocks"), **changes)

    def with_block(number: int = 1, codec: str = "none", whole_lines: int | None = None, **changes) -> Plan:
        """Returns three-blocks with one block changed."""
        changed = plan(codec=codec, whole_lines=whole_lines)
        changed.blocks[number] = replace(changed.blocks[number], **changes)
        return changed

    def flip(position: int, mask: int = 1, data: bytes | None = None) -> bytes:
        flipped = bytearray(base.data if data is None else data)
        flipped[position] ^= mask
        return flipped

    # --- File header, TLVs, trailer ---
    add("bad-magic", "not_a_segment", "verify", "the file header's magic has lost the eighth bit of its first byte; header_copy is sound",
        flip(0, 0x80), offsets)
    add("header-crc", "checksum", "verify", "one bit of the topic in the file header is flipped; header_copy is sound", flip(104), offsets)
    add("bad-trailer-magic", "not_a_segment", "open", "one bit of the trailer's magic is flipped", flip(len(base.data) - 8), offsets)
    add("trailer-crc", "checksum", "open", "one bit of the trailer's block_count is flipped", flip(len(base.data) - 24), offsets)
    add("major-2", "unsupported", "open", "version 2.0 in file header, header_copy and trailer", plan(major=2))
    add("unknown-incompatible-bit", "unsupported", "open", "bit 5 of incompatible_features", plan(incompatible=1 << 5))
    add("no-topic-tlv", "inconsistent", "open", "no TLV topic", plan(tlvs=[(3, b"make_goldens.py")]))
    add("topic-over-limit", "limit", "open", "the topic's name has 250 bytes", plan(topic="t" * 250))
    add("two-topic-tlvs", "inconsistent", "open", "the TLV topic is there twice", plan(tlvs=[(1, b"orders"), (1, b"orders")]))
    add("tlv-beyond-tlv-length", "inconsistent", "open", "the last TLV states a longer value than tlv_length leaves room for",
        _tlv_too_long(plan()))
    add("padding-not-zero-header", "inconsistent", "open", "a byte of the file header's padding is 1; file header, header_copy and checksums agree",
        plan(header_padding_byte=1))
    add("header-copy-differs", "inconsistent", "verify", "header_copy has another created_at than the file header; both are sound, and the trailer agrees "
        "with header_copy", _header_differs(plan()), offsets)
    add("header-copy-of-another-segment", "misplaced", "open", "header_copy and the trailer name different segments; both are sound",
        plan(edit_sections=_foreign_header_copy, force_trailer={"header_crc": struct.unpack("<I", file_header(_foreign())[-4:])[0]}), offsets)
    add("file-length-wrong", "inconsistent", "open", "the trailer's file_length is 64 less than footer_position + footer_length + 64",
        plan(force_trailer={"file_length": len(base.data) - 64}), offsets)
    add("bytes-missing-at-front", "truncated", "open", "the first 64 bytes of the file are missing; the rest is intact, 64 bytes further to the front",
        base.data[64:], offsets)
    add("byte-missing-at-front", "truncated", "open", "the first byte of the file is missing: no part is aligned any more", base.data[1:], offsets)
    add("bytes-missing-in-a-block", "truncated", "open", "37 bytes inside the second block's VALUES are missing: the third block starts before the second "
        "one's stated end, and at no multiple of 64", _without(base.data, base.stream_positions[1]["VALUES"] + 3, 37), offsets[:3] + offsets[6:])
    add("bytes-missing-across-blocks", "truncated", "open", "128 bytes from the middle of the first block's streams on are missing",
        _without(base.data, base.stream_positions[0]["KEYS"], base.block_lengths[0]), offsets[6:])
    add("bytes-missing-at-both-ends", "not_a_segment", "open", "the first 100 bytes are missing, footer and trailer too: the salt comes from a block",
        base.data[100:base.footer_position], offsets)
    add("truncated-at-trailer", "not_a_segment", "open", "the file ends where the trailer should begin", base.data[:-64], offsets)
    add("truncated-in-block", "not_a_segment", "open", "the file ends in the middle of the last block", base.data[:starts[2] + base.block_lengths[2] // 2],
        offsets[:6])
    add("shorter-than-a-trailer", "truncated", "open", "the file has 63 bytes", base.data[:63], [])
    add("footer-length-over-limit", "limit", "open", "footer_length is 134217792, 64 above the limit", plan(force_trailer={"footer_length": 134217792}), offsets)

    add("minor-differs", "inconsistent", "open", "the trailer's minor is 3, the file header's is 0", plan(force_trailer={"minor": 3}), offsets)
    add("header-too-much-padding", "inconsistent", "open", "the file header has 64 more bytes of padding than it needs, in header_copy too",
        plan(extra_header_padding=64), offsets)

    # --- Footer ---
    add("footer-too-much-padding", "inconsistent", "open", "the footer has 64 more bytes of padding than it needs; footer_crc agrees",
        plan(extra_footer_padding=64), offsets)
    add("header-copy-cut", "inconsistent", "open", "header_copy is the first 64 bytes of the file header; footer_crc agrees",
        plan(edit_sections=lambda sections: sections[0].__setitem__(2, sections[0][2][:64])), offsets)
    add("unknown-section-twice", "inconsistent", "open", "the non-critical section 77 is there twice",
        plan(edit_sections=lambda sections: sections.extend([[77, 0, b"of"], [77, 0, b"the future"]])), offsets)
    add("gaps-cut", "inconsistent", "open", "the section gaps has 8 bytes; footer_crc agrees",
        plan(edit_sections=lambda sections: sections[3].__setitem__(2, sections[3][2][:8])), offsets)
    add("rendered-view-count-wrong", "inconsistent", "open", "rendered_sizes has rendering_version 2 and view_count 2",
        plan(edit_sections=lambda sections: sections[4].__setitem__(2, struct.pack("<II", RENDERING_VERSION, 2) + bytes(48))), offsets)
    add("rendered-sizes-cut", "inconsistent", "open", "the section rendered_sizes has 4 bytes",
        plan(edit_sections=lambda sections: sections[4].__setitem__(2, struct.pack("<I", RENDERING_VERSION))), offsets)
    add("whole-lines-cut", "inconsistent", "open", "the section whole_lines has 4 bytes",
        plan(edit_sections=lambda sections: sections.append([6, 0, struct.pack("<I", RENDERING_VERSION)])), offsets)
    add("statistics-record-count-wrong", "inconsistent", "open", "the record_count of statistics is 8, the block index has 9", plan(
        force_statistics={"record_count": 8}), offsets)
    add("missing-count-wrong", "inconsistent", "open", "missing_count is 1, and every offset has a record", plan(
        edit_sections=lambda sections: sections[3].__setitem__(2, struct.pack("<QII", 1, 0, 0))), offsets)
    add("footer-crc", "checksum", "open", "one bit of value_bytes in the footer is flipped", flip(base.section_positions[3] + 112), offsets)
    add("index-position-wrong", "inconsistent", "open", "the second index entry's position is 64 too high",
        with_block(index_force={"position": starts[1] + 64}), offsets)
    add("index-coverage-hole", "inconsistent", "open", "the second block's coverage begins one above the end of the first one's, in index and block header",
        with_block(base=104, records=simple_records(104, 2)), [100, 101, 102, 104, 105, 106, 107, 108])
    add("overlapping-coverage", "inconsistent", "open", "the second block's coverage begins one below the end of the first one's, in index and block header; "
        "the records' offsets ascend", with_block(base=102), offsets)
    add("index-differs-from-block", "inconsistent", "decode", "the second index entry has another max_timestamp than the block's header",
        with_block(index_force={"max_timestamp": T + 105001}), offsets)
    add("unknown-critical-section", "unsupported", "open", "a section of type 77 with the flag CRITICAL",
        plan(edit_sections=lambda sections: sections.append([77, 1, b"of the future"])), offsets)
    add("duplicate-section", "inconsistent", "open", "the section statistics is there twice",
        plan(edit_sections=lambda sections: sections.insert(3, sections[2])), offsets)
    add("missing-section", "inconsistent", "open", "there is no section gaps", plan(edit_sections=lambda sections: sections.pop(3)), offsets)
    add("sections-out-of-order", "inconsistent", "open", "gaps stands before statistics",
        plan(edit_sections=lambda sections: sections.insert(2, sections.pop(3))), offsets)
    add("section-beyond-footer", "inconsistent", "open", "the last section's length goes beyond the footer", _section_too_long(plan()), offsets)
    add("section-up-to-the-largest-position", "inconsistent", "open", "the last section's length is such that it would end at byte 2^64 - 1 of the footer: rounded up to a multiple of 8, "
        "that is beyond 64 bits", _section_up_to(plan(), 2**64 - 1), offsets)
    add("padding-not-zero-footer", "inconsistent", "open", "the last byte of the footer, which is padding, is 1; footer_crc agrees", _footer_padding(plan()),
        offsets)
    add("statistics-wrong", "inconsistent", "verify", "value_bytes is one too high", plan(
        force_statistics={"value_bytes": base.json["statistics"]["value_bytes"] + 1}), offsets)
    add("whole-lines-wrong", "inconsistent", "verify", "whole_lines says that no key is a line of its own, and each is", plan(whole_lines=1), offsets)
    add("whole-lines-overstated", "inconsistent", "verify", "whole_lines says that each value is a line of its own, and one is null",
        with_block(records=simple_records(103, 2) + [replace(simple_records(105, 1)[0], value=None)], whole_lines=3), offsets)
    add("hours-cut", "inconsistent", "open", "the section hours has 4 bytes",
        several_hours(edit_sections=lambda sections: sections[-1].__setitem__(2, struct.pack("<I", 1))), list(range(7)) + list(range(9, 15)))
    add("hours-size-wrong", "inconsistent", "open", "hours states one byte too many for an hour of the second block",
        several_hours(edit_hours=lambda hours: hours[1][0].__setitem__(1, hours[1][0][1] + 1)), list(range(7)) + list(range(9, 15)))
    add("hours-swapped", "inconsistent", "verify", "hours states one byte too many for an hour of the second block and one too few for another",
        several_hours(edit_hours=_move_a_byte), list(range(7)) + list(range(9, 15)))
    add("hours-out-of-order", "inconsistent", "open", "the hours of the second block do not ascend",
        several_hours(edit_hours=lambda hours: hours[1].reverse()), list(range(7)) + list(range(9, 15)))
    add("hours-of-one-hour", "inconsistent", "open", "the first block, all of one hour, has an entry",
        several_hours(edit_hours=lambda hours: hours[0].append([T // 3600000, 10])), list(range(7)) + list(range(9, 15)))
    add("gaps-overlapping", "inconsistent", "open", "two gap entries overlap", with_gap([(109, 115, 1), (114, 119, 2)]), offsets)
    add("gap-outside-the-coverage", "inconsistent", "open", "a gap entry ends above end_offset", with_gap([(109, 121, 1)]), offsets)
    add("gap-holds-a-record", "inconsistent", "verify", "a gap entry holds the last record", with_gap([(108, 112, 1)]), offsets)
    add("rendered-size-wrong", "inconsistent", "verify", "rendered_sizes states one byte too many for the first block's values",
        plan(edit_rendered_sizes=lambda ends: ends["values"].__setitem__(0, ends["values"][0] + 1)), offsets)

    # --- Positions of blocks ---
    add("block-header-crc", "checksum", "decode", "one bit of the second block's record_count is flipped", flip(starts[1] + 72),
        offsets[:3] + offsets[6:])
    blocks = [bytes(base.data[start:start + length]) for start, length in zip(starts, base.block_lengths)]
    assert len(set(base.block_lengths)) == 1
    rest = bytes(base.data[base.footer_position:])
    head = bytes(base.data[:base.header_length])
    add("swapped-blocks", "misplaced", "decode", "the first two blocks, which have the same length, have changed places",
        head + blocks[1] + blocks[0] + blocks[2] + rest, offsets)
    add("bytes-added-at-front", "misplaced", "open", "100 bytes were added before the file: everything is 100 bytes further to the end", b"\xaa" * 100 + bytes(base.data), offsets)
    add("bytes-added-between-blocks", "misplaced", "open", "37 bytes were added between the first two blocks", head + blocks[0] + b"K" * 37 + blocks[1] + blocks[2] + rest, offsets)
    add("bytes-added-in-a-block", "misplaced", "open", "64 zeros were added in the middle of the second block's streams",
        bytes(base.data[:starts[1] + 300]) + bytes(64) + bytes(base.data[starts[1] + 300:]), offsets[:3] + offsets[6:])
    add("contested-blocks", "inconsistent", "open", "the second block holds other records of the first one's offsets; both are intact, so a scan takes neither",
        with_block(base=100, records=[replace(record, key=b"another") for record in simple_records(100, 3)]), offsets[6:])
    add("repeated-block", "misplaced", "decode", "the first block stands in the second one's place too", head + blocks[0] + blocks[0] + blocks[2] + rest,
        offsets[:3] + offsets[6:])
    add("foreign-block", "misplaced", "decode", "the second block has another segment's salt; position, index and checksums agree",
        with_block(force={"salt": fixed_id("another segment")[:8]}), offsets[:3] + offsets[6:])
    add("padding-not-zero-block", "inconsistent", "decode", "the last byte of the second block, which is padding, is 1",
        flip(starts[1] + base.block_lengths[1] - 1), offsets[:3] + offsets[6:])

    outer_plan = segment_in_a_record()
    outer = build(outer_plan)
    add("block-header-crc-around-a-segment", "checksum", "decode", "made from segment-in-a-record: one bit of the outer second block's record_count is flipped; "
        "a scan must not take the blocks inside it", flip(outer.block_positions[1] + 72, 1, outer.data), [500, 501, 505, 506])

    add("bytes-missing-around-a-segment", "truncated", "open", "made from segment-in-a-record: the bytes up to the middle of the outer second block's header "
        "are missing; a scan must not take the blocks inside it", outer.data[outer.block_positions[1] + 64:], [505, 506])

    # --- Block header ---
    add("foreign-block-of-unknown-kind", "misplaced", "decode", "the second block has another segment's salt and kind 7: its place is checked first",
        with_block(force={"salt": fixed_id("another segment")[:8], "kind": 7}, index_force={"kind": 1}), offsets[:3] + offsets[6:])
    add("block-stream-count-damaged", "checksum", "decode", "one bit of the second block's stream_count is flipped: header_length alone bounds the checksum",
        flip(starts[1] + 29, 1), offsets[:3] + offsets[6:])
    without_coverage = plan()
    without_coverage.blocks.insert(1, Block(103, 103))
    add("block-without-coverage", "inconsistent", "open", "the second block's base_offset is its end_offset", without_coverage, offsets)
    add("unknown-kind", "unsupported", "open", "the second block's kind is 7", with_block(force={"kind": 7}))
    add("unknown-kind-in-a-block", "unsupported", "decode", "the second block's kind is 7, and 1 in the block index",
        with_block(force={"kind": 7}, index_force={"kind": 1}))
    add("index-meta-length-wrong", "inconsistent", "decode", "the block index states that META of the second block has one byte",
        with_block(index_force={"meta_length": 1}))
    add("unknown-codec", "unsupported", "decode", "KEYS of the second block has codec 3",
        with_block(edit_directory=lambda entries: entries[1].__setitem__(1, 3)))
    add("unknown-stream", "unsupported", "decode", "the second block has a stream of type 5", with_block(
        edit_directory=lambda entries: entries.append([5, 0, crc32c(b"future"), 6, 6]), edit_stored=lambda stored: stored.__setitem__("future", b"future")))
    add("streams-out-of-order", "inconsistent", "decode", "HEADERS stands before KEYS in the second block", with_block(
        edit_directory=lambda entries: entries.insert(1, entries.pop(2)), edit_stored=_swap_keys_and_headers))
    add("zero-length-stream-present", "inconsistent", "decode", "the second block, whose keys are null, has a KEYS stream of raw length 0", with_block(
        records=[replace(r, key=None) for r in simple_records(103, 3)],
        edit_directory=lambda entries: entries.insert(1, [2, 0, crc32c(b""), 0, 0])))
    add("stored-length-beyond-block", "inconsistent", "decode", "the stored and raw length of VALUES are 64 more than block_length leaves room for",
        with_block(edit_directory=_values_longer))
    add("record-count-over-limit", "limit", "open", "the second block's constant columns claim 2^31 records; block header, index and statistics agree",
        _many_records(plan()))
    add("raw-length-over-limit", "limit", "open", "the raw length of the second block's VALUES is 2^28; block header, index and statistics agree",
        with_block(codec="zstd", edit_directory=lambda entries: entries[3].__setitem__(4, 2**28)))
    add("min-timestamp-wrong", "inconsistent", "decode", "the second block's min_timestamp is 5 too low; index, statistics and the first time entry agree",
        with_block(force={"min_timestamp": T + 102995, "min_known_timestamp": T + 102995}))
    add("min-known-timestamp-wrong", "inconsistent", "decode", "the second block's min_known_timestamp is one above its min_timestamp; index and statistics agree",
        with_block(force={"min_known_timestamp": T + 103001}))
    add("tombstone-count-wrong", "inconsistent", "decode", "the second block's tombstone_count is 1, and no value is null; statistics agree",
        with_block(force={"tombstone_count": 1}))
    add("digest-wrong", "inconsistent", "verify", "the second block's content_digest is one too high; statistics agree", with_block(
        force={"content_digest": digests(simple_records(103, 3, T + 103000), 0)[0] + 1}))

    # --- Streams ---
    add("stream-crc", "checksum", "decode", "one bit of the second block's VALUES is flipped", flip(base.stream_positions[1]["VALUES"] + 3),
        offsets[:3] + offsets[6:])
    for codec in ("zstd", "lz4"):
        for name, step, words in (("too-small", -1, "less"), ("too-large", 1, "more")):
            add(f"raw-length-{name}-{codec}", "inconsistent", "decode",
                f"the raw length of VALUES is one {words} than the {codec} data gives; META agrees with the raw length",
                with_block(codec=codec, edit_directory=lambda entries, step=step: entries[3].__setitem__(4, entries[3][4] + step),
                           edit_columns=lambda columns, step=step: _last_value_length(columns, step)))
    zstd_of = zstandard.ZstdCompressor(level=3)
    values = b"".join(r.value for r in simple_records(103, 3, T + 103000))

    def zstd_values(stored: bytes) -> Plan:
        return with_block(codec="zstd", edit_stored=lambda streams: streams.__setitem__("VALUES", stored))

    add("zstd-two-frames", "inconsistent", "decode", "VALUES is stored as two zstd frames, the second one empty",
        zstd_values(zstd_of.compress(values) + zstd_of.compress(b"")))
    add("zstd-without-content-size", "inconsistent", "decode", "VALUES is stored as a zstd frame that does not state its content size",
        zstd_values(zstandard.ZstdCompressor(level=3, write_content_size=False).compress(values)))
    add("zstd-skippable-frame", "inconsistent", "decode", "VALUES is stored as a skippable zstd frame and a zstd frame",
        zstd_values(b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip" + zstd_of.compress(values)))
    # Built by hand (RFC 8878 section 3.1.1): magic, descriptor (content size in 4 bytes), window descriptor, size, one raw block.
    wide = b"\x28\xb5\x2f\xfd" + b"\x80" + bytes([14 << 3]) + struct.pack("<I", len(values)) + (len(values) << 3 | 1).to_bytes(3, "little") + values
    assert zstandard.get_frame_parameters(wide).window_size == 2**24
    add("zstd-window-over-limit", "limit", "decode", "VALUES is stored as a zstd frame with a window of 16 MiB", zstd_values(wide))

    def columns(name: str, data: bytes) -> Plan:
        return with_block(edit_columns=lambda found: found.__setitem__(name, data))

    add("unknown-attribute-bit", "unsupported", "decode", "bit 1 of a record's attributes is set", columns("attributes", b"\1\0\2\0"))
    add("unknown-column-encoding", "unsupported", "decode", "the column attributes has encoding 2", columns("attributes", b"\2\0"))
    add("varint-overlong", "inconsistent", "decode", "a varint of 11 bytes", columns("skipped", b"\0" + b"\x80" * 10 + b"\0"))
    add("varint-too-large", "inconsistent", "decode", "a varint of 10 bytes whose value is 2^64 (it would be 0 modulo 2^64)", columns("skipped", b"\0" + b"\x80" * 9 + b"\2"))
    add("varint-not-shortest", "inconsistent", "decode", "a varint of 2 bytes whose value is 0", columns("skipped", b"\0\x80\0"))
    add("meta-trailing-bytes", "inconsistent", "decode", "META has a byte behind its last column",
        with_block(edit_streams=lambda streams: streams.__setitem__("META", streams["META"] + b"\0")))
    add("meta-cut", "inconsistent", "decode", "META ends inside its last column",
        with_block(edit_streams=lambda streams: streams.__setitem__("META", streams["META"][:-1])))
    add("constant-column-without-entries", "inconsistent", "decode", "no record has a header, and the column header_name is constant", with_block(
        records=[replace(r, headers=[]) for r in simple_records(103, 3)], edit_columns=lambda found: found.__setitem__("header_name", b"\0\0")))
    add("meta-sum-mismatch", "inconsistent", "decode", "VALUES is one byte longer than the lengths in META",
        with_block(edit_streams=lambda streams: streams.__setitem__("VALUES", streams["VALUES"] + b"x")))
    add("offset-beyond-coverage", "inconsistent", "decode", "the last record's offset is the block's end_offset", columns("skipped", b"\1\0\0\1"))

    # --- Key filter ---
    def filtered(**changes) -> Plan:
        return with_key_filter("key-filter", segment_id=fixed_id("segment key-filter"), **changes)

    def section(edit: Callable[[bytearray], None]) -> Plan:
        def of_sections(sections: list[list]) -> None:
            payload = bytearray(sections[-1][2])
            edit(payload)
            sections[-1][2] = bytes(payload)
        return filtered(edit_sections=of_sections)

    def put(form: str, at: int, value: int) -> Plan:
        return section(lambda payload: struct.pack_into(form, payload, at, value))

    keys_of = [record.offset for block in filtered().blocks for record in block.records]
    add("key-filter-missing-key", "inconsistent", "verify", "the key filter lacks one key of a block: a search by key would miss its record",
        filtered(edit_key_entries=lambda pages: pages[1].pop(2)), keys_of)
    add("key-filter-extra-key", "inconsistent", "verify", "the key filter has an entry that no record of the block has",
        filtered(edit_key_entries=lambda pages: pages[1].insert(0, pages[1][0] - 1)), keys_of)
    add("key-filter-page-crc", "checksum", "verify", "one bit of a page of the key filter is flipped",
        filtered(edit_key_filter=lambda data: data.__setitem__(3, data[3] ^ 4)), keys_of)
    add("key-filter-padding-not-zero", "inconsistent", "verify", "a byte of the padding after the key filter is 1",
        filtered(edit_key_filter=lambda data: data.__setitem__(-1, 1)), keys_of)
    add("key-filter-entry-of-another-page", "inconsistent", "verify", "a page of the key filter has an entry that belongs to the next one",
        filtered(edit_key_entries=lambda pages: pages[0].append(pages[1].pop(0))), keys_of)
    add("key-filter-bits-after-the-last-entry", "inconsistent", "verify", "a page of the key filter has a byte behind its last entry",
        filtered(edit_key_pages=lambda pages: pages[2].__setitem__(0, pages[2][0] + b"\0")), keys_of)
    add("key-filter-page-ends-early", "inconsistent", "verify", "a page of the key filter has one entry fewer than it states",
        filtered(edit_key_pages=lambda pages: pages[2].__setitem__(0, pages[2][0][:-1])), keys_of)
    add("key-filter-over-length", "limit", "open", "the key filter states a length above the limit", put("<I", 8, 2**26 + 1))
    add("key-filter-over-entries", "limit", "open", "a page of the key filter states more entries than a filter may have", put("<I", 20, 2**23 + 1))
    add("key-filter-more-entries-than-bits", "inconsistent", "open", "a page of the key filter states more entries than it has bits for", put("<I", 20, 2**20))
    add("key-filter-hash-bits", "inconsistent", "open", "the key filter states 41 bits per hash", put("<B", 12, 41))
    add("key-filter-page-bits", "inconsistent", "open", "the key filter states more bits of pages than of hashes", put("<B", 13, 13))
    add("key-filter-rice-bits", "inconsistent", "open", "the key filter states 61 low bits", put("<B", 14, 61))
    add("key-filter-pages-out-of-order", "inconsistent", "open", "a page of the key filter ends before the one before it", put("<I", 28, 1))
    add("key-filter-position", "inconsistent", "open", "the key filter begins after the end of the last block",
        section(lambda payload: struct.pack_into("<Q", payload, 0, struct.unpack_from("<Q", payload)[0] + 64)))
    add("key-filter-section-cut", "inconsistent", "open", "the section key_filter is 12 bytes shorter than its pages need",
        section(lambda payload: payload.__delitem__(slice(-12, None))))
    add("key-filter-section-without-bit", "inconsistent", "open", "the section key_filter is there, and the bit of the features is clear",
        filtered(incompatible=0, edit_sections=lambda sections: sections.append([10, 1, bytes(28)]), key_filter=None))
    add("key-filter-bit-without-section", "inconsistent", "open", "the bit of the features is set, and the section key_filter is missing",
        filtered(edit_sections=lambda sections: sections.pop()))

    # --- Batches ---
    def batches(number: int | None = None, codec: str = "none", block: dict | None = None, segment: dict | None = None, **changes) -> Plan:
        """Returns two blocks of kind 2 between two of kind 1; one batch of the first one is changed."""
        of = [Batch(simple_records(103, 2), "none"), Batch(simple_records(105, 2), codec), Batch(simple_records(107, 3), "gzip")]
        if number is not None:
            of[number] = replace(of[number], **changes)
        return Plan("three-blocks", "", [
            Block(100, 103, simple_records(100, 3)), replace(batches_block(103, 110, of), **block or {}),
            batches_block(110, 112, [Batch(simple_records(110, 2))]), Block(112, 114, simple_records(112, 2))], base=100, **segment or {})

    others = [100, 101, 102, 110, 111, 112, 113]
    all_of_them = list(range(100, 114))

    # Of a block of which only the second batch does not decode.
    all_but_one = [offset for offset in all_of_them if offset not in (105, 106)]

    def broken_batch(name: str, error_class: str, what: str, number: int | None = None, at: str = "decode", scan: list[int] = others, **changes) -> None:
        add("batches-" + name, error_class, at, what, batches(number, **changes), scan)

    def malformed_batch(name: str, error_class: str, what: str, **changes) -> None:
        """A block whose other batches prove themselves."""
        broken_batch(name, error_class, what, 1, scan=all_but_one, **changes)

    add("batches-block-without-bit", "inconsistent", "open", "two blocks are of kind 2, and bit 3 of the features is clear", batches(segment={"batches_bit": False}), all_of_them)
    add("batches-bit-without-block", "inconsistent", "open", "bit 3 of the features is set, and no block is of kind 2", plan(batches_bit=True), offsets)
    add("batches-without-record", "inconsistent", "open", "a block of kind 2 has no record and no stream", batches(block={
        "records": [], "edit_streams": lambda streams: streams.clear()}), others)
    add("batches-meta-length-wrong", "inconsistent", "decode", "meta_length of a block of kind 2 is 64 less than the stored length of BATCHES", batches(block={
        "index_force": {"meta_length": _batches_length(batches()) - 64}}), all_of_them)
    def flipped(name: str, what: str, edits: list[tuple[int, int]], scan: list[int], computed: bool = True) -> None:
        """Flips bits of the first block of kind 2: in a batch, from its beginning."""
        of = build(batches(block={"computed": computed}))
        data = bytearray(of.data)
        for number, position in edits:
            at = of.stream_positions[1]["BATCHES"]
            for _ in range(number):
                at += 12 + struct.unpack_from(">i", data, at + 8)[0]
            data[at + position] ^= 4
        add(("" if computed else "not-computed-") + "batches-flip-" + name, "checksum", "decode", what, bytes(data), scan)

    everything = [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113]
    flipped("in-a-batch", "a bit in the records of the second of three batches is flipped: the others prove themselves",
            [(1, 62)], [offset for offset in everything if offset not in (105, 106)])
    flipped("in-the-last-batch", "a bit in last_offset_delta of the last of three batches is flipped: the others prove themselves",
            [(2, 26)], [offset for offset in everything if offset not in (107, 108, 109)], computed=False)
    flipped("in-two-batches", "a bit in the first and in the last of three batches is flipped: the one between proves itself",
            [(0, 62), (2, 62)], [100, 101, 102, 105, 106, 110, 111, 112, 113])
    flipped("in-a-base-offset", "a bit in base_offset of a batch is flipped, which its crc does not cover: no batch of the block proves itself", [(1, 7)], others)
    flipped("in-a-leader-epoch", "a bit in leader_epoch of a batch is flipped, which its crc does not cover: no batch of the block proves itself",
            [(1, 15)], others, computed=False)
    for kind, stream, what in ((2, 1, "a block of kind 2 has META instead of BATCHES"), (2, 6, "a block of kind 2 has the unknown stream 6")):
        add(f"batches-stream-{stream}", "unsupported", "decode", what,
            batches(block={"edit_directory": lambda entries, stream=stream: entries[0].__setitem__(0, stream)}), others)
    add("batches-in-a-records-block", "unsupported", "decode", "a block of kind 1 has the stream BATCHES beside its others", with_block(
        edit_streams=lambda streams: streams.__setitem__("BATCHES", batch_bytes(Batch(simple_records(103, 3)), 0)[0])), offsets[:3] + offsets[6:])
    def not_computed(name: str, error_class: str, at: str, what: str, scan: list[int], number: int | None = None, block: dict | None = None,
                     segment: dict | None = None, **changes) -> None:
        of = batches(number, block={"computed": False, **(block or {})}, segment=segment, **changes)
        add("not-computed-" + name, error_class, at, what, of, scan)

    not_computed("without-bit", "inconsistent", "open", "a block is not computed, and bit 0 of the features is clear", all_of_them, segment={
        "not_computed_bit": False, "keep_sizes": True})
    add("not-computed-bit-without-block", "inconsistent", "open", "bit 0 of the features is set, and all blocks are computed",
        batches(segment={"not_computed_bit": True, "rendered_sizes": False}), all_of_them)
    not_computed("flag-in-the-block-only", "inconsistent", "open", "a block is not computed, and its index entry says that it is", all_of_them, block={
        "index_force": {"flags": 0}})
    not_computed("rendered-sizes", "inconsistent", "open", "a segment that is not computed has the section rendered_sizes", all_of_them, segment={"keep_sizes": True})
    for field in ("tombstone_count", "no_timestamp_count", "content_digest"):
        not_computed(field.replace("_", "-"), "inconsistent", "decode", f"a block that is not computed states {field} 1", others, block={"force": {field: 1}})
    not_computed("min-timestamp", "inconsistent", "open", "the index entry of a block that is not computed states min_timestamp", all_of_them, block={
        "index_force": {"min_timestamp": T}})
    not_computed("statistics", "inconsistent", "open", "the statistics of a segment that is not computed state null_key_count 1", all_of_them, segment={
        "force_statistics": {"null_key_count": 1}})
    not_computed("bound-is-not-the-batches", "inconsistent", "decode", "max_timestamp of a block that is not computed is above that of its batches", others, block={
        "force": {"max_timestamp": T + 10**9}})
    not_computed("record-above-the-bound", "inconsistent", "verify", "a record of a block that is not computed has a timestamp above the bound", all_of_them,
                 1, force={"max_timestamp": T - 10**6}, records=[Rec(105, T + 10**6, b"k", b"v"), Rec(106, T, b"k", b"v")])
    def bounds(name: str, at: str, what: str, edit: Callable[[list[list]], None], computed: bool = True) -> None:
        of = batches(block={"computed": computed}, segment={"edit_batch_bounds": edit})
        add("batch-bounds-" + name, "inconsistent", at, what, of, all_of_them)

    def bounds_section(sections: list[list]) -> list:
        return next(section for section in sections if section[0] == 8)

    add("batch-bounds-missing", "inconsistent", "open", "bit 3 of the features is set, and the section batch_bounds is missing",
        batches(segment={"edit_sections": lambda sections: sections.remove(bounds_section(sections))}), all_of_them)
    add("batch-bounds-without-bit", "inconsistent", "open", "the section batch_bounds is there, and no block is of kind 2",
        plan(edit_sections=lambda sections: sections.append([8, 0, b""])), offsets)
    add("batch-bounds-cut", "inconsistent", "open", "the section batch_bounds has one entry for two blocks of kind 2",
        batches(segment={"edit_sections": lambda sections: bounds_section(sections).__setitem__(2, bounds_section(sections)[2][:16])}), all_of_them)
    bounds("too-large", "open", "the largest batch of a block is larger than the block", lambda entries: entries[1].__setitem__(1, 2**30))
    bounds("too-small", "open", "the largest batch of a block has fewer bytes than its header", lambda entries: entries[1].__setitem__(1, 60))
    bounds("codec-5", "open", "a block has batches of codec 5", lambda entries: entries[0].__setitem__(2, 33))
    bounds("no-codec", "open", "a block has batches of no codec", lambda entries: entries[0].__setitem__(2, 0))
    bounds("above-max-timestamp", "open", "smallest_max_timestamp of a block that is not computed is above its max_timestamp",
           lambda entries: entries[0].__setitem__(0, T + 10**9), computed=False)
    for is_computed, infix in ((True, ""), (False, "not-computed-")):
        bounds(infix + "time-wrong", "verify", "smallest_max_timestamp is one below that of the batches", lambda entries: entries[0].__setitem__(0, entries[0][0] - 1), is_computed)
        bounds(infix + "size-wrong", "verify", "the largest batch has one byte less than stated", lambda entries: entries[0].__setitem__(1, entries[0][1] + 1), is_computed)
    bounds("codecs-wrong", "verify", "a codec is missing among those of the batches", lambda entries: entries[0].__setitem__(2, 1))
    bounds("gaps-wrong", "verify", "a batch is said to have fewer records than offsets", lambda entries: entries[1].__setitem__(3, 1))
    broken_batch("record-count-wrong", "inconsistent", "the block's record_count is one less than its batches have; statistics agree", block={"force": {"record_count": 6}})
    broken_batch("tombstone-count-wrong", "inconsistent", "the block's tombstone_count is 1, and no value is null; statistics agree", block={"force": {"tombstone_count": 1}})
    broken_batch("crc", "checksum", "the crc of a batch is not that of its bytes; stored_crc is", 1, force={"crc_change": 1})
    broken_batch("magic-1", "unsupported", "a batch has magic 1", 1, force={"magic": 1})
    broken_batch("codec-5", "unsupported", "a batch has codec 5", 1, attributes=5)
    malformed_batch("control", "inconsistent", "a batch is a control batch", attributes=32)
    malformed_batch("other-timestamp-type", "inconsistent", "a batch is of LogAppendTime, the segment of CreateTime", attributes=8)
    malformed_batch("no-record-in-a-batch", "inconsistent", "a batch states no record, and has two", force={"record_count": 0})
    malformed_batch("more-records-than-offsets", "inconsistent", "a batch of two offsets states three records", force={"record_count": 3})
    malformed_batch("negative-delta", "inconsistent", "a batch has last_offset_delta -1", force={"last_offset_delta": -1})
    broken_batch("length-too-small", "inconsistent", "a batch has batch_length 48: it ends inside its header", 1, force={"batch_length": 48})
    broken_batch("length-negative", "inconsistent", "a batch has batch_length -1", 1, force={"batch_length": -1})
    broken_batch("length-too-large", "inconsistent", "the last batch states one byte more than there is", 2, force={"batch_length": len(
        batch_bytes(Batch(simple_records(107, 3), "gzip"), 0)[0]) - 11})
    add("batches-cut", "inconsistent", "decode", "BATCHES ends inside the header of a batch", batches(block={
        "edit_streams": lambda streams: streams.__setitem__("BATCHES", streams["BATCHES"] + batch_bytes(Batch(simple_records(110, 1)), 0)[0][:60])}), others)
    broken_batch("overlapping", "inconsistent", "a batch begins at the last offset of the one before it", 0, last=105)
    broken_batch("before-the-coverage", "inconsistent", "the first batch begins below the block's base_offset", 0, base=102)
    broken_batch("beyond-the-coverage", "inconsistent", "the last batch ends at the block's end_offset", 2, last=110)
    malformed_batch("record-cut", "inconsistent", "the last record of a batch lacks its last byte", edit_records=lambda raw: raw[:-1])
    malformed_batch("bytes-after-the-last-record", "inconsistent", "a batch has a byte behind its last record", edit_records=lambda raw: raw + b"\0")
    malformed_batch("record-longer-than-its-fields", "inconsistent", "the length of a record is one more than its fields, and the next one is one shorter",
                 edit_records=lambda raw: bytes([raw[0] + 2]) + raw[1:])
    malformed_batch("varint-too-long", "inconsistent", "the length of a record is a varint of 6 bytes", edit_records=lambda raw: bytes([raw[0] | 0x80]) + b"\x80\x80\x80\x80\0" + raw[1:])
    malformed_batch("offsets-not-ascending", "inconsistent", "two records of a batch have the same offset", offset_deltas=[1, 1])
    malformed_batch("offset-beyond-the-batch", "inconsistent", "a record of a batch has an offset above its last one", offset_deltas=[0, 2])
    for name in ("gzip", "snappy", "lz4", "zstd"):
        malformed_batch(f"{name}-cut", "inconsistent", f"the {name} data of a batch lacks its last 3 bytes", codec=name, edit_stored=lambda stored: stored[:-3])
        malformed_batch(f"{name}-bytes-after", "inconsistent", f"a batch has 9 bytes that are no {name} behind its records", codec=name, edit_stored=lambda stored: stored + b"\xff" * 9)
    malformed_batch("snappy-length-wrong", "inconsistent", "snappy data without frames states one byte more than it decompresses to", codec="snappy", raw_snappy=True,
                 edit_stored=lambda stored: bytes([stored[0] + 1]) + stored[1:])
    # A window of 2^28 bytes: RFC 8878 section 3.1.1.1.2.
    malformed_batch("zstd-window-over-limit", "limit", "the records of a batch are a zstd frame with a window of 256 MiB", codec="zstd",
                 edit_stored=lambda stored: b"\x28\xb5\x2f\xfd\x00" + bytes([18 << 3]) + (5 << 3 | 1).to_bytes(3, "little") + b"bytes")
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(2**27 - 50))
    malformed_batch("decoded-bytes-over-limit", "limit", "the records of two batches decompress to more than 134217728 bytes together, each to less", codec="zstd",
                 edit_stored=lambda stored: bomb)
    return out


def _batches_length(plan: Plan) -> int:
    return len(b"".join(batch_bytes(batch, 0)[0] for batch in plan.blocks[1].batches))


def _without(data: bytes, position: int, count: int) -> bytes:
    return bytes(data[:position] + data[position + count:])


def _tlv_too_long(plan: Plan) -> bytes:
    """Raises the length field of the last TLV (created_at) by 8, in file header and header_copy."""
    return _rewrite_header(plan, lambda header: header.__setitem__(_last_tlv(header) + 4, 16), copy_too=True)


def _last_tlv(header: bytes) -> int:
    """Returns the position of the last TLV's head: all headers written here end with created_at, which has 16 bytes."""
    return 96 + struct.unpack_from("<I", header, 80)[0] - 16


def _header_differs(plan: Plan) -> bytes:
    """Changes created_at in the file header only."""
    return _rewrite_header(plan, lambda header: header.__setitem__(_last_tlv(header) + 8, header[_last_tlv(header) + 8] ^ 1), copy_too=False)


def _rewrite_header(plan: Plan, edit: Callable[[bytearray], None], copy_too: bool) -> bytes:
    built = build(plan)
    header = built.data[:built.header_length]
    edit(header)
    header[-4:] = struct.pack("<I", crc32c(header[:-4]))
    if copy_too:
        plan.edit_sections = lambda sections: sections[0].__setitem__(2, bytes(header))
        plan.force_trailer = {"header_crc": struct.unpack("<I", header[-4:])[0]}
        built = build(plan)
    built.data[:len(header)] = header
    return bytes(built.data)


def _foreign() -> Plan:
    """Returns another segment whose header is otherwise that of three-blocks."""
    plan = three_blocks()
    plan.segment_id, plan.topic_id = fixed_id("another segment"), fixed_id("topic orders")
    plan.tlvs = [(1, b"orders"), (2, b"golden-cluster"), (3, b"make_goldens.py"), (4, struct.pack("<q", T))]
    return plan


def _foreign_header_copy(sections: list[list]) -> None:
    sections[0][2] = file_header(_foreign())


def _reseal_footer(built: Built) -> bytes:
    """Recomputes footer_crc and trailer_crc after a change of the footer."""
    data = built.data
    data[-44:-40] = struct.pack("<I", crc32c(data[built.footer_position:-64]))
    data[-12:-8] = struct.pack("<I", crc32c(data[-64:-12]))
    return bytes(data)


def _section_too_long(plan: Plan, length: int = 2**40) -> bytes:
    built = build(plan)
    struct.pack_into("<Q", built.data, built.section_positions[5] - 8, length)
    return _reseal_footer(built)


def _section_up_to(plan: Plan, end: int) -> bytes:
    """States a length with which the section ends at this byte of the footer."""
    built = build(plan)
    return _section_too_long(plan, end - (built.section_positions[5] - built.footer_position))


def _footer_padding(plan: Plan) -> bytes:
    built = build(plan)
    last_end = built.section_positions[5] + 8 + 8 * 3 * 3
    assert last_end < len(built.data) - 64, "the footer has no padding"
    built.data[-65] = 1
    return _reseal_footer(built)


def with_gap(entries: list[tuple[int, int, int]]) -> Plan:
    """Returns three-blocks whose last block covers ten offsets without records, with these gap entries."""
    plan = three_blocks(segment_id=fixed_id("segment three-blocks"), gap_entries=entries)
    plan.blocks[2] = replace(plan.blocks[2], end=119)
    return plan


def _swap_keys_and_headers(stored: dict[str, bytes]) -> None:
    keys, values = stored.pop("KEYS"), stored.pop("VALUES")
    stored["KEYS"], stored["VALUES"] = keys, values


def _values_longer(entries: list[list]) -> None:
    """Changes both lengths of VALUES: with codec none they must agree."""
    entries[3][3] += 64
    entries[3][4] += 64


def _last_value_length(columns: dict[str, bytes], step: int) -> None:
    """Writes the column value plain: the values of three-blocks all have one length below 127, so it was constant."""
    length = columns["value"][1]
    columns["value"] = bytes([1, length, length, length + step])


def _many_records(plan: Plan) -> Plan:
    """Writes META as constant columns only: a few bytes that claim 2^31 tombstones without keys."""
    count = 2**31
    plan.blocks[1] = Block(103, 103 + count, [Rec(103, T, None, None)], force={"record_count": count, "tombstone_count": count})
    plan.blocks[2] = Block(103 + count, 106 + count, simple_records(103 + count, 3))
    return plan


# --------------------------------------------------------------------------------------------------------------


def write(path: Path, data: bytes, text: str, force: bool) -> str:
    """Writes both files or neither; returns the outcome."""
    beside = path.with_suffix(".json")
    if (path.exists() or beside.exists()) and not force:
        same = path.exists() and beside.exists() and path.read_bytes() == data and beside.read_text("utf-8") == text
        return "kept" if same else "kept; this program would write something else now"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    beside.write_text(text, "utf-8", newline="\n")
    return "written"


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes the golden and broken segments; see the top of the file.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--fixtures", type=Path, default=Path(__file__).resolve().parent.parent.parent / "fixtures")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    arguments = parser.parse_args()

    todo: list[tuple[Path, bytes, dict]] = []
    for plan in goldens():
        if not arguments.names or plan.name in arguments.names:
            built = build(plan)
            todo.append((arguments.fixtures / "golden" / "v1" / f"{plan.name}.kseg", bytes(built.data), golden_json(plan, built)))
    for broken in broken_segments():
        if not arguments.names or broken.name in arguments.names:
            described = {"error_class": broken.error_class, "at": broken.at, "what": broken.what}
            if broken.scan_offsets is not None:
                described["scan_offsets"] = broken.scan_offsets
            todo.append((arguments.fixtures / "broken" / "v1" / f"{broken.name}.kseg", broken.data, described))

    failed = 0
    for path, data, described in todo:
        done = write(path, data, json_text(described), arguments.force)
        problems = check_goldens.check_file(path)  # as the reader sees the files that exist now
        failed += bool(problems)
        print(f"{path.parent.parent.name}/{path.stem}: {done}" + "".join(f"\n    {problem}" for problem in problems))
    if not todo:
        print("nothing of that name")
        return 1
    print(f"{len(todo)} segments, {failed} do not read back as described")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
