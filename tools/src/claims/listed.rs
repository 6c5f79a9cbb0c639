//! Claims for people: who writes a repository now, and who has left a claim behind.

use std::fmt;

use kbk_format::repo::{ClaimState, FoundClaim, Key, Repository, Result};
use serde::Serialize;

use super::owner::{self, Running};
use super::rival::Rival;

/// A claim as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedClaim {
    /// The name of its object.
    pub key: String,
    /// What its owner does; null, like the next four, if it cannot be read.
    pub command: Option<String>,
    /// The name of its machine.
    pub host: Option<String>,
    /// Its process id there.
    pub pid: Option<u32>,
    /// When it was made, according to its machine.
    pub begun_at: Option<String>,
    /// Whether its owner has what it claims.
    pub state: Option<ClaimState>,
    /// Names of the topics; null if it claims everything.
    pub topics: Option<Vec<String>>,
    /// Whether its owner still runs. If not, the next writer of the same topics removes it.
    pub running: Running,
    /// Why it cannot be read as a claim.
    pub error: Option<String>,
    /// The owner in words.
    #[serde(skip)]
    owner: String,
}

impl ListedClaim {
    /// Returns who owns it, for people.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }
}

/// What it means, for people: `kbk backup on HOST (process 12, since 2026-11-22T10:00:00Z) runs now`.
impl fmt::Display for ListedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListedClaim { owner, key, .. } = self;
        match (&self.error, self.running) {
            (Some(error), _) => write!(
                f,
                "{key} cannot be read as a claim ({error}): the next backup or copy waits up to 60 s for it to change, then removes it"
            ),
            (None, Running::Yes) => write!(f, "{owner} runs now"),
            (None, Running::No) => write!(
                f,
                "{owner} has ended and left its claim {key}: the next `kbk backup` or `kbk copy` removes it"
            ),
            (None, Running::Unknown) => write!(
                f,
                "{owner} claims topics, and whether it still runs is not known here; its claim is {key}"
            ),
        }
    }
}

/// Lists all claims.
///
/// # Errors
///
/// The error of the store if it cannot list them.
pub async fn list(repository: &Repository) -> Result<Vec<ListedClaim>> {
    let this = owner::this_process();
    let row = |found: FoundClaim| {
        let rival = Rival {
            claim: found.claim,
            content: found.content.as_ref().ok().cloned(),
            topics: None,
        };
        let (claim, error) = match found.content {
            Ok(claim) => (Some(claim), None),
            Err(error) => (None, Some(error)),
        };
        let claim = claim.as_ref();
        let process = claim.and_then(|claim| claim.process.as_ref());
        let key = Key::WriteClaim { claim: found.claim };
        let topics = claim.and_then(|claim| claim.topics.as_ref());
        ListedClaim {
            key: key.to_string(),
            command: claim.map(|claim| claim.command.clone()),
            host: claim.and_then(|claim| claim.host.clone()),
            pid: process.map(|process| process.pid),
            begun_at: claim.map(|claim| claim.begun_at.to_string()),
            state: claim.map(|claim| claim.state),
            topics: topics.map(|topics| topics.iter().map(|t| t.topic.to_string()).collect()),
            running: owner::running(this.as_ref(), process),
            error,
            owner: rival.to_string(),
        }
    };
    let found = repository.claims().await?;
    Ok(found.into_iter().map(row).collect())
}
