//! Consumer groups, by their names alone.

use jiff::Timestamp;
use kbk_format::repo::{FoundGroups, GroupState};

/// Returns groups of these names, without committed offsets.
pub(crate) fn groups(names: &[&str]) -> FoundGroups {
    let group = |name: &&str| GroupState {
        group: (*name).into(),
        r#type: Some("Classic".into()),
        state: None,
        taken_at: None,
        topics: Vec::new(),
    };
    let mut groups: Vec<_> = names.iter().map(group).collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    FoundGroups {
        taken_at: Timestamp::UNIX_EPOCH,
        groups: groups.into(),
    }
}
