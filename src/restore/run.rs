//! Conducts a restore: records, then consumer groups, then ACLs.
//!
//! The order is deliberate. Groups are translated by the offset map, which is final only once every record is committed. ACLs follow them,
//! since one that denies something to the principal that restores would stop the rest. Then the restore is marked as done: one that is
//! killed in between is resumed, and restores them. What comes after the records is left out when the
//! records are incomplete, differ from the backup, or have others among them: consumers would start on topics that are not as they were
//! saved.

use std::sync::Arc;

use kbk_format::repo::Repository;
use kbk_tools::restores::FinishedRestore;
use serde::Serialize;
use tokio::runtime::Handle;

use super::error::RestoreError;
use super::plan::restore_plan::RestorePlan;
use super::records::{self, Restored};
use super::report::RestoreReport;
use crate::acls::{self, AclsPlan, RestoredAcls};
use crate::blocking::blocking;
use crate::groups::{self, GroupsRestoreError, RestoredGroups};
use crate::kafka::{ClientSettings, KafkaError};
use crate::run::{Cancel, Events};
use crate::select::NamePattern;

/// What to restore after the records.
#[derive(Clone, Debug, Default)]
pub struct Afterwards {
    /// Patterns of consumer groups; none for no groups.
    pub groups: Vec<NamePattern>,
    /// ACLs to create.
    pub acls: Option<AclsPlan>,
}

/// What a restore did, including what came after the records.
#[derive(Debug, Serialize)]
pub struct Finished {
    /// The records.
    #[serde(flatten)]
    pub report: RestoreReport,
    /// The consumer groups, if any were restored.
    pub groups: Option<RestoredGroups>,
    /// The ACLs, if any were to be created.
    pub acls: Option<RestoredAcls>,
    /// Why no ACLs were created although everything else is restored.
    #[serde(skip)]
    pub acls_error: Option<KafkaError>,
}

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The records.
    #[error(transparent)]
    Records(#[from] RestoreError),
    /// The consumer groups.
    #[error(transparent)]
    Groups(#[from] GroupsRestoreError),
}

/// Applies `plan`, and then restores `afterwards` if every record is in the cluster.
///
/// # Errors
///
/// Where records or groups fail. A failure of the ACLs is part of the result, so that the rest of it can be reported.
pub async fn run(
    plan: RestorePlan,
    afterwards: Afterwards,
    repository: &Repository,
    kafka: &ClientSettings,
    cancel: &Cancel,
    events: Arc<dyn Events>,
) -> Result<Finished, RunError> {
    let manifest = plan.manifest.clone();
    let restored = restore_records(plan, repository, kafka, cancel, events).await?;
    let is_exact = restored.report.is_exact();
    let mut groups = None;
    if let Some(done) = restored.done.as_ref().filter(|_| is_exact)
        && !afterwards.groups.is_empty()
    {
        let mapped = FinishedRestore::new(manifest, done.clone());
        let patterns = &afterwards.groups;
        let restored = groups::restore(repository, &mapped, patterns, kafka.clone(), false).await?;
        groups = Some(restored);
    }
    let (mut created, mut acls_error) = (None, None);
    if let Some(plan) = afterwards.acls.filter(|_| is_exact) {
        match acls::restore(plan, kafka.clone()).await {
            Ok(restored) => created = Some(restored),
            Err(error) => acls_error = Some(error),
        }
    }
    Ok(Finished {
        report: mark_done(restored, repository, kafka).await?,
        groups,
        acls: created,
        acls_error,
    })
}

async fn restore_records(
    plan: RestorePlan,
    repository: &Repository,
    kafka: &ClientSettings,
    cancel: &Cancel,
    events: Arc<dyn Events>,
) -> Result<Restored, RestoreError> {
    let (repository, kafka, cancel) = (repository.clone(), kafka.clone(), cancel.clone());
    let runtime = Handle::current();
    blocking(move || records::restore(plan, &repository, &kafka, &cancel, events, &runtime)).await
}

async fn mark_done(
    restored: Restored,
    repository: &Repository,
    kafka: &ClientSettings,
) -> Result<RestoreReport, RestoreError> {
    let (repository, kafka, runtime) = (repository.clone(), kafka.clone(), Handle::current());
    blocking(move || records::mark_done(restored, &repository, &kafka, &runtime)).await
}
