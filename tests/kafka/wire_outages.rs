//! The wire client through elections, restarts and freezes: it reads all that there is, or fails in time with the broker named.

use std::time::{Duration, Instant};

use kbk::kafka::TopicPartition;
use kbk::kafka::wire::protocol::Isolation;
use kbk::kafka::wire::{FetchEvent, FetchOptions, FetchRange, Fetcher, OffsetQuery};
use kbk_format::PartitionNumber;
use kbk_format::batch::BatchDecoder;

use crate::support::broker::Broker;
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::wire_client::{self, block_on};
use crate::support::{samples, topics, wait};

const TOPIC: &str = "wire";

fn range(number: i32, start: i64, end: Option<i64>) -> FetchRange {
    FetchRange {
        partition: TopicPartition::new(TOPIC, PartitionNumber::new(number).expect("a number")),
        start,
        end,
        last_epoch: None,
    }
}

/// Counts the records of the events until each range is finished, each of which must follow the one before.
async fn count(fetcher: &mut Fetcher, finished: usize) -> usize {
    let (mut records, mut ended) = (0, 0);
    let mut decoder = BatchDecoder::new();
    while ended < finished {
        match fetcher.next().await.expect("an event") {
            FetchEvent::Batches(fetched) => {
                for batch in fetched.batches() {
                    let (batch, _) = batch.expect("valid");
                    let decoded = decoder.decode(&batch).expect("records");
                    records += decoded.filter(|it| it.offset >= fetched.position).count();
                }
            }
            FetchEvent::Finished(_) => ended += 1,
            FetchEvent::Failed(partition, error) => panic!("{partition}: {error}"),
        }
    }
    records
}

#[test]
fn a_frozen_broker_fails_in_time_and_is_read_again_afterwards() {
    let mut broker = Broker::start(&[]);
    topics::create(&broker, TOPIC, 1, &[]);
    let messages: Vec<Message> = samples::mixed(1).take(100).collect();
    produce(&broker, "none", (TOPIC, 0), &messages);
    let properties = [("socket.timeout.ms", "2000")];
    let timeout = Some(Duration::from_secs(6));
    let client = wire_client::with(broker.bootstrap(), timeout, &properties);
    block_on(async {
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(0, 0, None)]);
        let event = fetcher.next().await;
        assert!(matches!(event, Some(FetchEvent::Batches(_))), "{event:?}");
        broker.freeze();
        let address = broker.address();
        let started = Instant::now();
        let Some(FetchEvent::Failed(_, error)) = fetcher.next().await else {
            panic!("a frozen broker answers");
        };
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        assert!(error.to_string().contains(&address), "{error}");
        let started = Instant::now();
        let error = client.metadata(None).await.expect_err("frozen");
        assert!(started.elapsed() < Duration::from_secs(12), "{error}");
        assert!(error.to_string().contains(&address), "{error}");
    });
    broker.thaw();
    let read = block_on(async {
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(0, 0, Some(100))]);
        count(&mut fetcher, 1).await
    });
    assert_eq!(read, 100);
}

#[test]
fn a_broker_that_restarts_is_read_from_where_it_was() {
    let mut broker = Broker::start(&[]);
    topics::create(&broker, TOPIC, 1, &[]);
    let messages: Vec<Message> = samples::mixed(1).take(200).collect();
    produce(&broker, "zstd", (TOPIC, 0), &messages[..100]);
    let client = wire_client::of(&broker);
    let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(0, 0, Some(200))]);
    let first = block_on(fetcher.next());
    let Some(FetchEvent::Batches(first)) = first else {
        panic!("{first:?}");
    };
    assert_eq!(first.position, 0);
    broker.kill();
    // The fetcher meets a broker that refuses connections.
    let nothing = block_on(async {
        tokio::time::timeout(Duration::from_secs(2), async {
            while let Some(event) = fetcher.next().await {
                assert!(matches!(event, FetchEvent::Batches(_)), "{event:?}");
            }
        })
        .await
    });
    assert!(nothing.is_err(), "it waits for the broker");
    broker.restart();
    produce(&broker, "lz4", (TOPIC, 0), &messages[100..]);
    block_on(count(&mut fetcher, 1));
    let last = block_on(client.list_offsets(
        &[range(0, 0, None).partition],
        OffsetQuery::Latest,
        Isolation::ReadCommitted,
    ));
    assert!(
        last.values()
            .all(|it| it.as_ref().expect("an offset").offset == Some(200))
    );
}

#[test]
fn elections_among_three_brokers_lose_and_double_nothing() {
    const PARTITIONS: i32 = 6;
    let mut brokers = Broker::start_three();
    topics::create(&brokers[0], TOPIC, PARTITIONS, &[]);
    let messages: Vec<Message> = samples::mixed(1).take(400).collect();
    for number in 0..PARTITIONS {
        produce(&brokers[0], "lz4", (TOPIC, number), &messages[..200]);
    }
    let client = wire_client::of(&brokers[0]);
    let ranges: Vec<_> = (0..PARTITIONS)
        .map(|number| range(number, 0, Some(400)))
        .collect();
    let mut fetcher = client.fetcher(FetchOptions::default(), ranges);
    let mut positions = vec![0; usize::try_from(PARTITIONS).expect("few")];
    let mut read_until = |fetcher: &mut Fetcher, end: i64| {
        block_on(async {
            while positions.iter().any(|position| *position < end) {
                match fetcher.next().await {
                    Some(FetchEvent::Batches(fetched)) => {
                        let number = fetched.partition.partition.get();
                        let position = &mut positions[usize::try_from(number).expect("few")];
                        assert_eq!(fetched.position, *position, "{}", fetched.partition);
                        *position = fetched.next_position;
                    }
                    Some(FetchEvent::Finished(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    };
    read_until(&mut fetcher, 200);
    let before = topics::leaders(&brokers[0], TOPIC);
    brokers[1].kill();
    let after = wait::until("new leaders", || {
        let leaders = topics::leaders(&brokers[0], TOPIC);
        leaders
            .iter()
            .all(|it| *it >= 0 && *it != 2)
            .then_some(leaders)
    });
    assert_ne!(before, after);
    for number in 0..PARTITIONS {
        produce(&brokers[0], "lz4", (TOPIC, number), &messages[200..]);
    }
    read_until(&mut fetcher, 400);
}
