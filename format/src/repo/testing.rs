//! What the tests of several files share.

#[path = "../../../tests/support/change.rs"]
pub(crate) mod change;
#[path = "../../../tests/support/topic_state.rs"]
pub(crate) mod topic_state;
