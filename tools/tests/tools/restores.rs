//! Offset maps: an offset is translated into that of its record, or of the next restored one, or into the end; and pages are read
//! in order, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::PartitionNumber;
use kbk_format::repo::{
    FULL_MAP_PAGE, Key, MapPage, MapRun, RepoErrorKind, RestoreDone, RestoreId, RestoredPartition,
    RestoredTopic, TargetPartition,
};
use kbk_tools::restores::{
    FinishedRestore, Landing, MapReader, OffsetMapError, Overlap, sweep_map_pages,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{World, place, watched};

#[test]
fn each_offset_is_translated_as_the_specification_says() {
    use Landing::{AtEnd, OnNext, OnRecord};
    let world = World::sample();
    world.restore("20261124-000000-abcdef");
    let opened = FinishedRestore::open(&world.repository, None);
    let restore = world.runtime.block_on(opened).unwrap();
    let translate = |partition, offsets: &[i64]| {
        let place = place("orders", partition);
        let translated = restore.translate(&world.repository, &place, offsets);
        let translated = world.runtime.block_on(translated).unwrap().unwrap();
        let translated = translated.into_iter();
        let translated: Vec<_> = translated
            .map(|mut targets| {
                assert_eq!(targets.len(), 1, "it went to one partition");
                targets.remove(0)
            })
            .collect();
        assert!(
            translated
                .iter()
                .all(|t| &*t.topic == "copies" && t.partition == PartitionNumber::from(partition))
        );
        translated
            .iter()
            .map(|t| (t.offset, t.lands))
            .collect::<Vec<_>>()
    };
    // Nine of ten offsets have records, and a full page maps this many runs.
    let page = FULL_MAP_PAGE as i64;
    let cases = [
        (0, (0, OnRecord)),
        (8, (8, OnRecord)),
        (9, (9, OnNext { source_offset: 10 })),
        (10, (9, OnRecord)),
        (10 * page - 2, (9 * page - 1, OnRecord)),
        // The gap between the two pages.
        (
            10 * page - 1,
            (
                9 * page,
                OnNext {
                    source_offset: 10 * page,
                },
            ),
        ),
        (10 * page, (9 * page, OnRecord)),
        (10 * page + 8, (9 * page + 8, OnRecord)),
        (10 * page + 9, (9 * page + 9, AtEnd)),
        (i64::MAX, (9 * page + 9, AtEnd)),
    ];
    let (offsets, expected): (Vec<i64>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(translate(1, &offsets), expected);
    let backwards: Vec<i64> = offsets.iter().rev().copied().collect();
    let found: Vec<_> = translate(1, &backwards).into_iter().rev().collect();
    assert_eq!(found, expected, "in any order");
    // Nothing of this partition was restored.
    assert_eq!(translate(0, &[0, 77]), [(500, AtEnd); 2]);
}

#[test]
fn an_unknown_or_unfinished_restore_has_no_map() {
    let world = World::sample();
    let open = |name: Option<&str>| {
        let name = name.map(|name| name.parse().unwrap());
        let opened = FinishedRestore::open(&world.repository, name.as_ref());
        world
            .runtime
            .block_on(opened)
            .map(|found| found.restore.restore.to_string())
    };
    assert!(matches!(open(None), Err(OffsetMapError::Nothing)));
    assert!(matches!(open(Some("r")), Err(OffsetMapError::Unknown(_))));
    world.restore("r");
    world.restore("s");
    std::fs::remove_file(world.path("restores/s/done.json")).unwrap();
    assert!(matches!(
        open(Some("s")),
        Err(OffsetMapError::Unfinished(_))
    ));
    assert_eq!(open(None).unwrap(), "r", "the last finished one");
}

/// Where the target partitions ended before the restore.
const ENDS: [i64; 3] = [7, 0, 70];

/// A record of the backup: its partition, the number of offsets without a record before it, its target partition, and the number
/// of offsets of other records before it there.
type Moved = (u16, i64, u16, i64);

/// Returns source partition, source offset, target partition and target offset per record, in the order of writing.
fn model(moved: &[Moved]) -> Vec<(u16, i64, u16, i64)> {
    let (mut here, mut there) = ([0; 3], ENDS);
    let place = |&(partition, gap, target, others): &Moved| {
        let source_offset = here[usize::from(partition)] + gap;
        let target_offset = there[usize::from(target)] + others;
        here[usize::from(partition)] = source_offset + 1;
        there[usize::from(target)] = target_offset + 1;
        (partition, source_offset, target, target_offset)
    };
    moved.iter().map(place).collect()
}

/// Makes the map of one partition, in pages of at most `page_runs` runs.
fn pages(
    restore: &RestoreId,
    records: &[(u16, i64, u16, i64)],
    partition: u16,
    page_runs: usize,
) -> Vec<MapPage> {
    let mut runs: Vec<MapRun> = Vec::new();
    for &(_, source_offset, target_partition, target_offset) in
        records.iter().filter(|record| record.0 == partition)
    {
        match runs.last_mut() {
            Some(last)
                if last.target_partition == PartitionNumber::from(target_partition)
                    && last.source_offset + last.records.cast_signed() == source_offset
                    && last.target_offset + last.records.cast_signed() == target_offset =>
            {
                last.records += 1;
            }
            _ => runs.push(MapRun {
                source_offset,
                target_partition: target_partition.into(),
                target_offset,
                records: 1,
            }),
        }
    }
    let place = place("orders", partition);
    let mut pages: Vec<MapPage> = Vec::new();
    for runs in runs.chunks(page_runs) {
        let before = pages.last();
        let last = runs.last().expect("a chunk has some");
        pages.push(MapPage {
            restore: restore.clone(),
            topic: place.topic.clone(),
            topic_id: place.topic_id,
            partition: partition.into(),
            base_offset: before.map_or(0, |before| before.end_offset),
            end_offset: last.source_offset + last.records.cast_signed(),
            previous: before.map(MapPage::sha256),
            records: before.map_or(0, |before| before.records)
                + runs.iter().map(|run| run.records).sum::<u64>(),
            runs: runs.to_vec(),
        });
    }
    pages
}

/// Makes a repository with a topic of three partitions that was repartitioned into three others.
fn scattered(restore: &str, records: &[(u16, i64, u16, i64)], page_runs: usize) -> World {
    let world = World::sample();
    let restore: RestoreId = restore.parse().unwrap();
    let restored = |partition| RestoredPartition {
        partition,
        base_offset: 0,
        end_offset: 1_000_000,
        target_partition: None,
    };
    let target = |(partition, offset)| TargetPartition { partition, offset };
    let place = place("orders", 0);
    let topic = RestoredTopic {
        topic: place.topic,
        topic_id: place.topic_id,
        target: "copies".parse().unwrap(),
        create: None,
        config_afterwards: BTreeMap::new(),
        purge: false,
        targets: PartitionNumber::all().zip(ENDS).map(target).collect(),
        partitions: PartitionNumber::first(3).map(restored).collect(),
    };
    let pages: Vec<MapPage> = (0..3)
        .flat_map(|partition| pages(&restore, records, partition, page_runs))
        .collect();
    world.finish(restore, topic, &pages);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn offsets_of_a_repartitioned_topic_are_translated_into_each_target(
        moved in vec((0..3_u16, 0..3_i64, 0..3_u16, 0..3_i64), 0..60),
        offsets in vec(0..80_i64, 1..12),
        page_runs in 1..9_usize,
    ) {
        let records = model(&moved);
        let world = scattered("r", &records, page_runs);
        let opened = FinishedRestore::open(&world.repository, None);
        let restore = world.runtime.block_on(opened).unwrap();
        for partition in 0..3 {
            let place = place("orders", partition);
            let translated = restore.translate(&world.repository, &place, &offsets);
            let translated = world.runtime.block_on(translated).unwrap().unwrap();
            for (offset, found) in offsets.iter().zip(translated) {
                let expected: Vec<_> = (0..3)
                    .map(|target| leads_to(&records, (partition, *offset), target))
                    .collect();
                let found = found.iter().map(|found| (found.partition, found.offset, found.lands));
                prop_assert_eq!(found.collect::<Vec<_>>(), expected);
            }
            let overlaps: Vec<Overlap> = offsets
                .iter()
                .zip(&offsets[1..])
                .zip((0..3).cycle())
                .map(|((before, from), partition)| Overlap {
                    partition: partition.into(),
                    from_target_offset: *from,
                    before_source_offset: *before,
                })
                .collect();
            let counted = restore.count(&world.repository, &place, &overlaps);
            let counted = world.runtime.block_on(counted).unwrap();
            let expected: Vec<u64> = overlaps
                .iter()
                .map(|overlap| count(&records, partition, overlap))
                .collect();
            prop_assert_eq!(counted, expected);
        }
    }
}

/// Applies the rule of SPEC section 11.7 record by record.
fn leads_to(
    records: &[(u16, i64, u16, i64)],
    (partition, offset): (u16, i64),
    target: u16,
) -> (PartitionNumber, i64, Landing) {
    let there: BTreeMap<i64, i64> = records
        .iter()
        .filter(|record| (record.0, record.2) == (partition, target))
        .map(|record| (record.1, record.3))
        .collect();
    match there.range(offset..).next() {
        Some((source_offset, target_offset)) => {
            let lands = match *source_offset == offset {
                true => Landing::OnRecord,
                false => Landing::OnNext {
                    source_offset: *source_offset,
                },
            };
            (target.into(), *target_offset, lands)
        }
        None => {
            let last = there.last_key_value();
            let end = last.map_or(ENDS[usize::from(target)], |(_, offset)| offset + 1);
            (target.into(), end, Landing::AtEnd)
        }
    }
}

fn count(records: &[(u16, i64, u16, i64)], partition: u16, overlap: &Overlap) -> u64 {
    let inside = records.iter().filter(|record| {
        record.0 == partition
            && PartitionNumber::from(record.2) == overlap.partition
            && record.1 < overlap.before_source_offset
            && record.3 >= overlap.from_target_offset
    });
    inside.count() as u64
}

/// The map of partition 1 in pages of one run each: page `n` maps the offsets from `10 * n` on.
fn chain(restore: &RestoreId, pages: i64) -> Vec<MapPage> {
    let moved: Vec<_> = (0..pages)
        .flat_map(|page| (0..9).map(move |row| (1, 10 * page + row, 1, 20 * page + row)))
        .collect();
    self::pages(restore, &moved, 1, 1)
}

fn restored_orders() -> RestoredTopic {
    let place = place("orders", 1);
    RestoredTopic {
        topic: place.topic,
        topic_id: place.topic_id,
        target: "copies".parse().unwrap(),
        create: None,
        config_afterwards: BTreeMap::new(),
        purge: false,
        targets: vec![TargetPartition {
            partition: 1.into(),
            offset: 0,
        }],
        partitions: vec![RestoredPartition {
            partition: 1.into(),
            base_offset: 0,
            end_offset: 1_000_000,
            target_partition: Some(1.into()),
        }],
    }
}

fn done(world: &World, restore: &RestoreId) -> RestoreDone {
    let done = world.repository.restore_done(restore);
    world.runtime.block_on(done).unwrap().unwrap()
}

/// Names have the time at which a restore began, by the clock of its machine.
#[test]
fn the_last_restore_is_the_one_that_finished_last() {
    let world = World::sample();
    let last = || {
        let opened = FinishedRestore::open(&world.repository, None);
        world
            .runtime
            .block_on(opened)
            .map(|found| found.restore.restore.to_string())
    };
    assert!(matches!(last(), Err(OffsetMapError::Nothing)));
    for name in [
        "20270101-000000-a",
        "20260101-000000-b",
        "20261231-000000-c",
    ] {
        world.restore(name);
        assert_eq!(last().unwrap(), name);
    }
}

#[test]
fn a_map_is_read_backwards_by_page_and_forwards_by_record_with_one_read_per_page() {
    for length in [1, 2, 7] {
        let (world, restore) = (World::sample(), "r".parse().unwrap());
        let pages = chain(&restore, length);
        world.finish(restore.clone(), restored_orders(), &pages);
        let (repository, watch) = watched(&world);
        let partition = done(&world, &restore).partitions.remove(0);

        watch.take();
        let mut map = MapReader::new(&repository, &restore, &partition);
        let mut found = Vec::new();
        world.runtime.block_on(async {
            while let Some(page) = map.next().await.unwrap() {
                found.push(page.value);
            }
            assert!(map.next().await.unwrap().is_none(), "the end stays the end");
        });
        assert_eq!(watch.take().len(), pages.len());
        found.reverse();
        assert_eq!(found, pages);

        let map = MapReader::new(&repository, &restore, &partition);
        let records = world.runtime.block_on(async {
            let (mut runs, mut records) = (map.forward().await.unwrap(), Vec::new());
            while let Some(run) = runs.peek().await.unwrap() {
                records.push((run.source_offset, run.target_offset));
                runs.advance();
            }
            records
        });
        let expected =
            (0..length).flat_map(|page| (0..9).map(move |row| (10 * page + row, 20 * page + row)));
        assert_eq!(records, expected.collect::<Vec<_>>());
        assert_eq!(
            watch.take().len(),
            2 * pages.len() - 1,
            "each page twice, but for the first"
        );
    }
}

#[test]
fn a_lookup_that_the_last_page_answers_reads_that_page_only() {
    let (world, restore) = (World::sample(), "r".parse().unwrap());
    world.finish(
        RestoreId::clone(&restore),
        restored_orders(),
        &chain(&restore, 7),
    );
    let (repository, watch) = watched(&world);
    let opened = FinishedRestore::open(&repository, None);
    let restore = world.runtime.block_on(opened).unwrap();
    watch.take();
    let place = place("orders", 1);
    let translated = restore.translate(&repository, &place, &[63]);
    world.runtime.block_on(translated).unwrap().unwrap();
    assert_eq!(watch.take().len(), 1);
}

#[test]
fn pages_that_do_not_follow_one_another_are_damage() {
    let restore: RestoreId = "r".parse().unwrap();
    type Break = fn(&mut Vec<MapPage>);
    let breaks: [(&str, Break); 4] = [
        ("a hole in front of the last page", |pages| {
            pages[2].base_offset += 1
        }),
        ("a record too many before it", |pages| pages[2].records += 1),
        ("another page before it", |pages| {
            pages[2].previous = pages[0].previous.or(Some(pages[0].sha256()))
        }),
        (
            "lower offsets in the target than those of the page before it",
            |pages| pages[2].runs[0].target_offset = 0,
        ),
    ];
    for (what, harm) in breaks {
        let world = World::sample();
        let mut pages = chain(&restore, 3);
        harm(&mut pages);
        world.finish(restore.clone(), restored_orders(), &pages);
        let partition = done(&world, &restore).partitions.remove(0);
        let mut map = MapReader::new(&world.repository, &restore, &partition);
        world.runtime.block_on(async {
            map.next().await.unwrap().unwrap();
            let error = map.next().await.unwrap_err();
            assert!(
                matches!(error.kind(), RepoErrorKind::Damaged(_)),
                "{what}: {error}"
            );
            assert!(map.next().await.unwrap().is_none(), "an error is the end");
        });
    }

    let world = World::sample();
    world.finish(restore.clone(), restored_orders(), &chain(&restore, 1));
    let mut partition = done(&world, &restore).partitions.remove(0);
    partition.page = None;
    let mut map = MapReader::new(&world.repository, &restore, &partition);
    let error = world.runtime.block_on(map.next()).unwrap_err();
    assert!(
        error.to_string().contains("restores/r/done.json"),
        "{error}"
    );
}

#[test]
fn sweeping_keeps_the_pages_of_the_map_and_removes_all_others() {
    let (world, restore) = (World::sample(), "r".parse().unwrap());
    let pages = chain(&restore, 3);
    let kept = world.finish(RestoreId::clone(&restore), restored_orders(), &pages);
    let mut aborted = pages[2].clone();
    aborted.runs[0].target_offset += 100;
    let aborted = [aborted];
    let written = world.repository.write_map_pages(&aborted);
    world.runtime.block_on(written).unwrap();
    let keys = || {
        let keys = world.repository.map_page_keys(&restore);
        world.runtime.block_on(keys).unwrap()
    };
    assert_eq!(keys().len(), 4);
    let done = done(&world, &restore);
    let swept = sweep_map_pages(&world.repository, &done);
    world.runtime.block_on(swept).unwrap();
    let kept: BTreeSet<_> = kept
        .iter()
        .map(|page| Key::map_page(&restore, page))
        .collect();
    assert_eq!(keys(), kept);

    // With a page of the map missing, nothing tells which pages are needed.
    std::fs::remove_file(world.path(&kept.first().unwrap().to_string())).unwrap();
    let before = keys();
    let swept = sweep_map_pages(&world.repository, &done);
    world.runtime.block_on(swept).unwrap_err();
    assert_eq!(keys(), before);
}
