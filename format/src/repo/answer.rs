//! What a bucket answered, or that it did not: the status, code and message, out of the errors of the library.
//!
//! The library keeps the whole answer in the text of an error. It may repeat what was asked, so only the code and the message of
//! an answer are kept, and nothing of a request.

use std::error::Error;
use std::fmt;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

/// Why a bucket did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) trouble: Trouble,
    /// The reason in messages.
    text: String,
}

/// What an answer says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The credentials are missing or not accepted.
    Unauthenticated,
    /// The credentials do not allow it.
    Denied,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region, or under another endpoint.
    WrongRegion,
    /// A lock, a hold or a retention policy forbids changing the object.
    Locked,
    /// The object is in an archive from which it must be fetched first.
    Archived,
    /// Another request for the same object was under way.
    Conflict,
    /// Too many requests, or not available at the moment.
    Throttled,
    /// No answer, or not all of it, in time.
    TimedOut,
    /// The answer, or the connection, ended early.
    Cut,
    /// The store is full.
    NoSpace,
    /// Anything else.
    Other,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Answer {}

/// How the texts of answers with an error status begin in the library.
const STATUS: &str = "Server returned non-2xx status code: ";
const RESPONSE: &str = "Server returned error response: ";
const REDIRECT: &str = "Received redirect without LOCATION";
/// Parts of the addresses that serve credentials to machines, containers and workloads.
const CREDENTIALS: [&str; 8] = [
    "/latest/api/token",
    "/latest/meta-data/",
    "169.254.170.2",
    "/metadata/identity",
    "/computeMetadata/v1/",
    "//sts.",
    "/oauth2/v2.0/token",
    "oauth2.googleapis.com",
];

impl Answer {
    /// Finds it in an error of the library; `None` if the error is not of a bucket.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Answer> {
        let chain: Vec<String> = chain(error).map(ToString::to_string).collect();
        let whole = chain.first()?;
        if CREDENTIALS.iter().any(|address| whole.contains(address)) {
            let text = "no credentials were obtained: nothing in the environment gives any, and the service that gives them to \
                        machines and workloads does not";
            return Some(Answer {
                trouble: Trouble::Unauthenticated,
                text: text.to_owned(),
            });
        }
        let found = chain.iter().find_map(|text| Status::parse(text));
        let found = found.or_else(|| chain.iter().find_map(|text| Status::of_deletion(text)));
        if let Some(found) = found {
            return Some(Answer {
                trouble: found.trouble(),
                text: found.to_string(),
            });
        }
        if chain.iter().any(|text| text.starts_with(REDIRECT)) {
            return Some(Answer {
                trouble: Trouble::WrongRegion,
                text: "it redirects to another address".to_owned(),
            });
        }
        Self::of_transport(error)
    }

    /// Finds that there was no answer, or only a part of one.
    fn of_transport(error: &(dyn Error + 'static)) -> Option<Answer> {
        let http = self::chain(error).find_map(|error| error.downcast_ref::<HttpError>())?;
        let kind = self::chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
        let kind = kind.last().map(io::Error::kind);
        let timed_out =
            http.kind() == HttpErrorKind::Timeout || kind == Some(io::ErrorKind::TimedOut);
        let (trouble, text) = match (timed_out, http.kind()) {
            (true, _) => (Trouble::TimedOut, "no complete answer in time".to_owned()),
            (false, HttpErrorKind::Interrupted | HttpErrorKind::Request) => {
                let text = "the connection ended before the answer did";
                (Trouble::Cut, text.to_owned())
            }
            (false, _) => (Trouble::Other, innermost_reason(error)),
        };
        Some(Answer { trouble, text })
    }
}

/// Returns the errors from this one to the innermost.
pub(super) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> + 'a {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let found = next?;
        next = found.source();
        Some(found)
    })
}

/// Returns the text of the innermost error, which those around it repeat.
pub(super) fn innermost_reason(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// An answer with an error status.
#[derive(Debug, Default)]
struct Status {
    status: u16,
    /// The code of the service, such as `AccessDenied`.
    code: String,
    message: String,
}

impl Status {
    fn parse(text: &str) -> Option<Status> {
        let (status, body) = match text.strip_prefix(STATUS) {
            Some(rest) => {
                let status = rest.get(..3)?.parse().ok()?;
                (status, rest.split_once(": ").map_or("", |(_, body)| body))
            }
            // A success, as its status says, whose body is an error.
            None => (500, text.strip_prefix(RESPONSE)?),
        };
        let code = field(body, "Code").or_else(|| json_field(body, "code"));
        let code = code.or_else(|| json_field(body, "error"));
        let message = field(body, "Message").or_else(|| json_field(body, "message"));
        Some(Status {
            status,
            code: code.unwrap_or_default(),
            message: message.unwrap_or_default(),
        })
    }

    /// Finds the answer to one of several deletions, of which the library makes a text of its own.
    fn of_deletion(text: &str) -> Option<Status> {
        let rest = text.split_once("request failed for key ")?.1;
        let (rest, code) = rest.rsplit_once(" (code: ")?;
        let code = code.trim_end_matches(')');
        let message = rest.split_once(": ").map_or(rest, |(_, message)| message);
        let by_code = match code {
            "AccessDenied" => 403,
            "SlowDown" => 503,
            _ => 500,
        };
        Some(Status {
            status: code.parse().unwrap_or(by_code),
            code: shown(code),
            message: shown(message),
        })
    }

    fn trouble(&self) -> Trouble {
        let says = |part: &str| {
            let part = part.to_ascii_lowercase();
            let in_message = self.message.to_ascii_lowercase().contains(&part);
            in_message || self.code.to_ascii_lowercase().contains(&part)
        };
        const LOCKED: [&str; 7] = [
            "worm protected",
            "objectlocked",
            "object lock",
            "immutab",
            "retention",
            "legal hold",
            "under active hold",
        ];
        match (self.status, self.code.as_str()) {
            (400 | 401 | 403 | 409 | 412 | 500, _) if LOCKED.into_iter().any(says) => {
                Trouble::Locked
            }
            (_, "InvalidObjectState" | "BlobArchived") => Trouble::Archived,
            (_, "NoSuchBucket" | "ContainerNotFound") => Trouble::NoBucket,
            (404, _) if says("bucket does not exist") || says("container does not exist") => {
                Trouble::NoBucket
            }
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "AuthenticationFailed"
                | "InvalidAuthenticationInfo"
                | "NoAuthenticationInformation"
                | "RequestTimeTooSkewed"
                | "TokenRefreshRequired"
                | "InvalidSecurity",
            ) => Trouble::Unauthenticated,
            (
                _,
                "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "IllegalLocationConstraintException",
            )
            | (301 | 302 | 307 | 308, _) => Trouble::WrongRegion,
            (_, "XMinioStorageFull" | "InsufficientStorage" | "QuotaExceeded") | (507, _) => {
                Trouble::NoSpace
            }
            (401, _) => Trouble::Unauthenticated,
            (403, _) if says("failed to authenticate") => Trouble::Unauthenticated,
            (403, _) => Trouble::Denied,
            (409 | 412, _) => Trouble::Conflict,
            (429 | 503, _) | (_, "SlowDown" | "ServerBusy" | "Throttling") => Trouble::Throttled,
            (408 | 504, _) => Trouble::TimedOut,
            _ => Trouble::Other,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it answers {}", self.status)?;
        if !self.code.is_empty() && self.code != self.status.to_string() {
            write!(f, " {}", self.code)?;
        }
        match self.message.as_str() {
            "" => Ok(()),
            message => write!(f, " ({message})"),
        }
    }
}

/// Returns the text of the first XML element of this name.
fn field(body: &str, name: &str) -> Option<String> {
    let rest = body.split_once(&format!("<{name}>"))?.1;
    Some(shown(&unescaped(rest.split_once('<')?.0)))
}

/// Replaces references of XML by their characters, those that services write.
fn unescaped(text: &str) -> String {
    // That of `&` is the last one, so that what it begins is no reference.
    const REFERENCES: [(&str, &str); 7] = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    let replace =
        |text: String, (reference, character): &(&str, &str)| text.replace(reference, character);
    REFERENCES.iter().fold(text.to_owned(), replace)
}

/// Returns the first text or number of this name in a JSON document, however deep.
fn json_field(body: &str, name: &str) -> Option<String> {
    fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
        let object = value.as_object()?;
        let own = object
            .get(name)
            .filter(|value| value.is_string() || value.is_number());
        own.or_else(|| object.values().find_map(|value| find(value, name)))
    }
    let document = serde_json::from_str(body).ok()?;
    match find(&document, name)? {
        serde_json::Value::String(text) => Some(shown(text)),
        other => Some(other.to_string()),
    }
}

/// Returns what is shown of a text from outside: one line, and not too long.
fn shown(text: &str) -> String {
    const LIMIT: usize = 200;
    let line = text.lines().next().unwrap_or_default().trim();
    let text: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(LIMIT)
        .collect();
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Told(String);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl Error for Told {}

    fn answer(text: &str) -> Answer {
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(Told(text.to_owned())),
        };
        Answer::of(&error).unwrap()
    }

    fn of(status: &str, code: &str, message: &str) -> Trouble {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message>\
             <StringToSign>hunter2</StringToSign></Error>"
        );
        let answer = answer(&format!("{STATUS}{status}: {body}"));
        assert!(!answer.to_string().contains("hunter2"));
        assert!(answer.to_string().contains(code), "{answer}");
        answer.trouble
    }

    #[test]
    fn references_in_a_message_are_shown_as_characters() {
        let text = "the region &#34;a&#34; &amp;lt; &lt;b&gt;, &apos;c&apos;";
        assert_eq!(unescaped(text), "the region \"a\" &lt; <b>, 'c'");
    }

    #[test]
    fn answers_are_what_their_status_and_code_say() {
        use Trouble::*;
        for (status, code, message, trouble) in [
            ("403 Forbidden", "AccessDenied", "Access Denied.", Denied),
            (
                "403 Forbidden",
                "InvalidAccessKeyId",
                "no such key",
                Unauthenticated,
            ),
            (
                "403 Forbidden",
                "SignatureDoesNotMatch",
                "x",
                Unauthenticated,
            ),
            (
                "401 Unauthorized",
                "NoAuthenticationInformation",
                "x",
                Unauthenticated,
            ),
            ("400 Bad Request", "ExpiredToken", "x", Unauthenticated),
            (
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                "x",
                WrongRegion,
            ),
            (
                "301 Moved Permanently",
                "PermanentRedirect",
                "x",
                WrongRegion,
            ),
            ("404 Not Found", "NoSuchBucket", "x", NoBucket),
            ("404 Not Found", "ContainerNotFound", "x", NoBucket),
            (
                "404 Not Found",
                "Other",
                "The specified bucket does not exist.",
                NoBucket,
            ),
            (
                "403 Forbidden",
                "AccessDenied",
                "Object is WORM protected and cannot be overwritten",
                Locked,
            ),
            ("409 Conflict", "BlobImmutableDueToPolicy", "x", Locked),
            (
                "403 Forbidden",
                "AccessDenied",
                "subject to bucket's retention policy",
                Locked,
            ),
            ("403 Forbidden", "InvalidObjectState", "x", Archived),
            ("409 Conflict", "ConditionalRequestConflict", "x", Conflict),
            (
                "412 Precondition Failed",
                "PreconditionFailed",
                "x",
                Conflict,
            ),
            ("429 Too Many Requests", "x", "x", Throttled),
            ("503 Service Unavailable", "SlowDown", "x", Throttled),
            ("500 Internal Server Error", "InternalError", "x", Other),
            (
                "507 Insufficient Storage",
                "XMinioStorageFull",
                "x",
                NoSpace,
            ),
        ] {
            assert_eq!(
                of(status, code, message),
                trouble,
                "{status} {code} {message}"
            );
        }
    }

    #[test]
    fn an_answer_may_be_json_empty_or_nonsense() {
        let google = r#"{"error": {"code": 403, "message": "denied\nhunter2", "errors": []}}"#;
        let found = answer(&format!("{STATUS}403 Forbidden: {google}"));
        assert_eq!(found.trouble, Trouble::Denied);
        assert_eq!(found.to_string(), "it answers 403 (denied)");
        for body in ["", "<Code>", "<html>hunter2</html>", "{", "[[[[", "\u{0}"] {
            let found = answer(&format!("{STATUS}503 Service Unavailable: {body}"));
            assert_eq!(found.to_string(), "it answers 503");
        }
        assert_eq!(answer(&format!("{STATUS}503")).trouble, Trouble::Throttled);
    }

    #[test]
    fn one_of_several_deletions() {
        let s3 = answer(
            "DeleteObjects request failed for key a/b: no: Access Denied (code: AccessDenied)",
        );
        assert_eq!(s3.trouble, Trouble::Denied);
        let azure = "Bulk delete request failed for key a: This operation is not permitted as the blob is immutable due to a policy. (code: 409)";
        assert_eq!(answer(azure).trouble, Trouble::Locked);
    }

    #[test]
    fn credentials_that_nothing_serves() {
        let error = answer("Error performing PUT http://169.254.169.254/latest/api/token in 1s");
        assert_eq!(error.trouble, Trouble::Unauthenticated);
        assert!(!error.to_string().contains("169"), "{error}");
    }

    #[test]
    fn errors_of_the_system_are_no_answers() {
        let error = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(io::Error::other("on fire")),
        };
        assert_eq!(Answer::of(&error), None);
    }
}
