//! A store that answers in rounds: all requests that wait, as soon as nothing else happens. The number of rounds is how many requests follow from
//! one another, and what a distant store costs; no clock is involved.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kbk_format::repo::{ReadaheadLimits, Repository, Store, StoreProfile};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, Result,
};
use tokio::sync::oneshot;

use super::World;
use super::delegate::delegate_to;

/// What requests for segments have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) rounds: usize,
    pub(crate) requests: usize,
    /// The most requests of one round, and the most bytes.
    pub(crate) widest: usize,
    pub(crate) widest_bytes: u64,
    pub(crate) bytes: u64,
}

/// Controls the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(oneshot::Sender<()>, u64)>,
    cost: Cost,
    /// The key of a segment whose answers lack their last byte, unless they are footers.
    cut: Option<String>,
}

/// Sizes that suit the segments of tests: as [`StoreProfile::remote`], divided by 256.
pub(crate) fn small_profile(readahead: bool) -> StoreProfile {
    let mut profile = StoreProfile::remote();
    profile.range_bytes /= 256;
    profile.readahead = match readahead {
        true => ReadaheadLimits {
            first_bytes: profile.readahead.first_bytes / 256,
            shared_bytes: profile.readahead.shared_bytes / 256,
            gap_bytes: profile.readahead.gap_bytes / 256,
            ..profile.readahead
        },
        false => ReadaheadLimits::NONE,
    };
    profile
}

/// Copies a repository into a store that answers in rounds.
pub(crate) async fn in_rounds(world: &World, profile: StoreProfile) -> (Repository, Rounds) {
    let inner = InMemory::new();
    for key in world.keys() {
        let bytes = fs::read(world.path(&key)).unwrap();
        inner.put(&Path::from(key), bytes.into()).await.unwrap();
    }
    let rounds = Rounds::default();
    let store = InRounds {
        inner,
        rounds: rounds.clone(),
    };
    let store = Store::new(Arc::new(store), "rounds").with_profile(profile);
    (Repository::open(store).await.unwrap(), rounds)
}

impl Rounds {
    /// Runs `work` to its end, and returns what its requests for segments have cost. For a runtime of one thread on which nothing else
    /// happens.
    pub(crate) async fn of<T>(&self, work: impl Future<Output = T>) -> (T, Cost) {
        // Every task that can run has run after a few turns.
        let settled = async || {
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
        };
        self.run(work, settled).await
    }

    /// Runs the same where work is done on threads, which has settled if they have been quiet for a while in which the machine had time for
    /// them. That can take more rounds than necessary, but not fewer.
    pub(crate) async fn of_threads<T>(&self, work: impl Future<Output = T>) -> (T, Cost) {
        const QUIET: Duration = Duration::from_millis(20);
        let settled = async || {
            for _ in 0..20 {
                let began = Instant::now();
                tokio::time::sleep(QUIET).await;
                // On a busy machine, threads sleep longer than they ask for.
                if began.elapsed() < QUIET + QUIET / 4 {
                    break;
                }
            }
        };
        self.run(work, settled).await
    }

    /// Cuts the answers of a segment short from now on, but not that of its footer.
    pub(crate) fn cut(&self, key: &str) {
        self.0.lock().unwrap().cut = Some(key.to_owned());
    }

    /// Returns how many requests wait for an answer that somebody still waits for.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.0.lock().unwrap();
        let waiting = state.waiting.iter();
        waiting.filter(|(answer, _)| !answer.is_closed()).count()
    }

    async fn run<T>(&self, work: impl Future<Output = T>, settled: impl AsyncFn()) -> (T, Cost) {
        self.0.lock().unwrap().cost = Cost::default();
        let answer = async {
            loop {
                let before = self.0.lock().unwrap().waiting.len();
                settled().await;
                let mut state = self.0.lock().unwrap();
                if before > 0 && state.waiting.len() == before {
                    state.cost.rounds += 1;
                    state.cost.widest = state.cost.widest.max(before);
                    let bytes = state.waiting.iter().map(|(_, bytes)| bytes).sum();
                    state.cost.widest_bytes = state.cost.widest_bytes.max(bytes);
                    for (waiting, _) in state.waiting.drain(..) {
                        // A request that was dropped needs no answer.
                        let _ = waiting.send(());
                    }
                }
            }
        };
        tokio::select! {
            done = work => (done, self.0.lock().unwrap().cost),
            () = answer => unreachable!("it does not end"),
        }
    }
}

#[derive(Debug)]
struct InRounds {
    inner: InMemory,
    rounds: Rounds,
}

impl fmt::Display for InRounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rounds")
    }
}

#[async_trait]
impl ObjectStore for InRounds {
    delegate_to!([inner] put_opts, put_multipart_opts, delete_stream, list, list_with_delimiter, copy_opts);

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let mut is_cut = false;
        if path.as_ref().ends_with(".kseg") {
            let (answer, answered) = oneshot::channel();
            {
                let mut state = self.rounds.0.lock().unwrap();
                let bytes = match &options.range {
                    Some(GetRange::Bounded(Range { start, end })) => end - start,
                    _ => 0,
                };
                state.waiting.push((answer, bytes));
                state.cost.requests += 1;
                state.cost.bytes += bytes;
                is_cut = state.cut.as_deref() == Some(path.as_ref());
            }
            answered.await.unwrap();
        }
        let object = self.inner.get_opts(path, options).await?;
        match is_cut && object.range.end < object.meta.size {
            true => cut(object).await,
            false => Ok(object),
        }
    }
}

/// Takes the last byte off an answer.
async fn cut(mut object: GetResult) -> Result<GetResult> {
    let (meta, range) = (object.meta.clone(), object.range.clone());
    let attributes = std::mem::take(&mut object.attributes);
    let bytes = object.bytes().await?;
    let bytes = bytes.slice(..bytes.len() - 1);
    let stream = futures_util::stream::once(async { Ok(bytes) });
    Ok(GetResult {
        payload: GetResultPayload::Stream(Box::pin(stream)),
        meta,
        range,
        attributes,
        extensions: Default::default(),
    })
}
