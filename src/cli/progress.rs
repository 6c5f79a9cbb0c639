//! Shows the progress of a run: drawn on a terminal, a plain line every 10 s otherwise, nothing with `-q`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::{debug, info};

use super::args::{GlobalArgs, LogFormat};
use super::stderr::Stderr;
use crate::human;
use crate::run::{Done, Events, PartitionName, PartitionSlot, Totals};

/// Partitions drawn at the same time; a cluster has thousands.
const SHOWN: usize = 8;
const REDRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(10);
/// A longer estimate says more about offsets without records, which count until they are read, than about the time left.
const LONGEST_ESTIMATE: Duration = Duration::from_secs(100 * 3600);
/// Rates are means over this time: longer than the interval of lines, short enough to show a stall.
const RATE_WINDOW: Duration = Duration::from_secs(15);

/// How progress is shown.
#[derive(Clone, Debug)]
pub(crate) enum Display {
    Off,
    Lines,
    Drawn(Stderr),
}

impl Display {
    pub(crate) fn choose(global: &GlobalArgs, stderr: &Stderr) -> Self {
        let text = global.log_format.unwrap_or_default() == LogFormat::Text;
        match (global.quiet, stderr.is_terminal() && text) {
            (true, _) => Self::Off,
            (false, true) => Self::Drawn(stderr.clone()),
            (false, false) => Self::Lines,
        }
    }
}

/// The progress of one run, as a listener to its events.
pub(crate) struct Progress {
    display: Display,
    counters: Arc<Counters>,
    ticker: Mutex<Option<Ticker>>,
}

impl Progress {
    pub(crate) fn new(display: &Display, title: &'static str) -> Self {
        Self {
            display: display.clone(),
            counters: Arc::new(Counters {
                title,
                totals: Mutex::default(),
                done: Count::default(),
                partitions: Mutex::default(),
            }),
            ticker: Mutex::default(),
        }
    }
}

impl Events for Progress {
    fn run_started(&self, totals: Totals) {
        *lock(&self.counters.totals) = totals;
        let counters = Arc::clone(&self.counters);
        let ticker = match &self.display {
            Display::Off => None,
            Display::Lines => Ticker::start(LINE, lines(counters)),
            Display::Drawn(stderr) => Ticker::start(REDRAW, drawing(counters, stderr)),
        };
        *lock(&self.ticker) = ticker;
    }

    fn partition_started(&self, number: PartitionSlot, name: PartitionName<'_>, totals: Totals) {
        let part = Part {
            name: name.to_string(),
            total_records: totals.records,
            done: Count::default(),
        };
        debug!("{}: {} begins", self.counters.title, part.name);
        lock(&self.counters.partitions).insert(number, part);
    }

    fn advanced(&self, partition: Option<PartitionSlot>, done: Done) {
        self.counters.done.add(done);
        if let Some(number) = partition
            && let Some(part) = lock(&self.counters.partitions).get(&number)
        {
            part.done.add(done);
        }
    }

    fn shrunk(&self, partition: PartitionSlot, records: u64) {
        let fewer = |total: &mut Option<u64>| {
            *total = total.map(|total| total.saturating_sub(records));
        };
        fewer(&mut lock(&self.counters.totals).records);
        if let Some(part) = lock(&self.counters.partitions).get_mut(&partition) {
            fewer(&mut part.total_records);
        }
    }

    fn partition_finished(&self, number: PartitionSlot) {
        let ended = lock(&self.counters.partitions).remove(&number);
        if let Some(part) = ended {
            debug!("{}: {} ends", self.counters.title, part.line().trim_start());
        }
    }

    /// Clears the screen before a result is written.
    fn run_finished(&self) {
        lock(&self.ticker).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Counters {
    title: &'static str,
    totals: Mutex<Totals>,
    done: Count,
    /// The running partitions, in the order in which they started.
    partitions: Mutex<BTreeMap<PartitionSlot, Part>>,
}

#[derive(Debug)]
struct Part {
    name: String,
    total_records: Option<u64>,
    done: Count,
}

#[derive(Debug, Default)]
struct Count {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn add(&self, done: Done) {
        self.records.fetch_add(done.records, Ordering::Relaxed);
        self.bytes.fetch_add(done.bytes, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (
            self.records.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

impl Counters {
    /// Formats the progress, as in `24 %, 1,234,567 of 5,000,000 records, 1.10 GiB, 45.20 MiB/s, about 3m 4s left`.
    fn summary(&self, rate: Option<Rate>) -> String {
        let (records, bytes) = self.done.get();
        let totals = *lock(&self.totals);
        let share = match totals {
            Totals {
                records: Some(total),
                ..
            } => percent(records, total),
            Totals {
                bytes: Some(total), ..
            } => percent(bytes, total),
            _ => None,
        };
        let rate_text = rate.map(|rate| human::byte_rate(rate.bytes_per_second));
        let left = rate.and_then(|rate| self.time_left(rate));
        let fields = [
            share,
            Some(of_total(records, totals.records, human::count) + " records"),
            Some(of_total(bytes, totals.bytes, human::bytes)),
            rate_text,
            left.map(|left| format!("about {} left", human::duration(left))),
        ];
        fields.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn time_left(&self, rate: Rate) -> Option<Duration> {
        let (records, bytes) = self.done.get();
        let (left, per_second) = match *lock(&self.totals) {
            Totals {
                records: Some(total),
                ..
            } => (total.saturating_sub(records), rate.records_per_second),
            Totals {
                bytes: Some(total), ..
            } => (total.saturating_sub(bytes), rate.bytes_per_second),
            _ => return None,
        };
        // Whole seconds: more precision would be pretended. A stalled run has no estimate.
        let seconds = Duration::try_from_secs_f64((left as f64 / per_second).ceil()).ok()?;
        Some(seconds).filter(|seconds| !seconds.is_zero() && *seconds <= LONGEST_ESTIMATE)
    }

    /// Returns a line per running partition, up to [`SHOWN`].
    fn partition_lines(&self) -> Vec<String> {
        let parts = lock(&self.partitions);
        let mut lines: Vec<_> = parts.values().take(SHOWN).map(Part::line).collect();
        if parts.len() > SHOWN {
            let more = (parts.len() - SHOWN) as u64;
            lines.push(format!("  and {} more", human::count(more)));
        }
        lines
    }
}

impl Part {
    fn line(&self) -> String {
        let (records, bytes) = self.done.get();
        let share = self.total_records.and_then(|total| percent(records, total));
        let share = share.map_or_else(String::new, |share| share + ", ");
        let records = of_total(records, self.total_records, human::count);
        format!(
            "  {}: {share}{records} records, {}",
            self.name,
            human::bytes(bytes)
        )
    }
}

/// Formats a percentage, rounded down so that 100 % means all.
fn percent(done: u64, total: u64) -> Option<String> {
    let percent = (u128::from(done) * 100).checked_div(total.into())?;
    Some(format!("{percent} %"))
}

fn of_total(done: u64, total: Option<u64>, show: fn(u64) -> String) -> String {
    match total {
        Some(total) => format!("{} of {}", show(done), show(total)),
        None => show(done),
    }
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    records_per_second: f64,
    bytes_per_second: f64,
}

/// Samples of the work done and their times, over the last [`RATE_WINDOW`].
struct Samples(VecDeque<(Instant, u64, u64)>);

impl Samples {
    fn new(start: Instant) -> Self {
        Self(VecDeque::from([(start, 0, 0)]))
    }

    fn add(&mut self, now: Instant, (records, bytes): (u64, u64)) {
        self.0.push_back((now, records, bytes));
        while self.0.len() > 2 && now - self.0[0].0 > RATE_WINDOW {
            self.0.pop_front();
        }
    }

    fn rate(&self) -> Option<Rate> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let seconds = (last.0 - first.0).as_secs_f64();
        (seconds > 0.0).then(|| Rate {
            records_per_second: (last.1 - first.1) as f64 / seconds,
            bytes_per_second: (last.2 - first.2) as f64 / seconds,
        })
    }
}

fn lines(counters: Arc<Counters>) -> impl FnMut() + Send {
    let mut samples = Samples::new(Instant::now());
    move || {
        samples.add(Instant::now(), counters.done.get());
        info!("{}: {}", counters.title, counters.summary(samples.rate()));
    }
}

fn drawing(counters: Arc<Counters>, stderr: &Stderr) -> impl FnMut() + Send + use<> {
    let mut samples = Samples::new(Instant::now());
    let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
    let bar = stderr
        .bars()
        .add(ProgressBar::new_spinner().with_style(style));
    let bar = Cleared(bar);
    move || {
        samples.add(Instant::now(), counters.done.get());
        let mut text = vec![format!(
            "{}: {}",
            counters.title,
            counters.summary(samples.rate())
        )];
        text.extend(counters.partition_lines());
        bar.0.set_message(text.join("\n"));
    }
}

/// A bar that is cleared when it is dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Calls a function periodically on its own thread, until it is dropped.
#[derive(Debug)]
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Returns `None` without a thread: the run continues without progress.
    fn start(interval: Duration, mut tick: impl FnMut() + Send + 'static) -> Option<Self> {
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                tick();
            }
        };
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(work)
            .ok()?;
        Some(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was already reported, and does not affect the run.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunEvents;

    fn named(topic: &str, partition: u16) -> PartitionName<'_> {
        PartitionName {
            topic,
            partition: partition.into(),
        }
    }

    fn progress(records: Option<u64>, bytes: Option<u64>) -> Progress {
        let progress = Progress::new(&Display::Off, "backup");
        progress.run_started(Totals { records, bytes });
        progress
    }

    fn done(records: u64, bytes: u64) -> Done {
        Done { records, bytes }
    }

    fn rate(records_per_second: f64, bytes_per_second: f64) -> Option<Rate> {
        Some(Rate {
            records_per_second,
            bytes_per_second,
        })
    }

    #[test]
    fn the_summary_says_what_is_known() {
        let known = progress(Some(5_000_000), None);
        known.advanced(None, done(1_234_567, 1 << 30));
        assert_eq!(
            known.counters.summary(rate(100_000.0, 47_395_635.0)),
            "24 %, 1,234,567 of 5,000,000 records, 1.00 GiB, 45.20 MiB/s, about 38s left"
        );
        let unknown = progress(None, None);
        assert_eq!(unknown.counters.summary(None), "0 records, 0 B");
        let bytes = progress(None, Some(2048));
        bytes.advanced(None, done(0, 1024));
        assert_eq!(
            bytes.counters.summary(rate(0.0, 1024.0)),
            "50 %, 0 records, 1.00 KiB of 2.00 KiB, 1.00 KiB/s, about 1s left"
        );
    }

    #[test]
    fn a_stall_an_empty_run_and_the_end_have_no_time_left() {
        let run = progress(Some(10), None);
        assert_eq!(run.counters.time_left(rate(0.0, 0.0).unwrap()), None);
        run.advanced(None, done(10, 0));
        assert_eq!(run.counters.time_left(rate(1.0, 0.0).unwrap()), None);
        assert_eq!(run.counters.time_left(rate(0.0, 0.0).unwrap()), None);
        assert_eq!(
            progress(Some(0), None).counters.summary(rate(0.0, 0.0)),
            "0 of 0 records, 0 B, 0 B/s"
        );
    }

    #[test]
    fn offsets_without_a_record_leave_the_total_as_they_are_read() {
        let run = Arc::new(progress(None, None));
        let totals = Totals {
            records: Some(5_000_000_030),
            bytes: None,
        };
        let events = RunEvents::start(run.clone(), totals);
        let part = events.partition(named("gap", 0), Some(5_000_000_030));
        part.advanced(10, 100);
        assert_eq!(
            run.counters.summary(rate(10.0, 100.0)),
            "0 %, 10 of 5,000,000,030 records, 100 B, 100 B/s"
        );
        part.shrunk(5_000_000_000);
        assert_eq!(
            run.counters.summary(rate(10.0, 100.0)),
            "33 %, 10 of 30 records, 100 B, 100 B/s, about 2s left"
        );
        let lines = run.counters.partition_lines();
        assert_eq!(lines, ["  gap/0: 33 %, 10 of 30 records, 100 B"]);
    }

    #[test]
    fn a_hundred_per_cent_is_all() {
        assert_eq!(percent(999, 1000).unwrap(), "99 %");
        assert_eq!(percent(u64::MAX, u64::MAX).unwrap(), "100 %");
        assert_eq!(percent(0, 0), None);
    }

    #[test]
    fn partitions_count_into_the_run_and_few_are_shown() {
        let run = Arc::new(progress(None, None));
        let events = RunEvents::start(run.clone(), Totals::default());
        let parts: Vec<_> = (0..20)
            .map(|n| events.partition(named("orders", n), Some(4)))
            .collect();
        for part in &parts {
            part.advanced(1, 100);
        }
        assert_eq!(run.counters.done.get(), (20, 2000));
        let lines = run.counters.partition_lines();
        assert_eq!(lines.len(), SHOWN + 1);
        assert_eq!(lines[0], "  orders/0: 25 %, 1 of 4 records, 100 B");
        assert_eq!(lines[SHOWN], "  and 12 more");
        drop(parts);
        assert!(run.counters.partition_lines().is_empty());
        assert_eq!(run.counters.done.get(), (20, 2000));
    }

    #[test]
    fn the_rate_is_that_of_the_window() {
        let start = Instant::now();
        let mut samples = Samples::new(start);
        assert!(samples.rate().is_none());
        for second in 1..=100 {
            let done = if second <= 50 { second * 10 } else { 500 };
            samples.add(start + Duration::from_secs(second), (done, done));
        }
        assert_eq!(samples.rate().unwrap().records_per_second, 0.0);
        assert!(samples.0.len() <= 17);
    }

    #[test]
    fn a_ticker_stops_when_dropped() {
        let (sender, receiver) = mpsc::channel();
        let tick = move || {
            let _ = sender.send(());
        };
        let ticker = Ticker::start(Duration::from_millis(1), tick);
        receiver.recv().unwrap();
        drop(ticker);
        // The thread has dropped the sender, so this ends.
        receiver.iter().for_each(drop);
    }
}
