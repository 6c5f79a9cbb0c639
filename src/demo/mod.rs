//! `kbk demo`: a complete backup and restore on a broker inside this process.
//!
//! ```text
//! shop -> orders, order-events, customers --backup--> DIR --verify--> every byte, every offset
//!              |                                       |
//!              |                                    restore
//!              |                                       v
//!              +------------compare------------> orders-restored, ...
//! ```
//!
//! Nothing is simulated: each step runs the code of the command for real clusters, on records with everything that makes records
//! hard. The repository is left for the user to inspect; the broker ends with the process.
//!
//! | | |
//! |---|---|
//! | `run` | the steps, in order |
//! | `shop` | the records |
//! | `folder` | what DIR may contain, and what is replaced |
//! | `compare` | reads topics back, and finds differences |
//! | `report` | what was done, as text and as JSON |
//! | `shell` | commands to try next, quoted for a shell |

mod compare;
mod folder;
mod report;
mod run;
mod shell;
mod shop;

pub use folder::FolderError;
pub use report::{DemoReport, DemoStep};
pub use run::run;
