//! Requests to the broker that coordinates a group or a transactional id, whoever that is by then.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backoff::Backoff;
use super::client::WireClient;
use super::deadline::Deadline;
use super::error::WireError;
use super::offsets::UNKNOWN_TOPIC_PATIENCE;
use super::protocol::{CoordinatorKind, ErrorCode, FindCoordinatorRequest, Request};

/// Who coordinates what, by what brokers have said so far.
#[derive(Debug, Default)]
pub(super) struct Coordinators(Mutex<HashMap<(CoordinatorKind, String), i32>>);

impl Coordinators {
    fn lock(&self) -> MutexGuard<'_, HashMap<(CoordinatorKind, String), i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, kind: CoordinatorKind, key: &str) -> Option<i32> {
        self.lock().get(&(kind, key.to_owned())).copied()
    }

    fn learn(&self, kind: CoordinatorKind, key: &str, broker: i32) {
        self.lock().insert((kind, key.to_owned()), broker);
    }

    fn forget(&self, kind: CoordinatorKind, key: &str) {
        self.lock().remove(&(kind, key.to_owned()));
    }
}

/// What a coordinator answers in place of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerError {
    pub(super) code: ErrorCode,
    /// The partition that it is about, where it is about one.
    pub(super) subject: Option<String>,
}

impl From<ErrorCode> for BrokerError {
    fn from(code: ErrorCode) -> BrokerError {
        let subject = None;
        BrokerError { code, subject }
    }
}

/// The first pause where a coordinator is still ending the transaction before: it takes milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

impl WireClient {
    /// Sends a request to a coordinator, again and again where it moves, is starting, or is still ending the transaction before. `convert`
    /// returns what the coordinator refuses.
    pub(super) async fn ask_coordinator<R: Request, T>(
        &self,
        (kind, key): (CoordinatorKind, &str),
        request: &R,
        deadline: Deadline,
        convert: impl Fn(R::Response<'_>) -> Result<T, BrokerError>,
    ) -> Result<T, WireError> {
        let mut backoff = self.backoff();
        let longest = self.settings().longest_backoff;
        let mut ending = Backoff::new(FIRST_PAUSE, longest);
        loop {
            let error = match self
                .ask_once((kind, key), request, deadline, &convert)
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let code = error.code();
            // It answers, and will answer the same request later.
            let stays = matches!(
                code,
                Some(
                    ErrorCode::CONCURRENT_TRANSACTIONS
                        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                        | ErrorCode::UNSTABLE_OFFSET_COMMIT
                )
            );
            if !stays {
                self.coordinators().forget(kind, key);
            }
            let pause = match code {
                Some(ErrorCode::CONCURRENT_TRANSACTIONS) => ending.pause(),
                _ => backoff.pause(),
            };
            let is_unknown = code.is_some_and(ErrorCode::is_unknown_topic);
            if !error.is_transient()
                || deadline.left() <= pause
                || (is_unknown && deadline.waited() >= UNKNOWN_TOPIC_PATIENCE)
            {
                return Err(error);
            }
            tracing::debug!("asking the coordinator of {key} again: {error}");
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask_once<R: Request, T>(
        &self,
        (kind, key): (CoordinatorKind, &str),
        request: &R,
        deadline: Deadline,
        convert: impl Fn(R::Response<'_>) -> Result<T, BrokerError>,
    ) -> Result<T, WireError> {
        let broker = match self.coordinators().of(kind, key) {
            Some(broker) => broker,
            None => self.find_coordinator(kind, key, deadline).await?,
        };
        let answer = self.ask_broker(broker, request, deadline, convert).await?;
        answer.map_err(|refused| {
            let broker = match self.broker_name(broker) {
                Ok(broker) => broker,
                Err(error) => return error,
            };
            let (request, code) = (R::API, refused.code);
            match refused.subject {
                Some(subject) => WireError::Partition {
                    broker,
                    request,
                    subject,
                    code,
                },
                None => WireError::Broker {
                    broker,
                    request,
                    code,
                },
            }
        })
    }

    async fn find_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
        deadline: Deadline,
    ) -> Result<i32, WireError> {
        let request = FindCoordinatorRequest { kind, key };
        let found = self.ask_any(&request, deadline, |response| match response.error {
            ErrorCode::NONE if response.broker < 0 => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            ErrorCode::NONE => Ok(response.broker),
            code => Err(code),
        });
        let broker = found.await?;
        if self.broker_name(broker).is_err() {
            // A broker that has joined since the cluster was last described.
            self.metadata_by(Some(&[]), deadline).await?;
        }
        self.coordinators().learn(kind, key, broker);
        Ok(broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_transactions_of_one_name_have_coordinators_of_their_own() {
        let coordinators = Coordinators::default();
        coordinators.learn(CoordinatorKind::Group, "a", 1);
        coordinators.learn(CoordinatorKind::Transaction, "a", 2);
        assert_eq!(coordinators.of(CoordinatorKind::Group, "a"), Some(1));
        coordinators.forget(CoordinatorKind::Group, "a");
        assert_eq!(coordinators.of(CoordinatorKind::Group, "a"), None);
        assert_eq!(coordinators.of(CoordinatorKind::Transaction, "a"), Some(2));
    }
}
