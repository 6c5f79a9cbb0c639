//! Why the writers of a restore stop before everything is written: a signal has arrived, or one of them has failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::restore::error::RestoreError;
use crate::run::Cancel;

/// Tells the writers to stop. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Halt {
    cancel: Cancel,
    failure: Arc<Mutex<Option<RestoreError>>>,
}

impl Halt {
    /// Halts when a signal arrives.
    pub(crate) fn by(cancel: &Cancel) -> Halt {
        Halt {
            cancel: cancel.clone(),
            failure: Arc::default(),
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<RestoreError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writers are to stop: they commit what they have, and wait for the cluster no longer.
    pub(crate) fn is_set(&self) -> bool {
        self.cancel.is_set() || self.failure().is_some()
    }

    /// Halts because a writer has failed. What others fail with afterwards is a consequence, or would have been reported later.
    pub(crate) fn fail(&self, error: RestoreError) {
        self.failure().get_or_insert(error);
    }

    /// Returns the first failure, once all writers have ended.
    pub(crate) fn outcome(&self) -> Result<(), RestoreError> {
        self.failure().take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::KafkaError;

    fn error(cause: &str) -> RestoreError {
        RestoreError::Kafka(KafkaError::Other {
            doing: "write".to_owned(),
            cause: cause.to_owned(),
        })
    }

    #[test]
    fn the_first_failure_halts_all_and_is_the_outcome() {
        let halt = Halt::by(&Cancel::default());
        let other = halt.clone();
        assert!(!other.is_set());
        halt.fail(error("refused"));
        assert!(other.is_set());
        other.fail(error("nobody answers"));
        let failed = halt.outcome().unwrap_err().to_string();
        assert!(failed.contains("refused"), "{failed}");
    }

    #[test]
    fn a_signal_is_no_failure() {
        let cancel = Cancel::default();
        let halt = Halt::by(&cancel);
        cancel.set(15);
        assert!(halt.is_set());
        halt.outcome().unwrap();
    }
}
