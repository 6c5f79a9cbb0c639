//! What the tests of several rooms share: stores that fail, and random numbers that can be repeated.

pub(crate) mod faulty;
pub(crate) mod random;
