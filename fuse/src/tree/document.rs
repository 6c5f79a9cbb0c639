//! JSON documents that are made when they are opened.

use serde::Serialize;

/// JSON for people to read, too: indented, with a line feed at the end.
pub(super) fn json(document: &impl Serialize) -> Vec<u8> {
    // Cannot fail: our own types, whose maps have string keys.
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
