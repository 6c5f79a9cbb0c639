//! Kafka's log of records: the files that an export writes, from the records alone.

use std::collections::BTreeMap;
use std::ops::Range;

use kbk_format::batch::BatchCodec;
use kbk_format::kafka_log::{
    EPOCHS_FILE, LogFile, LogOptions, LogSink, LogWriter, METADATA_FILE, encode_epochs,
    encode_metadata,
};
use kbk_format::{FormatError, TimestampType};

use super::records::Rec;

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

/// The folder of a partition that covers `offsets`, of a topic with this id.
pub(crate) fn files(
    offsets: Range<i64>,
    timestamp_type: TimestampType,
    records: &[Rec],
    topic_id: u8,
) -> Files {
    let options = LogOptions::default();
    let folder = Folder::default();
    let writer = LogWriter::new(folder, offsets.start, BatchCodec::None, options);
    let mut writer = writer.unwrap();
    for record in records {
        let pushed = record.with_record(|record| writer.push(timestamp_type, record));
        pushed.unwrap();
    }
    let mut files = writer.finish(offsets.end).unwrap().files;
    let epochs = [(0, offsets.start)];
    let epochs = &epochs[..usize::from(!offsets.is_empty())];
    files.insert(EPOCHS_FILE.into(), encode_epochs(epochs).into());
    let metadata = encode_metadata([topic_id; 16]);
    files.insert(METADATA_FILE.into(), metadata.into());
    files
}
