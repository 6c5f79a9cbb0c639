//! Text that cannot be decoded to compute its length (SPEC 2.11) has its place in every file that has some of it: the place cannot be read, and
//! everything else can.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use kbk_fuse::{View, ViewError, ViewOptions};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::read::{find, names, read};
use crate::support::records::{self, Rec};
use crate::support::watched::{Fault, watched};
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};
use crate::text::{hour, partition};

const PARTITION: &str = "latest/topics/orders/0";

/// A byte of a file; `None` where it cannot be read.
type Byte = Option<u8>;

/// A block: what it covers, the bound of its times, its records, and whether it is damaged.
#[derive(Clone, Debug)]
struct Block {
    offsets: Range<i64>,
    position: u64,
    stored: u64,
    /// The largest timestamp that it states; `None` of one whose smallest is stated, too, or of all of a segment without records.
    bound: Option<i64>,
    records: Vec<Rec>,
    is_damaged: bool,
}

/// A segment: its object, and its blocks; one for all of it if it cannot be opened.
#[derive(Clone, Debug)]
struct Segment {
    key: String,
    blocks: Vec<Block>,
}

/// The segments of orders/0 as they were written.
async fn segments(world: &World, parts: &[Part]) -> Vec<Segment> {
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let topic = &snapshot.topics[0];
    let (id, state) = (topic.partition_id(0.into()), &topic.partitions[0]);
    let entries = world.repository.segments(&snapshot, &id, state);
    let mut segments = Vec::new();
    for (entry, part) in entries.await.unwrap().into_iter().zip(parts) {
        let bytes = bytes(world, &entry.key).await;
        let segment = kbk_format::Segment::open_whole(&bytes).unwrap();
        let blocks = segment.index().entries().iter().map(|block| Block {
            offsets: block.base_offset..block.end_offset,
            position: block.position,
            stored: block.block_length.into(),
            bound: block
                .min_timestamps
                .is_none()
                .then_some(block.max_timestamp),
            records: part
                .records
                .iter()
                .filter(|record| (block.base_offset..block.end_offset).contains(&record.offset))
                .cloned()
                .collect(),
            is_damaged: false,
        });
        segments.push(Segment {
            blocks: blocks.collect(),
            key: entry.key,
        });
    }
    segments
}

async fn bytes(world: &World, key: &str) -> Vec<u8> {
    let object = world.objects.get(&Path::from(key)).await.unwrap();
    object.bytes().await.unwrap().to_vec()
}

async fn put(world: &World, key: &str, bytes: Vec<u8>) {
    let key = Path::from(key);
    world.objects.put(&key, bytes.into()).await.unwrap();
}

/// What happens to a segment.
#[derive(Clone, Debug)]
enum Damage {
    None,
    /// A byte of each of these blocks, by their numbers modulo that of all, changes.
    Blocks(Vec<usize>),
    Footer,
    Cut,
    Missing,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::None),
        6 => vec(any::<usize>(), 1..4).prop_map(Damage::Blocks),
        1 => Just(Damage::Footer),
        1 => Just(Damage::Cut),
        1 => Just(Damage::Missing),
    ]
}

/// Damages a segment, and notes it in the model.
async fn inflict(world: &World, segment: &mut Segment, damage: &Damage) {
    let mut stored = bytes(world, &segment.key).await;
    let size = stored.len() as u64;
    let last = segment.blocks.last().unwrap();
    let footer = (last.position + last.stored) as usize;
    match damage {
        Damage::None => return,
        Damage::Blocks(numbers) => {
            for number in numbers {
                let count = segment.blocks.len();
                let block = &mut segment.blocks[number % count];
                // A second flip would restore it.
                if !block.is_damaged && !block.records.is_empty() {
                    stored[(block.position + block.stored / 2) as usize] ^= 4;
                    block.is_damaged = true;
                }
            }
            put(world, &segment.key, stored).await;
            return;
        }
        Damage::Footer => {
            stored[footer + 20] ^= 1;
            put(world, &segment.key, stored).await;
        }
        Damage::Cut => {
            stored.pop();
            put(world, &segment.key, stored).await;
        }
        Damage::Missing => {
            let key = Path::from(segment.key.as_str());
            world.objects.delete(&key).await.unwrap();
        }
    }
    // Its text is not asked for, and its length is known: 0.
    if segment.blocks.iter().all(|block| block.records.is_empty()) {
        return;
    }
    let max = segment
        .blocks
        .iter()
        .filter(|block| !block.records.is_empty());
    let max = max.map(|block| {
        let times = block.records.iter().map(|record| record.timestamp);
        block.bound.max(times.max())
    });
    segment.blocks = vec![Block {
        offsets: segment.blocks[0].offsets.start..last.offsets.end,
        position: 0,
        stored: size,
        bound: max.max().flatten(),
        records: segment
            .blocks
            .iter()
            .flat_map(|block| block.records.clone())
            .collect(),
        is_damaged: true,
    }];
}

/// The bytes of a file: of each block the text of `select`ed records, or its stand-in, if a damaged block `may` have some.
fn model(
    segments: &[Segment],
    text: fn(&[Rec]) -> Vec<u8>,
    select: impl Fn(&Rec) -> bool,
    may: impl Fn(&Block) -> bool,
) -> Vec<Byte> {
    let blocks = segments.iter().flat_map(|segment| &segment.blocks);
    let of_block = |block: &Block| match block.is_damaged {
        true => vec![None; if may(block) { block.stored as usize } else { 0 }],
        false => {
            let records: Vec<_> = block
                .records
                .iter()
                .filter(|it| select(it))
                .cloned()
                .collect();
            text(&records).into_iter().map(Some).collect()
        }
    };
    blocks.flat_map(of_block).collect()
}

fn is_damage(error: &ViewError) -> bool {
    matches!(error, ViewError::Damaged { .. } | ViewError::Missing { .. })
}

/// Reads a file from its beginning to its end, past what cannot be read, and compares it.
async fn assert_reads(view: &View, path: &str, expected: &[Byte], step: usize) {
    let entry = find(view, path).await.unwrap();
    assert_eq!(entry.attributes.size, expected.len() as u64, "{path}");
    let file = view.open_file(entry.inode).await.unwrap();
    assert_eq!(file.size(), entry.attributes.size);
    if expected.contains(&None) {
        assert!(file.has_damage(), "{path} is read past the page cache");
    }
    let mut at = 0;
    while at < expected.len() {
        match file.read(at as u64, step).await {
            Ok(found) => {
                let found: Vec<_> = found.iter().copied().map(Some).collect();
                assert!(
                    !found.is_empty() && expected[at..].starts_with(&found),
                    "{path} at {at}"
                );
                let end = (at + step).min(expected.len());
                at += found.len();
                // A read is short only before damage.
                assert!(at == end || expected[at].is_none(), "{path} at {at}");
            }
            Err(error) => {
                assert!(is_damage(&error), "{path} at {at}: {error}");
                assert_eq!(expected[at], None, "{path} at {at}: {error}");
                let run = expected[at..].iter().take_while(|byte| byte.is_none());
                at += run.count();
                // Not its last byte either, nor anything before it.
                for position in [at - 1, at.saturating_sub(7)] {
                    let read = file.read(position as u64, step).await;
                    let is_lost = expected[position].is_none();
                    assert_eq!(read.is_err(), is_lost, "{path} at {position}");
                }
            }
        }
    }
    assert!(file.read(at as u64, step).await.unwrap().is_empty());
}

async fn document(view: &View, path: &str) -> serde_json::Value {
    serde_json::from_slice(&read(view, path).await.unwrap()).unwrap()
}

/// The ranges of a file that `meta.json` calls unreadable. Rows whose offsets touch are one row. Two rows whose text touches may have a gap of
/// offsets between them.
fn listed(meta: &serde_json::Value, file: &str) -> Vec<Range<usize>> {
    let rows = meta["unreadable_text"].as_array().unwrap();
    for pair in rows.windows(2) {
        let [end, start] = [
            &pair[0]["offsets"]["end_offset"],
            &pair[1]["offsets"]["base_offset"],
        ];
        assert!(end.as_i64().unwrap() < start.as_i64().unwrap(), "{meta:#}");
    }
    let at = |row: &serde_json::Value, end: &str| row[file][end].as_u64().unwrap() as usize;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == at(row, "start") => last.end = at(row, "end"),
            _ => ranges.push(at(row, "start")..at(row, "end")),
        }
    }
    ranges
}

fn lost(bytes: &[Byte]) -> Vec<Range<usize>> {
    let mut at = 0;
    let mut runs = Vec::new();
    for run in bytes.chunk_by(|a, b| a.is_none() == b.is_none()) {
        if run[0].is_none() {
            runs.push(at..at + run.len());
        }
        at += run.len();
    }
    runs
}

async fn open(world: &World) -> View {
    let opened = View::open(world.store(), ViewOptions::default());
    opened.await.unwrap()
}

async fn assert_shows(view: &View, segments: &[Segment], step: usize) {
    let all = |text| model(segments, text, |_| true, |_| true);
    let files = [
        (
            "records.jsonl",
            all(records::records as fn(&[Rec]) -> Vec<u8>),
        ),
        ("values", all(records::values)),
        ("keys", all(records::keys)),
    ];
    let meta = document(view, &format!("{PARTITION}/meta.json")).await;
    for (name, expected) in &files {
        assert_reads(view, &format!("{PARTITION}/{name}"), expected, step).await;
        assert_eq!(meta["rendered_bytes"][name], expected.len());
        assert_eq!(listed(&meta, name), lost(expected), "{name}: {meta:#}");
    }
    // Both documents name each block.
    let errors = read(view, "latest/errors.jsonl").await.unwrap();
    let errors = String::from_utf8(errors).unwrap();
    let damaged = segments
        .iter()
        .flat_map(|segment| &segment.blocks)
        .filter(|it| it.is_damaged);
    assert_eq!(errors.lines().count(), damaged.clone().count(), "{errors}");
    assert_eq!(
        meta["damage"].as_array().unwrap().len(),
        damaged.clone().count()
    );
    for block in damaged {
        let Range { start, end } = block.offsets;
        let named = format!("\"base_offset\":{start},\"end_offset\":{end}");
        assert!(errors.contains(&named), "{named} in {errors}");
    }
    // By segment.
    for segment in segments {
        let (first, last) = (
            segment.blocks.first().unwrap(),
            segment.blocks.last().unwrap(),
        );
        let (first, end) = (first.offsets.start, last.offsets.end);
        let name = format!("{PARTITION}/by-offset/{first:020}-{:020}.jsonl", end - 1);
        let one = std::slice::from_ref(segment);
        let expected = model(one, records::records, |_| true, |_| true);
        assert_reads(view, &name, &expected, step).await;
        for block in &segment.blocks {
            for record in &block.records {
                let name = format!("{PARTITION}/by-offset/{}.json", record.offset);
                match read(view, &name).await {
                    Ok(line) => assert_eq!(line, record.line().into_bytes()),
                    Err(error) => assert!(block.is_damaged && is_damage(&error), "{error}"),
                }
            }
        }
    }
    // By time: a block whose smallest time is not known may have records of any time up to the bound.
    let mut hours: BTreeMap<String, Range<i64>> = BTreeMap::new();
    let blocks = segments.iter().flat_map(|segment| &segment.blocks);
    for record in blocks.clone().flat_map(|block| &block.records) {
        let name = hour(record.timestamp);
        if !name.contains("and") {
            let start = record.timestamp.div_euclid(3_600_000) * 3_600_000;
            hours.insert(name, start..start + 3_600_000);
            let day = record.timestamp.div_euclid(86_400_000) * 86_400_000;
            let name = Timestamp::from_millisecond(day)
                .unwrap()
                .strftime("%Y-%m-%d");
            hours.insert(name.to_string(), day..day + 86_400_000);
        }
    }
    for (name, times) in &hours {
        let expected = model(
            segments,
            records::records,
            |record| times.contains(&record.timestamp),
            |block| block.bound.is_none_or(|bound| times.start <= bound),
        );
        let path = format!("{PARTITION}/by-time/{name}");
        match expected.is_empty() {
            true => assert!(matches!(find(view, &path).await, Err(ViewError::NotFound))),
            false => assert_reads(view, &path, &expected, step).await,
        }
    }
    // Which hours there are is then not known, and no listing pretends that it is.
    let folder = find(view, &format!("{PARTITION}/by-time")).await.unwrap();
    let is_known = !blocks.clone().any(|block| block.is_damaged);
    assert_eq!(view.list(folder.inode, 0, 10).await.is_ok(), is_known);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everything_but_what_is_damaged_can_be_read(
        parts in partition(), damages in vec(damage(), 6), step in 1..9_000usize,
    ) {
        Runtime::new().unwrap().block_on(async {
            let mut world = World::new().await;
            world.kind = SegmentKind::NotComputed;
            world.backup(&[("orders", 1, 0, parts.clone())]).await;
            let mut segments = segments(&world, &parts).await;
            for (segment, damage) in segments.iter_mut().zip(&damages) {
                inflict(&world, segment, damage).await;
            }
            // What has no record in a segment of columns is computed, and has no text.
            let view = open(&world).await;
            assert_shows(&view, &segments, step).await;
            // Of another mount it is the same.
            let again = open(&world).await;
            for name in ["records.jsonl", "values", "keys"] {
                let path = format!("{PARTITION}/{name}");
                let (one, other) = (find(&view, &path).await, find(&again, &path).await);
                prop_assert_eq!(one.unwrap(), other.unwrap());
            }
            Ok(())
        })?;
    }
}

fn parts() -> Vec<Part> {
    [(0, 200), (200, 400), (400, 450)]
        .map(|(from, to)| Part::plain(from, to))
        .into()
}

async fn world() -> (World, Vec<Segment>) {
    let mut world = World::new().await;
    world.kind = SegmentKind::NotComputed;
    world.backup(&[("orders", 1, 0, parts())]).await;
    let segments = segments(&world, &parts()).await;
    (world, segments)
}

/// The first and the last block, two neighbours, and a segment that is gone.
#[tokio::test]
async fn the_first_and_the_last_block_neighbours_and_a_missing_segment() {
    let (world, mut segments) = world().await;
    let last = segments[2].blocks.len() - 1;
    inflict(&world, &mut segments[0], &Damage::Blocks(vec![0, 3, 4])).await;
    inflict(&world, &mut segments[1], &Damage::Missing).await;
    inflict(&world, &mut segments[2], &Damage::Blocks(vec![last])).await;
    assert_shows(&open(&world).await, &segments, 4096).await;
}

/// A later snapshot that has the same segments says it, too, before anything of it was read.
#[tokio::test]
async fn each_snapshot_names_what_it_shares() {
    let (world, mut segments) = world().await;
    inflict(&world, &mut segments[0], &Damage::Blocks(vec![2])).await;
    let more = Part::plain(450, 460);
    world.backup(&[("orders", 1, 0, vec![more])]).await;
    let view = open(&world).await;
    for snapshot in [1, 2] {
        let path = format!("snapshots/{snapshot}/topics/orders/0/values");
        let file = find(&view, &path).await.unwrap().inode;
        assert!(view.open_file(file).await.unwrap().has_damage());
        let errors = read(&view, &format!("snapshots/{snapshot}/errors.jsonl")).await;
        let errors = String::from_utf8(errors.unwrap()).unwrap();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(
            errors.contains(&format!("\"snapshot\":{snapshot}")),
            "{errors}"
        );
    }
}

/// Lengths are kept: what is damaged later has its own length, whatever has left the memory meanwhile.
#[tokio::test]
async fn damage_that_comes_later_moves_no_text() {
    let (world, mut segments) = world().await;
    let options = ViewOptions {
        memory_bytes: 40_000,
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let path = format!("{PARTITION}/records.jsonl");
    let whole = read(&view, &path).await.unwrap();
    let before = find(&view, &path).await.unwrap();
    inflict(&world, &mut segments[1], &Damage::Blocks(vec![1])).await;
    let segment = &mut segments[1];
    let damaged = segment.blocks[1].clone();
    let mut expected: Vec<Byte> = whole.iter().copied().map(Some).collect();
    let text = records::records(&damaged.records);
    let start = whole.windows(text.len()).position(|it| it == text).unwrap();
    expected[start..start + text.len()].fill(None);
    // The first read finds it; then everything around it can be read.
    for _ in 0..2 {
        let file = view.open_file(before.inode).await.unwrap();
        for position in (0..whole.len()).step_by(997) {
            drop(file.read(position as u64, 100).await);
        }
    }
    assert_eq!(find(&view, &path).await.unwrap(), before);
    assert_reads(&view, &path, &expected, 3_000).await;
    // A mount that never saw it whole.
    assert_shows(&open(&world).await, &segments, 3_000).await;
}

/// What holds the place of a text stays as long as the mount: it is another object now.
#[tokio::test]
async fn what_is_restored_needs_another_mount() {
    for damage in [Damage::Blocks(vec![2]), Damage::Missing, Damage::Cut] {
        let (world, mut segments) = world().await;
        let intact = bytes(&world, &segments[1].key).await;
        let model_of_intact = segments.clone();
        inflict(&world, &mut segments[1], &damage).await;
        let view = open(&world).await;
        let path = format!("{PARTITION}/records.jsonl");
        let damaged = find(&view, &path).await.unwrap();
        let expected = model(&segments, records::records, |_| true, |_| true);
        assert_eq!(damaged.attributes.size, expected.len() as u64);
        put(&world, &segments[1].key, intact).await;
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        assert_eq!(find(&view, &path).await.unwrap(), damaged);
        let file = view.open_file(damaged.inode).await.unwrap();
        let range = lost(&expected).remove(0);
        for position in [range.start, range.end - 1] {
            let error = file.read(position as u64, 1).await.unwrap_err();
            assert!(matches!(error, ViewError::Changed { .. }), "{error}");
        }
        let found = file.read(0, range.start + 10).await.unwrap();
        assert_eq!(found.len(), range.start, "the rest can be read");
        let errors = read(&view, "latest/errors.jsonl").await.unwrap();
        let errors = String::from_utf8(errors).unwrap();
        assert!(errors.contains("\"kind\":\"changed\""), "{errors}");
        assert_shows(&open(&world).await, &model_of_intact, 4096).await;
    }
}

/// An outage is an error of whatever asks, and afterwards nothing is left of it.
#[tokio::test]
async fn an_outage_makes_no_length() {
    for fault in [
        Fault::Fails,
        Fault::Hangs,
        Fault::Truncates,
        Fault::Forbids,
        Fault::Vanishes,
    ] {
        let (world, segments) = world().await;
        let (store, watch) = watched(world.objects.clone());
        let options = ViewOptions {
            deadline: Duration::from_millis(100),
            ..ViewOptions::default()
        };
        let view = View::open(store, options).await.unwrap();
        // Rows are read, and the first footer is not.
        find(&view, "latest/topics/orders").await.unwrap();
        watch.set(fault);
        let path = format!("{PARTITION}/records.jsonl");
        for _ in 0..2 {
            let error = find(&view, &path).await.unwrap_err();
            assert!(
                !is_damage(&error) && !matches!(error, ViewError::NotFound),
                "{fault:?}: {error}"
            );
        }
        watch.set(Fault::None);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let names = names(&view, PARTITION).await;
        assert!(names.contains(&"records.jsonl".to_owned()), "{names:?}");
        assert_shows(&view, &segments, 5_000).await;
    }
}
