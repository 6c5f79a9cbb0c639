//! Logins: refused ones, brokers that cannot prove who they are, and sessions that are renewed.

use std::time::{Duration, Instant};

use super::support::{
    FakeBroker, METADATA, Reply, Request, SASL_AUTHENTICATE, SASL_HANDSHAKE, client_with, metadata,
    versions,
};
use crate::kafka::wire::{WireClient, WireError};

const SECRET: &str = "open-sesame";

fn client(broker: &FakeBroker, mechanism: &str) -> WireClient {
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "alice"),
        ("sasl.password", SECRET),
    ];
    client_with(&broker.address(), Duration::from_secs(3), &properties)
}

/// The response to a message of a login, of version 1.
fn answer(error: i16, text: &str, message: &[u8], lifetime_ms: i64) -> Reply {
    let mut body = error.to_be_bytes().to_vec();
    body.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
    body.extend(i32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    body.extend(lifetime_ms.to_be_bytes());
    Reply::Body(body)
}

/// The response to the choice of a mechanism.
fn offers(error: i16) -> Reply {
    let mut body = error.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 1, 0, 5]);
    body.extend(b"PLAIN");
    Reply::Body(body)
}

fn logging_in(request: &Request, reply: Reply) -> Reply {
    match request.api {
        SASL_HANDSHAKE => offers(0),
        SASL_AUTHENTICATE => reply,
        METADATA => metadata(&[], &[]),
        _ => versions(request),
    }
}

async fn refused(broker: &FakeBroker, mechanism: &str) -> String {
    let started = Instant::now();
    let error = client(broker, mechanism).metadata(None).await.unwrap_err();
    assert!(matches!(error, WireError::Authentication { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "tried once");
    let text = error.to_string();
    assert!(
        text.contains(&broker.address()) && text.contains(mechanism),
        "{text}"
    );
    assert!(
        !text.contains(SECRET) && !format!("{error:?}").contains(SECRET),
        "{error:?}"
    );
    text
}

#[tokio::test]
async fn a_refused_login_is_not_tried_again() {
    let broker =
        FakeBroker::start(|it| logging_in(it, answer(58, "invalid credentials", b"", 0))).await;
    let text = refused(&broker, "PLAIN").await;
    assert!(text.contains("invalid credentials"), "{text}");
    assert_eq!(broker.requests(SASL_AUTHENTICATE).len(), 1);
    assert!(broker.requests(METADATA).is_empty());
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_reported_with_those_that_are() {
    let broker = FakeBroker::start(|request| match request.api {
        SASL_HANDSHAKE => offers(33),
        _ => versions(request),
    })
    .await;
    let text = refused(&broker, "SCRAM-SHA-512").await;
    assert!(text.contains("the listener offers PLAIN"), "{text}");
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_refused() {
    let broker = FakeBroker::start(|request| match request.body.get(4..) {
        // It continues the nonce of the client, and makes the rest up.
        Some(message) if message.starts_with(b"n,,") => {
            let nonce = String::from_utf8_lossy(message);
            let nonce = nonce.split("r=").nth(1).unwrap();
            let challenge = format!("r={nonce}x,s=c2FsdA==,i=4096");
            logging_in(request, answer(0, "", challenge.as_bytes(), 0))
        }
        _ => logging_in(request, answer(0, "", b"v=c2lnbmF0dXJl", 0)),
    })
    .await;
    let text = refused(&broker, "SCRAM-SHA-256").await;
    assert!(text.contains("does not know the password"), "{text}");
}

#[tokio::test]
async fn a_login_without_end_is_ended() {
    let broker = FakeBroker::start(|it| logging_in(it, answer(0, "", b"more", 0))).await;
    let text = refused(&broker, "PLAIN").await;
    assert!(text.contains("no end after"), "{text}");
}

#[tokio::test]
async fn a_session_is_renewed_on_the_same_connection_before_it_ends() {
    let broker = FakeBroker::start(|it| logging_in(it, answer(0, "", b"", 2000))).await;
    let client = client(&broker, "PLAIN");
    client.metadata(None).await.unwrap();
    client.metadata(None).await.unwrap();
    assert_eq!(broker.requests(SASL_AUTHENTICATE).len(), 1);
    tokio::time::sleep(Duration::from_millis(1800)).await;
    client.metadata(None).await.unwrap();
    assert_eq!(broker.requests(SASL_AUTHENTICATE).len(), 2);
    assert_eq!(broker.requests(SASL_HANDSHAKE).len(), 2);
    let ids: Vec<i32> = broker
        .requests(METADATA)
        .iter()
        .map(|it| it.correlation_id)
        .collect();
    assert!(ids.is_sorted(), "one connection: {ids:?}");
}
