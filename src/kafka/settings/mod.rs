//! The settings of Kafka clients, from `--bootstrap-server`, `--command-config` and `-X`: checked and merged.
//!
//! | to know | look in |
//! |---|---|
//! | how the sources become settings | `builder`, `properties`, `variables` |
//! | what a property of Java's clients means | `java`, `jaas`, `key_store`, `jks` |
//! | what cannot be changed | `fixed` |
//! | what properties must say together | `consistency` |
//! | how the clients for reading, writing and other requests differ | `roles` |
//! | mistakes | `error` |

mod builder;
mod consistency;
mod error;
mod fixed;
mod jaas;
mod java;
mod jks;
mod key_store;
mod properties;
mod roles;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kbk_format::batch::BatchCodec;

use self::builder::Builder;
use super::client::ClientConfig;

pub use self::error::{Origin, SettingsError};

/// Checked settings of a Kafka client. Neither `Debug` nor any error shows a secret.
///
/// `-X` takes precedence over `--bootstrap-server`, which takes precedence over the file.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    config: ClientConfig,
    /// Where each property was set.
    origins: BTreeMap<String, Origin>,
    /// How long a cluster may not answer, where the user has set it.
    timeout: Option<Duration>,
    /// Whether the cluster's brokers know OffsetDelete, once they were asked. Clones share it.
    knows_offset_delete: Arc<OnceLock<bool>>,
}

/// How long reading or writing records may make no progress, unless the user has set it. Enough for brokers to restart.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long any other request may take, unless the user has set it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

impl ClientSettings {
    /// Reads and checks all settings. `overrides` are the pairs of `-X`.
    pub fn new(
        bootstrap_server: Option<&str>,
        command_config: Option<&Path>,
        overrides: &[(String, String)],
    ) -> Result<ClientSettings, SettingsError> {
        let mut builder = Builder::new();
        if let Some(path) = command_config {
            builder.add_file(path)?;
        }
        if let Some(servers) = bootstrap_server {
            builder.set(&Origin::BootstrapServer, "bootstrap.servers", servers)?;
        }
        for (key, value) in overrides {
            builder.add_override(key, value)?;
        }
        builder.finish()
    }

    /// The bootstrap servers, as given.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        self.config.get("bootstrap.servers").unwrap_or_default()
    }

    /// Returns the error that the value of a property cannot be used, with the place where it was set.
    pub(super) fn invalid(&self, key: &str, cause: String) -> SettingsError {
        let origin = self.origins.get(key).cloned();
        SettingsError::InvalidValue {
            origin: origin.unwrap_or(Origin::Option),
            key: key.to_owned(),
            cause,
        }
    }

    /// Sets how long a cluster may not answer before a call fails.
    #[must_use]
    pub fn with_timeout(self, timeout: Option<Duration>) -> ClientSettings {
        ClientSettings { timeout, ..self }
    }

    /// How long reading or writing records may make no progress.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// How long any other request may take, its retries included.
    pub(super) fn request_timeout(&self) -> Duration {
        self.timeout.unwrap_or(REQUEST_TIMEOUT)
    }

    /// Whether the cluster's brokers know OffsetDelete, once they were asked.
    pub(super) fn knows_offset_delete(&self) -> &OnceLock<bool> {
        &self.knows_offset_delete
    }

    /// Returns the codec of batches that the user has set, for all topics.
    #[must_use]
    pub fn batch_codec(&self) -> Option<BatchCodec> {
        BatchCodec::named(self.config.get("compression.type")?)
    }

    /// Returns whether the user has bounded batches that are written, in bytes or in records.
    #[must_use]
    pub fn bounds_batches(&self) -> bool {
        let is_set = |key| self.config.get(key).is_some();
        is_set("batch.size") || is_set("batch.num.messages")
    }

    /// The transaction timeout that the user has set.
    pub(super) fn transaction_timeout(&self) -> Option<Duration> {
        let milliseconds = self.config.get("transaction.timeout.ms")?;
        milliseconds.parse().ok().map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests;
