//! What the tests of several rooms share: stores that fail, random numbers that can be repeated, and segments of batches.

#[path = "../../../tests/support/as_batches.rs"]
pub(crate) mod as_batches;
#[path = "../../../tests/support/change.rs"]
pub(crate) mod change;
#[path = "../../../tests/support/delegate.rs"]
pub(crate) mod delegate;
pub(crate) mod faulty;
pub(crate) mod lying;
pub(crate) mod malformed;
pub(crate) mod random;
#[path = "../../../tests/support/split_mix.rs"]
pub(crate) mod split_mix;
