//! What a coordinator answers about committed offsets.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kbk_format::repo::OffsetAndMetadata;

use super::support::{
    API_VERSIONS, FIND_COORDINATOR, FakeBroker, METADATA, OFFSET_FETCH, Reply, Request, TOPIC,
    coordinator, metadata, own_port, partition, settings, text, versions_and,
};
use crate::kafka::KafkaError;
use crate::kafka::wire::CommittedOffsets;

/// A partition's answer: number, offset, metadata, error.
type Answer = (i32, i64, &'static str, i16);

/// An answer of version 5.
fn answer(partitions: &[Answer], error: i16) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    text(&mut body, TOPIC);
    body.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
    for (number, offset, metadata, error) in partitions {
        body.extend(number.to_be_bytes());
        body.extend(offset.to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        text(&mut body, metadata);
        body.extend(error.to_be_bytes());
    }
    body.extend(error.to_be_bytes());
    Reply::Body(body)
}

/// A broker that coordinates all groups, and gives the n-th answer to the n-th question, and the last one to all others.
async fn broker(answers: Vec<Reply>) -> FakeBroker {
    let (port, own) = own_port();
    let asked = AtomicUsize::new(0);
    let broker = FakeBroker::start(move |request: &Request| match request.api {
        API_VERSIONS => versions_and(request, &[[OFFSET_FETCH, 1, 5]]),
        METADATA => metadata(&[own.load(Relaxed)], &[(1, 0)]),
        FIND_COORDINATOR => coordinator(own.load(Relaxed)),
        _ => {
            let number = asked.fetch_add(1, Relaxed).min(answers.len() - 1);
            answers[number].clone()
        }
    })
    .await;
    port.store(broker.port, Relaxed);
    broker
}

type Committed = Result<Vec<Option<OffsetAndMetadata>>, KafkaError>;

/// Asks about partitions 1 and 0, this many times.
async fn ask(broker: &FakeBroker, times: usize, timeout: Duration) -> Vec<Committed> {
    let settings = settings(&broker.address(), timeout, &[("socket.timeout.ms", "1000")]);
    let asked = tokio::task::spawn_blocking(move || {
        let committed = CommittedOffsets::new(settings).unwrap();
        let partitions = [partition(1), partition(0)];
        let ask = |_| committed.of("claims", &partitions);
        (0..times).map(ask).collect()
    });
    asked.await.unwrap()
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_in_the_order_of_the_question_and_over_one_connection() {
    let all = [(0, 7, "kbk1:a", 0), (1, -1, "", 0)];
    let broker = broker(vec![answer(&all, 0)]).await;
    for found in ask(&broker, 3, PATIENT).await {
        let committed = OffsetAndMetadata {
            offset: 7,
            metadata: "kbk1:a".to_owned(),
        };
        assert_eq!(found.unwrap(), [None, Some(committed)]);
    }
    assert_eq!(broker.requests(OFFSET_FETCH).len(), 3);
    assert_eq!(broker.requests(FIND_COORDINATOR).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_and_a_coordinator_that_moves_are_waited_for() {
    let settled = [(0, 7, "", 0), (1, 8, "", 0)];
    let unstable = [(0, 7, "", 0), (1, -1, "", 88)];
    let answers = [answer(&unstable, 0), answer(&[], 16), answer(&settled, 0)];
    let broker = broker(answers.to_vec()).await;
    let found = ask(&broker, 1, PATIENT).await.remove(0).unwrap();
    let offsets: Vec<i64> = found.into_iter().flatten().map(|it| it.offset).collect();
    assert_eq!(offsets, [8, 7]);
    // Who is asked for an open transaction stays the coordinator.
    assert_eq!(broker.requests(FIND_COORDINATOR).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_left_out_is_not_taken_for_nothing_committed() {
    for (answers, says) in [
        (answer(&[], 30), "GROUP_AUTHORIZATION_FAILED"),
        (
            answer(&[(0, 7, "", 0), (1, -1, "", 29)], 0),
            "TOPIC_AUTHORIZATION_FAILED",
        ),
        (
            answer(&[(0, 7, "", 0)], 0),
            "left orders/1 out of its answer",
        ),
    ] {
        let broker = broker(vec![answers]).await;
        let error = ask(&broker, 1, PATIENT).await.remove(0).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says), "{says}: {text}");
        assert!(text.contains("group claims"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stays_open_is_waited_for_until_the_time_out() {
    let unstable = [(0, 7, "", 0), (1, -1, "", 88)];
    let broker = broker(vec![answer(&unstable, 0)]).await;
    let began = Instant::now();
    let error = ask(&broker, 1, Duration::from_secs(1)).await.remove(0);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("UNSTABLE_OFFSET_COMMIT"), "{text}");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

/// An outage, which a restore waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_does_not_answer_cannot_be_reached() {
    let broker = broker(vec![Reply::Silence]).await;
    let error = ask(&broker, 1, PATIENT).await.remove(0).unwrap_err();
    let outage = error.outage().unwrap_or_default();
    assert!(outage.contains("did not answer OffsetFetch"), "{error}");
}
