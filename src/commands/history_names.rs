//! Names of topics in a table: with an id where several histories of one name are in it.

use std::collections::{BTreeMap, BTreeSet};

/// The histories that a table has.
#[derive(Debug, Default)]
pub(super) struct HistoryNames(BTreeMap<String, BTreeSet<String>>);

impl HistoryNames {
    /// Of topics and their ids, as rows have them.
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = (&'a String, &'a String)>) -> HistoryNames {
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (topic, id) in rows {
            names.entry(topic.clone()).or_default().insert(id.clone());
        }
        HistoryNames(names)
    }

    /// Returns the name of a history: that of the topic if no other history in the table has it, otherwise `NAME@ID`, as --topic takes it.
    pub(super) fn name(&self, topic: &str, id: &str) -> String {
        let several = self.0.get(topic).is_some_and(|ids| ids.len() > 1);
        super::history_name(topic, id, several)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_histories_that_look_alike_have_their_ids() {
        let rows = [
            ("orders", "a1"),
            ("orders", "b2"),
            ("orders", "a1"),
            ("payments", "a1"),
        ];
        let rows = rows.map(|(topic, id)| (topic.to_owned(), id.to_owned()));
        let names = HistoryNames::of(rows.iter().map(|(topic, id)| (topic, id)));
        assert_eq!(names.name("orders", "a1"), "orders@a1");
        assert_eq!(names.name("orders", "b2"), "orders@b2");
        assert_eq!(names.name("payments", "a1"), "payments");
        assert_eq!(names.name("unknown", "c3"), "unknown");
    }
}
