//! A reader of one partition, or of a range of time, reads only the tables that can hold what it looks for; and damage does not keep runs from being merged.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use kbk_format::repo::{
    Digested, PartitionExpiry, PartitionId, RepoErrorKind, Repository, SegmentEntry, Snapshot,
    Store,
};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::support::reads::CountedReads;
use crate::world::{self, Cluster, cluster, entry, look, partition_id};

struct World {
    objects: Arc<dyn ObjectStore>,
    repository: Repository,
    cluster: Cluster,
    newest: Option<Digested<Snapshot>>,
}

impl World {
    async fn new(topics: &[(&'static str, u8, &[i64])]) -> World {
        let objects = world::memory();
        let store = world::store(&objects);
        let repository = Repository::create(store, world::identity()).await;
        World {
            objects,
            repository: repository.unwrap(),
            cluster: cluster(topics),
            newest: None,
        }
    }

    /// Commits a segment of one record of each partition of these topics; its timestamp is `time`.
    async fn commit(&mut self, topics: &[&'static str], time: i64) {
        for topic in topics {
            let (_, ends) = self.cluster.get_mut(*topic).unwrap();
            ends.iter_mut().for_each(|end| *end += 1);
        }
        let mut change = look(self.newest.take(), &self.cluster);
        for topic in &mut change.topics {
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            for partition in &mut topic.partitions {
                let id = PartitionId {
                    topic: name.clone(),
                    topic_id,
                    partition: partition.partition,
                };
                if topics.iter().any(|topic| **topic == *name) {
                    let end = partition.high_watermark;
                    let (segment, _) = entry(&id, end - 1, end);
                    partition.segments.push(SegmentEntry {
                        min_timestamp: Some(time),
                        max_timestamp: time,
                        min_known_timestamp: Some(time),
                        ..segment
                    });
                }
            }
        }
        self.newest = Some(self.repository.commit(&change).await.unwrap());
    }

    fn snapshot(&self) -> &Snapshot {
        self.newest.as_ref().unwrap()
    }

    /// Plans an expiry; also returns the number of tables that were read for it.
    async fn plan_expiry(&self, id: &PartitionId, older_than: i64) -> (PartitionExpiry, usize) {
        let counted = CountedReads::new(Arc::clone(&self.objects));
        let store = Store::new(Arc::new(counted.clone()), "test://repository");
        let repository = Repository::open(store).await.unwrap();
        let state = self.snapshot().partition(id).unwrap();
        let plan = repository.plan_expiry(self.snapshot(), id.clone(), state, older_than);
        let plan = plan.await.unwrap();
        let tables: BTreeSet<_> = counted.of("index/").into_iter().collect();
        (plan, tables.len())
    }

    /// Returns the offsets of the segments of a partition that have records of these times, and the number of tables that were read for it.
    async fn read(&self, id: &PartitionId, times: RangeInclusive<i64>) -> (Vec<i64>, usize) {
        let counted = CountedReads::new(Arc::clone(&self.objects));
        let store = Store::new(Arc::new(counted.clone()), "test://repository");
        let repository = Repository::open(store).await.unwrap();
        let state = self.snapshot().partition(id).unwrap();
        let found = repository.segments_of_times(self.snapshot(), id, state, &times);
        let found = found.await.unwrap();
        let tables: BTreeSet<_> = counted.of("index/").into_iter().collect();
        let offsets = found.iter().map(|entry| entry.base_offset);
        (offsets.collect(), tables.len())
    }
}

const ALWAYS: RangeInclusive<i64> = i64::MIN..=i64::MAX;

#[tokio::test]
async fn one_partition_is_read_from_the_runs_that_changed_it() {
    let mut world = World::new(&[("a", 1, &[0]), ("b", 2, &[0, 0]), ("c", 3, &[0])]).await;
    world.commit(&["a", "b", "c"], 1).await;
    for _ in 0..3 {
        world.commit(&["a", "c"], 1).await;
    }
    let runs = world.snapshot().runs.len();
    assert_eq!(runs, 4, "nothing was merged yet");
    let b = partition_id("b", 2, 1);
    assert_eq!(world.read(&b, ALWAYS).await, (vec![0], 1));
    let a = partition_id("a", 1, 0);
    assert_eq!(world.read(&a, ALWAYS).await, (vec![0, 1, 2, 3], 4));
    // However often it is merged.
    for _ in 0..60 {
        world.commit(&["a", "c"], 1).await;
        world.commit(&["b"], 1).await;
        let (found, tables) = world.read(&b, ALWAYS).await;
        let state = world.snapshot().partition(&b).unwrap();
        assert_eq!(found.len() as u64, state.segments);
        assert!(tables <= world.snapshot().runs.len());
    }
}

#[tokio::test]
async fn tables_of_other_times_are_not_read() {
    let mut world = World::new(&[("a", 1, &[0])]).await;
    for time in [100, 200, 150, 300] {
        world.commit(&["a"], time).await;
    }
    let a = partition_id("a", 1, 0);
    assert_eq!(world.read(&a, ALWAYS).await, (vec![0, 1, 2, 3], 4));
    assert_eq!(world.read(&a, 100..=150).await, (vec![0, 2], 2));
    assert_eq!(world.read(&a, 151..=299).await, (vec![1], 1));
    assert_eq!(world.read(&a, 301..=i64::MAX).await, (vec![], 0));
    assert_eq!(world.read(&a, 101..=149).await, (vec![], 0));

    // A missing table is no loss to those who need others, and is named to those who need it.
    let table = world.snapshot().runs[0].tables.as_ref().unwrap()[0].key();
    remove(&world.objects, &table.to_string()).await;
    assert_eq!(world.read(&a, 100..=299).await.0, [0, 1, 2]);
    let state = world.snapshot().partition(&a).unwrap();
    let fresh = world.repository.uncached();
    let read = fresh.segments_of_times(world.snapshot(), &a, state, &(200..=300));
    let error = read.await.unwrap_err();
    assert!(
        matches!(error.kind(), RepoErrorKind::Missing { .. }),
        "{error}"
    );
    assert_eq!(error.key(), Some(&*table.to_string()));
}

#[tokio::test]
async fn an_expiry_is_planned_from_the_tables_of_old_segments() {
    const DAY: i64 = 86_400_000;
    let days = |days: i64| days * DAY;
    let a = partition_id("a", 1, 0);
    let mut world = World::new(&[("a", 1, &[0])]).await;
    for day in [1, 20, 30, 90] {
        world.commit(&["a"], days(day)).await;
    }
    // The oldest that stay are found in the tables of the time that follows.
    let (plan, tables) = world.plan_expiry(&a, days(10)).await;
    let gone: Vec<i64> = plan.removed.iter().map(|it| it.base_offset).collect();
    assert_eq!((&gone[..], tables), (&[0][..], 3));
    assert_eq!(plan.after.min_timestamp, Some(days(20)));
    assert_eq!(plan.after.max_timestamp, Some(days(90)));
    let (plan, tables) = world.plan_expiry(&a, days(1)).await;
    assert_eq!((plan.is_empty(), tables), (true, 0));
    // All are needed where older ones follow younger ones.
    let mut world = World::new(&[("a", 1, &[0])]).await;
    for day in [20, 1, 30] {
        world.commit(&["a"], days(day)).await;
    }
    let (plan, tables) = world.plan_expiry(&a, days(10)).await;
    assert_eq!((plan.is_empty(), tables), (true, 3));
    assert_eq!(plan.next.map(|it| it.base_offset), Some(0));
}

#[tokio::test]
async fn runs_are_merged_although_an_old_one_is_damaged() {
    let mut world = World::new(&[("a", 1, &[0]), ("b", 2, &[0])]).await;
    for _ in 0..40 {
        world.commit(&["a"], 1).await;
    }
    let oldest = world.snapshot().runs.last().unwrap().clone();
    for table in oldest.tables.as_ref().unwrap() {
        remove(&world.objects, &table.key().to_string()).await;
    }
    // A process that has not read it.
    world.repository = world.repository.uncached();
    for _ in 0..200 {
        world.commit(&["b"], 1).await;
    }
    let runs = &world.snapshot().runs;
    assert!(runs.len() < 20, "{} runs", runs.len());
    let last = runs.last().unwrap();
    assert_eq!((last.from, last.to), (oldest.from, oldest.to));
    let b = partition_id("b", 2, 0);
    assert_eq!(world.read(&b, ALWAYS).await.0.len(), 200);
}

async fn remove(objects: &Arc<dyn ObjectStore>, key: &str) {
    let gone = stream::iter([Ok(Path::from(key))]).boxed();
    objects.delete_stream(gone).for_each(async |_| ()).await;
}
