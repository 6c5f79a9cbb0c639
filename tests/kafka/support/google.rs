//! A translation of the XML API of Google Cloud Storage into that of S3, for a server that speaks the latter.
//!
//! It is not Google's service, and proves nothing about that: it proves that the requests that kbk makes of `gs://` are those of Google's
//! documentation, and that kbk understands the answers which that promises. What differs between the two protocols, and is translated:
//!
//! | Google | S3 |
//! |---|---|
//! | a bearer token: a JWT that the key of a service account signed, or one of the metadata service | a signature of each request |
//! | `x-goog-if-generation-match: 0` | `If-None-Match: *` |
//! | `x-goog-generation` in answers | nothing: it is counted here |
//! | `x-goog-copy-source`, `x-goog-meta-...`, `x-goog-storage-class` | the same with `x-amz-` |
//! | 404 `NoSuchKey` for the deletion of what is not there | 204 |
//!
//! Listings (version 2), ranges, and uploads in parts are the same in both. Whatever else begins with `x-goog-` is refused, so that
//! nothing is ignored silently.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use data_encoding::BASE64URL_NOPAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde_json::json;

use super::http::{Request, status};
use super::s3::{PATH, S3Client, VALUE};

/// The service account whose key is accepted.
const ACCOUNT: &str = "kbk-test@kbk-test.iam.gserviceaccount.com";
/// The token that the metadata service gives, which must appear nowhere.
const METADATA_TOKEN: &str = "ya29.bWV0YWRhdGEtaHVudGVyMg";
const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// The translation, whose threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct GoogleTranslation {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: S3Client,
    service_account: PKey<Private>,
    /// The file of its key.
    key_file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_generation: u64,
    /// By bucket and name.
    generations: HashMap<String, u64>,
    /// Tokens that were accepted.
    tokens: BTreeSet<String>,
}

/// An answer that the translation gives itself.
struct Rejected(u16, &'static str, String);

impl GoogleTranslation {
    /// Starts to translate for a server, with a key of a service account in `folder`.
    pub(crate) fn start(server: S3Client, folder: &Path) -> Self {
        let key = Rsa::generate(2048).and_then(PKey::from_rsa).expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let translation = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::new(Shared {
                server,
                key_file: key_file(folder, "service-account.json", &key),
                service_account: key,
                state: Mutex::new(State {
                    last_generation: 1_700_000_000_000_000,
                    ..State::default()
                }),
            }),
        };
        let shared = Arc::clone(&translation.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(client));
            }
        });
        translation
    }

    /// Returns the file of the key that is accepted.
    pub(crate) fn key_file(&self) -> &Path {
        &self.shared.key_file
    }

    /// Returns what must appear nowhere: lines of the key, and the tokens that were used.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let pem = pem(&self.shared.service_account);
        let lines = pem.lines().filter(|line| line.len() == 64);
        let tokens = self.shared.state.lock().unwrap().tokens.clone();
        lines.map(str::to_owned).chain(tokens).collect()
    }
}

/// Writes the key of a service account as Google gives it.
pub(crate) fn key_file(folder: &Path, name: &str, key: &PKey<Private>) -> PathBuf {
    let file = folder.join(name);
    let document = json!({
        "type": "service_account",
        "project_id": "kbk-test",
        "private_key_id": "1",
        "private_key": pem(key),
        "client_email": ACCOUNT,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    fs::write(&file, document.to_string()).expect("it is written");
    file
}

fn pem(key: &PKey<Private>) -> String {
    let pem = key.private_key_to_pem_pkcs8().expect("PEM");
    String::from_utf8(pem).expect("PEM is text")
}

impl Shared {
    /// Serves one request. An error is the end of a connection, which is nobody's business here.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let request = Request::read(&mut client)?;
        let answer = match self.answer(&request)? {
            Ok(answer) => answer,
            Err(Rejected(status, code, message)) => {
                let body = format!(
                    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
                );
                answer(status, "application/xml; charset=UTF-8", &body)
            }
        };
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Write)
    }

    fn answer(&self, request: &Request) -> io::Result<Result<Vec<u8>, Rejected>> {
        if request.path == METADATA {
            return Ok(token(request));
        }
        if let Err(rejected) = self.authenticate(request) {
            return Ok(Err(rejected));
        }
        let translated = match translated(request) {
            Ok(translated) => translated,
            Err(rejected) => return Ok(Err(rejected)),
        };
        let is_object = translated.path.matches('/').count() > 1;
        if request.method == "DELETE" && is_object && request.query.is_empty() {
            let mut head = translated.clone();
            head.method = "HEAD".to_owned();
            if status(&self.server.send(head)?) == 404 {
                let message = "The specified key does not exist.".to_owned();
                return Ok(Err(Rejected(404, "NoSuchKey", message)));
            }
        }
        let path = translated.path.clone();
        let answer = self.server.send(translated)?;
        Ok(Ok(match is_object {
            true => self.with_generation(request, &path, &answer),
            false => with_headers(&answer, ""),
        }))
    }

    /// Accepts the tokens of the metadata service, and those that the service account signed.
    fn authenticate(&self, request: &Request) -> Result<(), Rejected> {
        let given = request.header("authorization").unwrap_or_default();
        let token = given.strip_prefix("Bearer ").unwrap_or_default();
        if token == METADATA_TOKEN || self.is_signed(token).is_some() {
            let mut state = self.state.lock().unwrap();
            state.tokens.insert(token.to_owned());
            return Ok(());
        }
        let message = "Authentication required.".to_owned();
        Err(Rejected(401, "AuthenticationRequired", message))
    }

    /// Checks a JWT as Google documents it for service accounts that authorize themselves.
    fn is_signed(&self, token: &str) -> Option<()> {
        let (text, signature) = token.rsplit_once('.')?;
        let (head, claims) = text.split_once('.')?;
        let parsed = |part: &str| {
            let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).ok()?;
            serde_json::from_slice::<serde_json::Value>(&bytes).ok()
        };
        let (head, claims) = (parsed(head)?, parsed(claims)?);
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        let mut verifier =
            Verifier::new(MessageDigest::sha256(), &self.service_account).expect("RS256");
        let is_signed = verifier.verify_oneshot(&signature, text.as_bytes()).ok()?;
        let is_valid = head["alg"] == "RS256"
            && claims["iss"] == ACCOUNT
            && claims["sub"] == ACCOUNT
            && claims["scope"].is_string()
            && claims["exp"].as_i64()? > jiff::Timestamp::now().as_second();
        (is_signed && is_valid).then_some(())
    }

    /// Returns the answer with the generation of the object: a new one for each write.
    fn with_generation(&self, request: &Request, path: &str, answer: &[u8]) -> Vec<u8> {
        let is_write = match request.method.as_str() {
            "PUT" => !request.query.contains("partNumber="),
            "POST" => request.query.starts_with("uploadId="),
            _ => false,
        };
        let mut state = self.state.lock().unwrap();
        if is_write && status(answer) == 200 {
            state.last_generation += 1;
            let generation = state.last_generation;
            state.generations.insert(path.to_owned(), generation);
        }
        let mut header = String::new();
        if let Some(generation) = state.generations.get(path) {
            write!(header, "x-goog-generation: {generation}\r\n").expect("a string grows");
        }
        with_headers(answer, &header)
    }
}

/// Answers as the metadata service of a machine does.
fn token(request: &Request) -> Result<Vec<u8>, Rejected> {
    if request.header("metadata-flavor") != Some("Google") {
        let message = "Missing Metadata-Flavor:Google header.".to_owned();
        return Err(Rejected(403, "Forbidden", message));
    }
    let token = json!({"access_token": METADATA_TOKEN, "expires_in": 3599, "token_type": "Bearer"});
    Ok(answer(200, "application/json", &token.to_string()))
}

/// Returns the request of S3 that means the same, without a signature.
fn translated(request: &Request) -> Result<Request, Rejected> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let escaped = |text: &str| utf8_percent_encode(&decoded(text), VALUE).to_string();
    let pairs = request.query.split('&').filter(|pair| !pair.is_empty());
    let mut query: Vec<String> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", escaped(name), escaped(value))
        })
        .collect();
    query.sort();
    let mut headers = Vec::new();
    for (name, value) in &request.headers {
        headers.extend(header(name, value)?);
    }
    Ok(Request {
        method: request.method.clone(),
        path: utf8_percent_encode(&decoded(&request.path), PATH).to_string(),
        query: query.join("&"),
        headers,
        body: request.body.clone(),
    })
}

fn header(name: &str, value: &str) -> Result<Option<(String, String)>, Rejected> {
    let header = |name: &str| Ok(Some((name.to_owned(), value.to_owned())));
    match name {
        "authorization" | "host" | "connection" => Ok(None),
        "x-goog-if-generation-match" if value == "0" => {
            Ok(Some(("if-none-match".to_owned(), "*".to_owned())))
        }
        "x-goog-copy-source" => header("x-amz-copy-source"),
        "x-goog-storage-class" => header("x-amz-storage-class"),
        _ => match name.strip_prefix("x-goog-") {
            None => header(name),
            Some(rest) if rest.starts_with("meta-") => header(&format!("x-amz-{rest}")),
            Some(_) => {
                let message = format!("{name}: {value} is not translated");
                Err(Rejected(501, "NotImplemented", message))
            }
        },
    }
}

/// Returns an answer without the headers of S3, and with others.
fn with_headers(answer: &[u8], headers: &str) -> Vec<u8> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return answer.to_vec();
    };
    let text = String::from_utf8_lossy(&answer[..head]);
    let is_of_s3 = |line: &str| line.to_ascii_lowercase().starts_with("x-amz-");
    let mut kept = String::new();
    for line in text.lines().filter(|line| !is_of_s3(line)) {
        kept += line;
        kept += "\r\n";
    }
    [kept.as_bytes(), headers.as_bytes(), &answer[head + 2..]].concat()
}

fn answer(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} By the translation\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
