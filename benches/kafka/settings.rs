//! What a run of the bench is asked for, by its arguments and its environment.

use std::ffi::OsString;

/// The size of the workload, the number of rounds, and what is measured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Bytes of keys, headers and values per topic of 1 KB records.
    pub(crate) bytes: u64,
    /// The number of runs of each process.
    pub(crate) rounds: usize,
    /// Another kbk, which runs each case beside the one that was built.
    pub(crate) before: Option<OsString>,
    /// What the names of cases are to contain, any of these; all cases where there is none.
    patterns: Vec<String>,
}

impl Settings {
    /// Reads the settings from the arguments, of which those of cargo are passed over, and the environment.
    pub(crate) fn new(arguments: &[&str]) -> Result<Settings, String> {
        let quick = std::env::var_os("KBK_BENCH_QUICK").is_some_and(|value| value != "0");
        let default_bytes = if quick { 50_000_000 } else { 1_000_000_000 };
        let bytes = match std::env::var("KBK_BENCH_BYTES") {
            Ok(text) => parse_size::parse_size(&text)
                .map_err(|error| format!("KBK_BENCH_BYTES is `{text}`: {error}"))?,
            Err(_) => default_bytes,
        };
        let patterns = arguments.iter().filter(|word| !word.starts_with('-'));
        Ok(Settings {
            bytes,
            rounds: if quick { 1 } else { 3 },
            before: std::env::var_os("KBK_BENCH_BEFORE"),
            patterns: patterns.map(|pattern| (*pattern).to_owned()).collect(),
        })
    }

    /// Returns whether a case of this name is measured.
    pub(crate) fn selects(&self, name: &str) -> bool {
        let mut patterns = self.patterns.iter();
        self.patterns.is_empty() || patterns.any(|pattern| name.contains(pattern))
    }
}
