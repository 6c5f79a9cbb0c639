//! Delivery reports, run-length encoded: which offset each written record received.

/// A run of records that all replicas have: consecutive source offsets at consecutive target offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Offset of the first record in the backup.
    pub source_offset: i64,
    /// Offset that the target's leader assigned to it.
    pub target_offset: i64,
    /// Number of records.
    pub records: u64,
}

impl Delivered {
    /// Appends the report of one record to `runs`, extending the last run if the record continues it.
    pub(crate) fn append(runs: &mut Vec<Delivered>, source_offset: i64, target_offset: i64) {
        let extended = runs
            .last_mut()
            .is_some_and(|last| last.extend(source_offset, target_offset));
        if !extended {
            runs.push(Delivered {
                source_offset,
                target_offset,
                records: 1,
            });
        }
    }

    /// Appends the report of a run, of which the last one is extended if it continues it.
    pub(crate) fn append_run(runs: &mut Vec<Delivered>, run: Delivered) {
        let last = runs.last_mut().filter(|last| {
            let records = last.records.cast_signed();
            // A negative offset is one that nobody knows.
            last.target_offset >= 0
                && last.source_offset.checked_add(records) == Some(run.source_offset)
                && last.target_offset.checked_add(records) == Some(run.target_offset)
        });
        match last {
            Some(last) => last.records += run.records,
            None => runs.push(run),
        }
    }

    /// Adds the record if it continues the run.
    fn extend(&mut self, source_offset: i64, target_offset: i64) -> bool {
        let records = self.records.cast_signed();
        let continues = self.source_offset.checked_add(records) == Some(source_offset)
            && self.target_offset.checked_add(records) == Some(target_offset);
        self.records += u64::from(continues);
        continues
    }
}
