//! Cursors that share the memory of what they have decoded: whatever the budget and the order in which they are asked, each has its records.

use kbk_format::repo::RepoError;
use kbk_tools::read::{DecodedBlocks, RecordCursor};
use kbk_tools::{ReadPlan, Selection};
use proptest::prelude::*;

use crate::support::as_batches::SegmentKind;
use crate::support::{KeyAndValue, Row, World, place};

const PARTITIONS: u16 = 5;
/// Of a block, about.
const BLOCK_BYTES: usize = 4 << 10;

type Found = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// Values of very different lengths that compress well, so that blocks take different amounts of memory.
fn content(offset: i64) -> KeyAndValue {
    let length = if offset % 40 == 0 { 6_000 } else { 20 };
    let key = format!("key-{offset}").into_bytes();
    (Some(key), format!("{offset:<length$}").into_bytes())
}

fn world(kind: SegmentKind) -> World {
    let mut world = World::with_blocks(BLOCK_BYTES).of_kind(kind);
    world.content = content;
    let rows = |from: i64| (from..from + 200).map(|o| (o, o)).collect::<Vec<Row>>();
    let partition = |number| ("t", number, vec![rows(0), rows(200)]);
    world.backup(&(0..PARTITIONS).map(partition).collect::<Vec<_>>());
    world
}

fn plan(world: &World, partition: u16, selection: Selection) -> ReadPlan {
    let (snapshot, place) = (world.latest(), place("t", partition));
    let state = snapshot.partition(&place).unwrap();
    let plan = ReadPlan::new(
        &world.repository,
        &snapshot,
        place.clone(),
        state,
        selection,
    );
    world.runtime.block_on(plan).unwrap()
}

/// Selects all but some records of each block.
fn selection() -> Selection {
    Selection {
        offsets: 7..390,
        times: 9..=i64::MAX,
        ..Selection::all()
    }
}

/// Blocks of all partitions that may have selected records.
fn blocks(world: &World) -> u64 {
    let mut blocks = 0;
    for partition in 0..PARTITIONS {
        let selection = selection();
        let mut plan = plan(world, partition, selection.clone());
        let opened = plan.open_all(|segment| {
            let needed = segment.index().entries().iter().filter(|entry| {
                entry.base_offset < selection.offsets.end
                    && entry.end_offset > selection.offsets.start
                    && entry.may_hold_times(9, i64::MAX)
            });
            blocks += needed.count() as u64;
        });
        world.runtime.block_on(opened).unwrap();
    }
    blocks
}

/// What each cursor finds.
fn expected() -> Vec<Found> {
    let one = |offset| {
        let (key, value) = content(offset);
        (offset, key, Some(value))
    };
    (9..390).map(one).collect()
}

fn cursors(world: &World) -> Vec<RecordCursor> {
    let open = |partition| {
        let plan = plan(world, partition, selection());
        RecordCursor::new(plan, world.runtime.handle())
    };
    (0..PARTITIONS).map(open).collect()
}

fn take(
    cursor: &mut RecordCursor,
    decoded: &mut DecodedBlocks,
    world: &World,
) -> Result<Option<Found>, RepoError> {
    let runtime = world.runtime.handle();
    let peeked = cursor.peek(decoded, runtime)?.map(|record| record.offset);
    let next = cursor.next(decoded, runtime)?;
    assert_eq!(peeked, next.as_ref().map(|record| record.offset));
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    Ok(next.map(|record| (record.offset, owned(record.key), owned(record.value))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cursors_have_their_records_in_any_order_of_turns_and_any_budget(
        kind in prop::sample::select(vec![SegmentKind::Columns, SegmentKind::Batches, SegmentKind::NotComputed]),
        turns in prop::collection::vec((0..PARTITIONS, 1_usize..120), 1..120),
        budget in prop::sample::select(vec![0_usize, 1, 30_000, 100_000, usize::MAX]),
    ) {
        let world = world(kind);
        let mut cursors = cursors(&world);
        let mut decoded = DecodedBlocks::new(budget);
        let mut found: Vec<Vec<Found>> = vec![Vec::new(); PARTITIONS.into()];
        // Then each to its end.
        let rest = (0..PARTITIONS).map(|partition| (partition, usize::MAX));
        let mut switches = 0;
        for (partition, most) in turns.into_iter().chain(rest) {
            let index = usize::from(partition);
            switches += 1;
            for _ in 0..most {
                match take(&mut cursors[index], &mut decoded, &world).unwrap() {
                    Some(record) => found[index].push(record),
                    None => break,
                }
            }
        }
        for found in found {
            prop_assert_eq!(found, expected());
        }
        // A block is decoded again only after another cursor had its turn.
        let (counts, blocks) = (decoded.counts(), blocks(&world));
        prop_assert!((blocks..=blocks + switches).contains(&counts.decoded), "{counts:?} {blocks} {switches}");
        if budget == usize::MAX {
            prop_assert_eq!(counts.decoded, blocks);
        }
        // No block takes this much.
        prop_assert!(counts.most_bytes <= budget.max(20_000), "{counts:?}");
    }
}

/// Asks one after the other for a record.
fn in_turns(world: &World, budget: usize) -> kbk_tools::read::DecodeCounts {
    let mut cursors = cursors(world);
    let mut decoded = DecodedBlocks::new(budget);
    for _ in 0..expected().len() {
        for cursor in &mut cursors {
            take(cursor, &mut decoded, world).unwrap().unwrap();
        }
    }
    decoded.counts()
}

#[test]
fn what_is_decoded_is_bounded_over_all_cursors() {
    for kind in [SegmentKind::Columns, SegmentKind::NotComputed] {
        let world = world(kind);
        let (blocks, all) = (blocks(&world), in_turns(&world, usize::MAX));
        assert_eq!(all.decoded, blocks);
        // One at a time: every turn decodes a block.
        let one = in_turns(&world, 0);
        assert_eq!(one.decoded, 381 * u64::from(PARTITIONS), "{kind:?}");
        assert!(one.most_bytes * 3 < all.most_bytes, "{one:?} {all:?}");
        // With a little less than they need, one is decoded again in each turn, and not all. What small batches take is only known within a factor.
        if kind == SegmentKind::Columns {
            let less = in_turns(&world, all.most_bytes - 1);
            assert!(less.most_bytes < all.most_bytes, "{less:?} {all:?}");
            let again = less.decoded - blocks;
            assert!((1..one.decoded / 2).contains(&again), "{less:?} {one:?}");
        }
    }
}

/// An error ends a cursor, also where it is found when a block is decoded again, and the others continue.
#[test]
fn damage_ends_its_cursor_and_no_other() {
    let world = world(SegmentKind::Columns);
    let entry = &world.entries("t", 1)[1];
    world.flip(
        &entry.key,
        usize::try_from(entry.footer_position).unwrap() / 2,
    );
    let mut cursors = cursors(&world);
    let mut decoded = DecodedBlocks::new(0);
    let mut found = vec![0; PARTITIONS.into()];
    let mut failed = Vec::new();
    for _ in 0..600 {
        for (partition, cursor) in cursors.iter_mut().enumerate() {
            match take(cursor, &mut decoded, &world) {
                Ok(Some(_)) => found[partition] += 1,
                Ok(None) => {}
                Err(_) => failed.push(partition),
            }
        }
    }
    assert_eq!(failed, [1]);
    assert!((191..381).contains(&found[1]), "{found:?}");
    found.remove(1);
    assert_eq!(found, [381; 4]);
}
