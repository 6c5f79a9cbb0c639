//! Claims: of several writers of a repository, only one writes a partition at a time (SPEC section 11.9).
//!
//! ```text
//! entering -> look -> held -> look -> granted     another one is held: refused; entering: back off and start again
//!                                     granted     renewed every 15 s until it is released, or lost
//! ```
//!
//! A claim saves work and explains; it does not protect. Two writers of one partition that both believe to hold it are told apart by
//! the commit, which fails for the second.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | the protocol as a state machine without I/O |
//! | `claim` | the protocol on a repository |
//! | `clock` | its clock |
//! | `held` | a claim that was granted: renewed and watched in the background, checked before the commit, released |
//! | `loss` | that it is lost: the signal to stop, and the error that names who writes the same now |
//! | `owner` | the proof that a process is this one, and whether the owner of a claim still runs |
//! | `rival` | why a claim was refused |
//! | `listed` | claims for people |

mod claim;
mod clock;
mod entry;
mod held;
mod listed;
mod loss;
mod owner;
mod rival;
#[cfg(test)]
mod tests;

pub use self::claim::{ClaimError, ClaimRequest, claim, this_process_in_words};
pub use self::held::{ClaimEvent, ClaimEvents, HeldClaim};
pub use self::listed::{ListedClaim, list};
pub use self::loss::{ClaimLost, LossSignal};
pub use self::owner::Running;
pub use self::rival::Rival;
