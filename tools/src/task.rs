//! Takes the results of tasks that were spawned on the runtime.

use kbk_format::repo::BoxedError;
use tokio::task::JoinError;

/// Returns what a task returned, and continues its panic. The error is that of a task that the runtime cancelled while it was
/// shutting down.
pub(crate) fn joined<T>(joined: Result<T, JoinError>) -> Result<T, BoxedError> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(cancelled) => cancelled.into(),
    })
}
