//! Runs blocking work away from the asynchronous threads.

use tokio::task;

/// Runs `work` on a thread for blocking work. A panic there is resumed here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
