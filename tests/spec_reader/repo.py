"""A strict reader of kbk repositories in a local folder, written from SPEC.md section 11 alone.

    python repo.py DIR TOPIC PARTITION [--view VIEW] [--topic-id ID] [--sequence N]
                                                        all records of a partition, rendered as in SPEC.md section 10
    python repo.py DIR --verify [--sequence N]          checks everything that the snapshot names, and all restores, and prints JSON
    python repo.py DIR --list [--sequence N]            partitions of the snapshot, one JSON object per line
    python repo.py DIR --claims                         the claims that are there, one JSON object per line

It reads in the order of section 11.6: the snapshot with the highest sequence (or the requested one), then lists, then tables, then segments.
It holds all rows of a snapshot in memory, which a program for large repositories would not.
Objects that the snapshot does not name are ignored. Every defect is raised as a kseg.FormatError whose `what` is the object's key.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import kseg
import zstandard
from blake3 import blake3
from kseg import CHECKSUM, INCONSISTENT, LIMIT, MISPLACED, TRUNCATED, UNSUPPORTED, FormatError, require

MAX_JSON = 268435456  # section 6
SEAL_LENGTH = 77  # ,"sha256":"<64 digits>"} ; a line feed follows
MAX_PACKED, MAX_PACKED_RAW, MAX_TABLE_RAW, MAX_ROW = 67108864, 268435456, 33554432, 16777216
MAX_ROWS, MAX_LISTED, MAX_RUNS, MAX_NAMED, MAX_CHANGES, MAX_SIGHTINGS, MAX_FORGOTTEN, MAX_DAMAGED = 1048576, 65536, 1024, 4, 16, 256, 4096, 16

_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n')
_TOPIC = r"(?P<topic>[a-zA-Z0-9._-]{1,249})"
RESTORE_NAME = re.compile(r"[a-z0-9-]{1,64}")
MAX_MAP_RUNS = 4096
CLAIM_NAME = re.compile(r"(?P<claim>[0-9a-f]{32})\.json")
MAX_CLAIM, MAX_CLAIMED_TOPICS = 16777216, 10000
SNAPSHOT_NAME = re.compile(r"(?P<sequence>[0-9]{20})\.json")

# The members of a binding (section 11.5), in the order by which bindings are sorted.
BINDING = ("resource_type", "resource_name", "pattern_type", "principal", "host", "operation", "permission_type")

STRING, NUMBER, BOOLEAN, ARRAY, OBJECT = str, int, bool, list, dict


@dataclass(frozen=True)
class Sealed:
    key: str
    sha256: str
    members: dict


def parse_sealed(key: str, data: bytes) -> Sealed:
    """Parses sealed JSON (section 11.2): its form and its digest are checked before anything else."""
    require(len(data) <= MAX_JSON, LIMIT, key, None, f"{len(data)} bytes")
    require(len(data) >= SEAL_LENGTH + 1, TRUNCATED, key, None, f"{len(data)} bytes are too few for sealed JSON")
    body, seal = data[:-SEAL_LENGTH - 1], data[-SEAL_LENGTH - 1:]
    match = _SEAL.fullmatch(seal)
    if match is None:  # as in a truncated object
        raise FormatError(TRUNCATED, key, len(body), "does not end as sealed JSON does")
    stated = match[1].decode("ascii")
    require(hashlib.sha256(body).hexdigest() == stated, CHECKSUM, key, len(body), "sha256")
    try:
        members = json.loads(data.decode("utf-8"), parse_constant=_no_constant, parse_int=_integer, object_pairs_hook=_unique)
        json.dumps(members, ensure_ascii=False).encode("utf-8")  # fails for an escaped lone surrogate, which is not text
    except ValueError as error:
        raise FormatError(INCONSISTENT, key, None, f"not JSON: {error}") from None
    require(isinstance(members, dict), INCONSISTENT, key, None, "not a JSON object")
    require(list(members)[-1] == "sha256" and members["sha256"] == stated, INCONSISTENT, key, None, "sha256 is not the last member")
    return Sealed(key, stated, members)


def _unique(pairs: list[tuple[str, object]]) -> dict:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has two members of one name")
    return members


def _integer(digits: str) -> int:
    if digits == "-0":
        raise ValueError("-0 is not an integer of section 11.2")
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def member(key: str, of: object, name: str, kind: type, or_null: bool = False) -> object:
    """Returns a member of a JSON object, checked to be of the type that the tables of section 11 state."""
    require(isinstance(of, dict), INCONSISTENT, key, None, f"no object with a member {name}")
    if or_null and of.get(name) is None:  # where null is allowed, a missing member is null
        return None
    require(name in of, INCONSISTENT, key, None, f"no member {name}")
    value = of[name]
    # In Python a bool is an int, and a number may be a float: neither is a number of the tables.
    good = isinstance(value, kind) and not (kind is NUMBER and isinstance(value, bool))
    good = good and not (kind is NUMBER and not kseg.I64_MIN <= value <= kseg.MASK_64)
    require(good, INCONSISTENT, key, None, f"member {name} is {value!r}")
    return value


def hex_member(key: str, of: object, name: str, digits: int) -> str:
    value = member(key, of, name, STRING)
    require(re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None, INCONSISTENT, key, None, f"member {name} is {value!r}")
    return value


def offset_member(key: str, of: object, name: str) -> int:
    value = member(key, of, name, NUMBER)
    require(0 <= value <= kseg.I64_MAX, INCONSISTENT, key, None, f"member {name} is {value}")
    return value


def count_member(key: str, of: object, name: str) -> int:
    """A count, a size or a sequence: an unsigned 64-bit integer."""
    value = member(key, of, name, NUMBER)
    require(value >= 0, INCONSISTENT, key, None, f"member {name} is {value}")
    return value


def int32_member(key: str, of: object, name: str, lowest: int = 0) -> int:
    value = member(key, of, name, NUMBER)
    require(lowest <= value < 2**31, INCONSISTENT, key, None, f"member {name} is {value}")
    return value


def signed_member(key: str, of: object, name: str) -> int:
    """A signed 64-bit integer: a timestamp, or an offset as the source stated it."""
    value = member(key, of, name, NUMBER)
    require(value <= kseg.I64_MAX, INCONSISTENT, key, None, f"member {name} is {value}")
    return value


def check_format(sealed: Sealed, name: str) -> None:
    found = member(sealed.key, sealed.members, "format", STRING)
    require(found == name, MISPLACED, sealed.key, None, f"format is {found!r}, not {name!r}")
    version = member(sealed.key, sealed.members, "version", NUMBER)
    expected = 3 if name == "kbk-repository" else 1
    require(version >= 1, INCONSISTENT, sealed.key, None, f"version {version}")
    require(version == expected, UNSUPPORTED, sealed.key, None, f"version {version}")


# --------------------------------------------------------------------------------------------------------------
# Packed objects (section 11.2)


def parse_json(key: str, line: bytes) -> dict:
    """Parses one JSON object by the rules of section 11.2."""
    try:
        members = json.loads(line.decode("utf-8"), parse_constant=_no_constant, parse_int=_integer, object_pairs_hook=_unique)
        json.dumps(members, ensure_ascii=False).encode("utf-8")
    except ValueError as error:
        raise FormatError(INCONSISTENT, key, None, f"not JSON: {error}") from None
    return members


def parse_packed(key: str, data: bytes, named: dict, format: str, repository_id: str) -> list[bytes]:
    """Returns the lines of a packed object after its header. `named` is a checked reference."""
    require(len(data) >= named["size"], TRUNCATED, key, None, f"{len(data)} of {named['size']} bytes")
    require(len(data) == named["size"], MISPLACED, key, None, f"{len(data)} bytes, {named['size']} are stated")
    require(hashlib.sha256(data).hexdigest() == named["sha256"], CHECKSUM, key, None, "sha256")
    try:
        frame = zstandard.get_frame_parameters(data)
        require(frame.content_size == named["raw_size"], INCONSISTENT, key, None, f"the frame states {frame.content_size} bytes")
        require(frame.dict_id == 0, INCONSISTENT, key, None, "a dictionary")
        require(frame.window_size <= kseg.MAX_ZSTD_WINDOW, LIMIT, key, None, f"a window of {frame.window_size}")
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        raw = decompressor.decompress(data)
    except zstandard.ZstdError as error:
        raise FormatError(INCONSISTENT, key, None, f"zstd: {error}") from None
    require(len(raw) == named["raw_size"], INCONSISTENT, key, None, f"{len(raw)} raw bytes, {named['raw_size']} are stated")
    require(decompressor.eof and not decompressor.unused_data, INCONSISTENT, key, None, "more or less than one frame")
    require(raw.endswith(b"\n"), INCONSISTENT, key, None, "the last line does not end")
    header, *lines = raw[:-1].split(b"\n")
    members = parse_json(key, header)
    found = member(key, members, "format", STRING)
    require(found == format, MISPLACED, key, None, f"format is {found!r}, not {format!r}")
    version = member(key, members, "version", NUMBER)
    require(version >= 1, INCONSISTENT, key, None, f"version {version}")
    require(version == 1, UNSUPPORTED, key, None, f"version {version}")
    found = hex_member(key, members, "repository_id", 32)
    require(found == repository_id, MISPLACED, key, None, f"repository_id {found}")
    hex_member(key, members, "nonce", 32)
    stated = count_member(key, members, "lines")
    require(stated == len(lines), INCONSISTENT, key, None, f"{len(lines)} lines, its header states {stated}")
    return lines


def check_reference(key: str, named: object, most_raw: int) -> None:
    hex_member(key, named, "sha256", 64)
    for name, limit in (("size", MAX_PACKED), ("raw_size", most_raw)):
        value = count_member(key, named, name)
        require(value <= limit, LIMIT, key, None, f"{name} {value}")


# --------------------------------------------------------------------------------------------------------------
# Rows and tables (section 11.4)

KINDS = ("topic", "partition", "lost", "segment")
LOWEST = -1  # stands for a member that a key does not have: before all partitions and offsets


def row_key(object_key: str, kind: str, members: dict) -> tuple:
    """Returns what orders rows: states before segments, then the members of the key."""
    topic = member(object_key, members, "topic", STRING)
    require(_is_topic(topic), INCONSISTENT, object_key, None, f"topic name {topic!r}")
    topic_id = hex_member(object_key, members, "topic_id", 32)
    partition = LOWEST if kind == "topic" else int32_member(object_key, members, "partition")
    offset = LOWEST if kind in ("topic", "partition") else offset_member(object_key, members, "base_offset")
    return (kind == "segment", topic, topic_id, partition, offset)


def stated_key(object_key: str, array: object) -> tuple:
    """Parses a key that an object states as an array."""
    require(isinstance(array, list) and array and array[0] in KINDS, INCONSISTENT, object_key, None, f"key {array!r}")
    kind, *values = array
    names = ("topic", "topic_id", "partition", "base_offset")[: {"topic": 2, "partition": 3}.get(kind, 4)]
    require(len(values) == len(names), INCONSISTENT, object_key, None, f"key {array!r}")
    return row_key(object_key, kind, dict(zip(names, values)))


@dataclass(frozen=True)
class Row:
    key: tuple
    kind: str
    removed: bool
    members: dict
    table: str  # the key of its table
    commits: tuple[int, int]  # of its run


def parse_row(table: str, line: bytes, commits: tuple[int, int]) -> Row:
    require(len(line) <= MAX_ROW, LIMIT, table, None, f"a row of {len(line)} bytes")
    members = parse_json(table, line)
    kind = member(table, members, "row", STRING)
    removed = kind == "removed"
    if removed:
        kind = member(table, members, "of", STRING)
    require(kind in KINDS, UNSUPPORTED, table, None, f"a row of the kind {kind!r}")
    if kind == "segment" and not removed:
        features = count_member(table, members, "features") if members.get("features") is not None else 0
        require(features & ~kseg.KNOWN_FEATURES == 0, UNSUPPORTED, table, None, f"a segment with the features {features:#x}")
    return Row(row_key(table, kind, members), kind, removed, members, table, commits)


def times(rows: list[Row]) -> tuple[int | None, int | None]:
    timed = [row for row in rows if row.kind == "segment" and not row.removed and count_member(row.table, row.members, "records") > 0]
    # One that does not state its smallest timestamp bounds nothing.
    stated = (nullable_time(row.table, row.members, "min_timestamp") for row in timed)
    lows = (kseg.I64_MIN if low is None else low for low in stated)
    most = (signed_member(row.table, row.members, "max_timestamp") for row in timed)
    return min(lows, default=None), max(most, default=None)


def least(timestamps: list[int | None]) -> int | None:
    """Returns the smallest; None where there is none, and where one is not known."""
    return None if None in timestamps else min(timestamps, default=None)


def nullable_time(key: str, of: object, name: str) -> int | None:
    return None if member(key, of, name, NUMBER, or_null=True) is None else signed_member(key, of, name)


def check_table_reference(key: str, named: object) -> None:
    check_reference(key, named, MAX_TABLE_RAW)
    require(count_member(key, named, "rows") >= 1, INCONSISTENT, key, None, "a table without rows")
    first, last = (stated_key(key, member(key, named, name, ARRAY)) for name in ("first", "last"))
    require(first <= last, INCONSISTENT, key, None, f"a table from {first} to {last}")
    low, high = (nullable_time(key, named, name) for name in ("min_timestamp", "max_timestamp"))
    require((low is None) == (high is None) and (low is None or low <= high), INCONSISTENT, key, None, f"timestamps {low} to {high}")
    member(key, named, "hides", BOOLEAN)


def check_ascending(key: str, tables: list[dict]) -> None:
    for before, after in zip(tables, tables[1:]):
        last, first = stated_key(key, before["last"]), stated_key(key, after["first"])
        require(last < first, INCONSISTENT, key, None, f"a table ends with {last}, the next one begins with {first}")


# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A segment, as its row states it."""

    key: str
    segment_id: str
    size: int
    footer_position: int
    blake3: str
    base_offset: int
    end_offset: int
    min_timestamp: int | None
    max_timestamp: int
    min_known_timestamp: int | None
    records: int
    raw_bytes: int
    timestamp_type: str
    content_digest: str | None
    rendered: list[int] | None
    whole_lines: list[bool] | None
    features: int


@dataclass(frozen=True)
class Partition:
    topic: str
    topic_id: str
    partition: int
    incomplete: str | None  # the reason; None as well where it does not make the snapshot partial
    members: dict  # of the snapshot


@dataclass(frozen=True)
class Group:
    group: str
    offsets: dict  # (topic, partition) to the next offset to read


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = parse_sealed("kbk.json", self.read("kbk.json"))
        check_format(self.identity, "kbk-repository")
        self.repository_id = hex_member("kbk.json", self.identity.members, "repository_id", 32)
        member("kbk.json", self.identity.members, "created_at", STRING)

    def read(self, key: str) -> bytes:
        """Reads an object. Callers check that the key has a form of section 11.1, so that it stays inside the folder."""
        try:
            return self.folder.joinpath(*key.split("/")).read_bytes()
        except FileNotFoundError:
            raise FormatError(TRUNCATED, key, None, "the object does not exist") from None

    def sequences(self) -> list[int]:
        """Returns the sequences of all snapshots. Other names are not objects (section 11.6)."""
        folder = self.folder / "snapshots"
        if not folder.is_dir():
            return []
        matches = (SNAPSHOT_NAME.fullmatch(path.name) for path in folder.iterdir())
        found = sorted(int(match["sequence"]) for match in matches if match and int(match["sequence"]) >= 1)
        if not found:
            return []
        # What the newest snapshot names as forgotten does not exist. The hint is for stores where listing all costs more.
        newest = parse_sealed(f"snapshots/{found[-1]:020}.json", self.read(f"snapshots/{found[-1]:020}.json"))
        ranges = member(newest.key, newest.members, "forgotten", ARRAY)
        return [sequence for sequence in found if not any(first <= sequence <= last for first, last in ranges)]

    def packed(self, key: str, named: dict, format: str) -> list[bytes]:
        return parse_packed(key, self.read(key), named, format, self.repository_id)

    def restores(self) -> list[Restore]:
        """Returns all restores that have begun. Other names are not objects."""
        folder = self.folder / "restores"
        if not folder.is_dir():
            return []
        names = sorted(path.name for path in folder.iterdir() if RESTORE_NAME.fullmatch(path.name) and (path / "begun.json").exists())
        return [Restore(self, name) for name in names]

    def claims(self) -> list[dict]:
        """Returns the members of all claims (section 11.9). No other function needs them."""
        folder = self.folder / "claims"
        if not folder.is_dir():
            return []
        names = sorted(path.name for path in folder.iterdir() if CLAIM_NAME.fullmatch(path.name))
        return [self._claim(name) for name in names]

    def _claim(self, name: str) -> dict:
        key = f"claims/{name}"
        data = self.read(key)
        require(len(data) <= MAX_CLAIM, LIMIT, key, None, f"{len(data)} bytes")
        sealed = parse_sealed(key, data)
        check_format(sealed, "kbk-claim")
        members = sealed.members
        claim = hex_member(key, members, "claim", 32)
        require(claim == CLAIM_NAME.fullmatch(name)["claim"], MISPLACED, key, None, f"claim {claim}")
        for text in ("command", "writer", "begun_at"):
            member(key, members, text, STRING)
        member(key, members, "host", STRING, or_null=True)
        count_member(key, members, "renewed")
        state = member(key, members, "state", STRING)
        require(state in ("entering", "held"), INCONSISTENT, key, None, f"state {state!r}")
        process = member(key, members, "process", OBJECT, or_null=True)
        if process is not None:
            for text in ("boot_id", "namespace"):
                member(key, process, text, STRING)
            pid = count_member(key, process, "pid")
            require(pid < 2**32, INCONSISTENT, key, None, f"pid {pid}")
            count_member(key, process, "started")
        topics = member(key, members, "topics", ARRAY, or_null=True)
        names = []
        for topic in topics or []:
            names.append(member(key, topic, "topic", STRING))
            require(_is_topic(names[-1]), INCONSISTENT, key, None, f"topic name {names[-1]!r}")
            partitions = member(key, topic, "partitions", ARRAY, or_null=True) or []
            numbers = all(isinstance(p, int) and not isinstance(p, bool) and 0 <= p < 2**31 for p in partitions)
            require(numbers and partitions == sorted(set(partitions)), INCONSISTENT, key, None, f"partitions {partitions}")
        require(names == sorted(set(names)) and len(names) <= MAX_CLAIMED_TOPICS, INCONSISTENT, key, None, "topics out of order, or too many")
        return members

    def snapshot(self, sequence: int | None = None) -> Snapshot | None:
        """Reads the newest snapshot, or that of `sequence`; None where there is none yet."""
        if sequence is None:
            sequences = self.sequences()
            if not sequences:
                return None
            sequence = sequences[-1]
        return Snapshot(self, sequence)


class Snapshot:
    def __init__(self, repository: Repository, sequence: int) -> None:
        self.repository = repository
        self.key = key = f"snapshots/{sequence:020}.json"
        self.sealed = parse_sealed(key, repository.read(key))
        check_format(self.sealed, "kbk-snapshot")
        members = self.sealed.members
        found = hex_member(key, members, "repository_id", 32)
        require(found == repository.repository_id, MISPLACED, key, None, f"repository_id {found}, kbk.json has {repository.repository_id}")
        self.sequence = count_member(key, members, "sequence")
        require(self.sequence == sequence, MISPLACED, key, None, f"sequence {self.sequence}")
        self.parent = member(key, members, "parent", OBJECT, or_null=True)
        if self.parent is not None:
            require(count_member(key, self.parent, "sequence") < sequence, INCONSISTENT, key, None, "the parent is not older")
            hex_member(key, self.parent, "sha256", 64)
        hex_member(key, members, "nonce", 32)
        for name in ("started_at", "created_at", "writer"):
            member(key, members, name, STRING)
        member(key, members, "cluster_id", STRING, or_null=True)
        maintenance = member(key, members, "maintenance", OBJECT, or_null=True)
        if maintenance is not None:
            for name in ("command", "detail", "at"):
                member(key, maintenance, name, STRING)
            backup = count_member(key, maintenance, "backup")
            empty = count_member(key, member(key, members, "totals", OBJECT), "topics") == 0
            require(backup < sequence and (backup >= 1 or empty), INCONSISTENT, key, None, "the last backup is not older")
        self._check_copy()
        self._check_forgotten()
        self.last_seen = self._sightings()
        rows = self._rows()
        self.rows = {row.key: row for row in rows if not row.removed}
        self.partitions = list(self._partitions())
        self._check_totals()
        groups = member(key, members, "groups", OBJECT, or_null=True)
        self.groups = None if groups is None else list(self._groups(groups))
        acls = member(key, members, "acls", OBJECT, or_null=True)
        self.acls = None if acls is None else list(self._acls(acls))

    def _check_copy(self) -> None:
        key, members = self.key, self.sealed.members
        self.origin = origin = member(key, members, "origin", OBJECT, or_null=True)
        if origin is not None:
            hex_member(key, origin, "repository_id", 32)
            hex_member(key, origin, "sha256", 64)
            require(1 <= count_member(key, origin, "sequence") <= self.sequence, INCONSISTENT, key, None, "the origin has a higher sequence")
            require(count_member(key, origin, "backup") <= origin["sequence"], INCONSISTENT, key, None, "the backup of the origin has a higher sequence")
        if member(key, members, "next", NUMBER, or_null=True) is not None:
            require(count_member(key, members, "next") >= self.sequence + 2, INCONSISTENT, key, None, "the snapshot that follows is not above")

    def _check_forgotten(self) -> None:
        key, least = self.key, 1
        ranges = member(key, self.sealed.members, "forgotten", ARRAY)
        require(len(ranges) <= MAX_FORGOTTEN, LIMIT, key, None, f"{len(ranges)} ranges of forgotten snapshots")
        for pair in ranges:
            good = isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair)
            require(good and least <= pair[0] <= pair[1] < self.sequence, INCONSISTENT, key, None, f"forgotten {pair!r}")
            least = pair[1] + 2
        pruned = count_member(key, self.sealed.members, "pruned")
        pruning = member(key, self.sealed.members, "pruning", OBJECT, or_null=True)
        require(pruned <= self.sequence, INCONSISTENT, key, None, f"pruned {pruned}")
        if pruning is not None:
            check_reference(key, pruning, MAX_PACKED_RAW)
            count_member(key, pruning, "objects")
            require(1 <= count_member(key, pruning, "sequence") <= pruned, INCONSISTENT, key, None, "pruning is above pruned")

    def _sightings(self) -> dict[int, int]:
        key, sightings = self.key, member(self.key, self.sealed.members, "sightings", ARRAY)
        require(len(sightings) <= MAX_SIGHTINGS, LIMIT, key, None, f"{len(sightings)} sightings")
        last_seen = {}
        for sighting in self._ascending(sightings, "id", NUMBER):
            require(count_member(key, sighting, "id") >= 1, INCONSISTENT, key, None, "sighting 0")
            last_seen[sighting["id"]] = seen = count_member(key, sighting, "last_seen")
            require(1 <= seen <= self.sequence, INCONSISTENT, key, None, f"a sighting in snapshot {seen}")
            member(key, sighting, "started_at", STRING)
        return last_seen

    def _rows(self) -> list[Row]:
        """Returns the rows that count, removed ones too, in the order of their keys."""
        key, newest, level = self.key, self.sequence, 0
        runs = member(key, self.sealed.members, "runs", ARRAY)
        require(len(runs) <= MAX_RUNS, LIMIT, key, None, f"{len(runs)} runs")
        counting: dict[tuple, Row] = {}
        for run in runs:
            found = count_member(key, run, "level")
            require(level <= found <= 63, INCONSISTENT, key, None, f"a run of level {found} after {level}")
            first, last = count_member(key, run, "from"), count_member(key, run, "to")
            require(1 <= first <= last <= newest, INCONSISTENT, key, None, f"a run of the commits {first} to {last}")
            level, newest = found, first - 1
            for table in self._tables(run):
                for row in self._table(table, (first, last)):
                    counting.setdefault(row.key, row)
        return [counting[key] for key in sorted(counting)]

    def _tables(self, run: dict) -> list[dict]:
        key = self.key
        tables = member(key, run, "tables", ARRAY, or_null=True)
        listed = member(key, run, "list", OBJECT, or_null=True)
        require((tables is None) != (listed is None), INCONSISTENT, key, None, "a run has tables and a list, or neither")
        if listed is None:
            require(1 <= len(tables) <= MAX_NAMED, INCONSISTENT, key, None, f"a run names {len(tables)} tables")
        else:
            check_table_reference(key, listed)
            key = f"index/{listed['sha256']}.idx"
            tables = [parse_json(key, line) for line in self.repository.packed(key, listed, "kbk-table-list")]
            require(MAX_NAMED < len(tables) <= MAX_LISTED, INCONSISTENT, key, None, f"{len(tables)} tables")
        for table in tables:
            check_table_reference(key, table)
        check_ascending(key, tables)
        if listed is not None:
            for name, found in (
                ("rows", sum(table["rows"] for table in tables)),
                ("first", tables[0]["first"]),
                ("last", tables[-1]["last"]),
                ("hides", any(table["hides"] for table in tables)),
                ("min_timestamp", min((t["min_timestamp"] for t in tables if t.get("min_timestamp") is not None), default=None)),
                ("max_timestamp", max((t["max_timestamp"] for t in tables if t.get("max_timestamp") is not None), default=None)),
            ):
                require(listed.get(name) == found, INCONSISTENT, key, None, f"{name} is {found!r}, its reference states {listed.get(name)!r}")
        return tables

    def _table(self, named: dict, commits: tuple[int, int]) -> list[Row]:
        key = f"index/{named['sha256']}.idx"
        rows = [parse_row(key, line, commits) for line in self.repository.packed(key, named, "kbk-table")]
        require(len(rows) == named["rows"] <= MAX_ROWS, INCONSISTENT, key, None, f"{len(rows)} rows, its reference states {named['rows']}")
        for before, after in zip(rows, rows[1:]):
            require(before.key < after.key, INCONSISTENT, key, None, f"{before.key} and {after.key} are out of order")
        ends = (stated_key(key, named["first"]), stated_key(key, named["last"]))
        require((rows[0].key, rows[-1].key) == ends, INCONSISTENT, key, None, f"rows from {rows[0].key} to {rows[-1].key}")
        stated = (named.get("min_timestamp"), named.get("max_timestamp"))
        require(times(rows) == stated, INCONSISTENT, key, None, f"timestamps {times(rows)}, its reference states {stated}")
        require(named["hides"] or not any(row.removed for row in rows), INCONSISTENT, key, None, "it removes rows, its reference does not say so")
        return rows

    def _partitions(self) -> Iterator[Partition]:
        """Yields the partitions, those of a topic's histories in the order in which they were first seen."""
        topics = [row for row in self.rows.values() if row.kind == "topic"]
        states = {row.key[1:4]: row for row in self.rows.values() if row.kind == "partition"}
        lost = [row for row in self.rows.values() if row.kind == "lost"]
        self.segments: dict[tuple, list[Row]] = {}
        for row in self.rows.values():
            if row.kind == "segment":
                self.segments.setdefault(row.key[1:4], []).append(row)
        named: set[tuple] = set()
        live: set[str] = set()
        order = [(row.key[1], count_member(row.table, row.members, "first_seen")) for row in topics]
        require(len(set(order)) == len(order), INCONSISTENT, self.key, None, "two topics of one name were first seen by one snapshot")
        self.topics = len(topics)
        for (name, _), topic in sorted(zip(order, topics), key=lambda pair: pair[0]):
            key, of, topic_id = topic.table, topic.members, topic.key[2]
            deleted = self._check_topic(topic)
            if not deleted:
                require(name not in live, INCONSISTENT, key, None, f"two topics {name} are not deleted")
                live.add(name)
            for number in range(int32_member(key, of, "partitions")):
                place = (name, topic_id, number)
                row = states.get(place)
                require(row is not None, INCONSISTENT, self.key, None, f"partition {number} of topic {name} has no row")
                named.add(place)
                reason = self._incomplete(row)
                changes = self._changes(row)
                self._expired(row, changes)
                self._compacted(row)
                self._appended(row, changes)
                self._damaged_in(row)
                members = {**row.members, "lost": [other.members for other in lost if other.key[1:4] == place], "table": row.table}
                damaged = any(of_it.get("cause") is not None for of_it in members["lost"])
                require(reason is not None or not damaged, INCONSISTENT, row.table, None, f"damaged offsets of {place}, which is not incomplete")
                require(reason != "damaged" or damaged, INCONSISTENT, row.table, None, f"{place} is incomplete for damage, and has no damaged offsets")
                counts = not deleted or (self.origin is not None and reason == "not_copied")
                yield Partition(name, topic_id, number, reason if counts else None, members)
        others = {row.key[1:4] for row in self.rows.values() if row.kind != "topic"} - named
        require(not others, INCONSISTENT, self.key, None, f"rows of partitions that no topic has: {sorted(others)[:3]}")

    def _changes(self, row: Row) -> list[int]:
        """Returns the last commits that changed the segments of a partition, the newest first."""
        changes = member(row.table, row.members, "changes", ARRAY)
        numbers = all(isinstance(change, NUMBER) and not isinstance(change, bool) for change in changes)
        require(numbers and len(changes) <= MAX_CHANGES, INCONSISTENT, row.table, None, f"changes {changes!r}")
        order = [self.sequence + 1, *changes, 0]
        require(all(a > b for a, b in zip(order, order[1:])), INCONSISTENT, row.table, None, f"changes {changes!r} in snapshot {self.sequence}")
        return changes

    def _expired(self, row: Row, changes: list[int]) -> None:
        """Checks what is stated of the segments that were expired."""
        key, of = row.table, row.members
        expired = member(key, of, "expired", OBJECT, or_null=True)
        if expired is None:
            return
        first, end = offset_member(key, expired, "base_offset"), offset_member(key, of, "base_offset")
        require(first < end, INCONSISTENT, key, None, f"the offsets {first} to {end} were expired")
        require(count_member(key, expired, "segments") >= 1, INCONSISTENT, key, None, "no segment was expired")
        count_member(key, expired, "records")
        snapshot, changed = count_member(key, expired, "snapshot"), max(changes, default=0)
        require(1 <= snapshot <= changed, INCONSISTENT, key, None, f"snapshot {snapshot} expired segments, the last change was in {changed}")
        for name in ("at", "policy"):
            member(key, expired, name, STRING)
        last = member(key, expired, "last_record", OBJECT, or_null=True)
        if last is not None:
            offset = offset_member(key, last, "offset")
            hex_member(key, last, "check", 8)
            require(first <= offset < end and count_member(key, of, "records") == 0, INCONSISTENT, key, None, f"last_record at {offset}")

    def _compacted(self, row: Row) -> None:
        """Checks what is stated of the records that were removed by key."""
        key = row.table
        compacted = member(key, row.members, "compacted", OBJECT, or_null=True)
        if compacted is None:
            return
        for name in ("records", "snapshot"):
            require(count_member(key, compacted, name) >= 1, INCONSISTENT, key, None, f"{name} of compacted is 0")
        for name in ("at", "policy"):
            member(key, compacted, name, STRING)

    def _appended(self, row: Row, changes: list[int]) -> None:
        """Checks which commit appended segments last."""
        appended = member(row.table, row.members, "appended", NUMBER, or_null=True)
        if appended is not None:
            appended = count_member(row.table, row.members, "appended")
            require(1 <= appended <= max(changes, default=0), INCONSISTENT, row.table, None, f"snapshot {appended} appended, the changes are {changes}")

    def _damaged_in(self, row: Row) -> None:
        """Checks in which snapshots segments of a partition are damaged."""
        pairs = member(row.table, row.members, "damaged_in", ARRAY, or_null=True)
        if pairs is None:
            return
        require(len(pairs) <= MAX_DAMAGED, INCONSISTENT, row.table, None, f"{len(pairs)} pairs of damaged_in")
        least = 1
        for pair in pairs:
            numbers = isinstance(pair, list) and len(pair) == 2
            numbers = numbers and all(isinstance(it, NUMBER) and not isinstance(it, bool) for it in pair)
            require(numbers and least <= pair[0] <= pair[1] < self.sequence, INCONSISTENT, row.table, None, f"damaged_in {pairs!r}")
            least = pair[1] + 2

    def _check_topic(self, row: Row) -> bool:
        """Checks a topic's row; returns whether it is deleted."""
        key, of, name = row.table, row.members, row.key[1]
        if member(key, of, "kafka_id", STRING, or_null=True) is not None:
            hex_member(key, of, "kafka_id", 32)
        last_seen = member(key, of, "last_seen", NUMBER, or_null=True)
        sighting = member(key, of, "sighting", NUMBER, or_null=True)
        require((last_seen is None) != (sighting is None), INCONSISTENT, key, None, f"topic {name}: last_seen {last_seen}, sighting {sighting}")
        if sighting is not None:
            require(sighting in self.last_seen, INCONSISTENT, self.key, None, f"topic {name} is in sighting {sighting}, which is not there")
            last_seen = self.last_seen[sighting]
        first_seen = count_member(key, of, "first_seen")
        require(1 <= first_seen <= last_seen <= self.sequence, INCONSISTENT, key, None, f"topic {name} seen from {first_seen} to {last_seen}")
        member(key, of, "internal", BOOLEAN)
        int32_member(key, of, "replication_factor", -(2**31))
        config = member(key, of, "config", OBJECT, or_null=True)
        require(config is None or all(isinstance(value, str) for value in config.values()), INCONSISTENT, key, None, f"config of topic {name}")
        return member(key, of, "deleted", BOOLEAN)

    def _check_totals(self) -> None:
        key, totals = self.key, member(self.key, self.sealed.members, "totals", OBJECT)
        states = [partition.members for partition in self.partitions]
        incomplete: dict[str, int] = {}
        for partition in self.partitions:
            if partition.incomplete is not None:
                incomplete[partition.incomplete] = incomplete.get(partition.incomplete, 0) + 1
        expired = sum(state["expired"]["records"] for state in states if state.get("expired") is not None)
        sums = [sum(state[name] for state in states) for name in ("segments", "records", "stored_bytes", "raw_bytes")]
        require(max(*sums, expired) < 2**64, INCONSISTENT, key, None, f"sums of partitions: {sums}, expired records: {expired}")
        low = [state["min_timestamp"] for state in states if state["records"] > 0]
        high = [state["max_timestamp"] for state in states if state.get("max_timestamp") is not None]
        for name, found in (
            ("topics", self.topics),
            ("partitions", len(states)),
            *((name, sum(state[name] for state in states)) for name in ("segments", "records", "stored_bytes", "raw_bytes")),
            ("min_timestamp", least(low)),
            ("max_timestamp", max(high, default=None)),
            ("incomplete", incomplete),
        ):
            require(totals.get(name) == found, INCONSISTENT, key, None, f"totals: {name} is {totals.get(name)!r}, the rows' is {found!r}")

    def _incomplete(self, row: Row) -> str | None:
        """Returns why records of a partition are missing; None if none is."""
        incomplete = member(row.table, row.members, "incomplete", OBJECT, or_null=True)
        if incomplete is None:
            return None
        reason = member(row.table, incomplete, "reason", STRING)
        require(re.fullmatch("[a-z_]+", reason) is not None, INCONSISTENT, row.table, None, f"reason {reason!r}")
        member(row.table, incomplete, "detail", STRING)
        return reason

    def _lines(self, answer: dict, count: str, format: str) -> list[dict]:
        """Returns the lines of groups or ACLs."""
        named = member(self.key, answer, "object", OBJECT)
        check_reference(self.key, named, MAX_PACKED_RAW)
        key = f"cluster/{named['sha256']}.json.zst"
        lines = [parse_json(key, line) for line in self.repository.packed(key, named, format)]
        stated = count_member(self.key, answer, count)
        require(stated == len(lines), INCONSISTENT, key, None, f"{len(lines)} lines, the snapshot states {stated}")
        return lines

    def _groups(self, groups: dict) -> Iterator[Group]:
        key = self.key
        seen = count_member(key, groups, "seen")
        require(1 <= seen <= self.sequence, INCONSISTENT, key, None, f"groups seen by snapshot {seen}")
        require(count_member(key, groups, "read_after") < seen, INCONSISTENT, key, None, f"groups of snapshot {seen} were not read before it")
        member(key, groups, "taken_at", STRING)
        for group in self._ascending(self._lines(groups, "groups", "kbk-groups"), "group", STRING):
            name = group["group"]
            member(key, group, "type", STRING, or_null=True)
            member(key, group, "state", STRING, or_null=True)
            member(key, group, "taken_at", STRING, or_null=True)
            offsets = {}
            for topic in self._ascending(member(key, group, "topics", ARRAY), "topic", STRING):
                require(_is_topic(topic["topic"]), INCONSISTENT, key, None, f"topic name {topic['topic']!r} of group {name!r}")
                hex_member(key, topic, "topic_id", 32)
                member(key, topic, "taken_at", STRING, or_null=True)
                partitions = list(self._ascending(member(key, topic, "partitions", ARRAY), "partition", NUMBER))
                require(partitions, INCONSISTENT, key, None, f"no partitions of topic {topic['topic']} of group {name!r}")
                for partition in partitions:
                    int32_member(key, partition, "partition")
                    if member(key, partition, "leader_epoch", NUMBER, or_null=True) is not None:
                        int32_member(key, partition, "leader_epoch")
                    member(key, partition, "metadata", STRING)
                    offsets[topic["topic"], partition["partition"]] = offset_member(key, partition, "offset")
            yield Group(name, offsets)

    def _acls(self, acls: dict) -> Iterator[tuple[str, ...]]:
        key, before = self.key, None
        seen = count_member(key, acls, "seen")
        require(1 <= seen <= self.sequence, INCONSISTENT, key, None, f"acls seen by snapshot {seen}")
        require(count_member(key, acls, "read_after") < seen, INCONSISTENT, key, None, f"acls of snapshot {seen} were not read before it")
        member(key, acls, "taken_at", STRING)
        authorizer = member(key, acls, "authorizer", BOOLEAN)
        left_out = count_member(key, acls, "left_out")
        bindings = self._lines(acls, "acls", "kbk-acls")
        require(authorizer or (not bindings and left_out == 0), INCONSISTENT, key, None, "acls of a cluster without an authorizer")
        for binding in bindings:
            values = tuple(member(key, binding, name, STRING) for name in BINDING)
            for name, value in zip(BINDING, values):
                is_word = name not in ("resource_name", "principal", "host")
                require(not is_word or re.fullmatch("[A-Z0-9_]+", value) is not None, INCONSISTENT, key, None, f"{name} is {value!r}")
            require(before is None or before < values, INCONSISTENT, key, None, f"binding {values!r} is out of order")
            before = values
            yield values

    def _ascending(self, items: list, order: str, kind: type) -> Iterator[dict]:
        """Yields items, checked to be in strictly ascending order of one of their members."""
        before = None
        for item in items:
            value = member(self.key, item, order, kind)
            # Python orders text by code points, which is the order of the UTF-8 bytes.
            require(before is None or before < value, INCONSISTENT, self.key, None, f"{order} {value!r} is out of order")
            before = value
            yield item

    def find(self, topic: str, partition: int, topic_id: str | None = None) -> Partition:
        """Finds a partition; of several topics of one name, in the one that was first seen last."""
        found = [p for p in self.partitions if p.topic == topic and p.partition == partition and topic_id in (None, p.topic_id)]
        if not found:
            raise KeyError(f"{self.key} has no partition {partition} of topic {topic}")
        return found[-1]

    def entries(self, partition: Partition) -> list[Entry]:
        """Returns all segments of a partition, after every check that the index allows."""
        of, key = partition.members, partition.members["table"]
        base_offset, end_offset = offset_member(key, of, "base_offset"), offset_member(key, of, "end_offset")
        require(base_offset <= end_offset, INCONSISTENT, key, None, f"coverage {base_offset} to {end_offset}")
        # As the source stated them: section 11.4 allows any relation between these and the coverage.
        for name in ("log_start_offset", "high_watermark", "last_stable_offset"):
            signed_member(key, of, name)
        lowest = base_offset
        for lost in of["lost"]:
            first, end = offset_member(key, lost, "base_offset"), offset_member(key, lost, "end_offset")
            require(lowest <= first < end <= end_offset, INCONSISTENT, key, None, f"lost {lost!r}")
            cause = member(key, lost, "cause", STRING, or_null=True)
            require(cause in (None, "damaged"), INCONSISTENT, key, None, f"cause {cause!r} of lost offsets")
            lowest = end

        place = (partition.topic, partition.topic_id, partition.partition)
        changes = of["changes"]
        for row in self.segments.get(place, []):  # a reader may leave out runs that have none of these commits
            first, last = row.commits
            known = any(first <= change <= last for change in changes) or (len(changes) == MAX_CHANGES and first < changes[-1])
            require(known, INCONSISTENT, key, None, f"a segment is in the commits {first} to {last}, the partition's changes are {changes}")
        entries = [self._entry(partition, row) for row in self.segments.get(place, [])]
        at = base_offset
        for entry in entries:
            require(entry.base_offset == at, INCONSISTENT, key, None, f"{entry.key} begins at {entry.base_offset}, not at {at}")
            at = entry.end_offset
        require(at == end_offset, INCONSISTENT, key, None, f"partition {partition.partition} of topic {partition.topic} ends at {end_offset}, its segments at {at}")
        timed = [entry for entry in entries if entry.records > 0]
        for name, found in (
            ("segments", len(entries)),
            ("records", sum(entry.records for entry in entries)),
            ("stored_bytes", sum(entry.size for entry in entries)),
            ("raw_bytes", sum(entry.raw_bytes for entry in entries)),
            ("min_timestamp", least([entry.min_timestamp for entry in timed])),
            ("max_timestamp", max((entry.max_timestamp for entry in timed), default=None)),
        ):
            stated = member(key, of, name, NUMBER, or_null=name.endswith("timestamp"))
            require(stated == found, INCONSISTENT, key, None,
                    f"partition {partition.partition} of topic {partition.topic}: {name} is {stated}, the segments' is {found}")
        return entries

    def _entry(self, partition: Partition, row: Row) -> Entry:
        table, item = row.table, row.members
        base_offset, segment_id = offset_member(table, item, "base_offset"), hex_member(table, item, "segment_id", 32)
        key = f"data/{partition.topic}/{partition.topic_id}/{partition.partition}/{base_offset:020}-{segment_id[:16]}.kseg"
        entry = Entry(
            key=key,
            segment_id=segment_id,
            size=count_member(table, item, "size"),
            footer_position=count_member(table, item, "footer_position"),
            blake3=hex_member(table, item, "blake3", 64),
            base_offset=base_offset,
            end_offset=offset_member(table, item, "end_offset"),
            min_timestamp=nullable_time(table, item, "min_timestamp"),
            max_timestamp=signed_member(table, item, "max_timestamp"),
            min_known_timestamp=nullable_time(table, item, "min_known_timestamp"),
            records=count_member(table, item, "records"),
            raw_bytes=count_member(table, item, "raw_bytes"),
            timestamp_type=member(table, item, "timestamp_type", STRING),
            content_digest=None if item.get("content_digest") is None else hex_member(table, item, "content_digest", 32),
            rendered=_array(table, item, "rendered", len(kseg.VIEWS), lambda size: type(size) is int and 0 <= size <= kseg.MASK_64),
            whole_lines=_array(table, item, "whole_lines", 2, lambda flag: isinstance(flag, bool)),
            features=count_member(table, item, "features") if item.get("features") is not None else 0,
        )
        is_computed = not entry.features & kseg.FEATURE_NOT_COMPUTED
        require(is_computed == (entry.min_timestamp is not None) == (entry.content_digest is not None), INCONSISTENT, table, None,
                f"{key}: features {entry.features:#x}, min_timestamp {entry.min_timestamp}, content_digest {entry.content_digest}")
        stated = (entry.min_known_timestamp, entry.rendered, entry.whole_lines)
        needed = entry.features & (kseg.FEATURE_KEY_FILTER | kseg.FEATURE_BATCHES) == kseg.FEATURE_BATCHES
        require(is_computed or stated == (None, None, None) and needed, INCONSISTENT, table, None, f"{key}: it states {stated}, and it is not computed")
        require(entry.footer_position < entry.size, INCONSISTENT, table, None, f"{key}: a footer at {entry.footer_position} of {entry.size} bytes")
        require(entry.base_offset < entry.end_offset, INCONSISTENT, table, None, f"{key}: coverage {entry.base_offset} to {entry.end_offset}")
        require(entry.timestamp_type in ("CreateTime", "LogAppendTime"), INCONSISTENT, table, None, f"{key}: timestamp_type {entry.timestamp_type!r}")
        return entry

    def segment(self, partition: Partition, entry: Entry, whole: bool = False) -> kseg.Segment:
        """Opens (`whole`: verifies) the segment and compares it with its entry and its partition."""
        data = self.repository.read(entry.key)
        require(len(data) >= entry.size, TRUNCATED, entry.key, None, f"{len(data)} bytes, its row states {entry.size}")
        require(len(data) == entry.size, MISPLACED, entry.key, None, f"{len(data)} bytes, its row states {entry.size}")
        if whole:
            require(blake3(data).hexdigest() == entry.blake3, CHECKSUM, entry.key, None, "blake3 of the object")
        try:
            segment = kseg.verify(data) if whole else kseg.open(data)
        except FormatError as error:
            raise FormatError(error.error_class, f"{entry.key}: {error.what}", error.position, error.detail) from None

        header, statistics = segment.header, segment.statistics
        for name, found, wanted in (
            ("segment_id", header.segment_id.hex(), entry.segment_id),
            ("topic", header.topic, partition.topic),
            ("topic_id", header.topic_id.hex(), partition.topic_id),
            ("partition", header.partition, partition.partition),
        ):
            require(found == wanted, MISPLACED, entry.key, None, f"{name} is {found}, expected {wanted}")
        for name, found, wanted in (
            ("footer_position", segment.trailer.footer_position, entry.footer_position),
            ("base_offset", statistics.base_offset, entry.base_offset),
            ("end_offset", statistics.end_offset, entry.end_offset),
            ("min_timestamp", statistics.min_timestamp if segment.is_computed else None, entry.min_timestamp),
            ("max_timestamp", statistics.max_timestamp, entry.max_timestamp),
            ("min_known_timestamp", statistics.min_known_timestamp, kseg.I64_MAX if entry.min_known_timestamp is None else entry.min_known_timestamp),
            ("record_count", statistics.record_count, entry.records),
            ("raw_bytes", statistics.raw_bytes, entry.raw_bytes),
            ("timestamp_type", ("CreateTime", "LogAppendTime")[header.timestamp_type], entry.timestamp_type),
            ("content_digest", f"{statistics.content_digest:032x}" if segment.is_computed else None, entry.content_digest),
            ("rendered", _totals(segment), entry.rendered),
            ("whole_lines", segment.whole_lines and list(segment.whole_lines.values()), entry.whole_lines),
            ("features", header.incompatible_features, entry.features),
        ):
            require(found == wanted, INCONSISTENT, entry.key, None, f"{name} is {found}, its row states {wanted}")
        return segment

    def records(self, partition: Partition) -> Iterator[kseg.Record]:
        for entry in self.entries(partition):
            yield from self.segment(partition, entry).records()

    def rendered(self, partition: Partition, view: str) -> Iterator[bytes]:
        """Section 10, record by record."""
        for entry in self.entries(partition):
            segment = self.segment(partition, entry)
            for record in segment.records():
                yield kseg.render([record], view, segment.header)

    def offset_for_time(self, partition: Partition, timestamp: int) -> int | None:
        """Section 5 over all segments: the offset of the first record with a timestamp of at least `timestamp`."""
        for entry in self.entries(partition):
            if entry.records > 0 and entry.max_timestamp >= timestamp:
                return self.segment(partition, entry).offset_for_time(timestamp).offset
        return None

    def verify(self) -> dict:
        """Verifies everything that this snapshot names."""
        if self.parent is not None:
            # A parent may have been removed; one that exists must be the one that is named.
            key = f"snapshots/{self.parent['sequence']:020}.json"
            if self.parent["sequence"] in self.repository.sequences():
                parent = parse_sealed(key, self.repository.read(key))
                require(parent.sha256 == self.parent["sha256"], MISPLACED, key, None, f"not the parent that {self.key} names")
        counts = {"segments": 0, "records": 0, "bytes": 0}
        for partition in self.partitions:
            for entry in self.entries(partition):
                self.segment(partition, entry, whole=True)
                counts["segments"] += 1
                counts["records"] += entry.records
                counts["bytes"] += entry.size
        groups = None if self.groups is None else len(self.groups)
        acls = None if self.acls is None else len(self.acls)
        incomplete = [[p.topic, p.partition, p.incomplete] for p in self.partitions if p.incomplete is not None]
        return {"ok": True, "sequence": self.sequence, "incomplete": incomplete, "partitions": len(self.partitions), "groups": groups, "acls": acls, **counts}


class Restore:
    """What a restore left (section 11.7)."""

    def __init__(self, repository: Repository, name: str) -> None:
        self.repository, self.name = repository, name
        self.begun = begun = self._read("begun.json", "kbk-restore")
        found = hex_member(begun.key, begun.members, "repository_id", 32)
        require(found == repository.repository_id, MISPLACED, begun.key, None, f"repository_id {found}, kbk.json has {repository.repository_id}")
        member(begun.key, begun.members, "append", BOOLEAN)
        self.topics = member(begun.key, begun.members, "topics", ARRAY)

    def _read(self, file: str, name: str) -> Sealed:
        key = f"restores/{self.name}/{file}"
        sealed = parse_sealed(key, self.repository.read(key))
        check_format(sealed, name)
        restore = member(key, sealed.members, "restore", STRING)
        require(restore == self.name, MISPLACED, key, None, f"restore {restore!r}")
        return sealed

    def _exists(self, file: str) -> bool:
        return (self.repository.folder / "restores" / self.name / file).exists()

    def verify(self) -> None:
        """Checks the targets, and the offset map of each partition if the restore has finished."""
        if self._exists("targets.json"):
            sealed = self._read("targets.json", "kbk-restore-targets")
            targets = member(sealed.key, sealed.members, "topics", ARRAY)
            for topic in targets:
                hex_member(sealed.key, topic, "topic_id", 32)
            named = [member(sealed.key, topic, "target", STRING) for topic in targets]
            begun = [member(self.begun.key, topic, "target", STRING) for topic in self.topics]
            require(named == begun, INCONSISTENT, sealed.key, None, f"targets {named}, begun.json has {begun}")
        if self._exists("discarded.json"):
            discarded = self._read("discarded.json", "kbk-restore-discarded")
            member(discarded.key, discarded.members, "discarded_at", STRING)
        if self._exists("done.json"):
            done = self._read("done.json", "kbk-restore-done")
            records = 0
            for partition in member(done.key, done.members, "partitions", ARRAY):
                records += self._map(done.key, partition)
            stated = count_member(done.key, done.members, "records")
            require(stated == records, INCONSISTENT, done.key, None, f"{stated} records, its partitions have {records}")

    def _map(self, key: str, partition: object) -> int:
        """Reads the pages of a partition's offset map from the last to the first; returns its number of records."""
        place = (member(key, partition, "topic", STRING), hex_member(key, partition, "topic_id", 32), int32_member(key, partition, "partition"))
        topic, restored = self._restored(key, place)
        offsets = {int32_member(self.begun.key, target, "partition"): offset_member(self.begun.key, target, "offset")
                   for target in member(self.begun.key, topic, "targets", ARRAY)}
        total = records = count_member(key, partition, "records")
        end, starts = None, {}  # of the page behind: where it begins, and its lowest offset in each target partition
        sha256 = member(key, partition, "page", STRING, or_null=True)
        while sha256 is not None:
            require(re.fullmatch("[0-9a-f]{64}", sha256) is not None, INCONSISTENT, key, None, f"page {sha256!r}")
            page = self._read(f"map/{sha256[:32]}.json", "kbk-offset-map")
            key, members = page.key, page.members
            require(page.sha256 == sha256, MISPLACED, key, None, f"sha256 {page.sha256}")
            found = (member(key, members, "topic", STRING), hex_member(key, members, "topic_id", 32), int32_member(key, members, "partition"))
            require(found == place, MISPLACED, key, None, f"a page of {found}")
            base, page_end = offset_member(key, members, "base_offset"), offset_member(key, members, "end_offset")
            require(end is None or page_end == end, INCONSISTENT, key, None, f"ends at {page_end}, the next page begins at {end}")
            inside = offset_member(self.begun.key, restored, "base_offset") <= base and page_end <= offset_member(self.begun.key, restored, "end_offset")
            require(inside, INCONSISTENT, key, None, f"covers {base} to {page_end}")
            require(count_member(key, members, "records") == records, INCONSISTENT, key, None, f"states other than {records} records")
            runs = member(key, members, "runs", ARRAY)
            require(len(runs) <= MAX_MAP_RUNS, INCONSISTENT, key, None, f"{len(runs)} runs")
            before = page_end
            for run in reversed(runs):
                good = isinstance(run, list) and len(run) == 4 and all(type(number) is int for number in run)
                require(good, INCONSISTENT, key, None, f"run {run!r}")
                source, number, target, count = run
                require(count >= 1 and base <= source and source + count <= before, INCONSISTENT, key, None, f"run {run} is out of order")
                allowed = restored.get("target_partition") in (None, number) and number in offsets and target >= offsets[number]
                require(allowed, INCONSISTENT, key, None, f"run {run} is not where begun.json says")
                ascends = target + count <= starts.get(number, kseg.I64_MAX)
                require(ascends, INCONSISTENT, key, None, f"run {run} ends above a later record in the target, at {starts.get(number)}")
                before, starts[number] = source, target
                records -= count
            end, sha256 = base, member(key, members, "previous", STRING, or_null=True)
        require(records == 0, INCONSISTENT, key, None, f"{records} records are in no page")
        return total

    def _restored(self, key: str, place: tuple) -> tuple[dict, dict]:
        for topic in self.topics:
            for restored in member(self.begun.key, topic, "partitions", ARRAY):
                if (topic.get("topic"), topic.get("topic_id"), restored.get("partition")) == place:
                    return topic, restored
        raise FormatError(INCONSISTENT, key, None, f"{place} is not in {self.begun.key}")


def _array(table: str, item: object, name: str, length: int, good: Callable[[object], bool]) -> list | None:
    """Returns a member that is an array of `length` valid items, or null."""
    array = member(table, item, name, ARRAY, or_null=True)
    require(array is None or (len(array) == length and all(map(good, array))), INCONSISTENT, table, None, f"{name} is {array!r}")
    return array


def _totals(segment: kseg.Segment) -> list[int] | None:
    if segment.rendered_sizes is None:
        return None
    return [ends[-1] if ends else 0 for ends in (segment.rendered_sizes[view] for view in kseg.VIEWS)]


def _is_topic(name: str) -> bool:
    return re.fullmatch(_TOPIC, name) is not None and name not in (".", "..")


# --------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads a kbk repository in a local folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("topic", nargs="?")
    parser.add_argument("partition", nargs="?", type=int)
    parser.add_argument("--view", choices=kseg.VIEWS, default="records.jsonl", help="the rendering; records.jsonl is the default")
    parser.add_argument("--topic-id", help="32 hex digits, where the snapshot has several topics of that name; default: the last one")
    parser.add_argument("--sequence", type=int, help="of the snapshot; the newest is the default")
    parser.add_argument("--verify", action="store_true", help="check everything the snapshot names, print JSON")
    parser.add_argument("--list", action="store_true", help="print the partitions, one JSON object a line")
    parser.add_argument("--claims", action="store_true", help="print the claims, one JSON object a line")
    arguments = parser.parse_args()
    if not (arguments.verify or arguments.list or arguments.claims or arguments.partition is not None):
        parser.error("TOPIC and PARTITION, or --verify, or --list")
    try:
        repository = Repository(arguments.folder)
        if arguments.claims:
            for claim in repository.claims():
                print(json.dumps(claim))
            return 0
        if arguments.verify:
            for restore in repository.restores():
                restore.verify()
        snapshot = repository.snapshot(arguments.sequence)
        if snapshot is None:  # a repository that nothing was committed to
            if arguments.verify:
                print(json.dumps({"ok": True, "sequence": None}))
            elif not arguments.list:
                raise KeyError("the repository has no snapshot")
        elif arguments.verify:
            print(json.dumps(snapshot.verify()))
        elif arguments.list:
            for p in snapshot.partitions:
                print(json.dumps({"topic": p.topic, "topic_id": p.topic_id, "partition": p.partition, "base_offset": p.members.get("base_offset"),
                                  "end_offset": p.members.get("end_offset"), "records": p.members.get("records"), "incomplete": p.incomplete}))
        else:
            partition = snapshot.find(arguments.topic, arguments.partition, arguments.topic_id)
            for text in snapshot.rendered(partition, arguments.view):
                sys.stdout.buffer.write(text)
    except FormatError as error:
        sys.stdout.flush()
        print(json.dumps(kseg.error_to_json(error)), file=sys.stdout if arguments.verify else sys.stderr)
        return 1
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
