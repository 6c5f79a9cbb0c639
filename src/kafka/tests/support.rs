//! What the tests share: a cluster, records that own their bytes, and a handler that keeps what it receives.

use kbk_format::record::{Header, Headers, Record, TimestampType};

use crate::kafka::{
    ClientSettings, Consumer, EmbeddedCluster, KafkaError, PartitionRange, Producer, RecordHandler,
    SinkOptions, SourceError, SourceOptions, TopicPartition,
};

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owned {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    pub(super) fn of(record: &Record<'_>) -> Owned {
        Owned {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .clone()
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    pub(super) fn lend<T>(&self, f: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<Header<'_>> = self
            .headers
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        f(&Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }
}

/// Records every call.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) records: Vec<Vec<Owned>>,
    pub(super) lost: Vec<(usize, i64, i64)>,
    pub(super) finished: Vec<usize>,
    /// The partitions that were abandoned, if those are to be left out; otherwise the first one ends the read.
    pub(super) left_out: Option<Vec<usize>>,
    pub(super) idles: usize,
    /// Called on every idle call, with the number of idle calls so far.
    pub(super) on_idle: Option<Box<dyn FnMut(usize)>>,
}

impl RecordHandler for Collected {
    type Error = String;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), String> {
        assert_eq!(timestamp_type, TimestampType::CreateTime);
        assert!(
            !self.finished.contains(&slot),
            "a record after the end of its range"
        );
        if self.records.len() <= slot {
            self.records.resize(slot + 1, Vec::new());
        }
        self.records[slot].push(Owned::of(record));
        Ok(())
    }

    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), String> {
        self.lost.push((slot, from, to));
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), String> {
        self.finished.push(slot);
        Ok(())
    }

    fn unreadable(&mut self, slot: usize, error: KafkaError) -> Result<(), SourceError<String>> {
        let Some(left_out) = &mut self.left_out else {
            return Err(error.into());
        };
        left_out.push(slot);
        Ok(())
    }

    fn idle(&mut self) -> Result<(), String> {
        self.idles += 1;
        if let Some(on_idle) = &mut self.on_idle {
            on_idle(self.idles);
        }
        Ok(())
    }
}

pub(super) fn cluster(topics: &[(&str, i32)]) -> (EmbeddedCluster, ClientSettings) {
    let cluster = EmbeddedCluster::start(1).unwrap();
    for (name, partitions) in topics {
        cluster.create_topic(name, *partitions).unwrap();
    }
    let settings = cluster.settings().unwrap();
    (cluster, settings)
}

pub(super) fn target(topic: &str, partition: u16) -> TopicPartition {
    TopicPartition::new(topic, partition.into())
}

pub(super) fn range(topic: &str, partition: u16, start: i64, end: i64) -> PartitionRange {
    PartitionRange {
        topic: topic.to_owned(),
        partition: partition.into(),
        start,
        end,
    }
}

pub(super) fn producer(
    settings: &ClientSettings,
    options: SinkOptions,
    target: TopicPartition,
) -> Producer {
    let mut producer = Producer::open(settings, options).unwrap();
    producer.set_targets(vec![target]).unwrap();
    producer
}

pub(super) fn write(settings: &ClientSettings, target: TopicPartition, records: &[Owned]) {
    let mut producer = producer(settings, SinkOptions::default(), target);
    for record in records {
        record.lend(|record| producer.send(0, record)).unwrap();
    }
    producer.flush().unwrap();
    assert_eq!(producer.outstanding(), 0);
    let delivered = producer.take_delivered(0);
    let written: u64 = delivered.iter().map(|run| run.records).sum();
    assert_eq!(written, records.len() as u64);
}

pub(super) fn read(settings: &ClientSettings, ranges: Vec<PartitionRange>) -> Collected {
    let mut collected = Collected::default();
    let mut consumer = Consumer::open(settings, &SourceOptions::default(), ranges).unwrap();
    consumer.run(&mut collected).unwrap();
    collected
}

pub(super) fn plain(offset: i64) -> Owned {
    Owned {
        offset,
        timestamp: 1_763_800_000_000 + offset,
        key: None,
        value: Some(format!("value {offset}").into_bytes()),
        headers: Vec::new(),
    }
}
