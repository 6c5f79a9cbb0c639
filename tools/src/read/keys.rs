//! Selects records by their keys.

use std::collections::HashSet;
use std::sync::Arc;

/// The keys of the selected records, compared byte by byte. Clones share them.
///
/// The partition of a key is not computed: which one a producer has chosen depends on its partitioner, and on how many partitions the topic had
/// then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySelection(Arc<Keys>);

#[derive(Debug, PartialEq, Eq)]
struct Keys {
    keys: HashSet<Vec<u8>>,
    null: bool,
}

impl KeySelection {
    /// Selects the records with one of these keys, and with `null` those without a key. An empty key is not null.
    #[must_use]
    pub fn new(keys: HashSet<Vec<u8>>, null: bool) -> KeySelection {
        KeySelection(Arc::new(Keys { keys, null }))
    }

    /// Reports whether a record with this key is selected.
    pub(super) fn selects(&self, key: Option<&[u8]>) -> bool {
        match key {
            Some(key) => self.0.keys.contains(key),
            None => self.0.null,
        }
    }
}
