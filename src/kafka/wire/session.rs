//! Logs a connection in, and again before its session ends (KIP-368).

use std::time::Duration;

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::WireError;
use super::login::{Login, Progress};
use super::protocol::{ErrorCode, SaslAuthenticateRequest, SaslHandshakeRequest};

/// The session of a connection that has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// After how long to log in again; `None` for never.
    pub(super) renew_after: Option<Duration>,
}

/// How many messages a mechanism may exchange.
const MOST_MESSAGES: usize = 8;

/// What a broker has answered to a message.
struct Answer {
    error: ErrorCode,
    error_message: String,
    message: Vec<u8>,
    lifetime_ms: i64,
}

/// Logs in on a connection without a request under way.
pub(super) async fn log_in(
    connection: &mut Connection,
    login: &Login,
    deadline: Deadline,
) -> Result<Session, WireError> {
    let request = SaslHandshakeRequest {
        mechanism: login.name(),
    };
    let (error, offered) = connection
        .call_now(&request, deadline, |response| {
            (response.error, response.mechanisms.join(","))
        })
        .await?;
    let refused = |connection: &Connection, cause: String| WireError::Authentication {
        broker: connection.broker().clone(),
        mechanism: login.name(),
        cause,
    };
    match error {
        ErrorCode::NONE => {}
        ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
            let cause = format!("the listener offers {offered}, by `sasl.mechanism`");
            return Err(refused(connection, cause));
        }
        ErrorCode::ILLEGAL_SASL_STATE => {
            let cause = "the listener does not use SASL, which `security.protocol` asks for";
            return Err(refused(connection, cause.to_owned()));
        }
        code => return Err(refused(connection, code.to_string())),
    }
    let token = match login.tokens() {
        Some(tokens) => {
            let token = tokens.token(deadline.left()).await;
            Some(token.map_err(WireError::Token)?)
        }
        None => None,
    };
    let begun = login.begin(token.as_deref());
    let (mut exchange, mut message) = begun.map_err(|cause| refused(connection, cause))?;
    for _ in 0..MOST_MESSAGES {
        let answer = send(connection, &message, deadline).await?;
        if answer.error != ErrorCode::NONE {
            let cause = match answer.error_message.is_empty() {
                true => answer.error.to_string(),
                false => answer.error_message,
            };
            return Err(refused(connection, cause));
        }
        match exchange.answer(&answer.message) {
            Ok(Progress::Done) => return Ok(Session::of(answer.lifetime_ms)),
            Ok(Progress::Send(next)) => message = next,
            Err(cause) => return Err(refused(connection, cause)),
        }
    }
    let cause = format!("no end after {MOST_MESSAGES} messages");
    Err(refused(connection, cause))
}

async fn send(
    connection: &mut Connection,
    message: &[u8],
    deadline: Deadline,
) -> Result<Answer, WireError> {
    let request = SaslAuthenticateRequest { message };
    connection
        .call_now(&request, deadline, |response| Answer {
            error: response.error,
            error_message: response.error_message.unwrap_or_default().to_owned(),
            message: response.message.to_vec(),
            lifetime_ms: response.session_lifetime_ms,
        })
        .await
}

impl Session {
    /// Logs in again after 85 % of the time: the broker closes the connection at the next request after all of it.
    ///
    /// A session is as short as what is left of a token's life. But a broker takes a second login within a second for a mistake
    /// (`KafkaChannel.maybeBeginServerReauthentication`), while one after the end of the session is as good as one before.
    fn of(lifetime_ms: i64) -> Session {
        const SOONEST: Duration = Duration::from_millis(1100);
        let lifetime = u64::try_from(lifetime_ms)
            .ok()
            .filter(|lifetime| *lifetime > 0);
        let most = lifetime.map(|lifetime| Duration::from_millis(lifetime / 100 * 85));
        Session {
            renew_after: most.map(|most| most.max(SOONEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_renewed_before_they_end() {
        let after = |lifetime| Session::of(lifetime).renew_after;
        assert_eq!(after(0), None);
        assert_eq!(after(-1), None);
        assert_eq!(after(3000), Some(Duration::from_millis(2550)));
        assert!(after(i64::MAX).is_some());
        assert_eq!(after(1050), Some(Duration::from_millis(1100)));
    }
}
