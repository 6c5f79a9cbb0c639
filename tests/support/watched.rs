//! A store that records its reads, and that a test can make slow, silent or faulty. Shared by the tests of kbk-tools and kbk-fuse.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use kbk_format::repo::Store;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ListResult, ObjectMeta, ObjectStore, Result,
};

use super::delegate::delegate_to;

/// The outcome of a read of a segment, or of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Reads are never answered.
    Hangs,
    /// Reads fail like a broken connection.
    Fails,
    /// Reads are forbidden.
    Forbids,
    /// Reads of every object are forbidden, and not only those of segments.
    ForbidsAll,
    /// Answers lack their last byte.
    Truncates,
    /// Segments are missing.
    Loses,
    /// Every object is missing, and every folder empty, as where a share is not mounted.
    Vanishes,
    /// Reads panic.
    Panics,
    /// Listings are never answered.
    ListingHangs,
}

/// Controls a watched store, and knows its reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    delay: Duration,
    reads: Vec<(String, Option<Range<u64>>)>,
    bytes: u64,
    /// How many reads are to wait at a time before any is answered; 0 for none.
    gathers: usize,
    /// Reads that are delayed at the moment, and the most there were at a time.
    waiting: usize,
    widest: usize,
}

impl Watch {
    /// Sets the outcome of reads from now on.
    pub(crate) fn set(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    /// Delays every read from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    /// Lets reads wait until there are this many at a time, once. If there never are, they continue after ten seconds.
    pub(crate) fn gather(&self, reads: usize) {
        self.0.lock().unwrap().gathers = reads;
    }

    /// Returns the keys and ranges of all reads since the last call.
    pub(crate) fn take(&self) -> Vec<(String, Option<Range<u64>>)> {
        std::mem::take(&mut self.0.lock().unwrap().reads)
    }

    /// Returns how many delayed reads there were at a time at most, since the last call.
    pub(crate) fn take_widest(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().widest)
    }

    /// Returns the bytes of all answers since the last call.
    pub(crate) fn take_bytes(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap().bytes)
    }

    /// Returns the keys and ranges of segments read since the last call.
    pub(crate) fn take_segments(&self) -> Vec<(String, Range<u64>)> {
        let segments = self
            .take()
            .into_iter()
            .filter(|(key, _)| key.ends_with(".kseg"));
        segments
            .filter_map(|(key, range)| Some((key, range?)))
            .collect()
    }
}

/// Wraps `inner` in a watched store.
pub(crate) fn watched(inner: Arc<dyn ObjectStore>) -> (Store, Watch) {
    let watch = Watch::default();
    let store = Watched {
        inner,
        watch: watch.clone(),
    };
    (Store::new(Arc::new(store), "watched"), watch)
}

#[derive(Debug)]
struct Watched {
    inner: Arc<dyn ObjectStore>,
    watch: Watch,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched {}", self.inner)
    }
}

impl Watched {
    /// Reports whether reads are to wait for others, which ends with the last of them.
    fn is_gathering(&self) -> bool {
        let mut state = self.watch.0.lock().unwrap();
        if state.waiting >= state.gathers {
            state.gathers = 0;
        }
        state.gathers > 0
    }
}

#[async_trait]
impl ObjectStore for Watched {
    delegate_to!([inner] put_opts, put_multipart_opts, delete_stream, copy_opts);

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => Some(range.clone()),
            _ => None,
        };
        let (fault, delay) = {
            let mut state = self.watch.0.lock().unwrap();
            state.reads.push((path.to_string(), range));
            (state.fault, state.delay)
        };
        if delay > Duration::ZERO || self.is_gathering() {
            {
                let mut state = self.watch.0.lock().unwrap();
                state.waiting += 1;
                state.widest = state.widest.max(state.waiting);
            }
            tokio::time::sleep(delay).await;
            for _ in 0..5_000 {
                if !self.is_gathering() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.watch.0.lock().unwrap().waiting -= 1;
        }
        let is_segment = path.as_ref().ends_with(".kseg");
        match fault {
            Fault::Hangs if is_segment => std::future::pending().await,
            Fault::Fails if is_segment => Err(object_store::Error::Generic {
                store: "watched",
                source: "reset".into(),
            }),
            Fault::ForbidsAll => Err(forbidden(path)),
            Fault::Forbids if is_segment => Err(forbidden(path)),
            Fault::Panics if is_segment => panic!("on purpose"),
            Fault::Loses if is_segment => Err(not_found(path)),
            Fault::Vanishes => Err(not_found(path)),
            Fault::Truncates if is_segment => {
                let mut object = self.inner.get_opts(path, options).await?;
                let (meta, range) = (object.meta.clone(), object.range.clone());
                let attributes = std::mem::take(&mut object.attributes);
                let bytes = object.bytes().await?;
                let bytes = bytes.slice(..bytes.len() - 1);
                let payload =
                    GetResultPayload::Stream(Box::pin(futures_util::stream::once(async {
                        Ok(bytes)
                    })));
                Ok(GetResult {
                    payload,
                    meta,
                    range,
                    attributes,
                    extensions: Default::default(),
                })
            }
            _ => {
                let object = self.inner.get_opts(path, options).await?;
                self.watch.0.lock().unwrap().bytes += object.range.end - object.range.start;
                Ok(object)
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.watch.0.lock().unwrap().fault {
            Fault::ListingHangs => Box::pin(futures_util::stream::pending()),
            Fault::Vanishes => Box::pin(futures_util::stream::empty()),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.watch.0.lock().unwrap().fault == Fault::Vanishes {
            return Ok(ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
                extensions: Default::default(),
            });
        }
        self.inner.list_with_delimiter(prefix).await
    }
}

fn forbidden(path: &Path) -> object_store::Error {
    object_store::Error::PermissionDenied {
        path: path.to_string(),
        source: "403".into(),
    }
}

fn not_found(path: &Path) -> object_store::Error {
    object_store::Error::NotFound {
        path: path.to_string(),
        source: "404".into(),
    }
}
