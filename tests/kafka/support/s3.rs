//! Requests to an S3 server, signed without kbk's code: AWS Signature Version 4.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use data_encoding::{BASE64, HEXLOWER};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::http::{Request, status};

const REGION: &str = "us-east-1";

/// What a signature escapes in a query.
pub(crate) const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// What it escapes in a path.
pub(crate) const PATH: &AsciiSet = &VALUE.remove(b'/');

/// A server, and the credentials for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct S3Client {
    pub(crate) server: SocketAddr,
    pub(crate) key_id: &'static str,
    pub(crate) secret: &'static str,
}

impl S3Client {
    /// Puts something that is no object: a setting of a bucket or of an object.
    #[track_caller]
    pub(crate) fn set(&self, path: &str, setting: &str, document: &str) {
        let body = document.as_bytes().to_vec();
        let digest = openssl::hash::hash(MessageDigest::md5(), &body).expect("MD5");
        let headers = [
            ("content-md5", BASE64.encode(&digest)),
            ("content-length", body.len().to_string()),
        ];
        let answer = self.send(Request {
            method: "PUT".to_owned(),
            path: utf8_percent_encode(path, PATH).to_string(),
            query: format!("{setting}="),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            body,
        });
        let answer = answer.expect("an answer");
        assert_eq!(status(&answer), 200, "{}", String::from_utf8_lossy(&answer));
    }

    /// Signs a request, and returns the whole answer.
    pub(crate) fn send(&self, mut request: Request) -> io::Result<Vec<u8>> {
        self.sign(&mut request);
        let mut server = TcpStream::connect(self.server)?;
        server.write_all(&request.to_bytes())?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn sign(&self, request: &mut Request) {
        let now = jiff::Timestamp::now();
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = now.strftime("%Y%m%d").to_string();
        let digest = HEXLOWER.encode(&sha256(&request.body));
        let host = self.server.to_string();
        for (name, value) in [
            ("host", &host),
            ("x-amz-date", &time),
            ("x-amz-content-sha256", &digest),
        ] {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
        let (names, canonical) = canonical(request, &digest);
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let digest = HEXLOWER.encode(&sha256(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let key = format!("AWS4{}", self.secret).into_bytes();
        let parts = [&day, REGION, "s3", "aws4_request", &text];
        let signature = parts.iter().fold(key, |key, part| hmac(&key, part));
        let (id, signature) = (self.key_id, HEXLOWER.encode(&signature));
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        request.headers.push(("authorization".to_owned(), value));
    }
}

/// Returns the names of the headers that are signed, and what is signed of the request.
fn canonical(request: &Request, digest: &str) -> (String, String) {
    let mut signed = request.headers.clone();
    signed.retain(|(name, _)| name == "host" || name.starts_with("x-amz-"));
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"));
    let lines: String = lines.collect();
    let Request {
        method,
        path,
        query,
        ..
    } = request;
    let text = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
    (names, text)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("HMAC");
    signer.sign_oneshot_to_vec(text.as_bytes()).expect("HMAC")
}
