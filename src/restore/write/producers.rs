//! The producers of a restore: their bounds and transactional ids.

use std::thread;
use std::time::Duration;

use kbk_format::repo::RestoreManifest;

use crate::records::{KafkaError, RecordSink, SinkOptions, StopRequest, Transport};
use crate::restore::write::takeover::Run;
use crate::restore::write::work::Work;

/// Memory for records that are not yet acknowledged, over all producers. 8 MiB are 80 MB/s to a broker 100 ms away; 16 took 9 MB more of a
/// restore's memory, and were no faster to a near one.
const QUEUE_BYTES: usize = 8 << 20;
/// A generous bound of what a queued record takes besides its payload.
const RECORD_OVERHEAD_BYTES: usize = 64 << 10;

/// Opens the producers of a restore.
pub(crate) struct Producers<'a, T> {
    pub(crate) work: &'a Work,
    pub(crate) manifest: &'a RestoreManifest,
    pub(crate) transport: &'a T,
    /// How many there are.
    pub(crate) count: usize,
    /// Cuts waits for the cluster short.
    pub(crate) stop: StopRequest,
    /// How long transactions may fail in a row.
    pub(crate) timeout: Duration,
    /// Which run of the restore this is.
    pub(crate) run: Run,
}

impl<T: Transport> Producers<'_, T> {
    /// Opens all producers, without targets. With transactions, this fences every earlier run of the restore.
    pub(crate) fn open_all(&self) -> Result<Vec<T::Sink>, KafkaError> {
        let mut opened: Vec<_> = (0..self.count).map(|_| None).collect();
        // At the same time: each takes half a dozen round trips.
        thread::scope(|scope| {
            for (number, opened) in opened.iter_mut().enumerate() {
                scope.spawn(move || *opened = Some(self.open(number)));
            }
        });
        opened.into_iter().flatten().collect()
    }

    /// Opens a replacement for a producer that is unusable.
    pub(crate) fn replace(&self, number: usize) -> Result<T::Sink, KafkaError> {
        let mut producer = self.open(number)?;
        producer.set_targets(self.work.targets.clone())?;
        Ok(producer)
    }

    fn open(&self, number: usize) -> Result<T::Sink, KafkaError> {
        let transactional = self.manifest.producers > 0;
        let largest = self
            .work
            .largest_record_bytes
            .saturating_add(RECORD_OVERHEAD_BYTES);
        let options = SinkOptions {
            queue_bytes: (QUEUE_BYTES / self.count).max(largest),
            batch_bytes: self.work.batch_bytes,
            codecs: self.work.codecs.clone(),
            whole_batches: self.work.whole_batches.clone(),
            stop: self.stop.clone(),
            transactional_id: transactional.then(|| self.manifest.transactional_id(number)),
            ..SinkOptions::default()
        };
        self.transport.open_sink(options)
    }
}
