//! What is read from the backup for one partition, and what it amounts to.

use std::collections::HashMap;

use kbk_format::repo::{Hex, PartitionId, PartitionState, RepoError, Repository, Snapshot};
use kbk_tools::{Needs, ReadPlan, Selection, compute};
use tokio::runtime::Handle;

use super::limits::TargetLimits;
use super::whole_segments::BatchRules;

/// The part of the backup that is read for one partition.
#[derive(Clone, Debug)]
pub struct PartitionReading {
    /// Records to write.
    pub records: u64,
    /// Whether `records` is exact, or an upper bound.
    pub records_exact: bool,
    /// Segments to read from.
    pub segments: usize,
    /// Bytes of these segments.
    pub stored_bytes: u64,
    /// Bytes of their records before compression.
    pub raw_bytes: u64,
    /// Blocks of these segments to read.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub read_bytes: u64,
    pub(crate) limits: TargetLimits,
    pub(crate) needs: Needs,
    pub(crate) read: ReadPlan,
}

impl PartitionReading {
    /// Plans to read `selection`: reads the footer of every segment, and no blocks, unless `rules` need the records of a segment whose footer does not
    /// describe them. Reading does not request the footers again, but for those that there is no memory for.
    pub(crate) async fn plan(
        repository: &Repository,
        snapshot: &Snapshot,
        partition: PartitionId,
        state: &PartitionState,
        selection: Selection,
        rules: &BatchRules,
    ) -> Result<PartitionReading, RepoError> {
        let mut read = ReadPlan::new(repository, snapshot, partition, state, selection).await?;
        let (mut needs, mut limits) = (Needs::default(), TargetLimits::default());
        let of_segments = read.clone();
        let mut to_decode = HashMap::new();
        let opened = read.open_all(|segment| {
            let of_segment = of_segments.needs(segment);
            let statistics = segment.statistics();
            match &statistics.computed {
                None if rules.need_records(segment, &of_segment) => {
                    let id = Hex(segment.header().segment_id);
                    to_decode.insert(id, (statistics.clone(), of_segment));
                }
                computed => limits = limits.with(statistics, computed.as_ref(), &of_segment),
            }
            needs = needs + of_segment;
        });
        if let Err(error) = opened.await {
            return Err(read.explain(error).await);
        }
        for entry in read.segments() {
            let Some((statistics, needs)) = to_decode.get(&entry.segment_id) else {
                continue;
            };
            let computed = compute(repository.store(), read.partition_id(), entry).await;
            let computed = match computed {
                Ok(computed) => computed,
                Err(error) => return Err(read.explain(error).await),
            };
            limits = limits.with(statistics, Some(&computed), needs);
        }
        Ok(PartitionReading {
            records: needs.records,
            records_exact: needs.cut_blocks == 0,
            segments: read.segments().len(),
            stored_bytes: read.segments().iter().map(|entry| entry.size).sum(),
            raw_bytes: read.segments().iter().map(|entry| entry.raw_bytes).sum(),
            blocks: needs.blocks,
            read_bytes: needs.stored_bytes,
            limits,
            needs,
            read,
        })
    }

    /// Makes the number of records exact: decodes the blocks that a bound cuts.
    pub(crate) async fn count(&mut self) -> Result<(), RepoError> {
        if !self.records_exact {
            let cut = self.read.clone().count_cut(&Handle::current()).await?;
            self.records = self.needs.whole_records + cut;
            self.records_exact = true;
        }
        Ok(())
    }
}
