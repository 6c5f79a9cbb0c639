//! Plans which ACLs are restored, without side effects.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{AclBinding, Acls, Snapshot, TopicState};
use kbk_tools::original;
use serde::Serialize;

use super::obstacle::AclObstacle;
use crate::kafka::{AclOperation, Admin, ClientSettings, KafkaError, Permission, knows_acl};
use crate::select::{TopicRef, TopicSelection, target_names};

/// The ACLs to restore.
#[derive(Clone, Debug, Serialize)]
pub struct AclsPlan {
    /// The snapshot that has them.
    pub snapshot: u64,
    /// Whether the source cluster had an authorizer; without one it had no ACLs.
    pub source_authorizer: bool,
    /// Whether every topic of the snapshot is restored, and so every ACL.
    pub everything: bool,
    /// The ACLs that the cluster will have, sorted.
    pub acls: Vec<AclPlan>,
    /// ACLs of the snapshot that apply to no selected topic or group.
    pub not_chosen: usize,
    /// ACLs of the snapshot that the Kafka client cannot represent.
    pub unknown: usize,
    /// ACLs that the backup could not represent, and did not save.
    pub not_saved: u64,
    /// What keeps the plan from being applied.
    pub obstacles: Vec<AclObstacle>,
}

/// One ACL to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AclPlan {
    /// The ACL that the cluster will have.
    #[serde(flatten)]
    pub binding: AclBinding,
    /// The resource in the backup, if it is another one.
    pub saved_as: Option<SavedAs>,
    /// Whether the cluster already has it.
    pub exists: bool,
}

/// The resource of an ACL in the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedAs {
    /// Its name, or the prefix of its name.
    pub resource_name: String,
    /// How the name is matched.
    pub pattern_type: String,
}

/// Why ACLs cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum AclsPlanError {
    /// The snapshot has no ACLs.
    #[error("snapshot {snapshot} has no ACLs: {why}")]
    NoAcls {
        /// The snapshot.
        snapshot: u64,
        /// Why it has none.
        why: String,
    },
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Selects of the snapshot's ACLs those of topics, given with their targets, and of groups. Does not connect to a cluster.
///
/// # Errors
///
/// Fails if the snapshot has no ACLs.
pub fn choose(
    snapshot: &Snapshot,
    acls: Option<&Acls>,
    targets: &BTreeMap<TopicRef, String>,
    groups: &[String],
) -> Result<AclsPlan, AclsPlanError> {
    let everything = is_everything(snapshot, targets);
    let targets = &target_names(targets);
    let Some(found) = acls else {
        return Err(AclsPlanError::NoAcls {
            snapshot: snapshot.sequence,
            why: original::never_saved(snapshot),
        });
    };
    let topics = targets.iter();
    let topics = topics.map(|(source, target)| (source.as_str(), target.as_str()));
    let groups = groups.iter().map(|group| (group.as_str(), group.as_str()));
    let restored = Restored {
        everything,
        targets,
        topics: topics.collect(),
        groups: groups.collect(),
    };
    let mut plan = AclsPlan {
        snapshot: snapshot.sequence,
        source_authorizer: found.authorizer,
        everything: restored.everything,
        acls: Vec::new(),
        not_chosen: 0,
        unknown: 0,
        not_saved: found.left_out,
        obstacles: Vec::new(),
    };
    let mut chosen: BTreeMap<AclBinding, &AclBinding> = BTreeMap::new();
    for saved in found.acls.iter() {
        if !knows_acl(saved) {
            plan.unknown += 1;
            continue;
        }
        let wanted = restored.acls_for(saved);
        plan.not_chosen += usize::from(wanted.is_empty());
        for binding in wanted {
            chosen.entry(binding).or_insert(saved);
        }
    }
    plan.acls = chosen
        .into_iter()
        .map(|(to, from)| AclPlan::new(to, from))
        .collect();
    Ok(plan)
}

/// Returns whether every ordinary topic of the snapshot is restored.
fn is_everything(snapshot: &Snapshot, targets: &BTreeMap<TopicRef, String>) -> bool {
    let restored = |topic: &TopicState| {
        let mut sources = targets.keys().filter_map(|source| source.find(snapshot));
        sources.any(|source| source.topic_id == topic.topic_id && source.name == topic.name)
    };
    let all = TopicSelection::default().select_saved(snapshot);
    all.is_ok_and(|all| all.selected.iter().all(|(_, topic)| restored(topic)))
}

/// The topics and groups that are restored.
struct Restored<'a> {
    everything: bool,
    targets: &'a BTreeMap<String, String>,
    /// Pairs of the name in the backup and the name in the cluster.
    topics: Vec<(&'a str, &'a str)>,
    groups: Vec<(&'a str, &'a str)>,
}

impl Restored<'_> {
    /// Returns the ACLs that a saved one becomes.
    fn acls_for(&self, saved: &AclBinding) -> BTreeSet<AclBinding> {
        let mut bindings = BTreeSet::new();
        if self.everything && !self.is_renamed(saved) {
            bindings.insert(saved.clone());
        }
        for &(source, target) in self.resources(&saved.resource_type) {
            let there_already = self.everything && covers(saved, target) && !self.is_renamed(saved);
            // A group may be named `*`, but an ACL of that name would apply to all groups.
            if covers(saved, source) && !there_already && target != ALL {
                bindings.insert(AclBinding {
                    resource_name: target.to_owned(),
                    pattern_type: LITERAL.to_owned(),
                    ..saved.clone()
                });
            }
        }
        bindings
    }

    fn resources(&self, resource_type: &str) -> &[(&str, &str)] {
        match resource_type {
            "TOPIC" => &self.topics,
            "GROUP" => &self.groups,
            _ => &[],
        }
    }

    /// Returns whether an ACL is of one topic, and the topic has another name in the cluster.
    fn is_renamed(&self, saved: &AclBinding) -> bool {
        saved.resource_type == "TOPIC"
            && saved.pattern_type == LITERAL
            && self
                .targets
                .get(&saved.resource_name)
                .is_some_and(|target| *target != saved.resource_name)
    }
}

const LITERAL: &str = "LITERAL";
/// The literal name that matches every resource.
const ALL: &str = "*";

/// Returns whether an ACL applies to the resource of its type with this name.
fn covers(binding: &AclBinding, name: &str) -> bool {
    let pattern = binding.resource_name.as_str();
    match binding.pattern_type.as_str() {
        LITERAL => pattern == ALL || pattern == name,
        "PREFIXED" => name.starts_with(pattern),
        _ => false,
    }
}

impl AclPlan {
    fn new(binding: AclBinding, saved: &AclBinding) -> AclPlan {
        let same = (&binding.resource_name, &binding.pattern_type)
            == (&saved.resource_name, &saved.pattern_type);
        let saved_as = (!same).then(|| SavedAs {
            resource_name: saved.resource_name.clone(),
            pattern_type: saved.pattern_type.clone(),
        });
        AclPlan {
            binding,
            saved_as,
            exists: false,
        }
    }
}

/// Completes a plan with which of the ACLs the cluster has, and whether this principal may create the others. Blocks; must not be
/// called from asynchronous code.
///
/// # Errors
///
/// Fails if the cluster does not answer.
pub fn compare(mut plan: AclsPlan, kafka: &ClientSettings) -> Result<AclsPlan, AclsPlanError> {
    if plan.acls.is_empty() {
        return Ok(plan);
    }
    let admin = Admin::connect(kafka)?;
    let rights = admin.cluster_rights()?;
    if rights.describe {
        let listing = admin.acls()?;
        if !listing.authorizer {
            plan.obstacles.push(AclObstacle::NoAuthorizer);
        }
        for acl in &mut plan.acls {
            acl.exists = listing.bindings.binary_search(&acl.binding).is_ok();
        }
    }
    let creates = plan.missing().next().is_some();
    let needed = [
        (AclOperation::Describe, rights.describe, true),
        (AclOperation::Alter, rights.alter, creates),
    ];
    let lacking = needed.iter().filter(|(_, given, needed)| *needed && !given);
    let obstacles = lacking.map(|(operation, ..)| AclObstacle::MissingRight {
        permission: Permission::cluster(*operation),
    });
    plan.obstacles.extend(obstacles);
    Ok(plan)
}

impl AclsPlan {
    /// Returns the ACLs to create.
    pub fn missing(&self) -> impl Iterator<Item = &AclBinding> {
        let missing = self.acls.iter().filter(|acl| !acl.exists);
        missing.map(|acl| &acl.binding)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kbk_format::repo::{Id, Manifest, Totals};
    use proptest::collection::{btree_map, btree_set};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::topic_state::topic_state;

    /// A binding in short: type, name, `=` or `+` for literal or prefixed, principal.
    type Short<'a> = (&'a str, &'a str, char, &'a str);

    fn binding((resource_type, resource_name, pattern, principal): Short<'_>) -> AclBinding {
        AclBinding {
            resource_type: resource_type.to_owned(),
            resource_name: resource_name.to_owned(),
            pattern_type: if pattern == '=' { LITERAL } else { "PREFIXED" }.to_owned(),
            principal: principal.to_owned(),
            host: "*".to_owned(),
            operation: "READ".to_owned(),
            permission_type: "ALLOW".to_owned(),
        }
    }

    fn topic(name: &str) -> TopicState {
        topic_state(name, Vec::new())
    }

    fn acls(mut acls: Vec<AclBinding>) -> Acls {
        acls.sort();
        Acls {
            seen: 1,
            read_after: 0,
            taken_at: Timestamp::UNIX_EPOCH,
            authorizer: true,
            left_out: 3,
            acls: acls.into(),
        }
    }

    fn snapshot(topics: &[&str]) -> Snapshot {
        let topics: Vec<TopicState> = topics.iter().map(|name| topic(name)).collect();
        let manifest = Manifest {
            repository_id: Id::ZERO,
            sequence: 1,
            parent: None,
            nonce: Id::ZERO,
            started_at: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            maintenance: None,
            writer: String::new(),
            cluster_id: None,
            totals: Totals::of(&topics, None),
            sightings: Vec::new(),
            runs: Vec::new(),
            groups: None,
            acls: None,
            forgotten: Vec::new(),
            pruning: None,
            origin: None,
            next: None,
            pruned: 0,
        };
        Snapshot { manifest, topics }
    }

    fn targets(names: &[(&str, &str)]) -> BTreeMap<TopicRef, String> {
        let owned = |(source, target): &(&str, &str)| (source.parse().unwrap(), (*target).into());
        names.iter().map(owned).collect()
    }

    const SAVED: [Short<'_>; 8] = [
        ("CLUSTER", "kafka-cluster", '=', "User:a"),
        ("GROUP", "*", '=', "User:a"),
        ("GROUP", "billing", '=', "User:a"),
        ("GROUP", "other", '=', "User:a"),
        ("TOPIC", "*", '=', "User:m"),
        ("TOPIC", "gone", '=', "User:a"),
        ("TOPIC", "ord", '+', "User:b"),
        ("TOPIC", "orders", '=', "User:a"),
    ];

    fn planned(names: &[(&str, &str)], groups: &[&str]) -> AclsPlan {
        let snapshot = snapshot(&["orders", "payments"]);
        let acls = acls(SAVED.map(binding).into());
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        choose(&snapshot, Some(&acls), &targets(names), &groups).unwrap()
    }

    #[track_caller]
    fn assert_plan(plan: &AclsPlan, expected: &[Short<'_>]) {
        let found: Vec<&AclBinding> = plan.acls.iter().map(|acl| &acl.binding).collect();
        let expected: Vec<AclBinding> = expected.iter().map(|short| binding(*short)).collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn with_every_topic_comes_everything_as_it_was() {
        let plan = planned(
            &[("orders", "orders"), ("payments", "payments")],
            &["billing"],
        );
        assert!(plan.everything);
        assert_plan(&plan, &SAVED);
        assert!(plan.acls.iter().all(|acl| acl.saved_as.is_none()));
        assert_eq!((plan.not_chosen, plan.not_saved), (0, 3));
    }

    #[test]
    fn what_is_of_one_topic_follows_its_name_and_so_do_patterns_that_no_longer_cover_it() {
        let plan = planned(&[("orders", "copy"), ("payments", "payments")], &[]);
        let mut expected = SAVED.to_vec();
        expected[7] = ("TOPIC", "ord", '+', "User:b");
        expected[6] = ("TOPIC", "gone", '=', "User:a");
        expected[5] = ("TOPIC", "copy", '=', "User:b");
        expected.insert(5, ("TOPIC", "copy", '=', "User:a"));
        assert_plan(&plan, &expected);
        let renamed = plan.acls.iter().filter_map(|acl| acl.saved_as.clone());
        let renamed: Vec<_> = renamed
            .map(|was| (was.resource_name, was.pattern_type))
            .collect();
        let expected = [("orders", "LITERAL"), ("ord", "PREFIXED")];
        assert_eq!(
            renamed,
            expected.map(|(name, pattern)| (name.to_owned(), pattern.to_owned()))
        );
    }

    #[test]
    fn an_older_topic_of_a_name_is_not_every_topic() {
        let mut older = topic("orders");
        older.topic_id = "a".repeat(32).parse().unwrap();
        older.deleted = true;
        let mut snapshot = snapshot(&["orders"]);
        let acls = acls(SAVED.map(binding).into());
        snapshot.topics.push(older);
        let everything = |names: &[(&str, &str)]| {
            let plan = choose(&snapshot, Some(&acls), &targets(names), &[]).unwrap();
            plan.everything
        };
        assert!(everything(&[("orders", "orders")]));
        assert!(!everything(&[("orders@aaaaaaaa", "orders")]));
        assert!(everything(&[
            ("orders", "orders"),
            ("orders@aaaaaaaa", "older")
        ]));
    }

    #[test]
    fn two_topics_may_change_their_names() {
        let plan = planned(&[("orders", "payments"), ("payments", "orders")], &[]);
        let of = |name: &str| {
            let acls = plan.acls.iter().map(|acl| &acl.binding);
            let literal = acls.filter(|acl| acl.resource_name == name);
            literal.map(|acl| acl.principal.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of("payments"), ["User:a", "User:b"]);
        assert_eq!(of("orders"), Vec::<String>::new());
    }

    #[test]
    fn with_chosen_topics_and_groups_comes_what_applied_to_them_and_nothing_else() {
        let plan = planned(&[("orders", "copy")], &["billing", "*"]);
        assert!(!plan.everything);
        assert_plan(
            &plan,
            &[
                ("GROUP", "billing", '=', "User:a"),
                ("TOPIC", "copy", '=', "User:a"),
                ("TOPIC", "copy", '=', "User:b"),
                ("TOPIC", "copy", '=', "User:m"),
            ],
        );
        assert_eq!(
            plan.not_chosen, 3,
            "the cluster, another group, another topic"
        );
    }

    #[test]
    fn values_that_the_client_does_not_know_are_left_out() {
        let mut newer = binding(SAVED[7]);
        newer.operation = "TWO_PHASE_COMMIT".to_owned();
        let snapshot = snapshot(&["orders"]);
        let acls = acls(vec![newer, binding(SAVED[6])]);
        let plan = choose(
            &snapshot,
            Some(&acls),
            &targets(&[("orders", "orders")]),
            &[],
        )
        .unwrap();
        assert_eq!(plan.unknown, 1);
        assert_plan(&plan, &[SAVED[6]]);
    }

    #[test]
    fn a_snapshot_without_acls_is_an_error() {
        let snapshot = snapshot(&["orders"]);
        let error = choose(&snapshot, None, &BTreeMap::new(), &[]).unwrap_err();
        assert!(
            error.to_string().contains("snapshot 1 has no ACLs"),
            "{error}"
        );
    }

    fn name() -> impl Strategy<Value = String> {
        "[ab]{1,3}"
    }

    fn saved() -> impl Strategy<Value = AclBinding> {
        let name = prop_oneof![4 => name(), 1 => Just(ALL.to_owned())];
        let kinds = prop_oneof![Just("TOPIC"), Just("GROUP"), Just("CLUSTER")];
        let principals = prop_oneof![Just("User:a"), Just("User:b")];
        (kinds, name, prop_oneof![Just('='), Just('+')], principals)
            .prop_map(|(kind, name, pattern, principal)| binding((kind, &name, pattern, principal)))
    }

    /// Whom the ACLs concern for a topic.
    fn concerned<'a>(
        acls: impl Iterator<Item = &'a AclBinding>,
        kind: &str,
        name: &str,
    ) -> BTreeSet<&'a str> {
        let acls = acls.filter(|acl| acl.resource_type == kind && covers(acl, name));
        acls.map(|acl| acl.principal.as_str()).collect()
    }

    proptest! {
        /// Against the model that looks at one topic at a time.
        #[test]
        fn what_applied_to_a_topic_applies_to_its_target_and_a_choice_reaches_no_other(
            acls in btree_set(saved(), 0..12),
            topics in btree_set(name(), 1..5),
            chosen in btree_map(name(), name(), 1..5),
            groups in btree_set(name(), 0..3),
            elsewhere in name(),
        ) {
            let acls: Vec<AclBinding> = acls.into_iter().collect();
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            let groups: Vec<String> = groups.into_iter().collect();
            let snapshot = snapshot(&topics);
            let saved = self::acls(acls.clone());
            let targets: Vec<(&str, &str)> =
                chosen.iter().map(|(source, target)| (&**source, &**target)).collect();
            let plan = choose(&snapshot, Some(&saved), &self::targets(&targets), &groups).unwrap();
            let created = || plan.acls.iter().map(|acl| &acl.binding);
            for (source, target) in &chosen {
                let before = concerned(acls.iter(), "TOPIC", source);
                let after = concerned(created(), "TOPIC", target);
                prop_assert!(before.is_subset(&after), "{source} -> {target}: {before:?}, {after:?}");
                if !plan.everything && chosen.values().filter(|other| *other == target).count() == 1 {
                    prop_assert_eq!(before, after);
                }
            }
            for group in &groups {
                let before = concerned(acls.iter(), "GROUP", group);
                prop_assert_eq!(before, concerned(created(), "GROUP", group));
            }
            if !plan.everything {
                let names = |kind: &str| created().any(|acl| acl.resource_type == kind);
                prop_assert!(!names("CLUSTER"));
                if !chosen.values().any(|target| *target == elsewhere) {
                    prop_assert!(concerned(created(), "TOPIC", &elsewhere).is_empty());
                }
                if !groups.contains(&elsewhere) {
                    prop_assert!(concerned(created(), "GROUP", &elsewhere).is_empty());
                }
            }
            prop_assert!(plan.acls.is_sorted_by(|a, b| a.binding < b.binding));
        }
    }
}
