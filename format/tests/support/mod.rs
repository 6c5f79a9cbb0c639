//! Helpers that several tests share.

#[path = "../../../tests/support/delegate.rs"]
pub(crate) mod delegate;
pub(crate) mod faulty;
pub(crate) mod reads;
