//! What a run says of itself to Prometheus: counted as it works, and served, written to a file, or pushed.
//!
//! [`Metrics`] listens to the events of the engine and to the requests of stores; the engine knows neither it nor Prometheus.
//! docs/reference/metrics.md lists all metrics, and a test compares that page with [`descriptions`].
//!
//! | to know | look in |
//! |---|---|
//! | which metrics there are | `families` |
//! | what moves them | `listener` |
//! | how many topics have a label of their own | `topics` |
//! | the answers to GET | `server`, and `address` |
//! | the file for node_exporter | `textfile` |
//! | the Pushgateway | `push`, and `push_url` |

mod address;
mod families;
mod listener;
mod push;
mod push_url;
mod server;
#[cfg(test)]
mod tests;
mod textfile;
mod topics;

pub use self::address::{ListenAddress, ListenAddressError};
pub use self::families::{Description, MetricKind, descriptions};
pub use self::listener::{Metrics, VERDICTS};
pub use self::push::{PushError, push};
pub use self::push_url::{PushUrl, PushUrlError};
pub use self::server::{ServeError, serve};
pub use self::textfile::{TextFile, TextFileError};
pub use self::topics::{MOST_TOPICS, OTHER_TOPICS};
