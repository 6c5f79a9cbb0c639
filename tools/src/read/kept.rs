//! Footers that were read to plan, and that reading needs again.

use std::collections::HashMap;
use std::sync::Arc;

use kbk_format::repo::{AheadBytes, Id, SegmentEntry, SegmentReader, Store};

/// Footers by segment, as many as the store has memory for. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptFooters(Arc<HashMap<Id, Kept>>);

#[derive(Debug)]
struct Kept {
    reader: SegmentReader,
    _memory: AheadBytes,
}

impl KeptFooters {
    /// Keeps the footer of a segment, if there is memory for it. Only before there are clones.
    pub(super) fn keep(&mut self, store: &Store, id: Id, reader: SegmentReader) {
        let segment = reader.segment();
        let bytes = segment.file_length() - segment.footer_position();
        if let (Some(_memory), Some(kept)) = (store.keep_footer(bytes), Arc::get_mut(&mut self.0)) {
            kept.insert(id, Kept { reader, _memory });
        }
    }

    pub(super) fn get(&self, entry: &SegmentEntry) -> Option<SegmentReader> {
        self.0
            .get(&entry.segment_id)
            .map(|kept| kept.reader.clone())
    }
}
