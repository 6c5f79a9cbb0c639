//! Helpers that several tests share.

pub(crate) mod faulty;
pub(crate) mod reads;
