//! `kbk demo`: the main job, start to end, on a broker inside this process.
//!
//! ```text
//! shop -> orders, order-events, customers --backup--> DIR --verify--> every byte, every offset
//!              |                                       |
//!              |                                    restore
//!              |                                       v
//!              +------------compare------------> orders-restored, ...
//! ```
//!
//! Nothing is acted: each step is the code of the command that does it for real clusters, on records that have all that
//! makes records hard. The repository is left for the user to look at; the broker ends with the process.
//!
//! | | |
//! |---|---|
//! | `run` | the steps in their order |
//! | `shop` | the records |
//! | `folder` | what may be in DIR, and what of it may be replaced |
//! | `compare` | reads topics back, and says where they differ |
//! | `report` | what was done, for people and as JSON |
//! | `shell` | commands to try next, as they can be typed |

mod compare;
mod folder;
mod report;
mod run;
mod shell;
mod shop;

pub use folder::FolderError;
pub use report::{DemoReport, Step};
pub use run::run;
