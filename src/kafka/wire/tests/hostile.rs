//! Brokers that answer garbage, half a frame, too much, or nothing: each is an error in time, with the broker and the request named.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::support::{FakeBroker, METADATA, Reply, client, framed, versions};
use crate::kafka::wire::WireError;

/// Asks for metadata, which `answer` answers after the versions. The error must be there before the deadline, or soon after it.
async fn refused(answer: impl Fn(i32) -> Reply + Send + Sync + 'static) -> (WireError, String) {
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => answer(request.correlation_id),
        _ => versions(request),
    })
    .await;
    let started = Instant::now();
    let error = client(&broker.address()).metadata(None).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{error}");
    let text = error.to_string();
    assert!(text.contains(&broker.address()), "{text}");
    assert!(text.contains("Metadata"), "{text}");
    (error, text)
}

#[tokio::test]
async fn a_length_that_no_response_has() {
    for length in [-1, i32::MIN, i32::MAX, 0, 3] {
        let (error, text) = refused(move |_| Reply::Raw(length.to_be_bytes().to_vec())).await;
        assert!(matches!(error, WireError::Malformed { .. }), "{text}");
        assert!(text.contains(&format!("found {length}")), "{text}");
    }
}

#[tokio::test]
async fn a_correlation_id_of_another_request() {
    let (_, text) = refused(|id| Reply::Raw(framed(id + 1, &[0; 30]))).await;
    assert!(text.contains("expected the correlation id"), "{text}");
}

#[tokio::test]
async fn bytes_that_are_no_response() {
    let (_, text) = refused(|id| Reply::Raw(framed(id, &[0xee; 100]))).await;
    assert!(text.contains("byte 8: expected a length"), "{text}");
    let (_, text) = refused(|id| Reply::Raw(framed(id, &[0; 300]))).await;
    assert!(text.contains("expected the end, found"), "{text}");
    let (_, text) = refused(|_| Reply::Last(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    assert!(text.contains("an HTTP server answers there"), "{text}");
}

#[tokio::test]
async fn half_a_response() {
    let (error, text) = refused(|id| Reply::Last(framed(id, &[0; 100])[..50].to_vec())).await;
    assert!(matches!(error, WireError::Disconnected { .. }), "{text}");
    assert!(text.contains("46 bytes of a response of 104"), "{text}");
}

#[tokio::test]
async fn no_answer() {
    let (error, _) = refused(|_| Reply::Silence).await;
    assert!(matches!(error, WireError::Timeout { .. }), "{error}");
    let (error, text) = refused(|id| Reply::Raw(framed(id, &[0; 100])[..50].to_vec())).await;
    assert!(matches!(error, WireError::Timeout { .. }), "{error}");
    assert!(text.contains("46 of 104 bytes"), "{text}");
}

#[tokio::test]
async fn an_end_without_an_answer() {
    let (error, _) = refused(|_| Reply::Last(Vec::new())).await;
    assert!(matches!(error, WireError::Disconnected { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            std::mem::forget(stream);
        }
    });
    let error = client(&address).metadata(None).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&address) && text.contains("ApiVersions"),
        "{text}"
    );
    assert!(text.contains("a mail or FTP server"), "{text}");
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let started = Instant::now();
    let error = client(&address).metadata(None).await.unwrap_err();
    assert!(matches!(error, WireError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_throttle_time_of_weeks() {
    let broker = FakeBroker::start(|request| match request.api {
        // Of version 8, whose first field is the throttle time.
        METADATA => match super::support::metadata(&[], &[]) {
            Reply::Body(mut body) => {
                body[..4].copy_from_slice(&i32::MAX.to_be_bytes());
                Reply::Body(body)
            }
            other => other,
        },
        _ => versions(request),
    })
    .await;
    let client = client(&broker.address());
    client.metadata(None).await.unwrap();
    let started = Instant::now();
    let error = client.metadata(None).await.unwrap_err();
    assert!(error.to_string().contains("a quota is exceeded"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
}
