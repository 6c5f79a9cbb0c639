//! What every run has in common, whatever it does: a way to be stopped.
//!
//! The engine (backup, restore, groups, ACLs) is given these values; the command line makes them.

mod cancel;

pub use self::cancel::Cancel;
