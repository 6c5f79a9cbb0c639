//! Tokens for OAUTHBEARER from an endpoint (OAuth 2.0, OpenID Connect), for both Kafka clients of this process.
//!
//! ```text
//!   properties ──► OidcSettings ──► TokenSource ──► wire client: a token per login
//!                                    │     └──────► librdkafka: its callback for tokens
//!                                    ▼
//!                              token endpoint (HTTP), one request at a time
//! ```
//!
//! librdkafka would fetch tokens itself if it were built with curl. It is not: one token serves all connections of both clients
//! (docs/decisions/0010-oidc-kerberos.md).
//!
//! | to find | look in |
//! |---|---|
//! | which properties are honoured, and what they must say | `settings` |
//! | when a token is fetched, kept and replaced | `source` |
//! | the request, and what can go wrong with it | `endpoint`, `failure` |
//! | what an answer and a token must contain | `token` |

mod endpoint;
mod failure;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod token;

pub use self::failure::TokenFailure;
pub(in crate::kafka) use self::settings::{OidcSettings, PROPERTIES, check_value, is_handled};
pub(in crate::kafka) use self::source::TokenSource;
pub(in crate::kafka) use self::token::Token;
