//! Sightings: which topics the same backups found, so that finding them again changes no row (SPEC section 11.5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::manifest::Sighting;
use super::states::TopicState;
use crate::layout::limits;

/// Assigns the topics of a new snapshot to sightings. Those whose `last_seen` is `sequence` were found by its backup.
///
/// A sighting of which the backup found all topics is kept. Where it found some, the smaller part leaves the sighting: the topics that were
/// not found state `last_seen` themselves; those that were found join another sighting.
pub(super) fn sight(
    before: &[Sighting],
    topics: &mut [TopicState],
    sequence: u64,
    started_at: Timestamp,
) -> Vec<Sighting> {
    let is_found = |topic: &TopicState| topic.last_seen == sequence;
    let mut sizes: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for topic in topics.iter() {
        if let Some(id) = topic.sighting {
            let (found, missed) = sizes.entry(id).or_default();
            match is_found(topic) {
                true => *found += 1,
                false => *missed += 1,
            }
        }
    }
    // Those that the found topics stay in.
    let kept = sizes
        .iter()
        .filter(|(_, (found, missed))| found >= missed && *found > 0);
    let kept: BTreeSet<u64> = kept.map(|(id, _)| *id).collect();
    let room = sizes.len() < limits::SIGHTINGS;
    let next = sizes
        .last_key_value()
        .map_or(1, |(last, _)| last.saturating_add(1));
    let joined = kept.first().copied().or(room.then_some(next));
    for topic in topics.iter_mut() {
        let stays = topic.sighting.is_some_and(|id| kept.contains(&id));
        match (is_found(topic), stays) {
            (true, false) => topic.sighting = joined,
            // Of a sighting whose last_seen moves on without it.
            (false, true) => topic.sighting = None,
            (true, true) | (false, false) => {}
        }
    }
    let used: BTreeSet<u64> = topics.iter().filter_map(|topic| topic.sighting).collect();
    let state = |id: u64| {
        let old = before.iter().find(|sighting| sighting.id == id);
        match old.filter(|_| !kept.contains(&id)) {
            Some(old) => old.clone(),
            None => Sighting {
                id,
                last_seen: sequence,
                started_at,
            },
        }
    };
    used.into_iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::topic_state::topic_state;

    struct World {
        topics: Vec<TopicState>,
        sightings: Vec<Sighting>,
        sequence: u64,
    }

    impl World {
        fn new(names: &[&str]) -> World {
            World {
                topics: names
                    .iter()
                    .map(|name| topic_state(name, Vec::new()))
                    .collect(),
                sightings: Vec::new(),
                sequence: 0,
            }
        }

        /// Lets a backup find these topics, and returns how many rows of topics change.
        fn find(&mut self, names: &[&str]) -> usize {
            self.sequence += 1;
            for topic in &mut self.topics {
                if names.contains(&&*topic.name) {
                    topic.last_seen = self.sequence;
                }
            }
            let rows = |topics: &[TopicState]| -> Vec<_> {
                let own = |it: &TopicState| it.sighting.is_none().then_some(it.last_seen);
                topics
                    .iter()
                    .map(|topic| (topic.sighting, own(topic)))
                    .collect()
            };
            let before = rows(&self.topics);
            let time = Timestamp::from_second(self.sequence as i64).unwrap();
            self.sightings = sight(&self.sightings, &mut self.topics, self.sequence, time);
            self.check();
            let after = rows(&self.topics);
            before.iter().zip(&after).filter(|(a, b)| a != b).count()
        }

        /// Every topic's sighting states its `last_seen`.
        fn check(&self) {
            for topic in &self.topics {
                if let Some(id) = topic.sighting {
                    let found = self.sightings.iter().find(|sighting| sighting.id == id);
                    assert_eq!(found.unwrap().last_seen, topic.last_seen, "{topic:?}");
                    let second = found.unwrap().started_at.as_second();
                    assert_eq!(second, topic.last_seen as i64);
                }
            }
            assert!(self.sightings.is_sorted_by(|a, b| a.id < b.id));
        }
    }

    #[test]
    fn finding_the_same_topics_again_changes_no_row() {
        let mut world = World::new(&["a", "b", "c", "d"]);
        assert_eq!(world.find(&["a", "b", "c", "d"]), 4);
        assert_eq!(world.find(&["a", "b", "c", "d"]), 0);
        // Jobs of other selections: their topics move once.
        assert_eq!(world.find(&["a"]), 1);
        assert_eq!(world.find(&["a"]), 0);
        assert_eq!(world.find(&["a", "b", "c", "d"]), 0);
        assert_eq!(world.find(&["a"]), 0);
        assert_eq!(world.sightings.len(), 2);
        // One that is missing leaves, and comes back.
        assert_eq!(world.find(&["a", "b", "c"]), 1);
        assert_eq!(world.find(&["a", "b", "c"]), 0);
        assert_eq!(world.find(&["a", "b", "c", "d"]), 1);
        assert_eq!(world.find(&["a", "b", "c", "d"]), 0);
    }

    #[test]
    fn many_selections_need_no_more_sightings_than_the_limit() {
        let names: Vec<String> = (0..600).map(|at| format!("t{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut world = World::new(&names);
        for name in &names {
            world.find(&[name]);
        }
        assert!(world.sightings.len() <= limits::SIGHTINGS);
        world.find(&names);
        assert_eq!(world.find(&names), 0);
    }
}
