//! The store of an actor: each call yields to the others, and may fail, or take effect and report an error.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::scheduler::Shared;

/// How a call goes.
#[derive(Clone, Copy)]
enum Step {
    Done,
    Failed,
    /// It takes effect.
    AnswerLost,
}

#[derive(Clone)]
pub(super) struct SimStore {
    shared: Arc<Shared>,
}

impl SimStore {
    pub(super) fn new(shared: Arc<Shared>) -> SimStore {
        SimStore { shared }
    }

    async fn step(&self) -> Step {
        yield_once().await;
        if !self.shared.has_faults() {
            return Step::Done;
        }
        match self.shared.random(150) {
            0 => Step::Failed,
            1 => Step::AnswerLost,
            _ => Step::Done,
        }
    }

    async fn delete(&self, location: Path) -> Result<Path> {
        let step = self.step().await;
        if let Step::Failed = step {
            return Err(injected());
        }
        self.shared.delete(&location).await?;
        match step {
            Step::AnswerLost => Err(injected()),
            _ => Ok(location),
        }
    }

    async fn listed(&self, prefix: Option<Path>) -> Result<Vec<ObjectMeta>> {
        if !matches!(self.step().await, Step::Done) {
            return Err(injected());
        }
        let listed = self.shared.objects().list(prefix.as_ref());
        let mut listed: Vec<ObjectMeta> = listed.filter_map(async |it| it.ok()).collect().await;
        for object in &mut listed {
            let written_ms = self.shared.written_ms(&object.location);
            object.last_modified = (UNIX_EPOCH + Duration::from_millis(written_ms)).into();
        }
        Ok(listed)
    }
}

/// Lets others run.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn injected() -> object_store::Error {
    object_store::Error::Generic {
        store: "simulated",
        source: "injected".into(),
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let step = self.step().await;
        if let Step::Failed = step {
            return Err(injected());
        }
        let put = self.shared.put(location, payload, options).await?;
        match step {
            Step::AnswerLost => Err(injected()),
            _ => Ok(put),
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(injected())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.step().await {
            Step::Done => self.shared.objects().get_opts(location, options).await,
            Step::Failed | Step::AnswerLost => Err(injected()),
        }
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
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            match store.listed(prefix).await {
                Ok(listed) => listed.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        };
        stream::once(listed).flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.step().await {
            Step::Done => self.shared.objects().list_with_delimiter(prefix).await,
            Step::Failed | Step::AnswerLost => Err(injected()),
        }
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(injected())
    }
}
