//! All metrics, each defined once: registered, and described for docs/reference/metrics.md.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::topics::{MOST_TOPICS, OTHER_TOPICS};

/// What is known of a metric without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: MetricKind,
    /// Its labels, besides those that all have.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub help: String,
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Any value.
    Gauge,
    /// Counts by size, with the suffixes `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl MetricKind {
    /// Returns Prometheus's name of it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// Returns all metrics, in the order of the reference.
#[must_use]
pub fn descriptions() -> Vec<Description> {
    let mut definitions = Definitions::new(Registry::new());
    Families::define(&mut definitions);
    definitions.described
}

/// The metrics themselves.
pub(super) struct Families {
    pub(super) build_info: GaugeVec,
    pub(super) verdict: GaugeVec,
    pub(super) ready: Gauge,
    pub(super) started: Gauge,
    pub(super) ended: GaugeVec,
    pub(super) records_expected: GaugeVec,
    pub(super) bytes_expected: GaugeVec,
    pub(super) records_read: IntCounterVec,
    pub(super) bytes_read: IntCounterVec,
    pub(super) records_written: IntCounterVec,
    pub(super) bytes_written: IntCounterVec,
    pub(super) stages: HistogramVec,
    pub(super) block_latency: HistogramVec,
    pub(super) lag_records: GaugeVec,
    pub(super) lag_seconds: GaugeVec,
    pub(super) segments: IntCounter,
    pub(super) segment_bytes: IntCounter,
    pub(super) commit_time: GaugeVec,
    pub(super) commit_complete: GaugeVec,
    pub(super) commit_snapshot: GaugeVec,
    pub(super) retries: IntCounterVec,
    pub(super) outages: IntCounter,
    pub(super) outage: Gauge,
    pub(super) requests: IntCounterVec,
    pub(super) request_bytes: IntCounterVec,
    pub(super) latency: HistogramVec,
    pub(super) memory_used: GaugeVec,
    pub(super) memory_limit: GaugeVec,
}

impl Families {
    pub(super) fn define(on: &mut Definitions) -> Families {
        let topic = format!(
            "topic: at most {MOST_TOPICS} topics of a run have a label of their own, and the others share {OTHER_TOPICS}"
        );
        Families {
            build_info: on.gauges("kbk_build_info", &["version"], "Always 1, with the version of the program"),
            verdict: on.gauges(
                "kbk_run_verdict",
                &["verdict"],
                "1 for what the run is or has come to, and 0 for the others: running, ok, findings (exit code 3), interrupted, failed",
            ),
            ready: on.gauge("kbk_run_ready", "1 once the run does its work, as /readyz says; 0 before, and while no broker answers"),
            started: on.gauge("kbk_run_start_timestamp_seconds", "When the run started"),
            ended: on.gauges("kbk_run_end_timestamp_seconds", &[], "When the run ended; absent while it runs"),
            records_expected: on.gauges(
                "kbk_run_expected_records",
                &[],
                "How many records the run is to write, at most: offsets without a record count until they are read",
            ),
            bytes_expected: on.gauges("kbk_run_expected_bytes", &[], "How many bytes verify, export and import are to read"),
            records_read: on.counters(
                "kbk_records_read_total",
                &["topic"],
                &format!("Records read: by backup from the cluster, by restore from the repository. {topic}"),
            ),
            bytes_read: on.counters(
                "kbk_bytes_read_total",
                &["topic"],
                "Bytes read: by backup and restore of keys, values and headers, and of batches that are written as they are; by verify, recover, copy, compact, index and export of stored bytes, and by import of logs, without a topic",
            ),
            records_written: on.counters(
                "kbk_records_written_total",
                &["topic"],
                "Records written: by backup to segments, by restore to the cluster, counted once they are committed",
            ),
            bytes_written: on.counters(
                "kbk_bytes_written_total",
                &["topic"],
                "Bytes written: by backup after compression, by restore of keys, values and headers, and of batches as they are",
            ),
            stages: on.histograms(
                "kbk_stage_duration_seconds",
                &["stage"],
                &[0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384, 6.5536, 26.2144],
                "How long a block (backup), a batch or a transaction (restore) took in each stage. backup: fetch, wait, encode, compress, \
                 upload, and seal once per segment; restore: read, write, and commit once per transaction",
            ),
            block_latency: on.histograms(
                "kbk_block_duration_seconds",
                &[],
                &[0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096, 16.384],
                "backup: how long after its first record came a block was written into its segment, with all waits on the way. In a file that \
                 is before its flush, and in a bucket before its part is sent: both count as seal and upload",
            ),
            lag_records: on.gauges(
                "kbk_lag_records",
                &["topic"],
                "Offsets that the cluster had when the backup looked, and that no segment has yet",
            ),
            lag_seconds: on.gauges(
                "kbk_lag_seconds",
                &["topic"],
                "How old the newest record is that this backup has stored, by its timestamp, while the topic lags; 0 if it does not lag, \
                 absent until a record is stored",
            ),
            segments: on.counter("kbk_segments_sealed_total", "Segments that are durable"),
            segment_bytes: on.counter("kbk_segments_sealed_bytes_total", "Their bytes"),
            commit_time: on.gauges(
                "kbk_last_commit_timestamp_seconds",
                &[],
                "When the newest snapshot of the repository was committed, by this backup or before it; absent without one",
            ),
            commit_complete: on.gauges(
                "kbk_last_commit_complete",
                &[],
                "1 if that snapshot has every record that the cluster had, 0 if it is partial",
            ),
            commit_snapshot: on.gauges("kbk_last_commit_snapshot", &[], "The number of that snapshot"),
            retries: on.counters(
                "kbk_retries_total",
                &["what"],
                "What failed and was tried again: transaction, the records of a restore's transaction. Retries inside clients of Kafka \
                 and of stores are part of their requests",
            ),
            outages: on.counter("kbk_kafka_outages_total", "How often no broker of the cluster has answered for a while"),
            outage: on.gauge("kbk_kafka_outage", "1 while no broker of the cluster answers"),
            requests: on.counters(
                "kbk_store_requests_total",
                &["kind", "outcome"],
                "Requests to the store of the repository: get, head, put, begin, part, complete, delete, list or copy, which ended ok, \
                 not_found, exists, denied or failed. Each object that is deleted counts, also where one request deletes many. On a local \
                 disk, some folders are listed and some segments read without one",
            ),
            request_bytes: on.counters("kbk_store_bytes_total", &["kind"], "Bytes of objects that requests moved"),
            latency: on.histograms(
                "kbk_store_request_duration_seconds",
                &["kind"],
                &[0.0005, 0.002, 0.008, 0.032, 0.128, 0.512, 2.048, 8.192, 32.768],
                "How long requests took until their answer began, with the retries of the client",
            ),
            memory_used: on.gauges(
                "kbk_memory_used_bytes",
                &["budget"],
                "Bytes in use of a budget: blocks, those that a backup fills, encodes or writes, as if each were full; cache, what a mount \
                 has cached or in flight (--memory)",
            ),
            memory_limit: on.gauges("kbk_memory_limit_bytes", &["budget"], "What the budget allows"),
        }
    }
}

/// Where metrics are defined.
pub(super) struct Definitions {
    registry: Registry,
    described: Vec<Description>,
}

impl Definitions {
    pub(super) fn new(registry: Registry) -> Definitions {
        Definitions {
            registry,
            described: Vec::new(),
        }
    }

    fn add<C: Collector + Clone + 'static>(
        &mut self,
        description: Description,
        metric: prometheus::Result<C>,
    ) -> C {
        let metric = metric.expect("a name and labels that Prometheus allows");
        let registered = self.registry.register(Box::new(metric.clone()));
        registered.expect("every metric has a name of its own");
        self.described.push(description);
        metric
    }

    fn describe(
        kind: MetricKind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &str,
    ) -> Description {
        Description {
            name,
            kind,
            labels,
            help: help.to_owned(),
        }
    }

    fn counter(&mut self, name: &'static str, help: &str) -> IntCounter {
        let description = Self::describe(MetricKind::Counter, name, &[], help);
        self.add(description, IntCounter::new(name, help))
    }

    fn counters(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &str,
    ) -> IntCounterVec {
        let description = Self::describe(MetricKind::Counter, name, labels, help);
        self.add(
            description,
            IntCounterVec::new(Opts::new(name, help), labels),
        )
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> Gauge {
        let description = Self::describe(MetricKind::Gauge, name, &[], help);
        self.add(description, Gauge::new(name, help))
    }

    /// Defines gauges, which are absent until they are set.
    fn gauges(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &str,
    ) -> GaugeVec {
        let description = Self::describe(MetricKind::Gauge, name, labels, help);
        self.add(description, GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        buckets: &[f64],
        help: &str,
    ) -> HistogramVec {
        let description = Self::describe(MetricKind::Histogram, name, labels, help);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(description, HistogramVec::new(options, labels))
    }
}
