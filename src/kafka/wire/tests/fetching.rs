//! Reading: requests ahead of responses, leaders that move, logs that were truncated, damaged batches.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicUsize};
use std::time::{Duration, Instant};

use kbk_format::batch::{BatchBuilder, BatchOptions};
use kbk_format::{Headers, Record};

use super::support::{
    API_VERSIONS, EPOCHS, FETCH, FakeBroker, METADATA, Reply, Request, client_with, epoch_end,
    fetched, framed, metadata, own_port, partition, versions,
};
use crate::kafka::wire::{FetchEvent, FetchOptions, FetchRange, Fetcher, WireError};

/// A batch of ten records. Its leader epoch is 3.
fn batch(first: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for offset in first..first + 10 {
        builder
            .push(&Record {
                offset,
                timestamp: offset,
                control: false,
                key: None,
                value: Some(&[7; 100]),
                headers: Headers::EMPTY,
            })
            .unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish(first + 9, &mut bytes).unwrap();
    // Outside of the checksum.
    bytes[12..16].copy_from_slice(&3_i32.to_be_bytes());
    bytes
}

/// The offset that a Fetch request of version 11 asks for, of the only partition.
pub(super) fn asked(request: &Request) -> i64 {
    // Fixed fields, one topic of six letters, one partition, the epoch.
    let at = 4 + 4 + 4 + 4 + 1 + 8 + 4 + 8 + 4 + 4 + 4;
    i64::from_be_bytes(request.body[at..at + 8].try_into().unwrap())
}

/// The number of that partition.
fn asked_partition(request: &Request) -> i32 {
    i32::from_be_bytes(request.body[41..45].try_into().unwrap())
}

fn range(number: i32, end: Option<i64>) -> FetchRange {
    FetchRange {
        partition: partition(number),
        start: 0,
        end,
        last_epoch: None,
    }
}

/// A broker that leads everything, and answers Fetch as the test says.
async fn leader(
    partitions: usize,
    fetch: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> FakeBroker {
    let (port, own) = own_port();
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&[own.load(Relaxed)], &vec![(1, 3); partitions]),
        FETCH => fetch(request),
        EPOCHS => epoch_end(3, 1000),
        _ => versions(request),
    })
    .await;
    port.store(broker.port, Relaxed);
    broker
}

fn fetcher(broker: &FakeBroker, ranges: Vec<FetchRange>) -> Fetcher {
    let client = client_with(&broker.address(), Duration::from_secs(5), &[]);
    let options = FetchOptions {
        max_wait: Duration::from_millis(50),
        ..FetchOptions::default()
    };
    client.fetcher(options, ranges)
}

async fn event(fetcher: &mut Fetcher) -> FetchEvent {
    let event = tokio::time::timeout(Duration::from_secs(20), fetcher.next());
    event.await.expect("in time").expect("an event")
}

async fn batches(fetcher: &mut Fetcher) -> (i64, i64) {
    match event(fetcher).await {
        FetchEvent::Batches(fetched) => (fetched.position, fetched.next_position),
        other => panic!("{other:?}"),
    }
}

async fn failure(fetcher: &mut Fetcher) -> WireError {
    match event(fetcher).await {
        FetchEvent::Failed(_, error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_next_request_leaves_before_the_last_response_is_used() {
    let broker = leader(1, |request| match asked(request) {
        0 => fetched(0, &[(0, 0, &batch(0))]),
        _ => Reply::Silence,
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, None)]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
    // Nobody polls the fetcher, and the broker has the next request.
    let started = Instant::now();
    while broker.requests(FETCH).len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asked(&broker.requests(FETCH)[1]), 10);
}

#[tokio::test]
async fn a_range_ends_where_its_position_reaches_the_end() {
    let broker = leader(1, |request| {
        let records = [batch(asked(request)), batch(asked(request) + 10)].concat();
        // The second batch is cut off.
        fetched(0, &[(0, 0, &records[..records.len() - 7])])
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, Some(25)), range(1, Some(0))]);
    assert!(matches!(event(&mut fetcher).await, FetchEvent::Finished(it) if it == partition(1)));
    for first in [0, 10, 20] {
        assert_eq!(batches(&mut fetcher).await, (first, first + 10));
    }
    assert!(matches!(event(&mut fetcher).await, FetchEvent::Finished(it) if it == partition(0)));
    assert!(fetcher.next().await.is_none());
    assert_eq!(
        broker.requests(FETCH).len(),
        3,
        "nothing past the end is asked for"
    );
}

#[tokio::test]
async fn a_batch_larger_than_a_response_is_asked_for_whole() {
    let large = batch(0);
    let length = i32::try_from(large.len()).unwrap();
    let broker = leader(1, move |request| {
        let most = i32::from_be_bytes(
            request.body[request.body.len() - 10..][..4]
                .try_into()
                .unwrap(),
        );
        let sent = usize::try_from(most.min(length)).unwrap();
        fetched(0, &[(0, 0, &large[..sent])])
    })
    .await;
    let client = client_with(&broker.address(), Duration::from_secs(5), &[]);
    let options = FetchOptions {
        partition_bytes: 100,
        ..FetchOptions::default()
    };
    let mut fetcher = client.fetcher(options, vec![range(0, Some(10))]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
}

#[tokio::test]
async fn a_damaged_batch_fails_its_partition_alone() {
    let broker = leader(2, |request| {
        let mut damaged = batch(0);
        damaged[80] ^= 1;
        let whole = batch(0);
        match request.body.len() {
            // Both partitions are asked for.
            length if length > 90 => fetched(0, &[(1, 0, &damaged), (0, 0, &whole)]),
            _ => match asked_partition(request) {
                0 => fetched(0, &[(0, 0, &batch(asked(request)))]),
                number => fetched(0, &[(number, 0, &damaged)]),
            },
        }
    })
    .await;
    let ranges = vec![range(0, Some(10)), range(1, None)];
    let mut fetcher = fetcher(&broker, ranges);
    let (mut seen, mut failed) = (Vec::new(), Vec::new());
    while let Some(event) = fetcher.next().await {
        match event {
            FetchEvent::Batches(fetched) => seen.push(fetched.partition),
            FetchEvent::Failed(partition, error) => failed.push((partition, error)),
            FetchEvent::Finished(_) => {}
        }
    }
    assert_eq!(seen, [partition(0)]);
    let [(damaged, error)] = &failed[..] else {
        panic!("{failed:?}");
    };
    assert_eq!(*damaged, partition(1));
    let text = error.to_string();
    assert!(
        text.contains("orders/1") && text.contains("CRC-32C"),
        "{text}"
    );
    assert!(text.contains(&broker.address()), "{text}");
}

/// What happens to a response on its way.
type Fault = fn(i32, Vec<u8>) -> Vec<u8>;

#[tokio::test]
async fn a_response_that_was_damaged_on_its_way_is_fetched_once_more() {
    let faults: [(&str, Fault); 6] = [
        ("a flipped bit", |id, mut body| {
            let at = body.len() - 20;
            body[at] ^= 1;
            framed(id, &body)
        }),
        ("another correlation id", |id, body| framed(id + 7, &body)),
        ("a shorter frame", |id, body| {
            framed(id, &body[..body.len() - 500])
        }),
        ("a length of 1 GB more", |id, body| {
            let mut frame = framed(id, &body);
            let length = 1_000_000_000 + i32::try_from(body.len()).unwrap();
            frame[..4].copy_from_slice(&length.to_be_bytes());
            frame
        }),
        ("a negative length", |_, _| (-5_i32).to_be_bytes().to_vec()),
        ("another partition", |id, mut body| {
            let at = 4 + 6 + 4 + 8 + 4;
            body[at..at + 4].copy_from_slice(&9_i32.to_be_bytes());
            framed(id, &body)
        }),
    ];
    for (what, fault) in faults {
        let times = AtomicUsize::new(0);
        let broker = leader(1, move |request| {
            let Reply::Body(body) = fetched(0, &[(0, 0, &batch(asked(request)))]) else {
                unreachable!();
            };
            match times.fetch_add(1, Relaxed) {
                1 => Reply::Raw(fault(request.correlation_id, body)),
                _ => Reply::Body(body),
            }
        })
        .await;
        let mut fetcher = fetcher(&broker, vec![range(0, Some(30))]);
        let started = Instant::now();
        for first in [0, 10, 20] {
            assert_eq!(batches(&mut fetcher).await, (first, first + 10), "{what}");
        }
        let end = event(&mut fetcher).await;
        assert!(matches!(end, FetchEvent::Finished(_)), "{what}: {end:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{what}");
    }
}

#[tokio::test]
async fn a_response_that_is_damaged_twice_fails_with_what_was_found() {
    let broker = leader(1, |request| {
        let Reply::Body(body) = fetched(0, &[(0, 0, &batch(0))]) else {
            unreachable!();
        };
        let mut frame = framed(request.correlation_id, &body);
        frame[..4].copy_from_slice(&1_000_001_000_i32.to_be_bytes());
        Reply::Raw(frame)
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, None)]);
    let started = Instant::now();
    let text = failure(&mut fetcher).await.to_string();
    assert!(started.elapsed() < Duration::from_secs(3), "{text}");
    for part in ["found 1000001000", "Fetch", &broker.address()] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(broker.requests(FETCH).len(), 2);
}

/// A base offset is outside of the checksum.
#[tokio::test]
async fn a_batch_that_begins_before_the_end_of_the_one_before_it_is_refused() {
    let broker = leader(1, |request| {
        let mut batch = batch(asked(request));
        if asked(request) == 10 {
            batch[7] = 3;
        }
        fetched(0, &[(0, 0, &batch)])
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, None)]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
    let text = failure(&mut fetcher).await.to_string();
    assert!(text.contains("begins at offset 3"), "{text}");

    // Where it begins to read, it may be asked for the middle of a batch.
    let middle = FetchRange {
        start: 5,
        ..range(0, Some(10))
    };
    let broker = leader(1, |_| fetched(0, &[(0, 0, &batch(0))])).await;
    let mut fetcher = self::fetcher(&broker, vec![middle]);
    assert_eq!(batches(&mut fetcher).await, (5, 10));
}

#[tokio::test]
async fn batches_before_a_damaged_one_are_read_first() {
    // A checksum that does not match; a magic that Kafka has not; an offset that does not ascend.
    let damages: [fn(&mut [u8]); 3] = [
        |batch| batch[80] ^= 1,
        |batch| batch[16] = 9,
        |batch| batch[7] = 3,
    ];
    for damage in damages {
        let broker = leader(1, move |request| {
            let mut second = batch(10);
            damage(&mut second);
            let all = [batch(0), second, batch(20)];
            let first = usize::try_from(asked(request) / 10).unwrap();
            fetched(0, &[(0, 0, &all[first..].concat())])
        })
        .await;
        let mut fetcher = fetcher(&broker, vec![range(0, Some(30))]);
        assert_eq!(batches(&mut fetcher).await, (0, 10));
        let error = failure(&mut fetcher).await;
        assert!(matches!(error, WireError::Batch { .. }), "{error}");
        assert!(fetcher.next().await.is_none());

        // What is damaged is after the end of the range.
        let mut fetcher = self::fetcher(&broker, vec![range(0, Some(10))]);
        assert_eq!(batches(&mut fetcher).await, (0, 10));
        let end = event(&mut fetcher).await;
        assert!(matches!(end, FetchEvent::Finished(_)), "{end:?}");
    }
}

#[tokio::test]
async fn what_was_received_is_not_lost_where_the_next_request_cannot_be_sent() {
    // The broker asks to be sent nothing for weeks.
    let broker = leader(1, |request| {
        fetched(i32::MAX, &[(0, 0, &batch(asked(request)))])
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, Some(30))]);
    for first in [0, 10, 20] {
        assert_eq!(batches(&mut fetcher).await, (first, first + 10));
    }
}

#[tokio::test]
async fn a_leader_that_moves_is_followed() {
    let new = FakeBroker::start(|request| match request.api {
        FETCH => fetched(0, &[(0, 0, &batch(asked(request)))]),
        EPOCHS => epoch_end(3, 10),
        _ => versions(request),
    })
    .await;
    let (port, own) = own_port();
    let (new_port, fetches) = (new.port, AtomicUsize::new(0));
    let old = FakeBroker::start(move |request| match request.api {
        METADATA => {
            let ports = [own.load(Relaxed), new_port];
            match fetches.load(Relaxed) {
                0 | 1 => metadata(&ports, &[(1, 3)]),
                _ => metadata(&ports, &[(2, 4)]),
            }
        }
        FETCH => match fetches.fetch_add(1, Relaxed) {
            0 => fetched(0, &[(0, 0, &batch(0))]),
            _ => fetched(0, &[(0, 6, &[])]),
        },
        _ => versions(request),
    })
    .await;
    port.store(old.port, Relaxed);
    let mut fetcher = fetcher(&old, vec![range(0, Some(20))]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
    assert_eq!(batches(&mut fetcher).await, (10, 20));
    assert_eq!(
        new.requests(EPOCHS).len(),
        1,
        "the new leader's log is checked"
    );
}

#[tokio::test]
async fn a_new_leader_with_a_shorter_log_is_found_out() {
    let (port, own) = own_port();
    let epoch = Arc::new(AtomicI32::new(3));
    let present = Arc::clone(&epoch);
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&[own.load(Relaxed)], &[(1, present.load(Relaxed))]),
        FETCH if present.swap(4, Relaxed) == 3 => fetched(0, &[(0, 0, &batch(0))]),
        FETCH => fetched(0, &[(0, 74, &[])]),
        // Epoch 3 ends before what was read of it.
        EPOCHS => epoch_end(3, 7),
        _ => versions(request),
    })
    .await;
    port.store(broker.port, Relaxed);
    let mut fetcher = fetcher(&broker, vec![range(0, None)]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
    let error = failure(&mut fetcher).await;
    let is_found = matches!(
        &error,
        WireError::Truncated {
            position: 10,
            end_offset: 7,
            ..
        }
    );
    assert!(is_found, "{error}");
    assert!(fetcher.next().await.is_none());
}

#[tokio::test]
async fn errors_that_do_not_pass_are_reported_at_once() {
    for code in [1, 29] {
        let broker = leader(1, move |_| fetched(0, &[(0, code, &[])])).await;
        let mut fetcher = fetcher(&broker, vec![range(0, None)]);
        let started = Instant::now();
        let error = failure(&mut fetcher).await;
        assert_eq!(error.code().map(|code| code.0), Some(code));
        assert!(error.to_string().contains("orders/0"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn batches_that_do_not_advance_are_refused() {
    let broker = leader(1, |_| fetched(0, &[(0, 0, &batch(0))])).await;
    let mut fetcher = fetcher(&broker, vec![range(0, None)]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
    let error = failure(&mut fetcher).await.to_string();
    assert!(error.contains("and offset 10 was asked for"), "{error}");
}

#[tokio::test]
async fn a_broker_that_stops_answering_fails_within_the_time_of_a_stall() {
    let broker = leader(1, |request| match asked(request) {
        0 => fetched(0, &[(0, 0, &batch(0))]),
        _ => Reply::Silence,
    })
    .await;
    let client = client_with(
        &broker.address(),
        Duration::from_secs(3),
        &[("socket.timeout.ms", "500")],
    );
    let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(0, None)]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
    let started = Instant::now();
    let error = failure(&mut fetcher).await;
    let text = error.to_string();
    assert!(matches!(error, WireError::Timeout { .. }), "{text}");
    let named = format!("broker 1 ({})", broker.address());
    assert!(text.contains(&named) && text.contains("Fetch"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(8), "{started:?}");
}

#[tokio::test]
async fn a_partition_that_the_broker_leaves_out_is_asked_for_again() {
    let times = AtomicUsize::new(0);
    let broker = leader(1, move |_| match times.fetch_add(1, Relaxed) {
        0 => fetched(0, &[]),
        _ => fetched(0, &[(0, 0, &batch(0))]),
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, Some(10))]);
    assert_eq!(batches(&mut fetcher).await, (0, 10));
}

#[tokio::test]
async fn a_cancelled_call_loses_nothing() {
    let broker = leader(1, |request| {
        std::thread::sleep(Duration::from_millis(30));
        fetched(0, &[(0, 0, &batch(asked(request)))])
    })
    .await;
    let mut fetcher = fetcher(&broker, vec![range(0, Some(50))]);
    let mut next = 0;
    while next < 50 {
        let event = tokio::time::timeout(Duration::from_millis(7), fetcher.next());
        if let Ok(Some(FetchEvent::Batches(fetched))) = event.await {
            assert_eq!(fetched.position, next);
            next = fetched.next_position;
        }
    }
}

/// A source whose brokers have a second gets three batches from one that asks to be sent nothing for two after each, and answers without the
/// partition once, as brokers do.
#[tokio::test]
async fn a_quota_that_makes_the_reader_wait_is_no_stall() {
    let asked_before = AtomicUsize::new(0);
    let broker = leader(1, move |request| match asked_before.fetch_add(1, Relaxed) {
        1 => {
            let mut body = 2_000_i32.to_be_bytes().to_vec();
            body.extend([0; 10]);
            Reply::Body(body)
        }
        _ => fetched(2_000, &[(0, 0, &batch(asked(request)))]),
    })
    .await;
    let client = client_with(&broker.address(), Duration::from_secs(1), &[]);
    let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(0, Some(30))]);
    for first in [0, 10, 20] {
        let started = Instant::now();
        assert_eq!(batches(&mut fetcher).await, (first, first + 10));
        let waited = started.elapsed();
        match first {
            // What was received is not held back by the wait after it.
            0 => assert!(waited < Duration::from_secs(1), "{waited:?}"),
            _ => assert!(waited >= Duration::from_millis(1_900), "{waited:?}"),
        }
        assert!(client.silence_since(tokio::time::Instant::now()).is_zero());
    }
    let end = event(&mut fetcher).await;
    assert!(matches!(end, FetchEvent::Finished(_)), "{end:?}");
    assert_eq!(broker.requests(FETCH).len(), 4);
    // One to look up the leader, and one to read.
    assert_eq!(broker.requests(API_VERSIONS).len(), 2 * 2);
}
