//! The order of lists in metadata, strictly ascending, and of answers of a cluster (SPEC section 11.5).

/// Checks that the keys of `list` are strictly ascending.
pub(super) fn check_order<'a, T, K: Ord + std::fmt::Debug>(
    what: &str,
    list: &'a [T],
    key: impl Fn(&'a T) -> K,
) -> Result<(), String> {
    for [before, after] in list.array_windows() {
        let (before, after) = (key(before), key(after));
        if before >= after {
            return Err(format!(
                "its {what} {before:?} and {after:?} are out of order"
            ));
        }
    }
    Ok(())
}

/// Checks that what the backup of snapshot `seen` read was read before that snapshot.
pub(super) fn check_read_after(what: &str, read_after: u64, seen: u64) -> Result<(), String> {
    if read_after < seen {
        return Ok(());
    }
    Err(format!(
        "its {what} were read after snapshot {read_after} for snapshot {seen}"
    ))
}
