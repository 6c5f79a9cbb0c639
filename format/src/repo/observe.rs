//! Tells an observer of every request to the store: its kind, how it ended, how long it took, and how many bytes it moved.
//!
//! A process has one observer, as it has one log: [`observe_stores`] names it before the first store is opened. Without one, stores are
//! used as they are. Retries that a store's own client makes are part of the request, and so is their time. On a local disk some folders are
//! listed, and some segments read, without a request.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// An object, or a range of it.
    Get,
    /// The size of an object, and whether it exists.
    Head,
    /// A small object to be written whole.
    Put,
    /// The start of an upload in parts.
    Begin,
    /// A part of an upload.
    Part,
    /// The end of an upload, which makes the object visible.
    Complete,
    /// The removal of an object.
    Delete,
    /// A listing, all pages of it.
    List,
    /// A copy, or another name.
    Copy,
}

impl RequestKind {
    /// Returns its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RequestKind::Get => "get",
            RequestKind::Head => "head",
            RequestKind::Put => "put",
            RequestKind::Begin => "begin",
            RequestKind::Part => "part",
            RequestKind::Complete => "complete",
            RequestKind::Delete => "delete",
            RequestKind::List => "list",
            RequestKind::Copy => "copy",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestOutcome {
    /// It was answered.
    Ok,
    /// There is no such object.
    NotFound,
    /// The object exists, or is not the expected one.
    Exists,
    /// The store does not allow it.
    Denied,
    /// Anything else.
    Failed,
}

impl RequestOutcome {
    /// Returns its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RequestOutcome::Ok => "ok",
            RequestOutcome::NotFound => "not_found",
            RequestOutcome::Exists => "exists",
            RequestOutcome::Denied => "denied",
            RequestOutcome::Failed => "failed",
        }
    }

    fn of<T>(result: &Result<T>) -> RequestOutcome {
        match result {
            Ok(_) => RequestOutcome::Ok,
            Err(Error::NotFound { .. }) => RequestOutcome::NotFound,
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => RequestOutcome::Exists,
            Err(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => {
                RequestOutcome::Denied
            }
            Err(_) => RequestOutcome::Failed,
        }
    }
}

/// Hears of requests, from the tasks that make them, so it must not block.
pub trait StoreObserver: Send + Sync {
    /// A request has ended. `took` is the time until its answer began.
    fn requested(&self, kind: RequestKind, outcome: RequestOutcome, took: Duration);

    /// A request has moved this many bytes of objects.
    fn moved(&self, kind: RequestKind, bytes: u64);
}

static OBSERVER: OnceLock<Arc<dyn StoreObserver>> = OnceLock::new();

/// Makes `observer` hear of all requests to stores that are opened from now on. Only the first call of a process has an effect.
pub fn observe_stores(observer: Arc<dyn StoreObserver>) {
    // A second observer would miss what the stores that are open do.
    let _ = OBSERVER.set(observer);
}

/// Returns a store whose requests the observer hears of, or the store itself if there is none.
pub(super) fn observed(objects: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    match OBSERVER.get() {
        Some(observer) => Arc::new(Observed {
            objects,
            observer: Arc::clone(observer),
        }),
        None => objects,
    }
}

struct Observed {
    objects: Arc<dyn ObjectStore>,
    observer: Arc<dyn StoreObserver>,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

/// A request that is being made.
struct Request {
    observer: Arc<dyn StoreObserver>,
    kind: RequestKind,
    began: Instant,
}

impl Request {
    fn new(observer: &Arc<dyn StoreObserver>, kind: RequestKind) -> Request {
        Request {
            observer: Arc::clone(observer),
            kind,
            began: Instant::now(),
        }
    }

    /// Reports the request with this result, and `bytes` if it succeeded.
    fn ended<T>(self, bytes: u64, result: Result<T>) -> Result<T> {
        let outcome = RequestOutcome::of(&result);
        self.observer
            .requested(self.kind, outcome, self.began.elapsed());
        if outcome == RequestOutcome::Ok && bytes > 0 {
            self.observer.moved(self.kind, bytes);
        }
        result
    }
}

/// A request whose answer is a stream: reported at its first error, or else when it is dropped.
struct Answering {
    request: Option<Request>,
    took: Duration,
}

impl Answering {
    fn new(request: Request) -> Answering {
        Answering {
            took: request.began.elapsed(),
            request: Some(request),
        }
    }

    fn moved(&self, bytes: usize) {
        if let Some(request) = &self.request {
            request.observer.moved(request.kind, bytes as u64);
        }
    }

    fn ended(&mut self, outcome: RequestOutcome) {
        if let Some(Request { observer, kind, .. }) = self.request.take() {
            observer.requested(kind, outcome, self.took);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.ended(RequestOutcome::Ok);
    }
}

impl Observed {
    fn request(&self, kind: RequestKind) -> Request {
        Request::new(&self.observer, kind)
    }

    fn listed(
        &self,
        found: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let mut answering = Answering::new(self.request(RequestKind::List));
        let began = Instant::now();
        let mut first = true;
        let told = move |item: Result<ObjectMeta>| {
            if std::mem::take(&mut first) {
                answering.took = began.elapsed();
            }
            if item.is_err() {
                answering.ended(RequestOutcome::of(&item));
            }
            item
        };
        found.map(told).boxed()
    }
}

fn answered(mut answer: GetResult, request: Request) -> GetResult {
    let mut answering = Answering::new(request);
    answer.payload = match answer.payload {
        GetResultPayload::Stream(body) => {
            let told = move |chunk: Result<Bytes>| {
                match &chunk {
                    Ok(bytes) => answering.moved(bytes.len()),
                    Err(_) => answering.ended(RequestOutcome::of(&chunk)),
                }
                chunk
            };
            GetResultPayload::Stream(body.map(told).boxed())
        }
        // Whoever has the file reads the range of it.
        file => {
            let bytes = answer.range.end.saturating_sub(answer.range.start);
            answering.moved(usize::try_from(bytes).unwrap_or(usize::MAX));
            file
        }
    };
    answer
}

#[async_trait]
impl ObjectStore for Observed {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (request, bytes) = (
            self.request(RequestKind::Put),
            payload.content_length() as u64,
        );
        let put = self.objects.put_opts(location, payload, options).await;
        request.ended(bytes, put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let request = self.request(RequestKind::Begin);
        let begun = self.objects.put_multipart_opts(location, options).await;
        let upload = request.ended(0, begun)?;
        Ok(Box::new(ObservedUpload {
            upload,
            observer: Arc::clone(&self.observer),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let request = match options.head {
            true => {
                let request = self.request(RequestKind::Head);
                return request.ended(0, self.objects.get_opts(location, options).await);
            }
            false => self.request(RequestKind::Get),
        };
        match self.objects.get_opts(location, options).await {
            Ok(answer) => Ok(answered(answer, request)),
            failed => request.ended(0, failed),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let request = self.request(RequestKind::Get);
        let found = self.objects.get_ranges(location, ranges).await;
        let bytes = found.iter().flatten().map(|range| range.len() as u64);
        let bytes = bytes.sum();
        request.ended(bytes, found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let observer = Arc::clone(&self.observer);
        let mut began = Instant::now();
        let told = move |deleted: Result<Path>| {
            let request = Request {
                observer: Arc::clone(&observer),
                kind: RequestKind::Delete,
                began: std::mem::replace(&mut began, Instant::now()),
            };
            request.ended(0, deleted)
        };
        self.objects.delete_stream(locations).map(told).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.objects.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.objects.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let request = self.request(RequestKind::List);
        request.ended(0, self.objects.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let request = self.request(RequestKind::Copy);
        request.ended(0, self.objects.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let request = self.request(RequestKind::Copy);
        request.ended(0, self.objects.rename_opts(from, to, options).await)
    }
}

struct ObservedUpload {
    upload: Box<dyn MultipartUpload>,
    observer: Arc<dyn StoreObserver>,
}

impl fmt::Debug for ObservedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.upload.fmt(f)
    }
}

#[async_trait]
impl MultipartUpload for ObservedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let request = Request::new(&self.observer, RequestKind::Part);
        let bytes = data.content_length() as u64;
        let part = self.upload.put_part(data);
        Box::pin(async move { request.ended(bytes, part.await) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let request = Request::new(&self.observer, RequestKind::Complete);
        request.ended(0, self.upload.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        let request = Request::new(&self.observer, RequestKind::Delete);
        request.ended(0, self.upload.abort().await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::TryStreamExt;
    use object_store::local::LocalFileSystem;
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl StoreObserver for Heard {
        fn requested(&self, kind: RequestKind, outcome: RequestOutcome, _: Duration) {
            let said = format!("{} {}", kind.word(), outcome.word());
            self.0.lock().unwrap().push(said);
        }

        fn moved(&self, kind: RequestKind, bytes: u64) {
            let said = format!("{}: {bytes} bytes", kind.word());
            self.0.lock().unwrap().push(said);
        }
    }

    #[tokio::test]
    async fn every_request_is_heard_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let heard = Arc::new(Heard::default());
        let store = Observed {
            objects: Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()),
            observer: heard.clone(),
        };
        let take = || std::mem::take(&mut *heard.0.lock().unwrap());
        let (a, b) = (Path::from("a"), Path::from("b"));

        store.put(&a, "four".into()).await.unwrap();
        assert_eq!(take(), ["put ok", "put: 4 bytes"]);
        let again = store.put_opts(&a, "other".into(), PutMode::Create.into());
        again.await.unwrap_err();
        assert_eq!(take(), ["put exists"]);

        store.head(&a).await.unwrap();
        store.head(&b).await.unwrap_err();
        assert_eq!(take(), ["head ok", "head not_found"]);

        store.get(&a).await.unwrap().bytes().await.unwrap();
        assert_eq!(take(), ["get: 4 bytes", "get ok"]);
        store.get_range(&a, 1..3).await.unwrap();
        assert_eq!(take(), ["get: 2 bytes", "get ok"]);
        store.get_ranges(&a, &[0..1, 1..3]).await.unwrap();
        assert_eq!(take(), ["get ok", "get: 3 bytes"]);
        store.get(&b).await.unwrap_err();
        assert_eq!(take(), ["get not_found"]);

        let mut upload = store.put_multipart(&b).await.unwrap();
        upload.put_part("123".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(
            take(),
            ["begin ok", "part ok", "part: 3 bytes", "complete ok"]
        );

        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!((listed.len(), take()), (2, vec!["list ok".to_owned()]));
        store.list_with_delimiter(None).await.unwrap();
        assert_eq!(take(), ["list ok"]);

        store.copy(&a, &Path::from("c")).await.unwrap();
        assert_eq!(take(), ["copy ok"]);
        store.delete(&a).await.unwrap();
        store.delete(&a).await.unwrap_err();
        assert_eq!(take(), ["delete ok", "delete not_found"]);
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_a_failed_request() {
        let heard = Arc::new(Heard::default());
        let observer: Arc<dyn StoreObserver> = heard.clone();
        let cut = || Error::NotImplemented {
            operation: "the rest".to_owned(),
            implementer: "test".to_owned(),
        };
        let body = futures_util::stream::iter([Ok(Bytes::from_static(b"ab")), Err(cut())]);
        let answer = GetResult {
            payload: GetResultPayload::Stream(body.boxed()),
            meta: ObjectMeta {
                location: Path::from("a"),
                last_modified: Default::default(),
                size: 4,
                e_tag: None,
                version: None,
            },
            range: 0..4,
            attributes: Default::default(),
            extensions: Default::default(),
        };
        let answer = answered(answer, Request::new(&observer, RequestKind::Get));
        answer.bytes().await.unwrap_err();
        assert_eq!(*heard.0.lock().unwrap(), ["get: 2 bytes", "get failed"]);
    }
}
