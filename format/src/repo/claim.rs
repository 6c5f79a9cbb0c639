//! Claims: what writers that run now are going to write (SPEC section 11.9).
//!
//! A claim only says so. It protects nothing: the commit does.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{RepoErrorKind, Result};
use super::id::{Digest, Hex, Id};
use super::keys::{CLAIMS, Key, PartitionId, TopicName};
use super::listing::Listed;
use super::repository::Repository;
use super::sealed::{Document, SealError, seal, unseal};
use crate::PartitionNumber;
use crate::layout::limits;

/// The most topics that a claim names (SPEC section 6).
pub const MAX_CLAIMED_TOPICS: usize = limits::CLAIMED_TOPICS;
/// The largest claim that is read or written (SPEC section 6).
const MAX_CLAIM_BYTES: u64 = limits::CLAIM_BYTES;

/// What a writer is going to write, and who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WriteClaim {
    /// A random id.
    pub claim: Id,
    /// What the writer does, for people.
    pub command: String,
    /// Program and version.
    pub writer: String,
    /// The name of the machine, for people.
    pub host: Option<String>,
    /// The process that owns it, where the system offers a proof of that.
    pub process: Option<ClaimProcess>,
    /// When it was made, for people: no decision depends on it.
    pub begun_at: Timestamp,
    /// 1 greater at each write.
    pub renewed: u64,
    /// Whether the owner has what it claims.
    pub state: ClaimState,
    /// What is claimed, ascending by name; `None` claims everything.
    pub topics: Option<Vec<ClaimedTopic>>,
}

/// A process, beyond doubt: no other one has the same four values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimProcess {
    /// The boot of the machine.
    pub boot_id: String,
    /// What gives process ids and times their meaning on it.
    pub namespace: String,
    /// The process id.
    pub pid: u32,
    /// When it started, in the system's unit.
    pub started: u64,
}

/// Whether an owner has what it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimState {
    /// It is finding out whether others claim the same.
    Entering,
    /// It has it, or is about to.
    Held,
}

/// A topic, whichever ids topics of this name have, and its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimedTopic {
    /// The name.
    pub topic: TopicName,
    /// Ascending; `None` claims all of them.
    pub partitions: Option<Vec<PartitionNumber>>,
}

/// The bytes of a claim, or what is known of them: it changes with every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimVersion(pub Digest);

/// An object in the folder of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundClaim {
    /// According to its name.
    pub claim: Id,
    /// Changes whenever the object does.
    pub version: ClaimVersion,
    /// What it says, or why it cannot be read as a claim.
    pub content: std::result::Result<WriteClaim, String>,
}

impl Document for WriteClaim {
    const FORMAT: &'static str = "kbk-claim";
}

impl WriteClaim {
    /// Returns the topics that both claim at least a partition of, ascending; `None` if both claim everything.
    #[must_use]
    pub fn overlap(&self, other: &WriteClaim) -> Option<Vec<TopicName>> {
        let (ours, theirs) = match (&self.topics, &other.topics) {
            (None, None) => return None,
            (Some(topics), None) | (None, Some(topics)) => (topics, topics),
            (Some(ours), Some(theirs)) => (ours, theirs),
        };
        let shared = ours.iter().filter(|ours| {
            let found = theirs.binary_search_by(|theirs| theirs.topic.cmp(&ours.topic));
            let found = found.ok().and_then(|at| theirs.get(at));
            found.is_some_and(|theirs| ours.overlaps(theirs))
        });
        Some(shared.map(|topic| topic.topic.clone()).collect())
    }

    fn check(&self) -> std::result::Result<(), String> {
        let topics = self.topics.as_deref().unwrap_or_default();
        if topics.len() > MAX_CLAIMED_TOPICS {
            let found = topics.len();
            return Err(format!(
                "it names {found} topics, and the limit is {MAX_CLAIMED_TOPICS}"
            ));
        }
        if !topics.is_sorted_by(|a, b| a.topic < b.topic) {
            return Err("its topics are not in order, or one is repeated".to_owned());
        }
        let ordered = |topic: &ClaimedTopic| {
            let partitions = topic.partitions.as_deref().unwrap_or_default();
            partitions.is_sorted_by(|a, b| a < b)
        };
        match topics.iter().find(|topic| !ordered(topic)) {
            Some(ClaimedTopic { topic, .. }) => Err(format!(
                "the partitions of {topic} are not in order, or one is repeated"
            )),
            None => Ok(()),
        }
    }
}

impl ClaimedTopic {
    /// Returns whether a partition belongs to it.
    pub(super) fn covers(&self, partition: &PartitionId) -> bool {
        let has = |partitions: &Vec<PartitionNumber>| partitions.contains(&partition.partition);
        self.topic == partition.topic && self.partitions.as_ref().is_none_or(has)
    }

    fn overlaps(&self, other: &ClaimedTopic) -> bool {
        match (&self.partitions, &other.partitions) {
            (None, None) => true,
            (Some(some), None) | (None, Some(some)) => !some.is_empty(),
            (Some(ours), Some(theirs)) => ours.iter().any(|one| theirs.binary_search(one).is_ok()),
        }
    }
}

impl Repository {
    /// Writes a claim, in place of an earlier version of it.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn put_claim(&self, claim: &WriteClaim) -> Result<()> {
        let key = Key::WriteClaim { claim: claim.claim };
        let (bytes, _) = seal(claim);
        let checked = match bytes.len() as u64 {
            size if size > MAX_CLAIM_BYTES => Err(format!(
                "it has {size} bytes, and the limit is {MAX_CLAIM_BYTES}"
            )),
            _ => claim.check(),
        };
        checked.map_err(|detail| self.store().refused(&key, detail))?;
        self.store().replace(&key, bytes).await
    }

    /// Lists and reads all claims, ordered by id. One that cannot be read is there, too; its content says why.
    ///
    /// # Errors
    ///
    /// The error of the store if it cannot list them.
    pub async fn claims(&self) -> Result<Vec<FoundClaim>> {
        let listed = self.store().list(CLAIMS).await?;
        let found = listed.into_iter().filter_map(|object| match object.key {
            Key::WriteClaim { claim } => Some(self.found_claim(claim, object)),
            _ => None,
        });
        let found: Vec<_> = found.collect();
        let found = stream::iter(found).buffered(self.store().profile().parallel_requests);
        found
            .try_filter_map(|found| std::future::ready(Ok(found)))
            .try_collect()
            .await
    }

    /// Reads a claim; `None` if there is none of this id.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`], [`RepoErrorKind::NewerVersion`], or the error of the store.
    pub async fn claim(&self, claim: Id) -> Result<Option<WriteClaim>> {
        let key = Key::WriteClaim { claim };
        let read = self.store().read_at_most(&key, MAX_CLAIM_BYTES).await?;
        let content = read.map(|bytes| parse(claim, &bytes));
        let content = content.transpose();
        content.map_err(|detail| self.store().damaged(&key, detail))
    }

    /// Removes a claim, if there is one of this id.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn remove_claim(&self, claim: Id) -> Result<()> {
        self.store().remove(&Key::WriteClaim { claim }).await
    }

    /// Reads a claim that was listed; `None` if it has been removed since.
    async fn found_claim(&self, claim: Id, listed: Listed) -> Result<Option<FoundClaim>> {
        let read = self.store().read_at_most(&listed.key, MAX_CLAIM_BYTES);
        Ok(match read.await {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(FoundClaim {
                claim,
                version: ClaimVersion(Hex(Sha256::digest(&bytes).into())),
                content: parse(claim, &bytes),
            }),
            // The store works, since it has listed the object. What the listing says of it tells whether it changes.
            Err(error) => Some(FoundClaim {
                claim,
                version: version_of_listing(&listed),
                content: Err(match error.kind() {
                    RepoErrorKind::Damaged(_) => "it is damaged".to_owned(),
                    _ => error.to_string(),
                }),
            }),
        })
    }
}

fn parse(claim: Id, bytes: &[u8]) -> std::result::Result<WriteClaim, String> {
    let found = unseal::<WriteClaim>(bytes).map_err(|error| match error {
        SealError::Damaged(detail) => detail,
        SealError::OtherFormat(found) => format!("its format is {found:?}"),
        SealError::NewerVersion(found) | SealError::OlderVersion(found) => {
            format!("it has version {found} of the format")
        }
        SealError::UnknownRow(kind) => format!("it has a row of the kind {kind:?}"),
    })?;
    found.check()?;
    if found.claim != claim {
        return Err(format!("it is claim {}", found.claim));
    }
    Ok(found.value)
}

fn version_of_listing(listed: &Listed) -> ClaimVersion {
    let mut hash = Sha256::new();
    hash.update(listed.bytes.to_le_bytes());
    hash.update(listed.written_ms.to_le_bytes());
    ClaimVersion(Hex(hash.finalize().into()))
}
