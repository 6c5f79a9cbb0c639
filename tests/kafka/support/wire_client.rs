//! kbk's own Kafka client, as the tests of it are set up.

use std::time::Duration;

use kbk::kafka::ClientSettings;
use kbk::kafka::wire::{WireClient, WireSettings};

use super::broker::Broker;

/// Returns a client of a broker's plain listener.
pub(crate) fn of(broker: &Broker) -> WireClient {
    with(broker.bootstrap(), None, &[])
}

/// Returns a client with properties, and a time for requests and stalls.
pub(crate) fn with(
    bootstrap: &str,
    timeout: Option<Duration>,
    properties: &[(&str, &str)],
) -> WireClient {
    let properties: Vec<_> = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let settings = ClientSettings::new(Some(bootstrap), None, &properties).expect("valid");
    let settings = settings.with_timeout(timeout);
    WireClient::new(WireSettings::new(&settings).expect("honoured"))
}

/// Runs a call. Connections live as long as the thread's runtime: all calls of a test share it.
pub(crate) fn block_on<T>(call: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(call))
}
