//! Answering a request: at once where the answer is in memory, by a task where it has to be waited for.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Waker};

use futures_util::FutureExt;
use tokio::runtime::Handle;

/// Polls `answer` once where the caller stands, and leaves the rest to a task.
///
/// The thread that reads requests from the kernel is the caller: it must never wait, and never end. So a panic ends the
/// answer only, and the reply that it held is then sent as EIO when it is dropped.
pub(super) fn answer(runtime: &Handle, answer: impl Future<Output = ()> + Send + 'static) {
    let _inside = runtime.enter();
    let mut answer: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        if let Err(panic) = AssertUnwindSafe(answer).catch_unwind().await {
            tracing::error!(
                "a request failed inside of kbk, which is a defect: {}; please report it",
                message(panic.as_ref())
            );
        }
    });
    // Nobody is woken by this poll: the task polls again before it waits.
    let mut nobody = Context::from_waker(Waker::noop());
    if answer.as_mut().poll(&mut nobody).is_pending() {
        runtime.spawn(answer);
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Runtime;

    use super::*;

    #[test]
    fn what_is_ready_is_answered_by_the_caller_and_the_rest_by_a_task() {
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
    fn a_panic_ends_the_answer_and_nothing_else() {
        let runtime = Runtime::new().unwrap();
        let (sender, dropped) = mpsc::channel::<()>();
        answer(runtime.handle(), async move {
            let _reply = sender;
            panic!("on purpose");
        });
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
