//! The producers of a restore: how many, with which bounds, under which transactional ids.

use kbk_format::repo::RestoreManifest;

use crate::records::{KafkaError, RecordSink, SinkOptions, Transport};
use crate::restore::write::work::Work;

/// Each is one thread here and a few of librdkafka's, so two keep several cores busy.
const PRODUCERS: usize = 2;
/// For records that are written and not yet acknowledged, over all producers.
const QUEUE_BYTES: usize = 32 << 20;
/// What a queued record takes besides its bytes, generously.
const RECORD_OVERHEAD_BYTES: usize = 64 << 10;

/// How many producers write, where nobody has decided that yet.
pub(crate) fn count(work: &Work) -> usize {
    work.targets.len().clamp(1, PRODUCERS)
}

/// Opens them.
pub(crate) struct Producers<'a, T> {
    pub(crate) work: &'a Work,
    pub(crate) restore: &'a RestoreManifest,
    pub(crate) transport: &'a T,
}

impl<T: Transport> Producers<'_, T> {
    /// All of them, with no targets yet. With transactions, no earlier run of the restore writes from here on.
    pub(crate) fn open_all(&self) -> Result<Vec<T::Sink>, KafkaError> {
        (0..self.count()).map(|number| self.open(number)).collect()
    }

    /// Another one in the place of one that is of no more use.
    pub(crate) fn replace(&self, number: usize) -> Result<T::Sink, KafkaError> {
        let mut producer = self.open(number)?;
        producer.set_targets(self.work.targets.clone())?;
        Ok(producer)
    }

    fn count(&self) -> usize {
        match self.restore.producers {
            0 => count(self.work),
            transactional => transactional,
        }
    }

    fn open(&self, number: usize) -> Result<T::Sink, KafkaError> {
        let transactional = self.restore.producers > 0;
        let largest = self
            .work
            .largest_record_bytes
            .saturating_add(RECORD_OVERHEAD_BYTES);
        let options = SinkOptions {
            queue_bytes: (QUEUE_BYTES / self.count()).max(largest),
            batch_bytes: self.work.batch_bytes,
            transactional_id: transactional.then(|| self.restore.transactional_id(number)),
            ..SinkOptions::default()
        };
        self.transport.open_sink(options)
    }
}
