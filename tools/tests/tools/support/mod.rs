//! What several tests need.

mod watched;
mod world;

pub use watched::watched;
pub use world::*;
