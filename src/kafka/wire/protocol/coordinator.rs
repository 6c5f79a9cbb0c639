//! FindCoordinator: which broker keeps the transactions of an id, or the offsets of a group.

use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoordinatorKind {
    /// The members and the offsets of a group.
    Group,
    /// The transactions of an id.
    Transaction,
}

impl CoordinatorKind {
    /// Returns the number in requests.
    fn code(self) -> i8 {
        match self {
            CoordinatorKind::Group => 0,
            CoordinatorKind::Transaction => 1,
        }
    }
}

/// Asks any broker about one group or transactional id.
#[derive(Clone, Copy, Debug)]
pub struct FindCoordinatorRequest<'a> {
    /// What the key is.
    pub kind: CoordinatorKind,
    /// The group, or the transactional id.
    pub key: &'a str,
}

/// A broker, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorResponse<'a> {
    /// Whether the rest is valid.
    pub error: ErrorCode,
    /// More about the error, in the broker's words.
    pub error_message: Option<&'a str>,
    /// The broker's number; -1 for none.
    pub broker: i32,
    /// The host that it advertises on the listener that was asked.
    pub host: &'a str,
    /// The port.
    pub port: i32,
    throttle_ms: i32,
}

impl FindCoordinatorRequest<'_> {
    /// The first version that can ask about several keys.
    const FIRST_OF_SEVERAL: i16 = 4;
}

impl Request for FindCoordinatorRequest<'_> {
    const API: Api = Api::FindCoordinator;
    type Response<'a> = FindCoordinatorResponse<'a>;

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        if version < FindCoordinatorRequest::FIRST_OF_SEVERAL {
            output.string(self.key);
        }
        output.int8(self.kind.code());
        if version >= FindCoordinatorRequest::FIRST_OF_SEVERAL {
            output.array([self.key].into_iter(), |output, key| output.string(key));
        }
        output.tags();
    }

    fn decode<'a>(
        version: i16,
        input: &mut Input<'a>,
    ) -> Result<FindCoordinatorResponse<'a>, Malformed> {
        let throttle_ms = input.int32()?;
        if version < FindCoordinatorRequest::FIRST_OF_SEVERAL {
            let error = ErrorCode(input.int16()?);
            let error_message = input.nullable_string()?;
            let response = FindCoordinatorResponse {
                error,
                error_message,
                broker: input.int32()?,
                host: input.string()?,
                port: input.int32()?,
                throttle_ms,
            };
            input.tags()?;
            return Ok(response);
        }
        let start = input.clone();
        let found = input.array(12, |input| {
            let _key = input.string()?;
            let broker = input.int32()?;
            let host = input.string()?;
            let port = input.int32()?;
            let error = ErrorCode(input.int16()?);
            let error_message = input.nullable_string()?;
            input.tags()?;
            Ok(FindCoordinatorResponse {
                error,
                error_message,
                broker,
                host,
                port,
                throttle_ms,
            })
        })?;
        input.tags()?;
        let count = found.len();
        match <[_; 1]>::try_from(found) {
            Ok([found]) => Ok(found),
            Err(_) => Err(start.malformed(format!("expected one coordinator, found {count}"))),
        }
    }
}

impl Response for FindCoordinatorResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
