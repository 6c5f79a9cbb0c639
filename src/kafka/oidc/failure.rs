//! Why there is no token, without anything secret.

/// Why an endpoint gave no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot get a token for `sasl.mechanism` OAUTHBEARER from {endpoint}: {cause}; {next}")]
pub struct TokenFailure {
    /// The URL of the endpoint, without its query.
    pub endpoint: String,
    /// What went wrong.
    pub cause: String,
    /// What to do about it.
    pub next: &'static str,
    /// Whether the same request may succeed later.
    pub is_transient: bool,
}

impl TokenFailure {
    pub(super) const ADDRESS: &str =
        "check `sasl.oauthbearer.token.endpoint.url`, the network and the endpoint's health";
    pub(super) const CREDENTIALS: &str = "check `sasl.oauthbearer.client.id`, `sasl.oauthbearer.client.secret` and `sasl.oauthbearer.scope`";
    pub(super) const TRUST: &str =
        "check `https.ca.location`, and the host name in `sasl.oauthbearer.token.endpoint.url`";
    pub(super) const KIND: &str = "check that `sasl.oauthbearer.token.endpoint.url` is a token endpoint of OAuth 2.0 that issues JSON web tokens";
    pub(super) const CLOCK: &str =
        "check the clocks of this machine and of the endpoint, and how long its tokens are valid";
}
