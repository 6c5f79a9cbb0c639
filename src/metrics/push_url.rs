//! Where metrics are pushed to. The URL may hold a password, which no message shows.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use nix::unistd::gethostname;
use percent_encoding::percent_decode_str;
use url::Url;

/// The URL of a Pushgateway, with or without the labels that metrics are grouped by.
#[derive(Clone, PartialEq, Eq)]
pub struct PushUrl(Box<Url>);

/// Why a text is no such URL. Never has the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushUrlError {
    /// Not an `http` URL.
    #[error("expected http://HOST:PORT, as in http://127.0.0.1:9091")]
    NotHttp,
    /// Encryption.
    #[error("https is not supported; push to a gateway or a proxy on this machine over http")]
    Https,
    /// A part that a Pushgateway has no use for.
    #[error("expected a URL without `?` and `#`")]
    Query,
    /// Any other path.
    #[error(
        "expected no path, or one that begins with /metrics/job/ and names the labels to group by"
    )]
    Path,
}

impl FromStr for PushUrl {
    type Err = PushUrlError;

    fn from_str(text: &str) -> Result<PushUrl, PushUrlError> {
        let url = Url::parse(text).map_err(|_| PushUrlError::NotHttp)?;
        match url.scheme() {
            "http" if url.has_host() => {}
            "https" => return Err(PushUrlError::Https),
            _ => return Err(PushUrlError::NotHttp),
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(PushUrlError::Query);
        }
        match url.path() {
            "" | "/" => Ok(PushUrl(url.into())),
            path if path.starts_with("/metrics/job/") => Ok(PushUrl(url.into())),
            _ => Err(PushUrlError::Path),
        }
    }
}

impl PushUrl {
    /// Returns the host and the port, to connect to.
    pub(super) fn address(&self) -> (String, u16) {
        let host = self.0.host().map(|host| match host {
            url::Host::Ipv6(address) => address.to_string(),
            other => other.to_string(),
        });
        let port = self.0.port_or_known_default();
        (host.unwrap_or_default(), port.unwrap_or(80))
    }

    /// Returns the value of the header `Host`.
    pub(super) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Returns the value of the header `Authorization`, if the URL has a user.
    pub(super) fn authorization(&self) -> Option<String> {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        let user = Some(self.0.username()).filter(|user| !user.is_empty())?;
        let password = self.0.password().unwrap_or_default();
        let pair = format!("{}:{}", decoded(user), decoded(password));
        Some(format!("Basic {}", BASE64.encode(pair.as_bytes())))
    }

    /// Returns the path: that of the URL, or else the labels `job`, `instance`, `command` and `repository`, so that runs of several
    /// commands and repositories do not replace each other's metrics.
    pub(super) fn path(&self, command: &str, repository: Option<&str>) -> String {
        if self.0.path().len() > 1 {
            return self.0.path().to_owned();
        }
        let host = gethostname().ok().and_then(|name| name.into_string().ok());
        let label = |name: &str, value: &str| {
            // In base64, because a value may have a slash; an empty one is written as `=`.
            let value = BASE64URL_NOPAD.encode(value.as_bytes());
            let value = if value.is_empty() { "=" } else { &value };
            format!("/{name}@base64/{value}")
        };
        let mut path = "/metrics/job/kbk".to_owned();
        path += &label("instance", &host.unwrap_or_default());
        path += &label("command", command);
        if let Some(repository) = repository {
            path += &label("repository", repository);
        }
        path
    }
}

/// Shows the URL without the user and the password.
impl fmt::Display for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.host())
    }
}

impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_under_which_labels() {
        let url: PushUrl = "http://127.0.0.1:9091".parse().unwrap();
        assert_eq!(url.address(), ("127.0.0.1".to_owned(), 9091));
        let path = url.path("backup", Some("/backup/kafka"));
        assert!(
            path.starts_with("/metrics/job/kbk/instance@base64/"),
            "{path}"
        );
        assert!(
            path.ends_with("/command@base64/YmFja3Vw/repository@base64/L2JhY2t1cC9rYWZrYQ"),
            "{path}"
        );
        let url: PushUrl = "http://[::1]/metrics/job/a/instance/b".parse().unwrap();
        assert_eq!(url.address(), ("::1".to_owned(), 80));
        assert_eq!(url.path("backup", None), "/metrics/job/a/instance/b");
    }

    #[test]
    fn a_password_is_sent_and_never_shown() {
        let url: PushUrl = "http://me:s%2Fcret+@gateway:9091/".parse().unwrap();
        assert_eq!(
            url.authorization(),
            Some(format!("Basic {}", BASE64.encode(b"me:s/cret+")))
        );
        for shown in [
            url.to_string(),
            format!("{url:?}"),
            url.path("backup", None),
        ] {
            assert!(!shown.contains("cret") && !shown.contains("me:"), "{shown}");
        }
        for text in [
            "hunter2",
            "http://",
            "https://me:hunter2@h",
            "http://h/hunter2",
            "http://h/?hunter2",
        ] {
            let error = text.parse::<PushUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
