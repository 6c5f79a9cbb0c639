//! Compactions of random repositories against a plain model, on stores that fail, and beside other writers.

mod model;
pub(crate) mod world;

use std::collections::BTreeMap;

use kbk_format::repo::{RepoErrorKind, SegmentReader};
use kbk_format::{Compression, KeyFilterBits};

use self::world::{World, id, options};
use super::{CompactFindingKind, CompactOptions, KeepLatest, KeyFilters};
use crate::maintenance::MaintenanceError;
use crate::read::GapReasons;
use crate::testing::as_batches::SegmentKind;
use crate::testing::faulty::Withheld;
use crate::testing::random::Random;

/// Seeds of each test: many more where there is time.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0") {
        true => 0..25 * count,
        false => 0..count,
    }
}

/// Options that differ by seed.
fn random_options(random: &mut Random) -> CompactOptions {
    let compressions = [
        None,
        Some(Compression::None),
        Some(Compression::Lz4),
        Some(Compression::Zstd(1)),
    ];
    let compression = compressions[random.below(4) as usize];
    CompactOptions {
        segment_bytes: 1_500 + random.below(8_000),
        block_bytes: 64 + random.below(600) as usize,
        compression,
        key_filters: match random.below(5) {
            0 => KeyFilters::Dropped,
            1 => KeyFilters::All(None),
            2 => KeyFilters::All(KeyFilterBits::new(random.below(21) as u8)),
            _ => KeyFilters::Kept,
        },
        older_than: random.one_in(3).then(|| 500 + random.below(1_000) as i64),
        keep: random.one_in(2).then(|| KeepLatest {
            tombstones_from: random.one_in(2).then(|| random.below(1_200) as i64),
        }),
        // Of 64 slots, so that most partitions take several passes.
        key_memory: if random.one_in(2) { 0 } else { 1 << 20 },
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_segment_is_as_old_as_the_backup_that_it_is_of() {
    let world = World::random(3).await;
    let created_at = world.latest().await.created_at.as_millisecond();
    let before = world.keys().await;
    assert!(world.compact(&options()).await.unwrap().new_segments > 0);
    for (id, entries) in world.segments().await {
        for entry in entries.iter().filter(|entry| !before.contains(&entry.key)) {
            let repository = world.open().await;
            let opened = SegmentReader::open_whole(repository.store(), &id, entry).await;
            let (reader, _) = opened.unwrap();
            assert_eq!(reader.segment().header().created_at, Some(created_at));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_stays_as_it_is() {
    let (mut merged, mut removed, mut tombstones) = (0, 0, 0);
    for seed in seeds(40) {
        let mut world = World::random(seed).await;
        let mut random = Random::new(seed + 1);
        for _ in 0..3 {
            let options = random_options(&mut random);
            let segments = world.segments().await;
            let report = world.compact(&options).await.unwrap();
            assert!(report.findings.is_empty(), "{report:?}");
            assert_eq!(report.outdated_groups, 0);
            let before = world.model.clone();
            let gone_tombstones = world.apply(&options, &segments);
            let gone: u64 = before
                .iter()
                .map(|(id, it)| it.len() - world.model[id].len())
                .sum();
            assert_eq!(report.removed_records, gone, "seed {seed}, {options:?}");
            assert_eq!(report.removed_tombstones, gone_tombstones, "seed {seed}");
            tombstones += gone_tombstones;
            world.check(seed).await;
            if options.older_than.is_none() {
                world.check_key_filters(options.key_filters).await;
            }
            merged += report.segments.saturating_sub(report.new_segments);
            removed += report.removed_records;
            world.backup(seed).await;
        }
    }
    assert!(
        merged > 100 && removed > 100 && tombstones > 10,
        "{merged} merged, {removed} removed, {tombstones} of them old tombstones"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_why_a_record_is_not_there_is_told_that_it_was_removed() {
    for seed in seeds(10) {
        let mut world = World::random(seed).await;
        let options = CompactOptions {
            keep: Some(KeepLatest {
                tombstones_from: None,
            }),
            ..options()
        };
        let segments = world.segments().await;
        world.apply(&options, &segments);
        world.compact(&options).await.unwrap();
        let repository = world.open().await;
        let snapshot = repository.latest().await.unwrap().unwrap();
        let runtime = tokio::runtime::Handle::current();
        for (id, model) in &world.model {
            let state = snapshot.partition(id).unwrap();
            let opened = GapReasons::open(&repository, &snapshot, id.clone(), state).await;
            let mut reasons = opened.unwrap();
            let mut reason = |offset| {
                let asked = || reasons.reason(offset, &runtime);
                tokio::task::block_in_place(asked).unwrap()
            };
            for (offset, expected) in model.gaps() {
                assert_eq!(reason(*offset), Some(*expected), "seed {seed}: {offset}");
            }
            assert_eq!(reason(state.end_offset), None);
            assert_eq!(reason(-1), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_a_run_does_and_writes_nothing() {
    for seed in seeds(10) {
        let world = World::random(seed).await;
        let options = random_options(&mut Random::new(seed));
        let before = world.keys().await;
        let mut dry = options.clone();
        dry.run.dry_run = true;
        let planned = world.compact(&dry).await.unwrap();
        assert_eq!(world.keys().await, before);
        let done = world.compact(&options).await.unwrap();
        let of =
            |it: &super::CompactReport| (it.segments, it.bytes, it.records, it.removed_records);
        assert_eq!(of(&planned), of(&done), "seed {seed}");
        assert_eq!(planned.removed_tombstones, done.removed_tombstones);
        assert!(planned.snapshots.is_empty() && planned.new_bytes.is_none());
        // Some runs later, there is nothing to do: what was merged is larger, and may be merged once more.
        let mut runs = 0;
        while world.compact(&options).await.unwrap().segments > 0 {
            runs += 1;
            assert!(runs < 6, "seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_killed_the_old_state_is_there_or_the_new_one() {
    let (mut crashed, mut adopted) = (0, 0);
    for seed in seeds(40) {
        let mut world = World::random(seed).await;
        let options = random_options(&mut Random::new(seed + 1));
        let old = world.model.clone();
        let segments = world.segments().await;
        world.apply(&options, &segments);
        let new = std::mem::replace(&mut world.model, old.clone());
        let calls = 5 + Random::new(seed).below(150);
        let killed = world.compact_faulty(&options, 0, Some(calls)).await;
        crashed += u64::from(killed.is_err());
        let found = world.read().await;
        let is_old = found == old;
        assert!(is_old || found == new, "seed {seed}");
        world.model = if is_old { old } else { new.clone() };
        world.check(seed).await;
        let report = world.compact(&options).await.unwrap();
        adopted += report.adopted_segments;
        world.model = new;
        world.check(seed).await;
    }
    assert!(
        crashed > 10 && adopted > 10,
        "{crashed} crashed, {adopted} adopted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_now_and_then_costs_a_run_and_nothing_else() {
    let mut failed = 0;
    for seed in seeds(20) {
        let mut world = World::random(seed).await;
        let options = random_options(&mut Random::new(seed + 1));
        let old = world.model.clone();
        let segments = world.segments().await;
        world.apply(&options, &segments);
        let new = world.model.clone();
        for round in 0..6 {
            let ended = world.compact_faulty(&options, 1 + round, None).await;
            failed += u64::from(ended.is_err());
            // A segment that fails again and again stays as it is, and what is around it is merged.
            if ended.is_ok_and(|report| !report.is_whole()) {
                continue;
            }
            let found = world.read().await;
            assert!(found == old || found == new, "seed {seed}");
        }
        world.compact(&options).await.unwrap();
        world.check(seed).await;
    }
    assert!(failed > 10, "{failed} failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_cannot_be_read_stays_and_all_others_are_merged() {
    let mut merged = 0;
    for seed in seeds(12) {
        let world = World::random(seed).await;
        let mut options = options();
        if seed % 2 == 0 {
            options.keep = Some(KeepLatest {
                tombstones_from: None,
            });
        }
        let all = world.entries_of(&id(0)).await;
        let key = all[seed as usize % all.len()].key.clone();
        let withheld = Withheld::new(seed % 3 == 0, [key.clone()]);
        let report = world.compact_without(&options, withheld).await.unwrap();
        assert!(!report.is_whole() || report.findings.is_empty());
        for finding in &report.findings {
            assert_eq!(finding.kind, CompactFindingKind::UnreadableSegment);
            assert_eq!(finding.key.as_ref(), Some(&key));
        }
        let after = world.entries_of(&id(0)).await;
        assert!(after.iter().any(|it| it.key == key), "seed {seed}");
        merged += report.segments;
    }
    assert!(merged > 20, "{merged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_stays_and_is_named() {
    let mut named = 0;
    for seed in seeds(30) {
        let world = World::random(seed).await;
        let options = random_options(&mut Random::new(seed + 1));
        let mut random = Random::new(seed + 2);
        let harmed = world.harm(&mut random).await;
        let before = world.segments().await;
        let intact = world.read_intact(&harmed).await;
        let report = world.compact(&options).await.unwrap();
        let after = world.segments().await;
        // Every segment that is harmed is still there, and none is read as intact.
        for key in &harmed {
            let has = |of: &world::Segments| of.values().flatten().any(|it| it.key == *key);
            assert!(has(&before) && has(&after), "seed {seed}: {key}");
        }
        for finding in &report.findings {
            assert_eq!(finding.kind, CompactFindingKind::DamagedSegment);
            assert!(
                harmed.contains(finding.key.as_ref().unwrap()),
                "{finding:?}"
            );
        }
        named += report.findings.len();
        assert!(report.findings.is_empty() == report.is_whole());
        // What is intact is as it was, or as its keys ask for.
        let found = world.read_intact(&harmed).await;
        for (id, found) in &found {
            let model = &world.model[id];
            for (offset, record) in found {
                assert_eq!(model.get(*offset), Some(record), "seed {seed}");
            }
            if options.keep.is_none() {
                let lost = model.len() - found.len() as u64;
                let unread = before[id].iter().filter(|it| harmed.contains(&it.key));
                let unread: u64 = unread.map(|it| it.records).sum();
                assert_eq!(lost, unread, "seed {seed}");
            } else {
                assert_every_key_is_left(&intact[id], found, seed);
            }
        }
    }
    assert!(named > 10, "{named} named");
}

/// Of each record that could be read, it or a later one with the same key can still be, unless a tombstone followed.
fn assert_every_key_is_left(
    before: &BTreeMap<i64, world::Record>,
    found: &BTreeMap<i64, world::Record>,
    seed: u64,
) {
    for (offset, record) in before {
        let same = |it: &world::Record| it.key == record.key;
        let is_left = match record.key {
            None => found.contains_key(offset),
            Some(_) => found.range(offset..).any(|(_, it)| same(it)),
        };
        let deletes = |it: &world::Record| same(it) && it.value.is_none();
        let deleted = record.key.is_some() && before.range(offset..).any(|(_, it)| deletes(it));
        assert!(
            is_left || deleted,
            "seed {seed}: offset {offset} of {record:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_an_expiry_beside_it_lose_nothing() {
    for seed in seeds(15) {
        let mut world = World::random(seed).await;
        let options = random_options(&mut Random::new(seed + 1));
        // What the compaction read, before others commit.
        let snapshot = world.latest().await;
        let backup = world.prepare_backup(seed).await;
        let late = world.latest().await;
        let segments = world.segments().await;
        let report = world.compact_of(&snapshot, &options).await.unwrap();
        assert_eq!(report.outdated_groups, 0);
        world.apply(&options, &segments);
        // A backup that began before the compaction appends after it.
        assert_eq!(late.sequence, snapshot.sequence);
        world.commit(backup).await.unwrap();
        world.check(seed).await;
        // A compaction that began before another one leaves what is gone.
        let report = world.compact_of(&snapshot, &options).await.unwrap();
        let first = report.outdated_groups;
        assert!(
            report.segments == 0 || first == 0,
            "seed {seed}: {report:?}"
        );
        world.check(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backups_of_one_partition_still_exclude_each_other() {
    let mut world = World::random(3).await;
    let (first, second) = (world.prepare_backup(1).await, world.prepare_backup(2).await);
    world.compact(&options()).await.unwrap();
    world.commit(first).await.unwrap();
    let refused = world.commit(second).await.unwrap_err();
    assert!(
        matches!(refused.kind(), RepoErrorKind::Conflict { .. }),
        "{refused}"
    );
    world.check(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_refuses_what_is_less() {
    // It edits digests that the rows state.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::random(5).await;
    let id = id(0);
    let entries = world.entries_of(&id).await;
    let upkeep = kbk_format::repo::Upkeep {
        command: "test".to_owned(),
        detail: String::new(),
        writer: "test".to_owned(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let first = entries.iter().find(|it| it.records > 0).unwrap().clone();
    let wrongs: [fn(&mut kbk_format::repo::SegmentEntry); 4] = [
        |it| it.records -= 1,
        |it| it.end_offset -= 1,
        |it| it.content_digest.as_mut().unwrap().0[15] ^= 1,
        |it| {
            it.timestamp_type = match it.timestamp_type {
                kbk_format::TimestampType::CreateTime => kbk_format::TimestampType::LogAppendTime,
                kbk_format::TimestampType::LogAppendTime => kbk_format::TimestampType::CreateTime,
            };
        },
    ];
    let repository = world.open().await;
    for wrong in wrongs {
        let mut other = first.clone();
        wrong(&mut other);
        let replacement = kbk_format::repo::Replacement {
            id: id.clone(),
            removed: vec![first.clone()],
            added: vec![other],
            removed_digest: None,
            without: kbk_format::repo::RemovedRecords::default(),
            recovered: None,
        };
        let refused = repository.replace(&[replacement], 0, &upkeep).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused.kind(), RepoErrorKind::Refused { .. }),
            "{refused}"
        );
    }
    world.check(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_returns_something_else_is_not_believed() {
    let world = World::random(7).await;
    let before = world.read().await;
    let refused = world.compact_lying(&options()).await;
    assert!(
        matches!(refused, Err(MaintenanceError::NotProven { .. })),
        "{refused:?}"
    );
    assert_eq!(world.read().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_slots_take_many_passes_and_find_the_same() {
    let mut world = World::with_keys(11, 4_000).await;
    let options = CompactOptions {
        keep: Some(KeepLatest {
            tombstones_from: None,
        }),
        key_memory: 0,
        ..options()
    };
    let segments = world.segments().await;
    let report = world.compact(&options).await.unwrap();
    assert!(report.partitions[0].key_passes > 20, "{report:?}");
    world.apply(&options, &segments);
    world.check(11).await;
}
