//! SaslHandshake and SaslAuthenticate: the frames around a login.

use std::time::Duration;

use super::api::{Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// Chooses a mechanism.
#[derive(Clone, Copy, Debug)]
pub struct SaslHandshakeRequest<'a> {
    /// Its name.
    pub mechanism: &'a str,
}

/// Whether the listener offers the mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslHandshakeResponse<'a> {
    /// *UNSUPPORTED_SASL_MECHANISM* where it does not.
    pub error: ErrorCode,
    /// The mechanisms that it offers.
    pub mechanisms: Vec<&'a str>,
}

impl Request for SaslHandshakeRequest<'_> {
    const API: Api = Api::SaslHandshake;
    type Response<'a> = SaslHandshakeResponse<'a>;

    fn encode<'a>(&'a self, _version: i16, output: &mut Output<'a>) {
        output.string(self.mechanism);
    }

    fn decode<'a>(
        _version: i16,
        input: &mut Input<'a>,
    ) -> Result<SaslHandshakeResponse<'a>, Malformed> {
        Ok(SaslHandshakeResponse {
            error: ErrorCode(input.int16()?),
            mechanisms: input.array(2, Input::string)?,
        })
    }
}

impl Response for SaslHandshakeResponse<'_> {
    fn throttle(&self) -> Duration {
        Duration::ZERO
    }
}

/// A message of the mechanism's. It is a secret.
#[derive(Clone, Copy)]
pub struct SaslAuthenticateRequest<'a> {
    /// The message.
    pub message: &'a [u8],
}

/// The broker's message of the mechanism's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslAuthenticateResponse<'a> {
    /// *SASL_AUTHENTICATION_FAILED* where the login is refused.
    pub error: ErrorCode,
    /// Why, in the broker's words.
    pub error_message: Option<&'a str>,
    /// The message.
    pub message: &'a [u8],
    /// Milliseconds until the connection has to log in again; 0 for never.
    pub session_lifetime_ms: i64,
}

impl Request for SaslAuthenticateRequest<'_> {
    const API: Api = Api::SaslAuthenticate;
    type Response<'a> = SaslAuthenticateResponse<'a>;

    fn encode<'a>(&'a self, _version: i16, output: &mut Output<'a>) {
        output.bytes(self.message);
        output.tags();
    }

    fn decode<'a>(
        version: i16,
        input: &mut Input<'a>,
    ) -> Result<SaslAuthenticateResponse<'a>, Malformed> {
        let response = SaslAuthenticateResponse {
            error: ErrorCode(input.int16()?),
            error_message: input.nullable_string()?,
            message: input.nullable_bytes()?.unwrap_or_default(),
            session_lifetime_ms: if version >= 1 { input.int64()? } else { 0 },
        };
        input.tags()?;
        Ok(response)
    }
}

impl Response for SaslAuthenticateResponse<'_> {
    fn throttle(&self) -> Duration {
        Duration::ZERO
    }
}
