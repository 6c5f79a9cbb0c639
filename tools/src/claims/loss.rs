//! The loss of a claim: the signal to stop, and the error that says why and who writes the same now.

use std::fmt;
use std::future::pending;

use kbk_format::repo::RivalCommit;
use tokio::sync::watch;

use super::rival::Rival;

/// Why a claim is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LossCause {
    /// It was removed.
    Removed,
    /// A copy of this process renews it.
    Copied,
    /// It was renewed so late that another writer had already claimed the same.
    Late,
    /// Another writer has committed what is claimed.
    Committed(Box<RivalCommit>),
}

/// Says to all who work under a claim that it is lost. Looking costs next to nothing.
#[derive(Clone, Debug)]
pub struct LossSignal(watch::Receiver<Option<LossCause>>);

/// Never lost.
impl Default for LossSignal {
    fn default() -> Self {
        LossSignal(watch::channel(None).1)
    }
}

impl LossSignal {
    pub(super) fn new() -> (watch::Sender<Option<LossCause>>, LossSignal) {
        let (sender, receiver) = watch::channel(None);
        (sender, LossSignal(receiver))
    }

    /// Creates a signal that the function sets, for work without a repository.
    pub fn manual() -> (impl Fn() + Send + Sync + 'static, LossSignal) {
        let (sender, signal) = LossSignal::new();
        let lose = move || drop(sender.send_replace(Some(LossCause::Removed)));
        (lose, signal)
    }

    /// Returns whether the claim is lost. Whoever works under it stops, and stores nothing more.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(super) fn cause(&self) -> Option<LossCause> {
        self.0.borrow().clone()
    }

    /// Waits until the claim is lost.
    pub(super) async fn wait(mut self) -> LossCause {
        loop {
            if let Some(cause) = self.cause() {
                return cause;
            }
            // Nobody renews the claim any more, so nobody finds out, either.
            if self.0.changed().await.is_err() && self.cause().is_none() {
                return pending().await;
            }
        }
    }
}

/// A run lost its claim, so that another one may write the same partitions, or does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ClaimLost {
    pub(super) repository: String,
    pub(super) cause: LossCause,
    /// Who has claimed the same now.
    pub(super) holder: Option<Box<Rival>>,
    /// What another run has committed of it.
    pub(super) commit: Option<Box<RivalCommit>>,
}

impl ClaimLost {
    /// Returns whether another run has committed the same partitions, so that segments of this one may be of no use.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.commit.is_some()
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LossCause::Removed => {
                "this run was suspended, or could not reach the repository, for so long that its claim was removed"
            }
            LossCause::Copied => {
                "a copy of this process renews its claim, as of a virtual machine that was cloned"
            }
            LossCause::Late => {
                "this run was suspended, or could not reach the repository, for so long that another one took it for dead"
            }
            LossCause::Committed(_) => "another run has committed the same partitions",
        })
    }
}

impl fmt::Display for ClaimLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (repository, cause) = (&self.repository, &self.cause);
        write!(f, "cannot continue to write to {repository}: {cause}; ")?;
        if let Some(commit) = &self.commit {
            let (partition, snapshot) = (&commit.partition, commit.snapshot);
            write!(f, "{partition} was changed by snapshot {snapshot}")?;
            if let Some((at, writer)) = &commit.created {
                write!(f, ", created at {} by {}", at, writer.escape_debug())?;
            }
            f.write_str("; ")?;
        }
        f.write_str("nothing was committed after that; ")?;
        match &self.holder {
            Some(holder) => write!(
                f,
                "{} is being written by {holder} now: wait until it has ended, and run this command again",
                holder.shared()
            ),
            None => f.write_str("no other run has claimed the same now: run this command again"),
        }
    }
}
