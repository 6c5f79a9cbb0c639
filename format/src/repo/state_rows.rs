//! Between rows and states: what all state rows of a snapshot state, and which rows a change of states takes (SPEC section 11.4).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::id::Id;
use super::index::{PartitionRow, Row, RowKey, TopicLine};
use super::keys::{PartitionId, TopicName};
use super::manifest::Sighting;
use super::states::{PartitionState, TopicState};

/// Collects the state rows of a snapshot, which come in the order of their keys.
#[derive(Debug)]
pub(super) struct StateReader {
    sequence: u64,
    last_seen: HashMap<u64, u64>,
    topics: Vec<TopicState>,
    /// Of the last topic: how many partitions it states.
    partitions: u32,
}

impl StateReader {
    pub(super) fn new(sequence: u64, sightings: &[Sighting]) -> StateReader {
        let last_seen = sightings.iter().map(|it| (it.id, it.last_seen));
        StateReader {
            sequence,
            last_seen: last_seen.collect(),
            topics: Vec::new(),
            partitions: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// The rule of SPEC section 11.8 that the rows so far violate.
    pub(super) fn push(&mut self, row: Row) -> Result<(), String> {
        let key = row.key();
        let named = |detail: String| format!("{key}: {detail}");
        match row {
            Row::Topic(row) => {
                self.check_last()?;
                self.partitions = row.partitions;
                let topic = self.topic(row).map_err(named)?;
                self.topics.push(topic);
                Ok(())
            }
            Row::Partition(row) => self.partition(row).map_err(named),
            Row::Lost(id, lost) => {
                let state = self
                    .last_topic(&id)
                    .and_then(|topic| topic.partitions.last_mut());
                match state.filter(|state| state.partition == id.partition) {
                    Some(state) => {
                        state.lost.push(lost);
                        Ok(())
                    }
                    None => Err(named("its partition has no row".to_owned())),
                }
            }
            Row::Segment(..) | Row::Removed(_) => Err(named("it is not a state".to_owned())),
        }
    }

    /// Returns the topics in the order of snapshots.
    ///
    /// # Errors
    ///
    /// The rule that the rows together violate.
    pub(super) fn finish(mut self) -> Result<Vec<TopicState>, String> {
        self.check_last()?;
        self.topics.sort_by(|a, b| a.order().cmp(&b.order()));
        check_topics(&self.topics)?;
        Ok(self.topics)
    }

    fn topic(&self, row: TopicLine) -> Result<TopicState, String> {
        let last_seen = match (row.last_seen, row.sighting) {
            (Some(last_seen), _) => last_seen,
            (None, sighting) => {
                let found = sighting.and_then(|id| self.last_seen.get(&id));
                *found.ok_or_else(|| format!("the snapshot has no sighting {sighting:?}"))?
            }
        };
        let (first, last) = (row.first_seen, last_seen);
        if first == 0 || first > last || last > self.sequence {
            return Err(format!("it was seen from snapshot {first} to {last}"));
        }
        Ok(TopicState {
            name: row.topic,
            topic_id: row.topic_id,
            kafka_id: row.kafka_id,
            first_seen: row.first_seen,
            last_seen,
            sighting: row.sighting,
            deleted: row.deleted,
            internal: row.internal,
            replication_factor: row.replication_factor,
            config: row.config,
            partitions: Vec::new(),
        })
    }

    fn partition(&mut self, PartitionRow { id, state }: PartitionRow) -> Result<(), String> {
        let sequence = self.sequence;
        let changed = state.changes.newest();
        if changed > sequence {
            return Err(format!("it was changed by snapshot {changed}"));
        }
        let damaged = state.damaged_in.newest();
        if damaged >= sequence {
            return Err(format!("it is damaged in snapshot {damaged}"));
        }
        let topic = self.last_topic(&id);
        let topic = topic.ok_or_else(|| "its topic has no row".to_owned())?;
        let expected = topic.partitions.len();
        if id.partition.index() != expected {
            return Err(format!("it is in place of partition {expected}"));
        }
        topic.partitions.push(state);
        Ok(())
    }

    fn last_topic(&mut self, id: &PartitionId) -> Option<&mut TopicState> {
        let last = self.topics.last_mut();
        last.filter(|topic| (&topic.name, topic.topic_id) == (&id.topic, id.topic_id))
    }

    /// Checks that all partitions of the last topic have rows, and that their lost ranges are in order.
    fn check_last(&self) -> Result<(), String> {
        let Some(topic) = self.topics.last() else {
            return Ok(());
        };
        let (name, found, stated) = (&topic.name, topic.partitions.len(), self.partitions);
        if u32::try_from(found) != Ok(stated) {
            return Err(format!(
                "{name} has rows of {found} of its {stated} partitions"
            ));
        }
        for state in &topic.partitions {
            let partition = state.partition;
            let lost = state.check_lost();
            lost.map_err(|detail| format!("{name}/{partition}: {detail}"))?;
        }
        Ok(())
    }
}

/// Checks the states of all topics, which are in the order of snapshots.
pub(super) fn check_states(topics: &[TopicState]) -> Result<(), String> {
    for topic in topics {
        for state in &topic.partitions {
            let (name, partition) = (&topic.name, state.partition);
            let checked = state.check().and_then(|()| state.check_lost());
            checked.map_err(|detail| format!("{name}/{partition}: {detail}"))?;
        }
    }
    check_topics(topics)
}

/// Checks what the histories of one name must satisfy together.
fn check_topics(topics: &[TopicState]) -> Result<(), String> {
    if let Some([before, _]) = topics.array_windows().find(|[a, b]| a.order() == b.order()) {
        let (name, first) = before.order();
        return Err(format!(
            "two topics {name} were first seen in snapshot {first}"
        ));
    }
    let mut live = HashSet::new();
    let twice = topics
        .iter()
        .find(|topic| !topic.deleted && !live.insert(&topic.name));
    match twice {
        Some(topic) => Err(format!("two topics {} are not deleted", topic.name)),
        None => Ok(()),
    }
}

/// Returns the rows that make the states `before` the states `after`, in the order of their keys.
pub(super) fn changed_rows(before: &[TopicState], after: &[TopicState]) -> Vec<Row> {
    let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
    let old: HashMap<(&TopicName, Id), &TopicState> = by_id(before);
    for topic in after {
        let old = old.get(&(&topic.name, topic.topic_id)).copied();
        for row in changed_topic(old, topic) {
            rows.insert(row.key(), row);
        }
    }
    let new = by_id(after);
    let gone = before
        .iter()
        .filter(|topic| !new.contains_key(&(&topic.name, topic.topic_id)));
    for topic in gone {
        for row in topic_rows(topic) {
            rows.insert(row.key(), Row::Removed(row.key()));
        }
    }
    rows.into_values().collect()
}

fn by_id(topics: &[TopicState]) -> HashMap<(&TopicName, Id), &TopicState> {
    let ids = topics.iter();
    ids.map(|topic| ((&topic.name, topic.topic_id), topic))
        .collect()
}

fn changed_topic(before: Option<&TopicState>, after: &TopicState) -> Vec<Row> {
    let old_row = before.map(topic_row);
    let row = topic_row(after);
    let mut rows = Vec::new();
    if old_row.as_ref() != Some(&row) {
        rows.push(Row::Topic(row));
    }
    for state in &after.partitions {
        let old = before.and_then(|topic| topic.partitions.get(state.partition.index()));
        if old == Some(state) {
            continue;
        }
        let id = after.partition_id(state.partition);
        let old_rows = old.map(|old| partition_rows(&id, old)).unwrap_or_default();
        let new_rows = partition_rows(&id, state);
        let keys: HashSet<RowKey> = new_rows.iter().map(Row::key).collect();
        let gone = old_rows
            .iter()
            .map(Row::key)
            .filter(|key| !keys.contains(key));
        rows.extend(gone.map(Row::Removed));
        rows.extend(new_rows.into_iter().filter(|row| !old_rows.contains(row)));
    }
    rows
}

/// Returns all rows of a topic's states.
fn topic_rows(topic: &TopicState) -> Vec<Row> {
    let partitions = topic.partitions.iter();
    let partitions =
        partitions.flat_map(|state| partition_rows(&topic.partition_id(state.partition), state));
    std::iter::once(Row::Topic(topic_row(topic)))
        .chain(partitions)
        .collect()
}

fn topic_row(topic: &TopicState) -> TopicLine {
    TopicLine {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        kafka_id: topic.kafka_id,
        first_seen: topic.first_seen,
        last_seen: topic.sighting.is_none().then_some(topic.last_seen),
        sighting: topic.sighting,
        deleted: topic.deleted,
        internal: topic.internal,
        replication_factor: topic.replication_factor,
        config: topic.config.clone(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    }
}

fn partition_rows(id: &PartitionId, state: &PartitionState) -> Vec<Row> {
    let row = PartitionRow {
        id: id.clone(),
        state: PartitionState {
            lost: Vec::new(),
            found_damaged: None,
            ..state.clone()
        },
    };
    let lost = state.lost.iter().map(|lost| Row::Lost(id.clone(), *lost));
    std::iter::once(Row::Partition(row)).chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::id::Hex;
    use crate::repo::incomplete::{Incomplete, IncompleteReason};
    use crate::repo::states::LostRange;
    use crate::repo::testing::topic_state::topic_state;

    fn topic(name: &str, id: u8, first_seen: u64, partitions: u16) -> TopicState {
        TopicState {
            topic_id: Hex([id; 16]),
            first_seen,
            last_seen: 5,
            ..topic_state(name, (0..partitions).map(partition).collect())
        }
    }

    fn partition(number: u16) -> PartitionState {
        PartitionState::empty(number.into(), 3)
    }

    fn read(rows: &[Row]) -> Result<Vec<TopicState>, String> {
        let sighting = Sighting {
            id: 1,
            last_seen: 5,
            started_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut states = StateReader::new(5, &[sighting]);
        for row in rows {
            states.push(row.clone())?;
        }
        states.finish()
    }

    fn rows(topics: &[TopicState]) -> Vec<Row> {
        changed_rows(&[], topics)
    }

    #[test]
    fn states_come_back_from_their_rows() {
        let mut a = topic("a", 2, 1, 3);
        a.deleted = true;
        a.sighting = Some(1);
        let mut newer = topic("a", 1, 4, 2);
        newer.partitions[1].end_offset = 9;
        newer.partitions[1].segments = 1;
        newer.partitions[1].damaged_in.record(2, 4);
        newer.partitions[1].lost = vec![LostRange::deleted(3, 4), LostRange::deleted(5, 9)];
        let topics = vec![a, newer, topic("b", 1, 1, 0)];
        assert_eq!(read(&rows(&topics)), Ok(topics.clone()));
        assert_eq!(changed_rows(&topics, &topics), []);
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn only_what_changes_takes_a_row() {
        let mut before = topic("a", 1, 1, 3);
        before.partitions[0].end_offset = 9;
        before.partitions[0].lost = vec![LostRange::deleted(3, 4)];
        let mut after = before.clone();
        after.partitions[0].lost.push(LostRange::deleted(5, 6));
        after.partitions[2].incomplete = Some(Incomplete {
            reason: IncompleteReason::NoLeader,
            detail: String::new(),
        });
        let changed = changed_rows(std::slice::from_ref(&before), std::slice::from_ref(&after));
        let keys: Vec<RowKey> = changed.iter().map(Row::key).collect();
        let id = |number: u16| after.partition_id(number.into());
        assert_eq!(keys, [RowKey::lost(id(0), 5), RowKey::partition(id(2))]);

        let back = changed_rows(std::slice::from_ref(&after), std::slice::from_ref(&before));
        assert!(back.contains(&Row::Removed(RowKey::lost(id(0), 5))));
        let gone = changed_rows(std::slice::from_ref(&before), &[]);
        assert_eq!(gone.len(), 5);
        assert!(gone.iter().all(|row| matches!(row, Row::Removed(_))));
    }

    #[test]
    fn rows_that_contradict_each_other_are_refused() {
        let whole = rows(&[topic("a", 1, 1, 2), topic("b", 1, 1, 1)]);
        assert!(read(&whole).is_ok());
        for missing in 0..whole.len() {
            let mut rows = whole.clone();
            rows.remove(missing);
            assert!(read(&rows).is_err(), "without row {missing}");
        }
        let lost = Row::Lost(
            topic("a", 1, 1, 1).partition_id(0.into()),
            LostRange::deleted(3, 4),
        );
        assert!(read(std::slice::from_ref(&lost)).is_err());
        let wrongs: [fn(&mut TopicState); 7] = [
            |topic| topic.first_seen = 6,
            |topic| topic.last_seen = 6,
            |topic| topic.sighting = Some(2),
            |topic| topic.partitions[0].changes.record(6),
            |topic| topic.partitions[0].damaged_in.record(5, 5),
            |topic| topic.partitions[0].lost = vec![LostRange::deleted(3, 4)],
            |topic| {
                topic.partitions.remove(0);
            },
        ];
        for (at, wrong) in wrongs.iter().enumerate() {
            let mut topic = topic("a", 1, 1, 2);
            wrong(&mut topic);
            assert!(read(&rows(&[topic])).is_err(), "rule {at}");
        }
        assert!(
            read(&rows(&[topic("a", 1, 1, 0), topic("a", 2, 2, 0)])).is_err(),
            "two live topics"
        );
        let mut older = topic("a", 2, 1, 0);
        older.deleted = true;
        assert!(
            read(&rows(&[topic("a", 1, 1, 0), older])).is_err(),
            "one first_seen"
        );
    }
}
