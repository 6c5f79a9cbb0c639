//! The index against a plain model: a `BTreeMap` of rows per commit.
//!
//! Tables are tiny, so that runs have many, and some are named by lists. Every snapshot, old ones too, must read as the model did when it
//! was committed, whatever was merged since: as a whole, by halves, by partition, and by time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::key::tests::partition_id;
use super::row::tests::{segment, topic_row};
use super::*;
use crate::layout::limits;
use crate::repo::id::{Digest, Hex, Id};
use crate::repo::keys::PartitionId;
use crate::repo::sealed::SealError;

const REPOSITORY: Id = Hex([7; 16]);

/// Tables of about three rows.
const TINY: TableSizes = TableSizes {
    full: 1000,
    at_topic: 600,
    small: 2000,
};

type Model = BTreeMap<RowKey, Row>;

/// A store and the runs of each snapshot.
#[derive(Default)]
struct World {
    objects: HashMap<Digest, Vec<u8>>,
    model: Model,
    snapshots: Vec<(Vec<Run>, Model)>,
    copied: u64,
    written: u64,
}

/// What a commit does.
#[derive(Clone, Debug)]
enum Edit {
    Topic {
        topic: u8,
        internal: bool,
    },
    Append {
        topic: u8,
        partition: u16,
        length: i64,
    },
    /// Compacts the first two segments of a partition into one, at the key of the first.
    Compact {
        topic: u8,
        partition: u16,
    },
    /// Expires the first segment of a partition.
    Expire {
        topic: u8,
        partition: u16,
    },
    Drop {
        topic: u8,
    },
}

fn name(topic: u8) -> String {
    format!("t{topic}")
}

fn id(topic: u8, partition: u16) -> PartitionId {
    partition_id(&name(topic), topic, partition)
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let topic = 0..4u8;
    let edit = prop_oneof![
        2 => (topic.clone(), any::<bool>()).prop_map(|(topic, internal)| Edit::Topic { topic, internal }),
        8 => (topic.clone(), 0..3u16, 1..50i64)
            .prop_map(|(topic, partition, length)| Edit::Append { topic, partition, length }),
        2 => (topic.clone(), 0..3u16).prop_map(|(topic, partition)| Edit::Compact { topic, partition }),
        2 => (topic.clone(), 0..3u16).prop_map(|(topic, partition)| Edit::Expire { topic, partition }),
        1 => topic.prop_map(|topic| Edit::Drop { topic }),
    ];
    prop::collection::vec(edit, 0..6)
}

impl World {
    fn segments(&self, id: &PartitionId) -> Vec<(RowKey, Row)> {
        let range = KeyRange::SegmentsOf(id.clone());
        let rows = self
            .model
            .iter()
            .filter(|(key, _)| range.place(key).is_eq());
        rows.map(|(key, row)| (key.clone(), row.clone())).collect()
    }

    fn put(&mut self, table: FinishedTable) -> TableRef {
        self.written += 1;
        self.objects.insert(table.named.sha256, table.bytes);
        table.named
    }

    /// Applies edits to the model, and returns the rows of the commit and whether they replace others.
    fn edit(&mut self, edits: &[Edit]) -> (Model, bool) {
        let before = self.model.clone();
        for edit in edits {
            match edit {
                Edit::Topic { topic, internal } => {
                    let mut row = topic_row(&name(*topic), *topic);
                    row.internal = *internal;
                    let row = Row::Topic(row);
                    self.model.insert(row.key(), row);
                }
                Edit::Append {
                    topic,
                    partition,
                    length,
                } => {
                    let id = id(*topic, *partition);
                    let end = self.segments(&id).last().map_or(0, |(_, row)| end(row));
                    let row = segment(&id, end, end + length);
                    self.model.insert(row.key(), row);
                }
                Edit::Compact { topic, partition } => {
                    let id = id(*topic, *partition);
                    if let [(first, _), (second, row), ..] = self.segments(&id).as_slice() {
                        let base = first.base_offset().unwrap();
                        let merged = segment(&id, base, end(row));
                        self.model.remove(second);
                        self.model.insert(first.clone(), merged);
                    }
                }
                Edit::Expire { topic, partition } => {
                    if let Some((first, _)) = self.segments(&id(*topic, *partition)).first() {
                        self.model.remove(first);
                    }
                }
                Edit::Drop { topic } => {
                    self.model
                        .retain(|key, _| **key.topic_name() != *name(*topic));
                }
            }
        }
        let mut rows = Model::new();
        for (key, row) in &self.model {
            if before.get(key) != Some(row) {
                rows.insert(key.clone(), row.clone());
            }
        }
        let is_segment = |key: &&RowKey| KeyRange::Segments.place(key).is_eq();
        let replaces = rows
            .keys()
            .filter(is_segment)
            .any(|key| before.contains_key(key));
        for key in before.keys().filter(|key| !self.model.contains_key(key)) {
            rows.insert(key.clone(), Row::Removed(key.clone()));
        }
        (rows, replaces)
    }

    fn commit(&mut self, edits: &[Edit]) {
        let (rows, replaces) = self.edit(edits);
        let sequence = self.snapshots.len() as u64 + 1;
        let mut runs = self
            .snapshots
            .last()
            .map_or_else(Vec::new, |(runs, _)| runs.clone());
        while let Some(plan) = plan_merge(&runs, runs.len()) {
            let merged = self.merge(&runs, &plan);
            plan.apply(&mut runs, merged);
        }
        let mut writer = TableWriter::new(REPOSITORY, TINY, u64::MAX, replaces);
        let mut tables = Vec::new();
        for row in rows.values() {
            let finished = writer.push(&row.head(), &row.to_line()).unwrap();
            tables.extend(finished.map(|table| self.put(table)));
        }
        tables.extend(writer.finish().unwrap().map(|table| self.put(table)));
        if let Some(run) = self.run(0, (sequence, sequence), tables) {
            runs.insert(0, run);
        }
        runs.iter().try_for_each(Run::check).unwrap();
        self.snapshots.push((runs, self.model.clone()));
    }

    fn run(&mut self, level: u8, commits: (u64, u64), tables: Vec<TableRef>) -> Option<Run> {
        if tables.is_empty() {
            return None;
        }
        let (run, list) = run_of(level, commits, tables, REPOSITORY).unwrap();
        if let Some(list) = list {
            self.put(list);
        }
        Some(run)
    }

    fn merge(&mut self, runs: &[Run], plan: &MergePlan) -> Option<Run> {
        let parts = &runs[plan.runs.clone()];
        let hides = plan.keeps_removed && parts.iter().any(Run::hides);
        let bytes = parts
            .iter()
            .map(Run::raw_bytes)
            .fold(0, u64::saturating_add);
        let mut writer = TableWriter::new(REPOSITORY, TINY, bytes, hides);
        let tables: Vec<_> = parts.iter().map(|run| self.tables(run)).collect();
        let mut merged = MergedRows::new(tables, KeyRange::All.at_any_time(), plan.keeps_removed);
        let mut written = Vec::new();
        while let Some(row) = self.next(&mut merged) {
            self.copied += 1;
            let finished = writer.push(&row.head, &row.line).unwrap();
            written.extend(finished.map(|table| self.put(table)));
        }
        written.extend(writer.finish().unwrap().map(|table| self.put(table)));
        let commits = (parts.last().unwrap().from, parts[0].to);
        self.run(plan.level, commits, written)
    }

    fn tables(&self, run: &Run) -> Vec<TableRef> {
        match run.tables() {
            RunTables::Named(tables) => tables.to_vec(),
            RunTables::InList(list) => {
                read_list(list, REPOSITORY, &self.objects[&list.sha256]).unwrap()
            }
        }
    }

    fn next(&self, merged: &mut MergedRows) -> Option<TableRow> {
        loop {
            match merged.step() {
                Step::Row(row, _) => return Some(row),
                Step::End => return None,
                Step::Read { source, tables } => {
                    // Any number of those that follow may be at hand.
                    for table in tables.iter().take(1 + tables.len() / 2) {
                        let bytes = &self.objects[&table.sha256];
                        let table = Table::read(table, REPOSITORY, bytes).unwrap();
                        merged.supply(source, Arc::new(table));
                    }
                }
            }
        }
    }

    /// Reads the rows of a range from a snapshot.
    fn read(&self, runs: &[Run], range: KeyRange) -> Vec<Row> {
        self.read_wanted(runs, range.at_any_time())
    }

    fn read_wanted(&self, runs: &[Run], wanted: RowFilter) -> Vec<Row> {
        let tables = runs.iter().map(|run| self.tables(run));
        let mut merged = MergedRows::new(tables.collect::<Vec<_>>(), wanted, false);
        let mut rows = Vec::new();
        while let Some(row) = self.next(&mut merged) {
            rows.push(row.read().unwrap());
        }
        rows
    }

    fn check(&self) {
        for (runs, model) in &self.snapshots {
            let everything = self.read(runs, KeyRange::All);
            assert_eq!(everything, model.values().cloned().collect::<Vec<_>>());
            let mut ranges = vec![KeyRange::States, KeyRange::Segments];
            for topic in 0..4 {
                ranges.extend((0..3).map(|partition| KeyRange::SegmentsOf(id(topic, partition))));
            }
            for range in ranges {
                let rows = model.iter().filter(|(key, _)| range.place(key).is_eq());
                let expected: Vec<Row> = rows.map(|(_, row)| row.clone()).collect();
                assert_eq!(self.read(runs, range), expected);
            }
            for (from, to) in [(0, 10), (40, 60), (1000, 2000)] {
                self.check_window(runs, model, from, to);
            }
        }
    }

    /// Tables outside a window of time are left out, and the segments in it are found all the same.
    fn check_window(&self, runs: &[Run], model: &Model, from: i64, to: i64) {
        let outside =
            |times: Option<(i64, i64)>| times.is_none_or(|(min, max)| max < from || min >= to);
        let in_window = |row: &Row| match row {
            Row::Segment(_, entry) => !outside(entry.time_bounds()),
            _ => false,
        };
        let wanted = RowFilter {
            range: KeyRange::Segments,
            times: Some((from, to - 1)),
        };
        let mut found = self.read_wanted(runs, wanted);
        found.retain(in_window);
        let expected: Vec<Row> = model
            .values()
            .filter(|row| in_window(row))
            .cloned()
            .collect();
        assert_eq!(found, expected);
    }
}

fn end(row: &Row) -> i64 {
    match row {
        Row::Segment(_, entry) => entry.end_offset,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_snapshot_reads_as_it_was_committed(commits in prop::collection::vec(edits(), 1..60)) {
        let mut world = World::default();
        for edits in &commits {
            world.commit(edits);
        }
        world.check();
    }
}

/// Appends one segment to one of many partitions per commit.
fn grown(commits: u64) -> World {
    let mut world = World::default();
    for at in 0..commits {
        let (topic, partition) = ((at * 7 % 4) as u8, (at * 5 % 3) as u16);
        world.commit(&[Edit::Append {
            topic,
            partition,
            length: 1,
        }]);
    }
    world
}

#[test]
fn rows_are_copied_a_few_times_and_runs_are_few() {
    let world = grown(1024);
    let (runs, model) = world.snapshots.last().unwrap();
    assert_eq!(model.len(), 1024);
    // Once per level, and at most four times more with the oldest run.
    assert!(world.copied <= 7 * 1024, "{} copies", world.copied);
    let most = world.snapshots.iter().map(|(runs, _)| runs.len()).max();
    assert!(most <= Some(16), "{most:?} runs");
    assert!(
        runs.iter()
            .any(|run| matches!(run.tables(), RunTables::InList(_)))
    );
}

#[test]
fn removed_rows_go_when_nothing_older_is_left() {
    let mut world = World::default();
    for _ in 0..2 {
        world.commit(&[Edit::Append {
            topic: 1,
            partition: 1,
            length: 5,
        }]);
    }
    world.commit(&[Edit::Drop { topic: 1 }]);
    for topic in 2..5 {
        world.commit(&[Edit::Append {
            topic,
            partition: 1,
            length: 5,
        }]);
    }
    let (runs, model) = world.snapshots.last().unwrap();
    assert_eq!((runs.len(), model.len()), (2, 3));
    let rows: u64 = runs
        .iter()
        .flat_map(|run| world.tables(run))
        .map(|table| table.rows)
        .sum();
    assert_eq!(
        rows, 3,
        "the removed rows and those that they remove are gone"
    );
    assert!(runs.iter().all(|run| !run.hides()));
}

#[test]
fn a_snapshot_without_rows_is_empty() {
    let mut world = World::default();
    world.commit(&[]);
    world.check();
    assert!(world.snapshots[0].0.is_empty());
}

fn table_and_list() -> (World, TableRef, TableRef) {
    let mut world = World::default();
    let append = |at: u16| Edit::Append {
        topic: 1,
        partition: at % 3,
        length: 5,
    };
    let edits: Vec<Edit> = (0..30)
        .map(append)
        .chain([Edit::Topic {
            topic: 1,
            internal: true,
        }])
        .collect();
    world.commit(&edits);
    let runs = world.snapshots[0].0.clone();
    let list = runs[0].list.clone().unwrap();
    let table = world.tables(&runs[0])[1].clone();
    (world, table, list)
}

#[test]
fn every_flipped_bit_of_a_table_and_of_a_list_is_found() {
    let (world, table, list) = table_and_list();
    let damaged = |named: &TableRef, bytes: &[u8]| {
        let table = Table::read(named, REPOSITORY, bytes).map(drop);
        let list = read_list(named, REPOSITORY, bytes).map(drop);
        [table, list]
            .iter()
            .all(|read| matches!(read, Err(SealError::Damaged(_))))
    };
    for named in [&table, &list] {
        let bytes = &world.objects[&named.sha256];
        assert!(!damaged(named, bytes) || Table::read(named, REPOSITORY, bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(damaged(named, &flipped), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(damaged(named, &bytes[..length]), "cut to {length}");
        }
    }
}

#[test]
fn references_that_state_something_else_are_found() {
    let (world, table, list) = table_and_list();
    let wrongs: [fn(&mut TableRef); 7] = [
        |named| named.rows += 1,
        |named| named.first = named.last.clone(),
        |named| named.last = RowKey::segment(id(9, 0), 0),
        |named| named.min_timestamp = named.min_timestamp.map(|time| time - 1),
        |named| named.max_timestamp = None,
        |named| named.raw_size += 1,
        |named| named.sha256 = Hex([0; 32]),
    ];
    for (at, wrong) in wrongs.iter().enumerate() {
        let mut named = table.clone();
        wrong(&mut named);
        let bytes = &world.objects[&table.sha256];
        assert!(
            Table::read(&named, REPOSITORY, bytes).is_err(),
            "table, {at}"
        );
        let mut named = list.clone();
        wrong(&mut named);
        let bytes = &world.objects[&list.sha256];
        assert!(read_list(&named, REPOSITORY, bytes).is_err(), "list, {at}");
    }
    let bytes = &world.objects[&table.sha256];
    assert!(
        Table::read(&table, Id::ZERO, bytes).is_err(),
        "of another repository"
    );
    let list_as_table = Table::read(&list, REPOSITORY, &world.objects[&list.sha256]);
    let format = SealError::OtherFormat("kbk-table-list".into());
    assert_eq!(list_as_table.unwrap_err(), format);
}

/// Packs lines that no writer would, and reads them as a table.
fn forged(rows: &[Row]) -> Result<Table, SealError> {
    use crate::repo::packed::{PackedFormat, pack};
    let mut lines = Vec::new();
    for row in rows {
        lines.extend(row.to_line());
        lines.push(b'\n');
    }
    let count = rows.len() as u64;
    let packed = pack(PackedFormat::Table, REPOSITORY, &lines, count).unwrap();
    let keys = || rows.iter().map(Row::key);
    let named = TableRef {
        sha256: packed.named.sha256,
        size: packed.named.size,
        raw_size: packed.named.raw_size,
        rows: count,
        first: keys().next().unwrap(),
        last: keys().next_back().unwrap(),
        min_timestamp: None,
        max_timestamp: None,
        hides: false,
    };
    Table::read(&named, REPOSITORY, &packed.bytes)
}

#[test]
fn tables_that_break_a_rule_are_refused() {
    let topic = |number: u8| Row::Topic(topic_row(&name(number), number));
    assert_eq!(forged(&[topic(1), topic(2)]).unwrap().rows.len(), 2);
    for (at, rows) in [
        vec![topic(2), topic(1)],
        vec![topic(1), topic(1)],
        vec![Row::Removed(topic(1).key())],
        vec![segment(&id(1, 1), 0, 5)],
    ]
    .into_iter()
    .enumerate()
    {
        let read = forged(&rows);
        assert!(matches!(read, Err(SealError::Damaged(_))), "rule {at}");
    }
}

#[test]
fn runs_and_references_are_checked_by_themselves() {
    let (world, table, list) = table_and_list();
    let run = world.snapshots[0].0[0].clone();
    let wrongs: [fn(&mut Run); 8] = [
        |run| run.level = 64,
        |run| run.from = 0,
        |run| run.from = run.to + 1,
        |run| run.list = None,
        |run| run.tables = Some(Vec::new()),
        |run| run.list.as_mut().unwrap().rows = 0,
        |run| run.list.as_mut().unwrap().raw_size = limits::TABLE_RAW_BYTES + 1,
        |run| run.list.as_mut().unwrap().min_timestamp = None,
    ];
    for (at, wrong) in wrongs.iter().enumerate() {
        let mut run = run.clone();
        wrong(&mut run);
        assert!(run.check().is_err(), "rule {at}");
    }
    let named = |tables: Vec<TableRef>| Run {
        tables: Some(tables),
        list: None,
        ..run.clone()
    };
    assert_eq!(named(vec![table.clone()]).check(), Ok(()));
    for wrong in [vec![], vec![table.clone(), table.clone()], vec![list; 5]] {
        assert!(named(wrong).check().is_err());
    }
}

#[test]
fn rows_keep_the_bytes_of_later_writers() {
    let mut world = World::default();
    world.commit(&[Edit::Topic {
        topic: 1,
        internal: false,
    }]);
    let row = Row::Topic(topic_row("t2", 2));
    let line = String::from_utf8(row.to_line()).unwrap();
    let line = Bytes::from(line.replacen("\"topic_id\"", "\"later\":{\"a\":1.5},\"topic_id\"", 1));
    let mut writer = TableWriter::new(REPOSITORY, TINY, 0, false);
    assert!(writer.push(&row.head(), &line).unwrap().is_none());
    let table = writer.finish().unwrap().unwrap();
    let named = world.put(table);
    let mut runs = world.snapshots[0].0.clone();
    runs.insert(0, world.run(0, (2, 2), vec![named]).unwrap());
    let plan = MergePlan {
        runs: 0..2,
        level: 1,
        keeps_removed: false,
    };
    let merged = world.merge(&runs, &plan).unwrap();
    let tables = vec![world.tables(&merged)];
    let mut rows = MergedRows::new(tables, KeyRange::All.at_any_time(), false);
    world.next(&mut rows).unwrap();
    assert_eq!(world.next(&mut rows).unwrap().line, line);
}
