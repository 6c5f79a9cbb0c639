//! A permission, in the words with which administrators grant it.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// An operation on a resource that an ACL can allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Permission {
    /// The operation.
    pub operation: AclOperation,
    /// What it applies to.
    #[serde(flatten)]
    pub resource: AclResource,
}

/// The operations that kbk needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AclOperation {
    /// Reading records; committing offsets, of a topic and as a group.
    Read,
    /// Writing records; using a transactional id.
    Write,
    /// Creating a topic.
    Create,
    /// Deleting records, offsets or groups.
    Delete,
    /// Creating ACLs, on the cluster.
    Alter,
    /// Seeing that it exists.
    Describe,
    /// Reading a configuration.
    DescribeConfigs,
    /// Changing a configuration.
    AlterConfigs,
}

/// What an operation applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(
    tag = "resource_type",
    content = "resource_name",
    rename_all = "SCREAMING_SNAKE_CASE"
)]
pub enum AclResource {
    /// The topic of this name.
    Topic(String),
    /// The group of this name.
    Group(String),
    /// The transactional id of this name.
    TransactionalId(String),
    /// The cluster.
    Cluster,
}

/// Groups and transactional ids of restores differ in what follows this; administrators grant all of them at once.
const RESTORE_PREFIX: &str = "kbk-restore-";

impl Permission {
    pub(crate) fn topic(operation: AclOperation, topic: &str) -> Permission {
        Permission {
            operation,
            resource: AclResource::Topic(topic.to_owned()),
        }
    }

    pub(crate) fn group(operation: AclOperation, group: &str) -> Permission {
        Permission {
            operation,
            resource: AclResource::Group(group.to_owned()),
        }
    }

    pub(crate) fn transactional_id(id: &str) -> Permission {
        Permission {
            operation: AclOperation::Write,
            resource: AclResource::TransactionalId(id.to_owned()),
        }
    }

    pub(crate) fn cluster(operation: AclOperation) -> Permission {
        Permission {
            operation,
            resource: AclResource::Cluster,
        }
    }

    /// Returns the arguments of `kafka-acls` that grant it.
    #[must_use]
    pub fn arguments(&self) -> String {
        let operation = self.operation.argument();
        let (option, name) = match &self.resource {
            AclResource::Topic(name) => ("--topic", name),
            AclResource::Group(name) => ("--group", name),
            AclResource::TransactionalId(name) => ("--transactional-id", name),
            AclResource::Cluster => return format!("--operation {operation} --cluster"),
        };
        match (&self.resource, name.starts_with(RESTORE_PREFIX)) {
            (AclResource::Group(_) | AclResource::TransactionalId(_), true) => {
                format!(
                    "--operation {operation} {option} {RESTORE_PREFIX} --resource-pattern-type prefixed"
                )
            }
            _ => format!("--operation {operation} {option} {}", quoted(name)),
        }
    }
}

/// Quotes a name for a shell, if it needs that: groups may have any name.
fn quoted(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !name.is_empty() && name.chars().all(is_plain) {
        true => name.into(),
        false => format!("'{}'", name.replace('\'', r"'\''")).into(),
    }
}

impl AclOperation {
    /// Returns its name as an argument of `kafka-acls`.
    fn argument(self) -> &'static str {
        match self {
            AclOperation::Read => "Read",
            AclOperation::Write => "Write",
            AclOperation::Create => "Create",
            AclOperation::Delete => "Delete",
            AclOperation::Alter => "Alter",
            AclOperation::Describe => "Describe",
            AclOperation::DescribeConfigs => "DescribeConfigs",
            AclOperation::AlterConfigs => "AlterConfigs",
        }
    }

    /// Returns its name in Kafka's protocol.
    fn name(self) -> &'static str {
        match self {
            AclOperation::Read => "READ",
            AclOperation::Write => "WRITE",
            AclOperation::Create => "CREATE",
            AclOperation::Delete => "DELETE",
            AclOperation::Alter => "ALTER",
            AclOperation::Describe => "DESCRIBE",
            AclOperation::DescribeConfigs => "DESCRIBE_CONFIGS",
            AclOperation::AlterConfigs => "ALTER_CONFIGS",
        }
    }
}

impl fmt::Display for Permission {
    /// Writes its name, and how to grant it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation.name();
        match &self.resource {
            AclResource::Topic(name) => write!(f, "{operation} on TOPIC {name}"),
            AclResource::Group(name) => write!(f, "{operation} on GROUP {name}"),
            AclResource::TransactionalId(name) => {
                write!(f, "{operation} on TRANSACTIONAL_ID {name}")
            }
            AclResource::Cluster => write!(f, "{operation} on CLUSTER kafka-cluster"),
        }?;
        write!(f, " (kafka-acls {})", self.arguments())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_named_as_kafka_acls_grants_it() {
        let restore = "kbk-restore-20261128-195056-89f572";
        for (permission, says) in [
            (
                Permission::topic(AclOperation::AlterConfigs, "orders"),
                "ALTER_CONFIGS on TOPIC orders (kafka-acls --operation AlterConfigs --topic orders)",
            ),
            (
                Permission::transactional_id(restore),
                "WRITE on TRANSACTIONAL_ID kbk-restore-20261128-195056-89f572 (kafka-acls --operation Write \
                 --transactional-id kbk-restore- --resource-pattern-type prefixed)",
            ),
            (
                Permission::group(AclOperation::Read, restore),
                "READ on GROUP kbk-restore-20261128-195056-89f572 (kafka-acls --operation Read --group kbk-restore- \
                 --resource-pattern-type prefixed)",
            ),
            (
                Permission::group(AclOperation::Delete, "it's mine"),
                r"DELETE on GROUP it's mine (kafka-acls --operation Delete --group 'it'\''s mine')",
            ),
            (
                Permission::cluster(AclOperation::Describe),
                "DESCRIBE on CLUSTER kafka-cluster (kafka-acls --operation Describe --cluster)",
            ),
        ] {
            assert_eq!(permission.to_string(), says);
        }
    }

    #[test]
    fn its_json_has_kafkas_names() {
        let json = |permission: &Permission| serde_json::to_value(permission).unwrap();
        let topic = Permission::topic(AclOperation::DescribeConfigs, "orders");
        let expected = serde_json::json!({
            "operation": "DESCRIBE_CONFIGS", "resource_type": "TOPIC", "resource_name": "orders",
        });
        assert_eq!(json(&topic), expected);
        let cluster = json(&Permission::cluster(AclOperation::Alter));
        assert_eq!(
            cluster,
            serde_json::json!({"operation": "ALTER", "resource_type": "CLUSTER"})
        );
    }
}
