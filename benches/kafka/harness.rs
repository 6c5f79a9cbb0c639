//! Runs the cases: topic by topic, and on each topic in turn, so that every round runs each process once.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::case::{Binary, Case, Client, Encoding, Process, Writes};
use crate::contender;
use crate::matrix::{SOURCES, cases};
use crate::measure::{BlockLatency, Failed, Sample, Samples, measure};
use crate::settings::Settings;
use crate::source::{Source, payload_name};
use crate::support::broker::Broker;
use crate::support::process::{kbk, kbk_at};
use crate::support::topics;
use crate::workload::Workload;

/// Runs every case that the settings select.
pub(crate) fn run(settings: &Settings) -> Vec<Samples> {
    let groups = SOURCES.map(|source| (source, cases(source, settings)));
    let mut groups: Vec<(Harness, Vec<Samples>)> = groups
        .into_iter()
        .filter(|(_, cases)| !cases.is_empty())
        .map(|(source, cases)| {
            let samples = cases.into_iter().map(Samples::new).collect();
            (Harness::prepare(settings, source), samples)
        })
        .collect();
    for round in 1..=settings.rounds {
        for (harness, all) in &mut groups {
            for samples in all {
                eprintln!("round {round}: {}", samples.case);
                match harness.run(samples.case) {
                    Ok(sample) => samples.push(sample),
                    Err(failed) => eprintln!("{failed}"),
                }
            }
            harness.remove_repositories();
        }
    }
    groups
        .into_iter()
        .flat_map(|(_, samples)| samples)
        .collect()
}

/// The broker, a topic, and the files that the processes work on.
struct Harness<'a> {
    settings: &'a Settings,
    broker: &'static Broker,
    source: Source,
    topic: String,
    bytes: u64,
    folder: TempDir,
}

impl<'a> Harness<'a> {
    /// Starts the broker and fills the topic.
    fn prepare(settings: &'a Settings, source: Source) -> Harness<'a> {
        let broker = Broker::shared();
        let harness = Harness {
            settings,
            broker,
            source,
            topic: topics::unique("kbk-bench"),
            bytes: source.bytes(settings.bytes),
            folder: TempDir::with_prefix("kbk-bench-").expect("a temporary folder"),
        };
        eprintln!("filling: {source}");
        create(broker, &harness.topic, source.partitions);
        contender::produce(&harness.topic, source, harness.bytes);
        harness
    }

    fn run(&self, case: Case) -> Result<Sample, Failed> {
        let topic = self.topic.as_str();
        match case.process {
            Process::Consume => {
                let partitions = self.source.partitions.to_string();
                self.measure(&mut self.contender(&["consume", topic, &partitions]))
            }
            Process::Zstd => {
                let raw = self.raw_file();
                let mut zstd = Command::new("zstd");
                self.measure(&mut to_nowhere(zstd.args(["-1", "-q", "-c", &raw])))
            }
            Process::Libzstd => {
                let name = payload_name(self.source.payload);
                self.measure(&mut self.contender(&["zstd", "1", name, &self.bytes.to_string()]))
            }
            Process::Backup(encoding, client) => self.backup(case.binary, encoding, client),
            Process::BackupSoonest => self.backup_soonest(case.binary),
            Process::Produce => self.produce(),
            Process::Restore(encoding, client, writes) => {
                self.restore(case.binary, encoding, client, writes)
            }
            Process::Checksum => {
                let repository = self.filled_repository(Encoding::Records("none"));
                self.measure(&mut self.contender(&["crc", &repository]))
            }
            Process::Verify => self.measure(&mut self.verify(case.binary)),
            Process::VerifyOnOneCore => {
                let verify = self.verify(case.binary);
                self.measure(&mut shell(r#"exec taskset -c 0 "$@""#, &verify))
            }
            Process::Cat => {
                let repository = self.filled_repository(Encoding::Records("zstd:1"));
                let cat = self.kbk(case.binary, &repository, &["cat", topic]);
                self.measure(&mut to_nowhere(&cat))
            }
            Process::CatOne => self.cat_one(case.binary),
        }
    }

    /// Measures a process, and what the broker does meanwhile.
    fn measure(&self, command: &mut Command) -> Result<Sample, Failed> {
        measure(command, self.broker.process_id())
    }

    /// Backs up into a new repository.
    fn backup(&self, binary: Binary, encoding: Encoding, client: Client) -> Result<Sample, Failed> {
        let repository = self.repository(encoding, client);
        remove(&repository);
        let mut backup = self.backup_command(binary, &repository, encoding, client);
        self.measure(&mut backup)
    }

    /// Backs up with the smallest blocks, and reads from the metrics of the run how soon they were written.
    fn backup_soonest(&self, binary: Binary) -> Result<Sample, Failed> {
        let (repository, metrics) = (self.path("repository-soonest"), self.path("metrics.prom"));
        remove(&repository);
        let (encoding, client) = (Encoding::Batches, Client::Wire);
        let mut backup = self.backup_command(binary, &repository, encoding, client);
        backup.args(["--block-size", "64KiB", "--metrics-textfile", &metrics]);
        let sample = self.measure(&mut backup)?;
        let blocks = BlockLatency::of(&fs::read_to_string(metrics).expect("metrics"));
        Ok(Sample { blocks, ..sample })
    }

    fn backup_command(
        &self,
        binary: Binary,
        repository: &str,
        encoding: Encoding,
        client: Client,
    ) -> Command {
        let servers = self.broker.bootstrap();
        let topic = self.topic.as_str();
        let backup = ["backup", "--init", "-b", servers, "--topic", topic];
        let client = ["--client", client.name()];
        self.kbk(
            binary,
            repository,
            &[&backup[..], &client, &encoding.options()].concat(),
        )
    }

    /// Returns a repository that holds the topic: that of the backup of this round, or, where that is not measured, one that is made now.
    fn filled_repository(&self, encoding: Encoding) -> String {
        let repository = self.repository(encoding, Client::Wire);
        if !Path::new(&repository).exists() {
            let status = self
                .backup_command(Binary::Built, &repository, encoding, Client::Wire)
                .status();
            let status = status.expect("kbk runs");
            assert!(status.success(), "kbk backup into {repository}: {status}");
        }
        repository
    }

    fn produce(&self) -> Result<Sample, Failed> {
        let Source {
            payload,
            codec,
            partitions,
        } = self.source;
        let topic = topics::unique("kbk-bench-produced");
        create(self.broker, &topic, partitions);
        let sample = self.measure(&mut self.contender(&[
            "produce",
            &topic,
            payload_name(payload),
            codec,
            &partitions.to_string(),
            &self.bytes.to_string(),
        ]));
        topics::delete(self.broker, &topic);
        sample
    }

    /// Restores into a new topic.
    fn restore(
        &self,
        binary: Binary,
        encoding: Encoding,
        client: Client,
        writes: Writes,
    ) -> Result<Sample, Failed> {
        let repository = self.filled_repository(encoding);
        let topic = topics::unique("kbk-bench-restored");
        let map = format!("{}={topic}", self.topic);
        let servers = self.broker.bootstrap();
        let restore = ["restore", "-b", servers, "--map", &map];
        let client = ["--client", client.name()];
        let writes: &[&str] = match writes {
            Writes::InTransactions => &[],
            Writes::WithoutTransactions => &["--no-transactions"],
        };
        let arguments = [&restore[..], &client, writes].concat();
        let sample = self.measure(&mut self.kbk(binary, &repository, &arguments))?;
        topics::delete(self.broker, &topic);
        Ok(sample)
    }

    fn verify(&self, binary: Binary) -> Command {
        let repository = self.filled_repository(Encoding::Records("none"));
        self.kbk(binary, &repository, &["verify"])
    }

    /// Measures many runs in one, since a single one takes only milliseconds.
    fn cat_one(&self, binary: Binary) -> Result<Sample, Failed> {
        const TIMES: f64 = 50.0;
        let repository = self.filled_repository(Encoding::Records("zstd:1"));
        let middle = (self.bytes / 8_000).to_string();
        let one = ["-p", "2", "-n", "1", "--offset", &middle];
        let cat = self.kbk(
            binary,
            &repository,
            &[&["cat", self.topic.as_str()][..], &one].concat(),
        );
        // Whatever starts kbk is not repeated: only kbk is measured.
        let script = format!(
            r#"while [ "${{1#*/}}" = "$1" ]; do shift; done
            for _ in $(seq {TIMES}); do "$@" >/dev/null || exit; done"#
        );
        let all = self.measure(&mut shell(&script, &cat))?;
        Ok(Sample {
            wall_seconds: all.wall_seconds / TIMES,
            cpu_seconds: all.cpu_seconds / TIMES,
            ..all
        })
    }

    fn kbk(&self, binary: Binary, repository: &str, arguments: &[&str]) -> Command {
        let arguments = [&["--quiet", "--repo", repository], arguments].concat();
        match (binary, &self.settings.before) {
            (Binary::Before, Some(before)) => kbk_at(before, arguments),
            (Binary::Before, None) | (Binary::Built, _) => kbk(arguments),
        }
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

    /// Returns the place of the repository of a backup.
    fn repository(&self, encoding: Encoding, client: Client) -> String {
        let name = format!("{encoding}{client}").replace([',', ' ', ':'], "-");
        self.path(&format!("repository-{name}"))
    }

    /// Frees the disk for the next topic.
    fn remove_repositories(&self) {
        for entry in fs::read_dir(self.folder.path()).expect("it is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                fs::remove_dir_all(path).expect("it is ours");
            }
        }
    }

    /// Returns a file with the bytes of all records.
    fn raw_file(&self) -> String {
        let path = self.path("raw");
        if !Path::new(&path).exists() {
            write_raw(&path, &Workload::new(self.source.payload), self.bytes)
                .expect("room for the raw bytes");
        }
        path
    }

    fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str()
            .expect("the temporary folder's name is UTF-8")
            .to_owned()
    }
}

fn remove(folder: &str) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            panic!("cannot remove {folder}: {error}")
        }
        Ok(()) | Err(_) => {}
    }
}

fn write_raw(path: &str, workload: &Workload, bytes: u64) -> io::Result<()> {
    let raw = workload.distinct_bytes();
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
