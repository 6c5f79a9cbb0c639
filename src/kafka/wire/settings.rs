//! The settings of the wire client, from the properties that drive librdkafka.
//!
//! Every property is honoured, or has no meaning for this client, or is an error that names it: none is passed over in silence.

use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, Family};
use super::error::WireError;
use super::login::{self, Login};
use super::tls::{self, Tls};
use crate::kafka::client::ClientConfig;
use crate::kafka::oidc;
use crate::kafka::settings::{ClientSettings, SettingsError};

/// Checked settings of a wire client.
#[derive(Clone, Debug)]
pub struct WireSettings {
    pub(super) bootstrap: Vec<Arc<Address>>,
    pub(super) client_id: String,
    pub(super) family: Family,
    /// How long a connection may take to be made, TLS and login included.
    pub(super) connect_timeout: Duration,
    /// How long one request may take, before the connection counts as broken.
    pub(super) attempt_timeout: Duration,
    /// How long a call may take, its retries included.
    pub(super) request_timeout: Duration,
    /// How long reading may make no progress.
    pub(super) stall_timeout: Duration,
    pub(super) first_backoff: Duration,
    pub(super) longest_backoff: Duration,
    /// The largest response that is accepted, where the user has set it.
    pub(super) most_response_bytes: Option<usize>,
    pub(super) send_buffer_bytes: Option<u32>,
    pub(super) receive_buffer_bytes: Option<u32>,
    /// How connections are encrypted; `None` for not at all.
    pub(super) tls: Option<Tls>,
    /// How to log in; `None` for not at all.
    pub(super) login: Option<Login>,
    pub(super) writing: WritingSettings,
}

/// How batches are filled.
#[derive(Clone, Debug)]
pub(super) struct WritingSettings {
    /// The size of a batch, where the user has set it.
    pub(super) batch_bytes: Option<usize>,
    /// The records of a batch, where the user has set a limit.
    pub(super) batch_records: Option<u32>,
    /// How long a batch may be filled.
    pub(super) linger: Duration,
    /// A level of compression, which this client cannot set.
    pub(super) has_level: bool,
}

/// Properties that are honoured.
const HONOURED: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "bootstrap.servers",
    "broker.address.family",
    "client.dns.lookup",
    "client.id",
    // An error where something is to be written.
    "compression.level",
    "compression.type",
    "linger.ms",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "transaction.timeout.ms",
];

/// Properties about something that this client does not do, or does anyway: groups, retries, librdkafka's threads, queues and logs.
const WITHOUT_MEANING: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "background_event_cb",
    "broker.address.ttl",
    "check.crcs",
    "connections.max.idle.ms",
    "coordinator.query.interval.ms",
    "debug",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.metrics.push",
    "enable.partition.eof",
    "enable.random.seed",
    "enable.sparse.connections",
    "fetch.error.backoff.ms",
    "fetch.queue.backoff.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "internal.termination.signal",
    "isolation.level",
    "log.connection.close",
    "log.queue",
    "log.thread.name",
    "log_level",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "partition.assignment.strategy",
    "partitioner",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "session.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "statistics.interval.ms",
    "sticky.partitioning.linger.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// How long a batch may be filled, as with the other client: full batches cost the least, and a flush does not wait for them.
const LINGER: Duration = Duration::from_secs(1);

impl WireSettings {
    /// Checks that the wire client honours all settings.
    ///
    /// # Errors
    ///
    /// Where it does not, the property with the place where it was set.
    pub fn check(settings: &ClientSettings) -> Result<(), SettingsError> {
        match WireSettings::new(settings) {
            Err(WireError::Property { property, cause }) => Err(settings.invalid(&property, cause)),
            // What depends on files and the system is an error where they are used.
            _ => Ok(()),
        }
    }

    /// Takes from the settings of all clients what the wire client honours.
    ///
    /// # Errors
    ///
    /// [`WireError::Property`] where one cannot be honoured.
    pub fn new(settings: &ClientSettings) -> Result<WireSettings, WireError> {
        let config = settings.own();
        let all = [
            HONOURED,
            WITHOUT_MEANING,
            tls::PROPERTIES,
            login::PROPERTIES,
            oidc::PROPERTIES,
        ];
        let known = |key: &String| all.iter().any(|list| list.contains(&&**key));
        if let Some(key) = config.properties.keys().find(|key| !known(key)) {
            return Err(unsupported(key));
        }
        let protocol = config.get("security.protocol").unwrap_or("plaintext");
        let protocol = protocol.to_ascii_lowercase();
        let (is_encrypted, logs_in) = match protocol.as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return Err(unsupported("security.protocol")),
        };
        let millis = |key, default: Duration| match number(config, key)? {
            Some(number) => Ok(Duration::from_millis(number)),
            None => Ok::<_, WireError>(default),
        };
        let family = match config.get("broker.address.family") {
            None | Some("any") => Family::Any,
            Some("v4") => Family::V4,
            Some("v6") => Family::V6,
            Some(_) => return Err(unsupported("broker.address.family")),
        };
        // All addresses of a name are tried.
        let lookup = config.get("client.dns.lookup");
        if lookup.is_some_and(|lookup| lookup != "use_all_dns_ips") {
            return Err(unsupported("client.dns.lookup"));
        }
        let buffer = |key| {
            let bytes = number(config, key)?.filter(|bytes| *bytes > 0);
            Ok::<_, WireError>(bytes.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)))
        };
        let most_response_bytes = number(config, "receive.message.max.bytes")?
            .and_then(|bytes| usize::try_from(bytes).ok());
        Ok(WireSettings {
            bootstrap: Address::parse_list(settings.bootstrap_servers())
                .into_iter()
                .map(Arc::new)
                .collect(),
            client_id: config.get("client.id").unwrap_or("kbk").to_owned(),
            family,
            connect_timeout: millis("socket.connection.setup.timeout.ms", Duration::from_secs(8))?,
            attempt_timeout: settings.attempt_timeout(),
            request_timeout: settings.request_timeout(),
            stall_timeout: settings.timeout(),
            first_backoff: millis("reconnect.backoff.ms", Duration::from_millis(100))?,
            longest_backoff: millis("reconnect.backoff.max.ms", Duration::from_secs(2))?,
            most_response_bytes,
            send_buffer_bytes: buffer("socket.send.buffer.bytes")?,
            receive_buffer_bytes: buffer("socket.receive.buffer.bytes")?,
            tls: is_encrypted.then(|| Tls::new(config)).transpose()?,
            login: logs_in.then(|| Login::new(config)).transpose()?,
            writing: WritingSettings {
                batch_bytes: number(config, "batch.size")?
                    .and_then(|bytes| usize::try_from(bytes).ok()),
                batch_records: number(config, "batch.num.messages")?
                    .and_then(|records| u32::try_from(records).ok()),
                linger: millis("linger.ms", LINGER)?,
                has_level: config.get("compression.level").is_some(),
            },
        })
    }
}

pub(super) fn unsupported(key: &str) -> WireError {
    WireError::property(
        key,
        "the client `wire` does not support it, or not this value; use --client librdkafka",
    )
}

fn number(config: &ClientConfig, key: &str) -> Result<Option<u64>, WireError> {
    let text = config.get(key);
    text.map(|text| text.trim().parse().map_err(|_| unsupported(key)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<WireSettings, WireError> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let all = ClientSettings::new(Some("a:1,[::1]:2"), None, &pairs).expect("valid");
        WireSettings::new(&all)
    }

    #[test]
    fn properties_are_honoured() {
        let settings = settings(&[
            ("client.id", "me"),
            ("broker.address.family", "v6"),
            ("socket.connection.setup.timeout.ms", "3000"),
            ("receive.message.max.bytes", "20000000"),
            ("linger.ms", "7"),
        ])
        .unwrap();
        assert_eq!(settings.client_id, "me");
        assert_eq!(settings.family, Family::V6);
        assert_eq!(settings.connect_timeout, Duration::from_secs(3));
        assert_eq!(settings.most_response_bytes, Some(20_000_000));
        assert_eq!(settings.bootstrap.len(), 2);
    }

    #[test]
    fn a_property_that_cannot_be_honoured_is_named() {
        for (key, value) in [
            ("ssl.providers", "legacy"),
            ("client.rack", "a"),
            (
                "client.dns.lookup",
                "resolve_canonical_bootstrap_servers_only",
            ),
        ] {
            let error = settings(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn a_property_that_cannot_be_honoured_is_located() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.properties");
        std::fs::write(&file, "# comment\nclient.rack=r1\n").unwrap();
        let all = ClientSettings::new(Some("a:1"), Some(&file), &[]).expect("valid");
        let error = WireSettings::check(&all).unwrap_err().to_string();
        let place = format!("{}, line 2: `client.rack`: ", file.display());
        assert!(error.starts_with(&place), "{error}");
        assert!(error.contains("--client librdkafka"), "{error}");
    }

    #[test]
    fn the_lists_name_each_property_once_and_in_order() {
        let lists = [
            HONOURED,
            WITHOUT_MEANING,
            tls::PROPERTIES,
            login::PROPERTIES,
        ];
        assert!(lists.iter().all(|list| list.is_sorted()));
        let mut all = lists.concat();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }
}
