//! `kbk restores discard`: discards an unfinished restore.

use std::io::{self, Write};

use kbk_format::repo::RestoreId;

use crate::cli::{CliError, Context, KafkaArgs, Outcome, Report};
use crate::human;
use crate::restore::{self, DiscardReport, DiscardedTopic, FoundTopic};

const EXAMPLES: &str = "\
Examples:
  kbk restores discard 20261128-230000-123-ab12 -r /backup/kafka -b broker:9092
  kbk restores discard 20261128-230000-123-ab12 -r /backup/kafka --no-cluster

Ends a run that is still writing in transactions, and aborts its open one; a run that was begun with
--no-transactions cannot be ended from elsewhere: stop it first. Settings that topics had only
while records were written become those that they were to have afterwards, and the groups that
kept the progress are deleted. No record and no topic is deleted: the output names the topics
that hold records of the restore.
Exit code 3: the configuration of a topic cannot be read.";

/// The arguments of `kbk restores discard`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The restore, as `kbk restores` lists it
    #[arg(value_name = "ID")]
    pub restore: RestoreId,

    /// How to reach the cluster that it writes to.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Discard it in the repository only: the cluster that it wrote to is gone
    #[arg(long)]
    pub no_cluster: bool,
}

/// Discards the restore, and prints what is left of it.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let kafka = match args.no_cluster {
        true => None,
        false => Some(args.kafka.settings()?),
    };
    let repository = crate::commands::repository(context).await?;
    let report = restore::discard(&repository, &args.restore, kafka).await?;
    let mut topics = report.topics.iter();
    let outcome = Outcome::clean_if(!topics.any(|topic| topic.config_unknown));
    context.conclude(&report, outcome)
}

impl Report for DiscardReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let restore = &self.restore;
        if !self.cluster {
            return writeln!(
                out,
                "restore {restore} is discarded in the repository; the cluster was not asked: topics there keep their temporary settings"
            );
        }
        writeln!(out, "restore {restore} is discarded")?;
        for topic in &self.topics {
            write_topic(topic, out)?;
        }
        Ok(())
    }
}

fn write_topic(topic: &DiscardedTopic, out: &mut dyn Write) -> io::Result<()> {
    let target = &topic.target;
    match (topic.found, topic.created) {
        (FoundTopic::Nothing, _) => writeln!(out, "{target}: the cluster has no such topic"),
        (FoundTopic::Another, _) => {
            writeln!(
                out,
                "{target}: the cluster has another topic of this name, which stays as it is"
            )
        }
        (FoundTopic::Target, created) => {
            let offsets = human::counted(topic.offsets, "offset");
            let what = match created {
                true => "was created by the restore and holds",
                false => "holds",
            };
            writeln!(
                out,
                "{target}: {what} {offsets} written since the restore began"
            )
        }
    }?;
    if topic.config_unknown {
        writeln!(
            out,
            "{target}: may still have temporary settings, such as retention.ms=-1: its configuration cannot be read, which requires \
             --operation DescribeConfigs --topic {target}; discarding the restore again sets it"
        )?;
    }
    for (key, value) in &topic.config {
        match value {
            Some(value) => writeln!(out, "{target}: {key} is {value}")?,
            None => writeln!(out, "{target}: {key} is the cluster's")?,
        }
    }
    Ok(())
}
