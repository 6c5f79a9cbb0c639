//! What keeps a restore of ACLs from being applied.

use serde::Serialize;

use crate::kafka::Permission;

/// Why the ACLs of a plan cannot be created in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
pub enum AclObstacle {
    /// The principal lacks a permission on the cluster.
    #[error("this principal lacks {permission}, which restoring ACLs requires")]
    MissingRight {
        /// The permission.
        #[serde(flatten)]
        permission: Permission,
    },
    /// The cluster has no authorizer, so it rejects ACLs.
    #[error(
        "the cluster has no authorizer and cannot have ACLs: set authorizer.class.name on its brokers, or restore without ACLs"
    )]
    NoAuthorizer,
}
