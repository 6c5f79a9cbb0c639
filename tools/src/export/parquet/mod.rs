//! Apache Parquet: a folder of files per partition, or of folders per date.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use kbk_format::{OffsetSpan, PartitionNumber, Record, TimestampType};

use self::file::{FileOptions, ParquetFile};
use super::error::ExportError;
use super::output::sync_folder;
use super::partition::{RecordFile, Written};
use super::plan::PlannedExport;

/// A row group ends with the block of the repository with which it has this much before compression, or this many rows. It is in memory
/// until then; of files of several dates, all row groups together have as much.
const ROW_GROUP_BYTES: u64 = 64 << 20;
const ROW_GROUP_ROWS: u64 = 1 << 20;
/// Files of different dates that are written at the same time. Further dates take another pass over the records.
const DATES_AT_ONCE: usize = 32;

/// How Parquet is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParquetLayout {
    /// The level of zstd, 1 to 19; `None` does not compress.
    pub zstd_level: Option<i32>,
    /// What folders are named after.
    pub folders: ParquetFolders,
    /// Bytes after which another file begins.
    pub file_bytes: u64,
}

/// What folders are named after. Those of Hive's form state columns, which the files do not repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetFolders {
    /// `TOPIC-PARTITION/`, and all columns are in the files.
    Plain,
    /// `topic=TOPIC/partition=PARTITION/`.
    Hive,
    /// `topic=TOPIC/partition=PARTITION/date=YYYY-MM-DD/`: the day of the timestamp, UTC.
    HiveByDate,
}

impl ParquetFolders {
    /// Returns the folder of a partition.
    pub(super) fn folder(self, topic: &str, partition: PartitionNumber) -> String {
        match self {
            ParquetFolders::Plain => kbk_format::kafka_log::partition_folder(topic, partition),
            ParquetFolders::Hive | ParquetFolders::HiveByDate => {
                format!("topic={topic}/partition={partition}")
            }
        }
    }
}

impl ParquetFolders {
    /// Returns whether records with a timestamp of `times` may be written to this folder of a partition. What is missing is stated in one that may
    /// be written to in any case.
    pub(super) fn may_write(self, folder: &str, times: Option<&RangeInclusive<i64>>) -> bool {
        let undated = Day(None).to_string();
        if self != ParquetFolders::HiveByDate || folder == undated {
            return self == ParquetFolders::HiveByDate;
        }
        let Some(times) = times else {
            return false;
        };
        // Dates are ordered as text. The bounds of times that no date names are beyond all of them.
        let (first, last) = (Day::of(*times.start()), Day::of(*times.end()));
        let is_early = first != Day(None) && *folder < *first.to_string();
        let is_late = last != Day(None) && *folder > *last.to_string();
        !is_early && !is_late
    }
}

/// The day of a record, where files are divided by it: days since 1970-01-01. `None` of records without a timestamp, and of those before the
/// year 1 or after the year 9999, which no date names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Day(Option<i32>);

impl Day {
    const MS: i64 = 24 * 60 * 60 * 1000;
    /// 0001-01-01 and 9999-12-31.
    const KNOWN: RangeInclusive<i64> = -719_162..=2_932_896;

    fn of(timestamp: i64) -> Day {
        const NO_TIMESTAMP: i64 = -1;
        let day = timestamp.div_euclid(Day::MS);
        let is_known = timestamp != NO_TIMESTAMP && Day::KNOWN.contains(&day);
        Day(i32::try_from(day).ok().filter(|_| is_known))
    }

    /// Returns the timestamps that it may have.
    fn times(self) -> RangeInclusive<i64> {
        match self.0 {
            Some(day) => {
                let start = i64::from(day) * Day::MS;
                start..=start + (Day::MS - 1)
            }
            None => i64::MIN..=i64::MAX,
        }
    }
}

/// The name of the folder.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = Date::constant(1970, 1, 1);
        let date = self
            .0
            .and_then(|day| epoch.checked_add(jiff::Span::new().days(day)).ok());
        match date {
            Some(date) => write!(f, "date={date}"),
            // What Hive, Spark, pyarrow and DuckDB read as null.
            None => f.write_str("date=__HIVE_DEFAULT_PARTITION__"),
        }
    }
}

/// The folder of one partition.
pub(super) struct Parquet {
    folder: PathBuf,
    layout: ParquetLayout,
    planned: PlannedExport,
    /// By day; under `Day(None)` where files are not divided by it.
    open: BTreeMap<Day, OpenFile>,
    /// Days of this pass.
    days: BTreeSet<Day>,
    /// Days that are left to later passes.
    later: BTreeSet<Day>,
    /// Whether the first pass is over, which has found all days.
    is_repeated: bool,
    /// Selected offsets whose records are damaged: those that a recovery has lost, and those that were found so far.
    missing: Vec<OffsetSpan>,
    /// One past the offsets that the last file speaks for that was ended.
    closed_to: i64,
    /// Files that are complete, but for their names.
    complete: Vec<PathBuf>,
    written: Written,
}

struct OpenFile {
    path: PathBuf,
    writer: ParquetFile,
    /// Where the offsets begin that it speaks for.
    base_offset: i64,
    last_offset: Option<i64>,
    /// Whether the next record begins another file. The last one is so open until the end, which it speaks for.
    is_full: bool,
}

impl Parquet {
    const INCOMPLETE: &str = "partial";

    pub(super) fn create(
        folder: &Path,
        planned: &PlannedExport,
        layout: ParquetLayout,
    ) -> Result<Parquet, ExportError> {
        fs::create_dir(folder).map_err(ExportError::io("create", folder))?;
        let mut parquet = Parquet {
            folder: folder.to_owned(),
            layout,
            planned: planned.clone(),
            open: BTreeMap::new(),
            days: BTreeSet::new(),
            later: BTreeSet::new(),
            is_repeated: false,
            missing: lost_to_damage(planned),
            closed_to: planned.offsets.start,
            complete: Vec::new(),
            written: Written::default(),
        };
        if !parquet.is_by_date() {
            // A partition without a record has a file, too, which states the columns.
            parquet.open(Day(None), planned.offsets.start)?;
        }
        Ok(parquet)
    }

    fn is_by_date(&self) -> bool {
        self.layout.folders == ParquetFolders::HiveByDate
    }

    fn day(&self, record: &Record<'_>) -> Day {
        match self.is_by_date() {
            true => Day::of(record.timestamp),
            false => Day(None),
        }
    }

    /// Begins the file of a day, named after its first offset.
    fn open(&mut self, day: Day, base_offset: i64) -> Result<&mut OpenFile, ExportError> {
        let file = self.create_file(day, &format!("{base_offset:020}"), base_offset)?;
        Ok(self.open.entry(day).or_insert(file))
    }

    fn create_file(&self, day: Day, name: &str, base_offset: i64) -> Result<OpenFile, ExportError> {
        let mut path = self.folder.clone();
        if self.is_by_date() {
            path.push(day.to_string());
            fs::create_dir_all(&path).map_err(ExportError::io("create", &path))?;
        }
        // No half file has a name that ends in .parquet: DuckDB's ** looks into folders that begin with a dot, too.
        path.push(format!("{name}.{}", Self::INCOMPLETE));
        let id = self.planned.read.partition_id();
        let options = FileOptions {
            zstd_level: self.layout.zstd_level,
            without_place: self.layout.folders != ParquetFolders::Plain,
        };
        let writer = File::create_new(&path)
            .and_then(|file| ParquetFile::new(file, &id.topic, id.partition, options));
        Ok(OpenFile {
            writer: writer.map_err(ExportError::io("create", &path))?,
            path,
            base_offset,
            last_offset: None,
            is_full: false,
        })
    }

    /// Ends a file, which speaks for the offsets before `end_offset`.
    fn close(&mut self, day: Day, end_offset: i64) -> Result<(), ExportError> {
        let Some(file) = self.open.remove(&day) else {
            return Ok(());
        };
        let metadata = self.metadata(file.base_offset..end_offset);
        let ended = file.writer.finish(&metadata);
        self.written.bytes += ended.map_err(ExportError::io("write", &file.path))?;
        self.written.segments += 1;
        self.closed_to = end_offset;
        self.complete.push(file.path);
        Ok(())
    }

    /// Gives all files their names, which are durable when this returns.
    fn name_all(&mut self) -> Result<(), ExportError> {
        let mut folders = BTreeSet::from([self.folder.clone()]);
        for path in std::mem::take(&mut self.complete) {
            let name = path.with_extension("parquet");
            fs::rename(&path, &name).map_err(ExportError::io("rename", &path))?;
            folders.extend(path.parent().map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Returns what a file states besides its records.
    fn metadata(&self, offsets: std::ops::Range<i64>) -> Vec<(&'static str, String)> {
        let PlannedExport { read, from, .. } = &self.planned;
        let id = read.partition_id();
        let missing = self.missing.iter().filter(|missing| {
            missing.base_offset < offsets.end && missing.end_offset > offsets.start
        });
        let missing = joined(missing.copied().collect());
        let mut metadata = vec![
            ("kbk.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("kbk.repository", from.repository.to_string()),
            ("kbk.snapshot", from.snapshot.to_string()),
            ("kbk.topic", id.topic.to_string()),
            ("kbk.topic_id", id.topic_id.to_string()),
            ("kbk.partition", id.partition.to_string()),
            ("kbk.base_offset", offsets.start.to_string()),
            ("kbk.end_offset", offsets.end.to_string()),
            // Numbers and names alone: it always is JSON.
            (
                "kbk.missing",
                serde_json::to_string(&missing).unwrap_or_default(),
            ),
        ];
        if let Some(incomplete) = &from.incomplete {
            metadata.push(("kbk.incomplete", incomplete.clone()));
        }
        metadata
    }
}

impl RecordFile for Parquet {
    fn takes(&mut self, record: &Record<'_>) -> bool {
        let day = self.day(record);
        if self.days.contains(&day) {
            return true;
        }
        if self.is_repeated {
            return false;
        }
        let has_room = self.days.len() < DATES_AT_ONCE;
        match has_room {
            true => self.days.insert(day),
            false => self.later.insert(day),
        };
        has_room
    }

    fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ExportError> {
        let day = self.day(record);
        let open = self.open.get(&day);
        if open.is_some_and(|file| file.is_full && file.last_offset.is_some()) {
            self.close_day(day)?;
        }
        let file = match self.open.contains_key(&day) {
            true => self.open.get_mut(&day),
            false => {
                let base_offset = match self.is_by_date() {
                    true => record.offset,
                    // It also speaks for the offsets without a record since the file before.
                    false => self.closed_to,
                };
                Some(self.open(day, base_offset)?)
            }
        };
        let Some(file) = file else {
            return Ok(());
        };
        file.last_offset = Some(record.offset);
        let pushed = file.writer.push(timestamp_type, record);
        pushed.map_err(ExportError::io("write", &file.path))
    }

    fn block_ended(&mut self) -> Result<(), ExportError> {
        for file in self.open.values_mut().filter(|file| !file.is_full) {
            let reaches = file.writer.reaches(self.layout.file_bytes);
            file.is_full = reaches.map_err(ExportError::io("write", &file.path))?;
        }
        let sizes = self.open.iter().map(|(day, file)| {
            let writer = &file.writer;
            (writer.raw_bytes(), writer.rows(), *day)
        });
        let (mut total, mut most) = (0, None);
        for size in sizes {
            total += size.0;
            most = most.max(Some(size));
        }
        let Some((_, rows, day)) = most else {
            return Ok(());
        };
        let is_full = total >= ROW_GROUP_BYTES || rows >= ROW_GROUP_ROWS;
        match self.open.get_mut(&day).filter(|_| is_full) {
            Some(file) => {
                let ended = file.writer.end_row_group();
                ended.map_err(ExportError::io("write", &file.path))
            }
            None => Ok(()),
        }
    }

    fn missing(&mut self, offsets: OffsetSpan) {
        self.missing.push(offsets);
    }

    fn next_pass(&mut self) -> Result<Option<RangeInclusive<i64>>, ExportError> {
        self.is_repeated = true;
        let next: Vec<Day> = self.later.iter().take(DATES_AT_ONCE).copied().collect();
        let (Some(first), Some(last)) = (next.first(), next.last()) else {
            return Ok(None);
        };
        // Those without a date are the first.
        let times = *first.times().start()..=*first.times().end().max(last.times().end());
        let done: Vec<Day> = self.open.keys().copied().collect();
        for day in done {
            self.close_day(day)?;
        }
        self.later = self.later.split_off(last);
        self.later.remove(last);
        self.days = next.into_iter().collect();
        Ok(Some(times))
    }

    fn finish(mut self: Box<Self>, end_offset: i64) -> Result<Written, ExportError> {
        let open: Vec<Day> = self.open.keys().copied().collect();
        for day in open {
            match self.is_by_date() {
                true => self.close_day(day)?,
                false => self.close(day, end_offset)?,
            }
        }
        let lacks = !self.missing.is_empty();
        let is_unsaid = self.complete.is_empty() && self.planned.from.incomplete.is_some();
        if self.is_by_date() && (lacks || is_unsaid) {
            self.state_missing(end_offset)?;
        }
        self.name_all()?;
        Ok(self.written)
    }
}

impl Parquet {
    /// Name of the file that has no row and states what is missing.
    const MISSING: &str = "missing";

    /// Writes a file without rows that speaks for all selected offsets. Files of days speak only for what is between their records, and
    /// nobody knows of which day missing records are.
    fn state_missing(&mut self, end_offset: i64) -> Result<(), ExportError> {
        let (day, base_offset) = (Day(None), self.planned.offsets.start);
        let file = self.create_file(day, Self::MISSING, base_offset)?;
        self.open.insert(day, file);
        self.close(day, end_offset)
    }

    /// Ends a file, which has a record: it speaks for the offsets up to its last one.
    fn close_day(&mut self, day: Day) -> Result<(), ExportError> {
        let file = self.open.get(&day);
        let last = file.and_then(|file| file.last_offset);
        self.close(
            day,
            last.map_or(self.planned.offsets.start, |last| last + 1),
        )
    }
}

/// Returns the selected offsets that a recovery has lost.
fn lost_to_damage(planned: &PlannedExport) -> Vec<OffsetSpan> {
    let selected = &planned.offsets;
    let damaged = planned.from.lost.iter().filter(|lost| lost.is_damaged());
    let within = damaged.map(|lost| lost.from.max(selected.start)..lost.to.min(selected.end));
    let within = within.filter(|offsets| offsets.start < offsets.end);
    within.map(OffsetSpan::from).collect()
}

/// Returns spans in order, with those that touch as one.
fn joined(mut spans: Vec<OffsetSpan>) -> Vec<OffsetSpan> {
    spans.sort_by_key(|span| span.base_offset);
    let mut joined: Vec<OffsetSpan> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.base_offset <= last.end_offset => {
                last.end_offset = last.end_offset.max(span.end_offset);
            }
            _ => joined.push(span),
        }
    }
    joined
}
