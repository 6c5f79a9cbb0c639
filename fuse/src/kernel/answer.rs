//! Answers requests: at once if the answer is in memory, in a task if it has to be awaited.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Waker};

use futures_util::FutureExt;
use tokio::runtime::Handle;

/// Polls `answer` once on the calling thread, and leaves the rest to a task.
///
/// The caller is the thread that reads requests from the kernel, which must never block and never end. So a panic ends only the
/// answer; dropping the reply that it held sends EIO.
pub(super) fn answer(runtime: &Handle, answer: impl Future<Output = ()> + Send + 'static) {
    let _inside = runtime.enter();
    let mut answer: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        if let Err(panic) = AssertUnwindSafe(answer).catch_unwind().await {
            tracing::error!(
                "a request panicked, which is a bug in kbk: {}; please report it",
                message(panic.as_ref())
            );
        }
    });
    // This poll registers no waker; the task polls again before it waits.
    let mut no_waker = Context::from_waker(Waker::noop());
    if answer.as_mut().poll(&mut no_waker).is_pending() {
        runtime.spawn(answer);
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Runtime;

    use super::*;

    #[test]
    fn a_ready_answer_runs_on_the_caller_and_a_pending_one_in_a_task() {
        let runtime = Runtime::new().unwrap();
        let (sender, answers) = mpsc::channel();
        let here = std::thread::current().id();
        let at_once = sender.clone();
        answer(runtime.handle(), async move {
            at_once.send(std::thread::current().id()).unwrap();
        });
        assert_eq!(answers.try_recv(), Ok(here));
        answer(runtime.handle(), async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            sender.send(std::thread::current().id()).unwrap();
        });
        assert_ne!(answers.recv().unwrap(), here);
    }

    #[test]
    fn a_panic_ends_only_the_answer() {
        let runtime = Runtime::new().unwrap();
        let (sender, dropped) = mpsc::channel::<()>();
        answer(runtime.handle(), async move {
            let _reply = sender;
            panic!("on purpose");
        });
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
