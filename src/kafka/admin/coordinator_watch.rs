//! Proves that a list of all groups is complete: see [`GroupCoordinators`].

use tokio::runtime::Runtime;

use crate::kafka::error::KafkaError;
use crate::kafka::settings::ClientSettings;
use crate::kafka::wire::{GroupCoordinators, WireClient, WireError, WireSettings, runtime};

/// The coordinators of all groups, which were ready when this was created.
pub(super) struct CoordinatorWatch<'a> {
    settings: &'a ClientSettings,
    /// As in "cannot *list groups*".
    doing: &'a str,
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

impl<'a> CoordinatorWatch<'a> {
    /// Waits until all coordinators are ready, as long as a request may take.
    pub(super) fn start(
        settings: &'a ClientSettings,
        doing: &'a str,
    ) -> Result<CoordinatorWatch<'a>, Unproven> {
        let wire = WireSettings::new(settings).map_err(|error| judged(error, settings, doing))?;
        let client = WireClient::new(wire);
        let runtime = runtime().map_err(Unproven::Unready)?;
        let ready = client.group_coordinators(settings.request_timeout());
        match runtime.block_on(ready) {
            Ok(Some(before)) => Ok(CoordinatorWatch {
                settings,
                doing,
                client,
                runtime,
                before,
            }),
            Ok(None) => Err(Unproven::Unknown),
            Err(error) => Err(judged(error, settings, doing)),
        }
    }

    /// Returns whether the same brokers have coordinated the same groups since.
    pub(super) fn is_unchanged(&self) -> Result<bool, Unproven> {
        match self.runtime.block_on(self.client.offsets_leaders()) {
            Ok(Some(after)) => Ok(after == self.before),
            Ok(None) => Err(Unproven::Unknown),
            Err(error) => Err(judged(error, self.settings, self.doing)),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::*;
    use crate::kafka::wire::tests::group_coordinators::described;
    use crate::kafka::wire::tests::support::{
        API_VERSIONS, DESCRIBE_GROUPS, FakeBroker, METADATA, Request, metadata_of, own_port,
        settings, versions_and,
    };

    /// Returns whether a broker that leads the only partition in these epochs, by the question, has coordinated all groups since.
    async fn is_unchanged(epochs: [i32; 2]) -> bool {
        let (port, own) = own_port();
        let asked = AtomicUsize::new(0);
        let broker = FakeBroker::start(move |request: &Request| match request.api {
            API_VERSIONS => versions_and(request, &[[DESCRIBE_GROUPS, 0, 1]]),
            METADATA => {
                let epoch = epochs[asked.fetch_add(1, Relaxed).min(1)];
                metadata_of("__consumer_offsets", &[own.load(Relaxed)], &[(1, epoch)])
            }
            _ => described(request, |_| 0),
        })
        .await;
        port.store(broker.port, Relaxed);
        let settings = settings(&broker.address(), Duration::from_secs(20), &[]);
        let watched = tokio::task::spawn_blocking(move || {
            let watch = CoordinatorWatch::start(&settings, "list groups")
                .ok()
                .unwrap();
            watch.is_unchanged().ok().unwrap()
        });
        watched.await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_later_epoch_of_a_coordinator_is_a_change() {
        assert!(is_unchanged([7, 7]).await);
        assert!(!is_unchanged([7, 8]).await);
    }
}
