//! Two snapshots compared: by what they state, by digests, and record by record.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{Repository, Snapshot, Store, TopicState};
use kbk_tools::diff::{
    DiffOptions, DiffSelection, DiffSide, Side, SnapshotDiff, SnapshotDifference, diff,
};
use proptest::prelude::*;

use crate::support::as_batches::SegmentKind;
use crate::support::{KeyAndValue, Row, World, key_of, value_of};

struct Everything;

impl DiffSelection for Everything {
    fn topic(&self, _: Side, _: &TopicState) -> bool {
        true
    }

    fn partition(&self, _: &TopicState, _: PartitionNumber) -> bool {
        true
    }

    fn is_everything(&self) -> bool {
        true
    }
}

fn compare(a: &World, b: &World, full: bool) -> SnapshotDiff {
    compare_snapshots(a, &a.latest(), b, &b.latest(), full)
}

fn compare_snapshots(
    a: &World,
    snapshot_a: &Snapshot,
    b: &World,
    snapshot_b: &Snapshot,
    full: bool,
) -> SnapshotDiff {
    // What is cached must not hide what was damaged since.
    let open = |world: &World| {
        let store = Store::open(world.path("").to_str().unwrap()).unwrap();
        world.runtime.block_on(Repository::open(store)).unwrap()
    };
    let (of_a, of_b) = (open(a), open(b));
    let side_a = DiffSide {
        repository: &of_a,
        snapshot: snapshot_a,
    };
    let side_b = DiffSide {
        repository: &of_b,
        snapshot: snapshot_b,
    };
    let options = DiffOptions {
        full,
        records_only: false,
        threads: 2,
    };
    diff(side_a, side_b, &Everything, options, a.runtime.handle()).unwrap()
}

fn rows(from: i64, to: i64) -> Vec<Row> {
    (from..to).map(|offset| (offset, 1_000 + offset)).collect()
}

/// Returns the differences as text.
fn texts(found: &SnapshotDiff) -> Vec<String> {
    found.differences.iter().map(ToString::to_string).collect()
}

#[test]
fn a_snapshot_is_equal_to_itself_and_no_record_is_read() {
    let world = World::sample();
    let found = compare(&world, &world, true);
    assert_eq!(texts(&found), [""; 0]);
    assert!(found.is_equal());
    assert_eq!((found.topics, found.partitions), (2, 3));
    assert_eq!(found.records.same_objects, 1_450);
    assert_eq!(found.records.total(), 1_450);
    assert_eq!((found.groups, found.acls), (Some(2), Some(2)));
}

#[test]
fn what_a_later_snapshot_has_besides_is_named() {
    let world = World::sample();
    let first = world
        .runtime
        .block_on(world.repository.snapshot(1))
        .unwrap();
    let found = compare_snapshots(&world, &first, &world, &world.latest(), false);
    assert_eq!(
        texts(&found),
        [
            "payments/0: offsets 100 to 250 (exclusive) only in B",
            "consumer groups: saved only in B, so not compared",
            "ACLs: saved only in B, so not compared",
        ]
    );
    // The other direction says the same of the other side.
    let found = compare_snapshots(&world, &world.latest(), &world, &first, false);
    assert_eq!(
        texts(&found).first().map(String::as_str),
        Some("payments/0: offsets 100 to 250 (exclusive) only in A")
    );
}

#[test]
fn segments_of_other_bounds_are_compared_by_digest_and_read_with_full() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let (a, b) = (World::new(), World::new());
    a.backup(&[("orders", 0, vec![rows(0, 100), rows(100, 300)])]);
    b.backup(&[(
        "orders",
        0,
        vec![rows(0, 50), rows(50, 100), rows(100, 200), rows(200, 300)],
    )]);
    let found = compare(&a, &b, false);
    assert_eq!(texts(&found), [""; 0]);
    assert_eq!(found.records.same_digest, 300);
    assert_eq!(found.records.read, 0);
    let found = compare(&a, &b, true);
    assert_eq!(texts(&found), [""; 0]);
    assert_eq!(found.records.same_digest, 0);
    assert_eq!(found.records.read, 300);
}

#[test]
fn topics_and_configurations_that_differ_are_named() {
    let (a, b) = (World::new(), World::new());
    a.backup(&[
        ("orders", 0, vec![rows(0, 9)]),
        ("audit", 0, vec![rows(0, 3)]),
    ]);
    b.backup(&[
        ("orders", 0, vec![rows(0, 9)]),
        ("orders", 1, vec![rows(0, 4)]),
        ("payments", 0, vec![rows(0, 5)]),
    ]);
    let [mut before, mut changed] = [&a, &b].map(|it| Snapshot::clone(&it.latest()));
    for topic in before.topics.iter_mut().chain(&mut changed.topics) {
        topic.config = None;
    }
    for topic in changed
        .topics
        .iter_mut()
        .filter(|topic| &*topic.name == "orders")
    {
        topic.config = Some([("cleanup.policy".to_owned(), "compact".to_owned())].into());
        topic.replication_factor = 3;
    }
    let found = compare_snapshots(&a, &before, &b, &changed, false);
    let texts = texts(&found);
    for expected in [
        "audit: only in A, with 1 partition and 3 records (topic id 05050505050505050505050505050505)",
        "orders: replication factor: 1 in A, 3 in B",
        "orders: partitions: 1 in A, 2 in B",
        "orders: config: not saved in A, saved in B",
        "orders/1: offsets 0 to 4 (exclusive) only in B",
        "payments: only in B, with 1 partition and 5 records (topic id 08080808080808080808080808080808)",
    ] {
        assert!(
            texts.iter().any(|text| text == expected),
            "{expected} is not among {texts:#?}"
        );
    }
    assert_eq!(texts.len(), 6, "{texts:#?}");
    let mut other = changed.clone();
    for topic in &mut other.topics {
        let config = topic.config.iter_mut();
        config.for_each(|config| *config = [("retention.ms".to_owned(), "-1".to_owned())].into());
    }
    let found = compare_snapshots(&b, &changed, &b, &other, false);
    assert_eq!(
        self::texts(&found),
        [
            "orders: cleanup.policy: compact in A, default in B",
            "orders: retention.ms: default in A, -1 in B",
        ]
    );
}

#[test]
fn groups_and_acls_that_differ_are_named() {
    let world = World::sample();
    let mut changed = World::acls();
    changed.acls = changed.acls.iter().skip(1).cloned().collect();
    let groups = world
        .runtime
        .block_on(world.repository.groups(&world.latest()));
    let mut groups: Vec<_> = groups.unwrap().unwrap().groups.to_vec();
    groups.retain(|group| group.group == "billing");
    groups[0].topics[1].partitions[0].offset = 121;
    let groups = kbk_format::repo::FoundGroups {
        taken_at: jiff::Timestamp::UNIX_EPOCH,
        groups: groups.into(),
    };
    let before = world.latest();
    world.backup_with(&[], Some(groups), Some(changed));
    let found = compare_snapshots(&world, &before, &world, &world.latest(), false);
    assert_eq!(
        texts(&found),
        [
            "group \"billing\": payments/0: 120, metadata \"by\\tus\" in A, 121, metadata \"by\\tus\" in B",
            "group \"idle\": only in A, with 0 committed offsets",
            "ACL: User:a\tb ALLOW READ on TOPIC \"orders\" (LITERAL) from host \"*\": only in A",
        ]
    );
}

#[test]
fn damaged_records_are_not_compared_and_the_others_are() {
    let (a, b) = (World::new(), World::new());
    a.backup(&[("orders", 0, vec![rows(0, 300)])]);
    b.backup(&[("orders", 0, vec![rows(0, 150), rows(150, 300)])]);
    let damaged = &b.entries("orders", 0)[0];
    b.flip(&damaged.key, damaged.footer_position as usize - 100);
    let found = compare(&a, &b, true);
    let [
        SnapshotDifference::NotCompared {
            side: Side::B,
            what,
            offsets: Some(offsets),
            ..
        },
    ] = &found.differences[..]
    else {
        panic!("{:#?}", found.differences);
    };
    assert_eq!(what, "orders/0");
    assert!(
        offsets.base_offset > 0 && offsets.end_offset == 150,
        "{offsets}"
    );
    let missed = (offsets.end_offset - offsets.base_offset) as u64;
    assert_eq!(found.records.read, 300 - missed);
}

#[test]
fn digests_that_differ_are_named_where_no_record_does() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let (mut a, b) = (World::new(), World::new());
    a.is_control = |offset| offset == 7;
    a.backup(&[("orders", 0, vec![rows(0, 30)])]);
    let others = rows(0, 30).into_iter().filter(|(offset, _)| *offset != 7);
    b.backup(&[("orders", 0, vec![others.collect()])]);
    let found = compare(&a, &b, false);
    assert!(
        matches!(&found.differences[..], [SnapshotDifference::Digest { .. }]),
        "{:#?}",
        found.differences
    );
    assert_eq!(found.records.read, 29);
}

#[test]
fn an_object_that_is_not_what_its_row_states_is_not_compared() {
    // A row that states no digest cannot state a wrong one.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let (a, b) = (World::new(), World::new());
    for world in [&a, &b] {
        world.backup(&[("orders", 0, vec![rows(0, 30)])]);
    }
    b.forge_segments("orders", 0, |_, row| {
        row["content_digest"] = "00000000000000000000000000000001".into();
    });
    let found = compare(&a, &b, false);
    assert!(
        matches!(
            &found.differences[..],
            [SnapshotDifference::NotCompared { side: Side::B, .. }]
        ),
        "{:#?}",
        found.differences
    );
}

/// A partition as a model: the records by offset, and where its segments end.
#[derive(Clone, Debug)]
struct Model {
    records: BTreeMap<i64, i64>,
    ends: Vec<i64>,
}

const END: i64 = 120;

impl Model {
    /// Returns the records of each segment. The first and the last offset of a segment always have one.
    fn segments(&self) -> Vec<Vec<Row>> {
        let mut start = 0;
        let mut segments = Vec::new();
        for end in &self.ends {
            let records = self.records.range(start..*end);
            segments.push(records.map(|(offset, time)| (*offset, *time)).collect());
            start = *end;
        }
        segments
    }
}

fn model() -> impl Strategy<Value = Model> {
    let ends = proptest::collection::btree_set(1..END, 0..6);
    // Of each offset: whether it has a record, and which of two timestamps.
    let records = proptest::collection::vec((0..8_u8, 0..12_u8), END as usize);
    (ends, records).prop_map(|(mut ends, drawn)| {
        ends.insert(END);
        let bounds = ends.iter().flat_map(|end| [*end - 1, *end]).chain([0]);
        let bounds: Vec<i64> = bounds.collect();
        let drawn = drawn.into_iter().enumerate();
        let records = drawn.filter_map(|(offset, (gap, time))| {
            let offset = offset as i64;
            let has_record = gap > 0 || bounds.contains(&offset);
            has_record.then_some((offset, 1_000 + i64::from(time == 0)))
        });
        Model {
            records: records.collect(),
            ends: ends.into_iter().collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_differ_exactly_where_a_model_does(a in model(), b in model(), from in 0..3_usize, full: bool) {
        let worlds = [World::new(), World::new()];
        let mut starts = [0, 0];
        for ((world, model), (start, skipped)) in worlds.iter().zip([&a, &b]).zip(starts.iter_mut().zip([0, from])) {
            // One side may begin later than the other.
            let segments = model.segments();
            let skipped = skipped.min(segments.len() - 1);
            *start = segments[skipped][0].0;
            world.backup(&[("orders", 0, segments[skipped..].to_vec())]);
        }
        let found = compare(&worlds[0], &worlds[1], full);
        let common = starts[0].max(starts[1])..END;
        let (mut only_a, mut only_b, mut changed, mut same) = (0, 0, 0, 0);
        for offset in common.clone() {
            match (a.records.get(&offset), b.records.get(&offset)) {
                (Some(_), None) => only_a += 1,
                (None, Some(_)) => only_b += 1,
                (Some(one), Some(other)) if one != other => changed += 1,
                (Some(_), Some(_)) => same += 1,
                (None, None) => {}
            }
        }
        let mut counted = (0, 0, 0);
        for difference in &found.differences {
            match difference {
                SnapshotDifference::Records { only_in_a, only_in_b, changed, first, offsets, .. } => {
                    counted.0 += only_in_a;
                    counted.1 += only_in_b;
                    counted.2 += changed;
                    for shown in first {
                        prop_assert!((offsets.base_offset..offsets.end_offset).contains(&shown.offset));
                        let (one, other) = (a.records.get(&shown.offset), b.records.get(&shown.offset));
                        prop_assert_ne!(one, other);
                    }
                }
                SnapshotDifference::CoveredOnlyIn { side: Side::A, offsets, .. } => {
                    prop_assert_eq!((offsets.base_offset, offsets.end_offset), (starts[0], starts[1]));
                }
                other => prop_assert!(false, "unexpected: {}", other),
            }
        }
        prop_assert_eq!(counted, (only_a, only_b, changed));
        prop_assert_eq!(found.records.total(), same);
    }
}

/// Another value at offset 7.
fn other_content(offset: i64) -> KeyAndValue {
    match offset {
        7 => (Some(key_of(offset)), b"another".to_vec()),
        _ => (Some(key_of(offset)), value_of(offset)),
    }
}

#[test]
fn a_value_that_differs_is_shown_with_its_offset() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let (a, mut b) = (World::new(), World::new());
    b.content = other_content;
    for world in [&a, &b] {
        world.backup(&[("orders", 0, vec![rows(0, 20), rows(20, 40)])]);
    }
    let found = compare(&a, &b, false);
    assert_eq!(
        texts(&found),
        [
            "orders/0: of offsets 0 to 20 (exclusive), 1 record changed; the first: offset 7 has another value"
        ]
    );
    assert_eq!(found.records.same_digest + found.records.same_objects, 20);
    assert_eq!(found.records.read, 19);
}
