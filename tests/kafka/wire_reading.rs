//! The wire client reads what librdkafka reads: every codec, transactions, gaps, times, both isolation levels; and finds offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use kbk::kafka::TopicPartition;
use kbk::kafka::wire::protocol::Isolation;
use kbk::kafka::wire::{
    BatchKind, FetchEvent, FetchOptions, FetchRange, FetchedBatches, OffsetQuery, WireClient,
};
use kbk_format::PartitionNumber;
use kbk_format::batch::{BatchCodec, BatchDecoder};
use kbk_format::record::TimestampType;

use crate::support::broker::Broker;
use crate::support::produce::{CODECS, Producer, produce};
use crate::support::record::{Message, OwnedRecord, TimestampType as TestedType};
use crate::support::wire_client::{self, block_on};
use crate::support::{consume, samples, scenarios, topics};

/// What a partition has, by the wire client.
#[derive(Debug, Default)]
struct Read {
    records: Vec<OwnedRecord>,
    kinds: BTreeMap<&'static str, usize>,
    codecs: Vec<BatchCodec>,
    responses: usize,
}

impl Read {
    fn add(&mut self, fetched: &FetchedBatches, end: i64, decoder: &mut BatchDecoder) {
        self.responses += 1;
        for batch in fetched.batches() {
            let (batch, kind) = batch.expect("valid batches");
            let name = match kind {
                BatchKind::Data => "data",
                BatchKind::Aborted => "aborted",
                BatchKind::Control => "control",
            };
            *self.kinds.entry(name).or_default() += 1;
            if kind != BatchKind::Data {
                continue;
            }
            let attributes = batch.header().attributes;
            let codec = attributes.codec().expect("a codec of Kafka's");
            if !self.codecs.contains(&codec) {
                self.codecs.push(codec);
            }
            let timestamp_type = match attributes.timestamp_type() {
                TimestampType::CreateTime => TestedType::CreateTime,
                TimestampType::LogAppendTime => TestedType::LogAppendTime,
            };
            for record in decoder.decode(&batch).expect("records") {
                if !(fetched.position..end).contains(&record.offset) {
                    continue;
                }
                let headers = record.headers.clone();
                let headers = headers.map(|it| (it.name.to_vec(), it.value.map(<[u8]>::to_vec)));
                self.records.push(OwnedRecord {
                    offset: record.offset,
                    timestamp_type,
                    message: Message {
                        timestamp: record.timestamp,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                        headers: headers.collect(),
                    },
                });
            }
        }
    }
}

fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic, PartitionNumber::new(number).expect("a number"))
}

async fn offset(client: &WireClient, of: &TopicPartition, query: OffsetQuery) -> Option<i64> {
    let asked = [of.clone()];
    let mut found = client
        .list_offsets(&asked, query, Isolation::ReadCommitted)
        .await;
    found
        .remove(of)
        .expect("an answer")
        .expect("an offset")
        .offset
}

/// Reads partitions from their first offsets to their last stable ones.
fn read(broker: &Broker, topic: &str, partitions: i32, options: &FetchOptions) -> Vec<Read> {
    let client = wire_client::of(broker);
    block_on(async {
        let mut ranges = Vec::new();
        for number in 0..partitions {
            let partition = partition(topic, number);
            let start = offset(&client, &partition, OffsetQuery::Earliest).await;
            let end = offset(&client, &partition, OffsetQuery::Latest).await;
            ranges.push(FetchRange {
                partition,
                start: start.expect("a start"),
                end,
                last_epoch: None,
            });
        }
        let mut fetcher = client.fetcher(options.clone(), ranges.clone());
        let mut read: Vec<Read> = ranges.iter().map(|_| Read::default()).collect();
        let mut decoder = BatchDecoder::new();
        let mut finished = 0;
        while let Some(event) = fetcher.next().await {
            match event {
                FetchEvent::Batches(fetched) => {
                    let at = ranges
                        .iter()
                        .position(|it| it.partition == fetched.partition);
                    let at = at.expect("a partition that was asked for");
                    let end = ranges[at].end.expect("an end");
                    read[at].add(&fetched, end, &mut decoder);
                }
                FetchEvent::Finished(_) => finished += 1,
                FetchEvent::Failed(partition, error) => panic!("{partition}: {error}"),
            }
        }
        assert_eq!(finished, ranges.len());
        read
    })
}

/// Compares all partitions of a topic with what librdkafka's consumer reads.
#[track_caller]
fn assert_reads_the_same(broker: &Broker, topic: &str, partitions: i32) -> Vec<Read> {
    let read = read(broker, topic, partitions, &FetchOptions::default());
    for (number, read) in (0..).zip(&read) {
        let expected = consume::read_all(broker, topic, number);
        assert_eq!(read.records.len(), expected.len(), "{topic}/{number}");
        for (found, expected) in read.records.iter().zip(&expected) {
            assert_eq!(found, expected, "{topic}/{number}");
        }
    }
    read
}

#[test]
fn records_of_every_codec_are_those_that_librdkafka_reads() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-codecs");
    topics::create(broker, &topic, 5, &topics::ANY_TIME);
    for (number, codec) in (0..).zip(CODECS) {
        let records: Vec<_> = samples::hostile()
            .into_iter()
            .filter(|message| message.timestamp != 0)
            .chain(samples::mixed(7).take(3000))
            .collect();
        produce(broker, codec, (&topic, number), &records);
    }
    let read = assert_reads_the_same(broker, &topic, 5);
    let codecs: Vec<_> = read.iter().map(|read| read.codecs.clone()).collect();
    for (number, codec) in [
        BatchCodec::None,
        BatchCodec::Gzip,
        BatchCodec::Snappy,
        BatchCodec::Lz4,
        BatchCodec::Zstd,
    ]
    .into_iter()
    .enumerate()
    {
        assert!(codecs[number].contains(&codec), "{codecs:?}");
    }
}

#[test]
fn small_responses_bring_the_same_records() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-small");
    topics::create(broker, &topic, 3, &[]);
    for number in 0..3 {
        let records: Vec<_> = samples::mixed(3).take(2000).collect();
        let producer = Producer::new(broker, "lz4");
        for chunk in records.chunks(50) {
            for record in chunk {
                producer.send(&topic, number, record);
            }
            // Each is a batch of its own.
            producer.flush();
        }
    }
    let small = FetchOptions {
        response_bytes: 3000,
        partition_bytes: 1000,
        ..FetchOptions::default()
    };
    let read = read(broker, &topic, 3, &small);
    for (number, read) in (0..).zip(&read) {
        assert!(read.records == consume::read_all(broker, &topic, number));
        assert!(read.responses > 1, "{}", read.responses);
    }
}

#[test]
fn aborted_transactions_are_known_and_not_read() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-transactions");
    topics::create(broker, &topic, 1, &[]);
    let committed = scenarios::interleaved_transactions(broker, (&topic, 0));
    let read = assert_reads_the_same(broker, &topic, 1);
    let messages: Vec<_> = read[0]
        .records
        .iter()
        .map(|it| it.message.clone())
        .collect();
    assert!(messages == committed);
    assert!(
        read[0].kinds["aborted"] > 0 && read[0].kinds["control"] > 0,
        "{read:?}"
    );

    let all = FetchOptions {
        isolation: Isolation::ReadUncommitted,
        ..FetchOptions::default()
    };
    let all = self::read(broker, &topic, 1, &all);
    assert!(all[0].records.len() > committed.len());
    assert_eq!(all[0].kinds.get("aborted"), None);
}

#[test]
fn an_open_transaction_holds_the_last_stable_offset_back() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-open");
    topics::create(broker, &topic, 1, &[]);
    let message = samples::plain(samples::now_ms(), "a");
    produce(broker, "none", (&topic, 0), [&message]);
    let open = Producer::transactional(broker, "none", &topics::unique("open"));
    open.begin();
    open.send(&topic, 0, &message);
    open.flush();
    let client = wire_client::of(broker);
    let asked = [partition(&topic, 0)];
    let ends = [Isolation::ReadCommitted, Isolation::ReadUncommitted].map(|isolation| {
        let found = block_on(client.list_offsets(&asked, OffsetQuery::Latest, isolation));
        found[&asked[0]].as_ref().expect("an offset").offset
    });
    assert_eq!(ends, [Some(1), Some(2)]);
    let [start, stable, watermark] = consume::bounds(broker, &topic, 0);
    assert_eq!((start, stable, watermark), (0, 1, 2));
    let range = FetchRange {
        partition: asked[0].clone(),
        start: 0,
        end: None,
        last_epoch: None,
    };
    block_on(async {
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![range]);
        let Some(FetchEvent::Batches(fetched)) = fetcher.next().await else {
            panic!("no batches");
        };
        assert_eq!(fetched.next_position, 1);
        assert_eq!(fetched.high_watermark, 2);
        assert_eq!(fetched.last_stable_offset, Some(1));
        assert_eq!(fetched.log_start_offset, Some(0));
        assert_eq!(fetched.leader_epoch, Some(0));
    });
    open.abort();
}

#[test]
fn compacted_topics_have_gaps_within_and_between_batches() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-compacted");
    let expected = scenarios::compacted_topic_with_gaps(broker, &topic);
    let read = assert_reads_the_same(broker, &topic, 1);
    assert!(read[0].records == expected);
    let offsets: Vec<_> = expected.iter().map(|it| it.offset).collect();
    assert!(offsets.windows(2).any(|pair| pair[1] > pair[0] + 1));
}

#[test]
fn log_append_time_is_that_of_the_batch() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-append-time");
    scenarios::log_append_time_topic(broker, &topic, 2);
    let read = assert_reads_the_same(broker, &topic, 2);
    let types = read
        .iter()
        .flat_map(|it| &it.records)
        .map(|it| it.timestamp_type);
    assert!(types.clone().count() == 1000);
    assert!(types.into_iter().all(|it| it == TestedType::LogAppendTime));
}

#[test]
fn offsets_are_found_by_time_and_at_both_ends() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-offsets");
    topics::create(broker, &topic, 1, &topics::ANY_TIME);
    let messages: Vec<_> = (0..100)
        .map(|n| samples::plain(1_000_000 + n * 10, "x"))
        .collect();
    produce(broker, "none", (&topic, 0), &messages);
    topics::delete_records(broker, (&topic, 0), 20);
    let client = wire_client::of(broker);
    let partition = partition(&topic, 0);
    block_on(async {
        for (query, expected) in [
            (OffsetQuery::Earliest, Some(20)),
            (OffsetQuery::Latest, Some(100)),
            (OffsetQuery::AtTime(0), Some(20)),
            (OffsetQuery::AtTime(1_000_500), Some(50)),
            (OffsetQuery::AtTime(1_000_501), Some(51)),
            (OffsetQuery::AtTime(1_000_991), None),
            (OffsetQuery::MaxTimestamp, Some(99)),
            (OffsetQuery::EarliestLocal, Some(20)),
            (OffsetQuery::LastTiered, None),
        ] {
            assert_eq!(
                offset(&client, &partition, query).await,
                expected,
                "{query:?}"
            );
        }
        let mut ends = client.epoch_ends(&[(partition.clone(), 0)]).await;
        let end = ends.remove(&partition).expect("an answer").expect("an end");
        assert_eq!((end.leader_epoch, end.end_offset), (Some(0), Some(100)));
    });
}

#[test]
fn topics_have_ids_and_those_that_do_not_exist_have_an_error() {
    let broker = Broker::shared();
    let [topic, missing] = ["wire-there", "wire-missing"].map(topics::unique);
    topics::create(broker, &topic, 3, &[]);
    let client = wire_client::of(broker);
    block_on(async {
        let asked = [topic.as_str(), missing.as_str()];
        let metadata = client.metadata(Some(&asked)).await.expect("metadata");
        let found = &metadata.topics[&topic];
        assert!(found.id.is_some());
        assert_eq!(found.partitions.len(), 3);
        assert!(
            found
                .partitions
                .values()
                .all(|it| it.broker == Some(1) && it.epoch >= 0)
        );
        let error = metadata.topics[&missing].error;
        assert_eq!(error.name(), Some("UNKNOWN_TOPIC_OR_PARTITION"));
        assert_eq!(metadata.brokers.len(), 1);
        let all = client.metadata(None).await.expect("metadata");
        assert!(all.topics.contains_key(&topic) && !all.topics.contains_key(&missing));

        let missing = partition(&missing, 0);
        let asked = [missing.clone()];
        let answers = client.list_offsets(&asked, OffsetQuery::Latest, Isolation::ReadCommitted);
        let error = answers
            .await
            .remove(&missing)
            .expect("an answer")
            .expect_err("unknown");
        assert!(error.to_string().contains(&missing.to_string()), "{error}");
        let range = FetchRange {
            partition: missing.clone(),
            start: 0,
            end: None,
            last_epoch: None,
        };
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![range]);
        let event = tokio::time::timeout(Duration::from_secs(20), fetcher.next()).await;
        let event = event.expect("in time");
        assert!(matches!(event, Some(FetchEvent::Failed(failed, _)) if failed == missing));
    });
}

#[test]
fn a_topic_that_was_created_again_is_not_read_for_the_old_one() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-recreated");
    topics::create(broker, &topic, 1, &[]);
    let messages: Vec<_> = samples::mixed(1).take(10).collect();
    produce(broker, "none", (&topic, 0), &messages);
    let client = wire_client::of(broker);
    let range = FetchRange {
        partition: partition(&topic, 0),
        start: 0,
        end: None,
        last_epoch: None,
    };
    let mut fetcher = client.fetcher(FetchOptions::default(), vec![range]);
    let first = block_on(fetcher.next());
    assert!(matches!(first, Some(FetchEvent::Batches(_))), "{first:?}");
    topics::delete(broker, &topic);
    topics::create(broker, &topic, 1, &[]);
    let more: Vec<_> = samples::mixed(2).take(30).collect();
    produce(broker, "none", (&topic, 0), &more);
    let Some(FetchEvent::Failed(_, error)) = block_on(fetcher.next()) else {
        panic!("records of another topic");
    };
    assert!(
        error.to_string().contains("deleted and created again"),
        "{error}"
    );
}

#[test]
fn an_offset_that_is_gone_is_an_error_and_the_partition_can_be_added_again() {
    let broker = Broker::shared();
    let topic = topics::unique("wire-gone");
    topics::create(broker, &topic, 1, &[]);
    let messages: Vec<_> = samples::mixed(1).take(50).collect();
    produce(broker, "none", (&topic, 0), &messages);
    topics::delete_records(broker, (&topic, 0), 30);
    let client = wire_client::of(broker);
    let from = |start| FetchRange {
        partition: partition(&topic, 0),
        start,
        end: Some(50),
        last_epoch: None,
    };
    block_on(async {
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![from(0)]);
        let Some(FetchEvent::Failed(_, error)) = fetcher.next().await else {
            panic!("not out of range");
        };
        let code = error.code().expect("a broker's error");
        assert_eq!(code.name(), Some("OFFSET_OUT_OF_RANGE"));
        assert!(fetcher.next().await.is_none());
        fetcher.add(from(30));
        let event = fetcher.next().await;
        assert!(matches!(event, Some(FetchEvent::Batches(fetched)) if fetched.next_position == 50));
    });
}
