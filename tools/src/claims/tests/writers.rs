//! Writers of overlapping and of disjoint partitions: they stall in every call, lose their claims and crash, in the order that a seed gives.
//!
//! | what must hold | |
//! |---|---|
//! | no snapshot has a hole or an offset twice | whatever becomes of claims |
//! | what a writer reports as committed is in the newest snapshot, and of what it lost nothing is | also where claims are removed |
//! | writers of disjoint partitions all finish, and at their first attempt | unless they crash, or the store fails |
//! | of those that overlap all finish, one after the other | unless they crash |
//! | where claims are removed again and again, one finishes at least | |

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kbk_format::TimestampType;
use kbk_format::repo::{
    Change, ClaimedTopic, Digested, Hex, Id, Identity, Key, PartitionId, RepoError, Repository,
    SegmentEntry, SegmentHash, Snapshot, Store, WriteBase,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::task::LocalSet;

use super::super::claim::{ClaimError, ClaimRequest, Protocol, claim_within};
use super::super::{ClaimEvent, ClaimLost, HeldClaim};
use super::stalling::{Random, SimClock, StallingStore};
use crate::claims::clock::Clock;
use crate::testing;
use crate::testing::change::{partition_change, topic_change};

const TOPIC_ID: Id = Hex([7; 16]);
const ATTEMPTS: usize = 60;

fn seeds() -> u64 {
    match std::env::var_os("KBK_SOAK") {
        Some(_) => 20_000,
        None => 300,
    }
}

/// What a run of the simulation is like.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    /// Each writer has a topic of its own.
    disjoint: bool,
    /// Somebody removes all claims from time to time.
    wipes: bool,
}

/// What happened.
#[derive(Debug, Default)]
struct Events {
    /// Segments whose commit was reported.
    committed: Vec<String>,
    /// Segments of attempts that lost their claim.
    lost: Vec<String>,
    finished: Vec<usize>,
    crashed: Vec<usize>,
    refused: usize,
    failed: usize,
    losses: usize,
    /// Losses that were noticed before the work was done.
    early: usize,
    attempts: usize,
}

struct World {
    case: Case,
    clock: SimClock,
    random: Arc<Random>,
    objects: Arc<dyn ObjectStore>,
    events: Arc<Mutex<Events>>,
}

/// How an attempt ended.
enum Ended {
    Committed,
    Crashed,
    Refused,
    Lost,
    Failed,
}

impl World {
    fn new(case: Case) -> World {
        World {
            case,
            clock: SimClock::default(),
            random: Arc::new(Random::new(case.seed)),
            objects: Arc::new(InMemory::new()),
            events: Arc::default(),
        }
    }

    fn store(&self) -> Store {
        let (clock, random) = (self.clock.clone(), Arc::clone(&self.random));
        let store = StallingStore::new(Arc::clone(&self.objects), clock, random);
        Store::new(Arc::new(store), "sim://repository")
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            clock: Arc::new(self.clock.clone()),
            // As on machines of their own.
            this_process: || None,
            ..Protocol::default()
        }
    }

    /// Runs all writers to their ends.
    async fn play(self: &Arc<World>) {
        let writers = 2 + self.random.below(4) as usize;
        let open = Arc::new(AtomicUsize::new(writers));
        for writer in 0..writers {
            let topics = self.topics_of(writer);
            let (world, open) = (Arc::clone(self), Arc::clone(&open));
            tokio::task::spawn_local(async move {
                world.write(writer, &topics).await;
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
        if self.case.wipes {
            let world = Arc::clone(self);
            tokio::task::spawn_local(async move { world.wipe().await });
        }
        self.clock
            .run_until(|| open.load(Ordering::Relaxed) == 0)
            .await;
    }

    fn topics_of(&self, writer: usize) -> Vec<String> {
        if self.case.disjoint {
            return vec![format!("t{writer}")];
        }
        let mut topics: Vec<String> = (0..3)
            .filter(|_| self.random.once_in(2))
            .map(|topic| format!("t{topic}"))
            .collect();
        if topics.is_empty() {
            topics.push("t0".to_owned());
        }
        topics
    }

    async fn write(&self, writer: usize, topics: &[String]) {
        for _ in 0..ATTEMPTS {
            let ended = self.attempt(topics).await;
            if self.count(writer, &ended) {
                return;
            }
            self.clock.sleep(self.random.seconds(5, 90)).await;
        }
    }

    /// Counts an attempt; returns whether it was the last one of its writer.
    fn count(&self, writer: usize, ended: &Ended) -> bool {
        let mut events = self.events.lock().unwrap();
        events.attempts += 1;
        match ended {
            Ended::Committed => events.finished.push(writer),
            Ended::Crashed => events.crashed.push(writer),
            Ended::Refused => events.refused += 1,
            Ended::Lost => events.losses += 1,
            Ended::Failed => events.failed += 1,
        }
        matches!(ended, Ended::Committed | Ended::Crashed)
    }

    /// A backup: claims, reads the newest snapshot, works, commits.
    async fn attempt(&self, topics: &[String]) -> Ended {
        let Ok(repository) = Repository::open(self.store()).await else {
            return Ended::Failed;
        };
        let claimed = |topic: &String| ClaimedTopic {
            topic: topic.parse().unwrap(),
            partitions: None,
        };
        let request = ClaimRequest {
            command: "backup".to_owned(),
            writer: "simulation".to_owned(),
            topics: Some(topics.iter().map(claimed).collect()),
            can_select: true,
        };
        let events = Arc::new(|_: &ClaimEvent| {});
        let held = claim_within(self.protocol(), &repository, request, pending(), events).await;
        let held = match held {
            Ok(held) => held.expect("nobody asks it to stop"),
            Err(ClaimError::Taken { .. }) => return Ended::Refused,
            Err(ClaimError::Vanishes(_) | ClaimError::Repo(_)) => return Ended::Failed,
        };
        let ended = self.work(&repository, &held, topics).await;
        if !matches!(ended, Ended::Crashed) {
            held.release().await;
        }
        ended
    }

    async fn work(&self, repository: &Repository, held: &HeldClaim, topics: &[String]) -> Ended {
        let change = match self.read(repository, held, topics).await {
            Ok(Ok(change)) => change,
            Ok(Err(_)) => return Ended::Failed,
            Err(_) => {
                self.events.lock().unwrap().early += 1;
                return Ended::Lost;
            }
        };
        let segments = change.topics.iter().flat_map(|topic| &topic.partitions);
        let segments = segments.flat_map(|partition| &partition.segments);
        let segments: Vec<String> = segments.map(|segment| segment.key.clone()).collect();
        if self.random.once_in(12) {
            return Ended::Crashed;
        }
        let committed: Result<_, ClaimLost> = match held.check().await {
            Err(lost) => Err(lost),
            Ok(()) => match repository.commit(&change).await {
                Ok(snapshot) => Ok(snapshot),
                Err(error) => match held.explain(error).await {
                    Ok(lost) => Err(lost),
                    Err(_) => return Ended::Failed,
                },
            },
        };
        let mut events = self.events.lock().unwrap();
        match committed {
            Ok(_) => {
                events.committed.extend(segments);
                Ended::Committed
            }
            Err(_) => {
                events.lost.extend(segments);
                Ended::Lost
            }
        }
    }

    /// Reads for a while what the logs have beyond the newest snapshot.
    async fn read(
        &self,
        repository: &Repository,
        held: &HeldClaim,
        topics: &[String],
    ) -> Result<Result<Change, RepoError>, ClaimLost> {
        let work = async {
            let base = repository.latest().await?;
            let ids: Vec<PartitionId> = topics.iter().map(|topic| id(topic)).collect();
            held.will_commit(WriteBase::new(base.as_deref(), 0, ids.clone()))
                .await;
            self.clock.sleep(self.random.seconds(1, 100)).await;
            let ids = ids
                .into_iter()
                .map(|id| (id, 1 + self.random.below(20) as i64));
            Ok(change(base, ids))
        };
        held.unless_lost(work).await
    }

    /// Removes all claims from time to time.
    async fn wipe(&self) {
        let repository = Repository::open(self.plain()).await.unwrap();
        loop {
            self.clock.sleep(self.random.seconds(20, 400)).await;
            for found in repository.claims().await.unwrap() {
                repository.remove_claim(found.claim).await.unwrap();
            }
        }
    }

    /// The store without delays.
    fn plain(&self) -> Store {
        Store::new(Arc::clone(&self.objects), "sim://repository")
    }

    /// Checks what must hold.
    async fn verdict(&self) {
        let case = self.case;
        let repository = Repository::open(self.plain()).await.unwrap();
        let mut newest = HashSet::new();
        for sequence in repository.sequences().await.unwrap() {
            let snapshot = repository.snapshot(sequence).await.unwrap();
            newest.clear();
            for topic in &snapshot.topics {
                for state in &topic.partitions {
                    let id = topic.partition_id(state.partition);
                    // Reading them checks that they fill the coverage; this does it again, with nothing else.
                    let mut end = 0;
                    for segment in repository.segments(&snapshot, &id, state).await.unwrap() {
                        assert_eq!(segment.base_offset, end, "{case:?}: {id} in {sequence}");
                        end = segment.end_offset;
                        assert!(newest.insert(segment.key), "{case:?}: stored twice");
                    }
                }
            }
        }
        let events = self.events.lock().unwrap();
        let stays = |key: &String| newest.contains(key);
        assert!(events.committed.iter().all(stays), "{case:?}: {events:?}");
        assert!(!events.lost.iter().any(stays), "{case:?}: {events:?}");
        let ended = events.finished.len() + events.crashed.len();
        if case.wipes {
            assert!(ended > 0, "{case:?}: {events:?}");
        } else {
            assert_eq!(ended, self.writers(), "{case:?}: {events:?}");
        }
        if case.disjoint && !case.wipes {
            // A writer may be in its own way, where the store failed to remove its last claim.
            let refused = events.refused > 0 && events.failed == 0;
            assert!(!refused && events.losses == 0, "{case:?}: {events:?}");
        }
    }

    fn writers(&self) -> usize {
        2 + Random::new(self.case.seed).below(4) as usize
    }
}

/// Appends two segments to each partition, of this many offsets each.
pub(super) fn change(
    base: Option<Digested<Snapshot>>,
    appended: impl IntoIterator<Item = (PartitionId, i64)>,
) -> Change {
    let topics = appended.into_iter().map(|(id, offsets)| {
        let before = base.as_ref().and_then(|base| base.partition(&id));
        let end = before.map_or(0, |state| state.end_offset);
        let (middle, new_end) = (end + offsets, end + 2 * offsets);
        let segments = vec![segment(&id, end, middle), segment(&id, middle, new_end)];
        topic_change(&id, vec![partition_change(id.partition, new_end, segments)])
    });
    let topics = topics.collect();
    Change {
        writer: "simulation".to_owned(),
        ..testing::change::change(base, topics)
    }
}

pub(super) fn id(topic: &str) -> PartitionId {
    PartitionId {
        topic: topic.parse().unwrap(),
        topic_id: TOPIC_ID,
        partition: 0.into(),
    }
}

fn segment(id: &PartitionId, base_offset: i64, end_offset: i64) -> SegmentEntry {
    let segment_id = Id::random();
    SegmentEntry {
        key: Key::segment(id, base_offset, &segment_id).to_string(),
        segment_id,
        size: 16,
        footer_position: 1,
        blake3: SegmentHash(Hex([3; 32])),
        base_offset,
        end_offset,
        min_timestamp: Some(5),
        max_timestamp: 5,
        min_known_timestamp: Some(5),
        records: 1,
        raw_bytes: 100,
        timestamp_type: TimestampType::CreateTime,
        content_digest: Some(Id::ZERO),
        rendered: None,
        whole_lines: None,
        key_filter: false,
        batches: false,
    }
}

fn simulate(case: Case) -> Events {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    let world = Arc::new(World::new(case));
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        Repository::create(world.plain(), Identity::fresh())
            .await
            .unwrap();
        world.play().await;
        world.verdict().await;
    });
    let events = std::mem::take(&mut *world.events.lock().unwrap());
    drop(local);
    events
}

#[test]
fn whatever_becomes_of_claims_nothing_is_stored_twice_or_missing() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|first| {
            std::thread::spawn(move || {
                let mut sums = [0; 6];
                for seed in (first..seeds()).step_by(threads as usize) {
                    let case = Case {
                        seed,
                        disjoint: seed % 4 == 0,
                        wipes: seed % 3 == 0,
                    };
                    let events = simulate(case);
                    let seen = [
                        events.finished.len(),
                        events.crashed.len(),
                        events.refused,
                        events.losses,
                        events.early,
                        events.failed,
                    ];
                    for (sum, seen) in sums.iter_mut().zip(seen) {
                        *sum += seen;
                    }
                }
                sums
            })
        })
        .collect();
    let mut sums = [0; 6];
    for worker in workers {
        let seen = worker.join().unwrap();
        for (sum, seen) in sums.iter_mut().zip(seen) {
            *sum += seen;
        }
    }
    // A simulation in which nothing happens proves nothing.
    println!("finished, crashed, refused, lost, of these early, failed: {sums:?}");
    assert!(sums.iter().all(|sum| *sum > 20), "{sums:?}");
}
