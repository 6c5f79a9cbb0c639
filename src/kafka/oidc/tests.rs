//! Tokens from an endpoint of the test: when it is asked, and what is made of its answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::{OidcSettings, TokenSource};
use crate::kafka::client::ClientConfig;

const PATIENCE: Duration = Duration::from_secs(5);

/// An endpoint whose tokens are valid for some milliseconds, or which fails while these are 0.
struct Endpoint {
    url: String,
    life_ms: Arc<AtomicU64>,
    requests: Arc<AtomicUsize>,
}

impl Endpoint {
    fn start(life_ms: u64) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let endpoint = Endpoint {
            url,
            life_ms: Arc::new(AtomicU64::new(life_ms)),
            requests: Arc::default(),
        };
        let (life_ms, requests) = (
            Arc::clone(&endpoint.life_ms),
            Arc::clone(&endpoint.requests),
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                requests.fetch_add(1, Ordering::SeqCst);
                answer(&mut stream.unwrap(), life_ms.load(Ordering::SeqCst));
            }
        });
        endpoint
    }

    fn source(&self) -> TokenSource {
        let mut config = ClientConfig::default();
        for (key, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.id", "kbk"),
            ("sasl.oauthbearer.client.secret", "hunter2"),
            ("sasl.oauthbearer.token.endpoint.url", &self.url),
        ] {
            config.set(key, value);
        }
        TokenSource::new(OidcSettings::of(&config).unwrap().unwrap())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(stream: &mut TcpStream, life_ms: u64) {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"grant_type=client_credentials") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&piece[..read]),
        }
    }
    // Long enough that callers meet at one request.
    thread::sleep(Duration::from_millis(100));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let expires = (now + Duration::from_millis(life_ms)).as_secs_f64();
    let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let token = format!("e30.{}.", part(json!({ "sub": "kbk", "exp": expires })));
    let (status, body) = match life_ms {
        0 => ("503 Service Unavailable", String::new()),
        _ => ("200 OK", json!({ "access_token": token }).to_string()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok();
}

#[test]
fn all_share_one_request_and_one_token() {
    let endpoint = Endpoint::start(3_600_000);
    let source = endpoint.source();
    assert_eq!(endpoint.requests(), 0, "nobody needs one yet");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| source.wait(PATIENCE).unwrap()))
            .collect();
        let own = runtime.block_on(async {
            let (one, other) = tokio::join!(source.token(PATIENCE), source.token(PATIENCE));
            assert_eq!(one, other);
            one.unwrap()
        });
        for other in waiting {
            assert_eq!(other.join().unwrap(), own);
        }
    });
    assert_eq!(endpoint.requests(), 1);
}

#[test]
fn a_token_is_replaced_before_it_expires_and_nobody_waits() {
    let endpoint = Endpoint::start(3_000);
    let source = endpoint.source();
    let first = source.wait(PATIENCE).unwrap();
    // Within a fifth of its life before it ends, nothing can be fetched for a while.
    endpoint.life_ms.store(0, Ordering::SeqCst);
    let failing = Instant::now();
    while failing.elapsed() < Duration::from_millis(2_600) && first.is_usable(SystemTime::now()) {
        let asked = Instant::now();
        assert_eq!(source.wait(PATIENCE).unwrap(), first);
        // Whoever waited for a new one would wait for as long as none can be fetched.
        assert!(
            asked.elapsed() < Duration::from_millis(800),
            "{:?}",
            asked.elapsed()
        );
        thread::sleep(Duration::from_millis(20));
    }
    endpoint.life_ms.store(3_600_000, Ordering::SeqCst);
    let next = source.wait(PATIENCE).unwrap();
    assert!(next.expires > first.expires + Duration::from_secs(60));
    assert!(endpoint.requests() >= 2, "{}", endpoint.requests());
    let settled = endpoint.requests();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(endpoint.requests(), settled);
}

#[test]
fn an_endpoint_that_is_back_soon_is_asked_again() {
    let endpoint = Endpoint::start(0);
    let source = endpoint.source();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| source.wait_first(PATIENCE));
        thread::sleep(Duration::from_millis(600));
        endpoint.life_ms.store(3_600_000, Ordering::SeqCst);
        waiting.join().unwrap().unwrap();
    });
    endpoint.life_ms.store(0, Ordering::SeqCst);
    let other = endpoint.source();
    let started = Instant::now();
    let failure = other.wait_first(PATIENCE).unwrap_err();
    assert!(started.elapsed() > Duration::from_secs(2), "{failure}");
    assert!(
        failure.is_transient && failure.cause.contains("503"),
        "{failure}"
    );
    assert_eq!(failure.endpoint, endpoint.url);
    // Whoever has no time left learns why, too.
    assert_eq!(other.wait(Duration::ZERO).unwrap_err(), failure);
}

#[test]
fn a_source_that_is_dropped_asks_no_more() {
    let endpoint = Endpoint::start(2_000);
    let source = endpoint.source();
    source.wait(PATIENCE).unwrap();
    drop(source);
    let asked = endpoint.requests();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(endpoint.requests(), asked);
}
