//! Reads topics back, as any consumer would, and finds where two of them differ.

use kbk_format::{OffsetSpan, Record, TimestampType, counted};

use crate::kafka::{
    Admin, ClientSettings, Consumer, KafkaError, PartitionRange, RecordHandler, SourceError,
    SourceOptions, TopicPartition,
};
use crate::run::Cancel;

/// A record without its offset, which a restore does not keep.
#[derive(PartialEq, Eq)]
pub(super) struct Restorable {
    timestamp: i64,
    timestamp_type: TimestampType,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Restorable {
    fn of(timestamp_type: TimestampType, record: &Record<'_>) -> Restorable {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Restorable {
            timestamp: record.timestamp,
            timestamp_type,
            key: owned(record.key),
            value: owned(record.value),
            headers: record
                .headers
                .clone()
                .map(|header| (header.name.to_vec(), owned(header.value)))
                .collect(),
        }
    }

    /// Returns the parts in which `other` differs.
    fn unlike(&self, other: &Restorable) -> Vec<&'static str> {
        let parts = [
            ("key", self.key == other.key),
            ("value", self.value == other.value),
            ("headers", self.headers == other.headers),
            ("timestamp", self.timestamp == other.timestamp),
            (
                "timestamp type",
                self.timestamp_type == other.timestamp_type,
            ),
        ];
        parts
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(name, _)| name)
            .collect()
    }
}

/// Why topics could not be read back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The embedded broker drops records beyond its memory.
    #[error("{0}")]
    Lost(String),
    #[error("a stop was requested")]
    Cancelled,
}

impl From<SourceError<ReadError>> for ReadError {
    fn from(error: SourceError<ReadError>) -> ReadError {
        match error {
            SourceError::Kafka(error) => error.into(),
            SourceError::Handler(error) => error,
        }
    }
}

/// Reads all records of these partitions, each in offset order. Blocks.
pub(super) fn read_all(
    kafka: &ClientSettings,
    partitions: &[TopicPartition],
    cancel: &Cancel,
) -> Result<Vec<Vec<Restorable>>, ReadError> {
    let offsets = Admin::connect(kafka)?.offsets(partitions)?;
    let range = |target: &TopicPartition| {
        let offsets = offsets.get(target)?;
        Ok(PartitionRange {
            topic: target.topic.clone(),
            partition: target.partition,
            start: offsets.log_start_offset,
            end: offsets.high_watermark,
        })
    };
    let ranges: Vec<_> = partitions
        .iter()
        .map(range)
        .collect::<Result<_, KafkaError>>()?;
    let mut collected = Collected {
        records: ranges.iter().map(|_| Vec::new()).collect(),
        cancel,
    };
    Consumer::open(kafka, &SourceOptions::default(), ranges)?.run(&mut collected)?;
    Ok(collected.records)
}

struct Collected<'a> {
    records: Vec<Vec<Restorable>>,
    cancel: &'a Cancel,
}

impl RecordHandler for Collected<'_> {
    type Error = ReadError;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ReadError> {
        self.records[slot].push(Restorable::of(timestamp_type, record));
        Ok(())
    }

    fn lost(&mut self, _slot: usize, from: i64, to: i64) -> Result<(), ReadError> {
        Err(ReadError::Lost(format!(
            "the embedded broker has dropped {}",
            OffsetSpan::from(from..to)
        )))
    }

    fn finished(&mut self, _slot: usize) -> Result<(), ReadError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), ReadError> {
        if self.cancel.is_set() {
            Err(ReadError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// Describes the first difference between a partition and its restored copy.
pub(super) fn difference(
    place: &TopicPartition,
    source: &[Restorable],
    copy: &[Restorable],
) -> Option<String> {
    let TopicPartition { topic, partition } = place;
    let different = source
        .iter()
        .zip(copy)
        .enumerate()
        .find(|(_, (source, copy))| source != copy);
    if let Some((index, (source, copy))) = different {
        let parts = source.unlike(copy).join(", ");
        return Some(format!(
            "{topic}/{partition}: of record {index}, counted from 0, the copy has another {parts}"
        ));
    }
    let (expected, found) = (source.len(), copy.len());
    (expected != found).then(|| {
        format!(
            "{topic}/{partition}: of {} the copy has {found}",
            counted(expected, "record")
        )
    })
}

#[cfg(test)]
mod tests {
    use kbk_format::{Header, Headers};

    use super::*;

    fn restorable(timestamp: i64, value: Option<&[u8]>, headers: &[Header<'_>]) -> Restorable {
        let headers = Headers::Slice(headers);
        let record = Record {
            offset: 0,
            timestamp,
            control: false,
            key: None,
            value,
            headers,
        };
        Restorable::of(TimestampType::CreateTime, &record)
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let place = TopicPartition {
            topic: "orders".to_owned(),
            partition: 3.into(),
        };
        let header = |value| Header {
            name: b"tag",
            value,
        };
        let source = || {
            vec![
                restorable(1, None, &[header(None)]),
                restorable(2, Some(b""), &[]),
            ]
        };
        let compare = |copy: Vec<Restorable>| difference(&place, &source(), &copy);
        assert_eq!(compare(source()), None);

        let late = compare(vec![
            restorable(1, None, &[header(None)]),
            restorable(3, None, &[]),
        ])
        .unwrap();
        assert_eq!(
            late,
            "orders/3: of record 1, counted from 0, the copy has another value, timestamp"
        );
        let header = compare(vec![restorable(1, None, &[header(Some(b""))])]).unwrap();
        assert!(
            header.contains("record 0") && header.ends_with("headers"),
            "{header}"
        );
        let mut short = source();
        short.pop();
        assert!(
            compare(short)
                .unwrap()
                .ends_with("of 2 records the copy has 1")
        );
        let mut swapped = source();
        swapped.reverse();
        assert!(compare(swapped).is_some());
    }
}
