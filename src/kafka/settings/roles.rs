//! The settings of each kind of client: for reading, for writing, and for other requests.

use std::time::Duration;

use super::ClientSettings;
use super::fixed::FIXED;
use crate::kafka::client::ClientConfig;
use crate::kafka::options::SinkOptions;

/// librdkafka's default.
const LONGEST_SOCKET_TIMEOUT: Duration = Duration::from_secs(60);
/// A second less than an attempt of an administrative request may take (`Admin::ATTEMPT`).
const LONGEST_ADMIN_SOCKET_TIMEOUT: Duration = Duration::from_secs(9);
/// A second more than librdkafka requires above `fetch.wait.max.ms`, and more than any round trip takes.
const SHORTEST_SOCKET_TIMEOUT: Duration = Duration::from_secs(2);

impl ClientSettings {
    /// What the user has set, for the client that speaks to brokers itself.
    pub(in crate::kafka) fn own(&self) -> &ClientConfig {
        &self.config
    }

    /// How long a request of that client may take.
    pub(in crate::kafka) fn attempt_timeout(&self) -> Duration {
        let own = self.config.get("socket.timeout.ms");
        let own = own.and_then(|milliseconds| milliseconds.parse().ok());
        own.map_or_else(|| self.socket_timeout(), Duration::from_millis)
    }

    /// For metadata, offsets and configurations.
    ///
    /// With connections made on demand, librdkafka 2.12.1 does not back off from a broker that refuses them while a request waits
    /// for it: each failure changes the broker's state, the change wakes the request, and the request asks for a connection at once
    /// (`rd_kafka_broker_find_by_nodeid0`), 800 times per second and more.
    ///
    /// A request that is repeated goes over the same connection, unless that one is closed: by the time in which a request must be answered.
    pub(in crate::kafka) fn admin(&self) -> ClientConfig {
        let socket_timeout = self.socket_timeout().min(LONGEST_ADMIN_SOCKET_TIMEOUT);
        self.merge(&[
            ("topic.metadata.refresh.interval.ms", "-1".to_owned()),
            ("enable.sparse.connections", "false".to_owned()),
            ("socket.timeout.ms", socket_timeout.as_millis().to_string()),
        ])
    }

    /// For reading what a group has committed.
    pub(in crate::kafka) fn member_of(&self, group: &str) -> ClientConfig {
        let mut config = self.admin();
        config.set("group.id", group);
        config
    }

    /// For requests to group coordinators.
    ///
    /// The group named here is never joined or created. But without one, librdkafka 2.12.1 dereferences a null pointer when a broker
    /// answers that it is not, or no longer, a group's coordinator: `rd_kafka_handle_OffsetFetch` notifies the client's own group.
    pub(in crate::kafka) fn coordinators(&self) -> ClientConfig {
        let mut config = self.admin();
        config.set("group.id", "kbk");
        config
    }

    /// For reading within `memory_bytes` over all partitions, `fetch_bytes` stored bytes at a time.
    ///
    /// Half of the memory is for queued records, bounded in bytes and in number, since librdkafka allocates more than half a
    /// kilobyte per record. librdkafka checks the bound before a fetch, so the queue exceeds it by up to one response. The rest is
    /// for the batch being handled and for what the allocator retains.
    pub(in crate::kafka) fn consumer(
        &self,
        memory_bytes: usize,
        fetch_bytes: usize,
    ) -> ClientConfig {
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
    pub(in crate::kafka) fn fixes_fetch_size(&self) -> bool {
        let is_set = |key| self.config.get(key).is_some();
        is_set("fetch.max.bytes") || is_set("max.partition.fetch.bytes")
    }

    /// Names the limit of decompressed batches where the user has set one, to follow the error that a batch cannot be decompressed.
    /// librdkafka returns the same error for a batch that exceeds the limit and for one that is damaged.
    pub(in crate::kafka) fn decompression_limit(&self) -> String {
        const LIMIT: &str = "receive.message.max.bytes";
        self.config.get(LIMIT).map_or_else(String::new, |bytes| {
            format!("; it may exceed `{LIMIT}` of {bytes} bytes once it is decompressed: leave that property out")
        })
    }

    /// For writing. The queue is bounded in bytes and in records, since librdkafka allocates a few hundred bytes per record.
    pub(in crate::kafka) fn producer(&self, options: &SinkOptions) -> ClientConfig {
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

    /// When a request counts as unanswered, unless the user has set it: librdkafka then logs its name, which `Timeout` errors quote.
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
        config.properties.extend(self.config.properties.clone());
        config.tokens.clone_from(&self.config.tokens);
        for (key, value, _) in FIXED {
            config.set(key, value);
        }
        config
    }
}
