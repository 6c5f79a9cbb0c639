//! The order of lists in metadata: strictly ascending (SPEC section 11.5).

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
