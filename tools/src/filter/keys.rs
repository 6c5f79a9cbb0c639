//! Selects records by their keys.

use std::collections::HashSet;
use std::sync::Arc;

use super::pattern::BytePattern;

/// The keys of the selected records. Clones share them.
///
/// The partition of a key is not computed: which one a producer has chosen depends on its partitioner, and on how many partitions the topic had
/// then.
#[derive(Clone, Debug)]
pub struct KeySelection(Arc<Keys>);

#[derive(Debug)]
struct Keys {
    exact: HashSet<Vec<u8>>,
    prefixes: Vec<Vec<u8>>,
    patterns: Vec<BytePattern>,
    null: bool,
}

impl KeySelection {
    /// Selects the records with one of these keys, byte by byte, and with `null` those without a key. An empty key is not null.
    #[must_use]
    pub fn new(keys: HashSet<Vec<u8>>, null: bool) -> KeySelection {
        KeySelection(Arc::new(Keys {
            exact: keys,
            prefixes: Vec::new(),
            patterns: Vec::new(),
            null,
        }))
    }

    /// Also selects the records whose key begins with one of `prefixes`, or has a match of one of `patterns`. The empty prefix selects every key
    /// that is not null.
    #[must_use]
    pub fn or(self, prefixes: Vec<Vec<u8>>, patterns: Vec<BytePattern>) -> KeySelection {
        KeySelection(Arc::new(Keys {
            exact: self.0.exact.clone(),
            prefixes,
            patterns,
            null: self.0.null,
        }))
    }

    /// Returns whether it has to look at the bytes of keys, rather than at whether there is one.
    pub(super) fn reads(&self) -> bool {
        let Keys {
            exact,
            prefixes,
            patterns,
            ..
        } = &*self.0;
        !(exact.is_empty() && prefixes.is_empty() && patterns.is_empty())
    }

    /// Returns all keys that are selected, null among them, unless it also selects by prefixes or patterns.
    pub(super) fn exact(&self) -> Option<impl Iterator<Item = Option<&[u8]>>> {
        let keys = &*self.0;
        let null = keys.null.then_some(None);
        let exact = keys.exact.iter().map(|key| Some(&key[..]));
        (keys.prefixes.is_empty() && keys.patterns.is_empty()).then(|| exact.chain(null))
    }

    /// Reports whether a record with this key is selected.
    pub(super) fn selects(&self, key: Option<&[u8]>) -> bool {
        let keys = &*self.0;
        let Some(key) = key else {
            return keys.null;
        };
        keys.exact.contains(key)
            || keys.prefixes.iter().any(|prefix| key.starts_with(prefix))
            || keys.patterns.iter().any(|pattern| pattern.is_in(key))
    }
}
