//! What an endpoint answers, and what its token says. No I/O.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

/// A token, and how long it can be used. Its `Debug` shows neither the token nor its subject.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Token {
    /// The token as brokers take it.
    pub(in crate::kafka) value: String,
    /// Its claim `sub`.
    pub(in crate::kafka) subject: String,
    /// Its claim `exp`.
    pub(in crate::kafka) expires: SystemTime,
    /// When to fetch the next one: after 80 % of what was left of its life when it was issued, as librdkafka does
    /// (`rd_kafka_oauthbearer_set_token0`).
    pub(super) refresh_at: SystemTime,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why an answer has no token that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not what such an endpoint answers, or its token is not one that Kafka's clients take.
    Kind(String),
    /// The token is valid no more, or not for long enough.
    Expired(String),
}

/// A token is not used for a new login so shortly before it expires: the login takes some time, too.
const MARGIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<serde_json::Value>,
    exp: Option<serde_json::Value>,
}

/// What an endpoint says about a request that it rejects (RFC 6749, section 5.2).
#[derive(Default, Deserialize)]
pub(super) struct Rejection {
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) error_description: String,
}

impl Token {
    /// Reads the answer of an endpoint: JSON with the member `access_token`, a JSON web token with the claims `sub` and `exp`, which
    /// librdkafka requires as well. The signature is the broker's business.
    pub(super) fn parse(answer: &[u8], now: SystemTime) -> Result<Token, Unusable> {
        let kind = |what: &str| Unusable::Kind(what.to_owned());
        let answer: Answer = serde_json::from_slice(answer).map_err(|_| {
            Unusable::Kind(format!(
                "its answer of {} bytes is not a JSON object with a token",
                answer.len()
            ))
        })?;
        let value = answer
            .access_token
            .ok_or_else(|| kind("its answer has no member `access_token`"))?;
        let parts: Vec<&str> = value.split('.').collect();
        let [_, payload, _] = parts[..] else {
            return Err(kind(
                "its token is not a JSON web token, which has three parts",
            ));
        };
        // Neither may end the message that a broker receives it in.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+/=~".contains(c);
        if !value.chars().all(is_plain) {
            return Err(kind("its token has characters that no JSON web token has"));
        }
        let payload = payload
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_");
        let claims = BASE64URL_NOPAD.decode(payload.as_bytes()).ok();
        let claims: Option<Claims> = claims.and_then(|json| serde_json::from_slice(&json).ok());
        let claims =
            claims.ok_or_else(|| kind("the claims of its token are not JSON in Base64"))?;
        let subject = match claims.sub {
            Some(serde_json::Value::String(subject)) if !subject.contains('\0') => subject,
            _ => return Err(kind("its token has no claim `sub` with a name")),
        };
        let seconds = claims.exp.and_then(|exp| exp.as_f64());
        // Later than any date that the clocks of this system can express comes to the same.
        const LATEST: f64 = 253_402_300_799.0;
        let seconds = seconds
            .filter(|seconds| *seconds > 0.0)
            .ok_or_else(|| kind("its token has no claim `exp` with a time"))?;
        let expires = UNIX_EPOCH + Duration::from_secs_f64(seconds.min(LATEST));
        let life = expires.duration_since(now).unwrap_or_default();
        if life <= MARGIN {
            let cause = match now.duration_since(expires) {
                Ok(ago) => {
                    format!("its token has expired {ago:.0?} ago, by the clock of this machine")
                }
                Err(_) => format!("its token expires within {MARGIN:?}"),
            };
            return Err(Unusable::Expired(cause));
        }
        Ok(Token {
            value,
            subject,
            expires,
            refresh_at: now + life.mul_f64(0.8),
        })
    }

    /// Whether a login can begin with it.
    pub(super) fn is_usable(&self, now: SystemTime) -> bool {
        now + MARGIN < self.expires
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn jwt(claims: &Value) -> String {
        let part = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
        let header = part(json!({ "alg": "none" }).to_string());
        format!("{header}.{}.c2ln", part(claims.to_string()))
    }

    fn answer(claims: &Value) -> Vec<u8> {
        let answer =
            json!({ "access_token": jwt(claims), "token_type": "Bearer", "expires_in": 1 });
        answer.to_string().into_bytes()
    }

    #[test]
    fn a_token_is_refreshed_after_80_percent_of_its_life() {
        let claims = json!({ "sub": "kbk", "exp": NOW + 100 });
        let token = Token::parse(&answer(&claims), now()).unwrap();
        assert_eq!((&*token.value, &*token.subject), (&*jwt(&claims), "kbk"));
        assert_eq!(token.expires, now() + Duration::from_secs(100));
        assert_eq!(token.refresh_at, now() + Duration::from_secs(80));
        assert!(token.is_usable(now() + Duration::from_millis(98_999)));
        assert!(!token.is_usable(now() + Duration::from_secs(99)));
        assert!(!format!("{token:?}").contains(&token.value));
    }

    #[test]
    fn what_is_missing_is_named() {
        let unusable = |claims: Value| match Token::parse(&answer(&claims), now()).unwrap_err() {
            Unusable::Kind(cause) | Unusable::Expired(cause) => cause,
        };
        for (claims, words) in [
            (json!({ "exp": NOW + 100 }), "`sub`"),
            (json!({ "sub": 1, "exp": NOW + 100 }), "`sub`"),
            (json!({ "sub": "kbk" }), "`exp`"),
            (json!({ "sub": "kbk", "exp": "soon" }), "`exp`"),
            (json!({ "sub": "kbk", "exp": -1 }), "`exp`"),
            (json!({ "sub": "kbk", "exp": NOW - 60 }), "expired 60s ago"),
            (json!({ "sub": "kbk", "exp": NOW + 1 }), "expires within 1s"),
            (json!("text"), "claims"),
        ] {
            let cause = unusable(claims);
            assert!(cause.contains(words), "{cause}");
        }
        for (answer, words) in [
            ("<html>", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{}", "`access_token`"),
            (r#"{"access_token":"opaque"}"#, "three parts"),
            (r#"{"access_token":"a.b\u0001.c"}"#, "characters"),
            (r#"{"access_token":"a.!.c"}"#, "characters"),
            (r#"{"access_token":"a.b.c"}"#, "Base64"),
        ] {
            let Err(Unusable::Kind(cause)) = Token::parse(answer.as_bytes(), now()) else {
                panic!("{answer}");
            };
            assert!(cause.contains(words), "{cause}");
        }
    }

    #[test]
    fn a_token_that_never_expires_has_a_date() {
        let claims = json!({ "sub": "kbk", "exp": 1e300 });
        assert!(
            Token::parse(&answer(&claims), now())
                .unwrap()
                .is_usable(now())
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>, payload: Vec<u8>, exp: f64) {
            drop(Token::parse(&bytes, now()));
            let token = format!("a.{}.c", BASE64URL_NOPAD.encode(&payload));
            drop(Token::parse(json!({ "access_token": token }).to_string().as_bytes(), now()));
            drop(Token::parse(&answer(&json!({ "sub": "a", "exp": exp })), now()));
        }
    }
}
