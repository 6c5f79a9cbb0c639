//! Some batches of a block that is damaged elsewhere.

use super::decode;
use crate::batch::{BatchDecoder, RecordBatches};
use crate::block::header::{BlockHeader, BlockKind, Directory};
use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError, Result};
use crate::record::TimestampType;

/// What batches that follow each other state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatedOfRun {
    pub(crate) base_offset: i64,
    /// Exclusive.
    pub(crate) end_offset: i64,
    pub(crate) records: u32,
    pub(crate) timestamp_type: TimestampType,
}

/// Decodes batches of a damaged block as those of one that is not computed.
pub(in crate::block) fn decode_run(
    decoder: &mut BatchDecoder,
    position: u64,
    run: &[u8],
    timestamp_type: Option<TimestampType>,
    columns: &mut Columns,
) -> Result<StatedOfRun> {
    let mut stated: Option<StatedOfRun> = None;
    let mut max_timestamp = i64::MIN;
    for batch in RecordBatches::new(run, 0) {
        let header = *batch?.header();
        let end_offset = header.last_offset.saturating_add(1);
        max_timestamp = max_timestamp.max(header.max_timestamp);
        let stated = stated.get_or_insert(StatedOfRun {
            base_offset: header.base_offset,
            end_offset,
            records: 0,
            timestamp_type: header.attributes.timestamp_type(),
        });
        stated.end_offset = end_offset;
        let records = header.record_count.unwrap_or_default();
        stated.records = stated.records.saturating_add(records);
    }
    let Some(stated) = stated else {
        let detail = "it has no batch";
        return Err(FormatError::new(
            ErrorClass::Inconsistent,
            "block",
            position,
            detail,
        ));
    };
    let header = BlockHeader {
        salt: [0; 8],
        position,
        sequence: 0,
        kind: BlockKind::Batches,
        base_offset: stated.base_offset,
        end_offset: stated.end_offset,
        max_timestamp,
        record_count: stated.records,
        control_count: 0,
        computed: None,
        directory: Directory::default(),
        header_crc: 0,
    };
    decode(decoder, run, &header, timestamp_type, columns)?;
    Ok(stated)
}
