//! What every run has in common: a way to be stopped, and listeners to what it does.
//!
//! The engine (backup, restore, groups, ACLs) takes these values; the command line provides them.

mod cancel;
mod events;

pub use self::cancel::Cancel;
pub use self::events::{Done, Events, PartitionEvents, PartitionNumber, RunEvents, Totals};
