//! Waits until what was committed can be read.
//!
//! A commit is answered before its markers are in the partitions, and until they are, readers of committed records see nothing
//! from its first record on. Somebody else's transaction that is open in a target holds them up in the same way.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka::{Admin, KafkaError, PartitionOffsets, TopicPartition};
use crate::restore::write::work::Work;
use crate::run::Cancel;

/// Far more than writing a marker takes, and enough for brokers to come back.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so long the user is told what is waited for.
const QUIET: Duration = Duration::from_secs(5);
/// [`PATIENCE`] of somebody who has asked to stop.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

/// A target whose restored records cannot all be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// The target.
    pub target: TopicPartition,
    /// The last stable offset, where a transaction is open.
    pub offset: i64,
}

impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicPartition { topic, partition } = &self.target;
        let offset = self.offset;
        write!(
            f,
            "{topic}/{partition}: a transaction is open at offset {offset}; who reads committed records sees nothing from there on until it \
             ends"
        )
    }
}

/// Waits, and gives the targets that stay held up. All is committed, so brokers may be away meanwhile; what is written behind
/// it by others is not waited for.
pub(crate) fn wait(admin: &Admin, work: &Work, cancel: &Cancel) -> Result<Vec<HeldUp>, KafkaError> {
    const PAUSE: Duration = Duration::from_millis(50);
    const LONG_PAUSE: Duration = Duration::from_secs(1);
    let started = Instant::now();
    // The high watermarks when they could first be told: everything that was restored lies below.
    let mut ends: Option<Vec<i64>> = None;
    let mut told = false;
    loop {
        let patience = match cancel.is_set() {
            true => SHORT_PATIENCE,
            false => PATIENCE,
        };
        let is_over = started.elapsed() >= patience;
        match offsets(admin, &work.targets) {
            Ok(offsets) => {
                let ends = ends.get_or_insert_with(|| {
                    offsets
                        .iter()
                        .map(|offsets| offsets.high_watermark)
                        .collect()
                });
                let held_up = held_up(&work.targets, &offsets, ends);
                if held_up.is_empty() || is_over {
                    return Ok(held_up);
                }
                if let [first, ..] = held_up.as_slice()
                    && started.elapsed() >= QUIET
                    && !std::mem::replace(&mut told, true)
                {
                    tracing::info!("waiting: {first}");
                }
            }
            Err(error) if is_over || error.is_denied() => return Err(error),
            Err(_) => {}
        }
        thread::sleep(if told { LONG_PAUSE } else { PAUSE });
    }
}

/// The offsets of the targets, in their order.
fn offsets(admin: &Admin, targets: &[TopicPartition]) -> Result<Vec<PartitionOffsets>, KafkaError> {
    let offsets = admin.offsets(targets)?;
    let targets = targets.iter();
    targets.map(|target| offsets.get(target).copied()).collect()
}

fn held_up(targets: &[TopicPartition], offsets: &[PartitionOffsets], ends: &[i64]) -> Vec<HeldUp> {
    let targets = targets.iter().zip(offsets).zip(ends);
    let unstable = targets.filter(|((_, offsets), end)| offsets.last_stable_offset < **end);
    unstable
        .map(|((target, offsets), _)| HeldUp {
            target: target.clone(),
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
    fn only_what_was_restored_is_waited_for() {
        let targets = [0, 1, 2].map(|partition| TopicPartition {
            topic: "orders".to_owned(),
            partition,
        });
        // To the end; up to where the restore ended, with somebody else's open transaction behind; not that far.
        let now = [offsets(10, 10), offsets(10, 25), offsets(7, 10)];
        let held_up = held_up(&targets, &now, &[10, 10, 10]);
        let expected = HeldUp {
            target: targets[2].clone(),
            offset: 7,
        };
        assert_eq!(held_up, [expected]);
    }
}
