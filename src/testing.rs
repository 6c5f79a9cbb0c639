//! What the tests of several rooms share.

#[path = "../tests/support/change.rs"]
pub(crate) mod change;
#[path = "../tests/support/topic_state.rs"]
pub(crate) mod topic_state;
