//! Conversions between partition numbers, which Kafka gives as `i32`, and positions in lists.
//!
//! A number below zero, or a list longer than `i32::MAX`, cannot reach this point: the repository refuses snapshots and restore
//! manifests whose partitions are not 0, 1, 2…, arguments are checked when they are parsed, and brokers number from 0. A fallback number
//! would send records to a wrong partition, so both conversions are assertions.

/// Returns the position of partition `number` in a list of all partitions.
///
/// # Panics
///
/// On a negative number, which no validated input contains.
pub(crate) fn index_of(number: i32) -> usize {
    match usize::try_from(number) {
        Ok(index) => index,
        Err(_) => panic!("partition {number} passed validation"),
    }
}

/// Returns the number of partitions in a list of `length`.
///
/// # Panics
///
/// On a list longer than Kafka can number.
pub(crate) fn count_of(length: usize) -> i32 {
    match i32::try_from(length) {
        Ok(count) => count,
        Err(_) => panic!("{length} partitions passed validation"),
    }
}
