//! What snapshots state about records that are missing (SPEC section 11.5): it is kept until a later backup has read them.

use kbk_format::repo::{
    Change, Digested, Hex, Incomplete, IncompleteReason, PartitionState, Repository, Snapshot,
    UnseenTopic,
};

use crate::world;

fn because(reason: IncompleteReason) -> Incomplete {
    Incomplete {
        reason,
        detail: "why".to_owned(),
    }
}

/// A repository, and what each commit to it leaves of partition a/0.
struct Committed {
    repository: Repository,
    newest: Option<Digested<Snapshot>>,
}

impl Committed {
    async fn new() -> Committed {
        let store = world::store(&world::memory());
        let repository = Repository::create(store, world::identity()).await.unwrap();
        Committed {
            repository,
            newest: None,
        }
    }

    /// Commits a look at a/0, which ends at `end`, with changes.
    async fn commit(&mut self, end: i64, change: impl FnOnce(&mut Change)) -> PartitionState {
        let cluster = world::cluster(&[("a", 1, &[end])]);
        let mut look = world::look(self.newest.take(), &cluster);
        change(&mut look);
        let snapshot = self.repository.commit(&look).await.unwrap();
        let read = self.repository.snapshot(snapshot.sequence).await.unwrap();
        assert_eq!(read, snapshot, "what is read is what was written");
        let state = snapshot.topics[0].partitions[0].clone();
        self.newest = Some(snapshot);
        state
    }

    fn is_complete(&self) -> bool {
        self.newest.as_ref().unwrap().is_complete()
    }
}

#[tokio::test]
async fn a_snapshot_is_partial_until_a_backup_has_read_the_rest() {
    let mut committed = Committed::new().await;
    let stopped = because(IncompleteReason::Interrupted);
    let state = committed
        .commit(7, |look| {
            look.topics[0].partitions[0].incomplete = Some(stopped.clone());
        })
        .await;
    assert_eq!(state.incomplete, Some(stopped.clone()));
    assert_eq!(state.missing_offsets(), Some(7));
    assert!(!committed.is_complete());

    // A backup of other topics changes nothing.
    let state = committed.commit(7, |look| look.topics.clear()).await;
    assert_eq!(state.incomplete, Some(stopped));
    let state = committed.commit(0, |_| {}).await;
    assert_eq!(
        (state.incomplete.as_ref(), state.missing_offsets()),
        (None, None)
    );
    assert!(committed.is_complete());
}

#[tokio::test]
async fn a_topic_that_the_cluster_hides_is_incomplete_and_not_deleted() {
    let mut committed = Committed::new().await;
    committed.commit(0, |_| {}).await;
    let hidden = |look: &mut Change| {
        look.topics.clear();
        look.unseen.push(UnseenTopic {
            name: world::name("a"),
            topic_id: Hex([1; 16]),
            incomplete: because(IncompleteReason::Unreadable),
        });
    };
    let state = committed.commit(0, hidden).await;
    assert_eq!(
        state.incomplete,
        Some(because(IncompleteReason::Unreadable))
    );
    assert_eq!(state.missing_offsets(), None, "it may have grown");
    let topic = &committed.newest.as_ref().unwrap().topics[0];
    assert_eq!((topic.deleted, topic.last_seen), (false, 1));
    assert!(!committed.is_complete());

    // What is missing of a topic that is gone is missing for good, and no reason to back up again.
    let gone = |look: &mut Change| {
        look.topics.clear();
        look.gone.push((world::name("a"), Hex([1; 16])));
    };
    let state = committed.commit(0, gone).await;
    assert!(state.incomplete.is_some() && committed.is_complete());
}

#[tokio::test]
async fn a_run_that_saw_the_topic_since_knows_better() {
    let mut committed = Committed::new().await;
    committed.commit(0, |_| {}).await;
    let base = committed.newest.clone();
    committed.commit(0, |_| {}).await;
    let state = committed
        .commit(0, |look| {
            look.base = base;
            look.read_after = 1;
            look.topics.clear();
            look.unseen.push(UnseenTopic {
                name: world::name("a"),
                topic_id: Hex([1; 16]),
                incomplete: because(IncompleteReason::Unreadable),
            });
        })
        .await;
    assert_eq!(state.incomplete, None);
}

fn without_leader(look: &mut Change) {
    let partition = &mut look.topics[0].partitions[0];
    partition.log_start_offset = -1;
    partition.high_watermark = -1;
    partition.last_stable_offset = -1;
    partition.incomplete = Some(because(IncompleteReason::NoLeader));
}

#[tokio::test]
async fn offsets_that_a_source_did_not_state_are_kept() {
    let mut committed = Committed::new().await;
    committed.commit(9, |_| {}).await;
    let state = committed.commit(9, without_leader).await;
    assert_eq!((state.log_start_offset, state.high_watermark), (0, 9));
    assert_eq!(state.incomplete, Some(because(IncompleteReason::NoLeader)));
}

/// Otherwise the offsets before the log start, which were never there to be read, would count as lost.
#[tokio::test]
async fn the_coverage_of_a_partition_begins_where_its_source_first_stated() {
    let mut committed = Committed::new().await;
    let offsets = |state: &PartitionState| {
        let PartitionState {
            log_start_offset,
            high_watermark,
            base_offset,
            end_offset,
            ..
        } = state;
        [
            *log_start_offset,
            *high_watermark,
            *base_offset,
            *end_offset,
        ]
    };
    for _ in 0..2 {
        let state = committed.commit(9, without_leader).await;
        assert_eq!(offsets(&state), [-1, -1, 0, 0]);
        assert_eq!(state.missing_offsets(), None);
    }
    let state = committed
        .commit(9, |look| look.topics[0].partitions[0].log_start_offset = 5)
        .await;
    assert_eq!(offsets(&state), [5, 9, 5, 5]);
    assert_eq!(state.incomplete, None);
}

#[tokio::test]
async fn a_configuration_that_the_cluster_did_not_report_is_kept() {
    let mut committed = Committed::new().await;
    committed.commit(0, |_| {}).await;
    committed
        .commit(0, |look| look.topics[0].config = None)
        .await;
    let config = committed.newest.as_ref().unwrap().topics[0].config.clone();
    assert_eq!(config.unwrap()["retention.ms"], "1000");
    // Another topic of this name has its own.
    committed
        .commit(0, |look| {
            look.topics[0].config = None;
            look.topics[0].topic_id = Hex([2; 16]);
        })
        .await;
    assert_eq!(committed.newest.unwrap().topics[1].config, None);
}
