//! Makes a claim in a repository: takes the steps of the protocol, with a bound on each.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    ClaimProcess, ClaimState, ClaimedTopic, FoundClaim, Id, MAX_CLAIMED_TOPICS, Operation,
    RepoError, Repository, WriteClaim,
};

use super::clock::{Clock, SystemClock};
use super::entry::{Entry, Limits, Sighting, Step};
use super::held::{ClaimEvent, ClaimEvents, HeldClaim};
use super::owner;
use super::rival::Rival;

/// How long an access to the repository may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What is claimed, and by whom.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// What the writer does, such as `backup`.
    pub command: String,
    /// Program and version.
    pub writer: String,
    /// What is claimed, in any order; `None` claims everything.
    pub topics: Option<Vec<ClaimedTopic>>,
    /// Whether its user can select other topics instead.
    pub can_select: bool,
}

/// Why a claim was not granted.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Others have claimed the same.
    #[error("{}", .rival.refusal(.repository, *.can_select))]
    Taken {
        /// Where.
        repository: String,
        /// Who, and what.
        rival: Box<Rival>,
        /// Whether this command can select other topics.
        can_select: bool,
    },
    /// The claim is removed again and again.
    #[error(
        "cannot claim topics in {0}: the object that says so is removed as soon as it is written; check what cleans up the folder `claims`"
    )]
    Vanishes(String),
    /// An access to the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

/// The times of the protocol, its clock, and the proof of an owner. Tests have others.
#[derive(Clone, Debug)]
pub(super) struct Protocol {
    pub(super) limits: Limits,
    pub(super) poll: Duration,
    pub(super) back_off: Duration,
    pub(super) renewal: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) this_process: fn() -> Option<ClaimProcess>,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            limits: Limits::default(),
            poll: Duration::from_secs(1),
            back_off: Duration::from_millis(100),
            renewal: Duration::from_secs(15),
            clock: Arc::new(SystemClock),
            this_process: owner::this_process,
        }
    }
}

/// Claims what is requested, and keeps the claim until it is released. `None` if `stop` was ready while it waited for others.
///
/// # Errors
///
/// [`ClaimError::Taken`] where another writer has claimed the same; an error of the repository.
pub async fn claim(
    repository: &Repository,
    request: ClaimRequest,
    stop: impl Future<Output = ()>,
    events: Arc<dyn ClaimEvents>,
) -> Result<Option<HeldClaim>, ClaimError> {
    claim_within(Protocol::default(), repository, request, stop, events).await
}

pub(super) async fn claim_within(
    protocol: Protocol,
    repository: &Repository,
    request: ClaimRequest,
    stop: impl Future<Output = ()>,
    events: Arc<dyn ClaimEvents>,
) -> Result<Option<HeldClaim>, ClaimError> {
    let can_select = request.can_select;
    let claim = new_claim(request, (protocol.this_process)());
    let id = claim.claim;
    let granted = take_steps(&protocol, repository, (claim, can_select), stop, &*events).await;
    if !matches!(granted, Ok(Some(_))) {
        withdraw(&*protocol.clock, repository, id, &*events).await;
    }
    Ok(granted?.map(|claim| HeldClaim::start(protocol, repository.clone(), claim, events)))
}

/// Returns who this process is, as others read it in a claim: `kbk restore on HOST (process 12, since 2026-11-22T10:00:00Z)`.
#[must_use]
pub fn this_process_in_words(command: &str) -> String {
    let request = ClaimRequest {
        command: command.to_owned(),
        writer: String::new(),
        topics: None,
        can_select: false,
    };
    let claim = new_claim(request, owner::this_process());
    let (claim, content) = (claim.claim, Some(claim));
    let topics = None;
    Rival {
        claim,
        content,
        topics,
    }
    .to_string()
}

fn new_claim(request: ClaimRequest, process: Option<ClaimProcess>) -> WriteClaim {
    let mut topics = request.topics;
    if let Some(topics) = &mut topics {
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    }
    // Too many to name: whoever claims everything overlaps them all, which is safe.
    topics.take_if(|topics| topics.len() > MAX_CLAIMED_TOPICS);
    WriteClaim {
        claim: Id::random(),
        command: request.command,
        writer: request.writer,
        host: owner::host(),
        process,
        begun_at: Timestamp::now(),
        renewed: 0,
        state: ClaimState::Entering,
        topics,
    }
}

async fn take_steps(
    protocol: &Protocol,
    repository: &Repository,
    (claim, can_select): (WriteClaim, bool),
    stop: impl Future<Output = ()>,
    events: &dyn ClaimEvents,
) -> Result<Option<WriteClaim>, ClaimError> {
    let mut stop = std::pin::pin!(stop);
    let id = claim.claim;
    let mut entry = Entry::new(claim, protocol.limits.clone());
    let clock = &*protocol.clock;
    let mut looked: Option<Duration> = None;
    loop {
        let wait = match entry.next() {
            Step::Put(claim) => {
                bounded(
                    clock,
                    repository,
                    Operation::Write,
                    repository.put_claim(&claim),
                )
                .await?;
                continue;
            }
            Step::Look => {
                let now = clock.now();
                let elapsed = looked.map_or(Duration::ZERO, |before| now.saturating_sub(before));
                looked = Some(now);
                entry.seen(&look(protocol, repository).await?, elapsed);
                continue;
            }
            Step::Withdraw => {
                withdraw(clock, repository, id, events).await;
                continue;
            }
            Step::RemoveStale(rival) => {
                let removed = repository.remove_claim(rival.claim);
                let removed = bounded(clock, repository, Operation::Remove, removed).await;
                events.happened(&ClaimEvent::Stale {
                    rival: *rival,
                    error: removed.err(),
                });
                continue;
            }
            Step::Announce(rival) => {
                events.happened(&ClaimEvent::Watching(*rival));
                continue;
            }
            Step::End(Ok(claim)) => return Ok(Some(claim)),
            Step::End(Err(rival)) => {
                let repository = repository.store().url().to_owned();
                return Err(match rival {
                    Some(rival) => ClaimError::Taken {
                        repository,
                        rival,
                        can_select,
                    },
                    None => ClaimError::Vanishes(repository),
                });
            }
            Step::Poll => protocol.poll,
            Step::BackOff(attempt) => random_part_of(protocol.back_off * attempt),
        };
        tokio::select! {
            () = clock.sleep(wait) => {}
            () = &mut stop => return Ok(None),
        }
    }
}

async fn look(protocol: &Protocol, repository: &Repository) -> Result<Vec<Sighting>, RepoError> {
    let this = (protocol.this_process)();
    let found = bounded(
        &*protocol.clock,
        repository,
        Operation::Read,
        repository.claims(),
    )
    .await?;
    let sighting = |found: FoundClaim| {
        let content = found.content.ok();
        let process = content.as_ref().and_then(|claim| claim.process.as_ref());
        Sighting {
            claim: found.claim,
            version: found.version,
            running: owner::running(this.as_ref(), process),
            content,
        }
    };
    Ok(found.into_iter().map(sighting).collect())
}

/// Removes the own claim. What stays is stale as soon as this process ends.
pub(super) async fn withdraw(
    clock: &dyn Clock,
    repository: &Repository,
    claim: Id,
    events: &dyn ClaimEvents,
) {
    let removed = repository.remove_claim(claim);
    if let Err(error) = bounded(clock, repository, Operation::Remove, removed).await {
        events.happened(&ClaimEvent::NotRemoved(error));
    }
}

/// Ends an access to the repository that takes too long.
pub(super) async fn bounded<T>(
    clock: &dyn Clock,
    repository: &Repository,
    operation: Operation,
    access: impl Future<Output = Result<T, RepoError>>,
) -> Result<T, RepoError> {
    tokio::select! {
        ended = access => ended,
        () = clock.sleep(PATIENCE) => {
            let late = format!("no answer within {} s", PATIENCE.as_secs());
            let url = repository.store().url();
            Err(RepoError::of_store(operation, url, "claims", late.into()))
        }
    }
}

/// Returns a random time from a fifth of `longest` to all of it: two that wait equally long would meet again.
fn random_part_of(longest: Duration) -> Duration {
    let [byte, ..] = Id::random().0;
    longest / 5 + longest * 4 / 5 * u32::from(byte) / 255
}
