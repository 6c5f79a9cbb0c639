//! The label of a topic: a cluster may have a hundred thousand topics, and Prometheus keeps a series for each label.

use std::collections::BTreeSet;

/// Topics with a label of their own.
pub const MOST_TOPICS: usize = 200;
/// The label of all others. No topic has this name: Kafka allows no parentheses.
pub const OTHER_TOPICS: &str = "(other)";

/// The topics that have a label of their own: the first that a process reports.
#[derive(Debug, Default)]
pub(super) struct TopicLabels(BTreeSet<String>);

impl TopicLabels {
    /// Returns the label of a topic.
    pub(super) fn label<'a>(&mut self, topic: &'a str) -> &'a str {
        if self.0.contains(topic) {
            return topic;
        }
        if self.0.len() >= MOST_TOPICS {
            return OTHER_TOPICS;
        }
        self.0.insert(topic.to_owned());
        topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_labels_is_bounded() {
        let mut labels = TopicLabels::default();
        let topics: Vec<_> = (0..MOST_TOPICS + 5).map(|n| format!("topic-{n}")).collect();
        for _ in 0..2 {
            let given: Vec<_> = topics.iter().map(|topic| labels.label(topic)).collect();
            assert_eq!(given[..MOST_TOPICS], topics[..MOST_TOPICS]);
            assert_eq!(given[MOST_TOPICS..], [OTHER_TOPICS; 5]);
        }
    }
}
