//! The access control lists of a snapshot: who may do what in the cluster, and the rules for that (SPEC section 11.5).

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::order::{check_order, check_read_after};
use super::packed::{PackedFormat, PackedRef, check_limits};

/// What a manifest states about the ACLs of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclsRef {
    /// Sequence of the snapshot whose backup read them.
    pub seen: u64,
    /// Sequence of the newest snapshot when it read them, 0 where there was none: orders answers, which clocks cannot.
    pub read_after: u64,
    /// When it read them.
    pub taken_at: Timestamp,
    /// Whether the cluster has an authorizer. Without one every operation is allowed, and there are no bindings.
    pub authorizer: bool,
    /// The number of bindings of the cluster that the backup cannot represent.
    pub left_out: u64,
    /// The number of all others.
    pub acls: u64,
    /// The object that has them.
    pub object: PackedRef,
}

/// All ACLs of a cluster, as one backup found them. Clones share the bindings, which may be many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acls {
    /// Sequence of the snapshot whose backup read them.
    pub seen: u64,
    /// Sequence of the newest snapshot when it read them, 0 where there was none: orders answers, which clocks cannot.
    pub read_after: u64,
    /// When it read them.
    pub taken_at: Timestamp,
    /// Whether the cluster has an authorizer. Without one every operation is allowed, and there are no bindings.
    pub authorizer: bool,
    /// The number of bindings of the cluster that the backup cannot represent.
    pub left_out: u64,
    /// All others, in order.
    pub acls: Arc<[AclBinding]>,
}

/// One permission, granted or denied. The order of the fields is the order of bindings.
///
/// Words are names of Kafka's enum values, such as `TOPIC`, `PREFIXED`, `READ` and `ALLOW`; later brokers may add others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AclBinding {
    /// Kafka's name of the type of resource.
    pub resource_type: String,
    /// The name of the resource or its prefix; `*` for all.
    pub resource_name: String,
    /// Kafka's name of the pattern type: how the name is matched.
    pub pattern_type: String,
    /// The principal, such as `User:alice`.
    pub principal: String,
    /// The host that the principal connects from; `*` for any.
    pub host: String,
    /// Kafka's name of the operation.
    pub operation: String,
    /// Kafka's name of the permission type: whether the operation is allowed.
    pub permission_type: String,
}

impl AclsRef {
    /// Checks the rules of SPEC section 11.5; the error names the one that is violated.
    pub(super) fn check(&self, sequence: u64) -> Result<(), String> {
        if !(1..=sequence).contains(&self.seen) {
            let seen = self.seen;
            return Err(format!("its ACLs were seen by snapshot {seen}"));
        }
        check_read_after("ACLs", self.read_after, self.seen)?;
        if !self.authorizer && (self.left_out > 0 || self.acls > 0) {
            return Err("it has ACLs of a cluster without an authorizer".to_owned());
        }
        check_limits(PackedFormat::Acls, &self.object)
    }
}

/// Checks the list of all bindings; the error names the rule that is violated.
pub(super) fn check_acls(acls: &[AclBinding]) -> Result<(), String> {
    check_order("ACLs", acls, |binding| binding)?;
    acls.iter().try_for_each(AclBinding::check)
}

impl AclBinding {
    fn check(&self) -> Result<(), String> {
        let words = [
            &self.resource_type,
            &self.pattern_type,
            &self.operation,
            &self.permission_type,
        ];
        match words.iter().find(|word| !is_word(word)) {
            Some(wrong) => Err(format!(
                "an ACL holds {wrong:?} instead of the name of one of Kafka's enum values"
            )),
            None => Ok(()),
        }
    }
}

fn is_word(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::id::Hex;

    fn binding(name: &str) -> AclBinding {
        AclBinding {
            resource_type: "TOPIC".to_owned(),
            resource_name: name.to_owned(),
            pattern_type: "LITERAL".to_owned(),
            principal: "User:größe".to_owned(),
            host: "*".to_owned(),
            operation: "READ".to_owned(),
            permission_type: "ALLOW".to_owned(),
        }
    }

    fn reference() -> AclsRef {
        AclsRef {
            seen: 2,
            read_after: 1,
            taken_at: Timestamp::UNIX_EPOCH,
            authorizer: true,
            left_out: 0,
            acls: 2,
            object: PackedRef {
                sha256: Hex([1; 32]),
                size: 10,
                raw_size: 20,
            },
        }
    }

    #[test]
    fn any_name_is_valid_and_so_are_words_of_newer_brokers() {
        let mut all = ["*", "Z", "a", "a b", "ö"].map(binding).to_vec();
        all[4].operation = "READ_2_TIMES".to_owned();
        assert_eq!(check_acls(&all), Ok(()));
        assert_eq!(reference().check(2), Ok(()));
        let mut open = reference();
        (open.authorizer, open.acls) = (false, 0);
        assert_eq!(open.check(2), Ok(()));
    }

    #[test]
    fn every_rule_is_checked() {
        let wrongs: [fn(&mut AclsRef); 6] = [
            |acls| acls.seen = 0,
            |acls| acls.read_after = 2,
            |acls| acls.seen = 3,
            |acls| acls.authorizer = false,
            |acls| (acls.authorizer, acls.left_out, acls.acls) = (false, 1, 0),
            |acls| acls.object.raw_size = u64::MAX,
        ];
        for (at, wrong) in wrongs.iter().enumerate() {
            let mut acls = reference();
            wrong(&mut acls);
            assert!(acls.check(2).is_err(), "rule {at}");
        }
        for (at, wrong) in [
            vec![binding("b"), binding("a")],
            vec![binding("a"), binding("a")],
            vec![with(|b| &mut b.resource_type, "topic")],
            vec![with(|b| &mut b.pattern_type, "")],
            vec![with(|b| &mut b.operation, "READ WRITE")],
            vec![with(|b| &mut b.permission_type, "Ä")],
            vec![with(|b| &mut b.permission_type, "ALLOW"), binding("a")],
        ]
        .iter()
        .enumerate()
        {
            assert!(check_acls(wrong).is_err(), "rule {at}");
        }
    }

    fn with(member: fn(&mut AclBinding) -> &mut String, value: &str) -> AclBinding {
        let mut binding = binding("b");
        value.clone_into(member(&mut binding));
        binding
    }

    #[test]
    fn bindings_are_ordered_by_all_their_members() {
        let members: [fn(&mut AclBinding) -> &mut String; 7] = [
            |b| &mut b.resource_type,
            |b| &mut b.resource_name,
            |b| &mut b.pattern_type,
            |b| &mut b.principal,
            |b| &mut b.host,
            |b| &mut b.operation,
            |b| &mut b.permission_type,
        ];
        for (at, first) in members.iter().enumerate() {
            let (mut smaller, mut greater) = (binding("b"), binding("b"));
            first(&mut smaller).insert(0, 'A');
            first(&mut greater).insert(0, 'B');
            for later in &members[at + 1..] {
                later(&mut smaller).insert(0, 'Z');
                later(&mut greater).insert(0, 'A');
            }
            assert_eq!(check_acls(&[smaller.clone(), greater.clone()]), Ok(()));
            assert!(check_acls(&[greater, smaller]).is_err(), "member {at}");
        }
    }
}
