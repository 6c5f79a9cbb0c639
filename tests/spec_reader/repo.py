"""A strict reader of kbk repositories in a local folder, written from SPEC.md section 11 alone.

    python repo.py DIR TOPIC PARTITION [--view VIEW] [--topic-id ID] [--sequence N]
                                                        all records of a partition, rendered as in SPEC.md section 10
    python repo.py DIR --verify [--sequence N]          checks everything that the snapshot names, and all restores, and prints JSON
    python repo.py DIR --list [--sequence N]            partitions of the snapshot, one JSON object per line
    python repo.py DIR --claims                         the claims that are there, one JSON object per line

It reads in the order of section 11.6: the snapshot with the highest sequence (or the requested one), then pages, then segments.
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
from kseg import CHECKSUM, INCONSISTENT, LIMIT, MISPLACED, TRUNCATED, UNSUPPORTED, FormatError, require

MAX_JSON = 268435456  # section 6
SEAL_LENGTH = 77  # ,"sha256":"<64 digits>"} ; a line feed follows
MAX_PAGE_ENTRIES = 512

_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n')
_TOPIC = r"(?P<topic>[a-zA-Z0-9._-]{1,249})"
_PLACE = _TOPIC + r"/(?P<topic_id>[0-9a-f]{32})/(?P<partition>0|[1-9][0-9]{0,9})"
SEGMENT_KEY = re.compile(r"data/" + _PLACE + r"/(?P<base>[0-9]{20})-(?P<id>[0-9a-f]{16})\.kseg")
PAGE_KEY = re.compile(r"index/" + _PLACE + r"/(?P<base>[0-9]{20})-(?P<digest>[0-9a-f]{16})\.json")
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
    require(version >= 1, INCONSISTENT, sealed.key, None, f"version {version}")
    require(version == 1, UNSUPPORTED, sealed.key, None, f"version {version}")


# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """An entry of a page."""

    key: str
    segment_id: str
    size: int
    footer_position: int
    sha256: str
    base_offset: int
    end_offset: int
    min_timestamp: int
    max_timestamp: int
    records: int
    raw_bytes: int
    timestamp_type: str
    content_digest: str
    rendered: list[int] | None
    whole_lines: list[bool] | None


@dataclass(frozen=True)
class Partition:
    topic: str
    topic_id: str
    partition: int
    incomplete: str | None  # the reason; None as well where the topic is deleted
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
        return sorted(int(match["sequence"]) for match in matches if match and int(match["sequence"]) >= 1)

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
        self.partitions = list(self._partitions())
        groups = member(key, members, "groups", OBJECT, or_null=True)
        self.groups = None if groups is None else list(self._groups(groups))
        acls = member(key, members, "acls", OBJECT, or_null=True)
        self.acls = None if acls is None else list(self._acls(acls))

    def _partitions(self) -> Iterator[Partition]:
        key, before = self.key, None
        ids: set[tuple[str, str]] = set()
        live: set[str] = set()
        for topic in member(key, self.sealed.members, "topics", ARRAY):
            name = member(key, topic, "name", STRING)
            require(_is_topic(name), INCONSISTENT, key, None, f"topic name {name!r}")
            topic_id = hex_member(key, topic, "topic_id", 32)
            if member(key, topic, "kafka_id", STRING, or_null=True) is not None:
                hex_member(key, topic, "kafka_id", 32)
            first_seen, last_seen = count_member(key, topic, "first_seen"), count_member(key, topic, "last_seen")
            require(1 <= first_seen <= last_seen <= self.sequence, INCONSISTENT, key, None, f"topic {name} seen from {first_seen} to {last_seen}")
            require(before is None or before < (name, first_seen), INCONSISTENT, key, None, f"topic {name} is out of order")
            before = (name, first_seen)
            require((name, topic_id) not in ids, INCONSISTENT, key, None, f"topic {name} with the id {topic_id} is listed twice")
            ids.add((name, topic_id))
            deleted = member(key, topic, "deleted", BOOLEAN)
            if not deleted:
                require(name not in live, INCONSISTENT, key, None, f"two topics {name} are not deleted")
                live.add(name)
            member(key, topic, "internal", BOOLEAN)
            int32_member(key, topic, "replication_factor", -(2**31))
            config = member(key, topic, "config", OBJECT, or_null=True)
            require(config is None or all(isinstance(value, str) for value in config.values()), INCONSISTENT, key, None, f"config of topic {name}")
            for index, partition in enumerate(member(key, topic, "partitions", ARRAY)):
                number = int32_member(key, partition, "partition")
                require(number == index, INCONSISTENT, key, None, f"partition {number} of topic {name} is at index {index}")
                reason = self._incomplete(partition)
                yield Partition(name, topic_id, number, None if deleted else reason, partition)

    def _incomplete(self, partition: object) -> str | None:
        """Returns why records of a partition are missing; None if none is."""
        incomplete = member(self.key, partition, "incomplete", OBJECT, or_null=True)
        if incomplete is None:
            return None
        reason = member(self.key, incomplete, "reason", STRING)
        require(re.fullmatch("[a-z_]+", reason) is not None, INCONSISTENT, self.key, None, f"reason {reason!r}")
        member(self.key, incomplete, "detail", STRING)
        return reason

    def _groups(self, groups: dict) -> Iterator[Group]:
        key = self.key
        seen = count_member(key, groups, "seen")
        require(1 <= seen <= self.sequence, INCONSISTENT, key, None, f"groups seen by snapshot {seen}")
        require(count_member(key, groups, "read_after") < seen, INCONSISTENT, key, None, f"groups of snapshot {seen} were not read before it")
        member(key, groups, "taken_at", STRING)
        for group in self._ascending(groups, "groups", "group", STRING):
            name = group["group"]
            member(key, group, "type", STRING, or_null=True)
            member(key, group, "state", STRING, or_null=True)
            member(key, group, "taken_at", STRING, or_null=True)
            offsets = {}
            for topic in self._ascending(group, "topics", "topic", STRING):
                require(_is_topic(topic["topic"]), INCONSISTENT, key, None, f"topic name {topic['topic']!r} of group {name!r}")
                hex_member(key, topic, "topic_id", 32)
                member(key, topic, "taken_at", STRING, or_null=True)
                partitions = list(self._ascending(topic, "partitions", "partition", NUMBER))
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
        bindings = member(key, acls, "acls", ARRAY)
        require(authorizer or (not bindings and left_out == 0), INCONSISTENT, key, None, "acls of a cluster without an authorizer")
        for binding in bindings:
            values = tuple(member(key, binding, name, STRING) for name in BINDING)
            for name, value in zip(BINDING, values):
                is_word = name not in ("resource_name", "principal", "host")
                require(not is_word or re.fullmatch("[A-Z0-9_]+", value) is not None, INCONSISTENT, key, None, f"{name} is {value!r}")
            require(before is None or before < values, INCONSISTENT, key, None, f"binding {values!r} is out of order")
            before = values
            yield values

    def _ascending(self, of: object, name: str, order: str, kind: type) -> Iterator[dict]:
        """Yields the items of an array, checked to be in strictly ascending order of one of their members."""
        before = None
        for item in member(self.key, of, name, ARRAY):
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
        """Returns all segments of a partition, after every check that pages and snapshot allow."""
        key, of = self.key, partition.members
        base_offset, end_offset = offset_member(key, of, "base_offset"), offset_member(key, of, "end_offset")
        require(base_offset <= end_offset, INCONSISTENT, key, None, f"coverage {base_offset} to {end_offset}")
        # As the source stated them: section 11.5 allows any relation between these and the coverage.
        for name in ("log_start_offset", "high_watermark", "last_stable_offset"):
            signed_member(key, of, name)
        lowest = base_offset
        for lost in member(key, of, "lost", ARRAY):
            first, end = offset_member(key, lost, "from"), offset_member(key, lost, "to")
            require(lowest <= first < end <= end_offset, INCONSISTENT, key, None, f"lost {lost!r}")
            lowest = end

        pages = member(key, of, "pages", ARRAY)
        entries: list[Entry] = []
        for page in pages:
            of_page = self._page(partition, page)
            if entries:
                require(of_page[0].base_offset == entries[-1].end_offset, INCONSISTENT, member(key, page, "key", STRING), None,
                        f"begins at {of_page[0].base_offset}, the page before ends at {entries[-1].end_offset}")
            entries += of_page

        covered = (entries[0].base_offset, entries[-1].end_offset) if entries else (base_offset, base_offset)
        require((base_offset, end_offset) == covered, INCONSISTENT, key, None,
                f"partition {partition.partition} of topic {partition.topic}: coverage {base_offset} to {end_offset}, the pages' is {covered}")
        for name, found in (
            ("records", sum(entry.records for entry in entries)),
            ("stored_bytes", sum(entry.size for entry in entries)),
            ("raw_bytes", sum(entry.raw_bytes for entry in entries)),
        ):
            stated = member(key, of, name, NUMBER)
            require(stated == found, INCONSISTENT, key, None,
                    f"partition {partition.partition} of topic {partition.topic}: {name} is {stated}, the entries' sum is {found}")
        return entries

    def _page(self, partition: Partition, reference: object) -> list[Entry]:
        key = member(self.key, reference, "key", STRING)
        match = PAGE_KEY.fullmatch(key)
        require(match is not None, INCONSISTENT, self.key, None, f"{key!r} is not the key of a page")
        _check_place(match, partition, self.key, key)
        sha256 = hex_member(self.key, reference, "sha256", 64)
        require(match["digest"] == sha256[:16], INCONSISTENT, self.key, None, f"{key} does not carry the digest {sha256}")

        sealed = parse_sealed(key, self.repository.read(key))
        require(sealed.sha256 == sha256, MISPLACED, key, None, f"an intact page, but the snapshot names {sha256}")
        check_format(sealed, "kbk-page")
        place = (member(key, sealed.members, "topic", STRING), member(key, sealed.members, "topic_id", STRING),
                 member(key, sealed.members, "partition", NUMBER))
        require(place == (partition.topic, partition.topic_id, partition.partition), MISPLACED, key, None, f"a page of {place}")

        entries: list[Entry] = []
        for item in member(key, sealed.members, "segments", ARRAY):
            entry = self._entry(partition, key, item)
            if entries:
                require(entry.base_offset == entries[-1].end_offset, INCONSISTENT, key, None,
                        f"{entry.key} begins at {entry.base_offset}, the entry before ends at {entries[-1].end_offset}")
            entries.append(entry)
        require(1 <= len(entries) <= MAX_PAGE_ENTRIES, INCONSISTENT, key, None, f"{len(entries)} entries")
        require(int(match["base"]) == entries[0].base_offset, INCONSISTENT, key, None, f"begins at {entries[0].base_offset}")
        for name, found in (("base_offset", entries[0].base_offset), ("end_offset", entries[-1].end_offset), ("segments", len(entries))):
            stated = member(self.key, reference, name, NUMBER)
            require(stated == found, INCONSISTENT, self.key, None, f"{name} of {key} is {stated}, the page's is {found}")
        return entries

    def _entry(self, partition: Partition, page: str, item: object) -> Entry:
        key = member(page, item, "key", STRING)
        match = SEGMENT_KEY.fullmatch(key)
        require(match is not None, INCONSISTENT, page, None, f"{key!r} is not the key of a segment")
        _check_place(match, partition, page, key)
        entry = Entry(
            key=key,
            segment_id=hex_member(page, item, "segment_id", 32),
            size=count_member(page, item, "size"),
            footer_position=count_member(page, item, "footer_position"),
            sha256=hex_member(page, item, "sha256", 64),
            base_offset=offset_member(page, item, "base_offset"),
            end_offset=offset_member(page, item, "end_offset"),
            min_timestamp=signed_member(page, item, "min_timestamp"),
            max_timestamp=signed_member(page, item, "max_timestamp"),
            records=count_member(page, item, "records"),
            raw_bytes=count_member(page, item, "raw_bytes"),
            timestamp_type=member(page, item, "timestamp_type", STRING),
            content_digest=hex_member(page, item, "content_digest", 32),
            rendered=_array(page, item, "rendered", len(kseg.VIEWS), lambda size: type(size) is int and 0 <= size <= kseg.MASK_64),
            whole_lines=_array(page, item, "whole_lines", 2, lambda flag: isinstance(flag, bool)),
        )
        require(int(match["base"]) == entry.base_offset and match["id"] == entry.segment_id[:16], INCONSISTENT, page, None,
                f"{key} names another base_offset or segment_id than its entry")
        require(entry.footer_position < entry.size, INCONSISTENT, page, None, f"{key}: a footer at {entry.footer_position} of {entry.size} bytes")
        require(entry.base_offset < entry.end_offset, INCONSISTENT, page, None, f"{key}: coverage {entry.base_offset} to {entry.end_offset}")
        require(entry.timestamp_type in ("CreateTime", "LogAppendTime"), INCONSISTENT, page, None, f"{key}: timestamp_type {entry.timestamp_type!r}")
        return entry

    def segment(self, partition: Partition, entry: Entry, whole: bool = False) -> kseg.Segment:
        """Opens (`whole`: verifies) the segment and compares it with its entry and its partition."""
        data = self.repository.read(entry.key)
        require(len(data) >= entry.size, TRUNCATED, entry.key, None, f"{len(data)} bytes, its entry states {entry.size}")
        require(len(data) == entry.size, MISPLACED, entry.key, None, f"{len(data)} bytes, its entry states {entry.size}")
        if whole:
            require(hashlib.sha256(data).hexdigest() == entry.sha256, CHECKSUM, entry.key, None, "sha256 of the object")
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
            ("min_timestamp", statistics.min_timestamp, entry.min_timestamp),
            ("max_timestamp", statistics.max_timestamp, entry.max_timestamp),
            ("record_count", statistics.record_count, entry.records),
            ("raw_bytes", statistics.raw_bytes, entry.raw_bytes),
            ("timestamp_type", ("CreateTime", "LogAppendTime")[header.timestamp_type], entry.timestamp_type),
            ("content_digest", f"{statistics.content_digest:032x}", entry.content_digest),
            ("rendered", _totals(segment), entry.rendered),
            ("whole_lines", segment.whole_lines and list(segment.whole_lines.values()), entry.whole_lines),
        ):
            require(found == wanted, INCONSISTENT, entry.key, None, f"{name} is {found}, its entry states {wanted}")
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


def _array(page: str, item: object, name: str, length: int, good: Callable[[object], bool]) -> list | None:
    """Returns a member that is an array of `length` valid items, or null."""
    array = member(page, item, name, ARRAY, or_null=True)
    require(array is None or (len(array) == length and all(map(good, array))), INCONSISTENT, page, None, f"{name} is {array!r}")
    return array


def _totals(segment: kseg.Segment) -> list[int] | None:
    if segment.rendered_sizes is None:
        return None
    return [ends[-1] if ends else 0 for ends in (segment.rendered_sizes[view] for view in kseg.VIEWS)]


def _is_topic(name: str) -> bool:
    return re.fullmatch(_TOPIC, name) is not None and name not in (".", "..")


def _check_place(match: re.Match[str], partition: Partition, named_by: str, key: str) -> None:
    place = (match["topic"], match["topic_id"], int(match["partition"]))
    require(place == (partition.topic, partition.topic_id, partition.partition), INCONSISTENT, named_by, None,
            f"{key} does not belong to partition {partition.partition} of topic {partition.topic}")


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
