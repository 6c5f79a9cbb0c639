//! The options of commands that print records: what is selected, and how it is printed. `kbk cat` and `kbk grep` have the same.
//!
//! | file | holds |
//! |---|---|
//! | `operand` | what is a topic, and what a file |
//! | `files` | segment files, past those that cannot be opened |
//! | `partitions` | the partitions of a snapshot that are selected |
//! | `doubles` | a warning of numbers that not every reader keeps |

mod doubles;
mod files;
mod operand;
mod partitions;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use clap::builder::{OsStringValueParser, TypedValueParser};
use kbk_format::{OffsetSpan, TextFormat};
use kbk_tools::filter::{BytePattern, Conditions, HeaderCondition, JsonCondition};
use kbk_tools::{KeySelection, Order, RecordFilter};

pub use self::operand::{Operand, OperandError};

pub(super) use self::doubles::Doubles;
pub(super) use self::files::FileOpener;
pub(super) use self::partitions::{Partitions, open};

use crate::cli::{
    CliError, OffsetArg, OffsetRangeArg, RecordKey, SnapshotArg, TimeArg, time_range,
};
use crate::select::{PartitionSet, TopicPartitions};

const SELECTION: &str = "Records";
const CONDITIONS: &str = "Conditions";

/// What the help says of the options.
pub(super) const HELP: &str = "\
FORMAT is one of
  jsonl      a JSON object per line: topic, partition, offset, timestamp (milliseconds), time (RFC 3339, UTC), key,
             value, headers; key_base64 and so on for bytes that are not UTF-8
  csv        RFC 4180, with a header line; key_encoding and value_encoding are text, base64, or empty for null
  value      the bytes of the value and a line feed; a null value is an empty line
  key-value  the bytes of the key, a tab, those of the value, a line feed
  hex        topic, partition, offset, timestamp, key, value, headers, separated by tabs: bytes in hex, null is -
  raw        bytes with their lengths, for programs: docs/reference/formats.md
  a template with the tokens and escapes of kcat:
             %k key  %s value  %K %S their lengths (-1 null)  %R length of the value as 4 bytes  %h headers
             %t topic  %p partition  %o offset  %T timestamp in milliseconds  %% percent sign
             \\n \\r \\t \\\\ \\0 \\xNN; there is no line feed at the end unless you write it
value, key-value and templates do not escape what is inside a key or a value.

A record has one key, so that several options for keys select records with any of these keys. All others must hold.
REGEX is found anywhere in the bytes: ^ and $ anchor it, (?i) ignores case, (?-u:\\xff) is a byte.
CONDITION is about a value that is JSON, by a JSON pointer (RFC 6901): /customer/id=42, /customer/id!=42,
/customer (exists), !/customer (does not exist). 42 is the number or the string, \"42\" the string only. A member that
does not exist is neither = nor != anything, and a value that is not JSON satisfies no CONDITION.

A name that ends in .kseg, or begins with ./ or ../, is a segment file; a topic of such a name is NAME@ID or /NAME/.
Records without a timestamp have -1, and no time: --until selects them, --since does not.
OFFSET is first, last, end (one past the last), a number, or -100 for 100 before the end.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// Which records are printed, and how.
#[derive(clap::Args, Clone, Debug)]
pub struct RecordArgs {
    /// Topics, or partitions of them, as in orders/0-3,7: a name, a glob, or /a regular expression/ for the whole name; also NAME@ID,
    /// with 8 digits of its id or more. Or segment files (.kseg), which need no repository
    #[arg(
        value_name = "TOPIC[/PARTITIONS]|FILE",
        required = true,
        num_args = 1..,
        value_parser = OsStringValueParser::new().try_map(Operand::parse)
    )]
    pub operands: Vec<Operand>,

    /// Only these partitions of each topic: numbers and ranges, as in 0-3,7; repeatable
    #[arg(short, long, value_name = "LIST", help_heading = SELECTION)]
    pub partition: Vec<PartitionSet>,

    /// Start at this offset of each partition
    #[arg(
        long,
        visible_alias = "offset",
        value_name = "OFFSET",
        default_value = "first",
        allow_hyphen_values = true,
        help_heading = SELECTION
    )]
    pub from_offset: OffsetArg,

    /// End before this offset of each partition
    #[arg(
        long,
        value_name = "OFFSET",
        default_value = "end",
        allow_hyphen_values = true,
        help_heading = SELECTION
    )]
    pub to_offset: OffsetArg,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME", help_heading = SELECTION)]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they are in the partition
    #[arg(long, value_name = "TIME", help_heading = SELECTION)]
    pub until: Option<TimeArg>,

    /// Only records with this key: these bytes exactly; repeatable. All partitions are searched, since any partitioner may have placed
    /// the key
    #[arg(long, value_name = "TEXT", value_parser = OsStringValueParser::new().map(RecordKey::text), help_heading = CONDITIONS)]
    pub key: Vec<RecordKey>,

    /// Only records with this key, in hex; repeatable
    #[arg(long, value_name = "HEX", value_parser = RecordKey::hex, help_heading = CONDITIONS)]
    pub key_hex: Vec<RecordKey>,

    /// Only records with this key, in base64 as in key_base64; repeatable
    #[arg(long, value_name = "BASE64", value_parser = RecordKey::base64, help_heading = CONDITIONS)]
    pub key_base64: Vec<RecordKey>,

    /// Only records without a key, besides those of the other keys; an empty key is not null
    #[arg(long, help_heading = CONDITIONS)]
    pub key_null: bool,

    /// Only records whose key begins with these bytes; repeatable
    #[arg(long, value_name = "TEXT", value_parser = OsStringValueParser::new().map(RecordKey::text), help_heading = CONDITIONS)]
    pub key_prefix: Vec<RecordKey>,

    /// Only records whose key begins with these bytes, in hex; repeatable
    #[arg(long, value_name = "HEX", value_parser = RecordKey::hex, help_heading = CONDITIONS)]
    pub key_prefix_hex: Vec<RecordKey>,

    /// Only records whose key has a match of this regular expression; repeatable
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, help_heading = CONDITIONS)]
    pub key_regex: Vec<BytePattern>,

    /// Only records whose value has a match of this regular expression; repeatable, and then of each of them
    #[arg(short = 'e', long, value_name = "REGEX", allow_hyphen_values = true, help_heading = CONDITIONS)]
    pub value_regex: Vec<BytePattern>,

    /// Only records with a header of this name, or of this name and value; repeatable, and then with each of them
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = CONDITIONS)]
    pub header: Vec<HeaderCondition>,

    /// Only records whose value is JSON and satisfies this; repeatable, and then each of them
    #[arg(long = "where", value_name = "CONDITION", help_heading = CONDITIONS)]
    pub condition: Vec<JsonCondition>,

    /// Only records whose value is null
    #[arg(long, help_heading = CONDITIONS)]
    pub tombstones: bool,

    /// Only the records that do not satisfy all of these conditions; offsets and times are no conditions
    #[arg(long, help_heading = CONDITIONS)]
    pub invert_match: bool,

    /// Print at most this many records in total
    #[arg(short = 'n', visible_short_alias = 'm', long, value_name = "N")]
    pub max_count: Option<u64>,

    /// Print in reverse: the newest record first, the highest partition first, the last file first
    #[arg(long)]
    pub reverse: bool,

    /// How to print records
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "jsonl",
        conflicts_with = "json"
    )]
    pub format: TextFormat,

    /// Print null keys, values and values of headers as this; for value, key-value and templates
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub null_as: Option<String>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,
}

impl RecordArgs {
    pub(super) fn order(&self) -> Order {
        match self.reverse {
            true => Order::Descending,
            false => Order::Ascending,
        }
    }

    /// Returns the times that were given.
    pub(super) fn times(&self) -> impl Iterator<Item = &TimeArg> {
        self.since.iter().chain(&self.until)
    }

    /// Returns the selected timestamps, both bounds inclusive.
    pub(super) fn time_range(&self) -> Result<std::ops::RangeInclusive<i64>, CliError> {
        time_range(self.since.as_ref(), self.until.as_ref())
    }

    pub(super) fn offsets(&self) -> Result<OffsetRangeArg, CliError> {
        OffsetRangeArg::new(self.from_offset, self.to_offset)
    }

    /// Returns the format of the output.
    pub(super) fn format(&self, is_json: bool) -> &TextFormat {
        match is_json {
            true => &TextFormat::JsonLines,
            false => &self.format,
        }
    }

    /// Checks what the options say together.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if self.null_as.is_some() && !matches!(self.format, TextFormat::Template(_)) {
            return Err(CliError::usage(
                "--null-as is for the formats value, key-value and templates; jsonl and csv, hex and raw distinguish null by themselves",
            ));
        }
        if self.invert_match && !self.conditions().any() {
            return Err(CliError::usage(
                "--invert-match selects the records that do not satisfy the conditions, and none is given",
            ));
        }
        Ok(())
    }

    /// Returns what the records must hold.
    pub(super) fn filter(&self) -> RecordFilter {
        RecordFilter::new(self.conditions())
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            keys: self.keys(),
            tombstones: self.tombstones,
            headers: self.header.clone(),
            values: self.value_regex.clone(),
            json: self.condition.clone(),
            invert: self.invert_match,
        }
    }

    /// Returns the selected keys; `None` if every key is.
    fn keys(&self) -> Option<KeySelection> {
        let bytes = |keys: &[Vec<RecordKey>]| -> Vec<Vec<u8>> {
            keys.iter().flatten().map(|key| key.0.clone()).collect()
        };
        let exact = [&self.key, &self.key_hex, &self.key_base64].map(Vec::clone);
        let exact: HashSet<Vec<u8>> = bytes(&exact).into_iter().collect();
        let prefixes = bytes(&[&self.key_prefix, &self.key_prefix_hex].map(Vec::clone));
        let patterns = self.key_regex.clone();
        let any = !(exact.is_empty() && prefixes.is_empty() && patterns.is_empty());
        (any || self.key_null)
            .then(|| KeySelection::new(exact, self.key_null).or(prefixes, patterns))
    }

    /// Returns the topics; none for files.
    pub(super) fn topics(&self) -> Result<Vec<TopicPartitions>, CliError> {
        let topics = self.operands.iter().filter_map(|operand| match operand {
            Operand::Topics(topics) => Some(topics.clone()),
            Operand::File(_) => None,
        });
        let topics: Vec<_> = topics.collect();
        if !topics.is_empty() && self.has_files() {
            let message = "topics and files are both given, and only one of them can be read";
            return Err(CliError::usage(message).hint(operand::RULE));
        }
        Ok(topics)
    }

    /// Returns whether segment files are read, and no repository.
    pub(super) fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.operands.iter();
        files.filter_map(|operand| match operand {
            Operand::File(file) => Some(&**file),
            Operand::Topics(_) => None,
        })
    }

    /// Returns the error of selecting a snapshot of files.
    pub(super) fn no_snapshot(&self) -> CliError {
        CliError::usage(
            "--snapshot selects from a repository, and segment files are read without one",
        )
    }

    /// Returns the files, in the order in which they were given, if no option selects what a file does not have.
    pub(super) fn segment_files(&self) -> Result<Vec<&Path>, CliError> {
        if !self.partition.is_empty() {
            return Err(CliError::usage(
                "--partition selects from topics, and a segment file has one partition; name the files of that partition instead",
            ));
        }
        if self.snapshot != SnapshotArg::Latest {
            return Err(self.no_snapshot());
        }
        Ok(self.files().collect())
    }
}

/// Says which offsets of a partition or a file there are to select from.
pub(super) fn stored(name: &str, records: u64, offsets: Range<i64>) -> String {
    match records {
        0 => format!("{name} has no records"),
        _ => format!("{name} has the {}", OffsetSpan::from(offsets)),
    }
}
