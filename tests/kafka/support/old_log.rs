//! The log of a stopped broker, edited as disks and older brokers leave it: record batches cut off, and messages of formats v0 and v1.

use std::fs;
use std::path::{Path, PathBuf};

use super::broker::Broker;

/// A partition's folder on the disk of a stopped private broker.
#[derive(Debug)]
pub(crate) struct LogFolder(PathBuf);

impl LogFolder {
    /// Stops the broker, whose log this is.
    pub(crate) fn of(broker: &mut Broker, topic: &str, partition: i32) -> LogFolder {
        broker.stop();
        let data = broker.data();
        // The broker then recovers the log from its records, instead of trusting what it knew of them.
        let _ = fs::remove_file(data.join(".kafka_cleanshutdown"));
        LogFolder(data.join(format!("{topic}-{partition}")))
    }

    /// Keeps the first `batches` record batches.
    pub(crate) fn keep_batches(&self, batches: usize) {
        let log = self.log();
        let bytes = fs::read(&log).expect("a log");
        let ends = batch_ends(&bytes);
        assert!(ends.len() > batches, "the log has {} batches", ends.len());
        let end = batches.checked_sub(1).map_or(0, |last| ends[last]);
        self.replace(&log, &bytes[..end]);
    }

    /// Replaces the log.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.replace(&self.log(), bytes);
    }

    /// Returns the path of the log, which has one segment.
    fn log(&self) -> PathBuf {
        self.0.join("00000000000000000000.log")
    }

    fn replace(&self, log: &Path, bytes: &[u8]) {
        fs::write(log, bytes).expect("the log is written");
        for file in fs::read_dir(&self.0).expect("a folder").flatten() {
            let path = file.path();
            let of_records = ["index", "timeindex", "txnindex", "snapshot"];
            let extension = path.extension().and_then(|it| it.to_str());
            if extension.is_some_and(|it| of_records.contains(&it)) {
                fs::remove_file(&path).expect("removed");
            }
        }
    }
}

/// Returns where the record batches of a log end. After base offset and length, eight and four bytes, `length` bytes follow.
fn batch_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let Some(length) = usize::try_from(length).ok().filter(|length| *length > 0) else {
            break;
        };
        at += 12 + length;
        ends.push(at);
    }
    ends
}

/// Encodes a message of format v0 (without a timestamp) or v1, with its offset. `codec` is in the attributes.
pub(crate) fn message(
    offset: i64,
    timestamp: Option<i64>,
    codec: u8,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut checked = vec![u8::from(timestamp.is_some()), codec];
    checked.extend(timestamp.into_iter().flat_map(i64::to_be_bytes));
    for field in [key, value] {
        let length = field.map_or(-1, |field| i32::try_from(field.len()).expect("short"));
        checked.extend(length.to_be_bytes());
        checked.extend(field.unwrap_or_default());
    }
    let length = i32::try_from(checked.len() + 4).expect("short");
    let mut message = Vec::new();
    message.extend(offset.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(crc32(&checked).to_be_bytes());
    message.extend(checked);
    message
}

/// Encodes a gzip file with one stored block.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    // Magic, deflate, no flags, no time, no extra flags, unknown system.
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    file.push(1); // The last block, stored.
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(bytes);
    file.extend(crc32(bytes).to_le_bytes());
    file.extend(u32::from(length).to_le_bytes());
    file
}

/// The CRC-32 of gzip and of the old message formats.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => crc >> 1 ^ 0xedb8_8320,
        })
    })
}
