//! The repository: segments, and the objects that state which segments exist (SPEC section 11).
//!
//! ```text
//! kbk.json                                                    identity    written once
//! data/<topic>/<topic-id>/<partition>/<base>-<id>.kseg        segments    written first
//! index/<sha256>.idx                                          tables      then these: rows about topics, partitions and segments
//! cluster/<sha256>.json.zst                                   answers     and these: consumer groups, ACLs
//! snapshots/<sequence>.json                                   snapshots   the commit
//! snapshots/latest.json                                       hint        at the newest snapshot
//! restores/<restore>/...                                      restores    which record went where in a cluster
//! claims/<claim>.json                                         claims      what writers that run now are going to write
//! ```
//!
//! Reading follows the reverse order: the newest snapshot names tables, tables name segments. An object that nothing
//! names does not exist. This is the only module that knows `object_store`.
//!
//! | to | see |
//! |---|---|
//! | open, create, read | [`Repository`] |
//! | read a segment | [`SegmentReader`] |
//! | write a segment | [`SegmentUpload`] |
//! | commit the segments written | [`Change`], [`Repository::commit`] |
//! | commit a copy of a snapshot of another repository | [`SnapshotCopy`], [`Repository::commit_copy`] |
//! | commit a snapshot that was built from segments alone | [`Rebuild`], [`Repository::commit_rebuild`], [`LostIdentity`] |
//! | claim what is going to be written, and see who else has | [`WriteClaim`], [`FoundClaim`], [`WriteBase`], [`RivalCommit`] |
//! | record a restore | [`RestoreManifest`], [`MapPage`], [`RestoreDone`], [`RestoreDiscarded`] |
//! | parse an object | [`Manifest`], [`Identity`], inside [`Digested`] |
//! | forget snapshots, expire segments, delete what nothing needs | [`ForgetPlan`], [`PartitionExpiry`], [`PrunePlan`] |
//! | read what a snapshot states | [`Snapshot`], [`SegmentRows`] |
//! | name an object | [`Key`], [`PartitionId`], [`TopicName`], [`Id`] |

mod acls;
mod anatomy;
mod answer;
mod change;
mod changes;
mod claim;
mod commit;
mod compacted;
mod error;
mod error_kind;
mod error_source;
mod expired;
mod found_damaged;
mod groups;
mod groups_change;
mod id;
mod identity;
mod incomplete;
mod index;
mod index_reader;
mod index_writer;
mod keys;
mod last_backup;
mod latest;
mod listing;
mod lost_identity;
mod manifest;
mod members;
mod missing_newest;
mod missing_parent;
mod object_cache;
mod observe;
mod offset_map;
mod order;
mod origin;
mod packed;
mod partition_edit;
mod passed_over;
mod profile;
mod prunes;
mod ranges;
mod readahead;
mod reader;
mod rebuild;
mod replace;
mod repository;
mod restore;
mod restore_discarded;
mod restore_done;
mod restore_id;
mod restore_manifest;
mod restore_targets;
mod retention;
mod rival_commit;
mod sealed;
mod segment_entry;
mod segment_hash;
mod segment_listing;
mod sightings;
mod snapshot;
mod snapshot_copy;
mod spare_buffers;
mod state_rows;
mod stated_identity;
mod states;
mod store;
#[cfg(test)]
mod testing;
mod upload;

pub use acls::{AclBinding, Acls, AclsRef};
pub use anatomy::{Unpacked, check_packed_line, check_sealed, unpack_part};
pub use change::{Change, FoundAcls, FoundGroups, PartitionChange, TopicChange, UnseenTopic};
pub use changes::Changes;
pub use claim::{
    ClaimProcess, ClaimState, ClaimVersion, ClaimedTopic, FoundClaim, MAX_CLAIMED_TOPICS,
    WriteClaim,
};
pub use compacted::Compacted;
pub use error::{BoxedError, Damage, Operation, RepoError, RepoErrorKind, Result};
pub use expired::{Expired, LastRecord};
pub use found_damaged::{DamagedIn, FoundDamaged};
pub use groups::{CommittedOffset, GroupState, GroupTopic, Groups, GroupsRef};
pub use groups_change::{ChangedGroup, ChangedOffset, GroupsChange, OffsetAndMetadata};
pub use id::{Digest, Hex, Id, ParseHexError};
pub use identity::Identity;
pub use incomplete::{Incomplete, IncompleteReason};
pub use index::{RowKey, Run, TableRef};
pub use index_reader::SegmentRows;
pub use keys::{Key, PartitionId, TopicName, TopicNameError};
pub use listing::{ForeignFiles, UnfinishedFiles};
pub use lost_identity::LostIdentity;
pub use manifest::{Maintenance, Manifest, ParentRef, Pruning, Sighting, Totals};
pub use missing_newest::MissingNewest;
pub use missing_parent::{MissingParent, Parents};
pub use observe::{RequestKind, RequestOutcome, StoreObserver, observe_stores};
pub use offset_map::{FULL_MAP_PAGE, MapPage, MapRun};
pub use origin::Origin;
pub use packed::PackedRef;
pub use profile::StoreProfile;
pub use prunes::Adoptable;
pub use readahead::{AheadBytes, AheadReader, AheadShare, ReadaheadLimits};
pub use reader::{SegmentReader, StoredRange};
pub use rebuild::{Rebuild, RebuiltPartition, RebuiltTopic};
pub use replace::{Recovered, RemovedRecords, Replaced, Replacement};
pub use repository::{FoundSegment, ListedObject, ListedSnapshot, Repository};
pub use restore::{RestoreEnd, RestoreRecord};
pub use restore_discarded::RestoreDiscarded;
pub use restore_done::{DonePartition, RestoreDone};
pub use restore_id::{RestoreId, RestoreIdError};
pub use restore_manifest::{
    CommittedPosition, CreatedTopic, RateLimit, RestoreManifest, RestoredPartition, RestoredTopic,
    TargetPartition,
};
pub use restore_targets::{RestoreTargets, TargetTopic};
pub use retention::{
    ForgetPlan, Forgotten, MarkedObjects, ObjectCount, PartitionExpiry, PruneOptions, PrunePlan,
    Pruned, Reach, Upkeep,
};
pub use rival_commit::{RivalCommit, WriteBase};
pub use sealed::{Digested, MAX_SEALED_BYTES};
pub use segment_entry::SegmentEntry;
pub use segment_hash::{SegmentHash, SegmentHasher};
pub use segment_listing::ListedSum;
pub use snapshot::Snapshot;
pub use snapshot_copy::{CopiedPartition, SnapshotCopy};
pub use states::{IMPORTED_REPLICATION, LostCause, LostRange, PartitionState, TopicState};
pub use store::{Backend, Bucket, Encryption, Location, LocationError, Root, Store, StoreOptions};
pub use upload::{SegmentUpload, UploadBuffers, Uploaded};
