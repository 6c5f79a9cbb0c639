//! Finds the names that are most like a mistyped one.

/// Names below this Jaro-Winkler similarity only share some letters.
const ALIKE: f64 = 0.8;

/// Returns up to three of `names` that resemble `word`, the most similar first.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let word = word.to_lowercase();
    let mut alike: Vec<_> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    alike.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let names = ["orders", "payments", "orders-eu", "audit"];
        assert_eq!(nearest("oders", names)[0], "orders");
        assert_eq!(nearest("Payment", names), ["payments"]);
        assert!(nearest("zzz", names).is_empty());
        assert!(nearest("", names).is_empty());
    }
}
