//! Errors of a repository: which object, what was expected and found, what to do next.
//!
//! [`RepoErrorKind`] states what the caller must do; the message states it for the user.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;

use super::answer::{Answer, Trouble};
use super::error_source::{innermost, io_kind, is_denied, is_unauthenticated};
use super::keys::PartitionId;
use crate::layout::limits;
use crate::offset_span::OffsetSpan;

pub use super::error_kind::{Damage, Operation, RepoErrorKind};

/// The result of an operation on the repository.
pub type Result<T> = std::result::Result<T, RepoError>;

/// The error of a store or of the operating system.
pub type BoxedError = Box<dyn Error + Send + Sync + 'static>;

/// An error of a repository. It never affects what was committed before.
#[derive(Debug)]
pub struct RepoError(Box<Parts>);

/// Boxed, so that a `Result` of the repository is no larger than what it returns.
#[derive(Debug)]
struct Parts {
    object: Object,
    kind: RepoErrorKind,
    source: Option<BoxedError>,
    records: Option<(PartitionId, OffsetSpan)>,
    /// Whether the store returns others.
    is_of_one_object: bool,
}

/// What an error is about.
#[derive(Debug)]
struct Object {
    repository: String,
    /// `None` where it is about the repository as a whole.
    key: Option<String>,
}

impl RepoError {
    /// Creates an error about the object `key` of a repository; [`Store::error`](super::store::Store::error) fills in which.
    #[must_use]
    pub fn of_object(repository: &str, key: &str, kind: RepoErrorKind) -> Self {
        Self::new(repository, Some(key), kind, None)
    }

    /// Creates an error about a repository, or a location for one, as a whole.
    pub(super) fn of_repository(repository: &str, kind: RepoErrorKind) -> Self {
        Self::new(repository, None, kind, None)
    }

    /// Classifies the error of a store by the reason that it or the operating system gives.
    #[must_use]
    pub fn of_store(operation: Operation, repository: &str, key: &str, source: BoxedError) -> Self {
        if let Some(answer) = Answer::of(source.as_ref()) {
            let kind = answered(operation, answer.trouble);
            // What the library says beside the answer may repeat what was asked.
            return Self::new(repository, Some(key), kind, Some(Box::new(answer)));
        }
        let kind = match (operation, io_kind(source.as_ref())) {
            (_, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
                RepoErrorKind::NoSpace
            }
            (Operation::Write, Some(io::ErrorKind::ReadOnlyFilesystem)) => {
                RepoErrorKind::NotWritable
            }
            _ if is_unauthenticated(source.as_ref()) => RepoErrorKind::Unauthenticated,
            _ if is_denied(source.as_ref()) => denied(operation),
            (_, Some(io::ErrorKind::TimedOut)) => RepoErrorKind::TimedOut { operation },
            _ => RepoErrorKind::Unavailable { operation },
        };
        Self::new(repository, Some(key), kind, Some(source))
    }

    /// Returns the same error of a lock, which protects this many more objects.
    pub(super) fn and_others(mut self, count: u64) -> Self {
        if let RepoErrorKind::Locked { others, .. } = &mut self.0.kind {
            *others = count;
        }
        self
    }

    fn new(
        repository: &str,
        key: Option<&str>,
        kind: RepoErrorKind,
        source: Option<BoxedError>,
    ) -> Self {
        let object = Object {
            repository: repository.to_owned(),
            key: key.map(str::to_owned),
        };
        RepoError(Box::new(Parts {
            object,
            kind,
            source,
            records: None,
            is_of_one_object: false,
        }))
    }

    /// Adds which records cannot be read because of it, unless that is known already.
    #[must_use]
    pub fn in_records(mut self, partition: &PartitionId, offsets: Range<i64>) -> Self {
        let records = &mut self.0.records;
        records.get_or_insert_with(|| (partition.clone(), offsets.into()));
        self
    }

    /// Returns the partition and the offsets that cannot be read because of it, where they are known: those of a block or of a segment.
    #[must_use]
    pub fn records(&self) -> Option<(&PartitionId, OffsetSpan)> {
        let (partition, offsets) = self.0.records.as_ref()?;
        Some((partition, *offsets))
    }

    /// States that it is about the object that it names and no other: [`Store::judged`](super::store::Store::judged) has asked.
    #[must_use]
    pub fn of_one_object(mut self) -> Self {
        self.0.is_of_one_object = true;
        self
    }

    /// Returns whether a reader may leave out what this object holds, and continue with others: it is about what is stored, or it was found that
    /// only this object cannot be read.
    #[must_use]
    pub fn is_of_one_object(&self) -> bool {
        self.0.is_of_one_object || self.kind().is_about_content()
    }

    /// Returns what the caller must do.
    #[must_use]
    pub fn kind(&self) -> &RepoErrorKind {
        &self.0.kind
    }

    /// Returns the name of the repository in messages.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.0.object.repository
    }

    /// Returns the name of the object; `None` where the error is about the repository as a whole.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.object.key.as_deref()
    }
}

impl Error for RepoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(innermost(source.as_ref()))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} in {}", self.repository),
            None => f.write_str(&self.repository),
        }
    }
}

impl fmt::Display for RepoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            object,
            kind,
            source,
            records: _,
            is_of_one_object: _,
        } = &*self.0;
        let source: &dyn fmt::Display = match source {
            Some(source) => &innermost(source.as_ref()),
            None => &"the store gave no reason",
        };
        match kind {
            RepoErrorKind::InvalidLocation { detail } => write!(
                f,
                "cannot use {:?} as a repository: {detail}",
                object.repository
            ),
            RepoErrorKind::NotARepository { found } => write!(
                f,
                "{object} is not a kbk repository: {found}; check that the location is right and mounted, or create a repository in an \
                 empty folder with `kbk init`"
            ),
            RepoErrorKind::NotEmpty { found } => write!(
                f,
                "cannot create a repository in {object}: it is not empty and holds {found}; name a new or an empty folder"
            ),
            RepoErrorKind::AlreadyExists => write!(
                f,
                "{object} is already a kbk repository; back up to it, or name another folder"
            ),
            RepoErrorKind::NewerVersion { found, supported } => write!(
                f,
                "cannot read {object}: it has version {found} of the format, and this program reads up to {supported}; \
                 use a newer kbk"
            ),
            RepoErrorKind::OlderVersion { found, supported } => write!(
                f,
                "cannot read {object}: it has the layout {found} of kbk before 1.0, and this program reads {supported}; use the kbk that \
                 wrote it, or back up to a new repository"
            ),
            RepoErrorKind::NewerRow { kind } => write!(
                f,
                "cannot read {object}: it has a row of the kind {kind:?}, which this program does not know; use a newer kbk"
            ),
            RepoErrorKind::Pruned => write!(
                f,
                "cannot commit {object}: a prune has marked it for deletion while this run was suspended; run the backup again"
            ),
            RepoErrorKind::NoSuchSnapshot { sequence } => write!(
                f,
                "{object} has no snapshot {sequence}; `kbk snapshots` lists those it has"
            ),
            RepoErrorKind::Forgotten { sequence } => write!(
                f,
                "snapshot {sequence} was forgotten, and what only it needed may be deleted ({object}); use another snapshot \
                 (`kbk snapshots` lists them)"
            ),
            RepoErrorKind::Outdated => write!(
                f,
                "cannot change {object}: another run has forgotten snapshots or pruned since this one looked; run it again"
            ),
            RepoErrorKind::TooManyRanges { ranges } => write!(
                f,
                "cannot forget snapshots of {object}: the snapshots that stay would divide those forgotten into {ranges} ranges, and the \
                 limit is {}; keep fewer",
                limits::FORGOTTEN_RANGES
            ),
            RepoErrorKind::NewestMissing { newest } => {
                write!(
                    f,
                    "{object} is missing, and snapshots/latest.json names it as the newest snapshot"
                )?;
                match newest {
                    Some(newest) => write!(f, " (the newest that is there is {newest})")?,
                    None => f.write_str(" (there is no other)")?,
                }
                f.write_str(
                    "; restore this object from a copy, or give it up: `kbk recover --rebuild` uses the segments that only it named",
                )
            }
            RepoErrorKind::ParentMissing { child } => write!(
                f,
                "{object} is missing: snapshot {child} was made from it, and it was not forgotten"
            ),
            RepoErrorKind::NotPrunable {
                sequence,
                is_newest,
                detail,
            } => {
                write!(
                    f,
                    "cannot prune {object}: snapshot {sequence} cannot be read, so what it needs is not known: {detail}; restore the damaged \
                     object from a copy, or give the snapshot up with "
                )?;
                match is_newest {
                    true => write!(
                        f,
                        "`kbk recover --rebuild` or `kbk backup --ignore-damaged-snapshot {sequence}`"
                    ),
                    false => write!(f, "`kbk forget {sequence}`"),
                }
            }
            RepoErrorKind::MissingFolder { snapshot } => write!(
                f,
                "{object} is missing or empty, and snapshot {snapshot} names objects in it; check that all of the repository is mounted, \
                 or restore the folder from a copy (`kbk recover --rebuild` builds a missing index of the segments, `kbk init` elsewhere starts a new \
                 repository)"
            ),
            RepoErrorKind::Missing { named_by } => write!(
                f,
                "{object} is missing, and {named_by} names it; restore this object from a copy, or use another snapshot"
            ),
            RepoErrorKind::Damaged(damage) => damage.write(object, f),
            RepoErrorKind::Changed => write!(
                f,
                "{object} has been replaced since it was opened; open it again"
            ),
            RepoErrorKind::Conflict {
                partition,
                expected,
                found,
            } => write!(
                f,
                "cannot commit {partition}: another writer stored it meanwhile: it ended at offset {expected} when this run \
                 began and ends at {found} now; let one backup at a time write a topic, and run it again: \
                 this run's segments are not used"
            ),
            RepoErrorKind::Contended { tries } => write!(
                f,
                "cannot commit to {object}: other writers committed {tries} snapshots meanwhile; run it again when fewer do"
            ),
            RepoErrorKind::Hides { sequence, hidden } => write!(
                f,
                "cannot commit to {object}: another run committed snapshot {hidden} there meanwhile, without knowing that snapshot \
                 {sequence} was about to be committed on an older one, and later snapshots do not have what {hidden} stored; run \
                 the backup that committed {hidden} again: it uses the segments that are stored"
            ),
            RepoErrorKind::Refused { detail } => write!(
                f,
                "cannot write {object}: {detail}; this is a defect of kbk: please report it"
            ),
            RepoErrorKind::UploadClosed => write!(
                f,
                "cannot append to {object}: an earlier write failed; run the backup again"
            ),
            RepoErrorKind::NotReadable { operation } => write!(
                f,
                "cannot {operation} {object}: {source}; {}",
                permission(*operation, &object.repository)
            ),
            RepoErrorKind::NotWritable => write!(
                f,
                "cannot write {object}: {source}; {}",
                permission(Operation::Write, &object.repository)
            ),
            RepoErrorKind::NotRemovable => write!(
                f,
                "cannot remove {object}: {source}; {}",
                permission(Operation::Remove, &object.repository)
            ),
            RepoErrorKind::Unauthenticated => write!(
                f,
                "cannot log in to use {object}: {source}; give other credentials in the environment or in a profile (docs/stores.md)"
            ),
            RepoErrorKind::NoSuchBucket => write!(
                f,
                "cannot use {object}: there is no such bucket: {source}; create it, or correct its name or the endpoint"
            ),
            RepoErrorKind::WrongRegion => write!(
                f,
                "cannot use {object}: the bucket is in another region or under another endpoint: {source}; set the store option `region` \
                 or `endpoint`"
            ),
            RepoErrorKind::Locked {
                operation,
                others: 0,
            } => write!(
                f,
                "cannot {operation} {object}: a lock, a hold or a retention policy protects it: {source}; try again when that has ended"
            ),
            RepoErrorKind::Locked { operation, others } => write!(
                f,
                "cannot {operation} {object} and {others} more: a lock, a hold or a retention policy protects each: {source}; \
                 try again when that has ended"
            ),
            RepoErrorKind::Archived => write!(
                f,
                "cannot read {object}: the store keeps it in an archive: {source}; restore it there to a class that can be read at once, \
                 and keep rules of the bucket from archiving a repository"
            ),
            RepoErrorKind::Busy => write!(
                f,
                "cannot write {object}: other requests for it were under way all the time: {source}; run it again"
            ),
            RepoErrorKind::Throttled { operation } => write!(
                f,
                "cannot {operation} {object}: the store takes no more requests at the moment: {source}; run it again later, or with fewer \
                 requests at a time (store options `max-concurrent-uploads` and `parallel-requests`)"
            ),
            RepoErrorKind::TimedOut { operation } => write!(
                f,
                "cannot {operation} {object}: {source}; check the network and that the store is up, and run it again; \
                 the store options `request-timeout` and `retry-timeout` allow more time"
            ),
            RepoErrorKind::NoPutIfAbsent { found } => write!(
                f,
                "cannot create a repository in {object}: {found}, so that two backups at a time could destroy each other's snapshots; use \
                 a store that honours If-None-Match, or `--single-writer` if never more than one kbk writes there"
            ),
            RepoErrorKind::NoSpace => write!(
                f,
                "no space left to write {object}: {source}; make room and run it again: what was committed is intact"
            ),
            RepoErrorKind::Unavailable { operation } => write!(
                f,
                "cannot {operation} {object}: {source}; check that the repository can be reached, and run it again"
            ),
        }
    }
}

impl Damage {
    fn write(&self, object: &Object, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Object { detail } => write!(
                f,
                "{object} is damaged: {detail}; restore this object from an intact copy, or use another snapshot"
            ),
            Damage::Coverage { expected, found } => write!(
                f,
                "{object} does not cover every offset exactly once: a segment ends at offset {expected} and the next one \
                 begins at {found}; use another snapshot"
            ),
            Damage::Size { expected, found } => write!(
                f,
                "{object} has {found} bytes, and the repository expects {expected}: it is truncated, or another object; \
                 restore this object from an intact copy"
            ),
            Damage::Segment(error) => write!(
                f,
                "{object} is damaged: {error}; restore this object from an intact copy"
            ),
            Damage::OtherRepository { stated, found, by } => write!(
                f,
                "{object} states the repository {stated}, and {by} states {found}: it is that of another repository; restore this object from \
                 a copy, or move it away: `kbk recover --rebuild` then writes it again, as the other objects state it"
            ),
            Damage::OtherSegment { detail } => write!(
                f,
                "{object} holds another segment: {detail}; restore this object from an intact copy"
            ),
        }
    }
}

/// Returns what the caller must do about an answer.
fn answered(operation: Operation, trouble: Trouble) -> RepoErrorKind {
    match trouble {
        Trouble::Unauthenticated => RepoErrorKind::Unauthenticated,
        Trouble::Denied => denied(operation),
        Trouble::NoBucket => RepoErrorKind::NoSuchBucket,
        Trouble::WrongRegion => RepoErrorKind::WrongRegion,
        Trouble::Locked => RepoErrorKind::Locked {
            operation,
            others: 0,
        },
        Trouble::Archived => RepoErrorKind::Archived,
        Trouble::Conflict => RepoErrorKind::Busy,
        Trouble::Throttled => RepoErrorKind::Throttled { operation },
        Trouble::TimedOut => RepoErrorKind::TimedOut { operation },
        Trouble::NoSpace => RepoErrorKind::NoSpace,
        Trouble::Cut | Trouble::Other => RepoErrorKind::Unavailable { operation },
    }
}

fn denied(operation: Operation) -> RepoErrorKind {
    match operation {
        Operation::Write => RepoErrorKind::NotWritable,
        Operation::Read | Operation::List => RepoErrorKind::NotReadable { operation },
        Operation::Remove => RepoErrorKind::NotRemovable,
    }
}

/// Returns what to check where the store at `repository` denied an operation.
fn permission(operation: Operation, repository: &str) -> String {
    let scheme = repository.split_once("://").map(|(scheme, _)| scheme);
    let granted = match (scheme, operation) {
        (Some("s3"), Operation::Read) => {
            "`s3:GetObject`, and `s3:ListBucket`, without which an object that is missing is denied, too"
        }
        (Some("s3"), Operation::Write) => {
            "`s3:PutObject`, and that of the encryption key if there is one"
        }
        (Some("s3"), Operation::List) => "`s3:ListBucket`",
        (Some("s3"), Operation::Remove) => "`s3:DeleteObject`",
        (Some("az"), Operation::Read | Operation::List) => "the role Storage Blob Data Reader",
        (Some("az"), Operation::Write | Operation::Remove) => {
            "the role Storage Blob Data Contributor"
        }
        (Some("gs"), Operation::Read) => "`storage.objects.get`",
        (Some("gs"), Operation::Write) => {
            "`storage.objects.create`, and `storage.objects.delete` for what is replaced"
        }
        (Some("gs"), Operation::List) => "`storage.objects.list`",
        (Some("gs"), Operation::Remove) => "`storage.objects.delete`",
        (_, Operation::Read | Operation::List) => {
            return "check that this user may read there".to_owned();
        }
        (_, Operation::Write) => {
            return "check that this user may write there and that the file system is not read-only".to_owned();
        }
        (_, Operation::Remove) => return "check that this user may write there".to_owned(),
    };
    format!("grant these credentials {granted} (docs/stores.md)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_that_of_the_system_without_what_the_store_says_around_it() {
        let system = io::Error::other("the disk is on fire");
        let source = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(system),
        };
        let error = RepoError::of_store(Operation::Read, "/backup", "a.json", Box::new(source));
        let message = error.to_string();
        assert!(
            message.starts_with("cannot read a.json in /backup: the disk is on fire; "),
            "{message}"
        );
        let source = error.source().map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("the disk is on fire"));
    }
}
