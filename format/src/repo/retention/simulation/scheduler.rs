//! The world of one run: the objects, the clock, and who runs next.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutOptions, PutPayload, PutResult, Result};

use super::Totals;
use super::actors;
use super::oracle::Oracle;
use super::random::Random;
use super::store::SimStore;
use crate::repo::identity::Identity;
use crate::repo::repository::Repository;
use crate::repo::store::Store;

const HOUR_MS: u64 = 3_600_000;
/// Actors that a run has at a time, and in all.
const CONCURRENT: usize = 4;
const IN_ALL: usize = 24;
/// A run that has not ended by then does not end.
const MAX_STEPS: usize = 200_000;

/// What actors and the oracle share.
pub(super) struct Shared {
    objects: Arc<InMemory>,
    written_ms: Mutex<BTreeMap<Path, u64>>,
    clock_ms: AtomicU64,
    random: Mutex<Random>,
    faults: AtomicBool,
    pub(super) oracle: Mutex<Oracle>,
}

impl Shared {
    pub(super) fn objects(&self) -> &Arc<InMemory> {
        &self.objects
    }

    pub(super) fn has_faults(&self) -> bool {
        self.faults.load(Ordering::Relaxed)
    }

    /// Returns a number below `limit`.
    pub(super) fn random(&self, limit: u64) -> u64 {
        self.random.lock().unwrap().below(limit)
    }

    pub(super) fn once_in(&self, times: u64) -> bool {
        self.random.lock().unwrap().once_in(times)
    }

    pub(super) fn of<T: Copy>(&self, values: &[T]) -> T {
        self.random.lock().unwrap().of(values)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms() as i64).unwrap()
    }

    fn pass(&self, ms: u64) {
        self.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn written_ms(&self, location: &Path) -> u64 {
        self.written_ms.lock().unwrap()[location]
    }

    pub(super) async fn put(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = self.objects.put_opts(location, payload, options).await?;
        let now = self.now_ms();
        self.written_ms
            .lock()
            .unwrap()
            .insert(location.clone(), now);
        self.oracle.lock().unwrap().put(&self.objects, location);
        Ok(put)
    }

    pub(super) async fn delete(&self, location: &Path) -> Result<()> {
        self.oracle.lock().unwrap().delete(&self.objects, location);
        self.objects.delete(location).await
    }
}

/// Runs a future whose calls are all answered at once.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

struct Actor {
    future: Pin<Box<dyn Future<Output = ()>>>,
    asleep_until_ms: u64,
}

pub(super) struct World {
    shared: Arc<Shared>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let objects = Arc::new(InMemory::new());
        let store = Store::new(objects.clone(), "test://simulation");
        let repository = at_once(Repository::create(store, Identity::fresh())).unwrap();
        let shared = Shared {
            objects,
            written_ms: Mutex::default(),
            clock_ms: AtomicU64::new(1_000 * HOUR_MS),
            random: Mutex::new(Random::new(seed)),
            faults: AtomicBool::new(true),
            oracle: Mutex::new(Oracle::new(repository)),
        };
        World {
            shared: Arc::new(shared),
        }
    }

    fn store(&self) -> Store {
        let objects = SimStore::new(Arc::clone(&self.shared));
        Store::new(Arc::new(objects), "test://simulation")
    }

    /// Lets actors run in some order until all have ended.
    pub(super) fn play(&self) {
        let shared = &self.shared;
        let (mut actors, mut begun) = (Vec::new(), 0);
        for _ in 0..MAX_STEPS {
            while actors.len() < CONCURRENT && begun < IN_ALL {
                begun += 1;
                actors.push(Actor {
                    future: actors::any(Arc::clone(shared), self.store()),
                    asleep_until_ms: 0,
                });
            }
            let now = shared.now_ms();
            let awake: Vec<usize> = (0..actors.len())
                .filter(|at| actors[*at].asleep_until_ms <= now)
                .collect();
            if awake.is_empty() {
                let Some(next) = actors.iter().map(|actor| actor.asleep_until_ms).min() else {
                    return;
                };
                shared.pass(next - now);
                continue;
            }
            let at = shared.of(&awake);
            if shared.once_in(40) {
                let hours = shared.of(&[1, 12, 30, 60]);
                actors[at].asleep_until_ms = now + shared.random(hours * HOUR_MS);
                continue;
            }
            shared.pass(shared.random(60_000));
            if shared.once_in(200) {
                drop(actors.swap_remove(at));
                shared.oracle.lock().unwrap().totals.crashes += 1;
                continue;
            }
            let mut context = Context::from_waker(Waker::noop());
            if actors[at].future.as_mut().poll(&mut context).is_ready() {
                drop(actors.swap_remove(at));
            }
        }
        unreachable!("the run does not end");
    }

    /// Prunes without faults until nothing is left to do.
    pub(super) fn settle(&self) {
        let shared = &self.shared;
        shared.faults.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            shared.pass(25 * HOUR_MS);
            at_once(actors::prune(Arc::clone(shared), self.store(), 24));
        }
        shared.oracle.lock().unwrap().settled(&shared.objects);
    }

    pub(super) fn verdict(&self) -> std::result::Result<Totals, String> {
        let oracle = self.shared.oracle.lock().unwrap();
        match oracle.violations.first() {
            None => Ok(oracle.totals),
            Some(violation) => Err(violation.clone()),
        }
    }
}
