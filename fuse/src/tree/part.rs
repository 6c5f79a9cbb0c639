//! The parts of a partition's folder that show its records, of which a listing may leave out some.

/// A file or a folder that shows the records of a partition. All of them show the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `records.jsonl`.
    Records,
    /// `values`.
    Values,
    /// `keys`.
    Keys,
    /// `by-offset`.
    ByOffset,
    /// `by-time`.
    ByTime,
    /// `segments`.
    Segments,
    /// `log`.
    Log,
    /// `by-key`.
    ByKey,
}

impl Part {
    /// All parts, in the order of a listing.
    pub const ALL: [Part; 8] = [
        Part::Records,
        Part::Values,
        Part::Keys,
        Part::ByOffset,
        Part::ByTime,
        Part::Segments,
        Part::Log,
        Part::ByKey,
    ];

    /// Its word in a list of parts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Part::Records => "records",
            _ => self.file_name(),
        }
    }

    /// Its name in the folder of a partition.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Part::Records => "records.jsonl",
            Part::Values => "values",
            Part::Keys => "keys",
            Part::ByOffset => "by-offset",
            Part::ByTime => "by-time",
            Part::Segments => "segments",
            Part::Log => "log",
            Part::ByKey => "by-key",
        }
    }
}
