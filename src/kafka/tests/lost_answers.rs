//! A topic whose creation is not answered: whose it is, by what the cluster says about it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kbk_format::repo::CreatedTopic;

use crate::kafka::wire::tests::support::{
    API_VERSIONS, FakeBroker, METADATA, Reply, Request, TOPIC, metadata, own_port, settings, text,
    versions_and,
};
use crate::kafka::{Admin, KafkaError};

const CREATE_TOPICS: i16 = 19;
const DESCRIBE_CONFIGS: i16 = 32;
const TOPIC_EXISTS: i16 = 36;
const REQUEST_TIMED_OUT: i16 = 7;
const NOT_CONTROLLER: i16 = 41;

/// The answer of version 4: no throttle, one topic.
fn created(error: i16) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    text(&mut body, TOPIC);
    body.extend(error.to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    Reply::Body(body)
}

/// The answer of version 1: no throttle, one topic, and its retention, which is its own.
fn configured(retention: &str) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    body.extend([0; 2]);
    body.extend((-1_i16).to_be_bytes());
    body.push(2);
    text(&mut body, TOPIC);
    body.extend(1_i32.to_be_bytes());
    text(&mut body, "retention.ms");
    text(&mut body, retention);
    // Not read-only; set on the topic; not sensitive; no synonyms.
    body.extend([0, 1, 0]);
    body.extend(0_i32.to_be_bytes());
    Reply::Body(body)
}

/// Creates a topic of two partitions, of which the first request is answered as given, or by the end of the connection, and the second one
/// that the topic exists. What exists has this number of partitions and this retention.
async fn asked_twice(
    first: Option<i16>,
    partitions: usize,
    retention: &'static str,
) -> Result<(), KafkaError> {
    let (port, own) = own_port();
    let asked = AtomicUsize::new(0);
    let broker = FakeBroker::start(move |request: &Request| match request.api {
        API_VERSIONS => versions_and(request, &[[CREATE_TOPICS, 0, 4], [DESCRIBE_CONFIGS, 0, 1]]),
        METADATA => metadata(&[own.load(Relaxed)], &vec![(1, 0); partitions]),
        CREATE_TOPICS => match (asked.fetch_add(1, Relaxed), first) {
            (0, None) => Reply::Last(Vec::new()),
            (0, Some(error)) => created(error),
            _ => created(TOPIC_EXISTS),
        },
        DESCRIBE_CONFIGS => configured(retention),
        _ => Reply::Silence,
    })
    .await;
    port.store(broker.port, Relaxed);
    let settings = settings(&broker.address(), Duration::from_secs(20), &[]);
    let call = tokio::task::spawn_blocking(move || {
        let topic = CreatedTopic {
            partitions: 2,
            replication_factor: None,
            config: BTreeMap::from([("retention.ms".to_owned(), "5000".to_owned())]),
        };
        Admin::connect(&settings)?.create_topic(TOPIC, &topic)
    });
    let created = call.await.unwrap();
    assert!(broker.requests(CREATE_TOPICS).len() <= 2);
    created
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_as_it_was_asked_for_was_created_by_the_first_request() {
    for first in [None, Some(REQUEST_TIMED_OUT)] {
        asked_twice(first, 2, "5000").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_differs_is_somebody_elses() {
    for (partitions, retention, words) in [
        (3, "5000", "expected 2 partitions, found 3"),
        (2, "6000", "`retention.ms` differs"),
    ] {
        let error = asked_twice(None, partitions, retention).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(TOPIC), "{text}");
    }
}

/// That the topic exists is an error where no request of this call can have created it.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_existed_before_is_an_error() {
    for first in [TOPIC_EXISTS, NOT_CONTROLLER] {
        let error = asked_twice(Some(first), 2, "5000").await.unwrap_err();
        assert!(error.to_string().contains("exists"), "{error}");
    }
}
