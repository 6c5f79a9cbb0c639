//! Reports that no broker can be reached while something is waited for, and that one can again.

use std::cell::Cell;
use std::time::Duration;

use super::client::WireClient;
use crate::kafka::outage;

/// How long nothing has come from a cluster that is said to be down.
const SURELY_DOWN: Duration = Duration::from_secs(3);

/// Watches one client.
pub(super) struct OutageWatch {
    client: WireClient,
    addresses: String,
    is_reported: Cell<bool>,
}

impl OutageWatch {
    pub(super) fn new(client: WireClient, addresses: &str) -> OutageWatch {
        OutageWatch {
            client,
            addresses: addresses.to_owned(),
            is_reported: Cell::new(false),
        }
    }

    /// Looks at what the last requests have come to, after something was waited for.
    pub(super) fn look(&self, waited: Duration) {
        let trouble = self.client.trouble();
        match trouble {
            None => {
                if self.is_reported.replace(false) {
                    outage::ended();
                }
            }
            Some(cause) if waited >= SURELY_DOWN => {
                if !self.is_reported.replace(true) {
                    let addresses = &self.addresses;
                    let what = format!(
                        "no broker of {addresses} can be reached: {cause}; waiting until one can"
                    );
                    outage::began(&what, waited);
                }
            }
            Some(_) => {}
        }
    }
}

impl Drop for OutageWatch {
    fn drop(&mut self) {
        if self.is_reported.get() {
            outage::abandoned();
        }
    }
}
