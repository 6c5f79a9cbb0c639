//! Verifies repositories: an intact one has no findings, and each kind of damage is found under its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kbk_format::repo::{
    Adoptable, Key, MapPage, MapRun, PartitionId, Repository, RestoreId, RestoredPartition,
    RestoredTopic, SegmentHash, TargetPartition,
};
use kbk_tools::verify::{
    Finding, FindingKind, Severity, UnindexedSegment, UnindexedSegmentError, VerifyDepth,
    VerifyOptions, VerifyReport, verify,
};
use serde_json::json;

use crate::support::as_batches::SegmentKind;
use crate::support::watched_store::Fault;
use crate::support::{World, place, segment, watched};

fn run(world: &World, repository: &Repository, full: bool) -> VerifyReport {
    let depth = match full {
        true => VerifyDepth::Hash,
        false => VerifyDepth::Blocks,
    };
    run_at(world, repository, depth)
}

fn run_at(world: &World, repository: &Repository, depth: VerifyDepth) -> VerifyReport {
    let snapshots = world.runtime.block_on(repository.sequences()).unwrap();
    let options = VerifyOptions {
        snapshots,
        topics: None,
        depth,
        ..VerifyOptions::default()
    };
    let verified = verify(repository, &options, Arc::new(|_: u64| {}));
    world.runtime.block_on(verified)
}

fn findings(world: &World) -> Vec<Finding> {
    let quick = run(world, &world.repository, false).findings;
    let full = run(world, &world.repository, true).findings;
    assert_eq!(kinds(&quick), kinds(&full), "{quick:#?}\n{full:#?}");
    // Of a distant store, segments are read in another way.
    let (distant, _) = watched(world);
    let distant = run(world, &distant, true).findings;
    let url = world.repository.store().url();
    let in_order = |findings: &[Finding]| {
        let shown = findings.iter().map(|it| format!("{it:?}"));
        let mut found: Vec<_> = shown.map(|it| it.replace(url, "watched")).collect();
        found.sort();
        found
    };
    assert_eq!(in_order(&distant), in_order(&full));
    quick
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

fn only(world: &World) -> Finding {
    let mut findings = findings(world);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

#[test]
fn a_backup_that_saw_neither_configurations_nor_groups_is_no_import() {
    let world = World::new();
    world.backup_denied(&[("orders", 0, vec![vec![(0, 1), (1, 2)], vec![(2, 3)]])]);
    let key = world.entries("orders", 0).remove(1).key;
    fs::remove_file(world.path(&key)).unwrap();
    let finding = only(&world);
    let next = "kbk backup --refresh --topic orders -r ";
    assert!(finding.next_step.starts_with(next), "{finding:#?}");
    assert!(!finding.hint.contains("kbk import"), "{finding:#?}");
}

#[test]
fn an_intact_repository_has_no_findings_and_is_counted_once() {
    let world = World::sample();
    let (remote, _) = watched(&world);
    for repository in [&world.repository, &remote] {
        for full in [false, true] {
            let report = run(&world, repository, full);
            assert_eq!(report.findings, []);
            assert_eq!(report.snapshots, [1, 2]);
            assert_eq!((report.partitions, report.segments), (3, 8));
            assert_eq!(report.records, 1_200 + 250);
        }
    }
}

#[test]
fn progress_adds_up_to_all_bytes() {
    let world = World::sample();
    let seen = Arc::new(AtomicU64::new(0));
    let options = VerifyOptions {
        snapshots: vec![2],
        topics: Some(BTreeSet::from([{
            let PartitionId {
                topic, topic_id, ..
            } = place("orders", 0);
            (topic, topic_id)
        }])),
        depth: VerifyDepth::Hash,
        ..VerifyOptions::default()
    };
    let progress = {
        let seen = Arc::clone(&seen);
        Arc::new(move |bytes: u64| {
            seen.fetch_add(bytes, Ordering::SeqCst);
        })
    };
    let verified = verify(&world.repository, &options, progress);
    let report = world.runtime.block_on(verified);
    assert_eq!(
        (report.partitions, report.segments),
        (2, 6),
        "one topic only"
    );
    assert_eq!(seen.load(Ordering::SeqCst), report.bytes);
}

#[test]
fn a_flipped_bit_in_any_object_is_found() {
    let world = World::sample();
    world.restore("20261124-000000-abcdef");
    let keys = world.keys();
    for key in &keys {
        let intact = fs::read(world.path(key)).unwrap();
        for position in (0..intact.len())
            .step_by(intact.len() / 16)
            .chain([intact.len() - 1])
        {
            world.flip(key, position);
            if key == "snapshots/latest.json" {
                // A hint that cannot be read is of no use, and does no harm.
                assert_eq!(findings(&world), []);
                fs::write(world.path(key), &intact).unwrap();
                continue;
            }
            let found: Vec<FindingKind> = if key == "kbk.json" {
                let store = world.repository.store().clone();
                let error = world.runtime.block_on(Repository::open(store)).unwrap_err();
                kinds(
                    &VerifyReport::of_damaged_identity(&error, VerifyDepth::Blocks)
                        .unwrap()
                        .findings,
                )
            } else {
                let report = run(&world, &world.repository, false);
                for finding in &report.findings {
                    assert_eq!(finding.key.as_ref(), Some(key), "{finding:#?}");
                }
                kinds(&report.findings)
            };
            let expected: &[FindingKind] = match key.split('/').next().unwrap() {
                "kbk.json" => &[FindingKind::DamagedIdentity],
                "snapshots" => &[FindingKind::DamagedSnapshot],
                "index" | "cluster" => &[FindingKind::DamagedTable],
                "restores" => &[FindingKind::DamagedRestore],
                // With a damaged footer, blocks are searched for one by one, and here all of them are found.
                _ => &[
                    FindingKind::DamagedSegment,
                    FindingKind::DamagedBlock,
                    FindingKind::OtherSegment,
                ],
            };
            assert_eq!(found.len(), 1, "byte {position} of {key}: {found:?}");
            assert!(
                expected.contains(&found[0]),
                "byte {position} of {key}: {found:?}"
            );
            fs::write(world.path(key), &intact).unwrap();
        }
    }
    assert_eq!(findings(&world), []);
}

#[test]
fn a_missing_segment_and_a_missing_table() {
    let world = World::sample();
    let entry = &world.entries("orders", 1)[2];
    fs::remove_file(world.path(&entry.key)).unwrap();
    let finding = only(&world);
    assert_eq!(finding.kind, FindingKind::MissingSegment);
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.snapshot, Some(1), "the first that names it");
    assert_eq!(finding.topic.as_deref(), Some("orders"));
    assert_eq!(finding.partition, Some(1.into()));
    assert_eq!(finding.key.as_deref(), Some(&*entry.key));
    assert_eq!(finding.offsets, Some((400..600).into()));

    let world = World::sample();
    let table = world.tables().pop().unwrap();
    fs::remove_file(world.path(&table)).unwrap();
    let finding = only(&world);
    assert_eq!(finding.kind, FindingKind::MissingTable);
    assert_eq!(finding.key.as_deref(), Some(&*table));
    assert!(
        finding.message.contains("topic orders"),
        "{}",
        finding.message
    );
}

#[test]
fn a_damaged_table_of_segments_alone_is_found() {
    let world = World::sample();
    let table = world.forged_index().write_segments_apart(None);
    assert_eq!(findings(&world), []);
    world.flip(&table, 40);
    let found = findings(&world);
    // One for the table, and one for each partition of whose segments nothing else is known.
    assert_eq!(kinds(&found), [FindingKind::DamagedTable; 4], "{found:#?}");
    let mut keys = found.iter().map(|it| it.key.as_deref());
    assert!(keys.all(|key| key == Some(&*table)));
}

#[test]
fn a_missing_page_of_an_offset_map_is_found() {
    for missing in [0, 1] {
        let world = World::sample();
        let pages = world.restore("r");
        assert_eq!(findings(&world), []);
        let key = Key::map_page(&"r".parse().unwrap(), &pages[missing]).to_string();
        fs::remove_file(world.path(&key)).unwrap();
        let finding = only(&world);
        assert_eq!(finding.kind, FindingKind::DamagedRestore);
        assert_eq!(finding.key, Some(key));
        assert_eq!(finding.partition, Some(1.into()));
    }
}

#[test]
fn an_offset_map_that_does_not_match_the_request_is_found() {
    let requested = RestoredPartition {
        partition: 1.into(),
        base_offset: 10,
        end_offset: 20,
        target_partition: Some(0.into()),
    };
    let run = |target_partition, target_offset| MapRun {
        source_offset: 12,
        target_partition,
        target_offset,
        records: 3,
    };
    let by_key = RestoredPartition {
        target_partition: None,
        ..requested
    };
    for (what, requested, run, covered, matches) in [
        ("as requested", requested, run(0.into(), 5), 10..20, true),
        ("by key", by_key, run(1.into(), 0), 10..20, true),
        ("another target", requested, run(1.into(), 5), 10..20, false),
        ("not a target", by_key, run(2.into(), 5), 10..20, false),
        (
            "before the restore",
            requested,
            run(0.into(), 4),
            10..20,
            false,
        ),
        (
            "covers too early",
            requested,
            run(0.into(), 5),
            9..20,
            false,
        ),
        (
            "covers too much",
            requested,
            run(0.into(), 5),
            10..21,
            false,
        ),
        (
            "no such partition",
            RestoredPartition {
                partition: 0.into(),
                ..requested
            },
            run(0.into(), 5),
            10..20,
            false,
        ),
    ] {
        let world = World::sample();
        let restore: RestoreId = "r".parse().unwrap();
        let PartitionId {
            topic,
            topic_id,
            partition,
        } = place("orders", 1);
        let restored = RestoredTopic {
            topic: topic.clone(),
            topic_id,
            target: "copies".parse().unwrap(),
            create: None,
            config_afterwards: BTreeMap::new(),
            purge: false,
            targets: [(0.into(), 5), (1.into(), 0)]
                .map(|(partition, offset)| TargetPartition { partition, offset })
                .into(),
            partitions: vec![requested],
        };
        let page = MapPage {
            restore: restore.clone(),
            topic,
            topic_id,
            partition,
            base_offset: covered.start,
            end_offset: covered.end,
            previous: None,
            records: 3,
            runs: vec![run],
        };
        world.finish(restore, restored, &[page]);
        let found = kinds(&findings(&world));
        let expected: &[FindingKind] = if matches {
            &[]
        } else {
            &[FindingKind::DamagedRestore]
        };
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn swapped_segments_are_found() {
    let world = World::sample();
    let segments = world.entries("orders", 0);
    let (a, b) = (world.path(&segments[0].key), world.path(&segments[2].key));
    let (first, last) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(a, last).unwrap();
    fs::write(b, first).unwrap();
    assert_eq!(kinds(&findings(&world)), [FindingKind::OtherSegment; 2]);

    // A foreign segment of another length is not taken for a truncated one.
    let world = World::sample();
    let victim = &world.entries("payments", 0)[0];
    let (_, foreign) = segment(&place("payments", 0), &[(0, 1), (1, 1)]);
    fs::write(world.path(&victim.key), foreign).unwrap();
    assert_eq!(only(&world).kind, FindingKind::OtherSegment);
}

#[test]
fn a_damaged_version_is_damage_and_a_later_version_is_none() {
    let world = World::sample();
    let entry = world.entries("orders", 0).remove(0);
    let intact = fs::read(world.path(&entry.key)).unwrap();
    // `major` of the file header and of the trailer, and the features of the file header.
    for position in [8, 9, intact.len() - 20, intact.len() - 19, 23] {
        for bit in 0..8 {
            world.harm(&entry.key, |bytes| bytes[position] ^= 1 << bit);
            let found = only(&world);
            assert_eq!(
                found.kind,
                FindingKind::DamagedSegment,
                "{position}: {found:#?}"
            );
            assert!(!found.message.contains("newer kbk"), "{found:#?}");
            fs::write(world.path(&entry.key), &intact).unwrap();
        }
    }
    // The same bytes, and a row that states them: a later kbk wrote both.
    for position in [8, intact.len() - 20] {
        world.harm(&entry.key, |bytes| bytes[position] += 1);
        let later = fs::read(world.path(&entry.key)).unwrap();
        world.forge_segments("orders", 0, |at, row| {
            if at == 0 {
                row["blake3"] = json!(SegmentHash::of(&later).to_string());
            }
        });
        // The first snapshot still has the row of before.
        let found: BTreeSet<FindingKind> = kinds(&findings(&world)).into_iter().collect();
        let expected = [FindingKind::DamagedSegment, FindingKind::Unsupported];
        assert_eq!(found, BTreeSet::from(expected), "{position}");
        fs::write(world.path(&entry.key), &intact).unwrap();
    }
}

#[test]
fn a_truncated_segment_reports_its_lost_offsets() {
    let world = World::sample();
    let entry = &world.entries("orders", 0)[0];
    world.harm(&entry.key, |bytes| bytes.truncate(bytes.len() / 2));
    let found = findings(&world);
    assert_eq!(
        kinds(&found),
        [FindingKind::WrongSize, FindingKind::LostOffsets]
    );
    let lost = found[1].offsets.unwrap();
    assert!(
        0 < lost.base_offset && lost.base_offset < 200 && lost.end_offset == 200,
        "{lost:?}"
    );

    let world = World::sample();
    world.harm(&entry_key(&world), |bytes| bytes.extend([0; 64]));
    assert_eq!(
        only(&world).kind,
        FindingKind::WrongSize,
        "every block is there"
    );
}

fn entry_key(world: &World) -> String {
    world.entries("orders", 0).remove(0).key
}

#[test]
fn all_damage_is_reported_not_only_the_first() {
    let world = World::sample();
    let first = &world.entries("orders", 0)[0];
    let footer = usize::try_from(first.footer_position).unwrap();
    // Damage in three parts of one segment: two blocks and the footer. Once the footer is gone, the block with a damaged header
    // cannot be found.
    let block_header = |world: &World, number: usize| {
        let bytes = fs::read(world.path(&first.key)).unwrap();
        let segment = kbk_format::Segment::open_whole(&bytes).unwrap();
        usize::try_from(segment.index().entries()[number].position).unwrap()
    };
    let (second, third) = (block_header(&world, 1), block_header(&world, 2));
    world.flip(&first.key, second + 300);
    world.flip(&first.key, third + 60);
    let found = findings(&world);
    assert_eq!(kinds(&found), [FindingKind::DamagedBlock; 2], "{found:#?}");
    assert_eq!(found[1].position, Some(third as u64));
    let lost = [&found[0], &found[1]].map(|finding| finding.offsets.unwrap());
    if SegmentKind::of_this_run() == SegmentKind::Columns {
        assert_eq!(found[0].position, Some(second as u64));
        assert_eq!(lost[0].end_offset, lost[1].base_offset);
    } else {
        // One batch of the block is damaged, which is named by itself.
        let inside = second as u64 + 1..third as u64;
        assert!(inside.contains(&found[0].position.unwrap()), "{found:#?}");
        assert!(lost[0].end_offset < lost[1].base_offset, "{found:#?}");
    }

    world.flip(&first.key, footer + 20);
    let found = findings(&world);
    let expected = [
        FindingKind::DamagedSegment,
        FindingKind::DamagedBlock,
        FindingKind::LostOffsets,
    ];
    assert_eq!(
        kinds(&found).into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(expected),
        "{found:#?}"
    );

    // Damage elsewhere is still found.
    fs::remove_file(world.path(&world.entries("payments", 0)[1].key)).unwrap();
    world.flip(&world.tables()[1], 40);
    let found = kinds(&findings(&world));
    assert!(
        found.contains(&FindingKind::MissingSegment) && found.contains(&FindingKind::DamagedTable)
    );
    // Which segments of the damaged table count is not known.
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn holes_and_overlaps_in_an_intact_index_are_found() {
    let world = World::sample();
    let mut index = world.forged_index();
    index.rows.retain(|row| {
        (
            &row["row"],
            &row["topic"],
            &row["partition"],
            &row["base_offset"],
        ) != (&json!("segment"), &json!("orders"), &json!(0), &json!(200))
    });
    index.write();
    let finding = only_of(&world, 2);
    assert_eq!(finding.kind, FindingKind::Hole);
    assert_eq!(finding.offsets, Some((200..400).into()));

    let world = World::sample();
    world.forge_segments("orders", 0, |at, row| {
        if at == 0 {
            row["end_offset"] = json!(250);
        }
    });
    let finding = only_of(&world, 2);
    assert_eq!(finding.kind, FindingKind::Overlap);
    assert_eq!(finding.offsets, Some((200..250).into()));
}

/// Verifies one snapshot, and returns the only finding about it.
fn only_of(world: &World, sequence: u64) -> Finding {
    let mut findings = findings_of(world, sequence);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn findings_of(world: &World, sequence: u64) -> Vec<Finding> {
    let options = VerifyOptions {
        snapshots: vec![sequence],
        ..VerifyOptions::default()
    };
    let verified = verify(&world.repository, &options, Arc::new(|_: u64| {}));
    world.runtime.block_on(verified).findings
}

#[test]
fn contradictions_between_intact_objects_are_found() {
    let world = World::sample();
    world.forge_partition("orders", 0, |state| state["records"] = json!(601));
    let finding = only_of(&world, 2);
    assert_eq!(finding.kind, FindingKind::WrongSums);
    assert_eq!(finding.partition, Some(0.into()));

    let world = World::sample();
    world.forge_snapshot(|snapshot| snapshot["totals"]["records"] = json!(1));
    let finding = only_of(&world, 2);
    assert_eq!(finding.kind, FindingKind::DamagedSnapshot);

    let world = World::sample();
    let mut index = world.forged_index();
    let topic_id = place("orders", 0).topic_id.to_string();
    index.insert(json!({
        "row": "lost", "topic": "orders", "topic_id": topic_id, "partition": 0,
        "base_offset": 600, "end_offset": 601,
    }));
    index.write();
    let finding = findings_of(&world, 2).remove(0);
    assert_eq!(finding.kind, FindingKind::DamagedSnapshot);
    assert!(
        finding.message.contains("lost offsets 600"),
        "{}",
        finding.message
    );

    let world = World::sample();
    world.forge_segments("orders", 1, |at, row| {
        if at == 1 {
            row["max_timestamp"] = json!(3_000);
        }
    });
    let finding = only_of(&world, 2);
    assert_eq!(
        finding.kind,
        FindingKind::OtherSegment,
        "the row does not describe the segment"
    );
    assert!(
        finding.message.contains("largest timestamp"),
        "{}",
        finding.message
    );

    let world = World::sample();
    world.forge_snapshot(|snapshot| snapshot["parent"]["sha256"] = json!("0".repeat(64)));
    let finding = only(&world);
    assert_eq!(
        (finding.kind, finding.severity),
        (FindingKind::OtherParent, Severity::Warning)
    );
}

#[test]
fn only_a_full_verification_computes_the_sha_256() {
    let world = World::sample();
    world.forge_segments("payments", 0, |at, row| {
        if at == 0 {
            row["blake3"] = json!("ab".repeat(32));
        }
    });
    assert_eq!(run(&world, &world.repository, false).findings, []);
    let found = run(&world, &world.repository, true).findings;
    assert_eq!(kinds(&found), [FindingKind::OtherDigest]);
}

#[test]
fn a_refused_segment_is_not_reported_as_missing() {
    let world = World::sample();
    let (repository, watch) = watched(&world);
    watch.set(Fault::Forbids);
    let found = run(&world, &repository, false).findings;
    assert_eq!(kinds(&found), [FindingKind::Unreadable; 8]);
}

#[test]
fn json_has_every_member_under_its_name() {
    let world = World::sample();
    fs::remove_file(world.path(&entry_key(&world))).unwrap();
    let report = serde_json::to_value(run(&world, &world.repository, false)).unwrap();
    assert_eq!(report["segments"], 8);
    let finding = report["findings"][0].as_object().unwrap();
    assert_eq!(finding["kind"], "missing_segment");
    assert_eq!(finding["severity"], "error");
    assert_eq!(
        finding["offsets"],
        json!({"base_offset": 0, "end_offset": 200})
    );
    for member in [
        "snapshot",
        "topic",
        "topic_id",
        "partition",
        "key",
        "position",
        "message",
        "hint",
        "next_step",
    ] {
        assert!(finding.contains_key(member), "{member}");
    }
}

#[test]
fn a_segment_that_no_table_names_is_checked_to_its_last_byte() {
    let world = World::sample();
    let source = place("orders", 7);
    let rows: Vec<_> = (0..300).map(|offset| (offset, offset)).collect();
    let expected = world.segment(&source, &rows);
    let (remote, _) = watched(&world);
    let check = |repository: &Repository| {
        let adoptable = Adoptable::all();
        let found = repository.unnamed_segments(&source, 0, &adoptable);
        let found = world.runtime.block_on(found).unwrap().remove(0);
        world.runtime.block_on(async {
            let segment = UnindexedSegment::open(repository.store(), &found).await?;
            segment.check(source.clone()).await
        })
    };
    for repository in [&world.repository, &remote] {
        assert_eq!(check(repository).unwrap(), expected);
        let intact = fs::read(world.path(&expected.key)).unwrap();
        for position in (0..intact.len()).step_by(intact.len() / 24) {
            world.flip(&expected.key, position);
            let error = check(repository).unwrap_err();
            assert!(
                matches!(error, UnindexedSegmentError::Damaged(_)),
                "byte {position}: {error}"
            );
            fs::write(world.path(&expected.key), &intact).unwrap();
        }
        world.harm(&expected.key, |bytes| bytes.truncate(bytes.len() - 1));
        assert!(check(repository).is_err(), "its last byte is missing");
        fs::write(world.path(&expected.key), &intact).unwrap();
    }
    let (refusing, watch) = watched(&world);
    watch.set(Fault::Forbids);
    let error = check(&refusing).unwrap_err();
    assert!(
        matches!(error, UnindexedSegmentError::Repo(_)),
        "nothing is known about it: {error}"
    );
}
