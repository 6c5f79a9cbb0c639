//! An object store that fails at one selected call, to show what a crash there leaves behind.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What happens at the selected call. Only calls that change something are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails without effect; later calls work.
    Refused,
    /// The connection ends before the request has arrived; later calls work.
    Dropped,
    /// It takes effect, but its response is lost; later calls work.
    ResponseLost,
    /// The process dies just before it: no later call has an effect.
    DeathBefore,
    /// The process dies just after it: no later call has an effect.
    DeathAfter,
}

impl Fault {
    pub(crate) const ALL: [Fault; 4] = [
        Fault::Refused,
        Fault::ResponseLost,
        Fault::DeathBefore,
        Fault::DeathAfter,
    ];

    fn kills(self) -> bool {
        matches!(self, Fault::DeathBefore | Fault::DeathAfter)
    }

    fn takes_effect(self) -> bool {
        matches!(self, Fault::ResponseLost | Fault::DeathAfter)
    }

    fn error(self) -> object_store::Error {
        match self {
            Fault::Dropped => object_store::Error::Generic {
                store: "faulty",
                source: Box::new(HttpError::new(
                    HttpErrorKind::Interrupted,
                    io::Error::from(io::ErrorKind::UnexpectedEof),
                )),
            },
            _ => injected(),
        }
    }
}

/// A store that wraps another and has one fault.
#[derive(Clone, Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    fault: Fault,
    /// The number of the call that fails, from 0.
    at: usize,
    calls: AtomicUsize,
}

enum Step {
    Go,
    Fail { take_effect: bool },
}

impl Plan {
    fn step(&self) -> Step {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == self.at {
            let take_effect = self.fault.takes_effect();
            Step::Fail { take_effect }
        } else if call > self.at && self.fault.kills() {
            Step::Fail { take_effect: false }
        } else {
            Step::Go
        }
    }

    fn reached(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.at
    }

    fn check_alive(&self) -> Result<()> {
        if self.reached() && self.fault.kills() {
            return Err(injected());
        }
        Ok(())
    }
}

fn injected() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "injected".into(),
    }
}

impl FaultyStore {
    /// Creates a store that fails at call number `at`, from 0.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, fault: Fault, at: usize) -> Self {
        let calls = AtomicUsize::new(0);
        let plan = Arc::new(Plan { fault, at, calls });
        FaultyStore { inner, plan }
    }

    /// Returns whether the selected call was made.
    pub(crate) fn reached(&self) -> bool {
        self.plan.reached()
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
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
        match self.plan.step() {
            Step::Go => self.inner.put_opts(location, payload, options).await,
            Step::Fail { take_effect: false } => Err(self.plan.fault.error()),
            Step::Fail { take_effect: true } => {
                self.inner.put_opts(location, payload, options).await?;
                Err(self.plan.fault.error())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let step = self.plan.step();
        if let Step::Fail { take_effect: false } = step {
            return Err(injected());
        }
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let upload = FaultyUpload {
            inner: Some(inner),
            plan: Arc::clone(&self.plan),
        };
        match step {
            Step::Go => Ok(Box::new(upload)),
            Step::Fail { .. } => Err(injected()),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.plan.check_alive()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.plan.check_alive() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.plan.check_alive()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.plan.check_alive()?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Option<Box<dyn MultipartUpload>>,
    plan: Arc<Plan>,
}

impl FaultyUpload {
    fn inner(&mut self) -> &mut dyn MultipartUpload {
        self.inner.as_mut().expect("only dropping takes it")
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        match self.plan.step() {
            Step::Go => self.inner().put_part(part),
            Step::Fail { take_effect: false } => Box::pin(async { Err(injected()) }),
            Step::Fail { take_effect: true } => {
                let part = self.inner().put_part(part);
                Box::pin(async { part.await.and(Err(injected())) })
            }
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.plan.step() {
            Step::Go => self.inner().complete().await,
            Step::Fail { take_effect: false } => Err(injected()),
            Step::Fail { take_effect: true } => {
                self.inner().complete().await?;
                Err(injected())
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.plan.check_alive()?;
        self.inner().abort().await
    }
}

/// A dead process cleans nothing up: its temporary files stay.
impl Drop for FaultyUpload {
    fn drop(&mut self) {
        if self.plan.check_alive().is_err() {
            std::mem::forget(self.inner.take());
        }
    }
}
