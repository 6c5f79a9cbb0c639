//! Connections: versions, several addresses, both families, idle connections, throttling, brokers that leave.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::support::{
    API_VERSIONS, FakeBroker, LIST_OFFSETS, METADATA, Reply, Request, client, client_with,
    metadata, own_port, partition, ready_below, versions,
};
use crate::kafka::wire::protocol::{ErrorCode, Isolation};
use crate::kafka::wire::{OffsetQuery, WireError};

/// A broker of no topic.
fn plain(request: &Request) -> Reply {
    match request.api {
        METADATA => metadata(&[], &[]),
        _ => versions(request),
    }
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_the_version_that_all_know() {
    let broker = FakeBroker::start(plain).await;
    let found = client(&broker.address()).metadata(None).await.unwrap();
    assert_eq!(found.cluster_id.as_deref(), Some("cluster"));
    let versions = broker.requests(API_VERSIONS);
    let versions: Vec<i16> = versions.iter().map(|request| request.version).collect();
    assert_eq!(versions, [3, 0]);
    assert_eq!(broker.requests(METADATA)[0].version, 8);
}

#[tokio::test]
async fn a_broker_without_a_common_version_is_named() {
    let broker = FakeBroker::start(|request| match request.api {
        API_VERSIONS if request.version == 0 => {
            let mut body = vec![0, 0, 0, 0, 0, 1];
            body.extend([METADATA, 40, 41].iter().flat_map(|it| it.to_be_bytes()));
            Reply::Body(body)
        }
        _ => versions(request),
    })
    .await;
    let error = client(&broker.address()).metadata(None).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("kbk has 1 to 12, the broker 40 to 41"),
        "{text}"
    );
    assert!(text.contains(&broker.address()), "{text}");
}

#[tokio::test]
async fn any_address_that_answers_will_do() {
    let broker = FakeBroker::start(plain).await;
    let silent = FakeBroker::start(|_| Reply::Silence).await;
    let addresses = format!("127.0.0.1:1,{},{}", silent.address(), broker.address());
    let client = client_with(
        &addresses,
        Duration::from_secs(20),
        &[("socket.connection.setup.timeout.ms", "1500")],
    );
    client.metadata(None).await.unwrap();
    // Who answered is asked first from then on.
    let started = Instant::now();
    client.metadata(None).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(1_400));
}

#[tokio::test]
async fn both_address_families_are_reached() {
    let broker = FakeBroker::start_at("[::1]:0", plain).await;
    let six = format!("[::1]:{}", broker.port);
    client(&six).metadata(None).await.unwrap();
    // The name has an address of each family; the broker listens at one of them.
    let name = format!("localhost:{}", broker.port);
    let timeout = Duration::from_secs(1);
    let four = client_with(&name, timeout, &[("broker.address.family", "v4")]);
    let error = four.metadata(None).await.unwrap_err();
    assert!(matches!(error, WireError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_opened_again() {
    let broker = FakeBroker::start(|request| match (request.api, plain(request)) {
        (METADATA, Reply::Body(body)) => {
            Reply::Last(super::support::framed(request.correlation_id, &body))
        }
        (_, other) => other,
    })
    .await;
    // Without a pause: a closed connection is no failure.
    let pause = [
        ("reconnect.backoff.ms", "4000"),
        ("reconnect.backoff.max.ms", "4000"),
    ];
    let client = client_with(&broker.address(), Duration::from_secs(20), &pause);
    for _ in 0..5 {
        let started = Instant::now();
        client.metadata(None).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(broker.requests(METADATA).len(), 5, "none is sent twice");
}

#[tokio::test]
async fn a_broker_that_throttles_is_sent_nothing_for_that_time() {
    const THROTTLE_MS: i32 = 400;
    let broker = FakeBroker::start(|request| match (request.api, plain(request)) {
        (METADATA, Reply::Body(mut body)) => {
            body[..4].copy_from_slice(&THROTTLE_MS.to_be_bytes());
            Reply::Body(body)
        }
        (_, other) => other,
    })
    .await;
    let client = client_with(&broker.address(), Duration::from_secs(5), &[]);
    client.metadata(None).await.unwrap();
    let started = Instant::now();
    client.metadata(None).await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(390),
        "{started:?}"
    );
}

/// A ListOffsets response of version 5 about partition 0.
fn listed(error: i16, offset: i64) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    body.extend([0, 6]);
    body.extend(b"orders");
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(error.to_be_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(3_i32.to_be_bytes());
    Reply::Body(body)
}

#[tokio::test]
async fn offsets_are_asked_of_the_leader_that_there_is_by_then() {
    let new = FakeBroker::start(|request| match request.api {
        LIST_OFFSETS => listed(0, 41),
        _ => versions(request),
    })
    .await;
    let new_port = new.port;
    // The first broker says that it leads, then that it does not.
    let asked = AtomicUsize::new(0);
    let (own_port, port) = own_port();
    let first = FakeBroker::start(move |request| match request.api {
        METADATA => {
            let times = asked.fetch_add(1, Relaxed);
            let ports = [port.load(Relaxed), new_port];
            match times {
                0 => metadata(&ports, &[(1, 3)]),
                _ => metadata(&ports, &[(2, 4)]),
            }
        }
        LIST_OFFSETS => listed(6, -1),
        _ => versions(request),
    })
    .await;
    own_port.store(first.port, Relaxed);
    let client = client_with(&first.address(), Duration::from_secs(5), &[]);
    let partitions = [partition(0)];
    let mut found = client
        .list_offsets(&partitions, OffsetQuery::Latest, Isolation::ReadCommitted)
        .await;
    let found = found.remove(&partition(0)).unwrap().unwrap();
    assert_eq!(found.offset, Some(41));
    assert_eq!(first.requests(LIST_OFFSETS).len(), 1);
    assert_eq!(new.requests(LIST_OFFSETS).len(), 1);
}

#[tokio::test]
async fn a_partition_without_a_leader_fails_in_time_and_alone() {
    let (port, own) = own_port();
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&[own.load(Relaxed)], &[(1, 3), (-1, 3)]),
        LIST_OFFSETS => listed(0, 41),
        _ => versions(request),
    })
    .await;
    port.store(broker.port, Relaxed);
    let partitions = [partition(0), partition(1)];
    let answers = client(&broker.address())
        .list_offsets(&partitions, OffsetQuery::Latest, Isolation::ReadCommitted)
        .await;
    assert_eq!(answers[&partition(0)].as_ref().unwrap().offset, Some(41));
    let error = answers[&partition(1)].as_ref().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::LEADER_NOT_AVAILABLE));
    assert!(error.to_string().contains("orders/1"), "{error}");
    assert_eq!(broker.requests(LIST_OFFSETS).len(), 1);
}

#[tokio::test]
async fn a_query_that_the_broker_is_too_old_for_is_not_sent_as_another_one() {
    let (port, own) = own_port();
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&[own.load(Relaxed)], &[(1, 3)]),
        _ => versions(request),
    })
    .await;
    port.store(broker.port, Relaxed);
    let partitions = [partition(0)];
    let answers = client(&broker.address())
        .list_offsets(
            &partitions,
            OffsetQuery::EarliestLocal,
            Isolation::ReadCommitted,
        )
        .await;
    let error = answers[&partition(0)].as_ref().unwrap_err();
    assert!(matches!(error, WireError::NoVersion { .. }), "{error}");
    assert!(broker.requests(LIST_OFFSETS).is_empty());
}

#[tokio::test]
async fn another_broker_is_asked_where_one_does_not_know_a_topic_yet() {
    let (late_port, late_own) = own_port();
    let (known_port, known_own) = own_port();
    let ports = move || [late_own.load(Relaxed), known_own.load(Relaxed)];
    let of_known = ports.clone();
    let known = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&of_known(), &[(2, 4)]),
        LIST_OFFSETS => listed(0, 41),
        _ => versions(request),
    })
    .await;
    // Has not heard of the topic, and may not for a minute.
    let late = FakeBroker::start(
        move |request| match (request.api, metadata(&ports(), &[])) {
            (METADATA, Reply::Body(mut body)) => {
                let name = body.windows(6).position(|it| it == b"orders").unwrap();
                body[name - 4..name - 2].copy_from_slice(&3_i16.to_be_bytes());
                Reply::Body(body)
            }
            _ => versions(request),
        },
    )
    .await;
    late_port.store(late.port, Relaxed);
    known_port.store(known.port, Relaxed);
    let partitions = [partition(0)];
    let answers = client_with(&late.address(), Duration::from_secs(5), &[])
        .list_offsets(&partitions, OffsetQuery::Latest, Isolation::ReadCommitted)
        .await;
    let found = answers[&partition(0)].as_ref().unwrap();
    assert_eq!(found.offset, Some(41));
    assert!(!late.requests(METADATA).is_empty());
}

/// Partitions whose leader is ready for one after the other, each within the time of a request and all of them not.
#[tokio::test]
async fn the_time_of_a_request_begins_anew_with_each_answer() {
    let (port, own) = own_port();
    let began = Instant::now();
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&[own.load(Relaxed)], &[(1, 3); 4]),
        LIST_OFFSETS => {
            let ready = began.elapsed().as_millis() / 500;
            ready_below(request, i32::try_from(ready).unwrap())
        }
        _ => versions(request),
    })
    .await;
    port.store(broker.port, Relaxed);
    let partitions = [0, 1, 2, 3].map(partition);
    let quick = [("reconnect.backoff.max.ms", "200")];
    let answers = client_with(&broker.address(), Duration::from_secs(1), &quick)
        .list_offsets(&partitions, OffsetQuery::Latest, Isolation::ReadCommitted)
        .await;
    for partition in &partitions {
        assert!(answers[partition].is_ok(), "{answers:?}");
    }
    assert!(began.elapsed() >= Duration::from_millis(1_500));
}
