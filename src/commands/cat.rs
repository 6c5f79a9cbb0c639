//! `kbk cat`: prints records of a topic, or of segment files, in their order. What it selects by is in `record_args`.
//!
//! | file | holds |
//! |---|---|
//! | `files` | segment files without their repository |
//! | `origin` | a partition or a file that is printed |
//! | `printer` | formats and counts |
//! | `upcoming` | partitions that are begun before they are printed |

mod files;
mod origin;
mod printer;
mod upcoming;

use clap::builder::StyledStr;
use kbk_format::repo::RepoError;
use kbk_tools::{Order, PartitionReader, ReadOptions, Selection};

use self::files::Files;
use self::origin::Origin;
use self::printer::Printer;
use self::upcoming::Upcoming;
use super::record_args::{self, Partitions, RecordArgs};
use crate::cli::{CliError, Context, Outcome};

const EXAMPLES: &str = "\
Examples:
  kbk cat -r /backup/kafka orders -n 10
  kbk cat -r /backup/kafka orders/3 --offset 12345 -n 1
  kbk cat -r /backup/kafka orders/3 --reverse -n 5
  kbk cat -r /backup/kafka orders/0-3,7 --from-offset 1000 --to-offset 2000
  kbk cat -r /backup/kafka 'orders-*' --offset -100
  kbk cat -r /backup/kafka orders --key order-42 --format value
  kbk cat -r /backup/kafka orders --header trace --where '/customer/id=42' -n 1
  kbk cat -r /backup/kafka orders --since 2026-11-22T10:00:00Z --until 2026-11-22T11:00:00Z
  kbk cat -r /backup/kafka orders --format csv > orders.csv
  kbk cat -r /backup/kafka orders -f '%p/%o %k: %s\\n'
  kbk cat -r /backup/kafka orders -f '%s\\0' | xargs -0 -n 1 echo
  kbk cat /backup/kafka/data/orders/*/0/*.kseg --reverse -n 5

Topics and partitions follow one another in the order of name and number; --reverse prints exactly the reverse.
What cannot be read is left out and named on stderr, with its offsets, and the exit code is 3.
kbk grep prints the same on all cores.
";

/// The arguments of `kbk cat`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = help())]
pub struct Args {
    /// Which records are printed, and how.
    #[command(flatten)]
    pub records: RecordArgs,
}

fn help() -> StyledStr {
    format!("{EXAMPLES}\n{}", record_args::HELP).into()
}

/// Prints the records of a topic, or of files.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let args = &args.records;
    let selection = Selection {
        times: args.time_range()?,
        filter: args.filter(),
        ..Selection::all()
    };
    args.check()?;
    // Before a repository is opened.
    args.offsets()?;
    args.topics()?;
    if args.has_files() {
        let files = Files::of(args, selection)?;
        let mut printer = Printer::new(args, context)?;
        let mut found = Vec::new();
        let printed = files.print(&mut printer, &mut found).await;
        return finish(printer, printed, &found);
    }
    let (repository, snapshot) = record_args::open(args, context).await?;
    let partitions = Partitions::select(args, &repository, &snapshot)?;
    let printing = Printing {
        partitions: &partitions,
        selection,
        order: args.order(),
    };
    let mut printer = Printer::new(args, context)?;
    let printed = printing.print(&mut printer).await;
    finish(printer, printed, &partitions.stored())
}

/// Ends the output, and says if it has no record. `found` states which offsets there are to select from.
fn finish(
    printer: Printer<'_>,
    printed: Result<Outcome, CliError>,
    found: &[String],
) -> Result<Outcome, CliError> {
    let printed = printed.map(|outcome| match printer.outcome() {
        Outcome::Clean => outcome,
        unread => unread,
    });
    printer.finish(printed.as_ref().copied(), found)?;
    printed
}

/// Whoever has printed partitions of this many stored bytes to their ends is taken to print the next ones, too: they are not begun with little.
const PERSISTENT_BYTES: u64 = 8 << 20;

/// Partitions to print.
struct Printing<'a> {
    partitions: &'a Partitions<'a>,
    /// What is selected of each, but for offsets.
    selection: Selection,
    order: Order,
}

impl Printing<'_> {
    /// Prints topic by topic and partition by partition.
    async fn print(&self, printer: &mut Printer<'_>) -> Result<Outcome, CliError> {
        let partitions = self.partitions;
        let mut begun = Vec::new();
        let mut readers = Upcoming::new(|number, options| self.begin(number, options));
        let mut numbers = self.order.of(0..partitions.selected.len());
        let mut printed_bytes = 0;
        loop {
            let options = printer.options(printed_bytes < PERSISTENT_BYTES);
            let Some((number, reader)) = readers.next(&mut numbers, options).await else {
                break;
            };
            let (topic, state) = partitions.selected[number];
            printed_bytes += state.stored_bytes;
            begun.push((topic, state));
            let origin = Origin::of_partition(partitions, number, &self.selection);
            let printed = readers.during(printer.print(origin, reader)).await?;
            // What is missing from the end is not needed for the first records, but it is for the last ones.
            if printed.is_break() {
                match self.order {
                    Order::Ascending => return Ok(Outcome::Clean),
                    Order::Descending => break,
                }
            }
        }
        // Everything selected is printed, and it may not be all that was there.
        Ok(Outcome::clean_if(partitions.missing(&begun).complete))
    }

    /// Begins to read a partition.
    async fn begin(
        &self,
        number: usize,
        options: ReadOptions,
    ) -> Result<PartitionReader, RepoError> {
        let origin = Origin::of_partition(self.partitions, number, &self.selection);
        origin.read(options).await
    }
}
