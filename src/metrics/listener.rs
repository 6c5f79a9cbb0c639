//! The metrics of this process, as a listener to its run and to the requests of its stores.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kbk_format::repo::{RequestKind, RequestOutcome, StoreObserver};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{GaugeVec, IntCounter, Registry, TextEncoder};

use super::families::{Definitions, Families};
use super::topics::TopicLabels;
use crate::kafka::outages;
use crate::run::{
    Budget, Committed, Done, Events, PartitionName, PartitionSlot, Retry, Stage, Totals,
};

/// What the label `verdict` can be: a run that works, and the verdicts of documents.
pub const VERDICTS: [&str; 5] = ["running", "ok", "findings", "interrupted", "failed"];

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    families: Families,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    topics: TopicLabels,
    partitions: BTreeMap<PartitionSlot, Counters>,
    /// By label. Only backups lag.
    lags: BTreeMap<String, Lag>,
    /// Whether the run does its work.
    works: bool,
}

/// The counters of the topic of a partition, so that a block needs no look-up by name.
struct Counters {
    topic: String,
    records_read: IntCounter,
    bytes_read: IntCounter,
    records_written: IntCounter,
    bytes_written: IntCounter,
}

/// What the repository lacks of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    records: u64,
    /// The largest timestamp that this run has stored.
    newest_ms: Option<i64>,
}

impl Metrics {
    /// Creates the metrics of a run, all of which have the labels `command` and, if there is one, `repository`.
    #[must_use]
    pub fn new(command: &str, repository: Option<&str>) -> Metrics {
        let mut labels = HashMap::from([("command".to_owned(), command.to_owned())]);
        if let Some(repository) = repository {
            labels.insert("repository".to_owned(), repository.to_owned());
        }
        let registry = Registry::new_custom(None, Some(labels));
        let registry = registry.expect("labels that Prometheus allows");
        let families = Families::define(&mut Definitions::new(registry.clone()));
        families
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        families.started.set(now_seconds());
        let metrics = Metrics {
            registry,
            families,
            state: Mutex::default(),
        };
        metrics.set_verdict("running");
        metrics
    }

    fn set_verdict(&self, verdict: &str) {
        for known in VERDICTS {
            let is = f64::from(u8::from(known == verdict));
            self.families.verdict.with_label_values(&[known]).set(is);
        }
    }

    /// Notes how the run has ended, with one of [`VERDICTS`].
    pub fn ended(&self, verdict: &str) {
        self.set_verdict(verdict);
        set(&self.families.ended, now_seconds());
    }

    /// Notes that what was asked for works: a mount has no run that starts.
    pub fn works(&self) {
        self.state().works = true;
    }

    /// Notes the newest snapshot of the repository, where this run has not committed a newer one.
    pub fn found_newest(&self, newest: Committed) {
        if self
            .families
            .commit_time
            .collect()
            .iter()
            .all(|family| family.get_metric().is_empty())
        {
            self.committed(newest);
        }
    }

    /// Returns whether the run does its work, and why not if it does not.
    pub fn readiness(&self) -> Result<(), &'static str> {
        match (self.state().works, outages().ongoing) {
            (_, true) => Err("no broker of the cluster answers"),
            (false, false) => Err("starting"),
            (true, false) => Ok(()),
        }
    }

    /// Returns the metrics of the run, without those of the process: in a file of node_exporter and in a Pushgateway, these would
    /// collide with the ones that those programs have of their own.
    #[must_use]
    pub fn text(&self) -> String {
        self.refresh();
        encoded(&self.registry.gather())
    }

    /// Returns all metrics, those of the process included.
    #[must_use]
    pub fn text_with_process(&self) -> String {
        self.text() + &encoded(&ProcessCollector::for_self().collect())
    }

    /// Sets what depends on the time, or is known elsewhere.
    fn refresh(&self) {
        let families = &self.families;
        families
            .ready
            .set(f64::from(u8::from(self.readiness().is_ok())));
        let outages = outages();
        families.outage.set(f64::from(u8::from(outages.ongoing)));
        let more = outages.count.saturating_sub(families.outages.get());
        families.outages.inc_by(more);
        let now_ms = now_seconds() * 1e3;
        for (topic, lag) in &self.state().lags {
            let records = families.lag_records.with_label_values(&[topic]);
            records.set(lag.records as f64);
            let seconds = match (lag.records, lag.newest_ms) {
                (0, _) => 0.0,
                // A record may have a timestamp in the future.
                (_, Some(newest)) => (now_ms - newest as f64).max(0.0) / 1e3,
                (_, None) => continue,
            };
            families
                .lag_seconds
                .with_label_values(&[topic])
                .set(seconds);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self, topic: &str) -> Counters {
        let families = &self.families;
        Counters {
            topic: topic.to_owned(),
            records_read: families.records_read.with_label_values(&[topic]),
            bytes_read: families.bytes_read.with_label_values(&[topic]),
            records_written: families.records_written.with_label_values(&[topic]),
            bytes_written: families.bytes_written.with_label_values(&[topic]),
        }
    }
}

/// Sets a gauge that has no labels, and is absent until then.
fn set(gauge: &GaugeVec, value: f64) {
    let none: [&str; 0] = [];
    gauge.with_label_values(&none).set(value);
}

fn encoded(families: &[prometheus::proto::MetricFamily]) -> String {
    let text = TextEncoder::new().encode_to_string(families);
    // Fails only for a family without a name, or for a writer that fails.
    text.unwrap_or_default()
}

fn now_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

impl Events for Metrics {
    fn run_started(&self, totals: Totals) {
        if let Some(records) = totals.records {
            set(&self.families.records_expected, records as f64);
        }
        if let Some(bytes) = totals.bytes {
            set(&self.families.bytes_expected, bytes as f64);
        }
        self.works();
    }

    fn partition_started(&self, slot: PartitionSlot, name: PartitionName<'_>, _: Totals) {
        let mut state = self.state();
        let counters = self.counters(state.topics.label(name.topic));
        state.partitions.insert(slot, counters);
    }

    fn received(&self, partition: Option<PartitionSlot>, done: Done) {
        let state = self.state();
        match partition {
            Some(slot) => {
                if let Some(counters) = state.partitions.get(&slot) {
                    counters.records_read.inc_by(done.records);
                    counters.bytes_read.inc_by(done.bytes);
                }
            }
            // Prometheus takes an empty label for none.
            None => {
                let bytes = self.families.bytes_read.with_label_values(&[""]);
                bytes.inc_by(done.bytes);
            }
        }
    }

    fn written(&self, partition: PartitionSlot, done: Done, newest_ms: Option<i64>) {
        let mut state = self.state();
        let State {
            partitions, lags, ..
        } = &mut *state;
        let Some(counters) = partitions.get(&partition) else {
            return;
        };
        counters.records_written.inc_by(done.records);
        counters.bytes_written.inc_by(done.bytes);
        if let Some(lag) = lags.get_mut(&counters.topic) {
            lag.records = lag.records.saturating_sub(done.records);
            lag.newest_ms = lag.newest_ms.max(newest_ms);
        }
    }

    fn shrunk(&self, partition: PartitionSlot, records: u64) {
        let mut state = self.state();
        let State {
            partitions, lags, ..
        } = &mut *state;
        let topic = partitions.get(&partition).map(|counters| &counters.topic);
        if let Some(lag) = topic.and_then(|topic| lags.get_mut(topic)) {
            lag.records = lag.records.saturating_sub(records);
        }
    }

    fn lags(&self, topic: &str, records: u64) {
        let mut state = self.state();
        let label = state.topics.label(topic).to_owned();
        state.lags.entry(label).or_default().records += records;
    }

    fn took(&self, stage: Stage, time: Duration) {
        let stage = self.families.stages.with_label_values(&[stage.word()]);
        stage.observe(time.as_secs_f64());
    }

    fn block_written(&self, latency: Duration) {
        let none: [&str; 0] = [];
        let blocks = self.families.block_latency.with_label_values(&none);
        blocks.observe(latency.as_secs_f64());
    }

    fn segment_sealed(&self, bytes: u64) {
        self.families.segments.inc();
        self.families.segment_bytes.inc_by(bytes);
    }

    fn committed(&self, committed: Committed) {
        let families = &self.families;
        set(&families.commit_time, committed.at_ms as f64 / 1e3);
        let complete = f64::from(u8::from(committed.complete));
        set(&families.commit_complete, complete);
        set(&families.commit_snapshot, committed.snapshot as f64);
    }

    fn retried(&self, what: Retry) {
        self.families
            .retries
            .with_label_values(&[what.word()])
            .inc();
    }

    fn holds(&self, budget: Budget, bytes: u64, limit: u64) {
        let budget = [budget.word()];
        let families = &self.families;
        families
            .memory_used
            .with_label_values(&budget)
            .set(bytes as f64);
        families
            .memory_limit
            .with_label_values(&budget)
            .set(limit as f64);
    }

    fn partition_finished(&self, partition: PartitionSlot) {
        self.state().partitions.remove(&partition);
    }
}

impl StoreObserver for Metrics {
    fn requested(&self, kind: RequestKind, outcome: RequestOutcome, took: Duration) {
        let families = &self.families;
        let labels = [kind.word(), outcome.word()];
        families.requests.with_label_values(&labels).inc();
        let latency = families.latency.with_label_values(&[kind.word()]);
        latency.observe(took.as_secs_f64());
    }

    fn moved(&self, kind: RequestKind, bytes: u64) {
        let moved = self
            .families
            .request_bytes
            .with_label_values(&[kind.word()]);
        moved.inc_by(bytes);
    }
}
