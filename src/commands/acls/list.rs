//! `kbk acls list`: lists the ACLs of a snapshot.

use std::io::{self, Write};

use kbk_format::repo::AclBinding;
use kbk_tools::original;
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, SnapshotArg, Table};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk acls list -r /backup/kafka
  kbk acls list -r /backup/kafka --snapshot 12 --json | jq '.acls[] | select(.principal == \"User:alice\")'";

/// The arguments of `kbk acls list`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,
}

/// The ACLs of a snapshot.
#[derive(Debug, Serialize)]
struct Listing {
    /// The snapshot that is listed.
    snapshot: u64,
    /// The snapshot whose backup read the ACLs from the cluster, with its number in the repository that was backed up where this one is a
    /// copy.
    seen: u64,
    /// The same for people.
    #[serde(skip)]
    seen_in_words: String,
    /// When it read them.
    taken_at: jiff::Timestamp,
    /// Whether the cluster had an authorizer.
    authorizer: bool,
    /// ACLs that the cluster had and the backup could not represent.
    left_out: u64,
    acls: Vec<AclBinding>,
}

/// Lists the ACLs.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let snapshot = crate::commands::snapshot(&repository, args.snapshot).await?;
    let Some(found) = repository.acls(&snapshot).await? else {
        let message = format!(
            "snapshot {} has no ACLs: {}",
            snapshot.sequence,
            original::never_saved(&snapshot)
        );
        let hint = snapshot.origin.as_ref().map(original::copy_again);
        let hint = hint.unwrap_or_else(|| {
            "`kbk backup --acls` saves them, or reports why it cannot".to_owned()
        });
        return Err(CliError::new(message).hint(hint));
    };
    let listing = Listing {
        snapshot: snapshot.sequence,
        seen: found.seen,
        seen_in_words: original::numbered(&snapshot, found.seen),
        taken_at: found.taken_at,
        authorizer: found.authorizer,
        left_out: found.left_out,
        acls: found.acls.to_vec(),
    };
    context.conclude(&listing, Outcome::Clean)
}

impl Report for Listing {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let as_of = format!(
            "as of {} ({})",
            human::moment(self.taken_at),
            self.seen_in_words
        );
        if !self.authorizer {
            return writeln!(
                out,
                "the cluster had no authorizer, and so no ACLs, {as_of}"
            );
        }
        let mut table = Table::new(COLUMNS);
        for binding in &self.acls {
            table.row(cells(binding));
        }
        table.write(out)?;
        let count = human::counted(self.acls.len() as u64, "ACL");
        writeln!(out, "{count} {as_of}")?;
        if self.left_out > 0 {
            let more = human::count(self.left_out);
            writeln!(
                out,
                "the cluster had {more} more, which the Kafka client cannot represent"
            )?;
        }
        Ok(())
    }
}

/// The columns of a table of ACLs.
pub(super) const COLUMNS: [Column; 7] = [
    Column::Left("RESOURCE"),
    Column::Left("NAME"),
    Column::Left("PATTERN"),
    Column::Left("PRINCIPAL"),
    Column::Left("HOST"),
    Column::Left("OPERATION"),
    Column::Left("PERMISSION"),
];

pub(super) fn cells(binding: &AclBinding) -> [String; 7] {
    [
        &binding.resource_type,
        &binding.resource_name,
        &binding.pattern_type,
        &binding.principal,
        &binding.host,
        &binding.operation,
        &binding.permission_type,
    ]
    .map(|text| human::printable(text))
}
