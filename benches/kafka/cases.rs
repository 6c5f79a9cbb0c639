//! The measured processes. They take turns: every round runs each of them once.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::process::Command;

use tempfile::TempDir;

use crate::contender;
use crate::measure::{Failed, Sample, Samples, measure};
use crate::support::broker::Broker;
use crate::support::process::kbk;
use crate::support::topics;
use crate::workload::{Settings, Workload};

/// A measured process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// A bare librdkafka consumer.
    Consume,
    /// `zstd -1` on a file of the same bytes.
    Zstd,
    /// libzstd, called as kbk calls it, without any I/O.
    Libzstd,
    /// `kbk backup` of four partitions with the given compression.
    Backup(&'static str),
    /// `kbk backup` of one partition, at zstd:1.
    BackupOnePartition,
    /// A bare idempotent librdkafka producer.
    Produce,
    /// `kbk restore` of four partitions, in transactions.
    Restore,
    /// `kbk restore` without transactions, like the producer that it is compared with.
    RestoreUntransacted,
    /// Reads all files of a repository and computes their CRC-32C.
    Checksum,
    /// `kbk verify` of the same files.
    Verify,
    /// The same on one core.
    VerifyOnOneCore,
    /// `kbk cat` of the topic.
    Cat,
    /// `kbk cat` of one record in the middle.
    CatOne,
}

/// The order of a round: processes that are compared are adjacent.
const ORDER: [Case; 16] = [
    Case::Consume,
    Case::Backup("none"),
    Case::Zstd,
    Case::Libzstd,
    Case::Backup("zstd:1"),
    Case::BackupOnePartition,
    Case::Backup("zstd:3"),
    Case::Backup("lz4"),
    Case::Produce,
    Case::Restore,
    Case::RestoreUntransacted,
    Case::Checksum,
    Case::Verify,
    Case::VerifyOnOneCore,
    Case::Cat,
    Case::CatOne,
];

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Case::Consume => f.write_str("librdkafka consumer"),
            Case::Zstd => f.write_str("zstd -1"),
            Case::Libzstd => f.write_str("libzstd, level 1, 1 MiB at a time"),
            Case::Backup(codec) => write!(f, "kbk backup, {codec}"),
            Case::BackupOnePartition => f.write_str("kbk backup, zstd:1, one partition"),
            Case::Produce => f.write_str("librdkafka producer"),
            Case::Restore => f.write_str("kbk restore"),
            Case::RestoreUntransacted => f.write_str("kbk restore --no-transactions"),
            Case::Checksum => f.write_str("read + CRC-32C"),
            Case::Verify => f.write_str("kbk verify"),
            Case::VerifyOnOneCore => f.write_str("kbk verify, on one core"),
            Case::Cat => f.write_str("kbk cat"),
            Case::CatOne => f.write_str("kbk cat -n 1 --offset"),
        }
    }
}

/// Runs every case.
pub(crate) fn run(settings: Settings) -> Vec<Samples> {
    let harness = Harness::prepare(settings);
    let mut all = ORDER.map(Samples::new);
    for round in 0..settings.warm_ups + settings.rounds {
        for samples in &mut all {
            eprintln!("round {round}: {}", samples.case);
            match harness.run(samples.case) {
                Ok(sample) if round >= settings.warm_ups => samples.push(sample),
                Ok(_) => {}
                Err(failed) => eprintln!("{failed}"),
            }
        }
    }
    all.into()
}

/// The broker, the topics and the files that the processes work on.
struct Harness {
    settings: Settings,
    broker: &'static Broker,
    folder: TempDir,
    /// The source topic with one partition.
    one: String,
    /// The source topic with four partitions.
    four: String,
}

impl Harness {
    /// Starts the broker and fills the topics.
    fn prepare(settings: Settings) -> Harness {
        let broker = Broker::shared();
        let harness = Harness {
            settings,
            broker,
            folder: TempDir::with_prefix("kbk-bench-").expect("a temporary folder"),
            one: topics::unique("kbk-bench-one"),
            four: topics::unique("kbk-bench-four"),
        };
        for (topic, partitions) in [(&harness.one, 1), (&harness.four, 4)] {
            eprintln!("filling {topic}");
            create(broker, topic, partitions);
            contender::produce(topic, partitions, settings.bytes);
        }
        write_raw(&harness.raw_file(), settings.bytes).expect("room for the raw bytes");
        harness
    }

    fn run(&self, case: Case) -> Result<Sample, Failed> {
        let (one, four) = (self.one.as_str(), self.four.as_str());
        match case {
            Case::Consume => measure(&mut self.contender(&["consume", four, "4"])),
            Case::Zstd => {
                let mut zstd = Command::new("zstd");
                measure(&mut to_nowhere(zstd.args([
                    "-1",
                    "-q",
                    "-c",
                    &self.raw_file(),
                ])))
            }
            Case::Libzstd => measure(&mut self.contender(&["zstd", "1", &self.bytes()])),
            Case::Backup(codec) => self.backup(four, codec, codec),
            Case::BackupOnePartition => self.backup(one, "zstd:1", "one"),
            Case::Produce => self.produce(),
            Case::Restore => self.restore(&[]),
            Case::RestoreUntransacted => self.restore(&["--no-transactions"]),
            Case::Checksum => measure(&mut self.contender(&["crc", &self.repository("none")])),
            Case::Verify => measure(&mut self.kbk("none", &["verify"])),
            Case::VerifyOnOneCore => {
                let verify = self.kbk("none", &["verify"]);
                measure(&mut shell(r#"exec taskset -c 0 "$@""#, &verify))
            }
            Case::Cat => measure(&mut to_nowhere(&self.kbk("zstd:1", &["cat", four]))),
            Case::CatOne => self.cat_one(),
        }
    }

    /// Backs up into a new repository.
    fn backup(&self, topic: &str, codec: &str, repository: &str) -> Result<Sample, Failed> {
        match fs::remove_dir_all(self.repository(repository)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                panic!("cannot remove {repository}: {error}")
            }
            Ok(()) | Err(_) => {}
        }
        let servers = self.broker.bootstrap();
        measure(&mut self.kbk(
            repository,
            &[
                "backup",
                "--init",
                "-b",
                servers,
                "--topic",
                topic,
                "--compression",
                codec,
            ],
        ))
    }

    fn produce(&self) -> Result<Sample, Failed> {
        let topic = topics::unique("kbk-bench-produced");
        create(self.broker, &topic, 4);
        let sample = measure(&mut self.contender(&["produce", &topic, "4", &self.bytes()]));
        topics::delete(self.broker, &topic);
        sample
    }

    /// Restores into a new topic.
    fn restore(&self, args: &[&str]) -> Result<Sample, Failed> {
        let topic = topics::unique("kbk-bench-restored");
        let map = format!("{}={topic}", self.four);
        let servers = self.broker.bootstrap();
        let restore = ["restore", "-b", servers, "--map", &map];
        let sample = measure(&mut self.kbk("zstd:1", &[&restore, args].concat()))?;
        topics::delete(self.broker, &topic);
        Ok(sample)
    }

    /// Measures many runs in one, since a single one takes only milliseconds.
    fn cat_one(&self) -> Result<Sample, Failed> {
        const TIMES: f64 = 50.0;
        let middle = (self.settings.bytes / 8_000).to_string();
        let kbk = self.kbk(
            "zstd:1",
            &["cat", &self.four, "-p", "2", "-n", "1", "--offset", &middle],
        );
        let script = format!(r#"for _ in $(seq {TIMES}); do "$@" >/dev/null || exit; done"#);
        let all = measure(&mut shell(&script, &kbk))?;
        Ok(Sample {
            wall_seconds: all.wall_seconds / TIMES,
            cpu_seconds: all.cpu_seconds / TIMES,
            ..all
        })
    }

    fn kbk(&self, repository: &str, arguments: &[&str]) -> Command {
        let repository = self.repository(repository);
        kbk(["--quiet", "--repo", &repository].iter().chain(arguments))
    }

    /// Starts this binary as a contender.
    fn contender(&self, args: &[&str]) -> Command {
        let binary = std::env::current_exe().expect("this binary's path");
        let mut command = Command::new(binary);
        command
            .args(args)
            .env("KBK_TEST_BROKERS", self.broker.bootstrap());
        command
    }

    fn repository(&self, name: &str) -> String {
        self.path(name)
    }

    /// The file with the bytes of all records.
    fn raw_file(&self) -> String {
        self.path("raw")
    }

    fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str()
            .expect("the temporary folder's name is UTF-8")
            .to_owned()
    }

    fn bytes(&self) -> String {
        self.settings.bytes.to_string()
    }
}

fn write_raw(path: &str, bytes: u64) -> io::Result<()> {
    let raw = Workload::new().distinct_bytes();
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let now = raw.len().min(left as usize);
        file.write_all(&raw[..now])?;
        left -= now as u64;
    }
    Ok(())
}

/// Discards the output of the command.
fn to_nowhere(command: &Command) -> Command {
    shell(r#"exec "$@" >/dev/null"#, command)
}

/// Wraps the command in a shell script that runs it as "$@".
fn shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

fn create(broker: &Broker, topic: &str, partitions: i32) {
    // Deleted topics must free memory and disk at once, or they disturb later rounds.
    let config = [&topics::ANY_TIME[..], &[("file.delete.delay.ms", "1000")]].concat();
    topics::create(broker, topic, partitions, &config);
}
