//! A claim that was granted: renewed in the background, so that others see that its owner lives.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kbk_format::repo::{Id, Operation, RepoError, Repository, Result, WriteClaim};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::claim::{bounded, withdraw};
use super::rival::Rival;

/// A renewal whose reading is older than this reads again before it writes: the process was suspended in between.
const READING_IS_NEW: Duration = Duration::from_secs(5);

/// What happens to claims, and is worth a line in the log.
#[derive(Debug)]
pub enum ClaimEvent {
    /// Another claim overlaps, and nothing is known of its owner.
    Watching(Rival),
    /// Another claim is stale: it was removed, or could not be.
    Stale {
        /// The claim.
        rival: Rival,
        /// Why it is still there.
        error: Option<RepoError>,
    },
    /// The claim could not be renewed. It will be tried again.
    NotRenewed(RepoError),
    /// The claim is lost: another writer took it for stale.
    Lost,
    /// The own claim could not be removed.
    NotRemoved(RepoError),
}

impl ClaimEvent {
    /// Returns whether something is wrong.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            ClaimEvent::Watching(_) | ClaimEvent::Stale { error: None, .. }
        )
    }
}

impl fmt::Display for ClaimEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimEvent::Watching(rival) => write!(
                f,
                "{rival} has claimed {}, and whether it still runs is not known here: waiting up to 60 s for a sign of life",
                rival.shared()
            ),
            ClaimEvent::Stale { rival, error: None } => {
                write!(f, "removed the claim of {rival}, which no longer runs")
            }
            ClaimEvent::Stale {
                rival,
                error: Some(error),
            } => write!(
                f,
                "ignoring the claim of {rival}, which no longer runs and could not be removed: {error}"
            ),
            ClaimEvent::NotRenewed(error) => write!(
                f,
                "the claim could not be renewed, so that other machines may take this run for dead: {error}"
            ),
            ClaimEvent::Lost => write!(
                f,
                "the claim of this run is gone: another run took this one for dead; nothing of it will be committed"
            ),
            ClaimEvent::NotRemoved(error) => {
                write!(f, "the claim of this run was not removed: {error}")
            }
        }
    }
}

/// Receives them.
pub trait ClaimEvents: Send + Sync {
    /// Reports one.
    fn happened(&self, event: &ClaimEvent);
}

impl<F: Fn(&ClaimEvent) + Send + Sync> ClaimEvents for F {
    fn happened(&self, event: &ClaimEvent) {
        self(event);
    }
}

/// The claim was taken for stale, so that another writer may write the same partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this run was suspended, or could not reach the repository, for so long that its claim was removed, and another run may write the \
     same topics: nothing was committed; run the same command again, it uses the segments that are already stored"
)]
pub struct ClaimLost;

/// A claim that this process holds. [`release`](Self::release) it however the work ends; otherwise it stays until the process has ended.
#[derive(Debug)]
pub struct HeldClaim {
    repository: Repository,
    claim: Id,
    lost: Arc<AtomicBool>,
    events: Events,
    stop: oneshot::Sender<()>,
    renewing: JoinHandle<()>,
}

#[derive(Clone)]
struct Events(Arc<dyn ClaimEvents>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimEvents")
    }
}

impl HeldClaim {
    pub(super) fn start(
        repository: Repository,
        claim: WriteClaim,
        renewal: Duration,
        events: Arc<dyn ClaimEvents>,
    ) -> HeldClaim {
        let (stop, stopped) = oneshot::channel();
        let lost = Arc::new(AtomicBool::new(false));
        let id = claim.claim;
        let renewing = tokio::spawn(renew_until(
            stopped,
            renewal,
            (repository.clone(), claim),
            Arc::clone(&lost),
            Arc::clone(&events),
        ));
        HeldClaim {
            repository,
            claim: id,
            lost,
            events: Events(events),
            stop,
            renewing,
        }
    }

    /// Fails if the claim is lost. To be called before the commit.
    ///
    /// # Errors
    ///
    /// [`ClaimLost`]. Where the repository cannot be read, the claim is taken to be there: the commit fails for the same reason, or
    /// protects itself.
    pub async fn check(&self) -> std::result::Result<(), ClaimLost> {
        let found = self.repository.claim(self.claim);
        let found = bounded(&self.repository, Operation::Read, found).await;
        if self.lost.load(Ordering::Acquire) || matches!(found, Ok(None)) {
            return Err(ClaimLost);
        }
        Ok(())
    }

    /// Ends the renewal and removes the claim.
    pub async fn release(self) {
        // It has ended by itself if the claim is lost.
        let _ = self.stop.send(());
        // A renewal that is being written would otherwise bring the claim back.
        let _ = self.renewing.await;
        withdraw(&self.repository, self.claim, &*self.events.0).await;
    }
}

async fn renew_until(
    mut stopped: oneshot::Receiver<()>,
    renewal: Duration,
    (repository, mut claim): (Repository, WriteClaim),
    lost: Arc<AtomicBool>,
    events: Arc<dyn ClaimEvents>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(renewal) => {}
            _ = &mut stopped => return,
        }
        match bounded(
            &repository,
            Operation::Write,
            renew(&repository, &mut claim),
        )
        .await
        {
            Ok(Renewed::Yes) => {}
            Ok(Renewed::Lost) => {
                lost.store(true, Ordering::Release);
                return events.happened(&ClaimEvent::Lost);
            }
            Err(error) => events.happened(&ClaimEvent::NotRenewed(error)),
        }
    }
}

enum Renewed {
    Yes,
    Lost,
}

/// Writes the claim again, unless it is gone: whoever removed it may hold what it claims.
async fn renew(repository: &Repository, claim: &mut WriteClaim) -> Result<Renewed> {
    loop {
        let read = Instant::now();
        // One that is damaged was not removed, and is put right by this.
        if let Ok(None) = repository.claim(claim.claim).await {
            return Ok(Renewed::Lost);
        }
        if read.elapsed() < READING_IS_NEW {
            break;
        }
    }
    claim.renewed = claim.renewed.saturating_add(1);
    repository.put_claim(claim).await?;
    Ok(Renewed::Yes)
}
