//! Selects topics of a snapshot, where a name may have been that of several topics.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{Id, Snapshot, TopicName, TopicState};

use super::pattern::{SelectError, TopicSelection};
use super::topic_ref::{TopicRef, current};

/// The selected topics of a snapshot, and those of matching names that are not among them.
#[derive(Clone, Debug)]
pub struct SavedTopics<'a> {
    /// The selected topics, each with the reference that selects it.
    pub selected: Vec<(TopicRef, &'a TopicState)>,
    /// Deleted topics that are left out: they are selected only by name, and those whose name another topic has only by id.
    pub left_out: Vec<TopicRef>,
}

impl TopicSelection {
    /// Selects from a snapshot. A name, a glob or a regular expression selects the topic of a name that the cluster has, or had last;
    /// deleted ones only if there is a pattern. `NAME@ID` selects one topic, whatever became of it.
    pub fn select_saved<'a>(&self, snapshot: &'a Snapshot) -> Result<SavedTopics<'a>, SelectError> {
        let (by_id, by_name) = self.split_by_id();
        let mut chosen: BTreeMap<(&TopicName, Id), (TopicRef, &TopicState)> = BTreeMap::new();
        let names_too = by_id.is_empty() || by_name.has_patterns();
        if names_too {
            let with_deleted = by_name.has_patterns();
            let names = snapshot.topics.iter();
            let names = names.filter(|topic| with_deleted || !topic.deleted);
            let names = by_name.select(names.map(|topic| (&*topic.name, topic.internal)));
            for name in names? {
                if let Some(topic) = current(snapshot, &name) {
                    let named = (TopicRef::of(snapshot, topic), topic);
                    chosen.insert((&topic.name, topic.topic_id), named);
                }
            }
        }
        for wanted in by_id {
            let mut found = snapshot
                .topics
                .iter()
                .filter(|topic| wanted.matches(topic))
                .peekable();
            if found.peek().is_none() {
                return Err(no_such_id(&wanted, snapshot.topics.iter()));
            }
            for topic in found {
                let named = (TopicRef::with_id(topic), topic);
                chosen.insert((&topic.name, topic.topic_id), named);
            }
        }
        chosen.retain(|_, (_, topic)| !self.excludes_by_id(topic));
        if chosen.is_empty() {
            return Err(SelectError::AllExcluded);
        }
        let left_out = snapshot.topics.iter().filter(|topic| {
            let is_chosen = chosen.contains_key(&(&topic.name, topic.topic_id));
            let is_named = names_too && by_name.matches(&topic.name);
            topic.deleted && !is_chosen && is_named && !self.excludes_by_id(topic)
        });
        Ok(SavedTopics {
            left_out: left_out.map(TopicRef::with_id).collect(),
            selected: chosen.into_values().collect(),
        })
    }

    /// Returns whether [`select_every`](Self::select_every) would select this topic, whatever other topics exist.
    pub fn matches_saved(&self, topic: &TopicState) -> bool {
        let (by_id, by_name) = self.split_by_id();
        let is_named = (by_id.is_empty() || by_name.has_patterns()) && by_name.matches(&topic.name);
        let is_given = by_id.iter().any(|wanted| wanted.matches(topic));
        (is_named || is_given) && !self.excludes_by_id(topic)
    }

    /// Selects every topic of a selected name, whatever became of it, and those that are given as `NAME@ID`.
    pub fn select_every<'a>(
        &self,
        topics: impl Iterator<Item = &'a TopicState> + Clone,
    ) -> Result<BTreeSet<(TopicName, Id)>, SelectError> {
        let (by_id, by_name) = self.split_by_id();
        let names = match by_id.is_empty() || by_name.has_patterns() {
            true => by_name.select(topics.clone().map(|topic| (&*topic.name, topic.internal)))?,
            false => Vec::new(),
        };
        for wanted in &by_id {
            if !topics.clone().any(|topic| wanted.matches(topic)) {
                return Err(no_such_id(wanted, topics));
            }
        }
        let is_chosen = |topic: &&TopicState| {
            let named = names.iter().any(|name| **name == *topic.name);
            let given = by_id.iter().any(|wanted| wanted.matches(topic));
            (named || given) && !self.excludes_by_id(topic)
        };
        let chosen = topics.filter(is_chosen);
        Ok(chosen
            .map(|topic| (topic.name.clone(), topic.topic_id))
            .collect())
    }
}

fn no_such_id<'a>(wanted: &TopicRef, topics: impl Iterator<Item = &'a TopicState>) -> SelectError {
    let named = topics.filter(|topic| *topic.name == *wanted.name());
    let known: BTreeSet<_> = named
        .map(|topic| TopicRef::with_id(topic).to_string())
        .collect();
    SelectError::NoSuchId {
        wanted: wanted.to_string(),
        known: known.into_iter().collect(),
    }
}
