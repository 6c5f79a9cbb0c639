//! Checks of what a restore wrote, and of what it finds when it resumes.

pub(crate) mod head;
pub(crate) mod one_to_one;
pub(crate) mod quiescence;
pub(crate) mod repartitioned;
