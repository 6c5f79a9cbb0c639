//! What every run has in common: a request to stop, and listeners to its progress.
//!
//! The engine (backup, restore, groups, ACLs) takes these values; the command line provides them.

mod cancel;
mod events;
mod stage;

pub use self::cancel::Cancel;
pub use self::events::{
    Both, Committed, Done, Events, PartitionEvents, PartitionName, PartitionSlot, RunEvents, Totals,
};
pub use self::stage::{Budget, Retry, Stage};
