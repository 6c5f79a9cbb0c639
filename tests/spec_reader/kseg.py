"""A strict reader of kbk segments (`.kseg`), written from SPEC.md alone.

It is written for reading along with the specification, not for speed: the whole segment is in memory, and every check of
sections 2, 4 and 6 is made where the structure is parsed. Every defect of a segment is raised as a `FormatError`
with one of the error classes of section 7.

    segment = kseg.open(data)                  section 5, Open: trailer and footer, nothing else
    segment.records()                          all records in offset order
    segment.find_by_offset(o)                  the record at o, or the first one above it
    segment.offset_for_time(t)                 Kafka's ListOffsets by timestamp
    segment.select(t0, t1)                     all records with t0 <= timestamp < t1
    kseg.scan(data)                            salvage of damaged segments, without the footer
    kseg.verify(data)                          every check of section 4
    kseg.render_record(r, h), kseg.render(rs, v, h)  section 10; h is the file header

Command line: `python kseg.py FILE [--records | --info | --verify | --scan | --view VIEW]`.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import datetime
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import lz4.block
import lz4.frame
import xxhash
import zstandard

# --------------------------------------------------------------------------------------------------------------
# Constants

HEADER_MAGIC = bytes.fromhex("894B53470D0A1A0A")
BLOCK_MAGIC = b"KBLK"
TRAILER_MAGIC = bytes.fromhex("894B53450D0A1A0A")
TRAILER_LENGTH = 64

# Section 6.
MAX_FILE_HEADER_LENGTH = 65536
MAX_TOPIC_NAME = 249
MAX_STREAMS = 16
MAX_RECORDS = 1048576
MAX_HEADERS = 4194304
MAX_RAW = 268435456
MAX_DECODED = 134217728
MAX_BLOCK_LENGTH = 272629760
MAX_BLOCKS = 1048576
MAX_FOOTER_LENGTH = 134217728
MAX_GAP_ENTRIES = 65536
MAX_HOUR_ENTRIES = 1048576
MAX_KEY_FILTER_LENGTH = 67108864
MAX_KEY_FILTER_ENTRIES = 8388608
MAX_ZSTD_WINDOW = 8388608
MAX_BATCH_ZSTD_WINDOW = 134217728

I64_MIN, I64_MAX = -(2**63), 2**63 - 1
MASK_64, MASK_128 = 2**64 - 1, 2**128 - 1

# Section 7.
NOT_A_SEGMENT = "not_a_segment"
UNSUPPORTED = "unsupported"
TRUNCATED = "truncated"
CHECKSUM = "checksum"
MISPLACED = "misplaced"
INCONSISTENT = "inconsistent"
LIMIT = "limit"

KIND_RECORDS, KIND_BATCHES = 1, 2
META, KEYS, HEADERS, VALUES, BATCHES = 1, 2, 3, 4, 5
STREAMS_OF_KIND = {KIND_RECORDS: (META, KEYS, HEADERS, VALUES), KIND_BATCHES: (BATCHES,)}
STREAM_NAMES = {META: "META", KEYS: "KEYS", HEADERS: "HEADERS", VALUES: "VALUES", BATCHES: "BATCHES"}
CODEC_NONE, CODEC_ZSTD, CODEC_LZ4 = 0, 1, 2
CODEC_NAMES = {CODEC_NONE: "none", CODEC_ZSTD: "zstd", CODEC_LZ4: "lz4"}

SECTION_HEADER_COPY, SECTION_BLOCK_INDEX, SECTION_STATISTICS, SECTION_GAPS, SECTION_RENDERED_SIZES, SECTION_WHOLE_LINES = 1, 2, 3, 4, 5, 6
SECTION_HOURS = 7
SECTION_BATCH_BOUNDS = 8
SECTION_KEY_FILTER = 10
FEATURE_NOT_COMPUTED = 1
FEATURE_KEY_FILTER = 4
FEATURE_BATCHES = 8
KNOWN_FEATURES = FEATURE_NOT_COMPUTED | FEATURE_KEY_FILTER | FEATURE_BATCHES
REQUIRED_SECTIONS = (SECTION_HEADER_COPY, SECTION_BLOCK_INDEX, SECTION_STATISTICS, SECTION_GAPS)
FLAG_CRITICAL = 1

TLV_TOPIC, TLV_CLUSTER_ID, TLV_WRITER, TLV_CREATED_AT, TLV_COMPRESSION = 1, 2, 3, 4, 5

RENDERING_VERSION = 2
VIEWS = ("records.jsonl", "values", "keys")  # the order of section rendered_sizes


class FormatError(Exception):
    """A defect: its class of section 7, the structure (`what`), and its position in the object."""

    def __init__(self, error_class: str, what: str, position: int | None, detail: str) -> None:
        super().__init__(f"{error_class}: {what} at position {position}: {detail}")
        self.error_class = error_class
        self.what = what
        self.position = position
        self.detail = detail


def require(condition: bool, error_class: str, what: str, position: int | None, detail: str) -> None:
    if not condition:
        raise FormatError(error_class, what, position, detail)


# --------------------------------------------------------------------------------------------------------------
# Primitives of section 1


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    return crc32c_append(0, data)


def crc32c_append(crc: int, data: bytes) -> int:
    """Returns the CRC of bytes that begin with those that `crc` is of."""
    table, crc = _CRC_TABLE, crc ^ 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def crc32c_combine(first: int, second: int, second_length: int) -> int:
    """Returns the CRC of a concatenation from those of its parts, and the length of the second one."""
    for _ in range(second_length):
        first = _CRC_TABLE[first & 0xFF] ^ (first >> 8)
    return first ^ second


if crc32c(b"123456789") != 0xE3069283:
    raise AssertionError("crc32c is not the CRC of section 1")


def xxh3_128(data: bytes) -> bytes:
    """Returns the hash as its 128-bit integer in little-endian order. (The library's digest() is big-endian.)"""
    return xxhash.xxh3_128_intdigest(data).to_bytes(16, "little")


def align(n: int, a: int) -> int:
    return (n + a - 1) // a * a


def unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def wrap_i64(value: int) -> int:
    """Returns `value` modulo 2^64, as a signed 64-bit integer."""
    value &= MASK_64
    return value - 2**64 if value > I64_MAX else value


def is_zero(data: bytes) -> bool:
    return not any(data)


def check_padding(data: bytes, what: str, position: int) -> None:
    require(is_zero(data), INCONSISTENT, what, position, "padding is not zero")


# --------------------------------------------------------------------------------------------------------------
# 2.1 File header, 2.2 TLVs

_HEADER = struct.Struct("<8sHHIQQ16s16siBB2xqI12x")


@dataclass(frozen=True)
class Tlv:
    type: int
    value: bytes
    position: int  # of the TLV in the file header


@dataclass(frozen=True)
class FileHeader:
    raw: bytes
    major: int
    minor: int
    header_length: int
    incompatible_features: int
    compatible_features: int
    segment_id: bytes
    topic_id: bytes
    partition: int
    timestamp_type: int
    isolation_level: int
    base_offset: int
    tlvs: tuple[Tlv, ...]
    header_crc: int

    def _text(self, tlv_type: int) -> str | None:
        for tlv in self.tlvs:
            if tlv.type == tlv_type:
                return tlv.value.decode("utf-8")
        return None

    @property
    def topic(self) -> str:
        topic = self._text(TLV_TOPIC)
        assert topic is not None  # parse_file_header checked it
        return topic

    @property
    def cluster_id(self) -> str | None:
        return self._text(TLV_CLUSTER_ID)

    @property
    def writer(self) -> str | None:
        return self._text(TLV_WRITER)

    @property
    def created_at(self) -> int | None:
        for tlv in self.tlvs:
            if tlv.type == TLV_CREATED_AT:
                return int.from_bytes(tlv.value, "little", signed=True)
        return None


def parse_file_header(data: bytes, position: int = 0, what: str = "file header") -> FileHeader:
    """Parses the file header at the start of `data`; `position` is its position in the object, for messages."""
    # Order of checks: section 4 rule 1.
    require(len(data) >= _HEADER.size, TRUNCATED, what, position, f"{len(data)} bytes are too few")
    (magic, major, minor, header_length, incompatible, compatible, segment_id, topic_id, partition, timestamp_type,
     isolation_level, base_offset, tlv_length) = _HEADER.unpack_from(data)
    require(magic == HEADER_MAGIC, NOT_A_SEGMENT, what, position, f"magic is {magic.hex()}")
    require(major == 1, UNSUPPORTED, what, position, f"major version {major}")

    # The checksum cannot be found without the length, so it is bounded first.
    require(header_length <= MAX_FILE_HEADER_LENGTH, LIMIT, what, position, f"header_length {header_length}")
    require(header_length >= 128 and header_length % 64 == 0, INCONSISTENT, what, position, f"header_length {header_length}")
    require(header_length <= len(data), TRUNCATED, what, position, f"header_length {header_length}, {len(data)} bytes found")
    raw = bytes(data[:header_length])
    (header_crc,) = struct.unpack_from("<I", raw, header_length - 4)
    require(crc32c(raw[:-4]) == header_crc, CHECKSUM, what, position, "header_crc")

    require(incompatible & ~KNOWN_FEATURES == 0, UNSUPPORTED, what, position, f"incompatible_features {incompatible:#x}")
    require(timestamp_type in (0, 1), UNSUPPORTED, what, position, f"timestamp_type {timestamp_type}")
    require(isolation_level in (0, 1), UNSUPPORTED, what, position, f"isolation_level {isolation_level}")
    require(partition >= 0, INCONSISTENT, what, position, f"partition {partition}")
    require(base_offset >= 0, INCONSISTENT, what, position, f"base_offset {base_offset}")
    require(header_length == align(96 + tlv_length + 4, 64), INCONSISTENT, what, position,
            f"header_length {header_length} does not follow from tlv_length {tlv_length}")
    tlvs = _parse_tlvs(raw, 96, 96 + tlv_length, position, what)
    check_padding(raw[96 + tlv_length:-4], what, position + 96 + tlv_length)

    header = FileHeader(raw, major, minor, header_length, incompatible, compatible, segment_id, topic_id, partition,
                        timestamp_type, isolation_level, base_offset, tlvs, header_crc)
    topic_length = len(header.topic.encode("utf-8"))
    require(topic_length <= MAX_TOPIC_NAME, LIMIT, what, position, f"the topic's name has {topic_length} bytes")
    return header


def _parse_tlvs(raw: bytes, start: int, end: int, position: int, what: str) -> tuple[Tlv, ...]:
    tlvs = []
    at = start
    while at < end:
        require(end - at >= 8, INCONSISTENT, what, position + at, "a TLV's head does not fit into tlv_length")
        tlv_type, length = struct.unpack_from("<H2xI", raw, at)
        # The length in the table is that of the value; the padding after it belongs to the TLV too.
        require(align(8 + length, 8) <= end - at, INCONSISTENT, what, position + at, "a TLV does not fit into tlv_length")
        value = raw[at + 8:at + 8 + length]
        after = at + align(8 + length, 8)
        check_padding(raw[at + 8 + length:after], what, position + at + 8 + length)
        if tlv_type in (TLV_TOPIC, TLV_CLUSTER_ID, TLV_WRITER, TLV_COMPRESSION):
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                raise FormatError(INCONSISTENT, what, position + at, f"TLV {tlv_type} is not UTF-8") from None
        if tlv_type == TLV_CREATED_AT:
            require(length == 8, INCONSISTENT, what, position + at, f"created_at has {length} bytes")
        tlvs.append(Tlv(tlv_type, value, at))
        at = after
    for known in (TLV_TOPIC, TLV_CLUSTER_ID, TLV_WRITER, TLV_CREATED_AT, TLV_COMPRESSION):
        times = sum(tlv.type == known for tlv in tlvs)
        allowed = (1,) if known == TLV_TOPIC else (0, 1)
        require(times in allowed, INCONSISTENT, what, position, f"the TLV of type {known} occurs {times} times")
    return tuple(tlvs)


# --------------------------------------------------------------------------------------------------------------
# 2.7 Trailer

_TRAILER = struct.Struct("<QQII16sIHHII8s")


@dataclass(frozen=True)
class Trailer:
    footer_position: int
    file_length: int
    footer_length: int
    footer_crc: int
    segment_id: bytes
    block_count: int
    major: int
    minor: int
    header_crc: int


def parse_trailer(data: bytes) -> Trailer:
    """Parses the trailer at the end of the whole object `data`."""
    what, size = "trailer", len(data)
    position = max(0, size - TRAILER_LENGTH)
    require(size >= TRAILER_LENGTH, TRUNCATED, what, position, f"{size} bytes are too few")
    raw = bytes(data[position:])
    (footer_position, file_length, footer_length, footer_crc, segment_id, block_count, major, minor, header_crc,
     trailer_crc, magic) = _TRAILER.unpack(raw)
    require(magic == TRAILER_MAGIC, NOT_A_SEGMENT, what, position, f"magic is {magic.hex()}")
    require(major == 1, UNSUPPORTED, what, position, f"major version {major}")
    require(crc32c(raw[:52]) == trailer_crc, CHECKSUM, what, position, "trailer_crc")
    require(footer_length <= MAX_FOOTER_LENGTH, LIMIT, what, position, f"footer_length {footer_length}")
    require(block_count <= MAX_BLOCKS, LIMIT, what, position, f"block_count {block_count}")
    require(footer_length % 64 == 0, INCONSISTENT, what, position, f"footer_length {footer_length}")
    require(footer_position % 64 == 0, INCONSISTENT, what, position, f"footer_position {footer_position}")
    require(file_length == footer_position + footer_length + 64, INCONSISTENT, what, position,
            f"file_length {file_length}, footer_position {footer_position}, footer_length {footer_length}")
    # The trailer is intact, so its file_length can be trusted.
    require(file_length <= size, TRUNCATED, what, position, f"file_length {file_length}, {size} bytes found")
    require(file_length == size, MISPLACED, what, position, f"file_length {file_length}, {size} bytes found")
    return Trailer(footer_position, file_length, footer_length, footer_crc, segment_id, block_count, major, minor, header_crc)


# --------------------------------------------------------------------------------------------------------------
# 2.5 Footer

_INDEX_ENTRY = struct.Struct("<QqqqqqIHBBIIII")
_STATISTICS = struct.Struct("<qqqqqq13Qq16s16s")
_GAP_ENTRY = struct.Struct("<qqI4x")


@dataclass(frozen=True)
class IndexEntry:
    position: int
    base_offset: int
    end_offset: int
    min_timestamp: int
    max_timestamp: int
    min_known_timestamp: int
    block_length: int
    header_length: int
    kind: int
    flags: int
    record_count: int
    header_crc: int
    raw_length: int
    meta_length: int

    @property
    def is_computed(self) -> bool:
        return _is_computed(self)


# Section 2.11: the fields that a block or a segment states that is not computed, and what is written for the others where that is not 0.
STATED = ("base_offset", "end_offset", "max_timestamp", "record_count", "control_count", "raw_bytes")
NOT_STATED = {"first_offset": -1, "last_offset": -1, "min_timestamp": I64_MAX, "min_known_timestamp": I64_MAX}
NOT_STATED_OF_BLOCK = ("min_timestamp", "min_known_timestamp", "tombstone_count", "no_timestamp_count", "content_digest", "restore_digest")


def _is_computed(part: IndexEntry | BlockHeader) -> bool:
    return part.kind != KIND_BATCHES or part.flags & 1 == 0


def _check_not_stated(part: object, names: Iterable[str], what: str, position: int) -> None:
    for name in names:
        found = getattr(part, name)
        require(found == NOT_STATED.get(name, 0), INCONSISTENT, what, position, f"{name} is {found}, and it is not computed")


@dataclass(frozen=True)
class Statistics:
    base_offset: int
    end_offset: int
    first_offset: int
    last_offset: int
    min_timestamp: int
    max_timestamp: int
    record_count: int
    tombstone_count: int
    control_count: int
    no_timestamp_count: int
    zero_timestamp_count: int
    null_key_count: int
    header_count: int
    key_bytes: int
    value_bytes: int
    header_bytes: int
    max_record_bytes: int
    max_lateness_ms: int
    raw_bytes: int
    min_known_timestamp: int
    content_digest: int
    restore_digest: int


@dataclass(frozen=True)
class Gap:
    from_offset: int
    to_offset: int
    reason: int


@dataclass(frozen=True)
class Gaps:
    missing_count: int
    default_reason: int
    entries: tuple[Gap, ...]


@dataclass(frozen=True)
class Section:
    type: int
    flags: int
    payload: bytes
    position: int  # of the payload in the object


def parse_sections(footer: bytes, footer_position: int) -> list[Section]:
    what = "footer"
    sections = []
    at = 0
    while at < len(footer):
        left = len(footer) - at
        # Fewer bytes than a section's head can only be padding; so is everything from a type 0 on.
        if left < 16 or struct.unpack_from("<I", footer, at)[0] == 0:
            check_padding(footer[at:], what, footer_position + at)
            break
        section_type, flags, length = struct.unpack_from("<IIQ", footer, at)
        require(length <= left - 16, INCONSISTENT, what, footer_position + at, f"section {section_type} has length {length}")
        sections.append(Section(section_type, flags, footer[at + 16:at + 16 + length], footer_position + at + 16))
        after = at + align(16 + length, 8)  # the footer's length is a multiple of 8, so this is inside
        check_padding(footer[at + 16 + length:after], what, footer_position + at + 16 + length)
        at = after

    require(len(footer) == align(at, 64), INCONSISTENT, what, footer_position + at, "the footer has more padding than it needs")

    # Features before relations: section 4 rule 1.
    for section in sections:
        known = section.type in REQUIRED_SECTIONS or section.type in (SECTION_RENDERED_SIZES, SECTION_WHOLE_LINES, SECTION_BATCH_BOUNDS, SECTION_KEY_FILTER)
        require(known or not section.flags & FLAG_CRITICAL, UNSUPPORTED, what, section.position, f"critical section {section.type}")
    types = [section.type for section in sections]
    for wanted in REQUIRED_SECTIONS:
        require(types.count(wanted) == 1, INCONSISTENT, what, footer_position, f"section {wanted} occurs {types.count(wanted)} times")
    for optional in (SECTION_RENDERED_SIZES, SECTION_WHOLE_LINES, SECTION_BATCH_BOUNDS, SECTION_KEY_FILTER):
        require(types.count(optional) <= 1, INCONSISTENT, what, footer_position, f"section {optional} occurs more than once")
    require(types == sorted(set(types)), INCONSISTENT, what, footer_position, f"sections in the order {types}")
    return sections


def parse_block_index(section: Section, block_count: int, header: FileHeader, blocks_end: int) -> list[IndexEntry]:
    what = "block_index"
    require(len(section.payload) == 72 * block_count, INCONSISTENT, what, section.position,
            f"{len(section.payload)} bytes for {block_count} blocks")
    entries = []
    position, offset = header.header_length, header.base_offset
    for number in range(block_count):
        at = section.position + 72 * number
        entry = IndexEntry(*_INDEX_ENTRY.unpack_from(section.payload, 72 * number))
        require(entry.kind in (KIND_RECORDS, KIND_BATCHES), UNSUPPORTED, what, at, f"kind {entry.kind}")
        require(entry.record_count <= MAX_RECORDS, LIMIT, what, at, f"record_count {entry.record_count}")
        require(entry.raw_length <= MAX_RAW, LIMIT, what, at, f"raw_length {entry.raw_length}")
        require(entry.header_length <= align(160 + 16 * MAX_STREAMS, 64), LIMIT, what, at, f"header_length {entry.header_length}")
        require(entry.block_length <= MAX_BLOCK_LENGTH, LIMIT, what, at, f"block_length {entry.block_length}")
        require(entry.header_length >= 192 and entry.header_length % 64 == 0, INCONSISTENT, what, at, f"header_length {entry.header_length}")
        require(entry.block_length >= entry.header_length and entry.block_length % 64 == 0, INCONSISTENT, what, at,
                f"block_length {entry.block_length}")
        require((entry.meta_length > 0) == (entry.record_count > 0) and entry.header_length + entry.meta_length <= entry.block_length,
                INCONSISTENT, what, at, f"meta_length {entry.meta_length}")
        require(entry.record_count > 0 or entry.kind == KIND_RECORDS, INCONSISTENT, what, at, "batches without a record")
        known = entry.min_known_timestamp
        require(not entry.is_computed or known == I64_MAX or entry.min_timestamp <= known <= entry.max_timestamp, INCONSISTENT, what, at, f"min_known_timestamp {known}")
        _check_coverage_and_times(entry, what, at)
        require(entry.position == position, INCONSISTENT, what, at, f"block {number} at {entry.position}, not at {position}")
        require(entry.base_offset == offset, INCONSISTENT, what, at, f"base_offset {entry.base_offset}, not {offset}")
        position, offset = entry.position + entry.block_length, entry.end_offset
        entries.append(entry)
    require(position == blocks_end, INCONSISTENT, what, section.position, f"blocks end at {position}, not at {blocks_end}")
    has_batches = any(entry.kind == KIND_BATCHES for entry in entries)
    require(has_batches == bool(header.incompatible_features & FEATURE_BATCHES), INCONSISTENT, what, section.position,
            f"incompatible_features {header.incompatible_features:#x}, blocks of kinds {sorted({entry.kind for entry in entries})}")
    not_computed = [number for number, entry in enumerate(entries) if not entry.is_computed]
    require(bool(not_computed) == bool(header.incompatible_features & FEATURE_NOT_COMPUTED), INCONSISTENT, what, section.position,
            f"incompatible_features {header.incompatible_features:#x}, the blocks {not_computed} are not computed")
    return entries


def _check_coverage_and_times(part: IndexEntry | BlockHeader, what: str, position: int) -> None:
    """Checks the relations that apply to a block header and to its index entry."""
    require(0 <= part.base_offset < part.end_offset, INCONSISTENT, what, position, f"coverage {part.base_offset} to {part.end_offset}")
    require(part.record_count <= part.end_offset - part.base_offset, INCONSISTENT, what, position,
            f"{part.record_count} records in the coverage {part.base_offset} to {part.end_offset}")
    if part.record_count == 0:
        require((part.min_timestamp, part.max_timestamp) == (I64_MAX, I64_MIN), INCONSISTENT, what, position, "times without a record")
        require(part.raw_length == 0, INCONSISTENT, what, position, "raw_length without a record")
    elif not part.is_computed:
        names = [name for name in NOT_STATED_OF_BLOCK if hasattr(part, name)]
        _check_not_stated(part, names, what, position)
    else:
        require(part.min_timestamp <= part.max_timestamp, INCONSISTENT, what, position, "min_timestamp above max_timestamp")


def parse_statistics(section: Section, is_computed: bool) -> Statistics:
    what = "statistics"
    require(len(section.payload) == _STATISTICS.size, INCONSISTENT, what, section.position, f"{len(section.payload)} bytes")
    *numbers, content, restore = _STATISTICS.unpack(section.payload)
    statistics = Statistics(*numbers, int.from_bytes(content, "little"), int.from_bytes(restore, "little"))
    if not is_computed:
        _check_not_stated(statistics, [name for name in Statistics.__dataclass_fields__ if name not in STATED], what, section.position)
    return statistics


def parse_gaps(section: Section, base_offset: int, end_offset: int) -> Gaps:
    what = "gaps"
    require(len(section.payload) >= 16, INCONSISTENT, what, section.position, f"{len(section.payload)} bytes")
    missing_count, default_reason, entry_count = struct.unpack_from("<QII", section.payload)
    require(entry_count <= MAX_GAP_ENTRIES, LIMIT, what, section.position, f"entry_count {entry_count}")
    require(len(section.payload) == 16 + 24 * entry_count, INCONSISTENT, what, section.position,
            f"{len(section.payload)} bytes for {entry_count} entries")
    entries = []
    lowest = base_offset  # where the next entry may begin
    for number in range(entry_count):
        at = section.position + 16 + 24 * number
        gap = Gap(*_GAP_ENTRY.unpack_from(section.payload, 16 + 24 * number))
        require(gap.from_offset < gap.to_offset, INCONSISTENT, what, at, f"gap {gap.from_offset} to {gap.to_offset}")
        require(lowest <= gap.from_offset and gap.to_offset <= end_offset, INCONSISTENT, what, at,
                f"gap {gap.from_offset} to {gap.to_offset} overlaps the one before or leaves the coverage")
        lowest = gap.to_offset
        entries.append(gap)
    return Gaps(missing_count, default_reason, tuple(entries))


def parse_rendered_sizes(section: Section, block_count: int) -> dict[str, list[int]] | None:
    """Returns the list of ends by view name; None for a rendering version that this reader does not know."""
    what = "rendered_sizes"
    require(len(section.payload) >= 8, INCONSISTENT, what, section.position, f"{len(section.payload)} bytes")
    rendering_version, view_count = struct.unpack_from("<II", section.payload)
    if rendering_version != RENDERING_VERSION:
        return None
    require(view_count == 3, INCONSISTENT, what, section.position, f"view_count {view_count}")
    require(len(section.payload) == 8 + 8 * view_count * block_count, INCONSISTENT, what, section.position,
            f"{len(section.payload)} bytes for {block_count} blocks")
    ends = struct.unpack_from(f"<{view_count * block_count}Q", section.payload, 8)
    views = {name: list(ends[i * block_count:(i + 1) * block_count]) for i, name in enumerate(VIEWS)}
    for name, values in views.items():
        require(values == sorted(values), INCONSISTENT, what, section.position, f"the ends of {name} decrease")
    return views


def parse_whole_lines(section: Section) -> dict[str, bool] | None:
    """Returns whether lines are whole by view name; None for a rendering version that this reader does not know."""
    what = "whole_lines"
    require(len(section.payload) >= 8, INCONSISTENT, what, section.position, f"{len(section.payload)} bytes")
    rendering_version, flags = struct.unpack_from("<II", section.payload)
    if rendering_version != RENDERING_VERSION:
        return None
    require(len(section.payload) == 8, INCONSISTENT, what, section.position, f"{len(section.payload)} bytes")
    return {"values": bool(flags & 1), "keys": bool(flags & 2)}


def hour_of(timestamp: int) -> int:
    return max(-(2**31), min(2**31 - 1, timestamp // 3600000))


def parse_hours(section: Section, index: list[IndexEntry], rendered_sizes: dict[str, list[int]] | None) -> list[list[tuple[int, int]]] | None:
    """Returns the (hour, bytes) of each block; None where a reader treats the section as absent."""
    what, at = "hours", section.position
    if rendered_sizes is None:
        return None
    require(len(section.payload) >= 8, INCONSISTENT, what, at, f"{len(section.payload)} bytes")
    rendering_version, entry_count = struct.unpack_from("<II", section.payload)
    if rendering_version != RENDERING_VERSION:
        return None
    require(entry_count <= MAX_HOUR_ENTRIES, LIMIT, what, at, f"entry_count {entry_count}")
    require(len(section.payload) == 8 + 4 * len(index) + 8 * entry_count, INCONSISTENT, what, at,
            f"{len(section.payload)} bytes for {len(index)} blocks and {entry_count} entries")
    ends = list(struct.unpack_from(f"<{len(index)}I", section.payload, 8))
    require(ends == sorted(ends) and (ends or [0])[-1] == entry_count, INCONSISTENT, what, at, f"ends {ends}, entry_count {entry_count}")
    entries = list(struct.iter_unpack("<iI", section.payload[8 + 4 * len(index):]))
    hours = [entries[start:end] for start, end in zip([0, *ends], ends)]
    texts = rendered_sizes["records.jsonl"]
    for number, (entry, found, start, end) in enumerate(zip(index, hours, [0, *texts], texts)):
        first, last = hour_of(entry.min_timestamp), hour_of(entry.max_timestamp)
        if first >= last:
            fits = not found
        else:
            numbers = [hour for hour, _ in found]
            fits = (numbers == sorted(set(numbers)) and all(first <= hour <= last and size > 0 for hour, size in found)
                    and sum(size for _, size in found) == end - start)
        require(fits, INCONSISTENT, what, at, f"the hours of block {number} are {found}")
    return hours


@dataclass(frozen=True)
class BatchBounds:
    smallest_max_timestamp: int
    largest_batch_bytes: int
    codecs: int
    has_gaps: bool


_BATCH_BOUNDS = struct.Struct("<qIBB2x")


def parse_batch_bounds(section: Section | None, header: FileHeader, index: list[IndexEntry], footer_position: int) -> dict[int, BatchBounds]:
    """Returns the entries by the number of their block."""
    what = "batch_bounds"
    is_there = bool(header.incompatible_features & FEATURE_BATCHES)
    require((section is not None) == is_there, INCONSISTENT, "footer", footer_position,
            f"incompatible_features {header.incompatible_features:#x}, and the section batch_bounds is {'missing' if is_there else 'there'}")
    if section is None:
        return {}
    blocks = [number for number, entry in enumerate(index) if entry.kind == KIND_BATCHES]
    require(len(section.payload) == _BATCH_BOUNDS.size * len(blocks), INCONSISTENT, what, section.position,
            f"{len(section.payload)} bytes for {len(blocks)} blocks of kind 2")
    bounds = {}
    for number, (smallest, largest, codecs, flags) in zip(blocks, _BATCH_BOUNDS.iter_unpack(section.payload)):
        entry = index[number]
        require(61 <= largest <= entry.raw_length, INCONSISTENT, what, section.position, f"largest_batch_bytes {largest} of block {number}")
        require(0 < codecs < 32, INCONSISTENT, what, section.position, f"codecs {codecs:#x} of block {number}")
        require(entry.is_computed or smallest in (I64_MAX, min(smallest, entry.max_timestamp)), INCONSISTENT, what, section.position,
                f"smallest_max_timestamp {smallest} of block {number} is above max_timestamp {entry.max_timestamp}")
        bounds[number] = BatchBounds(smallest, largest, codecs, bool(flags & 1))
    return bounds


def batch_bounds_of(batches: list[Batch]) -> BatchBounds:
    codecs = 0
    for batch in batches:
        codecs |= 1 << batch.codec
    return BatchBounds(
        min((batch.max_timestamp for batch in batches if batch.max_timestamp != -1), default=I64_MAX),
        max(61 + len(batch.stored) for batch in batches), codecs,
        any(batch.record_count < batch.last_offset - batch.base_offset + 1 for batch in batches))


# --------------------------------------------------------------------------------------------------------------
# 2.9 Key filter


@dataclass(frozen=True)
class KeyPage:
    start: int  # position in the segment
    end: int
    entry_count: int
    crc: int


@dataclass(frozen=True)
class KeyFilter:
    position: int
    length: int
    hash_bits: int
    page_bits: int
    rice_bits: int
    target_bits: int
    pages: tuple[KeyPage, ...]
    blocks: int
    seed: int

    @property
    def end(self) -> int:
        return self.position + align(self.length, 64)

    def stored_hash(self, key: bytes | None) -> int:
        if key is None:
            hashed = xxhash.xxh3_64_intdigest(b"", self.seed ^ MASK_64)
        else:
            hashed = xxhash.xxh3_64_intdigest(key, self.seed)
        return hashed >> (64 - self.hash_bits)

    def entries(self, data: bytes, number: int) -> list[int]:
        """Returns the values of a page."""
        what, page = "page of the key filter", self.pages[number]
        stored = bytes(data[page.start:page.end])
        require(len(stored) == page.end - page.start, TRUNCATED, what, page.start, f"{len(stored)} bytes")
        require(crc32c(stored) == page.crc, CHECKSUM, what, page.start, "crc")
        bits = [byte >> bit & 1 for byte in stored for bit in range(8)]
        hashes = 1 << (self.hash_bits - self.page_bits)
        least, end = number * hashes * self.blocks, (number + 1) * hashes * self.blocks
        values, at = [], 0
        for _ in range(page.entry_count):
            high = 0
            while at < len(bits) and bits[at] == 1:
                high, at = high + 1, at + 1
            at += 1  # the bit 0
            require(at + self.rice_bits <= len(bits), INCONSISTENT, what, page.start, "it ends before its last entry")
            low = sum(bits[at + bit] << bit for bit in range(self.rice_bits))
            at += self.rice_bits
            value = least + (high << self.rice_bits) + low
            require(value < end, INCONSISTENT, what, page.start, f"the entry {value} is of another page")
            values.append(value)
            least = value + 1
        require(len(bits) - at < 8 and not any(bits[at:]), INCONSISTENT, what, page.start, "bits after its last entry")
        return values

    def look_up(self, data: bytes, key: bytes | None) -> list[int]:
        """Returns the numbers of the blocks that may have the key."""
        wanted = self.stored_hash(key)
        values = self.entries(data, wanted >> (self.hash_bits - self.page_bits))
        return [value % self.blocks for value in values if value // self.blocks == wanted]


def parse_key_filter(section: Section, salt: bytes, block_count: int, footer_position: int) -> KeyFilter:
    what, at = "key_filter", section.position
    require(len(section.payload) >= 16, INCONSISTENT, what, at, f"{len(section.payload)} bytes")
    position, length, hash_bits, page_bits, rice_bits, target_bits = struct.unpack_from("<QIBBBB", section.payload)
    require(length <= MAX_KEY_FILTER_LENGTH, LIMIT, what, at, f"length {length}")
    require(hash_bits <= 40 and page_bits <= min(hash_bits, 16) and rice_bits <= 60 and target_bits <= 20, INCONSISTENT, what, at,
            f"hash_bits {hash_bits}, page_bits {page_bits}, rice_bits {rice_bits}, target_bits {target_bits}")
    require(len(section.payload) == 16 + (12 << page_bits), INCONSISTENT, what, at, f"{len(section.payload)} bytes for {1 << page_bits} pages")
    stated = list(struct.iter_unpack("<III", section.payload[16:]))
    entries = sum(count for _, count, _ in stated)
    require(entries <= MAX_KEY_FILTER_ENTRIES, LIMIT, what, at, f"{entries} entries")
    pages, start = [], 0
    for end, count, crc in stated:
        require(start <= end and count * (rice_bits + 1) <= 8 * (end - start) and (count == 0) == (start == end), INCONSISTENT, what, at,
                f"a page from {start} to {end} of {count} entries")
        pages.append(KeyPage(position + start, position + end, count, crc))
        start = end
    require(start == length, INCONSISTENT, what, at, f"the pages end at {start}, length is {length}")
    require(position + align(length, 64) == footer_position, INCONSISTENT, what, at,
            f"{length} bytes at {position}, the footer is at {footer_position}")
    seed = int.from_bytes(salt, "little")
    return KeyFilter(position, length, hash_bits, page_bits, rice_bits, target_bits, tuple(pages), block_count, seed)


# --------------------------------------------------------------------------------------------------------------
# 2.3 Block

_BLOCK = struct.Struct("<4sI8sQIBBBxIIqqqqIIIII4x16s16sq24x")
_DIRECTORY_ENTRY = struct.Struct("<BB2xIII")


@dataclass(frozen=True)
class DirectoryEntry:
    stream: int
    codec: int
    stored_crc: int
    stored_length: int
    raw_length: int
    position: int  # of the stored bytes in the segment: computed, not stored


@dataclass(frozen=True)
class BlockHeader:
    header_crc: int
    salt: bytes
    position: int
    sequence: int
    kind: int
    flags: int
    header_length: int
    block_length: int
    base_offset: int
    end_offset: int
    min_timestamp: int
    max_timestamp: int
    record_count: int
    tombstone_count: int
    control_count: int
    no_timestamp_count: int
    raw_length: int
    content_digest: int
    restore_digest: int
    min_known_timestamp: int
    directory: tuple[DirectoryEntry, ...]

    @property
    def is_computed(self) -> bool:
        return _is_computed(self)

    @property
    def meta_length(self) -> int:
        return self.directory[0].stored_length if self.directory else 0


def parse_block_header(data: bytes, position: int, end: int, salt: bytes | None, written_at: int | None = None) -> BlockHeader:
    """Parses the header of the block at `position`; the bytes that may belong to the block reach to `end`.

    A scan passes None as `salt`, which is then not checked, and the position that the block states as `written_at`.
    """
    what, at = "block header", position
    require(end - at >= _BLOCK.size, TRUNCATED, what, at, f"{end - at} bytes are too few")
    (magic, header_crc, found_salt, found_position, sequence, kind, stream_count, flags, header_length, block_length,
     base_offset, end_offset, min_timestamp, max_timestamp, record_count, tombstone_count, control_count,
     no_timestamp_count, raw_length, content_digest, restore_digest, min_known_timestamp) = _BLOCK.unpack_from(data, at)
    # Not not_a_segment: the caller has seen a trailer or a file header. Section 2.8 covers these four
    # bytes by their equality with the magic, which therefore counts as their checksum.
    require(magic == BLOCK_MAGIC, CHECKSUM, what, at, f"magic is {magic.hex()}")

    # The checksum cannot be computed without the length, so it is bounded first.
    require(header_length <= align(160 + 16 * MAX_STREAMS, 64), LIMIT, what, at, f"header_length {header_length}")
    require(header_length >= 192 and header_length % 64 == 0, INCONSISTENT, what, at, f"header_length {header_length}")
    require(header_length <= end - at, TRUNCATED, what, at, f"header_length {header_length}, {end - at} bytes found")
    require(crc32c(data[at + 8:at + header_length]) == header_crc, CHECKSUM, what, at, "header_crc")

    # Place before anything else: an intact block from elsewhere is consistent in itself.
    require(salt is None or found_salt == salt, MISPLACED, what, at, "the salt is that of another segment")
    require(found_position == (position if written_at is None else written_at), MISPLACED, what, at, f"the block belongs to position {found_position}")

    # Features (section 8).
    require(kind in (KIND_RECORDS, KIND_BATCHES), UNSUPPORTED, what, at, f"kind {kind}")
    require(stream_count <= MAX_STREAMS, LIMIT, what, at, f"stream_count {stream_count}")
    require(header_length == align(160 + 16 * stream_count, 64), INCONSISTENT, what, at,
            f"header_length {header_length} with {stream_count} streams")
    directory = []
    stored_position = at + header_length
    for number in range(stream_count):
        stream, codec, stored_crc, stored_length, stream_raw = _DIRECTORY_ENTRY.unpack_from(data, at + 160 + 16 * number)
        require(stream in STREAMS_OF_KIND[kind], UNSUPPORTED, what, at, f"stream {stream} in a block of kind {kind}")
        require(codec in CODEC_NAMES, UNSUPPORTED, what, at, f"codec {codec}")
        directory.append(DirectoryEntry(stream, codec, stored_crc, stored_length, stream_raw, stored_position))
        stored_position += stored_length

    # Limits (section 6).
    require(record_count <= MAX_RECORDS, LIMIT, what, at, f"record_count {record_count}")
    require(raw_length <= MAX_RAW, LIMIT, what, at, f"raw_length {raw_length}")
    stored_sum = sum(entry.stored_length for entry in directory)
    raw_sum = sum(entry.raw_length for entry in directory)
    require(block_length <= MAX_BLOCK_LENGTH, LIMIT, what, at, f"block_length {block_length}")
    require(raw_sum <= MAX_RAW, LIMIT, what, at, f"{raw_sum} raw bytes")

    header = BlockHeader(
        header_crc, found_salt, found_position, sequence, kind, flags, header_length, block_length, base_offset, end_offset,
        min_timestamp, max_timestamp, record_count, tombstone_count, control_count, no_timestamp_count, raw_length,
        int.from_bytes(content_digest, "little"), int.from_bytes(restore_digest, "little"), min_known_timestamp, tuple(directory))

    # Relations.
    _check_coverage_and_times(header, what, at)
    streams = [entry.stream for entry in directory]
    require(streams == sorted(set(streams)), INCONSISTENT, what, at, f"streams in the order {streams}")
    for entry in directory:
        name = STREAM_NAMES[entry.stream]
        require(entry.raw_length >= 1, INCONSISTENT, what, at, f"{name} is present with raw_length 0")
        require(entry.codec != CODEC_NONE or entry.stored_length == entry.raw_length, INCONSISTENT, what, at,
                f"{name} is stored with codec none and {entry.stored_length} bytes, but raw_length is {entry.raw_length}")
    require(raw_length == raw_sum, INCONSISTENT, what, at, f"raw_length {raw_length}, the streams' are {raw_sum}")
    require(block_length == align(header_length + stored_sum, 64), INCONSISTENT, what, at,
            f"block_length {block_length} with a header of {header_length} and {stored_sum} stored bytes")
    for name, count in (("tombstone", tombstone_count), ("control", control_count), ("no_timestamp", no_timestamp_count)):
        require(count <= record_count, INCONSISTENT, what, at, f"{name}_count {count} of {record_count} records")
    if not header.is_computed:
        pass  # checked with the times
    elif no_timestamp_count == record_count:
        require(min_known_timestamp == I64_MAX, INCONSISTENT, what, at, f"min_known_timestamp {min_known_timestamp} without a timestamp")
    else:
        good = min_known_timestamp != -1 and min_timestamp <= min_known_timestamp <= max_timestamp
        require(good and (no_timestamp_count > 0 or min_known_timestamp == min_timestamp), INCONSISTENT, what, at,
                f"min_known_timestamp {min_known_timestamp} of timestamps from {min_timestamp} to {max_timestamp}")
    # The checksum covers the padding of the header, but the padding must be zero as well.
    padding_at = at + 160 + 16 * stream_count
    check_padding(data[padding_at:at + header_length], what, padding_at)
    if record_count == 0:
        require(not directory, INCONSISTENT, what, at, "streams without a record")
        require(header.content_digest == 0 == header.restore_digest, INCONSISTENT, what, at, "digests without a record")
        require(kind == KIND_RECORDS, INCONSISTENT, what, at, "batches without a record")
    else:
        require(streams[:1] == [META if kind == KIND_RECORDS else BATCHES], INCONSISTENT, what, at, f"streams {streams} in a block of kind {kind}")
    return header


def decode_stream(data: bytes, entry: DirectoryEntry) -> bytes:
    """Returns the raw bytes of a stream: checks the checksum, then decodes, then checks for exactly raw_length bytes."""
    what, at = STREAM_NAMES[entry.stream], entry.position
    stored = bytes(data[at:at + entry.stored_length])
    require(len(stored) == entry.stored_length, TRUNCATED, what, at, f"{len(stored)} of {entry.stored_length} bytes found")
    require(crc32c(stored) == entry.stored_crc, CHECKSUM, what, at, "stored_crc")
    if entry.codec == CODEC_NONE:
        raw = stored
    elif entry.codec == CODEC_ZSTD:
        raw = _decode_zstd(stored, entry.raw_length, what, at)
    else:
        try:
            # An LZ4 block does not state its length; the library raises an error where it decodes to more.
            raw = lz4.block.decompress(stored, uncompressed_size=entry.raw_length)
        except lz4.block.LZ4BlockError as error:
            raise FormatError(INCONSISTENT, what, at, f"not an LZ4 block of {entry.raw_length} bytes: {error}") from None
    require(len(raw) == entry.raw_length, INCONSISTENT, what, at, f"{len(raw)} bytes, raw_length {entry.raw_length}")
    return raw


def _decode_zstd(stored: bytes, raw_length: int, what: str, at: int) -> bytes:
    require(stored[:4] == b"\x28\xb5\x2f\xfd", INCONSISTENT, what, at, "not a Zstandard frame")
    try:
        frame = zstandard.get_frame_parameters(stored)
    except zstandard.ZstdError as error:
        raise FormatError(INCONSISTENT, what, at, f"not a Zstandard frame: {error}") from None
    require(frame.content_size != zstandard.CONTENTSIZE_UNKNOWN, INCONSISTENT, what, at, "the frame does not state its content size")
    require(frame.dict_id == 0, INCONSISTENT, what, at, "the frame names a dictionary")
    require(frame.window_size <= MAX_ZSTD_WINDOW, LIMIT, what, at, f"a window of {frame.window_size} bytes")
    require(frame.content_size == raw_length, INCONSISTENT, what, at, f"the frame has {frame.content_size} bytes, raw_length is {raw_length}")
    try:
        # Exactly one frame; the library refuses one that does not decode to its content size.
        return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompress(
            stored, max_output_size=raw_length, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(INCONSISTENT, what, at, f"not one Zstandard frame: {error}") from None


# --------------------------------------------------------------------------------------------------------------
# 2.4 Streams of a records block


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    attributes: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]

    @property
    def control(self) -> bool:
        return bool(self.attributes & 1)


class _Columns:
    """Reads META column by column."""

    def __init__(self, meta: bytes, position: int) -> None:
        self.meta, self.position, self.at = meta, position, 0

    def fail(self, error_class: str, detail: str) -> FormatError:
        # The position is that of the stored stream; the offset into it counts decoded bytes.
        return FormatError(error_class, "META", self.position, f"decoded byte {self.at}: {detail}")

    def byte(self) -> int:
        if self.at >= len(self.meta):
            raise self.fail(INCONSISTENT, "a column goes beyond the end")
        self.at += 1
        return self.meta[self.at - 1]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > MASK_64:
                    raise self.fail(INCONSISTENT, "a varint is 2^64 or greater")
                if byte == 0 and shift > 0:
                    raise self.fail(INCONSISTENT, "a varint has a shorter form")
                return value
        raise self.fail(INCONSISTENT, "a varint has more than 10 bytes")

    def column(self, name: str, count: int) -> list[int]:
        encoding = self.byte()
        if encoding == 0:
            if count == 0:
                raise self.fail(INCONSISTENT, f"column {name} is constant and has no entries")
            return [self.varint()] * count
        if encoding == 1:
            return [self.varint() for _ in range(count)]
        raise self.fail(UNSUPPORTED, f"column {name} has encoding {encoding}")


def _length(code: int) -> int:
    return max(0, code - 1)


class _Cursor:
    """Splits off consecutive byte strings; the caller has checked that their lengths add up to the whole."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length:self.at]

    def take_coded(self, code: int) -> bytes | None:
        return None if code == 0 else self.take(code - 1)


def min_known(records: list[Record]) -> int:
    """Returns the smallest timestamp but -1."""
    return min((r.timestamp for r in records if r.timestamp != -1), default=I64_MAX)


def decode_block(data: bytes, header: BlockHeader, start: int | None = None, timestamp_type: int | None = None) -> list[Record]:
    """Decodes all records of the block at `start` of `data`, its position if not given, after the checks of section 4 rules 2, 4 and 5.

    Batches that are not of `timestamp_type`, that of the segment, are refused; None where it is not known.
    """
    what, at, n = "block", header.position, header.record_count
    start = header.position if start is None else start
    stored_end = start + header.header_length + sum(entry.stored_length for entry in header.directory)
    block_end = start + header.block_length
    require(block_end <= len(data), TRUNCATED, what, at, f"the block ends at {block_end}, {len(data)} bytes found")
    check_padding(data[stored_end:block_end], what, stored_end)
    if n == 0:
        return []

    entries = {entry.stream: entry for entry in header.directory}
    if header.kind == KIND_BATCHES:
        records = decode_batches(decode_stream(data, entries[BATCHES]), header, timestamp_type)
        check_counts(header, records)
        return records
    columns = _Columns(decode_stream(data, entries[META]), entries[META].position)
    skipped = columns.column("skipped", n)
    times = columns.column("time", n)
    attributes = columns.column("attributes", n)
    keys = columns.column("key", n)
    values = columns.column("value", n)
    headers = columns.column("headers", n)
    header_count = sum(headers)
    require(header_count <= MAX_HEADERS, LIMIT, "META", at, f"{header_count} headers")
    names = columns.column("header_name", header_count)
    header_values = columns.column("header_value", header_count)
    if columns.at != len(columns.meta):
        raise columns.fail(INCONSISTENT, f"{len(columns.meta) - columns.at} bytes after the last column")
    for value in attributes:
        require(value <= 1, UNSUPPORTED, "META", at, f"attributes {value:#x}")

    # META's sums against the directory, before anything else is decompressed.
    sums = {
        KEYS: sum(map(_length, keys)),
        HEADERS: sum(names) + sum(map(_length, header_values)),
        VALUES: sum(map(_length, values)),
    }
    cursors = {}
    for stream, length in sums.items():
        there = entries[stream].raw_length if stream in entries else 0
        require(length == there, INCONSISTENT, what, at, f"{STREAM_NAMES[stream]} has {there} bytes, META states {length}")
        cursors[stream] = _Cursor(decode_stream(data, entries[stream]) if length else b"")

    records = []
    offset, timestamp = header.base_offset - 1, header.min_timestamp
    header_at = 0
    for i in range(n):
        offset += 1 + skipped[i]
        require(offset < header.end_offset, INCONSISTENT, what, at, f"offset {offset} is not below end_offset {header.end_offset}")
        timestamp = wrap_i64(timestamp + unzigzag(times[i]))
        key = cursors[KEYS].take_coded(keys[i])
        value = cursors[VALUES].take_coded(values[i])
        of_record = []
        for j in range(header_at, header_at + headers[i]):
            name = cursors[HEADERS].take(names[j])
            of_record.append((name, cursors[HEADERS].take_coded(header_values[j])))
        header_at += headers[i]
        records.append(Record(offset, timestamp, attributes[i], key, value, tuple(of_record)))
    check_counts(header, records)
    return records


def check_counts(header: BlockHeader, records: list[Record]) -> None:
    """Compares what the block header states with the records, of which there is at least one."""
    what, at = "block", header.position
    if not header.is_computed:
        return  # the batches' headers were compared with what it states
    for name, stated, found in (
        ("min_timestamp", header.min_timestamp, min(r.timestamp for r in records)),
        ("max_timestamp", header.max_timestamp, max(r.timestamp for r in records)),
        ("min_known_timestamp", header.min_known_timestamp, min_known(records)),
        ("tombstone_count", header.tombstone_count, sum(r.value is None for r in records)),
        ("control_count", header.control_count, sum(r.control for r in records)),
        ("no_timestamp_count", header.no_timestamp_count, sum(r.timestamp == -1 for r in records)),
    ):
        require(stated == found, INCONSISTENT, what, at, f"{name} is {stated}, the records' is {found}")


# --------------------------------------------------------------------------------------------------------------
# 2.10 Batches block

_BATCH = struct.Struct(">qiibIhiqqqhii")
BATCH_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SNAPPY_MAGIC = b"\x82SNAPPY\0"


@dataclass(frozen=True)
class Batch:
    base_offset: int
    leader_epoch: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int
    stored: bytes  # the records, compressed or not

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def codec(self) -> int:
        return self.attributes & 7

    @property
    def timestamp_type(self) -> int:
        return self.attributes >> 3 & 1


def parse_batches(raw: bytes, header: BlockHeader, timestamp_type: int | None) -> list[Batch]:
    """Parses the batches of BATCHES, and checks everything that needs no decompression."""
    what, at = "BATCHES", header.position
    batches = []
    position, next_offset, count = 0, header.base_offset, 0
    while position < len(raw):
        require(len(raw) - position >= _BATCH.size, INCONSISTENT, what, at, f"{len(raw) - position} bytes of a batch")
        (base_offset, length, leader_epoch, magic, crc, attributes, last_delta, base_timestamp, max_timestamp, producer_id,
         producer_epoch, base_sequence, record_count) = _BATCH.unpack_from(raw, position)
        require(magic == 2, UNSUPPORTED, what, at, f"magic {magic}")
        require(_BATCH.size <= 12 + length <= len(raw) - position, INCONSISTENT, what, at, f"batch_length {length}")
        end = position + 12 + length
        require(crc32c(raw[position + 21:end]) == crc, CHECKSUM, what, at, f"the crc of the batch at offset {base_offset}")
        require(attributes & 7 < len(BATCH_CODECS), UNSUPPORTED, what, at, f"codec {attributes & 7}")
        batch = Batch(base_offset, leader_epoch, crc, attributes, last_delta, base_timestamp, max_timestamp, producer_id, producer_epoch,
                      base_sequence, record_count, raw[position + _BATCH.size:end])
        require(last_delta >= 0 and next_offset <= base_offset and batch.last_offset < header.end_offset, INCONSISTENT, what, at,
                f"a batch of the offsets {base_offset} to {batch.last_offset}, after {next_offset} and below {header.end_offset}")
        require(1 <= record_count <= last_delta + 1, INCONSISTENT, what, at, f"record_count {record_count}")
        require(not attributes & 32, INCONSISTENT, what, at, "a control batch")
        wanted = batches[0].timestamp_type if timestamp_type is None and batches else timestamp_type
        require(wanted in (None, batch.timestamp_type), INCONSISTENT, what, at, f"timestamp type {batch.timestamp_type}")
        batches.append(batch)
        position, next_offset, count = end, batch.last_offset + 1, count + record_count
    require(count == header.record_count, INCONSISTENT, what, at, f"{count} records, the block's record_count is {header.record_count}")
    require(header.control_count == 0, INCONSISTENT, what, at, f"control_count {header.control_count}")
    if not header.is_computed:
        bound = max(batch.max_timestamp for batch in batches)
        require(header.max_timestamp == bound, INCONSISTENT, what, at, f"max_timestamp {header.max_timestamp}, that of the batches is {bound}")
    return batches


def decode_batches(raw: bytes, header: BlockHeader, timestamp_type: int | None) -> list[Record]:
    records: list[Record] = []
    room = MAX_DECODED
    for batch in parse_batches(raw, header, timestamp_type):
        decoded = decompress_batch(batch, room, header.position)
        room -= len(decoded)
        records += _Batch(decoded, batch, header.position).records()
        headers = sum(len(record.headers) for record in records)
        require(headers <= MAX_HEADERS, LIMIT, "BATCHES", header.position, f"{headers} headers")
    return records


def decompress_batch(batch: Batch, room: int, position: int) -> bytes:
    """Returns the records of a batch; `limit` where they are more than `room` bytes."""
    def check(length: int) -> None:
        require(length <= room, LIMIT, "BATCHES", position, f"the batch at offset {batch.base_offset} decompresses beyond {MAX_DECODED} bytes")

    name = BATCH_CODECS[batch.codec]
    try:
        if name == "none":
            out = batch.stored
        elif name == "snappy":
            out = _snappy(batch.stored, check)
        else:
            out = _frames(name, batch.stored, check, position)
    except (ValueError, EOFError, RuntimeError, zlib.error, zstandard.ZstdError) as error:
        raise FormatError(INCONSISTENT, "BATCHES", position, f"{name} of the batch at offset {batch.base_offset}: {error}") from None
    check(len(out))
    return out


def _frames(name: str, stored: bytes, check: Callable[[int], None], position: int) -> bytes:
    """Decompresses gzip members, or LZ4 or Zstandard frames: one or more, and nothing after them."""
    out, rest = bytearray(), stored
    while True:
        if name == "zstd":
            frame = zstandard.get_frame_parameters(rest)
            require(frame.window_size <= MAX_BATCH_ZSTD_WINDOW, LIMIT, "BATCHES", position, f"a zstd window of {frame.window_size} bytes")
            decoder = zstandard.ZstdDecompressor(max_window_size=MAX_BATCH_ZSTD_WINDOW).decompressobj()
        elif name == "lz4":
            if rest[:4] == b"\x04\x22\x4d\x18" and len(rest) > 4 and rest[4] & 1:
                raise FormatError(UNSUPPORTED, "BATCHES", position, "an LZ4 frame with a dictionary")
            decoder = lz4.frame.LZ4FrameDecompressor()
        else:
            decoder = zlib.decompressobj(31)
        at = 0
        while not decoder.eof:
            if at >= len(rest):
                raise ValueError("it is cut off")
            # In small pieces, so that no piece yields much more than it may.
            out += decoder.decompress(rest[at:at + 256])
            at += 256
            check(len(out))
        rest = decoder.unused_data + rest[at:] if decoder.unused_data else rest[at:]
        if not rest:
            return bytes(out)


def _snappy(stored: bytes, check: Callable[[int], None]) -> bytes:
    if not stored.startswith(SNAPPY_MAGIC):
        return _snappy_block(stored, 0, check)
    out, at = bytearray(), 0
    while at < len(stored):
        if stored.startswith(SNAPPY_MAGIC, at):
            at += 16
            if at > len(stored):
                raise ValueError("a frame is cut off")
            continue
        if len(stored) - at < 4:
            raise ValueError("a chunk is cut off")
        length = int.from_bytes(stored[at:at + 4], "big")
        chunk = stored[at + 4:at + 4 + length]
        if len(chunk) < length:
            raise ValueError("a chunk is cut off")
        out += _snappy_block(chunk, len(out), check)
        at += 4 + length
    return bytes(out)


def _snappy_block(block: bytes, before: int, check: Callable[[int], None]) -> bytes:
    """Decompresses one block of Snappy's raw format (format_description.txt of the snappy project)."""
    at = shift = length = 0
    while True:
        if at >= len(block) or shift > 28:
            raise ValueError("its length is malformed")
        length |= (block[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if block[at - 1] < 0x80:
            break
    if length > 32 * len(block):
        raise ValueError(f"{len(block)} bytes cannot decompress to {length}")
    check(before + length)
    out = bytearray()
    while at < len(block):
        tag = block[at]
        at += 1
        kind, size = tag & 3, (tag >> 2) + 1
        if kind == 0:
            if size > 60:
                width = size - 60
                size = int.from_bytes(block[at:at + width], "little") + 1
                at += width
            literal = block[at:at + size]
            if len(literal) < size:
                raise ValueError("a literal is cut off")
            out += literal
            at += size
            continue
        width = (1, 2, 4)[kind - 1]
        if at + width > len(block):
            raise ValueError("a copy is cut off")
        distance = int.from_bytes(block[at:at + width], "little")
        at += width
        if kind == 1:
            distance |= tag >> 5 << 8
            size = (tag >> 2 & 7) + 4
        if not 0 < distance <= len(out):
            raise ValueError(f"a copy from {distance} bytes before")
        for _ in range(size):  # it may overlap itself
            out.append(out[-distance])
    if len(out) != length:
        raise ValueError(f"{len(out)} bytes, it states {length}")
    return bytes(out)


class _Batch:
    """Reads the records of one batch."""

    def __init__(self, data: bytes, batch: Batch, position: int) -> None:
        self.data, self.batch, self.position, self.at, self.end = data, batch, position, 0, len(data)

    def fail(self, detail: str) -> FormatError:
        return FormatError(INCONSISTENT, "BATCHES", self.position, f"the batch at offset {self.batch.base_offset}: {detail}")

    def byte(self) -> int:
        if self.at >= self.end:
            raise self.fail("a record is cut off")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self, bits: int) -> int:
        value = 0
        for shift in range(0, 7 * (5 if bits == 32 else 10), 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << bits:
                    break
                return unzigzag(value)
        raise self.fail(f"a varint of more than {bits} bits")

    def take(self, length: int) -> bytes:
        if length > self.end - self.at:
            raise self.fail("a record is cut off")
        self.at += length
        return self.data[self.at - length:self.at]

    def nullable(self) -> bytes | None:
        length = self.varint(32)
        return None if length < 0 else self.take(length)

    def records(self) -> Iterator[Record]:
        batch, previous = self.batch, -1
        for _ in range(batch.record_count):
            self.end = len(self.data)
            length = self.varint(32)
            if length < 0 or length > self.end - self.at:
                raise self.fail(f"a record of {length} bytes")
            self.end = self.at + length
            self.byte()  # its attributes
            timestamp_delta, delta = self.varint(64), self.varint(32)
            if not previous < delta <= batch.last_offset_delta:
                raise self.fail(f"offset_delta {delta}, after {previous} and up to {batch.last_offset_delta}")
            previous = delta
            key, value = self.nullable(), self.nullable()
            count = self.varint(32)
            if not 0 <= count <= self.end - self.at:
                raise self.fail(f"{count} headers")
            headers = []
            for _ in range(count):
                name = self.nullable()
                if name is None:
                    raise self.fail("a header's name is null")
                headers.append((name, self.nullable()))
            if self.at != self.end:
                raise self.fail("a record is longer than its fields")
            timestamp = batch.max_timestamp if batch.timestamp_type else wrap_i64(batch.base_timestamp + timestamp_delta)
            yield Record(batch.base_offset + delta, timestamp, 0, key, value, tuple(headers))
        if self.at != len(self.data):
            raise self.fail("bytes after its last record")


# --------------------------------------------------------------------------------------------------------------
# 2.6 Digests


def _code(data: bytes | None) -> int:
    return 0 if data is None else len(data) + 1


def record_digests(record: Record, timestamp_type: int) -> tuple[int, int]:
    """Returns (R, P) of one record, as integers."""
    chain = bytes(16)
    for name, value in record.headers:
        chain = xxh3_128(chain + struct.pack("<II", len(name), _code(value)) + xxh3_128(name) + xxh3_128(value or b""))
    p = xxh3_128(
        struct.pack("<qIIII", record.timestamp, _code(record.key), _code(record.value), len(record.headers), record.attributes)
        + xxh3_128(record.key or b"") + xxh3_128(record.value or b"") + chain)
    r = xxh3_128(struct.pack("<Q", record.offset | timestamp_type << 63) + p)
    return int.from_bytes(r, "little"), int.from_bytes(p, "little")


def digests(records: Iterable[Record], timestamp_type: int) -> tuple[int, int]:
    """Returns (content_digest, restore_digest)."""
    content = restore = 0
    for record in records:
        r, p = record_digests(record, timestamp_type)
        content, restore = (content + r) & MASK_128, (restore + p) & MASK_128
    return content, restore


# --------------------------------------------------------------------------------------------------------------
# 5 Algorithms


@dataclass
class Segment:
    data: bytes
    trailer: Trailer
    header: FileHeader  # from header_copy
    sections: list[Section]
    index: list[IndexEntry]
    statistics: Statistics
    gaps: Gaps
    rendered_sizes: dict[str, list[int]] | None
    whole_lines: dict[str, bool] | None
    hours: list[list[tuple[int, int]]] | None
    batch_bounds: dict[int, BatchBounds]
    key_filter: KeyFilter | None

    @property
    def base_offset(self) -> int:
        return self.header.base_offset

    @property
    def end_offset(self) -> int:
        return self.statistics.end_offset

    @property
    def is_computed(self) -> bool:
        return not self.header.incompatible_features & FEATURE_NOT_COMPUTED

    def block_header(self, number: int) -> BlockHeader:
        entry = self.index[number]
        header = parse_block_header(self.data, entry.position, self.trailer.footer_position, self.header.segment_id[:8])
        for name in IndexEntry.__dataclass_fields__:
            require(getattr(header, name) == getattr(entry, name), INCONSISTENT, "block header", entry.position,
                    f"{name} is {getattr(header, name)}, in the block index {getattr(entry, name)}")
        require(header.sequence == number, INCONSISTENT, "block header", entry.position, f"sequence {header.sequence} of block {number}")
        return header

    def block(self, number: int) -> list[Record]:
        return decode_block(self.data, self.block_header(number), None, self.header.timestamp_type)

    def batches(self, number: int) -> list[Batch] | None:
        """Returns the batches of a block of kind 2, not decompressed; None of one of kind 1."""
        header = self.block_header(number)
        if header.kind != KIND_BATCHES:
            return None
        return parse_batches(decode_stream(self.data, header.directory[0]), header, self.header.timestamp_type)

    def records(self) -> Iterator[Record]:
        for number in range(len(self.index)):
            yield from self.block(number)

    def find_by_offset(self, offset: int) -> Record | None:
        """Returns the record at `offset`, or the first one above it; None where there is none. KeyError where `offset` is not covered."""
        if not self.base_offset <= offset < self.end_offset:
            raise KeyError(f"offset {offset} is not in the coverage {self.base_offset} to {self.end_offset}")
        first = bisect.bisect_right(self.index, offset, key=lambda entry: entry.end_offset)
        for number in range(first, len(self.index)):
            for record in self.block(number):
                if record.offset >= offset:
                    return record
        return None

    def offset_for_time(self, timestamp: int) -> Record | None:
        """Returns the first record in offset order with a timestamp of at least `timestamp`."""
        running_max = []
        for entry in self.index:
            running_max.append(max(entry.max_timestamp, running_max[-1] if running_max else I64_MIN))
        # The loop continues past the block found only if that has no record: its max_timestamp of -2^63 satisfies a
        # `timestamp` of -2^63 without having it.
        for number in range(bisect.bisect_left(running_max, timestamp), len(self.index)):
            for record in self.block(number):
                if record.timestamp >= timestamp:
                    return record
        return None

    def select_key(self, key: bytes | None) -> Iterator[Record]:
        """Yields all records with this key but control records, in offset order."""
        numbers = range(len(self.index)) if self.key_filter is None else self.key_filter.look_up(self.data, key)
        for number in numbers:
            for record in self.block(number):
                if record.key == key and not record.control:
                    yield record

    def select(self, t0: int, t1: int) -> Iterator[Record]:
        """Yields all records with t0 <= timestamp < t1, in offset order."""
        for number, entry in enumerate(self.index):
            least = entry.min_known_timestamp if t0 > -1 else entry.min_timestamp
            least = least if entry.is_computed else I64_MIN
            if entry.max_timestamp >= t0 and least < t1:
                for record in self.block(number):
                    if t0 <= record.timestamp < t1:
                        yield record


def open(data: bytes) -> Segment:  # noqa: A001: the name that the module's users expect
    """Opens a segment as in section 5; its first bytes are not read."""
    trailer = parse_trailer(data)
    footer = bytes(data[trailer.footer_position:trailer.footer_position + trailer.footer_length])
    require(crc32c(footer) == trailer.footer_crc, CHECKSUM, "footer", trailer.footer_position, "footer_crc")
    sections = parse_sections(footer, trailer.footer_position)
    by_type = {section.type: section for section in sections}

    copy = by_type[SECTION_HEADER_COPY]
    try:
        header = parse_file_header(copy.payload, copy.position, "header_copy")
    except FormatError as error:
        # The footer's checksum covers the copy, so no byte of it is missing: section 7.
        error_class = INCONSISTENT if error.error_class == TRUNCATED else error.error_class
        raise FormatError(error_class, error.what, error.position, error.detail) from None
    require(header.header_length == len(copy.payload), INCONSISTENT, "header_copy", copy.position,
            f"{len(copy.payload)} bytes, header_length {header.header_length}")
    require(header.segment_id == trailer.segment_id, MISPLACED, "header_copy", copy.position, "segment_id is not the trailer's")
    require(header.header_crc == trailer.header_crc, INCONSISTENT, "header_copy", copy.position, "header_crc is not the trailer's")
    require(header.minor == trailer.minor, INCONSISTENT, "header_copy", copy.position, "minor is not the trailer's")

    filter_section = by_type.get(SECTION_KEY_FILTER)
    require((filter_section is not None) == bool(header.incompatible_features & FEATURE_KEY_FILTER), INCONSISTENT, "footer", trailer.footer_position,
            f"incompatible_features {header.incompatible_features:#x}, sections {sorted(by_type)}")
    key_filter, blocks_end = None, trailer.footer_position
    if filter_section:
        key_filter = parse_key_filter(filter_section, header.segment_id[:8], trailer.block_count, trailer.footer_position)
        blocks_end = key_filter.position
    index = parse_block_index(by_type[SECTION_BLOCK_INDEX], trailer.block_count, header, blocks_end)
    is_computed = not header.incompatible_features & FEATURE_NOT_COMPUTED
    for absent in (SECTION_RENDERED_SIZES, SECTION_WHOLE_LINES, SECTION_HOURS, SECTION_KEY_FILTER):
        require(is_computed or absent not in by_type, INCONSISTENT, "footer", trailer.footer_position, f"section {absent}, and it is not computed")
    statistics = parse_statistics(by_type[SECTION_STATISTICS], is_computed)
    at = by_type[SECTION_STATISTICS].position
    end_offset = index[-1].end_offset if index else header.base_offset
    require(statistics.base_offset == header.base_offset, INCONSISTENT, "statistics", at, f"base_offset {statistics.base_offset}")
    require(statistics.end_offset == end_offset, INCONSISTENT, "statistics", at, f"end_offset {statistics.end_offset}, not {end_offset}")
    for name, found in (
        ("record_count", sum(entry.record_count for entry in index)),
        ("raw_bytes", sum(entry.raw_length for entry in index)),
        ("min_timestamp", min((entry.min_timestamp for entry in index), default=I64_MAX)),
        ("max_timestamp", max((entry.max_timestamp for entry in index), default=I64_MIN)),
        ("min_known_timestamp", min((entry.min_known_timestamp for entry in index), default=I64_MAX)),
    ):
        stated = getattr(statistics, name)
        require(stated == found or not is_computed and name not in STATED, INCONSISTENT, "statistics", at, f"{name} is {stated}, the block index gives {found}")
    gaps = parse_gaps(by_type[SECTION_GAPS], header.base_offset, end_offset)
    missing = end_offset - header.base_offset - statistics.record_count
    require(gaps.missing_count == missing, INCONSISTENT, "gaps", by_type[SECTION_GAPS].position,
            f"missing_count is {gaps.missing_count}, {missing} offsets have no record")
    rendered = by_type.get(SECTION_RENDERED_SIZES)
    rendered_sizes = parse_rendered_sizes(rendered, len(index)) if rendered else None
    lines = by_type.get(SECTION_WHOLE_LINES)
    whole_lines = parse_whole_lines(lines) if lines else None
    stated = by_type.get(SECTION_HOURS)
    hours = parse_hours(stated, index, rendered_sizes) if stated else None
    batch_bounds = parse_batch_bounds(by_type.get(SECTION_BATCH_BOUNDS), header, index, trailer.footer_position)
    return Segment(data, trailer, header, sections, index, statistics, gaps, rendered_sizes, whole_lines, hours, batch_bounds, key_filter)


@dataclass
class ScanResult:
    headers: list[BlockHeader] = field(default_factory=list)  # of the blocks whose records are returned
    records: list[Record] = field(default_factory=list)
    reports: list[FormatError] = field(default_factory=list)  # taken blocks whose records are not returned


@dataclass
class _Proved:
    """A block that proves itself, or a batch of a damaged one, as a scan found it."""

    header: BlockHeader
    records: list[Record]

    @property
    def span(self) -> tuple[int, int] | None:
        return (self.records[0].offset, self.records[-1].offset) if self.records else None

    @property
    def identity(self) -> tuple[int, int, int, int, int]:
        header = self.header
        return header.position, header.header_crc, header.base_offset, header.content_digest, header.restore_digest


def scan(data: bytes) -> ScanResult:
    """Finds blocks without the footer (section 5, Scan). Never fails; reports what it cannot return."""
    result = ScanResult()
    position, salt = 0, _scanned_salt(data)
    if salt is None:
        return result
    first = None
    try:
        first = parse_file_header(data)
        first = first if first.segment_id[:8] == salt else None
    except FormatError:
        pass
    position = first.header_length if first else 0
    intact, damaged = [], []
    while True:
        position = data.find(BLOCK_MAGIC, position)  # aligned or not: any number of bytes may be missing or added
        if position < 0:
            break
        header = _scanned_header(data, position)
        if header is None:
            position += 1
            continue
        if header.salt != salt:
            position += header.header_length
            continue
        block = data[position:position + header.block_length]
        try:
            require(len(block) == header.block_length, TRUNCATED, "block", header.position, "it is cut off")
            _check_stored(block, header)
        except FormatError as error:
            # Where bytes of the streams are missing, the next block starts before this one's stated end.
            result.reports.append(error)
            damaged.append((position, header))
            position += header.header_length
            continue
        intact.append((position, header))
        position += header.block_length

    # What is inside an intact block is the records'.
    outside = bytearray(data)
    for position, header in intact:
        outside[position:position + header.block_length] = bytes(header.block_length)
    footer = _scanned_footer(bytes(outside), salt, first)
    file_header = first or (footer.header if footer else _scanned_file_header(bytes(outside), salt))
    timestamp_type = None if file_header is None else file_header.timestamp_type
    from_offset = file_header.base_offset if file_header else 0
    to_offset = footer.statistics.end_offset if footer else 1 << 63
    proved, inconsistent = [], []
    for position, header in intact:
        try:
            records = decode_block(data, header, position, timestamp_type)
            types = (0, 1) if timestamp_type is None else (timestamp_type,)
            stated = header.content_digest, header.restore_digest
            if header.kind == KIND_BATCHES:
                types = (parse_batches(decode_stream(data, header.directory[0]), header, timestamp_type)[0].timestamp_type,)
            matching = [kind for kind in types if not header.is_computed or digests(records, kind) == stated]
            require(bool(matching), INCONSISTENT, "block", header.position, "the digests are not those of the records")
            if records:
                timestamp_type = matching[0]
            require(all(from_offset <= record.offset < to_offset for record in records), INCONSISTENT, "block", header.position,
                    "records outside the segment's coverage")
            proved.append(_Proved(header, records))
        except FormatError as error:
            result.reports.append(error)
            if header.kind == KIND_BATCHES:
                inconsistent.append((position, header))
    whole = {(block.header.position, block.header.header_crc) for block in proved}
    for position, header in damaged + inconsistent:
        if header.kind == KIND_BATCHES and (header.position, header.header_crc) not in whole:
            try:
                is_inconsistent = (position, header) in inconsistent
                proved += _proved_batches(data, position, header, timestamp_type, from_offset, to_offset, is_inconsistent)
            except FormatError as error:
                result.reports.append(error)
    for block in _in_order(proved, footer, result.reports):
        result.headers.append(block.header)
        result.records += block.records
    return result


def _proved_batches(data: bytes, start: int, header: BlockHeader, timestamp_type: int | None, from_offset: int, to_offset: int,
                    is_inconsistent: bool) -> list[_Proved]:
    """Returns the batches of a block that prove themselves (section 5, Scan): none, unless all that batches state of themselves does."""
    entry, what = header.directory[0], "BATCHES"
    require(entry.codec == CODEC_NONE, CHECKSUM, what, header.position, "its batches are compressed as a whole")
    start += header.header_length
    stream = bytes(data[start:start + entry.stored_length])
    require(len(stream) == entry.stored_length, TRUNCATED, what, header.position, "it is cut off")
    position, stated, frames = 0, 0, []
    while position < len(stream):
        require(len(stream) - position >= _BATCH.size, INCONSISTENT, what, header.position, "bytes after the last batch")
        base_offset, length, _, magic, crc = struct.unpack_from(">qiibI", stream, position)
        end = position + 12 + length
        require(magic == 2 and position + _BATCH.size <= end <= len(stream), INCONSISTENT, what, header.position, f"magic {magic}, batch_length {length}")
        # What is stored from attributes on counts as what its crc states, whatever it is.
        stated = crc32c_combine(crc32c_append(stated, stream[position:position + 21]), crc, end - position - 21)
        frames.append((base_offset, stream[position:end], crc32c(stream[position + 21:end]) == crc))
        position = end
    require(stated == entry.stored_crc, CHECKSUM, what, header.position, "what its batches state of themselves is damaged")
    # Nothing is damaged of a block that is intact: it is only a batch that does not decode that is not proved.
    found, is_intact, malformed = [], all(is_right for _, _, is_right in frames), 0
    for number, (base_offset, batch, is_right) in enumerate(frames):
        if not is_right:
            continue
        end_offset = frames[number + 1][0] if number + 1 < len(frames) else header.end_offset
        last_delta, record_count, max_timestamp = (struct.unpack_from(form, batch, at)[0] for form, at in ((">i", 23), (">i", 57), (">q", 35)))
        alone = replace(header, base_offset=base_offset, end_offset=base_offset + last_delta + 1, record_count=record_count,
                        max_timestamp=max_timestamp, flags=header.flags | 1)
        try:
            records = decode_batches(batch, alone, timestamp_type)
        except FormatError as error:
            if not is_intact or error.error_class == UNSUPPORTED:
                raise
            malformed += 1
            continue
        require(header.base_offset <= base_offset < end_offset <= header.end_offset and alone.end_offset <= end_offset, INCONSISTENT, what,
                header.position, "offsets of its batches")
        of_batch = replace(alone, end_offset=end_offset)
        require(all(from_offset <= record.offset < to_offset for record in records), INCONSISTENT, what, header.position,
                "records outside the segment's coverage")
        found.append(_Proved(of_batch, records))
    require(not is_inconsistent or malformed > 0, INCONSISTENT, what, header.position, "all of its batches decode, and it is not what it states")
    return found


def _in_order(proved: list[_Proved], footer: Segment | None, reports: list[FormatError]) -> list[_Proved]:
    """Puts blocks in the order of their records, each once: those that the index names, or without one, those that none of the others contests."""
    proved = sorted(proved, key=lambda block: (block.span[0] if block.span else block.header.base_offset, block.header.end_offset))
    seen, groups, reached = set(), [], -1
    for block in proved:
        if block.identity in seen:
            continue
        seen.add(block.identity)
        if block.span and block.span[0] <= reached:
            groups[-1].append(block)
        else:
            groups.append([block])
        if block.span:
            reached = max(reached, block.span[1])
    if footer:
        indexed = {(entry.position, entry.header_crc) for entry in footer.index}
        kept = [block for group in groups for block in group if (block.header.position, block.header.header_crc) in indexed]
    else:
        kept = [group[0] for group in groups if len(group) == 1]
    reports += [FormatError(MISPLACED, "block", block.header.position, "it is not in the index, or another intact block has records of its offsets")
                for group in groups for block in group if block not in kept]
    return kept


def _scanned_salt(data: bytes) -> bytes | None:
    try:
        return parse_file_header(data).segment_id[:8]
    except FormatError:
        pass
    trailer = _trailer_salt(data)
    if trailer is not None and struct.unpack_from("<Q", data, len(data) - 56)[0] == len(data):
        return trailer
    return _outermost_salt(data) or trailer


def _scanned_file_header(data: bytes, salt: bytes) -> FileHeader | None:
    """Returns the first valid file header with this salt, wherever it is."""
    position = data.find(HEADER_MAGIC)
    while position >= 0:
        try:
            header = parse_file_header(data[position:position + 65536])
            if header.segment_id[:8] == salt:
                return header
        except FormatError:
            pass
        position = data.find(HEADER_MAGIC, position + 1)
    return None


def _scanned_footer(data: bytes, salt: bytes, first: FileHeader | None) -> Segment | None:
    """Returns what the last valid footer with this salt states, wherever it and its trailer are."""
    end = len(data)
    while True:
        magic = data.rfind(TRAILER_MAGIC, 0, end)
        if magic < 56:
            return None
        end = magic + 7
        start = magic - 56
        if _trailer_salt(data[:magic + 8]) != salt:
            continue
        (length,) = struct.unpack_from("<I", data, start + 16)
        (file_length,) = struct.unpack_from("<Q", data, start + 8)
        if length > start or file_length < length + 64 or file_length > 1 << 28:
            return None
        try:
            # What is before the footer does not matter to whoever opens a segment.
            footer = open(bytes(file_length - length - 64) + data[start - length:magic + 8])
        except FormatError:
            return None
        if first is None or _identity(first) == _identity(footer.header):
            return footer


def _identity(header: FileHeader) -> tuple:
    topic = [tlv.value for tlv in header.tlvs if tlv.type == 1]
    return header.segment_id, header.topic_id, topic, header.partition, header.base_offset, header.timestamp_type


def _scanned_header(data: bytes, position: int) -> BlockHeader | None:
    """Returns the valid header at `position` of a block of any segment, wherever it was written."""
    if len(data) - position < _BLOCK.size:
        return None
    (stated,) = struct.unpack_from("<Q", data, position + 16)
    try:
        return parse_block_header(data, position, max(len(data), 1 << 40), None, stated)
    except FormatError:
        return None


def _check_stored(block: bytes, header: BlockHeader) -> None:
    """Makes the checks of a block's streams and padding that need no decompression."""
    at = header.header_length
    for entry in header.directory:
        require(crc32c(block[at:at + entry.stored_length]) == entry.stored_crc, CHECKSUM, STREAM_NAMES[entry.stream], header.position, "stored_crc")
        at += entry.stored_length
    check_padding(block[at:], "block", header.position + at)


def _trailer_salt(data: bytes) -> bytes | None:
    """Returns the salt of a trailer with a valid checksum; its lengths are ignored, since bytes may be missing."""
    raw = data[-TRAILER_LENGTH:]
    if len(raw) < TRAILER_LENGTH or raw[56:] != TRAILER_MAGIC or crc32c(raw[:52]) != int.from_bytes(raw[52:56], "little"):
        return None
    return bytes(raw[24:32])


def _outermost_salt(data: bytes) -> bytes | None:
    """Returns the salt of the block whose stated position is furthest above its own; of several, the first."""
    outermost, salt = -(1 << 65), None
    position = data.find(BLOCK_MAGIC)
    while position >= 0:
        header = _scanned_header(data, position)
        if header is not None and header.position - position > outermost:
            outermost, salt = header.position - position, header.salt
        position = data.find(BLOCK_MAGIC, position + 1)
    return salt


def expected_statistics(segment: Segment, blocks: list[tuple[BlockHeader, list[Record]]]) -> Statistics:
    """Computes the section *statistics* of these blocks."""
    records = [record for _, of_block in blocks for record in of_block]
    headers = [header for record in records for header in record.headers]
    header_bytes = {id(r): sum(len(name) + len(value or b"") for name, value in r.headers) for r in records}
    lateness, latest = 0, None
    for record in records:
        if latest is not None:
            lateness = max(lateness, latest - record.timestamp)
        latest = record.timestamp if latest is None else max(latest, record.timestamp)
    return Statistics(
        base_offset=segment.header.base_offset,
        end_offset=blocks[-1][0].end_offset if blocks else segment.header.base_offset,
        first_offset=records[0].offset if records else -1,
        last_offset=records[-1].offset if records else -1,
        min_timestamp=min((r.timestamp for r in records), default=I64_MAX),
        max_timestamp=max((r.timestamp for r in records), default=I64_MIN),
        record_count=len(records),
        tombstone_count=sum(r.value is None for r in records),
        control_count=sum(r.control for r in records),
        no_timestamp_count=sum(r.timestamp == -1 for r in records),
        zero_timestamp_count=sum(r.timestamp == 0 for r in records),
        null_key_count=sum(r.key is None for r in records),
        header_count=len(headers),
        key_bytes=sum(len(r.key or b"") for r in records),
        value_bytes=sum(len(r.value or b"") for r in records),
        header_bytes=sum(header_bytes.values()),
        max_record_bytes=max((len(r.key or b"") + len(r.value or b"") + header_bytes[id(r)] for r in records), default=0),
        max_lateness_ms=lateness,
        raw_bytes=sum(header.raw_length for header, _ in blocks),
        min_known_timestamp=min_known(records),
        content_digest=sum(header.content_digest for header, _ in blocks) & MASK_128,
        restore_digest=sum(header.restore_digest for header, _ in blocks) & MASK_128,
    )


def verify(data: bytes) -> Segment:
    """Makes every check of section 4 rule 6, as a verifier that decodes."""
    segment = open(data)
    header = parse_file_header(data)
    require(header.raw == segment.header.raw, INCONSISTENT, "file header", 0, "not the same bytes as header_copy")

    blocks = []
    for number in range(len(segment.index)):
        block_header = segment.block_header(number)
        records = decode_block(data, block_header, None, header.timestamp_type)
        content, restore = digests(records, header.timestamp_type)
        if block_header.is_computed:
            require(content == block_header.content_digest, INCONSISTENT, "block", block_header.position, "content_digest")
            require(restore == block_header.restore_digest, INCONSISTENT, "block", block_header.position, "restore_digest")
        else:
            above = [record.offset for record in records if record.timestamp > block_header.max_timestamp]
            require(not above, INCONSISTENT, "block", block_header.position, f"the records at {above} are above max_timestamp")
        blocks.append((block_header, records))
        if block_header.kind == KIND_BATCHES:
            found = batch_bounds_of(segment.batches(number))
            require(segment.batch_bounds[number] == found, INCONSISTENT, "batch_bounds", block_header.position,
                    f"of block {number} are {segment.batch_bounds[number]}, those of its batches {found}")

    positions = {section.type: section.position for section in segment.sections}
    expected = expected_statistics(segment, blocks)
    for name in Statistics.__dataclass_fields__:
        stated, found = getattr(segment.statistics, name), getattr(expected, name)
        if not segment.is_computed and (name not in STATED or name == "max_timestamp"):
            continue  # not stated, or a bound that was compared with the blocks'
        require(stated == found, INCONSISTENT, "statistics", positions[SECTION_STATISTICS], f"{name} is {stated}, the records' is {found}")

    offsets = [record.offset for _, records in blocks for record in records]
    for gap in segment.gaps.entries:
        at = bisect.bisect_left(offsets, gap.from_offset)
        require(at == len(offsets) or offsets[at] >= gap.to_offset, INCONSISTENT, "gaps", positions[SECTION_GAPS],
                f"gap {gap.from_offset} to {gap.to_offset} holds a record")

    if segment.rendered_sizes is not None:
        for view, ends in segment.rendered_sizes.items():
            length = 0
            for number, (_, records) in enumerate(blocks):
                length += len(render(records, view, segment.header))
                require(ends[number] == length, INCONSISTENT, "rendered_sizes", positions[SECTION_RENDERED_SIZES],
                        f"{view} up to block {number} has {length} bytes, not {ends[number]}")
    if segment.whole_lines is not None:
        rendered = [record for _, records in blocks for record in records if not record.control]
        for view, stated in segment.whole_lines.items():
            whole = all(part is not None and b"\n" not in part for part in (getattr(record, view[:-1]) for record in rendered))
            require(stated == whole, INCONSISTENT, "whole_lines", positions[SECTION_WHOLE_LINES], f"{view} is {stated}, the records' is {whole}")
    if segment.hours is not None:
        for number, (entry, (_, records)) in enumerate(zip(segment.index, blocks)):
            found: dict[int, int] = {}
            if hour_of(entry.min_timestamp) < hour_of(entry.max_timestamp):
                for record in records:
                    if not record.control:
                        hour = hour_of(record.timestamp)
                        found[hour] = found.get(hour, 0) + len(render([record], "records.jsonl", segment.header))
            require(segment.hours[number] == sorted(found.items()), INCONSISTENT, "hours", positions[SECTION_HOURS],
                    f"of block {number} are {segment.hours[number]}, the records' are {found}")
    if segment.key_filter is not None:
        filter = segment.key_filter
        check_padding(data[filter.position + filter.length:filter.end], "key filter", filter.position + filter.length)
        stored = [value for page in range(len(filter.pages)) for value in filter.entries(data, page)]
        expected = {filter.stored_hash(record.key) * filter.blocks + number
                    for number, (_, records) in enumerate(blocks) for record in records if not record.control}
        require(stored == sorted(expected), INCONSISTENT, "key filter", filter.position,
                f"{len(stored)} entries, the records' are {len(expected)}")
    return segment


# --------------------------------------------------------------------------------------------------------------
# 10 Rendering

_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)}
_ESCAPES.update({0x22: '\\"', 0x5C: "\\\\", 0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r"})


def _render_bytes(name: str, data: bytes | None) -> str:
    if data is None:
        return f'"{name}":null'
    try:
        text = data.decode("utf-8")  # Python implements RFC 3629: it refuses surrogates and overlong forms
    except UnicodeDecodeError:
        return f'"{name}_base64":"{base64.b64encode(data).decode("ascii")}"'
    return f'"{name}":"{text.translate(_ESCAPES)}"'


def render_time(timestamp: int) -> str:
    """Returns the time of a timestamp, in quotes, or null."""
    if timestamp == -1 or not -62167219200000 <= timestamp <= 253402300799999:
        return "null"
    # Python's calendar begins with the year 1; it repeats after 400 years.
    moved = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=timestamp + (0 if timestamp >= 0 else 12622780800000))
    year = moved.year - (0 if timestamp >= 0 else 400)
    return f'"{year:04d}-{moved:%m-%dT%H:%M:%S}.{moved.microsecond // 1000:03d}Z"'


def render_record(record: Record, header: FileHeader) -> bytes:
    """Returns the line of records.jsonl for one record."""
    headers = ",".join("{" + _render_bytes("name", name) + "," + _render_bytes("value", value) + "}" for name, value in record.headers)
    line = (f'{{"topic":"{header.topic.translate(_ESCAPES)}","partition":{header.partition},"offset":{record.offset},'
            f'"timestamp":{record.timestamp},"time":{render_time(record.timestamp)},{_render_bytes("key", record.key)},'
            f'{_render_bytes("value", record.value)},"headers":[{headers}]}}\n')
    return line.encode("utf-8")


def render(records: Iterable[Record], view: str, header: FileHeader) -> bytes:
    """Renders the records of a segment with this file header in one of VIEWS."""
    rendered = [record for record in records if not record.control]
    if view == "records.jsonl":
        return b"".join(render_record(record, header) for record in rendered)
    if view == "values":
        return b"".join((record.value or b"") + b"\n" for record in rendered)
    if view == "keys":
        return b"".join((record.key or b"") + b"\n" for record in rendered)
    raise ValueError(f"there is no view {view}")


# --------------------------------------------------------------------------------------------------------------
# Command line


def record_to_json(record: Record) -> dict:
    """Returns a record in the form of the golden files: bytes as hex, null as null."""
    def hexed(data: bytes | None) -> str | None:
        return None if data is None else data.hex()
    return {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "control": record.control,
        "key_hex": hexed(record.key),
        "value_hex": hexed(record.value),
        "headers": [[hexed(name), hexed(value)] for name, value in record.headers],
    }


def _digest_hex(value: int) -> str:
    """Returns a digest as the hex digits of its 16 stored bytes."""
    return value.to_bytes(16, "little").hex()


def statistics_to_json(statistics: Statistics, is_computed: bool = True) -> dict:
    fields = {name: getattr(statistics, name) for name in Statistics.__dataclass_fields__}
    for name in ("content_digest", "restore_digest"):
        fields[name] = _digest_hex(fields[name])
    return {name: value if is_computed or name in STATED else None for name, value in fields.items()}


def info_to_json(segment: Segment) -> dict:
    header = segment.header
    blocks = []
    for number in range(len(segment.index)):
        block = segment.block_header(number)
        blocks.append({
            "base": block.base_offset,
            "end": block.end_offset,
            "records": block.record_count,
            "codecs": {STREAM_NAMES[entry.stream]: CODEC_NAMES[entry.codec] for entry in block.directory},
        })
        if block.kind == KIND_BATCHES:
            blocks[-1]["batches"] = [batch_to_json(batch) for batch in segment.batches(number)]
        if not block.is_computed:
            blocks[-1]["computed"] = False
    return {
        "header": {
            "major": header.major,
            "minor": header.minor,
            "compatible_features": header.compatible_features,
            "segment_id": header.segment_id.hex(),
            "topic_id": header.topic_id.hex(),
            "partition": header.partition,
            "timestamp_type": ("CreateTime", "LogAppendTime")[header.timestamp_type],
            "isolation_level": ("read_uncommitted", "read_committed")[header.isolation_level],
            "base_offset": header.base_offset,
            "topic": header.topic,
            "cluster_id": header.cluster_id,
            "writer": header.writer,
            "created_at": header.created_at,
        },
        "tlvs": [[tlv.type, tlv.value.hex()] for tlv in header.tlvs],
        "blocks": blocks,
        "statistics": statistics_to_json(segment.statistics, segment.is_computed),
        "gaps": {
            "missing_count": segment.gaps.missing_count,
            "default_reason": segment.gaps.default_reason,
            "entries": [[gap.from_offset, gap.to_offset, gap.reason] for gap in segment.gaps.entries],
        },
        "rendered_sizes": segment.rendered_sizes,
        "whole_lines": segment.whole_lines,
        "key_filter": key_filter_to_json(segment),
        "batch_bounds": [
            [bounds.smallest_max_timestamp, bounds.largest_batch_bytes, bounds.codecs, bounds.has_gaps] for bounds in segment.batch_bounds.values()
        ] or None,
        "hours": segment.hours and [[list(entry) for entry in block] for block in segment.hours],
    }


def batch_to_json(batch: Batch) -> dict:
    return {
        "base_offset": batch.base_offset,
        "last_offset": batch.last_offset,
        "records": batch.record_count,
        "codec": BATCH_CODECS[batch.codec],
        "leader_epoch": batch.leader_epoch,
        "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch,
        "base_sequence": batch.base_sequence,
        "crc": batch.crc,
    }


def key_filter_to_json(segment: Segment) -> dict | None:
    filter = segment.key_filter
    if filter is None:
        return None
    return {
        "position": filter.position,
        "length": filter.length,
        "hash_bits": filter.hash_bits,
        "page_bits": filter.page_bits,
        "rice_bits": filter.rice_bits,
        "target_bits": filter.target_bits,
        "pages": [[page.end - filter.position, page.entry_count, page.crc] for page in filter.pages],
    }


def error_to_json(error: FormatError) -> dict:
    return {"error_class": error.error_class, "what": error.what, "position": error.position, "detail": error.detail}


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads a kbk segment and prints JSON.")
    parser.add_argument("file", type=Path)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--info", action="store_true", help="header, blocks, statistics, gaps, rendered sizes (the default)")
    mode.add_argument("--records", action="store_true", help="one JSON object per record, bytes as hex, control records included")
    mode.add_argument("--verify", action="store_true", help="check everything")
    mode.add_argument("--scan", action="store_true", help="records found without the footer, then one object per damaged block")
    mode.add_argument("--view", choices=VIEWS, help="a rendering of SPEC.md section 10 (values and keys are not JSON)")
    arguments = parser.parse_args()
    data = arguments.file.read_bytes()
    try:
        if arguments.verify:
            segment = verify(data)
            print(json.dumps({"ok": True, "records": segment.statistics.record_count, "blocks": len(segment.index)}))
        elif arguments.records:
            for record in open(data).records():
                print(json.dumps(record_to_json(record)))
        elif arguments.scan:
            result = scan(data)
            for record in result.records:
                print(json.dumps(record_to_json(record)))
            for report in result.reports:
                print(json.dumps(error_to_json(report)))
        elif arguments.view:
            segment = open(data)
            for number in range(len(segment.index)):
                sys.stdout.buffer.write(render(segment.block(number), arguments.view, segment.header))
        else:
            print(json.dumps(info_to_json(open(data)), indent=1))
    except FormatError as error:
        sys.stdout.flush()
        print(json.dumps(error_to_json(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
