//! Answers GET /metrics, /healthz and /readyz.
//!
//! Whoever connects can ask for little: one request per connection, with headers of bounded size, in bounded time, on a bounded number of
//! connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::address::ListenAddress;
use super::listener::Metrics;

/// Connections that are answered at a time; others wait.
const CONNECTIONS: usize = 16;
/// How long a connection may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the headers of its request may take.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of the headers, at most.
const HEADER_BYTES: usize = 16 << 10;
/// How long to wait after a connection could not be accepted, for example for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}")]
pub struct ServeError {
    address: ListenAddress,
    source: io::Error,
}

/// Listens at an address, and answers from then on as a task of this runtime. Returns where: port 0 takes any that is free.
///
/// # Errors
///
/// If it cannot listen there.
pub async fn serve(
    address: &ListenAddress,
    metrics: Arc<Metrics>,
) -> Result<SocketAddr, ServeError> {
    let failed = |source| ServeError {
        address: address.clone(),
        source,
    };
    let listener = TcpListener::bind(address.parts()).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tokio::spawn(accept(listener, metrics));
    Ok(bound)
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    let _permit = permit;
                    // A client that is too slow, or speaks no HTTP, is its own witness.
                    let _ = tokio::time::timeout(LIMIT, answer_on(stream, metrics)).await;
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection for metrics: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer_on(stream: TcpStream, metrics: Arc<Metrics>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    match path {
        "/metrics" => {
            let mut answer = text(StatusCode::OK, metrics.text_with_process());
            let format = HeaderValue::from_static(prometheus::TEXT_FORMAT);
            answer.headers_mut().insert(CONTENT_TYPE, format);
            answer
        }
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match metrics.readiness() {
            Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let format = HeaderValue::from_static(TEXT);
    answer.headers_mut().insert(CONTENT_TYPE, format);
    answer
}
