//! What a damaged segment still proves, as a new segment.
//!
//! [`Salvage`](kbk_format::Salvage) says what is proved: blocks of which header, streams, records and digests agree. Nothing else is written, and
//! no file or object is changed.
//!
//! Of files, in this order:
//!
//! | step | a crash after it leaves |
//! |---|---|
//! | the files are mapped and searched; every block is decoded | nothing |
//! | the new segment is written to a temporary file beside its place, and flushed | that file, `.NAME.<random>.recovering`, which may be removed |
//! | it is opened and decoded again, and compared with what was proved | the same |
//! | it gets its name, which must be new, and the folder is flushed | the new segment, complete |
//!
//! What is missing in the result is in the report: losses, with their offsets, records, bytes and reasons, and whether more may have been before the
//! first block or after the last one. The new segment itself names lost offsets as gaps with the reason *damaged*.
//!
//! | file | holds |
//! |---|---|
//! | `file` | the recovery of files |
//! | `report` | what was recovered, and what was not |
//! | `error` | why nothing could be |

mod error;
mod file;
mod report;

pub use self::error::RecoverError;
pub use self::file::{FileOptions, recover_files};
pub use self::report::{FileRecovery, RecoveredSegment, SourceFile, UnusedBytes};
