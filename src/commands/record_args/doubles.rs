//! Warns of numbers that readers of JSON which keep them as doubles would round.

/// The largest number up to which a double, the only number of many JSON readers, holds every integer.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

/// Whether the warning was given.
#[derive(Default)]
pub(crate) struct Doubles {
    warned: bool,
}

impl Doubles {
    /// Looks at a record that is printed as JSON.
    pub(crate) fn see(&mut self, offset: i64, timestamp: i64) {
        let largest = timestamp.unsigned_abs().max(offset.unsigned_abs());
        if largest > LARGEST_EXACT && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "offsets or timestamps beyond {LARGEST_EXACT} are printed exactly; readers that keep numbers as doubles, such as JavaScript and \
                 jq before 1.7, round them"
            );
        }
    }
}
