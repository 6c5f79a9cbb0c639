//! Proves that a list of all groups is complete: see [`GroupCoordinators`].

use tokio::runtime::Runtime;

use crate::kafka::error::KafkaError;
use crate::kafka::settings::ClientSettings;
use crate::kafka::wire::{GroupCoordinators, WireClient, WireError, WireSettings, runtime};

/// The coordinators of all groups, which were ready when this was created.
pub(super) struct CoordinatorWatch {
    client: WireClient,
    runtime: Runtime,
    before: GroupCoordinators,
}

/// Why groups may be missing.
pub(super) enum Unproven {
    /// A coordinator that is not ready, or does not answer.
    Unready(KafkaError),
    /// This principal may not ask, or the client cannot be used with these properties: nothing is known.
    Unknown,
}

impl CoordinatorWatch {
    /// Waits until all coordinators are ready, as long as a request may take.
    pub(super) fn start(
        settings: &ClientSettings,
        doing: &str,
    ) -> Result<CoordinatorWatch, Unproven> {
        let wire = WireSettings::new(settings).map_err(|error| judged(error, settings, doing))?;
        let client = WireClient::new(wire);
        let runtime = runtime().map_err(Unproven::Unready)?;
        let ready = client.group_coordinators(settings.request_timeout());
        match runtime.block_on(ready) {
            Ok(Some(before)) => Ok(CoordinatorWatch {
                client,
                runtime,
                before,
            }),
            Ok(None) => Err(Unproven::Unknown),
            Err(error) => Err(judged(error, settings, doing)),
        }
    }

    /// Returns whether the same brokers have coordinated the same groups since.
    pub(super) fn is_unchanged(
        &self,
        settings: &ClientSettings,
        doing: &str,
    ) -> Result<bool, Unproven> {
        match self.runtime.block_on(self.client.offsets_leaders()) {
            Ok(Some(after)) => Ok(after == self.before),
            Ok(None) => Err(Unproven::Unknown),
            Err(error) => Err(judged(error, settings, doing)),
        }
    }
}

/// What will not pass says nothing about coordinators: the other client has listed the groups.
fn judged(error: WireError, settings: &ClientSettings, doing: &str) -> Unproven {
    match error.is_transient() {
        true => Unproven::Unready(error.into_kafka(settings.bootstrap_servers(), doing, None)),
        false => {
            tracing::debug!("whether all groups were listed is not known: {error}");
            Unproven::Unknown
        }
    }
}
