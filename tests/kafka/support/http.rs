//! Requests of HTTP for proxies in tests, one per connection: the answer ends where the connection does.

use std::io::{self, Read};

/// A request, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, with its escapes.
    pub(crate) path: String,
    /// The query, with its escapes.
    pub(crate) query: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads a request, and nothing that follows it.
    pub(crate) fn read(client: &mut impl Read) -> io::Result<Self> {
        let (bytes, head) = read_request(client)?;
        let text = String::from_utf8_lossy(&bytes[..head]);
        let mut lines = text.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let target = first.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: bytes[head..].to_vec(),
        })
    }

    /// Returns a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns what is asked of what.
    pub(crate) fn line(&self) -> String {
        let Self {
            method,
            path,
            query,
            ..
        } = self;
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{method} {path}{mark}{query}")
    }

    /// Returns the bytes to send. The server is asked to end the connection after its answer.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} HTTP/1.1\r\nConnection: close\r\n", self.line());
        let headers = self.headers.iter();
        for (name, value) in headers.filter(|(name, _)| name != "connection") {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        [head.as_bytes(), &self.body].concat()
    }
}

/// Reads a request as it is, and says where its body begins.
fn read_request(client: &mut impl Read) -> io::Result<(Vec<u8>, usize)> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_some(client, &mut request)?;
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    while request.len() < head + length {
        read_some(client, &mut request)?;
    }
    Ok((request, head))
}

fn read_some(client: &mut impl Read, request: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 64 << 10];
    match client.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            request.extend_from_slice(&piece[..read]);
            Ok(())
        }
    }
}

/// Returns the status of an answer.
pub(crate) fn status(answer: &[u8]) -> u16 {
    let first = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    let status = first.rsplit_once(' ').map(|(_, status)| status.parse());
    status.and_then(Result::ok).unwrap_or(0)
}
