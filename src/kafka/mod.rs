//! x
#![allow(missing_docs)]
mod error; mod headers; mod properties; mod client; mod jaas; mod java; mod settings; mod topic; mod batch; mod source; mod sink; mod mock; mod admin;
pub use admin::*;
#[cfg(test)] mod tests;
pub use error::KafkaError;
pub use settings::*;
pub use source::*; pub use sink::*; pub use mock::*;
