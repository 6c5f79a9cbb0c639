//! Each defect is found at the depth that says so and at every deeper one, and nothing is reported of what is intact.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::change::{change, partition_change, topic_change};
use crate::support::{World, place, segment};
use kbk_format::Segment;
use kbk_format::repo::{
    Change, Hex, PartitionChange, PartitionId, SegmentEntry, SegmentHash, Uploaded,
};
use kbk_tools::verify::{
    Check, FilesOptions, FindingKind, VerifyDepth, VerifyOptions, VerifyReport, verify,
    verify_files,
};
use serde_json::json;

fn report(world: &World, depth: VerifyDepth) -> VerifyReport {
    let options = VerifyOptions {
        // The newest one of the defects, which may not be readable.
        snapshots: world
            .runtime
            .block_on(world.repository.sequences())
            .unwrap()
            .split_off(1),
        depth,
        ..VerifyOptions::default()
    };
    let verified = verify(&world.repository, &options, Arc::new(|_: u64| {}));
    world.runtime.block_on(verified)
}

/// A defect, the depth from which on it is found, and what it is called there.
struct Defect {
    what: &'static str,
    from: VerifyDepth,
    kinds: &'static [FindingKind],
    harm: fn(&World),
}

fn first_of_orders(world: &World) -> SegmentEntry {
    world.entries("orders", 0).remove(0)
}

const DEFECTS: &[Defect] = &[
    Defect {
        what: "a damaged snapshot",
        from: VerifyDepth::List,
        kinds: &[FindingKind::DamagedSnapshot],
        harm: |world| world.flip("snapshots/00000000000000000002.json", 100),
    },
    Defect {
        what: "a missing table",
        from: VerifyDepth::List,
        kinds: &[FindingKind::MissingTable],
        harm: |world| fs::remove_file(world.path(&world.tables()[0])).unwrap(),
    },
    Defect {
        what: "a damaged table",
        from: VerifyDepth::List,
        kinds: &[FindingKind::DamagedTable],
        harm: |world| world.flip(&world.tables()[0], 40),
    },
    Defect {
        what: "a missing segment",
        from: VerifyDepth::List,
        kinds: &[FindingKind::MissingSegment],
        harm: |world| fs::remove_file(world.path(&first_of_orders(world).key)).unwrap(),
    },
    Defect {
        what: "a truncated segment",
        from: VerifyDepth::List,
        kinds: &[FindingKind::WrongSize],
        harm: |world| {
            world.harm(&first_of_orders(world).key, |bytes| {
                bytes.truncate(bytes.len() / 2);
            });
        },
    },
    Defect {
        what: "the segment of another partition, which has another size",
        from: VerifyDepth::List,
        kinds: &[FindingKind::WrongSize, FindingKind::OtherSegment],
        harm: |world| {
            let (_, foreign) = segment(&place("payments", 0), &[(0, 1), (1, 1)]);
            fs::write(world.path(&first_of_orders(world).key), foreign).unwrap();
        },
    },
    Defect {
        what: "records that were lost before they were read",
        from: VerifyDepth::List,
        kinds: &[FindingKind::Incomplete],
        harm: |world| {
            world.forge_partition("payments", 0, |state| {
                state["high_watermark"] = json!(400);
                state["incomplete"] = json!({ "reason": "interrupted", "detail": "it was" });
            });
        },
    },
    Defect {
        what: "damaged groups",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::DamagedTable],
        harm: |world| {
            let keys = world.keys();
            let groups = keys.iter().find(|key| key.starts_with("cluster/"));
            world.flip(groups.unwrap(), 20);
        },
    },
    Defect {
        what: "a hole of 200 offsets",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::Hole],
        harm: |world| {
            let mut index = world.forged_index();
            let of_hole = |row: &serde_json::Value| {
                (
                    &row["row"],
                    &row["topic"],
                    &row["partition"],
                    &row["base_offset"],
                ) == (&json!("segment"), &json!("orders"), &json!(0), &json!(200))
            };
            let size = index.rows.iter().find(|row| of_hole(row)).unwrap()["size"].clone();
            index.rows.retain(|row| !of_hole(row));
            // The sums agree, so that listings show nothing.
            let state = index.rows_of("partition", "orders", 0).next().unwrap();
            state["segments"] = json!(state["segments"].as_u64().unwrap() - 1);
            let bytes = state["stored_bytes"].as_u64().unwrap();
            state["stored_bytes"] = json!(bytes - size.as_u64().unwrap());
            index.write();
            let second = world.keys().into_iter().find(|key| {
                key.contains("/orders/") && key.contains("/0/") && key.contains("00200-")
            });
            fs::remove_file(world.path(&second.unwrap())).unwrap();
        },
    },
    Defect {
        what: "an overlap",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::Overlap],
        harm: |world| {
            world.forge_segments("orders", 0, |at, row| {
                if at == 0 {
                    row["end_offset"] = json!(250);
                }
            });
        },
    },
    Defect {
        what: "counts that are not the sums over the segments",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::WrongSums],
        harm: |world| {
            world.forge_partition("orders", 0, |state| state["records"] = json!(601));
        },
    },
    Defect {
        what: "a row that describes another segment",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::OtherSegment],
        harm: |world| {
            world.forge_segments("orders", 1, |at, row| {
                if at == 1 {
                    row["max_timestamp"] = json!(3_000);
                }
            });
        },
    },
    Defect {
        what: "a segment in the place of another one of the same size",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::OtherSegment],
        harm: |world| {
            let entry = first_of_orders(world);
            let rows: Vec<_> = (0..200).map(|o| (o, 1_000 + o * 10)).collect();
            let (_, other) = segment(&place("orders", 0), &rows);
            let mut other = other.clone();
            other.resize(usize::try_from(entry.size).unwrap(), 0);
            fs::write(world.path(&entry.key), other).unwrap();
        },
    },
    Defect {
        what: "a flipped bit in a footer",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::DamagedSegment],
        harm: |world| {
            let entry = first_of_orders(world);
            let footer = usize::try_from(entry.footer_position).unwrap();
            world.flip(&entry.key, footer + 20);
        },
    },
    Defect {
        what: "a damaged page of an offset map",
        from: VerifyDepth::Index,
        kinds: &[FindingKind::DamagedRestore],
        harm: |world| {
            world.restore("r");
            let keys = world.keys();
            let mut pages = keys.iter().filter(|key| key.starts_with("restores/r/"));
            let page = pages.find(|key| key.contains("/orders")).or_else(|| {
                keys.iter()
                    .find(|key| key.starts_with("restores/r/") && key.contains("done"))
            });
            world.flip(page.unwrap(), 60);
        },
    },
    Defect {
        what: "a flipped bit in a block",
        from: VerifyDepth::Blocks,
        kinds: &[FindingKind::DamagedBlock],
        harm: |world| world.flip(&first_of_orders(world).key, 700),
    },
    Defect {
        what: "zeros instead of 4 KiB",
        from: VerifyDepth::Blocks,
        kinds: &[FindingKind::DamagedBlock],
        harm: |world| {
            world.harm(&first_of_orders(world).key, |bytes| {
                bytes
                    .iter_mut()
                    .skip(512)
                    .take(1024)
                    .for_each(|byte| *byte = 0);
            });
        },
    },
    Defect {
        what: "records that do not have the digest that is stated",
        from: VerifyDepth::Records,
        kinds: &[FindingKind::DamagedSegment, FindingKind::DamagedBlock],
        harm: |world| commit_fixture(world, "digest-wrong"),
    },
    Defect {
        what: "statistics that are not those of the records",
        from: VerifyDepth::Records,
        kinds: &[FindingKind::DamagedSegment, FindingKind::DamagedBlock],
        harm: |world| commit_fixture(world, "statistics-wrong"),
    },
    Defect {
        what: "a flipped bit in a key filter",
        from: VerifyDepth::Blocks,
        kinds: &[FindingKind::DamagedKeyFilter],
        harm: |world| commit_fixture(world, "key-filter-page-crc"),
    },
    Defect {
        what: "a key filter that lacks a key",
        from: VerifyDepth::Records,
        kinds: &[FindingKind::DamagedKeyFilter],
        harm: |world| commit_fixture(world, "key-filter-missing-key"),
    },
    Defect {
        what: "other bytes that prove themselves",
        from: VerifyDepth::Hash,
        kinds: &[FindingKind::OtherDigest],
        harm: |world| {
            world.forge_segments("payments", 0, |at, row| {
                if at == 0 {
                    row["blake3"] = json!("ab".repeat(32));
                }
            });
        },
    },
];

#[test]
fn each_defect_is_found_from_its_depth_on_and_not_before() {
    for Defect {
        what,
        from,
        kinds,
        harm,
    } in DEFECTS
    {
        let world = World::sample();
        harm(&world);
        for depth in VerifyDepth::ALL {
            let found = report(&world, depth).findings;
            if depth < *from {
                assert!(found.is_empty(), "{what} at {}: {found:#?}", depth.name());
                continue;
            }
            let is_expected = found.iter().any(|finding| kinds.contains(&finding.kind));
            assert!(is_expected, "{what} at {}: {found:#?}", depth.name());
        }
    }
}

#[test]
fn nothing_is_reported_of_an_intact_repository_at_any_depth() {
    let world = World::sample();
    world.restore("r");
    for depth in VerifyDepth::ALL {
        let report = report(&world, depth);
        assert_eq!(report.findings, [], "{}", depth.name());
        assert_eq!((report.partitions, report.segments), (3, 8));
        assert_eq!(report.records, 1_200 + 250);
        assert_eq!(report.depth, depth);
        assert_eq!(report.full, depth >= VerifyDepth::Records);
        assert_eq!(report.not_checked, depth.not_checked());
    }
}

#[test]
fn each_depth_checks_what_the_one_before_does_and_more() {
    for (before, depth) in VerifyDepth::ALL.iter().zip(VerifyDepth::ALL.iter().skip(1)) {
        let unchecked = |depth: &VerifyDepth| -> BTreeSet<Check> {
            depth.not_checked().iter().copied().collect()
        };
        let (more, fewer) = (unchecked(before), unchecked(depth));
        assert!(fewer.is_subset(&more) && fewer != more, "{}", depth.name());
        assert_ne!(before.intact(), depth.intact());
    }
    assert!("full".parse::<VerifyDepth>().is_err());
    for depth in VerifyDepth::ALL {
        assert_eq!(depth.name().parse(), Ok(depth));
        assert_eq!(serde_json::to_value(depth).unwrap(), depth.name());
    }
}

/// What of fixtures/broken only decoding shows: every byte of these is as it was written.
const ONLY_RECORDS: &[&str] = &[
    "batches-bytes-after-the-last-record",
    "batches-decoded-bytes-over-limit",
    "batches-gzip-bytes-after",
    "batches-gzip-cut",
    "batches-lz4-bytes-after",
    "batches-lz4-cut",
    "batches-offset-beyond-the-batch",
    "batches-offsets-not-ascending",
    "batches-record-cut",
    "batches-record-longer-than-its-fields",
    "batches-snappy-bytes-after",
    "batches-snappy-cut",
    "batches-snappy-length-wrong",
    "batches-tombstone-count-wrong",
    "batches-varint-too-long",
    "batches-zstd-bytes-after",
    "batches-zstd-cut",
    "batches-zstd-window-over-limit",
    "constant-column-without-entries",
    "digest-wrong",
    "gap-holds-a-record",
    "hours-swapped",
    "key-filter-bits-after-the-last-entry",
    "key-filter-entry-of-another-page",
    "key-filter-extra-key",
    "key-filter-missing-key",
    "key-filter-page-ends-early",
    "meta-cut",
    "meta-sum-mismatch",
    "meta-trailing-bytes",
    "min-timestamp-wrong",
    "not-computed-record-above-the-bound",
    "offset-beyond-coverage",
    "raw-length-too-large-lz4",
    "raw-length-too-large-zstd",
    "raw-length-too-small-lz4",
    "raw-length-too-small-zstd",
    "rendered-size-wrong",
    "statistics-wrong",
    "tombstone-count-wrong",
    "unknown-attribute-bit",
    "unknown-column-encoding",
    "varint-not-shortest",
    "varint-overlong",
    "varint-too-large",
    "whole-lines-overstated",
    "whole-lines-wrong",
    "zstd-skippable-frame",
    "zstd-two-frames",
    "zstd-window-over-limit",
    "zstd-without-content-size",
];

#[test]
fn each_broken_segment_is_found_at_its_depth_and_no_golden_is() {
    let mut only_records = Vec::new();
    for path in fixtures("broken") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let [blocks, records] = [false, true].map(|full| is_intact(&path, full));
        assert!(!records, "{name} is found by decoding every record");
        if blocks {
            only_records.push(name);
        }
    }
    assert_eq!(only_records, ONLY_RECORDS);
    for path in fixtures("golden") {
        for full in [false, true] {
            assert!(is_intact(&path, full), "{} is intact", path.display());
        }
    }
}

fn is_intact(path: &Path, full: bool) -> bool {
    // Some of them name losses.
    let options = FilesOptions {
        full,
        accept_lost: true,
    };
    let report = verify_files(&[path.to_owned()], options, &|_: u64| {}).unwrap();
    report.is_intact()
}

fn fixture_folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(kind)
        .join("v1")
}

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture_folder(kind)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "kseg"))
        .collect();
    paths.sort();
    assert!(paths.len() > 5, "{kind}");
    paths
}

/// Commits a snapshot that has a broken segment, with a row that describes it.
fn commit_fixture(world: &World, name: &str) {
    let path = fixture_folder("broken").join(format!("{name}.kseg"));
    let bytes = fs::read(path).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let header = segment.header();
    let partition = PartitionId {
        topic: header.topic.parse().unwrap(),
        topic_id: Hex(header.topic_id),
        partition: header.partition,
    };
    let uploaded = Uploaded {
        size: bytes.len() as u64,
        blake3: SegmentHash::of(&bytes),
    };
    let entry = SegmentEntry::found(&partition, &segment, uploaded);
    let file = world.path(&entry.key);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, &bytes).unwrap();
    let end = entry.end_offset;
    let base = world.latest();
    let found = PartitionChange {
        log_start_offset: entry.base_offset,
        ..partition_change(partition.partition, end, vec![entry])
    };
    let change = Change {
        created_at: jiff::Timestamp::now(),
        ..change(Some(base), vec![topic_change(&partition, vec![found])])
    };
    world
        .runtime
        .block_on(world.repository.commit(&change))
        .unwrap();
}
