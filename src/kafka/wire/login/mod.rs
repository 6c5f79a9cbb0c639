//! Logins: what each SASL mechanism says. No I/O.
//!
//! | file | holds |
//! |---|---|
//! | `scram` | SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802) |
//! | `bearer` | OAUTHBEARER (RFC 7628), and unsecured tokens for it |

mod bearer;
mod scram;

use std::fmt;
use std::sync::Arc;

use self::bearer::Claims;
use self::scram::{Hash, Scram};
use super::error::WireError;
use crate::kafka::client::ClientConfig;
use crate::kafka::oidc::{Token, TokenSource};

/// Properties that are honoured.
pub(super) const PROPERTIES: &[&str] = &[
    "enable.sasl.oauthbearer.unsecure.jwt",
    "sasl.mechanism",
    "sasl.oauthbearer.config",
    "sasl.password",
    "sasl.username",
];

/// How to log in. Its `Debug` shows no secret.
#[derive(Clone)]
pub(super) struct Login(Mechanism);

#[derive(Clone)]
enum Mechanism {
    Plain {
        user: String,
        password: String,
    },
    Scram {
        hash: Hash,
        user: String,
        password: String,
    },
    /// With tokens that are not signed.
    Unsecured(Claims),
    /// With tokens from an endpoint.
    Bearer(Arc<TokenSource>),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.name()).finish()
    }
}

/// Where a login is.
pub(super) enum Progress {
    /// The next message to the broker.
    Send(Vec<u8>),
    /// The broker has proved all that the mechanism lets it prove.
    Done,
}

/// A login under way.
pub(super) struct Exchange(Under);

enum Under {
    /// PLAIN and OAUTHBEARER: one message, which the broker answers with nothing, or with the reason of a refusal.
    OneMessage,
    Scram(Box<Scram>),
}

impl Login {
    /// Reads the properties of a login, which the settings have checked.
    pub(super) fn new(config: &ClientConfig) -> Result<Login, WireError> {
        let text = |key: &str| config.get(key).unwrap_or_default().to_owned();
        let (user, password) = (text("sasl.username"), text("sasl.password"));
        let mechanism = match config.get("sasl.mechanism").unwrap_or_default() {
            "PLAIN" => Mechanism::Plain { user, password },
            "SCRAM-SHA-256" => Mechanism::Scram {
                hash: Hash::Sha256,
                user,
                password,
            },
            "SCRAM-SHA-512" => Mechanism::Scram {
                hash: Hash::Sha512,
                user,
                password,
            },
            "OAUTHBEARER" => match &config.tokens {
                Some(tokens) => Mechanism::Bearer(Arc::clone(tokens)),
                None => Mechanism::Unsecured(Claims::new(config)?),
            },
            other => {
                let cause =
                    format!("the client `wire` has no mechanism {other}; use --client librdkafka");
                return Err(WireError::property("sasl.mechanism", cause));
            }
        };
        Ok(Login(mechanism))
    }

    /// Returns the mechanism's name.
    pub(super) fn name(&self) -> &'static str {
        match &self.0 {
            Mechanism::Plain { .. } => "PLAIN",
            Mechanism::Scram { hash, .. } => hash.mechanism(),
            Mechanism::Unsecured(_) | Mechanism::Bearer(_) => "OAUTHBEARER",
        }
    }

    /// Returns where the tokens come from that [`begin`](Self::begin) needs, if it needs any.
    pub(super) fn tokens(&self) -> Option<&TokenSource> {
        match &self.0 {
            Mechanism::Bearer(tokens) => Some(tokens),
            Mechanism::Plain { .. } | Mechanism::Scram { .. } | Mechanism::Unsecured(_) => None,
        }
    }

    /// Begins a login with its first message.
    ///
    /// # Errors
    ///
    /// Where there is no randomness, or no token where one is needed, or the time is before 1970.
    pub(super) fn begin(&self, token: Option<&Token>) -> Result<(Exchange, Vec<u8>), String> {
        match &self.0 {
            Mechanism::Plain { user, password } => {
                let message = [b"\0", user.as_bytes(), b"\0", password.as_bytes()].concat();
                Ok((Exchange(Under::OneMessage), message))
            }
            Mechanism::Scram {
                hash,
                user,
                password,
            } => {
                let scram = Scram::new(*hash, user, password, &scram::nonce()?);
                let message = scram.first_message();
                Ok((Exchange(Under::Scram(Box::new(scram))), message))
            }
            Mechanism::Unsecured(claims) => Ok((Exchange(Under::OneMessage), claims.message()?)),
            Mechanism::Bearer(tokens) => {
                let token = token.ok_or("there is no token")?;
                let message = bearer::message(&token.value, tokens.extensions());
                Ok((Exchange(Under::OneMessage), message))
            }
        }
    }
}

impl Exchange {
    /// Answers a message of the broker's.
    ///
    /// # Errors
    ///
    /// Where the message is not one of the mechanism's, or proves that the broker does not know the password.
    pub(super) fn answer(&mut self, message: &[u8]) -> Result<Progress, String> {
        match &mut self.0 {
            Under::OneMessage if message.is_empty() => Ok(Progress::Done),
            // RFC 7628: an error is answered with a single byte, and the broker then fails the login.
            Under::OneMessage => Ok(Progress::Send(vec![1])),
            Under::Scram(scram) => scram.answer(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(pairs: &[(&str, &str)]) -> Login {
        let mut config = ClientConfig::default();
        for (key, value) in pairs {
            config.set(key, *value);
        }
        Login::new(&config).unwrap()
    }

    #[test]
    fn plain_is_one_message() {
        let login = login(&[
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "alice"),
            ("sasl.password", "open"),
        ]);
        assert_eq!(login.name(), "PLAIN");
        let (mut exchange, first) = login.begin(None).unwrap();
        assert_eq!(first, b"\0alice\0open");
        assert!(matches!(exchange.answer(b""), Ok(Progress::Done)));
    }

    #[test]
    fn no_secret_is_shown() {
        let login = login(&[
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "alice"),
            ("sasl.password", "open"),
        ]);
        assert_eq!(format!("{login:?}"), "Login(\"SCRAM-SHA-512\")");
    }

    #[test]
    fn an_unknown_mechanism_is_named() {
        let mut config = ClientConfig::default();
        config.set("sasl.mechanism", "GSSAPI");
        let error = Login::new(&config).unwrap_err().to_string();
        assert!(
            error.contains("`sasl.mechanism`") && error.contains("GSSAPI"),
            "{error}"
        );
    }
}
