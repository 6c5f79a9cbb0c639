//! `kbk restores list`: lists the restores of the repository.

use std::io::{self, Write};

use jiff::Timestamp;
use kbk_tools::list::{self, RestoreContents, RestoreRow, RestoreState, RestoredNames};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::human;

/// The arguments of `kbk restores list`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}

/// The restores of a repository, in the order in which they began.
#[derive(Debug, Serialize)]
struct Restores {
    #[serde(skip)]
    repository: String,
    restores: Vec<RestoreRow>,
}

/// Lists the restores. A damaged one is listed too, and is a finding.
pub async fn run(_args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let listed = Restores {
        repository: repository.store().url().to_owned(),
        restores: list::restores(&repository).await?,
    };
    let mut rows = listed.restores.iter();
    let damaged = rows.any(|row| row.state == RestoreState::Damaged);
    context.conclude(&listed, Outcome::clean_if(!damaged))
}

impl Report for Restores {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.restores.is_empty() {
            return writeln!(out, "nothing was restored from {}", self.repository);
        }
        let mut table = Table::new([
            Column::Left("RESTORE"),
            Column::Left("STATE"),
            Column::Left("AGE"),
            Column::Right("SNAPSHOT"),
            Column::Right("PARTITIONS"),
            Column::Right("RECORDS"),
            Column::Right("DONE"),
            Column::Left("TOPICS"),
        ]);
        for row in &self.restores {
            table.row(cells(row, Timestamp::now()));
        }
        table.write(out)?;
        let restores = human::counted(self.restores.len() as u64, "restore");
        writeln!(out, "{restores}")?;
        for row in &self.restores {
            if let Some(damage) = &row.damage {
                writeln!(out, "restore {}: {damage}", row.restore)?;
            }
        }
        let unfinished = self.restores.iter();
        let unfinished = unfinished.filter(|row| row.state == RestoreState::Unfinished);
        match unfinished.count() {
            0 => Ok(()),
            _ => writeln!(
                out,
                "`kbk restore --resume ID` finishes an unfinished restore, `kbk restores discard ID` abandons it"
            ),
        }
    }
}

fn cells(row: &RestoreRow, now: Timestamp) -> [String; 8] {
    let restore = row.restore.to_string();
    let state = in_words(row).to_owned();
    let Some(contents) = &row.contents else {
        let [a, b, c, d, e, f] = [const { String::new() }; 6];
        return [restore, state, a, b, c, d, e, f];
    };
    [
        restore,
        state,
        human::age_of(contents.started_at, now),
        contents.snapshot.to_string(),
        human::count(contents.partitions),
        human::count(contents.records),
        done(row.state, contents),
        topics(&contents.topics),
    ]
}

fn in_words(row: &RestoreRow) -> &'static str {
    let resumable = row.contents.as_ref().is_some_and(|it| it.resumable);
    match row.state {
        RestoreState::Unfinished if resumable => "unfinished",
        RestoreState::Unfinished => "unfinished, not resumable",
        RestoreState::Finished => "finished",
        RestoreState::Discarded => "discarded",
        RestoreState::Damaged => "damaged",
    }
}

/// Returns how much is done, rounded down so that only what is finished is at 100 %.
fn done(state: RestoreState, contents: &RestoreContents) -> String {
    if state == RestoreState::Finished {
        return "100 %".to_owned();
    }
    let (mapped, selected) = (contents.mapped_offsets, contents.selected_offsets);
    let percent = u128::from(mapped) * 100 / u128::from(selected.max(1));
    format!("{} %", percent.min(99))
}

/// Returns the names of the topics, the first ones of many.
fn topics(topics: &[RestoredNames]) -> String {
    const SHOWN: usize = 3;
    let name = |names: &RestoredNames| match names.topic == names.target {
        true => names.topic.clone(),
        false => format!("{} as {}", names.topic, names.target),
    };
    let mut shown: Vec<String> = topics.iter().take(SHOWN).map(name).collect();
    match topics.len().saturating_sub(SHOWN) {
        0 => {}
        more => shown.push(format!("{more} more")),
    }
    shown.join(", ")
}
