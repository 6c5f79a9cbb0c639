//! An endpoint on loopback that issues tokens by the grant `client_credentials`, over HTTP or HTTPS, and in ways that it must not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use serde_json::json;

use super::http::Request;

/// The client that gets tokens, and its secret.
pub(crate) const CLIENT: &str = "kbk-backup";
pub(crate) const SECRET: &str = "s3cret-of-the-client";
/// What it must ask for.
pub(crate) const SCOPE: &str = "kafka read&write";

/// What an endpoint answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A token that is valid for this long, from now or from before.
    Token { seconds: i64 },
    /// This status and body.
    Text(u16, String),
    /// The beginning of an answer, and then nothing.
    Half,
    /// More bytes than anybody wants.
    Endless,
}

/// A running endpoint. Its threads end with the process.
#[derive(Debug)]
pub(crate) struct TokenEndpoint {
    pub(crate) url: String,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    /// The certificate to trust, of one with TLS.
    pub(crate) certificate: Option<String>,
}

impl TokenEndpoint {
    pub(crate) fn start(answer: Answer) -> Self {
        Self::serve(answer, None)
    }

    /// Starts one with a certificate for `localhost` that nobody has signed.
    pub(crate) fn start_tls(answer: Answer) -> Self {
        let (key, certificate) = self_signed();
        let acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server());
        let mut acceptor = acceptor.expect("TLS");
        acceptor.set_private_key(&key).expect("a key");
        acceptor
            .set_certificate(&certificate)
            .expect("a certificate");
        let pem = String::from_utf8(certificate.to_pem().expect("PEM")).expect("text");
        let mut endpoint = Self::serve(answer, Some(acceptor.build()));
        endpoint.certificate = Some(pem);
        endpoint
    }

    fn serve(answer: Answer, tls: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&answer), Arc::clone(&requests));
        let tls = tls.map(Arc::new);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, answer, count) = (tls.clone(), Arc::clone(&shared), Arc::clone(&count));
                thread::spawn(move || {
                    let converse = |stream: &mut dyn Duplex| {
                        let request = Request::read(&mut &mut *stream);
                        let Ok(request) = request else { return };
                        count.fetch_add(1, Ordering::SeqCst);
                        let answer = answer.lock().expect("not poisoned").clone();
                        // Whoever asked may be gone.
                        let _ = respond(stream, &request, &answer);
                    };
                    match tls {
                        None => converse(&mut { stream }),
                        // A client that does not trust it ends the handshake.
                        Some(tls) => {
                            drop(tls.accept(stream).map(|mut stream| converse(&mut stream)))
                        }
                    }
                });
            }
        });
        Self {
            url: format!("{scheme}://localhost:{port}/realms/kafka/token"),
            answer,
            requests,
            certificate: None,
        }
    }

    /// Changes what it answers.
    pub(crate) fn set(&self, answer: Answer) {
        *self.answer.lock().expect("not poisoned") = answer;
    }

    /// Returns how often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

fn respond(stream: &mut dyn Duplex, request: &Request, answer: &Answer) -> std::io::Result<()> {
    let send = |stream: &mut dyn Duplex, status: u16, body: &str| {
        let length = body.len();
        let kind = "Content-Type: application/json\r\nConnection: close";
        let head = format!("HTTP/1.1 {status} X\r\n{kind}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
        stream.flush()
    };
    match answer {
        Answer::Token { seconds } => {
            let basic = format!(
                "Basic {}",
                BASE64.encode(format!("{CLIENT}:{SECRET}").as_bytes())
            );
            if request.header("authorization") != Some(&basic) {
                let said = json!({ "error": "invalid_client", "error_description": "Invalid client or Invalid client credentials" });
                return send(stream, 401, &said.to_string());
            }
            let body = String::from_utf8_lossy(&request.body);
            let expected = "grant_type=client_credentials&scope=kafka+read%26write";
            let kind = request.header("content-type");
            if (&*request.method, &*body, kind)
                != ("POST", expected, Some("application/x-www-form-urlencoded"))
            {
                let said = json!({ "error": "invalid_request", "error_description": body });
                return send(stream, 400, &said.to_string());
            }
            let said = json!({ "access_token": token(*seconds), "token_type": "Bearer", "expires_in": seconds });
            send(stream, 200, &said.to_string())
        }
        Answer::Text(status, body) => send(stream, *status, body),
        Answer::Half => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"access_token\":")?;
            stream.flush()?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"")?;
            loop {
                stream.write_all(&[b'a'; 4096])?;
            }
        }
    }
}

/// Returns a token that is not signed, and that Kafka's brokers accept where they are configured to.
fn token(seconds: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let now = i64::try_from(now.as_secs()).expect("before the end of time");
    let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let claims = json!({ "sub": CLIENT, "iat": now.min(now + seconds - 1), "exp": now + seconds });
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
}

fn self_signed() -> (PKey<Private>, X509) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", "localhost")
        .expect("a name");
    let name = name.build();
    let mut builder = X509::builder().expect("a certificate");
    builder.set_version(2).expect("version 3");
    builder.set_subject_name(&name).expect("a name");
    builder.set_issuer_name(&name).expect("a name");
    builder.set_pubkey(&key).expect("a key");
    let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(2));
    builder
        .set_not_before(&from.expect("a time"))
        .expect("a time");
    builder.set_not_after(&to.expect("a time")).expect("a time");
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&context);
    builder
        .append_extension(names.expect("names"))
        .expect("names");
    builder.sign(&key, MessageDigest::sha256()).expect("signed");
    (key, builder.build())
}
