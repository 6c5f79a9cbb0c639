//! The command line: how options become values, and how the program reports.
//!
//! | to know | look in |
//! |---|---|
//! | options that commands share | `args` |
//! | how an argument becomes a value | `client_choice`, `offset`, `record_key`, `repo_mode`, `repo_url`, `size`, `snapshot`, `store_options`, `time`, and [`crate::select`] |
//! | metrics: where they go | `metrics_args`, `monitor` |
//! | the configuration file | `config` |
//! | what `-h` and `--help` show | `help` |
//! | results on stdout, files that options name | `output`, `output_file` |
//! | asking before something is deleted | `confirm` |
//! | messages and progress on stderr | `stderr`, `logging`, `progress`, `error`, `next_step` |
//! | how the process ends | `exit`, `signals` |

mod args;
mod client_choice;
mod config;
mod confirm;
mod context;
mod error;
mod exit;
mod help;
mod key_filter;
pub(crate) mod logging;
mod metrics_args;
mod monitor;
mod next_step;
mod offset;
mod output;
mod output_file;
mod progress;
mod record_key;
mod repo_mode;
mod repo_url;
mod signals;
mod size;
mod snapshot;
mod stderr;
mod store_options;
pub mod time;

pub use self::args::{
    ColorWhen, DonorArgs, FromArgs, GlobalArgs, KafkaArgs, LogFormat, Property, RenameArgs,
    SelectionArgs, TopicArgs, TopicPartitionArgs, WithArgs,
};
pub use self::config::{Config, ConfigError, Key, keys};
pub use self::context::Context;
pub use self::error::CliError;
pub use self::exit::{Exit, Outcome};
pub use self::key_filter::{KeyFilterArg, KeyFilterArgError};
pub use self::metrics_args::MetricsArgs;
pub use self::offset::{OffsetArg, OffsetRangeArg};
pub use self::output::{Column, Head, Output, Records, Report, Table, Verdict};
pub use self::record_key::{RecordKey, RecordKeyError};
pub use self::repo_mode::{RepoMode, RepoModeError};
pub use self::repo_url::{RepoUrl, RepoUrlError};
pub use self::size::{
    BlockSize, ByteRate, CacheSize, FileSize, KeyMemory, MemorySize, PrefetchSize, SegmentSize,
};
pub use self::snapshot::{SnapshotArg, SnapshotRange, SnapshotsArg};
pub use self::store_options::{STORE_OPTIONS, StoreOption, StoreOptionKey};
pub use self::time::{TimeArg, offset_times, time_range};
pub use crate::records::ClientChoice;
pub use kbk_format::Compression;

pub(crate) use self::config::Given;
pub(crate) use self::help::{examples, is_long, shaped};
pub(crate) use self::monitor::{EndGuard, Monitor};
pub(crate) use self::output_file::{FileKind, OutputFile};
pub(crate) use self::signals::{FirstSignal, LastWords, exit_after, install};
pub(crate) use self::stderr::Stderr;
pub(crate) use self::store_options::replace as replace_store_options;
