//! Calls of the store, of which a bounded number is in flight, however long the store takes.
//!
//! A call of a local disk, or of a share that looks like one, holds a thread until it returns, even if nobody waits for it any more. So such a
//! call keeps its place when it is abandoned: a disk that hangs costs as many threads as there are places, and not one for each read. A
//! call over the network ends when it is abandoned.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::cache::locked;
use crate::error::{Location, ViewError};

/// Calls of one kind: their places, and when the store last returned from one.
#[derive(Debug)]
pub(super) struct StoreCalls {
    free: Arc<Semaphore>,
    /// Whether calls hold threads.
    is_disk: bool,
    deadline: Duration,
    last_answer: Mutex<Instant>,
}

/// A call that, of a disk, continues as a task if it is dropped before it has returned.
struct Call<T: Send + 'static> {
    running: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    is_disk: bool,
}

impl<T: Send> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(call) = &mut self.running else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(context);
        if polled.is_ready() {
            self.running = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Call<T> {
    fn drop(&mut self) {
        // A call that panicked must not be polled again.
        if let Some(call) = self.running.take()
            && self.is_disk
            && !std::thread::panicking()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                call.await;
            });
        }
    }
}

impl StoreCalls {
    pub(super) fn new(count: usize, is_disk: bool, deadline: Duration) -> StoreCalls {
        StoreCalls {
            free: Arc::new(Semaphore::new(count)),
            is_disk,
            deadline,
            last_answer: Mutex::new(Instant::now()),
        }
    }

    /// Calls the store, which must return within the deadline, once there is a place.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        key: &str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ViewError> {
        let free = Arc::clone(&self.free).acquire_owned();
        let place = self.while_answering(key, free).await?;
        // The semaphore is never closed.
        let place: Option<OwnedSemaphorePermit> = place.ok();
        let running = Box::pin(async move {
            let _place = place;
            call.await
        });
        let call = Call {
            running: Some(running),
            is_disk: self.is_disk,
        };
        let until = Instant::now() + self.deadline;
        let returned = timeout_at(until, call).await;
        let returned = returned.map_err(|_| self.too_late(key))?;
        *locked(&self.last_answer) = Instant::now();
        Ok(returned)
    }

    /// Waits as long as the store returns from calls: for the deadline since the last one, or since the beginning.
    pub(super) async fn while_answering<T>(
        &self,
        key: &str,
        wait: impl Future<Output = T>,
    ) -> Result<T, ViewError> {
        let started = Instant::now();
        let mut wait = std::pin::pin!(wait);
        loop {
            let until = started.max(*locked(&self.last_answer)) + self.deadline;
            match timeout_at(until, wait.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) if *locked(&self.last_answer) + self.deadline > until => {}
                Err(_) => return Err(self.too_late(key)),
            }
        }
    }

    fn too_late(&self, key: &str) -> ViewError {
        ViewError::Deadline {
            location: Location::default(),
            key: key.into(),
            waited: self.deadline,
        }
    }
}
