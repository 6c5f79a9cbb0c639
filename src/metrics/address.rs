//! Where metrics are served.

use std::fmt;
use std::str::FromStr;

/// An address to listen on. A port alone is one of this machine, which no other machine reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: String,
    port: u16,
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected HOST:PORT, as in 127.0.0.1:9184 or [::1]:9184, or a port alone; port 0 takes any that is free"
)]
pub struct ListenAddressError;

const THIS_MACHINE: &str = "127.0.0.1";

impl ListenAddress {
    /// Returns the host and the port, to resolve.
    #[must_use]
    pub fn parts(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        let (host, port) = text.rsplit_once(':').unwrap_or((THIS_MACHINE, text));
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_whole = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '/', '[', ']', '@', ' ']),
        };
        let port = port.parse().ok().filter(|_| is_whole);
        Ok(ListenAddress {
            host: bare.unwrap_or(host).to_owned(),
            port: port.ok_or(ListenAddressError)?,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenAddress { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_formatted() {
        for (text, whole) in [
            ("127.0.0.1:9184", "127.0.0.1:9184"),
            ("9184", "127.0.0.1:9184"),
            ("localhost:0", "localhost:0"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), whole);
        }
        for text in [
            "",
            ":1",
            "host",
            "host:",
            "host:65536",
            "::1:5",
            "[x]:1",
            "http://h:1",
            "-1",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
