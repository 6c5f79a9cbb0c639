//! Records as one file of Apache Parquet, which pyarrow, DuckDB and Spark read.
//!
//! | column | type | holds |
//! |---|---|---|
//! | `topic` | string | the topic's name; left out where the path of the file states it |
//! | `partition` | int32 | the partition's number; left out likewise |
//! | `offset` | int64 | Kafka's offset |
//! | `timestamp` | timestamp in milliseconds, UTC | null where the record has none, which Kafka writes as -1, and outside of the years 1 to 9999 |
//! | `timestamp_raw` | int64 | null, but where the timestamp is outside of the years 1 to 9999: there it is |
//! | `timestamp_type` | string | `CreateTime` or `LogAppendTime` |
//! | `key`, `value` | binary | null and empty differ |
//! | `headers` | list of structs | in their order, duplicates kept: `key`, a string; `key_bytes`, binary, where the name is not UTF-8 and `key` is null; `value`, binary |
//!
//! Records are collected as arrays of Arrow, and encoded whenever these have 1 MiB. A row group is in memory, compressed page by page, until
//! it ends.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    ArrayBuilder as _, BinaryBuilder, Int8Builder, Int64Builder, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::types::Int8Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int8Array, Int32Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, TimeUnit};
use kbk_format::{PartitionNumber, Record, TimestampType};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// Kafka's timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

/// The milliseconds of the years 1 to 9999. Others are no dates for most readers: DuckDB, for one, fails as a whole where it meets one that
/// does not fit into 64 bits of microseconds.
const DATES: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Who wrote a file, in the form that readers parse.
const CREATED_BY: &str = concat!("kbk version ", env!("CARGO_PKG_VERSION"));

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileOptions {
    /// The level of zstd, 1 to 19; `None` does not compress.
    pub(super) zstd_level: Option<i32>,
    /// Whether the columns `topic` and `partition` are left out, since the path of the file states them.
    pub(super) without_place: bool,
}

/// Writes the records of one partition as one file.
pub(super) struct ParquetFile {
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    /// `None` where their columns are left out.
    place: Option<(StringArray, i32)>,
    types: Arc<StringArray>,
    rows: Rows,
    /// Of the open row group.
    raw_bytes: u64,
    row_count: u64,
}

/// Rows that are not encoded yet.
#[derive(Default)]
struct Rows {
    offset: Int64Builder,
    timestamp: TimestampMillisecondBuilder,
    timestamp_raw: Int64Builder,
    /// An index: 0 for `CreateTime`, 1 for `LogAppendTime`.
    timestamp_type: Int8Builder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    /// Where the headers of each row end.
    header_ends: Vec<i32>,
    header_key: StringBuilder,
    header_key_bytes: BinaryBuilder,
    header_value: BinaryBuilder,
    bytes: u64,
}

impl Rows {
    /// Rows are encoded when they have this many bytes, or are this many. Indexes into the bytes of a column have 31 bits, and a record has
    /// at most 256 MiB.
    const MOST_BYTES: u64 = 1 << 20;
    const MOST_ROWS: usize = 1 << 16;
    /// The bytes of a row besides those of its record.
    const FIXED_BYTES: u64 = 8 + 8 + 1;

    fn is_full(&self) -> bool {
        self.bytes >= Self::MOST_BYTES || self.header_ends.len() >= Self::MOST_ROWS
    }

    /// Returns by how much the bytes grow.
    fn push(&mut self, timestamp_type: TimestampType, record: &Record<'_>) -> u64 {
        self.offset.append_value(record.offset);
        let timestamp = Some(record.timestamp).filter(|it| *it != NO_TIMESTAMP);
        let is_date = DATES.contains(&record.timestamp);
        self.timestamp.append_option(timestamp.filter(|_| is_date));
        self.timestamp_raw
            .append_option(timestamp.filter(|_| !is_date));
        self.timestamp_type.append_value(match timestamp_type {
            TimestampType::CreateTime => 0,
            TimestampType::LogAppendTime => 1,
        });
        self.key.append_option(record.key);
        self.value.append_option(record.value);
        for header in record.headers.clone() {
            let text = std::str::from_utf8(header.name).ok();
            self.header_key.append_option(text);
            self.header_key_bytes
                .append_option(Some(header.name).filter(|_| text.is_none()));
            self.header_value.append_option(header.value);
        }
        // Each header has more than one byte, and all bytes fit into 31 bits.
        self.header_ends.push(self.header_value.len() as i32);
        let bytes = record.payload_len() as u64 + Self::FIXED_BYTES;
        self.bytes += bytes;
        bytes
    }

    /// Takes all rows as the columns of the schema, from `offset` on.
    fn take(&mut self, types: &Arc<StringArray>) -> Result<Vec<ArrayRef>, ArrowError> {
        let timestamp_type = self.timestamp_type.finish();
        let timestamp_type =
            DictionaryArray::<Int8Type>::try_new(timestamp_type, Arc::clone(types) as ArrayRef)?;
        let ends = std::iter::once(0).chain(self.header_ends.drain(..));
        let ends: ScalarBuffer<i32> = ends.collect();
        let headers = StructArray::try_new(
            HEADER.clone(),
            vec![
                Arc::new(self.header_key.finish()),
                Arc::new(self.header_key_bytes.finish()),
                Arc::new(self.header_value.finish()),
            ],
            None,
        )?;
        let element = Arc::new(Field::new("element", headers.data_type().clone(), false));
        let headers =
            ListArray::try_new(element, OffsetBuffer::new(ends), Arc::new(headers), None)?;
        self.bytes = 0;
        Ok(vec![
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish().with_timezone(UTC)),
            Arc::new(self.timestamp_raw.finish()),
            Arc::new(timestamp_type),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(headers),
        ])
    }
}

const UTC: &str = "UTC";

/// What a header has.
static HEADER: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("key_bytes", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
    ])
});

fn schema(without_place: bool) -> Schema {
    // Readers see strings: a dictionary of one or two of them is only how Arrow holds them here.
    let name = || DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()));
    let header = Field::new("element", DataType::Struct(HEADER.clone()), false);
    let place = [
        Field::new("topic", name(), false),
        Field::new("partition", DataType::Int32, false),
    ];
    let of_records = [
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp, true),
        Field::new("timestamp_raw", DataType::Int64, true),
        Field::new("timestamp_type", name(), false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", DataType::List(Arc::new(header)), false),
    ];
    let place = place.into_iter().filter(|_| !without_place);
    Schema::new(place.chain(of_records).collect::<Vec<_>>())
}

fn properties(options: FileOptions) -> Result<WriterProperties, ParquetError> {
    let compression = match options.zstd_level {
        Some(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
        None => Compression::UNCOMPRESSED,
    };
    let column = |path: &str| {
        let parts = path.split('.').map(str::to_owned);
        ColumnPath::new(parts.collect())
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(compression)
        // The caller ends row groups.
        .set_max_row_group_row_count(None)
        .set_dictionary_enabled(false)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: if options.without_place { 0 } else { 2 },
            descending: false,
            nulls_first: false,
        }]));
    for path in ["topic", "timestamp_type"] {
        properties = properties.set_column_dictionary_enabled(column(path), true);
    }
    for path in ["partition", "offset", "timestamp", "timestamp_raw"] {
        properties = properties.set_column_encoding(column(path), Encoding::DELTA_BINARY_PACKED);
    }
    // The smallest and the largest value of a page rule out nothing where keys are hashed: how many are null is what helps.
    for path in [
        "key",
        "value",
        "headers.list.element.key",
        "headers.list.element.key_bytes",
        "headers.list.element.value",
    ] {
        properties =
            properties.set_column_statistics_enabled(column(path), EnabledStatistics::Chunk);
    }
    Ok(properties.build())
}

impl ParquetFile {
    /// Begins a file of this partition.
    pub(super) fn new(
        out: File,
        topic: &str,
        partition: PartitionNumber,
        options: FileOptions,
    ) -> io::Result<ParquetFile> {
        let schema = Arc::new(schema(options.without_place));
        let options_of_writer = ArrowWriterOptions::new()
            .with_properties(properties(options).map_err(into_io)?)
            // Else readers would get dictionaries, as Arrow holds them here.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, Arc::clone(&schema), options_of_writer);
        let place = (StringArray::from(vec![topic]), i32::from(partition));
        Ok(ParquetFile {
            writer: writer.map_err(into_io)?,
            schema,
            place: Some(place).filter(|_| !options.without_place),
            types: Arc::new(StringArray::from(vec!["CreateTime", "LogAppendTime"])),
            rows: Rows::default(),
            raw_bytes: 0,
            row_count: 0,
        })
    }

    /// Appends a record to the open row group.
    pub(super) fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> io::Result<()> {
        self.raw_bytes += self.rows.push(timestamp_type, record);
        self.row_count += 1;
        match self.rows.is_full() {
            true => self.encode(),
            false => Ok(()),
        }
    }

    /// Encodes the rows that are not encoded yet.
    fn encode(&mut self) -> io::Result<()> {
        let count = self.rows.header_ends.len();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        if let Some((topic, partition)) = &self.place {
            let indexes = Int8Array::from_value(0, count);
            let topic = DictionaryArray::try_new(indexes, Arc::new(topic.clone()));
            columns.push(Arc::new(topic.map_err(arrow_into_io)?));
            columns.push(Arc::new(Int32Array::from_value(*partition, count)));
        }
        columns.extend(self.rows.take(&self.types).map_err(arrow_into_io)?);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let written = self.writer.write(&batch.map_err(arrow_into_io)?);
        written.map_err(into_io)
    }

    /// Returns the bytes of the open row group before compression: it takes about as much memory at most.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Returns the number of rows of the open row group.
    pub(super) fn rows(&self) -> u64 {
        self.row_count
    }

    /// Returns whether the file has at least this many bytes. Pages that are not compressed yet count for more than they will have, so where it may
    /// be so, the row group is ended to know.
    pub(super) fn reaches(&mut self, bytes: u64) -> io::Result<bool> {
        let open = self.writer.in_progress_size() as u64;
        if self.written() + open < bytes {
            return Ok(false);
        }
        self.end_row_group()?;
        Ok(self.written() >= bytes)
    }

    fn written(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Ends the row group and writes it; nothing where it has no row.
    pub(super) fn end_row_group(&mut self) -> io::Result<()> {
        self.encode()?;
        (self.raw_bytes, self.row_count) = (0, 0);
        self.writer.flush().map_err(into_io)
    }

    /// Ends the file, with names and texts that are its metadata. It is durable, but for its name, when this returns its length.
    pub(super) fn finish(mut self, metadata: &[(&str, String)]) -> io::Result<u64> {
        self.end_row_group()?;
        for (key, value) in metadata {
            let pair = KeyValue::new((*key).to_owned(), value.clone());
            self.writer.append_key_value_metadata(pair);
        }
        self.writer.finish().map_err(into_io)?;
        self.writer.sync()?;
        self.writer.inner().sync_all()?;
        Ok(self.written())
    }
}

fn arrow_into_io(error: ArrowError) -> io::Error {
    into_io(error.into())
}

/// Finds the error of the disk in one of the library, since it tells people what to do.
fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    //! That other programs read the same records is tested with them: tests/kafka/parquet.rs.

    use std::io::{Read, Seek};

    use kbk_format::Headers;

    use super::*;

    fn file(zstd_level: Option<i32>) -> (ParquetFile, File) {
        let options = FileOptions {
            zstd_level,
            without_place: false,
        };
        let file = tempfile::tempfile().unwrap();
        let same = file.try_clone().unwrap();
        (
            ParquetFile::new(file, "t", 3.into(), options).unwrap(),
            same,
        )
    }

    fn record(offset: i64, value: &[u8]) -> Record<'_> {
        Record {
            offset,
            timestamp: offset,
            control: false,
            key: None,
            value: Some(value),
            headers: Headers::Slice(&[]),
        }
    }

    #[test]
    fn the_length_is_that_of_the_file() {
        for level in [None, Some(1)] {
            for rows in [0, 1, 1000] {
                let (mut parquet, mut file) = file(level);
                for offset in 0..rows {
                    let pushed = parquet.push(TimestampType::CreateTime, &record(offset, &[7; 50]));
                    pushed.unwrap();
                    if offset % 400 == 0 {
                        parquet.end_row_group().unwrap();
                    }
                }
                let length = parquet.finish(&[("name", "stated".to_owned())]).unwrap();
                let mut bytes = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(length, bytes.len() as u64);
                assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
                assert!(bytes.windows(6).any(|it| it == b"stated"));
            }
        }
    }

    #[test]
    fn the_open_row_group_counts_its_bytes_and_rows() {
        let (mut parquet, _) = file(Some(3));
        let mut pushed = 0;
        let value = vec![b'x'; 1000];
        for offset in 0..5000 {
            let record = record(offset, &value);
            parquet.push(TimestampType::CreateTime, &record).unwrap();
            pushed += value.len() as u64;
            assert!(parquet.raw_bytes() >= pushed);
        }
        assert!(parquet.raw_bytes() < pushed * 11 / 10);
        assert_eq!(parquet.rows(), 5000);
        parquet.end_row_group().unwrap();
        assert_eq!((parquet.rows(), parquet.raw_bytes()), (0, 0));
        let position = parquet.written();
        assert!(position > 4 && position < pushed / 10, "{position}");
        parquet.end_row_group().unwrap();
        assert_eq!(parquet.written(), position, "nothing has no row group");
    }

    #[test]
    fn a_file_that_reaches_a_size_has_it() {
        // Of text that compresses well, pages have a tenth of what they seem to have before they are compressed.
        let text = "the same words again and again, ".repeat(40);
        for size in [1 << 16, 1 << 20] {
            let (mut parquet, mut file) = file(Some(1));
            for offset in 0.. {
                let value = format!("{offset} {text} {}", offset * 7919 % 1000);
                let record = record(offset, value.as_bytes());
                parquet.push(TimestampType::CreateTime, &record).unwrap();
                if offset % 500 == 0 && parquet.reaches(size).unwrap() {
                    break;
                }
            }
            parquet.finish(&[]).unwrap();
            let length = file.seek(io::SeekFrom::End(0)).unwrap();
            assert!((size..size * 2).contains(&length), "{length} of {size}");
        }
    }

    #[test]
    fn an_error_of_the_disk_is_that_error() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(into_io(full.into()).kind(), io::ErrorKind::StorageFull);
    }
}
