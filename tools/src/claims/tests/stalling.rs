//! A clock that jumps to the next moment at which somebody wakes, and a store whose calls take time on it: of one process, all stall together.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::super::clock::{Clock, Wait};
use crate::testing::split_mix::SplitMix64;

/// Turns of all tasks until each has either ended or sleeps.
const TURNS: usize = 16;

#[derive(Debug)]
pub(super) struct Random(Mutex<SplitMix64>);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(Mutex::new(SplitMix64(seed ^ 0x9e37_79b9_7f4a_7c15)))
    }

    /// Returns a number below `limit`.
    pub(super) fn below(&self, limit: u64) -> u64 {
        lock(&self.0).next() % limit
    }

    pub(super) fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns a time from `least` to `most` seconds.
    pub(super) fn seconds(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least * 1000 + self.below((most - least) * 1000 + 1))
    }
}

/// The simulated clock.
#[derive(Clone, Debug, Default)]
pub(super) struct SimClock(Arc<Mutex<Sleepers>>);

#[derive(Debug, Default)]
struct Sleepers {
    now: Duration,
    number: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl SimClock {
    /// Lets time pass until `done`.
    pub(super) async fn run_until(&self, done: impl Fn() -> bool) {
        while !done() {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            let mut sleepers = lock(&self.0);
            if let Some(((at, _), waker)) = sleepers.waiting.pop_first() {
                sleepers.now = sleepers.now.max(at);
                drop(sleepers);
                waker.wake();
            }
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        lock(&self.0).now
    }

    fn sleep(&self, wait: Duration) -> Wait {
        let (clock, mut place) = (self.clone(), None);
        let until = self.now() + wait;
        Box::pin(std::future::poll_fn(move |context| {
            let mut sleepers = lock(&clock.0);
            if let Some(place) = place.take() {
                sleepers.waiting.remove(&place);
            }
            if sleepers.now >= until {
                return Poll::Ready(());
            }
            sleepers.number += 1;
            let mine = (until, sleepers.number);
            sleepers.waiting.insert(mine, context.waker().clone());
            place = Some(mine);
            Poll::Pending
        }))
    }
}

/// The store as one process sees it.
#[derive(Clone)]
pub(super) struct StallingStore {
    objects: Arc<dyn ObjectStore>,
    clock: SimClock,
    random: Arc<Random>,
    /// Until when nothing of this process continues.
    stalled: Arc<Mutex<Duration>>,
}

impl StallingStore {
    pub(super) fn new(
        objects: Arc<dyn ObjectStore>,
        clock: SimClock,
        random: Arc<Random>,
    ) -> StallingStore {
        StallingStore {
            objects,
            clock,
            random,
            stalled: Arc::default(),
        }
    }

    /// Takes as long as a request, or as the process is suspended.
    async fn pause(&self) {
        if self.random.once_in(500) {
            let until = self.clock.now() + self.random.seconds(5, 200);
            *lock(&self.stalled) = until;
        }
        let millis = Duration::from_millis(self.random.below(300));
        self.clock.sleep(millis).await;
        loop {
            let left = lock(&self.stalled).saturating_sub(self.clock.now());
            if left.is_zero() {
                return;
            }
            self.clock.sleep(left).await;
        }
    }

    /// Makes a call, which takes effect at some moment in between.
    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.pause().await;
        let answer = call.await;
        self.pause().await;
        if self.random.once_in(1_000) {
            return Err(injected());
        }
        answer
    }
}

fn injected() -> object_store::Error {
    object_store::Error::Generic {
        store: "stalling",
        source: "injected".into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for StallingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StallingStore")
    }
}

impl fmt::Display for StallingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stalling")
    }
}

#[async_trait]
impl ObjectStore for StallingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.call(self.objects.put_opts(location, payload, options))
            .await
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(injected())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.objects.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                store.call(store.objects.delete(&location)).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let all = async {
                let listed: Vec<_> = store.objects.list(prefix.as_ref()).collect().await;
                Ok(listed)
            };
            match store.call(all).await {
                Ok(listed) => listed,
                Err(error) => vec![Err(error)],
            }
        };
        let listed: Pin<Box<dyn Future<Output = Vec<_>> + Send>> = Box::pin(listed);
        stream::once(listed).flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(injected())
    }
}
