//! Helpers that several tests share.

mod watched;
mod world;

pub use watched::watched;
pub use world::*;
