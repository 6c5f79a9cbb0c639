//! A store that fails some calls, some of them after they took effect, and all of them once the process has crashed; that does not return some of
//! its objects; something else may happen before it returns a segment.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::random::Random;

/// How the calls of a process go.
#[derive(Debug)]
pub(crate) struct Faults {
    random: Random,
    /// Of a hundred calls, this many fail.
    percent: u64,
    /// The calls that are left before the crash.
    calls: Option<u64>,
    withheld: Withheld,
}

/// The objects whose bytes are never returned, although they are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Withheld {
    /// By key.
    pub(crate) keys: BTreeSet<String>,
    /// Whether the user may not read them; otherwise the medium fails there.
    pub(crate) is_denied: bool,
}

impl Withheld {
    pub(crate) fn new(is_denied: bool, keys: impl IntoIterator<Item = String>) -> Withheld {
        Withheld {
            keys: keys.into_iter().collect(),
            is_denied,
        }
    }

    fn error(&self, location: &Path) -> Option<object_store::Error> {
        if !self.keys.contains(location.as_ref()) {
            return None;
        }
        let path = location.to_string();
        Some(match self.is_denied {
            true => object_store::Error::PermissionDenied {
                path,
                source: "withheld".into(),
            },
            false => object_store::Error::Generic {
                store: "faulty",
                source: "Input/output error".into(),
            },
        })
    }
}

enum Step {
    Done,
    Failed,
    AnswerLost,
}

impl Faults {
    pub(crate) fn new(random: Random, percent: u64, calls: Option<u64>) -> Arc<Mutex<Faults>> {
        Arc::new(Mutex::new(Faults {
            random,
            percent,
            calls,
            withheld: Withheld::default(),
        }))
    }

    /// Never returns the bytes of these objects.
    pub(crate) fn withhold(&mut self, withheld: Withheld) {
        self.withheld = withheld;
    }

    fn step(&mut self) -> Step {
        if let Some(calls) = &mut self.calls {
            match calls.checked_sub(1) {
                Some(left) => *calls = left,
                None => return Step::Failed,
            }
        }
        if self.random.below(100) >= self.percent {
            return Step::Done;
        }
        match self.random.below(2) {
            0 => Step::Failed,
            _ => Step::AnswerLost,
        }
    }
}

/// What others do before the first segment is read.
#[derive(Default)]
pub(crate) struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Meanwhile {
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Meanwhile {
        Meanwhile(Mutex::new(Some(Box::new(work))))
    }

    fn happen(&self) {
        let work = self.0.lock().unwrap().take();
        if let Some(work) = work {
            work();
        }
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyStore {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) faults: Arc<Mutex<Faults>>,
    pub(crate) meanwhile: Arc<Meanwhile>,
}

impl FaultyStore {
    fn step(&self) -> Step {
        self.faults.lock().unwrap().step()
    }

    fn read_step(&self) -> Result<()> {
        match self.step() {
            Step::Done => Ok(()),
            Step::Failed | Step::AnswerLost => Err(injected()),
        }
    }

    async fn delete(&self, location: Path) -> Result<Path> {
        match self.step() {
            Step::Failed => return Err(injected()),
            Step::Done => self.objects.delete(&location).await?,
            Step::AnswerLost => {
                self.objects.delete(&location).await?;
                return Err(injected());
            }
        }
        Ok(location)
    }
}

fn injected() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "injected".into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match self.step() {
            Step::Failed => Err(injected()),
            Step::Done => self.objects.put_opts(location, payload, options).await,
            Step::AnswerLost => {
                self.objects.put_opts(location, payload, options).await?;
                Err(injected())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.read_step()?;
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read_step()?;
        let withheld = self.faults.lock().unwrap().withheld.error(location);
        if let Some(error) = withheld.filter(|_| !options.head) {
            return Err(error);
        }
        if location.as_ref().starts_with("data/") {
            self.meanwhile.happen();
        }
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move { store.delete(location?).await }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.read_step() {
            Ok(()) => self.objects.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read_step()?;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(injected())
    }
}
