//! A claim that was granted: renewed in the background, so that others see that its owner lives, and watched, so that its owner sees at
//! once that another writer has what it claims.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::repo::{
    ClaimState, FoundClaim, Operation, RepoError, RepoErrorKind, Repository, Result, RivalCommit,
    WriteBase, WriteClaim,
};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;

use super::claim::{Protocol, bounded, withdraw};
use super::clock::Clock;
use super::loss::{ClaimLost, LossCause, LossSignal};
use super::owner::{self, Running};
use super::rival::Rival;

/// A renewal whose reading is older than this reads again before it writes: the process was suspended in between.
const READING_IS_NEW: Duration = Duration::from_secs(5);
/// How often an owner looks who has taken its claim: whoever removes a claim writes its own a moment later.
const LOOKS_FOR_HOLDER: u32 = 3;

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

/// A claim that this process holds. [`release`](Self::release) it however the work ends; otherwise it stays until the process has ended.
///
/// The work under it runs in [`unless_lost`](Self::unless_lost), or looks at the [`loss`](Self::loss) where it cannot be dropped, and calls
/// [`check`](Self::check) before each commit.
#[derive(Debug)]
pub struct HeldClaim {
    owner: Owner,
    loss: LossSignal,
    stop: oneshot::Sender<()>,
    renewing: JoinHandle<()>,
}

/// What the renewals and the work under a claim share.
#[derive(Clone)]
struct Owner {
    repository: Repository,
    claim: Arc<WriteClaim>,
    /// What the work is going to commit, once that is known.
    base: Arc<Mutex<Option<WriteBase>>>,
    protocol: Protocol,
    events: Arc<dyn ClaimEvents>,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owner").field(&self.claim.claim).finish()
    }
}

impl HeldClaim {
    pub(super) fn start(
        protocol: Protocol,
        repository: Repository,
        claim: WriteClaim,
        events: Arc<dyn ClaimEvents>,
    ) -> HeldClaim {
        let (stop, stopped) = oneshot::channel();
        let (lost, loss) = LossSignal::new();
        let owner = Owner {
            repository,
            claim: Arc::new(claim),
            base: Arc::default(),
            protocol,
            events,
        };
        let renewing = tokio::spawn(renew_until(stopped, owner.clone(), lost));
        HeldClaim {
            owner,
            loss,
            stop,
            renewing,
        }
    }

    /// States what is going to be committed: from now on, a commit of another writer that makes this impossible is a loss of the claim.
    pub async fn will_commit(&self, base: WriteBase) {
        *self.owner.base.lock().await = Some(base);
    }

    /// States that the owner commits now, or has: what has changed since [`will_commit`](Self::will_commit) may be its own doing, and is no
    /// loss of the claim until that is called again. For owners that commit more than once.
    pub async fn commits(&self) {
        *self.owner.base.lock().await = None;
    }

    /// Returns the signal for work that cannot be dropped.
    #[must_use]
    pub fn loss(&self) -> LossSignal {
        self.loss.clone()
    }

    /// Works as long as the claim is held. Work that is dropped must leave nothing half done; a commit must not be dropped.
    ///
    /// # Errors
    ///
    /// [`ClaimLost`], as soon as the claim is.
    pub async fn unless_lost<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, ClaimLost> {
        let cause = tokio::select! {
            done = work => return Ok(done),
            cause = self.loss().wait() => cause,
        };
        Err(self.owner.explain(cause).await)
    }

    /// Fails if it is known already that the claim is lost. Costs no request as long as it is not.
    ///
    /// # Errors
    ///
    /// [`ClaimLost`].
    pub async fn still_held(&self) -> std::result::Result<(), ClaimLost> {
        match self.loss.cause() {
            None => Ok(()),
            Some(cause) => Err(self.owner.explain(cause).await),
        }
    }

    /// Fails if the claim is lost. To be called before the commit.
    ///
    /// # Errors
    ///
    /// [`ClaimLost`]. Where the repository cannot be read, the claim is taken to be there: the commit fails for the same reason, or
    /// protects itself.
    pub async fn check(&self) -> std::result::Result<(), ClaimLost> {
        self.still_held().await?;
        let Owner {
            repository, claim, ..
        } = &self.owner;
        let found = repository.claim(claim.claim);
        let found = bounded(self.owner.clock(), repository, Operation::Read, found).await;
        let cause = match found {
            Ok(None) => Some(LossCause::Removed),
            _ => self.owner.rival_commit().await.map(LossCause::Committed),
        };
        match cause {
            None => Ok(()),
            Some(cause) => Err(self.owner.explain(cause).await),
        }
    }

    /// Turns the error of a commit that another writer's has made impossible into one that says which, and who writes now.
    ///
    /// # Errors
    ///
    /// The same error, where it has another cause.
    pub async fn explain(&self, error: RepoError) -> std::result::Result<ClaimLost, RepoError> {
        if !matches!(error.kind(), RepoErrorKind::Conflict { .. }) {
            return Err(error);
        }
        match self.owner.rival_commit().await {
            Some(commit) => Ok(self.owner.explain(LossCause::Committed(commit)).await),
            None => Err(error),
        }
    }

    /// Ends the renewal and removes the claim.
    pub async fn release(self) {
        // It has ended by itself if the claim is lost.
        let _ = self.stop.send(());
        // A renewal that is being written would otherwise bring the claim back.
        let _ = self.renewing.await;
        let Owner {
            repository,
            claim,
            events,
            ..
        } = &self.owner;
        if self.loss.cause() != Some(LossCause::Copied) {
            withdraw(self.owner.clock(), repository, claim.claim, &**events).await;
        }
    }
}

async fn renew_until(
    mut stopped: oneshot::Receiver<()>,
    owner: Owner,
    lost: watch::Sender<Option<LossCause>>,
) {
    let mut renewal = Renewal {
        claim: (*owner.claim).clone(),
        written: owner.clock().now(),
    };
    loop {
        tokio::select! {
            () = owner.clock().sleep(owner.protocol.renewal) => {}
            _ = &mut stopped => return,
        }
        let repository = &owner.repository;
        let renewed = bounded(
            owner.clock(),
            repository,
            Operation::Write,
            renewal.renew(&owner),
        )
        .await;
        let cause = match renewed {
            Ok(None) => owner.rival_commit().await.map(LossCause::Committed),
            Ok(cause) => cause,
            Err(error) => {
                owner.events.happened(&ClaimEvent::NotRenewed(error));
                None
            }
        };
        if let Some(cause) = cause {
            lost.send_replace(Some(cause));
            return;
        }
    }
}

/// The claim as it was written last, and when that began.
struct Renewal {
    claim: WriteClaim,
    written: Duration,
}

impl Renewal {
    /// Writes the claim again, unless it is lost: whoever has taken it may hold what it claims.
    async fn renew(&mut self, owner: &Owner) -> Result<Option<LossCause>> {
        let repository = &owner.repository;
        loop {
            let read = owner.clock().now();
            match repository.claim(self.claim.claim).await {
                Ok(None) => return Ok(Some(LossCause::Removed)),
                Ok(Some(found)) if found.renewed > self.claim.renewed => {
                    return Ok(Some(LossCause::Copied));
                }
                // One that is damaged was not removed, and is put right by this.
                _ => {}
            }
            if owner.clock().now().saturating_sub(read) < READING_IS_NEW {
                break;
            }
        }
        let begun = owner.clock().now();
        self.claim.renewed = self.claim.renewed.saturating_add(1);
        repository.put_claim(&self.claim).await?;
        // Another writer may have removed the claim before this brought it back.
        let unchanged = owner.clock().now().saturating_sub(self.written);
        self.written = begun;
        if unchanged < owner.protocol.limits.stale_after {
            return Ok(None);
        }
        // One that is still entering finds this claim when it looks.
        let holder = owner.holder().await?;
        Ok(holder.filter(is_held).map(|_| LossCause::Late))
    }
}

/// Returns whether the owner of another claim has what it claims.
fn is_held(rival: &Rival) -> bool {
    let state = rival.content.as_ref().map(|claim| claim.state);
    state == Some(ClaimState::Held)
}

impl Owner {
    fn clock(&self) -> &dyn Clock {
        &*self.protocol.clock
    }

    /// Returns who has claimed the same.
    async fn holder(&self) -> Result<Option<Rival>> {
        let this = (self.protocol.this_process)();
        let rival = |found: FoundClaim| {
            let claim = found.content.ok()?;
            let topics = self.claim.overlap(&claim);
            let runs = owner::running(this.as_ref(), claim.process.as_ref()) != Running::No;
            let overlaps = found.claim != self.claim.claim && topics != Some(Vec::new());
            let rival = Rival {
                claim: found.claim,
                content: Some(claim),
                topics,
            };
            (runs && overlaps).then_some(rival)
        };
        let found = self.repository.claims().await?;
        let mut rivals: Vec<Rival> = found.into_iter().filter_map(rival).collect();
        rivals.sort_by_key(|rival| !is_held(rival));
        Ok(rivals.into_iter().next())
    }

    /// Returns the commit of another writer after which that of this one is bound to fail. Where the repository cannot be read, nothing is
    /// known, and the commit protects itself.
    async fn rival_commit(&self) -> Option<Box<RivalCommit>> {
        let mut base = self.base.lock().await;
        let base = base.as_mut()?;
        let found = self.repository.rival_commit(base);
        let found = bounded(self.clock(), &self.repository, Operation::Read, found).await;
        found.ok().flatten().map(Box::new)
    }

    /// Finds out who writes the same now, and what of it is committed.
    async fn explain(&self, cause: LossCause) -> ClaimLost {
        let commit = match &cause {
            LossCause::Committed(commit) => Some(commit.clone()),
            _ => self.rival_commit().await,
        };
        let mut holder = None;
        for look in 1..=LOOKS_FOR_HOLDER {
            let found = bounded(
                self.clock(),
                &self.repository,
                Operation::Read,
                self.holder(),
            )
            .await;
            holder = found.ok().flatten().map(Box::new);
            if holder.is_some() || commit.is_some() || look == LOOKS_FOR_HOLDER {
                break;
            }
            self.clock().sleep(self.protocol.poll).await;
        }
        ClaimLost {
            repository: self.repository.store().url().to_owned(),
            cause,
            holder,
            commit,
        }
    }
}
