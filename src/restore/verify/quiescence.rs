//! Waits until committed records can be read.
//!
//! A broker acknowledges a commit before its markers are in the partitions. Until they are, the last stable offset stays below the
//! transaction, and `read_committed` consumers see nothing from there on. Another producer's open transaction has the same effect.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka::{Admin, KafkaError, PartitionOffsets, TopicPartition};
use crate::restore::held_up::HeldUp;
use crate::run::Cancel;

/// When to report what is being waited for.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// How long is waited once a stop was requested.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

/// Waits until consumers can read each target up to its end in `ends`, one past the last restored record, and returns those where they
/// still cannot. Everything is committed, so brokers may be unavailable for a while; records that others append later are not waited for.
/// A log that is shorter than its end is none of those: there is nothing to wait for.
///
/// `patience` is how long nothing may change: a transaction ends in thousands of partitions one after the other.
pub(crate) fn wait(
    admin: &Admin,
    ends: &BTreeMap<TopicPartition, i64>,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Vec<HeldUp>, KafkaError> {
    const PAUSE: Duration = Duration::from_millis(50);
    const LONG_PAUSE: Duration = Duration::from_secs(1);
    let targets: Vec<TopicPartition> = ends.keys().cloned().collect();
    let started = Instant::now();
    let mut progressed = started;
    let mut fewest = usize::MAX;
    let mut reported = false;
    loop {
        let is_over = match cancel.is_set() {
            true => started.elapsed() >= patience.min(SHORT_PATIENCE),
            false => progressed.elapsed() >= patience,
        };
        match offsets(admin, &targets) {
            Ok(offsets) => {
                let held_up = held_up(&offsets, ends);
                if held_up.len() < fewest {
                    fewest = held_up.len();
                    progressed = Instant::now();
                }
                // A new leader's high watermark may be behind for a moment.
                let is_short = is_short(&offsets, ends);
                let is_given_up = is_short && started.elapsed() >= SHORT_PATIENCE;
                if (held_up.is_empty() && !is_short) || is_over || is_given_up {
                    return Ok(held_up);
                }
                if let [first, ..] = held_up.as_slice()
                    && started.elapsed() >= REPORT_AFTER
                    && !std::mem::replace(&mut reported, true)
                {
                    tracing::info!("waiting: {first}");
                }
            }
            Err(error) if is_over || error.is_denied() => return Err(error),
            // Brokers may be restarting; the loop ends with the patience.
            Err(_) => {}
        }
        thread::sleep(if reported { LONG_PAUSE } else { PAUSE });
    }
}

type Offsets<'a> = BTreeMap<&'a TopicPartition, PartitionOffsets>;

fn offsets<'a>(admin: &Admin, targets: &'a [TopicPartition]) -> Result<Offsets<'a>, KafkaError> {
    let offsets = admin.offsets(targets)?;
    let targets = targets.iter();
    targets
        .map(|target| Ok((target, *offsets.get(target)?)))
        .collect()
}

/// Returns whether a log ends before its last restored record.
fn is_short(offsets: &Offsets<'_>, ends: &BTreeMap<TopicPartition, i64>) -> bool {
    let mut offsets = offsets.iter();
    offsets.any(|(target, offsets)| offsets.high_watermark < ends[*target])
}

fn held_up(offsets: &Offsets<'_>, ends: &BTreeMap<TopicPartition, i64>) -> Vec<HeldUp> {
    let unstable = offsets.iter().filter(|(target, offsets)| {
        let end = ends[*target];
        offsets.last_stable_offset < end && end <= offsets.high_watermark
    });
    unstable
        .map(|(target, offsets)| HeldUp {
            target: (*target).clone(),
            offset: offsets.last_stable_offset,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(last_stable_offset: i64, high_watermark: i64) -> PartitionOffsets {
        PartitionOffsets {
            log_start_offset: 0,
            high_watermark,
            last_stable_offset,
        }
    }

    #[test]
    fn only_restored_records_are_waited_for() {
        let targets =
            [0, 1, 2, 3_u16].map(|partition| TopicPartition::new("orders", partition.into()));
        // Stable to the end; stable up to where the restore ended, with another open transaction above; not stable that far; cut.
        let now = [
            offsets(10, 10),
            offsets(10, 25),
            offsets(7, 10),
            offsets(5, 5),
        ];
        let now = targets.iter().zip(now).collect();
        let ends = targets.iter().map(|target| (target.clone(), 10)).collect();
        assert!(is_short(&now, &ends));
        let held_up = held_up(&now, &ends);
        let expected = HeldUp {
            target: targets[2].clone(),
            offset: 7,
        };
        assert_eq!(held_up, [expected]);
    }
}
