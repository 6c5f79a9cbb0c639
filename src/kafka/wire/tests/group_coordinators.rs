//! Whether the coordinators of groups are ready, as brokers say it.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::support::{
    API_VERSIONS, DESCRIBE_GROUPS, FakeBroker, METADATA, Reply, Request, client, metadata_of,
    own_port, text, versions_and,
};
use crate::kafka::wire::GroupCoordinators;
use crate::kafka::wire::protocol::ErrorCode;

/// An answer of version 1 about all groups that are asked for; by partition, which is in the name.
pub(in crate::kafka) fn described(request: &Request, error_of: impl Fn(&str) -> i16) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(&request.body[..4]);
    let mut rest = &request.body[4..];
    while let [high, low, name @ ..] = rest {
        let (name, after) = name.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        let name = std::str::from_utf8(name).unwrap();
        body.extend(error_of(name).to_be_bytes());
        text(&mut body, name);
        body.extend([0; 6 + 4]);
        rest = after;
    }
    Reply::Body(body)
}

/// A broker that leads three of four partitions of committed offsets, and of which an answer depends on how often it was asked.
async fn broker(error: impl Fn(usize, &str) -> i16 + Send + Sync + 'static) -> FakeBroker {
    let (port, own) = own_port();
    let asked = AtomicUsize::new(0);
    let broker = FakeBroker::start(move |request: &Request| match request.api {
        API_VERSIONS => versions_and(request, &[[DESCRIBE_GROUPS, 0, 1]]),
        METADATA => metadata_of(
            "__consumer_offsets",
            &[own.load(Relaxed)],
            &[(1, 7), (1, 8), (-1, 9), (1, 9)],
        ),
        _ => {
            let number = asked.fetch_add(1, Relaxed);
            described(request, |name| error(number, name))
        }
    })
    .await;
    port.store(broker.port, Relaxed);
    broker
}

const LIMIT: Duration = Duration::from_secs(30);

async fn ask(
    broker: &FakeBroker,
    limit: Duration,
) -> Result<Option<GroupCoordinators>, (Option<ErrorCode>, String)> {
    let client = client(&broker.address());
    let found = client.group_coordinators(limit).await;
    found.map_err(|error| (error.code(), error.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_are_ready_are_returned_with_their_epochs() {
    let broker = broker(|_, _| 0).await;
    let found = ask(&broker, LIMIT).await.unwrap().unwrap();
    let found: Vec<_> = found.into_iter().map(|(at, of)| (at.get(), of)).collect();
    let expected = [
        (0, Some((1, 7))),
        (1, Some((1, 8))),
        (2, None),
        (3, Some((1, 9))),
    ];
    assert_eq!(found, expected);
    let asked = broker.requests(DESCRIBE_GROUPS);
    assert_eq!(asked.len(), 1, "one question for all its partitions");
    assert_eq!(asked[0].body[..4], 3_i32.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_coordinate_yet_or_loads_is_waited_for() {
    let broker = broker(|asked, name| match asked {
        0 if name.contains("-1-") => 16,
        1 if name.contains("-3-") => 14,
        _ => 0,
    })
    .await;
    let found = ask(&broker, LIMIT).await.unwrap();
    assert_eq!(found.unwrap().len(), 4);
    assert_eq!(broker.requests(DESCRIBE_GROUPS).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_does_is_named() {
    let broker = broker(|_, name| if name.contains("-1-") { 16 } else { 0 }).await;
    let (code, error) = ask(&broker, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(code, Some(ErrorCode::NOT_COORDINATOR));
    assert!(error.contains("groups of __consumer_offsets/1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_that_may_not_ask_learns_nothing() {
    let broker = broker(|_, _| 30).await;
    assert_eq!(ask(&broker, LIMIT).await.unwrap(), None);
}
