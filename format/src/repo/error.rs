//! Errors of a repository: which object, what was expected and found, what to do next.
//!
//! [`RepoErrorKind`] states what the caller must do; the message states it for the user.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;

use super::answer::{Answer, Trouble};
use super::keys::PartitionId;
use crate::error::FormatError;
use crate::layout::limits;
use crate::offset_span::OffsetSpan;

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
}

/// What an error is about.
#[derive(Debug)]
struct Object {
    repository: String,
    /// `None` where it is about the repository as a whole.
    key: Option<String>,
}

/// What the caller must do about an error, with the details of the case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepoErrorKind {
    /// Name another location: this program cannot reach this one.
    InvalidLocation {
        /// What is wrong with it.
        detail: String,
    },

    /// Check the location, or create a repository: there is none at this one.
    NotARepository {
        /// What is there instead.
        found: String,
    },

    /// Name another location for the new repository: something else is there.
    NotEmpty {
        /// One of the entries found.
        found: String,
    },

    /// Open the repository instead of creating it.
    AlreadyExists,

    /// Use a newer program: the table has a row that this one does not know.
    NewerRow {
        /// Its kind.
        kind: String,
    },

    /// Repeat the whole run: a prune deletes the object, or has deleted it, while the run was suspended.
    Pruned,

    /// Use the program that wrote the repository, or create a new one: it has the layout of a version before 1.0.
    OlderVersion {
        /// Its version.
        found: u32,
        /// The only one that this program reads.
        supported: u32,
    },

    /// Use a newer program: the object has a later version of the format.
    NewerVersion {
        /// Its version.
        found: u32,
        /// The latest one that this program reads.
        supported: u32,
    },

    /// Request another snapshot: none has this sequence.
    NoSuchSnapshot {
        /// The sequence that was requested.
        sequence: u64,
    },

    /// Request another snapshot: this one was forgotten, and its objects may be deleted.
    Forgotten {
        /// The sequence that was requested.
        sequence: u64,
    },

    /// Plan again: another run has forgotten snapshots or pruned since the plan was made.
    Outdated,

    /// Keep fewer snapshots, or adjacent ones: a snapshot cannot state which were forgotten between so many.
    TooManyRanges {
        /// The ranges of forgotten snapshots that there would be.
        ranges: usize,
    },

    /// Restore or forget a snapshot first: what it needs is not known, so nothing may be deleted.
    NotPrunable {
        /// The snapshot that cannot be read.
        sequence: u64,
        /// Why.
        detail: String,
    },

    /// Mount or restore the folder: snapshots name objects in it, and it is missing or empty.
    MissingFolder {
        /// The newest snapshot.
        snapshot: u64,
    },

    /// Restore the object from a copy: another one names it, and the store says that it does not exist.
    Missing {
        /// The object that names it.
        named_by: String,
    },

    /// Restore the object from an intact copy: it is not what was written.
    Damaged(Damage),

    /// Open the object again: it was replaced while it was being read.
    Changed,

    /// Repeat the whole run: another writer changed a partition for which this one has new segments.
    Conflict {
        /// The partition.
        partition: PartitionId,
        /// Where this writer resumed.
        expected: i64,
        /// Where the partition ends now.
        found: i64,
    },

    /// Repeat the commit when fewer writers are active: every attempt lost to another one.
    Contended {
        /// The number of attempts.
        tries: u32,
    },

    /// Run the backup that committed a snapshot again: it could not read that the number of this one was reserved, and others have
    /// committed on this one before that was found out.
    Hides {
        /// This snapshot, which is above it.
        sequence: u64,
        /// The other one, which readers do not see.
        hidden: u64,
    },

    /// Report a defect: an object that SPEC forbids, or whose name is taken, was about to be written.
    Refused {
        /// The rule and what broke it.
        detail: String,
    },

    /// Begin a new upload: this one has already failed or ended.
    UploadClosed,

    /// Grant this user the permission to read.
    NotReadable {
        /// The operation that was denied.
        operation: Operation,
    },

    /// Grant this user the permission to write, or make the file system writable.
    NotWritable,

    /// Make room: the disk is full or the quota exhausted.
    NoSpace,

    /// Grant these credentials, or this user, the permission to remove objects.
    NotRemovable,

    /// Give other credentials: there are none, or the store does not accept them.
    Unauthenticated,

    /// Create the bucket, or correct its name: there is none of this name.
    NoSuchBucket,

    /// Correct the region or the endpoint: the bucket is elsewhere.
    WrongRegion,

    /// Wait until the lock of the object ends: a lock, a hold or a retention policy protects it.
    Locked {
        /// The operation that was refused.
        operation: Operation,
        /// How many more objects it was refused for.
        others: u64,
    },

    /// Fetch the object from the archive in which the store keeps it.
    Archived,

    /// Try again: other requests for the same object were under way all the time.
    Busy,

    /// Try again later, or with fewer requests at a time: the store takes no more.
    Throttled {
        /// The operation that failed.
        operation: Operation,
    },

    /// Try again: there was no complete answer in time, and whether the operation took effect is unknown.
    TimedOut {
        /// The operation that failed.
        operation: Operation,
    },

    /// Use one writer at a time: the store does not keep two from creating the same object.
    NoPutIfAbsent {
        /// What was tried, and what came of it.
        found: String,
    },

    /// Try again: the store failed, and whether the object exists is unknown.
    Unavailable {
        /// The operation that failed.
        operation: Operation,
    },
}

impl RepoErrorKind {
    /// Returns whether it is about what an object holds or that it is gone, and not about whether it can be read at this moment.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        matches!(
            self,
            RepoErrorKind::Damaged(_)
                | RepoErrorKind::Missing { .. }
                | RepoErrorKind::NewerVersion { .. }
                | RepoErrorKind::OlderVersion { .. }
                | RepoErrorKind::NewerRow { .. }
                | RepoErrorKind::NoSuchSnapshot { .. }
        )
    }
}

/// How an object differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A sealed object whose bytes are not what was written, or contradict each other.
    Object {
        /// Expected and found.
        detail: String,
    },

    /// Segments that do not cover the offsets of their partition without gap or overlap.
    Coverage {
        /// Where the next segment must begin.
        expected: i64,
        /// Where it begins.
        found: i64,
    },

    /// A segment that is shorter or longer than what was committed.
    Size {
        /// The size that its row states.
        expected: u64,
        /// The size of the object in the store.
        found: u64,
    },

    /// A segment whose bytes are not what was written: the defect and its position.
    Segment(FormatError),

    /// An intact segment that is not the one that was committed under this name.
    OtherSegment {
        /// Expected and found.
        detail: String,
    },
}

/// An operation on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading an object's bytes.
    Read,
    /// Writing a new object.
    Write,
    /// Listing the names in a folder.
    List,
    /// Removing an object that is no longer needed.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::List => "list",
            Operation::Remove => "remove",
        })
    }
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
            RepoErrorKind::NotPrunable { sequence, detail } => write!(
                f,
                "cannot prune {object}: snapshot {sequence} cannot be read, so what it needs is not known: {detail}; restore the damaged \
                 object from a copy, or give the snapshot up with `kbk forget {sequence}`"
            ),
            RepoErrorKind::MissingFolder { snapshot } => write!(
                f,
                "{object} is missing or empty, and snapshot {snapshot} names objects in it; check that all of the repository is mounted, \
                 or restore the folder from a copy (`kbk init` elsewhere starts a new repository)"
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

fn is_unauthenticated(error: &(dyn Error + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(object_store::Error::Unauthenticated { .. })
    )
}

/// Returns whether the store or the operating system denied access.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let by_store = matches!(
        error.downcast_ref(),
        Some(object_store::Error::PermissionDenied { .. })
    );
    by_store || io_kind(error) == Some(io::ErrorKind::PermissionDenied)
}

/// Returns the innermost I/O error, or else the error itself: what stores wrap around it names their own types, and files that the
/// message names already.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut found = error;
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<io::Error>() {
            found = cause;
        }
        next = cause.source();
    }
    found
}

/// Returns the kind of the innermost I/O error: stores wrap it in errors of their own.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let inner = error.source().and_then(io_kind);
    inner.or_else(|| error.downcast_ref::<io::Error>().map(io::Error::kind))
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
