//! What is done with the records that were found: printed as they come, printed by time, counted, or their partitions listed.

use std::collections::BTreeMap;
use std::io;

use kbk_format::{Streams, TextFormat};
use kbk_tools::Order;
use kbk_tools::grep::{Matches, SortKey, SortedRecords};

use super::super::record_args::Doubles;
use super::report::{Gaps, Searched, Shows};
use super::targets::Targets;
use super::{Args, Sort};
use crate::cli::{CliError, Context, Outcome, Records};

/// What the search does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It continues.
    Continue,
    /// It leaves out the rest of the partition.
    SkipSource,
    /// No record beyond this timestamp is of interest any more.
    Narrow(i64),
    /// Nothing more is of interest.
    Stop,
}

/// Where the records go.
pub(super) struct Results<'a> {
    context: &'a Context,
    kind: Kind<'a>,
    format: &'a TextFormat,
    order: Order,
    doubles: Doubles,
    /// How many records to print at most.
    most: u64,
    /// How many records of each target were found, and printed where they are.
    found: BTreeMap<usize, u64>,
}

enum Kind<'a> {
    Print {
        records: Records<'a>,
        /// How many more to print.
        left: u64,
    },
    Sort {
        sorted: SortedRecords,
        /// The bound that the search knows, and the source in which it got to know it.
        narrowed: Option<(i64, usize)>,
    },
    Summary(Shows),
}

impl<'a> Results<'a> {
    pub(super) fn new(args: &'a Args, context: &'a Context) -> Result<Results<'a>, CliError> {
        let format = args.records.format(context.output.is_json());
        let most = args.records.max_count;
        let kind = match (args.list, args.count, args.sort) {
            (true, true, _) => Kind::Summary(Shows::Counts),
            (true, false, _) => Kind::Summary(Shows::Names),
            (false, true, _) => Kind::Summary(Shows::Count),
            (false, false, Sort::Time) => Kind::Sort {
                sorted: SortedRecords::new(args.records.order(), most),
                narrowed: None,
            },
            (false, false, Sort::Offset) => {
                let mut records = context.output.records()?;
                let _ = records.write(format.head())?;
                let left = most.unwrap_or(u64::MAX);
                Kind::Print { records, left }
            }
        };
        Ok(Results {
            context,
            kind,
            format,
            order: args.records.order(),
            doubles: Doubles::default(),
            most: most.unwrap_or(u64::MAX),
            found: BTreeMap::new(),
        })
    }

    pub(super) fn format(&self) -> &'a TextFormat {
        self.format
    }

    /// Returns whether records are printed, so that they have to be rendered.
    pub(super) fn prints(&self) -> bool {
        !matches!(self.kind, Kind::Summary(_))
    }

    /// Returns whether it has to be said that there is none: a number says so by itself, and whoever wants none knows it.
    pub(super) fn is_surprisingly_empty(&self) -> bool {
        let counts = matches!(self.kind, Kind::Summary(Shows::Count));
        let is_empty = match &self.kind {
            Kind::Sort { sorted, .. } => sorted.is_empty(),
            Kind::Print { .. } | Kind::Summary(_) => self.found.is_empty(),
        };
        is_empty && self.wants_any() && !counts
    }

    /// Returns whether any record is wanted.
    pub(super) fn wants_any(&self) -> bool {
        self.most > 0
    }

    /// Returns whether the search may be stopped before its end.
    pub(super) fn may_stop(&self) -> bool {
        match &self.kind {
            Kind::Print { .. } => self.most < u64::MAX,
            Kind::Summary(shows) => *shows == Shows::Names,
            Kind::Sort { .. } => false,
        }
    }

    /// Returns what has to be decoded of the records.
    pub(super) fn streams(&self) -> Streams {
        match self.prints() {
            true => self.format.streams(),
            false => Streams::Meta,
        }
    }

    /// Takes records that were found.
    pub(super) fn take(&mut self, matches: &Matches) -> Result<Next, CliError> {
        if *self.format == TextFormat::JsonLines {
            for record in &matches.records {
                self.doubles.see(record.offset, record.timestamp);
            }
        }
        let source = matches.source;
        match &mut self.kind {
            Kind::Summary(shows) => {
                *self.found.entry(source).or_default() += matches.count;
                match *shows == Shows::Names {
                    true => Ok(Next::SkipSource),
                    false => Ok(Next::Continue),
                }
            }
            Kind::Print { records, left } => {
                let (text, number) = matches.first(*left);
                *left -= number;
                *self.found.entry(source).or_default() += number;
                let written = records.write(text)?;
                match *left == 0 || written.is_break() {
                    true => Ok(Next::Stop),
                    false => Ok(Next::Continue),
                }
            }
            Kind::Sort { sorted, narrowed } => {
                for (record, text) in matches.each() {
                    let key = SortKey {
                        timestamp: record.timestamp,
                        source,
                        offset: record.offset,
                    };
                    sorted.push(key, text).map_err(unsorted)?;
                }
                // To narrow it takes reading an index and a footer again: once per partition, and only if something is gained.
                match sorted.bound() {
                    Some(bound) if narrowed.is_none_or(|it| it.0 != bound && it.1 != source) => {
                        *narrowed = Some((bound, source));
                        Ok(Next::Narrow(bound))
                    }
                    _ => Ok(Next::Continue),
                }
            }
        }
    }

    /// Writes what is left, and the end. What was printed before an error stays; of what was to be sorted, nothing is printed then.
    pub(super) fn finish(
        mut self,
        targets: &Targets<'_>,
        gaps: Gaps,
        ended: Result<Outcome, &CliError>,
    ) -> Result<(), CliError> {
        let output = &self.context.output;
        match (self.kind, ended) {
            (Kind::Print { records, .. }, ended) => {
                let searched =
                    Searched::new(targets, &self.found, self.order, Shows::Records, gaps);
                records.finish(&searched, ended)
            }
            // The error is the result.
            (Kind::Sort { .. } | Kind::Summary(_), Err(_)) => Ok(()),
            (Kind::Sort { sorted, .. }, Ok(_)) => {
                let mut records = output.records()?;
                let mut written = records.write(self.format.head())?;
                let found = &mut self.found;
                sorted.finish(|key, text| {
                    if written.is_continue() {
                        *found.entry(key.source).or_default() += 1;
                        written = records.write(text)?;
                    }
                    Ok::<_, CliError>(written.is_continue())
                })?;
                let searched =
                    Searched::new(targets, &self.found, self.order, Shows::Records, gaps);
                records.finish(&searched, ended)
            }
            (Kind::Summary(shows), Ok(outcome)) => {
                let searched = Searched::new(targets, &self.found, self.order, shows, gaps);
                output.report(&searched, outcome.into())
            }
        }
    }
}

fn unsorted(error: io::Error) -> CliError {
    CliError::new("cannot sort the records by time: the temporary file cannot be written")
        .caused_by(error)
        .hint("free space in the folder for temporary files (TMPDIR), or select less with --since, --until or -n")
}
