//! Kafka's log of a partition: the files that an export writes, from the records alone, and from what is stored.

use std::collections::BTreeMap;
use std::ops::Range;

use kbk_format::batch::{BatchCodec, RecordBatches};
use kbk_format::kafka_log::{
    EPOCHS_FILE, LogFile, LogOptions, LogSink, LogWriter, METADATA_FILE, encode_epochs,
    encode_metadata,
};
use kbk_format::{BlockDecoder, BlockKind, Columns, FormatError, Segment, Streams, TimestampType};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::records::Rec;
use super::world::World;

/// Files by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Folder {
    files: Files,
    base_offset: i64,
}

impl Folder {
    fn put(&mut self, file: LogFile, bytes: &[u8]) {
        let put = self.files.insert(file.to_string(), bytes.to_vec());
        assert!(put.is_none(), "{file} a second time");
    }
}

impl LogSink for Folder {
    type Error = FormatError;

    fn begin(&mut self, base_offset: i64) -> Result<(), FormatError> {
        self.base_offset = base_offset;
        self.put(LogFile::Log(base_offset), &[]);
        Ok(())
    }

    fn append(&mut self, batches: &[u8]) -> Result<(), FormatError> {
        let name = LogFile::Log(self.base_offset).to_string();
        self.files
            .get_mut(&name)
            .unwrap()
            .extend_from_slice(batches);
        Ok(())
    }

    fn end(&mut self, index: &[u8], time_index: &[u8]) -> Result<(), FormatError> {
        self.put(LogFile::Index(self.base_offset), index);
        self.put(LogFile::TimeIndex(self.base_offset), time_index);
        Ok(())
    }
}

/// The folder of a partition that covers `offsets`, of a topic with this id, all of whose records are encoded anew.
pub(crate) fn files(
    offsets: Range<i64>,
    timestamp_type: TimestampType,
    records: &[Rec],
    topic_id: u8,
) -> Files {
    let mut files = log(offsets.clone(), timestamp_type, records);
    put_side_files(&mut files, offsets, topic_id);
    files
}

fn put_side_files(files: &mut Files, offsets: Range<i64>, topic_id: u8) {
    let epochs = [(0, offsets.start)];
    let epochs = &epochs[..usize::from(!offsets.is_empty())];
    files.insert(EPOCHS_FILE.into(), encode_epochs(epochs).into());
    let metadata = encode_metadata([topic_id; 16]);
    files.insert(METADATA_FILE.into(), metadata.into());
}

fn log(offsets: Range<i64>, timestamp_type: TimestampType, records: &[Rec]) -> Files {
    let options = LogOptions::default();
    let folder = Folder::default();
    let writer = LogWriter::new(folder, offsets.start, BatchCodec::None, options);
    let mut writer = writer.unwrap();
    for record in records {
        let pushed = record.with_record(|record| writer.push(timestamp_type, record));
        pushed.unwrap();
    }
    writer.finish(offsets.end).unwrap().files
}

/// Batches that a log does not divide, and what they cover.
struct Unit {
    bytes: Vec<u8>,
    offsets: Range<i64>,
    /// The last offset of the first batch, of the last batch, and of the one with the largest timestamp; and that.
    first: i64,
    last: i64,
    latest: i64,
    max_timestamp: i64,
}

/// The unit of batches as they are in a log.
fn unit(bytes: Vec<u8>, covered: Option<Range<i64>>) -> Unit {
    let headers: Vec<_> = RecordBatches::new(&bytes, 0)
        .map(|batch| *batch.unwrap().header())
        .collect();
    let max_timestamp = headers.iter().map(|it| it.max_timestamp).max().unwrap();
    let latest = headers.iter().find(|it| it.max_timestamp == max_timestamp);
    let last = headers.last().unwrap().last_offset;
    Unit {
        offsets: covered.unwrap_or(headers[0].base_offset..last + 1),
        first: headers[0].last_offset,
        last,
        latest: latest.unwrap().last_offset,
        max_timestamp,
        bytes,
    }
}

/// The batches of records that are encoded anew, up to `end`.
fn encoded(records: &mut Vec<Rec>, timestamp_type: TimestampType, end: Option<i64>) -> Vec<Unit> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Vec::new();
    };
    let offsets = first.offset..end.unwrap_or(last.offset + 1);
    let files = log(offsets, timestamp_type, records);
    records.clear();
    let logs = files.iter().filter(|(name, _)| name.ends_with(".log"));
    let of_log = |(_, bytes): (&String, &Vec<u8>)| {
        let batches = RecordBatches::new(bytes, 0).map(|it| it.unwrap().bytes().to_vec());
        batches.map(|batch| unit(batch, None)).collect::<Vec<_>>()
    };
    logs.flat_map(of_log).collect()
}

/// A stored batch as a log has it: no producer, no transaction, no delete horizon, epoch 0, and a checksum over that.
fn without_source(batch: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    batch[12..16].fill(0);
    batch[22] &= !0x50;
    batch[43..57].fill(0xff);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn units(segments: &[Vec<u8>], timestamp_type: TimestampType, end: i64) -> Vec<Unit> {
    let (mut units, mut records) = (Vec::new(), Vec::new());
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    for bytes in segments {
        let segment = Segment::open_whole(bytes).unwrap();
        for number in 0..segment.index().entries().len() {
            let entry = segment.index().entries()[number];
            let block = segment.block(number, &bytes[entry.position as usize..]);
            let block = block.unwrap();
            let is_near = entry.end_offset - entry.base_offset <= i64::from(i32::MAX);
            if entry.kind == BlockKind::Batches && is_near {
                units.extend(encoded(&mut records, timestamp_type, None));
                let batches = block.batches(&mut decoder).unwrap().unwrap();
                let batches = batches.flat_map(|batch| without_source(batch.unwrap().bytes()));
                let covered = entry.base_offset..entry.end_offset;
                units.push(unit(batches.collect(), Some(covered)));
                continue;
            }
            block
                .decode(&mut decoder, Streams::All, &mut columns)
                .unwrap();
            records.extend(columns.iter().map(|record| {
                Rec {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .map(|it| (it.name.to_vec(), it.value.map(<[u8]>::to_vec)))
                        .collect(),
                }
            }));
        }
    }
    units.extend(encoded(&mut records, timestamp_type, Some(end)));
    units
}

/// The folder of a partition that covers `offsets`, of the stored bytes of its segments: Kafka's own batches are in it as they are.
pub(crate) fn files_of_stored(
    offsets: Range<i64>,
    timestamp_type: TimestampType,
    segments: &[Vec<u8>],
    topic_id: u8,
) -> Files {
    let mut units = units(segments, timestamp_type, offsets.end);
    if units.last().is_none_or(|last| last.last < offsets.end - 1) && !offsets.is_empty() {
        let empty = log(offsets.end - 1..offsets.end, timestamp_type, &[]);
        let (_, bytes) = empty
            .into_iter()
            .find(|(name, _)| name.ends_with(".log"))
            .unwrap();
        units.push(unit(bytes, None));
    }
    let mut folder = Folder::default();
    let mut open = Open::at(offsets.start);
    folder.begin(offsets.start).unwrap();
    for unit in &units {
        let is_near = unit.offsets.end - 1 - open.base <= i64::from(i32::MAX);
        if !is_near || open.length > 0 && open.length + unit.bytes.len() > 1 << 30 {
            open.add_time();
            folder.end(&open.index, &open.times).unwrap();
            open = Open::at(unit.offsets.start);
            folder.begin(open.base).unwrap();
        }
        if open
            .latest
            .is_none_or(|(time, _)| unit.max_timestamp > time)
        {
            open.latest = Some((unit.max_timestamp, unit.latest));
        }
        if open.since > 4096 {
            open.index
                .extend(((unit.first - open.base) as i32).to_be_bytes());
            open.index.extend((open.length as i32).to_be_bytes());
            open.add_time();
            open.since = 0;
        }
        open.length += unit.bytes.len();
        open.since += unit.bytes.len();
        folder.append(&unit.bytes).unwrap();
    }
    open.add_time();
    folder.end(&open.index, &open.times).unwrap();
    put_side_files(&mut folder.files, offsets, topic_id);
    folder.files
}

/// A segment of a log that is being filled.
struct Open {
    base: i64,
    length: usize,
    since: usize,
    latest: Option<(i64, i64)>,
    indexed: i64,
    index: Vec<u8>,
    times: Vec<u8>,
}

impl Open {
    fn at(base: i64) -> Open {
        Open {
            base,
            length: 0,
            since: 0,
            latest: None,
            indexed: -1,
            index: Vec::new(),
            times: Vec::new(),
        }
    }

    fn add_time(&mut self) {
        if let Some((time, offset)) = self.latest.filter(|(time, _)| *time > self.indexed) {
            self.indexed = time;
            self.times.extend(time.to_be_bytes());
            self.times
                .extend(((offset - self.base) as i32).to_be_bytes());
        }
    }
}

/// The stored bytes of the segments of partition 0 of a topic, of a snapshot.
pub(crate) async fn stored(world: &World, sequence: u64, topic: &str) -> Vec<Vec<u8>> {
    let snapshot = world.repository.snapshot(sequence).await.unwrap();
    let mut topics = snapshot.topics.iter();
    let topic = topics.find(|it| *it.name == *topic).unwrap();
    let (id, state) = (topic.partition_id(0.into()), &topic.partitions[0]);
    let entries = world.repository.segments(&snapshot, &id, state);
    let mut stored = Vec::new();
    for entry in entries.await.unwrap() {
        let object = world.objects.get(&Path::from(entry.key.as_str())).await;
        stored.push(object.unwrap().bytes().await.unwrap().to_vec());
    }
    stored
}
