//! Pushes metrics to a Pushgateway, with one request of bounded time.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::push_url::PushUrl;

/// How long a push may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: a Pushgateway says in a line what it does not accept.
const ANSWER_BYTES: usize = 1 << 10;

/// Why metrics were not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It cannot be connected to.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The request failed.
    #[error("the request failed: {0}")]
    Request(#[from] hyper::Error),
    /// A header that HTTP does not allow.
    #[error("the request is invalid: {0}")]
    Invalid(#[from] hyper::http::Error),
    /// It refused.
    #[error("it answered {status}: {text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The beginning of what it said.
        text: String,
    },
    /// It took too long.
    #[error("it did not answer within {} s", LIMIT.as_secs())]
    TooLong,
}

/// Replaces the metrics of this command and repository in a Pushgateway.
///
/// # Errors
///
/// If the gateway does not confirm it in time.
pub async fn push(
    url: &PushUrl,
    command: &str,
    repository: Option<&str>,
    text: String,
) -> Result<(), PushError> {
    let pushed = tokio::time::timeout(LIMIT, put(url, command, repository, text));
    pushed.await.unwrap_or(Err(PushError::TooLong))
}

async fn put(
    url: &PushUrl,
    command: &str,
    repository: Option<&str>,
    text: String,
) -> Result<(), PushError> {
    let stream = TcpStream::connect(url.address()).await;
    let stream = TokioIo::new(stream.map_err(PushError::Connect)?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(url.path(command, repository))
        .header(HOST, url.host())
        .header(CONTENT_TYPE, prometheus::TEXT_FORMAT);
    if let Some(authorization) = url.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Full::new(Bytes::from(text)))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES)
            .collect()
            .await;
        // What it says helps, and is not needed to know that it refused.
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.lines().next().unwrap_or_default().trim().to_owned();
        Err(PushError::Refused { status, text })
    };
    // The connection does the work of the exchange, and ends after it.
    tokio::select! {
        done = exchange => done,
        Err(error) = connection => Err(error.into()),
    }
}
