//! Logs are read at the same time, and progress says how far.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::*;

/// Waits, in the first two logs, until both are being read; and counts.
#[derive(Default)]
struct Meeting {
    there: Mutex<BTreeSet<String>>,
    came: Condvar,
    missed: AtomicBool,
    calls: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl ImportEvents for Meeting {
    fn advanced(&self, records: u64, bytes: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut there = self.there.lock().unwrap();
        there.insert(format!("{:?}", thread::current().id()));
        self.came.notify_all();
        let patience = Duration::from_secs(30);
        let is_alone = |there: &mut BTreeSet<String>| there.len() < 2;
        let waited = self.came.wait_timeout_while(there, patience, is_alone);
        let (_there, waited) = waited.unwrap();
        self.missed.fetch_or(waited.timed_out(), Ordering::Relaxed);
    }
}

#[test]
fn two_logs_are_read_at_the_same_time_and_progress_ends_at_their_bytes() {
    let world = World::new();
    let log: Vec<u8> = (0..20).flat_map(|n| batch(10 * n..10 * n + 10)).collect();
    for partition in ["t-0", "t-1"] {
        world.log(partition, 0, &log);
    }
    let meeting = Arc::new(Meeting::default());
    let events: Arc<dyn ImportEvents> = Arc::clone(&meeting) as _;
    let report = world.import_with(&[world.data()], events).unwrap();
    assert!(report.is_whole());
    let missed = meeting.missed.load(Ordering::Relaxed);
    assert!(!missed, "they are read one after the other");
    let counts = [&meeting.calls, &meeting.records, &meeting.bytes];
    let counts = counts.map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [40, 400, 2 * log.len() as u64]);
}
