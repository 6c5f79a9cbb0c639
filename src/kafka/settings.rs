//! Client settings from `--bootstrap-server`, `--command-config` and `-X`, checked and merged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::batch_codec::BatchCodec;
use super::client::{ClientConfig, ConfError, NativeConf};
use super::java;
use super::options::SinkOptions;
use super::properties::{self, Property};

/// Checked settings of a Kafka client. Neither `Debug` nor any error shows a secret.
///
/// `-X` takes precedence over `--bootstrap-server`, which takes precedence over the file.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    config: ClientConfig,
    /// How long a cluster may not answer, where the user has set it.
    timeout: Option<Duration>,
}

/// A mistake in the settings, and where it was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No cluster was named.
    #[error("no cluster: give --bootstrap-server, or `bootstrap.servers` in --command-config")]
    NoBootstrapServer,
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not a valid `key=value`.
    #[error("{origin}: {what}")]
    Syntax {
        /// Where it was set.
        origin: Origin,
        /// What is wrong.
        what: &'static str,
    },
    /// The property is unknown.
    #[error("{origin}: unknown property `{key}`{}", .nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it was set.
        origin: Origin,
        /// The property.
        key: String,
        /// The most similar known property.
        nearest: Option<String>,
    },
    /// The value of a known property is invalid.
    #[error("{origin}: `{key}`: {cause}")]
    InvalidValue {
        /// Where it was set.
        origin: Origin,
        /// The property.
        key: String,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// The value would break a backup or a restore.
    #[error("{origin}: `{key}` cannot be changed: {why}")]
    Refused {
        /// Where it was set.
        origin: Origin,
        /// The property.
        key: String,
        /// The reason.
        why: &'static str,
    },
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a properties file, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// `-X`.
    Option,
    /// `--bootstrap-server`.
    BootstrapServer,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Option => f.write_str("-X"),
            Origin::BootstrapServer => f.write_str("--bootstrap-server"),
        }
    }
}

/// How long reading or writing records may make no progress, unless the user has set it. Enough for brokers to restart.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long any other request may take, unless the user has set it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// librdkafka's default.
const LONGEST_SOCKET_TIMEOUT: Duration = Duration::from_secs(60);
/// A second more than librdkafka requires above `fetch.wait.max.ms`, and more than any round trip takes.
const SHORTEST_SOCKET_TIMEOUT: Duration = Duration::from_secs(2);

/// Properties that kbk sets and that cannot be changed: name, value, reason.
const FIXED: [(&str, &str, &str); 10] = [
    (
        "enable.auto.commit",
        "false",
        "kbk keeps its own positions and commits none",
    ),
    (
        "enable.auto.offset.store",
        "false",
        "kbk keeps its own positions and commits none",
    ),
    (
        "auto.offset.reset",
        "error",
        "a gap left by lost records must be detected",
    ),
    (
        "isolation.level",
        "read_committed",
        "records of aborted transactions must not be backed up",
    ),
    (
        "enable.partition.eof",
        "true",
        "kbk detects the end of a partition by it",
    ),
    (
        "check.crcs",
        "true",
        "corruption in transit must be detected",
    ),
    (
        "enable.idempotence",
        "true",
        "retries would duplicate or reorder records",
    ),
    (
        "acks",
        "all",
        "a record counts as restored when all replicas have it",
    ),
    (
        "allow.auto.create.topics",
        "false",
        "describing a topic must not create it",
    ),
    (
        "enable.metrics.push",
        "false",
        "kbk sends no metrics to the cluster",
    ),
];

/// Pairs of names that librdkafka has for one property. Values are kept under the second, so that `-X` wins under either name.
const ALIASES: [(&str, &str); 9] = [
    ("metadata.broker.list", "bootstrap.servers"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("request.required.acks", "acks"),
    ("compression.codec", "compression.type"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.send.max.retries", "retries"),
];

/// Properties that would change what kind of client it is.
const UNUSABLE: [(&str, &str); 3] = [
    ("transactional.id", "kbk chooses its transactional ids"),
    ("test.mock.num.brokers", "`kbk demo` runs its own cluster"),
    ("plugin.library.paths", "kbk loads no plugins"),
];

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

    /// The transaction timeout that the user has set.
    pub(super) fn transaction_timeout(&self) -> Option<Duration> {
        let milliseconds = self.config.get("transaction.timeout.ms")?;
        milliseconds.parse().ok().map(Duration::from_millis)
    }

    /// For metadata, offsets and configurations.
    ///
    /// With connections made on demand, librdkafka 2.12.1 does not back off from a broker that refuses them while a request waits
    /// for it: each failure changes the broker's state, the change wakes the request, and the request asks for a connection at once
    /// (`rd_kafka_broker_find_by_nodeid0`), 800 times per second and more.
    pub(super) fn admin(&self) -> ClientConfig {
        self.merge(&[
            ("topic.metadata.refresh.interval.ms", "-1".to_owned()),
            ("enable.sparse.connections", "false".to_owned()),
        ])
    }

    /// For reading what a group has committed.
    pub(super) fn member_of(&self, group: &str) -> ClientConfig {
        let mut config = self.admin();
        config.set("group.id", group);
        config
    }

    /// For requests to group coordinators.
    ///
    /// The group named here is never joined or created. But without one, librdkafka 2.12.1 dereferences a null pointer when a broker
    /// answers that it is not, or no longer, a group's coordinator: `rd_kafka_handle_OffsetFetch` notifies the client's own group.
    pub(super) fn coordinators(&self) -> ClientConfig {
        let mut config = self.admin();
        config.set("group.id", "kbk");
        config
    }

    /// For reading within `memory_bytes` over all partitions, `fetch_bytes` stored bytes at a time.
    ///
    /// Half of the memory is for queued records, bounded in bytes and in number, since librdkafka allocates more than half a
    /// kilobyte per record. librdkafka checks the bound before a fetch, so the queue exceeds it by up to one response. The rest is
    /// for the batch being handled and for what the allocator retains.
    pub(super) fn consumer(&self, memory_bytes: usize, fetch_bytes: usize) -> ClientConfig {
        const STATISTICS_EVERY_MS: u32 = 200;
        let fetch_bytes = self
            .most_fetched()
            .map_or(fetch_bytes, |most| fetch_bytes.min(most));
        let memory_bytes = memory_bytes.clamp(4 << 20, 1 << 30);
        let queued_bytes = memory_bytes / 2;
        let mut config = self.merge(&[
            (
                "queued.max.messages.kbytes",
                (queued_bytes / 1024).to_string(),
            ),
            ("queued.min.messages", (queued_bytes / 1024).to_string()),
            // Fetch again soon after the queue was full; the default is one second.
            ("fetch.queue.backoff.ms", "2".to_owned()),
            ("fetch.max.bytes", fetch_bytes.to_string()),
            ("max.partition.fetch.bytes", fetch_bytes.to_string()),
            // A broker returns a record that exceeds the fetch size by itself, and it must be accepted.
            ("receive.message.max.bytes", i32::MAX.to_string()),
            ("fetch.wait.max.ms", "100".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
            ("statistics.interval.ms", STATISTICS_EVERY_MS.to_string()),
        ]);
        // Irrelevant for reading, but librdkafka rejects a `fetch.max.bytes` below it.
        let largest_sent = config.get("fetch.max.bytes").unwrap_or_default().to_owned();
        config.set("message.max.bytes", largest_sent);
        config
    }

    /// The largest fetch under a `receive.message.max.bytes` that the user has set: librdkafka rejects one that leaves no room for the
    /// framing of a response.
    fn most_fetched(&self) -> Option<usize> {
        const FRAMING_BYTES: usize = 512;
        let limit = self.config.get("receive.message.max.bytes")?;
        let limit = limit.parse::<usize>().ok()?;
        Some(limit.saturating_sub(FRAMING_BYTES))
    }

    /// Whether the user has set the fetch size.
    pub(super) fn fixes_fetch_size(&self) -> bool {
        let is_set = |key| self.config.get(key).is_some();
        is_set("fetch.max.bytes") || is_set("max.partition.fetch.bytes")
    }

    /// Returns the codec of batches that the user has set, for all topics.
    #[must_use]
    pub fn batch_codec(&self) -> Option<BatchCodec> {
        BatchCodec::named(self.config.get("compression.type")?)
    }

    /// Names the limit of decompressed batches where the user has set one, to follow the error that a batch cannot be decompressed.
    /// librdkafka returns the same error for a batch that exceeds the limit and for one that is damaged.
    pub(super) fn decompression_limit(&self) -> String {
        const LIMIT: &str = "receive.message.max.bytes";
        self.config.get(LIMIT).map_or_else(String::new, |bytes| {
            format!("; it may exceed `{LIMIT}` of {bytes} bytes once it is decompressed: leave that property out")
        })
    }

    /// For writing. The queue is bounded in bytes and in records, since librdkafka allocates a few hundred bytes per record.
    pub(super) fn producer(&self, options: &SinkOptions) -> ClientConfig {
        const RECORD_OVERHEAD_BYTES: usize = 256;
        const FEWEST_RECORDS: usize = 10_000;
        let queue_kbytes = options.queue_bytes.div_ceil(1024).clamp(1024, 2_097_151);
        let records =
            (options.queue_bytes / RECORD_OVERHEAD_BYTES).clamp(FEWEST_RECORDS, 1_000_000);
        let mut config = self.merge(&[
            ("max.in.flight.requests.per.connection", "5".to_owned()),
            // librdkafka's maximum: the limits of the broker and the topic apply.
            ("message.max.bytes", "1000000000".to_owned()),
            (
                "batch.size",
                options.batch_bytes.clamp(1, i32::MAX as usize).to_string(),
            ),
            // Full batches cost the least, and a flush does not wait for them.
            ("linger.ms", "1000".to_owned()),
            ("queue.buffering.max.kbytes", queue_kbytes.to_string()),
            ("queue.buffering.max.messages", records.to_string()),
            ("delivery.timeout.ms", "600000".to_owned()),
        ]);
        if let Some(id) = &options.transactional_id {
            let timeout_ms = options.transaction_timeout.as_millis().to_string();
            config.set("transactional.id", id.as_str());
            config.set("transaction.timeout.ms", timeout_ms.as_str());
            // librdkafka requires it to be at most the transaction timeout. A late record fails its transaction, nothing else.
            if self.config.get("delivery.timeout.ms").is_none() {
                config.set("delivery.timeout.ms", timeout_ms);
            }
            // As for this one.
            if self.config.get("socket.timeout.ms").is_none() {
                let timeout = self.socket_timeout().min(options.transaction_timeout);
                config.set("socket.timeout.ms", timeout.as_millis().to_string());
            }
        }
        config
    }

    /// When a request counts as unanswered: librdkafka then logs its name, which `Timeout` errors quote.
    fn socket_timeout(&self) -> Duration {
        // Half of the time that is waited for any request, so that the name is known by then.
        let half = self.timeout() / 2;
        half.clamp(SHORTEST_SOCKET_TIMEOUT, LONGEST_SOCKET_TIMEOUT)
    }

    /// Merges kbk's defaults, `defaults`, the user's settings and the fixed properties, in ascending precedence.
    fn merge(&self, defaults: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::default();
        for (key, value) in [
            ("client.id", "kbk"),
            ("socket.keepalive.enable", "true"),
            ("socket.nagle.disable", "true"),
            ("reconnect.backoff.max.ms", "2000"),
            // Below the time that `connect` waits, so that its error names an address that does not answer.
            ("socket.connection.setup.timeout.ms", "8000"),
        ] {
            config.set(key, value);
        }
        let socket_timeout = self.socket_timeout().as_millis().to_string();
        config.set("socket.timeout.ms", socket_timeout);
        if let Some(most) = self.most_fetched() {
            // librdkafka's defaults, for the clients that fetch nothing.
            config.set("fetch.max.bytes", most.min(52_428_800).to_string());
            config.set("message.max.bytes", most.min(1_000_000).to_string());
        }
        for (key, value) in defaults {
            config.set(key, value.as_str());
        }
        config.0.extend(self.config.0.clone());
        for (key, value, _) in FIXED {
            config.set(key, value);
        }
        config
    }
}

/// Settings under construction.
struct Builder {
    /// librdkafka's own configuration object, which validates names and values.
    native: NativeConf,
    config: ClientConfig,
}

impl Builder {
    fn new() -> Builder {
        Builder {
            native: NativeConf::new(),
            config: ClientConfig::default(),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let properties = properties::parse(&text).map_err(|error| SettingsError::Syntax {
            origin: Origin::File {
                path: path.to_owned(),
                line: error.line,
            },
            what: error.what,
        })?;
        // As in Java, the last of several entries with one key wins.
        let entries: BTreeMap<&str, &Property> = properties
            .iter()
            .map(|property| (property.key.as_str(), property))
            .collect();
        for property in entries.values() {
            let origin = Origin::File {
                path: path.to_owned(),
                line: property.line,
            };
            self.add_property(&origin, property, &entries)?;
        }
        Ok(())
    }

    fn add_property(
        &mut self,
        origin: &Origin,
        property: &Property,
        file: &BTreeMap<&str, &Property>,
    ) -> Result<(), SettingsError> {
        let Property { key, value, .. } = property;
        let of_file = |key: &str| file.get(key).map(|property| property.value.as_str());
        match java::translate(key, value, of_file) {
            Ok(java::Translation::Ignored) => Ok(()),
            Ok(java::Translation::Set(pairs)) => pairs
                .iter()
                .try_for_each(|(key, value)| self.set(origin, key, value)),
            Ok(java::Translation::NotJava) => self.set(origin, key, value),
            Err(cause) => Err(SettingsError::InvalidValue {
                origin: origin.clone(),
                key: key.clone(),
                cause,
            }),
        }
    }

    fn add_override(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        check_override(key, value)?;
        self.set(&Origin::Option, key, value)
    }

    fn set(&mut self, origin: &Origin, key: &str, value: &str) -> Result<(), SettingsError> {
        let (origin, key) = (origin.clone(), canonical(key).to_owned());
        self.check_compiled_in(&key, value)
            .map_err(|cause| SettingsError::InvalidValue {
                origin: origin.clone(),
                key: key.clone(),
                cause,
            })?;
        match self.native.set(&key, value) {
            Ok(()) => {
                self.config.set(&key, value);
                Ok(())
            }
            Err(ConfError::Invalid(cause)) => {
                Err(SettingsError::InvalidValue { origin, key, cause })
            }
            Err(ConfError::Unknown) => {
                let nearest = self.nearest(&key, &origin);
                Err(SettingsError::UnknownKey {
                    origin,
                    key,
                    nearest,
                })
            }
        }
    }

    /// Explains what this build lacks, in more detail than librdkafka.
    fn check_compiled_in(&self, key: &str, value: &str) -> Result<(), String> {
        let (feature, advice) = match (key, value) {
            ("sasl.oauthbearer.method", "oidc") => (
                "oidc",
                "fetching OAUTHBEARER tokens from an endpoint (OIDC) is not compiled into this kbk; use SCRAM, PLAIN or TLS \
                 client certificates",
            ),
            ("sasl.mechanism", "GSSAPI") => (
                "sasl_gssapi",
                "Kerberos (GSSAPI) is not compiled into this kbk; use SCRAM, PLAIN, OAUTHBEARER or TLS client certificates",
            ),
            _ => return Ok(()),
        };
        let features = self.native.features();
        if features
            .split(',')
            .any(|compiled_in| compiled_in == feature)
        {
            Ok(())
        } else {
            Err(advice.to_owned())
        }
    }

    /// Finds the known property most similar to `key`; Java properties are considered in a file only.
    fn nearest(&self, key: &str, origin: &Origin) -> Option<String> {
        const MIN_SIMILARITY: f64 = 0.75;
        let java = java::keys().filter(|_| matches!(origin, Origin::File { .. }));
        self.native
            .names()
            .into_iter()
            .chain(java.map(str::to_owned))
            .map(|name| (strsim::normalized_damerau_levenshtein(key, &name), name))
            .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name)
    }

    fn finish(self) -> Result<ClientSettings, SettingsError> {
        match self.config.get("bootstrap.servers") {
            Some(servers) if !servers.trim().is_empty() => Ok(ClientSettings {
                config: self.config,
                timeout: None,
            }),
            _ => Err(SettingsError::NoBootstrapServer),
        }
    }
}

/// Returns the name under which a property is kept.
fn canonical(key: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == key)
        .map_or(key, |(_, name)| name)
}

/// Rejects an option that would break kbk's guarantees.
fn check_override(key: &str, value: &str) -> Result<(), SettingsError> {
    let key = canonical(key);
    let fixed = FIXED
        .iter()
        .find(|(name, required, _)| *name == key && !is_equivalent(value, required))
        .map(|(_, _, why)| *why);
    let unusable = UNUSABLE
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, why)| *why);
    match fixed.or(unusable) {
        Some(why) => Err(SettingsError::Refused {
            origin: Origin::Option,
            key: key.to_owned(),
            why,
        }),
        None => Ok(()),
    }
}

/// Whether librdkafka treats `value` the same as `required`.
fn is_equivalent(value: &str, required: &str) -> bool {
    let value = value.trim().to_lowercase();
    value == required
        || matches!(
            (value.as_str(), required),
            ("-1", "all") | ("1" | "t", "true") | ("0" | "f", "false")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<ClientSettings, SettingsError> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ClientSettings::new(Some("a:9092"), None, &pairs)
    }

    fn file(text: &str) -> Result<ClientSettings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.properties");
        std::fs::write(&path, text).unwrap();
        ClientSettings::new(None, Some(&path), &[])
    }

    #[test]
    fn a_file_for_the_java_tools_is_accepted() {
        let settings = file(concat!(
            "bootstrap.servers=b1:9093,b2:9093\n",
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n",
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n",
            "    username=\"alice\" password=\"alice-secret\";\n",
            "ssl.endpoint.identification.algorithm=\nrequest.timeout.ms=20000\n",
            "key.serializer=org.apache.kafka.common.serialization.StringSerializer\n",
            "group.id=tools\nauto.offset.reset=earliest\nssl.ca.location=/etc/ca.pem\n",
        ))
        .unwrap();
        let config = settings.consumer(32 << 20, 1 << 20);
        for (key, value) in [
            ("bootstrap.servers", "b1:9093,b2:9093"),
            ("sasl.username", "alice"),
            ("sasl.password", "alice-secret"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("socket.timeout.ms", "20000"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("auto.offset.reset", "error"),
        ] {
            assert_eq!(config.get(key), Some(value), "{key}");
        }
        assert_eq!(config.get("group.id"), None);
        let shown = format!("{settings:?} {config:?}");
        assert!(
            shown.contains("alice") && !shown.contains("alice-secret"),
            "{shown}"
        );
    }

    #[test]
    fn unknown_keys_are_reported_with_their_line_and_a_suggestion() {
        let error = file("bootstrap.servers=a\n\nsecurity.protokol=SSL\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 3") && error.contains("did you mean `security.protocol`"),
            "{error}"
        );
        let error = file("key.serialiser=x\n").unwrap_err().to_string();
        assert!(error.contains("did you mean `key.serializer`"), "{error}");
        let error = options(&[("batch.sice", "1")]).unwrap_err().to_string();
        assert!(
            error.contains("-X: unknown property `batch.sice`; did you mean `batch.size`?"),
            "{error}"
        );
        let error = options(&[("zzzzzz", "1")]).unwrap_err().to_string();
        assert!(error.ends_with("`zzzzzz`"), "{error}");
    }

    #[test]
    fn invalid_values_are_rejected_by_name() {
        let error = options(&[("socket.timeout.ms", "soon")]).unwrap_err();
        assert!(
            matches!(error, SettingsError::InvalidValue { key, .. } if key == "socket.timeout.ms")
        );
    }

    #[test]
    fn errors_do_not_repeat_secrets() {
        let jaas =
            "sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"hunter2\n";
        let error = file(jaas).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }

    #[test]
    fn options_take_precedence_over_bootstrap_server_and_that_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.properties");
        std::fs::write(
            &path,
            "bootstrap.servers=file:1\nclient.id=file\nsasl.mechanisms=PLAIN\n",
        )
        .unwrap();
        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let settings = ClientSettings::new(
            Some("flag:1"),
            Some(&path),
            &[
                option("client.id", "option"),
                option("sasl.mechanism", "SCRAM-SHA-256"),
            ],
        )
        .unwrap();
        assert_eq!(settings.bootstrap_servers(), "flag:1");
        let config = settings.admin();
        assert_eq!(config.get("client.id"), Some("option"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-256"));
        assert_eq!(config.get("sasl.mechanisms"), None);
    }

    #[test]
    fn properties_that_a_backup_depends_on_cannot_be_changed() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("isolation.level", "read_uncommitted"),
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("auto.offset.reset", "earliest"),
            ("transactional.id", "x"),
        ] {
            let error = options(&[(key, value)]).unwrap_err();
            assert!(
                matches!(error, SettingsError::Refused { .. }),
                "{key}: {error}"
            );
        }
        for (key, value) in [
            ("acks", "-1"),
            ("enable.auto.commit", "false"),
            ("linger.ms", "50"),
        ] {
            assert!(options(&[(key, value)]).is_ok(), "{key}={value}");
        }
    }

    #[test]
    fn missing_bootstrap_servers_are_an_error() {
        assert!(matches!(
            ClientSettings::new(None, None, &[]),
            Err(SettingsError::NoBootstrapServer)
        ));
    }

    #[test]
    fn mechanisms_that_are_not_compiled_in_are_explained() {
        let error = options(&[("sasl.mechanism", "GSSAPI")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("Kerberos"), "{error}");
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert!(
                options(&[
                    ("sasl.mechanism", mechanism),
                    ("security.protocol", "SASL_SSL")
                ])
                .is_ok()
            );
        }
    }

    #[test]
    fn fetches_keep_to_the_response_limit_of_the_user() {
        let settings = options(&[("receive.message.max.bytes", "10000000")]).unwrap();
        for config in [settings.admin(), settings.consumer(32 << 20, 20 << 20)] {
            assert_eq!(config.get("fetch.max.bytes"), Some("9999488"));
        }
        let smaller = settings.consumer(32 << 20, 1 << 20);
        assert_eq!(smaller.get("fetch.max.bytes"), Some("1048576"));
    }

    #[test]
    fn librdkafka_accepts_every_default() {
        let settings = options(&[]).unwrap();
        let producer = |bytes, transactional_id| SinkOptions {
            queue_bytes: bytes,
            batch_bytes: bytes,
            transactional_id,
            ..SinkOptions::default()
        };
        for config in [
            settings.admin(),
            settings.consumer(1, 64 << 10),
            settings.consumer(usize::MAX, 1 << 20),
            settings.producer(&producer(1, None)),
            settings.producer(&producer(usize::MAX, Some("id".to_owned()))),
        ] {
            let mut native = NativeConf::new();
            for (key, value) in &config.0 {
                assert!(native.set(key, value).is_ok(), "{key}={value}");
            }
        }
    }
}
