//! Creates the missing ACLs of a plan, and reports it, for `kbk acls restore` and for `kbk restore --acls`.

use serde::Serialize;

use super::apply::apply;
use super::plan::AclsPlan;
use crate::blocking::blocking;
use crate::kafka::{ClientSettings, KafkaError};

/// The ACLs that a cluster has after a restore.
#[derive(Debug, Serialize)]
pub struct RestoredAcls {
    /// ACLs that were created.
    pub created: usize,
    /// ACLs that existed already.
    pub existed: usize,
    /// The plan; an ACL that was created is one that does not exist in it.
    #[serde(flatten)]
    pub plan: AclsPlan,
}

/// Creates the missing ACLs.
///
/// # Errors
///
/// Where the cluster refuses.
pub async fn restore(plan: AclsPlan, kafka: ClientSettings) -> Result<RestoredAcls, KafkaError> {
    let (plan, applied) = blocking(move || {
        let applied = apply(&plan, &kafka);
        (plan, applied)
    })
    .await;
    applied?;
    let created = plan.missing().count();
    Ok(RestoredAcls {
        created,
        existed: plan.acls.len() - created,
        plan,
    })
}
