//! What the tests of several rooms share: stores that fail, and random numbers that can be repeated.

#[path = "../../../tests/support/delegate.rs"]
pub(crate) mod delegate;
pub(crate) mod faulty;
pub(crate) mod random;
