//! Creates the ACLs of a plan that the cluster does not have.
//!
//! Order of changes: denials come before grants, so that nobody has access for a moment; denials on the cluster come last, because
//! they may deny the creation of ACLs to this principal. A run that stops halfway can be repeated safely.

use kbk_format::repo::AclBinding;

use super::plan::AclsPlan;
use crate::kafka::{Admin, ClientSettings, KafkaError};

/// Creates the missing ACLs. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Fails if the cluster rejects an ACL; others may exist then.
pub fn apply(plan: &AclsPlan, kafka: &ClientSettings) -> Result<(), KafkaError> {
    let mut missing: Vec<AclBinding> = plan.missing().cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_by_key(turn);
    Admin::connect(kafka)?.create_acls(&missing)
}

fn turn(binding: &AclBinding) -> u8 {
    let denies = binding.permission_type == "DENY";
    match (denies, binding.resource_type.as_str()) {
        (true, "CLUSTER") => 2,
        (true, _) => 0,
        (false, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_come_first_and_those_on_the_cluster_last() {
        let binding = |permission_type: &str, resource_type: &str| AclBinding {
            resource_type: resource_type.to_owned(),
            resource_name: "kafka-cluster".to_owned(),
            pattern_type: "LITERAL".to_owned(),
            principal: "User:a".to_owned(),
            host: "*".to_owned(),
            operation: "ALL".to_owned(),
            permission_type: permission_type.to_owned(),
        };
        let ordered = [
            binding("DENY", "TOPIC"),
            binding("ALLOW", "CLUSTER"),
            binding("ALLOW", "TOPIC"),
            binding("DENY", "CLUSTER"),
        ];
        assert!(ordered.iter().map(turn).is_sorted());
        assert_eq!(ordered.each_ref().map(turn), [0, 1, 1, 2]);
    }
}
