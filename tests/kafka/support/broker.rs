//! An Apache Kafka for the tests: one KRaft node on free loopback ports in a temporary folder.
//!
//! `java` runs under a shell that reads its standard input: a signal's name from
//! [`Broker::stop`] or [`Broker::kill`], or the end of the pipe when the test process has ended,
//! however it ended. So no broker and no folder outlives the tests, not even after `kill -9`.

#![expect(unsafe_code, reason = "std sends no signals but SIGKILL")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Seek as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, Producer};
use tempfile::TempDir;

use super::wait::PATIENCE;

const KAFKA_LIBS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/kafka-4.3.1/libs");

/// The parsed classes of a broker, which `scripts/setup kafka` archives. Java continues without it if it is missing or made for other jars.
const CLASSES: &str = concat!(
    "-XX:SharedArchiveFile=",
    env!("CARGO_MANIFEST_DIR"),
    "/.cache/kafka-4.3.1/classes.jsa"
);
/// The local tiered storage of Apache Kafka's own tests.
const TIERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/kafka-4.3.1/tiered");

/// The property that a broker has it by.
const TIERED_STORAGE: &str = "remote.log.storage.system.enable";

/// Where that keeps segments, in the folder of the broker.
const REMOTE: &str = "remote";

/// How long one probe of a broker may take.
const PROBE: Duration = Duration::from_secs(5);

/// Runs "$@" in folder $1 until standard input yields a line (a signal's name) or ends.
const SUPERVISOR: &str = r#"
folder=$1; shift
"$@" >>server.log 2>&1 &
read -r signal
kill -s "${signal:-KILL}" $!
wait
[ -n "$signal" ] || rm -rf "$folder"
"#;

/// A Kafka broker for the tests.
#[derive(Debug)]
pub(crate) struct Broker {
    bootstrap: String,
    /// `None` for a cluster that was already running.
    server: Option<Server>,
}

impl Broker {
    /// Returns the shared broker of this test binary, or the cluster that `KBK_TEST_BROKERS` names.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("KBK_TEST_BROKERS") {
            Ok(bootstrap) => Self::at(&bootstrap),
            Err(_) => Self::start(&[]),
        })
    }

    /// Starts a private broker, which is stopped and removed on drop.
    ///
    /// `extra` properties replace the defaults, except for `listeners` and `advertised.listeners`, which are
    /// appended, so that the plain listener of [`bootstrap`](Self::bootstrap) always exists. Take
    /// their ports from [`free_port`].
    pub(crate) fn start(extra: &[(&str, &str)]) -> Self {
        Self::start_formatted(extra, &["--standalone"])
    }

    /// Returns a broker that somebody else starts and stops.
    pub(crate) fn at(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            server: None,
        }
    }

    /// Starts a private broker of a cluster with another version of a feature, as `NAME=VERSION`.
    pub(crate) fn start_with_feature(feature: &str) -> Self {
        Self::start_formatted(&[], &["--standalone", "--feature", feature])
    }

    /// Starts a private broker that moves closed segments of topics with `remote.storage.enable` into a folder, as tiered storage.
    pub(crate) fn start_tiered() -> Self {
        assert!(
            Path::new(TIERED).is_dir(),
            "Apache Kafka's local tiered storage is not in {TIERED}: run `scripts/setup kafka`"
        );
        Self::start(&[
            (TIERED_STORAGE, "true"),
            (
                "remote.log.storage.manager.class.name",
                "org.apache.kafka.server.log.remote.storage.LocalTieredStorage",
            ),
            ("rsm.config.dir", REMOTE),
            ("remote.log.metadata.manager.listener.name", "PLAINTEXT"),
            (
                "rlmm.config.remote.log.metadata.topic.replication.factor",
                "1",
            ),
            ("rlmm.config.remote.log.metadata.topic.num.partitions", "1"),
            ("remote.log.manager.task.interval.ms", "200"),
            ("log.retention.check.interval.ms", "200"),
        ])
    }

    fn start_formatted(extra: &[(&str, &str)], format: &[&str]) -> Self {
        let (port, controller) = (free_port(), free_port());
        let quorum = format!("127.0.0.1:{controller}");
        let alone = [("controller.quorum.bootstrap.servers", quorum.as_str())];
        let extra = [&alone, extra].concat();
        let server = Server::format((port, controller), &extra, format, &cluster_id(port));
        let mut broker = Self {
            bootstrap: format!("127.0.0.1:{}", server.port),
            server: Some(server),
        };
        broker.restart();
        broker
    }

    /// Starts a private broker that cannot coordinate transactions: their topic needs more brokers than there are.
    pub(crate) fn start_without_transactions() -> Self {
        let (port, controller) = (free_port(), free_port());
        let quorum = format!("127.0.0.1:{controller}");
        let extra = [
            ("controller.quorum.bootstrap.servers", quorum.as_str()),
            ("transaction.state.log.replication.factor", "3"),
        ];
        let cluster = cluster_id(port);
        let mut server = Server::format((port, controller), &extra, &["--standalone"], &cluster);
        server.launch();
        let mut broker = Self {
            bootstrap: format!("127.0.0.1:{port}"),
            server: Some(server),
        };
        broker.wait_for(Self::probe_groups);
        broker
    }

    /// Starts a cluster of three nodes, each a broker and a controller, with replication factor 3. Clients bootstrap from
    /// any of them.
    pub(crate) fn start_three() -> [Self; 3] {
        Self::start_three_with(&[])
    }

    /// Starts three nodes with properties that replace the defaults.
    pub(crate) fn start_three_with(extra: &[(&str, &str)]) -> [Self; 3] {
        let ports = [(); 3].map(|()| (free_port(), free_port()));
        let each = |form: &dyn Fn(usize) -> String| [0, 1, 2].map(form).join(",");
        let voters = each(&|node| format!("{}@127.0.0.1:{}", node + 1, ports[node].1));
        let bootstrap = each(&|node| format!("127.0.0.1:{}", ports[node].0));
        let mut brokers = [0, 1, 2].map(|node| {
            let id = (node + 1).to_string();
            let of_three = [
                ("node.id", id.as_str()),
                ("controller.quorum.voters", &voters),
                ("default.replication.factor", "3"),
                ("min.insync.replicas", "2"),
                ("offsets.topic.replication.factor", "3"),
                ("transaction.state.log.replication.factor", "3"),
                ("transaction.state.log.min.isr", "2"),
            ];
            let cluster = cluster_id(ports[0].0);
            let properties = [&of_three, extra].concat();
            let mut server = Server::format(ports[node], &properties, &[], &cluster);
            server.launch();
            Self {
                bootstrap: bootstrap.clone(),
                server: Some(server),
            }
        });
        brokers.iter_mut().for_each(Self::wait);
        brokers
    }

    /// Returns the bootstrap servers, without TLS or SASL.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the base configuration of every client in the tests.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Shuts a private broker down cleanly.
    pub(crate) fn stop(&mut self) {
        self.server().end("TERM");
    }

    /// Kills a private broker with `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.server().end("KILL");
    }

    /// Freezes a private broker: its connections stay open, and it answers nothing.
    pub(crate) fn freeze(&mut self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets a frozen broker continue, and waits until it answers.
    pub(crate) fn thaw(&mut self) {
        self.signal(libc::SIGCONT);
        self.wait();
    }

    /// Returns the process of a private broker; `None` for the cluster of `KBK_TEST_BROKERS`.
    pub(crate) fn process_id(&self) -> Option<libc::pid_t> {
        self.server.as_ref().map(Server::process_id)
    }

    /// Sends a signal to a private broker.
    fn signal(&self, signal: libc::c_int) {
        let id = self
            .process_id()
            .expect("the tests never stop the cluster of KBK_TEST_BROKERS");
        // SAFETY: the supervisor waits for its child, so the id cannot be reused.
        unsafe { libc::kill(id, signal) };
    }

    /// Returns the address of this broker alone.
    pub(crate) fn address(&mut self) -> String {
        format!("127.0.0.1:{}", self.server().port)
    }

    /// Starts a private broker that was stopped, on the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.server().launch();
        self.wait();
    }

    /// Waits until both coordinators answer: they start last.
    fn wait(&mut self) {
        self.wait_for(Self::probe_transactions);
        self.wait_for(Self::probe_groups);
    }

    fn wait_for(&mut self, probe: fn(&Self) -> KafkaResult<()>) {
        let started = Instant::now();
        while let Err(error) = probe(self) {
            assert!(
                started.elapsed() < PATIENCE,
                "the broker does not answer ({error}); its log ends with:\n{}",
                self.server().log_tail()
            );
        }
    }

    /// Returns the folder in which a private broker keeps its logs.
    pub(crate) fn data(&mut self) -> PathBuf {
        self.server().folder.path().join("data")
    }

    /// Returns the first offset of each segment of a partition that is on the broker's disk, ascending.
    pub(crate) fn local_segments(&mut self, topic: &str, partition: i32) -> Vec<i64> {
        let log = self.data().join(format!("{topic}-{partition}"));
        let names = fs::read_dir(log).expect("the log exists").map(|entry| {
            let name = entry.expect("it can be listed").file_name();
            let name = name.to_string_lossy().into_owned();
            name.strip_suffix(".log")?.parse().ok()
        });
        let mut offsets: Vec<i64> = names.flatten().collect();
        offsets.sort_unstable();
        offsets
    }

    /// Removes a partition's log from the disk of a stopped private broker: the state after an
    /// unclean election of an empty leader.
    pub(crate) fn remove_log(&mut self, topic: &str, partition: i32) {
        let log = self.data().join(format!("{topic}-{partition}"));
        fs::remove_dir_all(log).expect("the log exists");
    }

    /// Gives the batches of a partition's log, of a stopped private broker, these offsets, each in a segment of its own: the offset of a
    /// batch is outside of its checksum. The broker recovers the log as after a crash.
    pub(crate) fn move_batches(&mut self, topic: &str, partition: i32, offsets: &[i64]) {
        let data = self.server().folder.path().join("data");
        let log = data.join(format!("{topic}-{partition}"));
        fs::remove_file(data.join(".kafka_cleanshutdown")).expect("a clean shutdown");
        let batches = fs::read(log.join("00000000000000000000.log")).expect("the log");
        for entry in fs::read_dir(&log).expect("the log exists") {
            let path = entry.expect("it can be listed").path();
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if ["log", "index", "timeindex", "txnindex", "snapshot"].contains(&&*extension) {
                fs::remove_file(path).expect("it can be removed");
            }
        }
        let mut rest = batches.as_slice();
        for offset in offsets {
            // The base offset, the length of what follows it, and that.
            let length = u32::from_be_bytes(rest[8..12].try_into().expect("four bytes"));
            let (batch, next) = rest.split_at(12 + usize::try_from(length).expect("short"));
            let moved = [&offset.to_be_bytes(), &batch[8..]].concat();
            fs::write(log.join(format!("{offset:020}.log")), moved).expect("a segment");
            rest = next;
        }
        assert!(rest.is_empty(), "an offset per batch");
    }

    /// Takes one of the log folders of a running private broker away, as a failing disk does: the partitions in it lose their only
    /// leader as soon as the broker notices.
    pub(crate) fn lose_folder(&mut self, name: &str) {
        let folder = self.server().folder.path().join(name);
        fs::remove_dir_all(&folder).expect("the folder exists");
        // A file in its place, so that the broker cannot create it again.
        fs::write(&folder, "").expect("the place is free");
    }

    /// Runs one of Kafka's command-line tools (a Java class) on this broker and returns its output.
    pub(crate) fn tool(&self, class: &str, arguments: &[&str]) -> String {
        self.tool_with_input(class, arguments, "")
    }

    /// Runs a tool with standard input and returns its output.
    pub(crate) fn tool_with_input(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let file = tempfile::tempfile().and_then(|mut file| {
            file.write_all(input.as_bytes())?;
            file.rewind()?;
            Ok(file)
        });
        let output = java(class)
            .args(["--bootstrap-server", &self.bootstrap])
            .args(arguments)
            .stdin(file.expect("a temporary file"))
            .output()
            .unwrap_or_else(|error| cannot_run_java(&error));
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class}: {stdout}{stderr}");
        stdout.into_owned()
    }

    /// Runs a tool that reads files, and returns its output.
    pub(crate) fn file_tool(class: &str, arguments: &[&str]) -> String {
        let output = java(class).args(arguments).output();
        let output = output.unwrap_or_else(|error| cannot_run_java(&error));
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class}: {stdout}{stderr}");
        format!("{stdout}{stderr}")
    }

    fn probe_transactions(&self) -> KafkaResult<()> {
        let producer: BaseProducer = self
            .client()
            .set("transactional.id", "kbk-probe")
            .set("transaction.timeout.ms", "10000")
            .set("socket.timeout.ms", "10000")
            .set("message.timeout.ms", "10000")
            .create()?;
        producer.init_transactions(PROBE)
    }

    fn probe_groups(&self) -> KafkaResult<()> {
        let consumer: BaseConsumer = self.client().set("group.id", "kbk-probe").create()?;
        let mut partition = TopicPartitionList::new();
        partition.add_partition("kbk-probe", 0);
        consumer.committed_offsets(partition, PROBE)?;
        Ok(())
    }

    fn server(&mut self) -> &mut Server {
        self.server
            .as_mut()
            .expect("the tests never start or stop the cluster of KBK_TEST_BROKERS")
    }
}

/// Returns a port that nothing listens on.
///
/// It is below Linux's ephemeral port range: otherwise a client that connects to
/// a stopped broker could get the broker's own port as its source port, and keep it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent test binaries start at different ports.
    let start = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    (0..COUNT)
        .map(|_| {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            FIRST + u16::try_from((start + step) % u32::from(COUNT)).expect("below COUNT")
        })
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port")
}

/// The files of a broker, and its process while it runs.
#[derive(Debug)]
struct Server {
    folder: TempDir,
    port: u16,
    /// Whether it has tiered storage, whose classes it must be given.
    is_tiered: bool,
    supervisor: Option<Child>,
}

impl Server {
    /// Writes the properties and formats the log folder, for a listener and a controller on these ports.
    fn format(ports: (u16, u16), extra: &[(&str, &str)], args: &[&str], cluster_id: &str) -> Self {
        assert!(
            Path::new(KAFKA_LIBS).is_dir(),
            "Apache Kafka is not in {KAFKA_LIBS}: run `scripts/setup kafka`"
        );
        let folder = TempDir::with_prefix("kbk-kafka-").expect("a temporary folder");
        fs::write(
            folder.path().join("server.properties"),
            properties(folder.path(), ports, extra),
        )
        .expect("server.properties is written");
        let output = java("kafka.tools.StorageTool")
            .args(["format", "-t", cluster_id, "-c", "server.properties"])
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap_or_else(|error| cannot_run_java(&error));
        assert!(output.status.success(), "StorageTool: {output:?}");
        Self {
            folder,
            port: ports.0,
            is_tiered: extra.iter().any(|(key, _)| *key == TIERED_STORAGE),
            supervisor: None,
        }
    }

    fn launch(&mut self) {
        assert!(self.supervisor.is_none(), "the broker is already running");
        let kafka = match self.is_tiered {
            true => java_with(&format!("{KAFKA_LIBS}/*:{TIERED}/*"), "kafka.Kafka"),
            false => java("kafka.Kafka"),
        };
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(self.folder.path())
            .arg(kafka.get_program())
            .args(kafka.get_args())
            .arg("server.properties")
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C ends the tests, but the shell must survive it to clean up.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        self.supervisor = Some(supervisor);
    }

    /// Returns the process of Kafka itself, the supervisor's only child.
    fn process_id(&self) -> libc::pid_t {
        let supervisor = self.supervisor.as_ref().expect("the broker is running");
        let id = supervisor.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("it runs");
        children.trim().parse().expect("one child")
    }

    /// Stops the process with a signal and waits for it.
    fn end(&mut self, signal: &str) {
        let Some(mut supervisor) = self.supervisor.take() else {
            return;
        };
        if let Some(stdin) = &mut supervisor.stdin {
            writeln!(stdin, "{signal}").expect("the supervisor listens");
        }
        supervisor.wait().expect("the supervisor ends");
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.folder.path().join("server.log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(4000)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("KILL");
    }
}

/// Derives a cluster id from the port. Kafka expects 16 bytes in base64, whose last digit encodes two bits.
fn cluster_id(port: u16) -> String {
    format!("kbk-test-cluster{port:05}A")
}

/// Returns a command that runs a Java class of Kafka's.
fn java(class: &str) -> Command {
    java_with(&format!("{KAFKA_LIBS}/*"), class)
}

fn java_with(class_path: &str, class: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx768m", "-XX:+UseSerialGC", CLASSES])
        // It would warn of an archive that it cannot use on standard output, among the answers of tools.
        .args(["-Xlog:cds=off", "-Xlog:cds+dynamic=off"]);
    // A tool, and most brokers of the tests, end before code that the second compiler optimised pays. Benches measure brokers as they run for years.
    if cfg!(test) {
        command.arg("-XX:TieredStopAtLevel=1");
    }
    command
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(class_path)
        .arg(class);
    command
}

fn cannot_run_java(error: &std::io::Error) -> ! {
    match error.kind() {
        ErrorKind::NotFound => panic!("java is not installed: run `scripts/setup kafka`"),
        _ => panic!("cannot run java: {error}"),
    }
}

/// Returns the contents of `server.properties`: one small node whose background work runs within seconds.
fn properties(folder: &Path, (port, controller): (u16, u16), extra: &[(&str, &str)]) -> String {
    let plain = format!("PLAINTEXT://127.0.0.1:{port}");
    let quorum = format!("127.0.0.1:{controller}");
    let listeners = format!("{plain},CONTROLLER://{quorum}");
    let data = folder.join("data");
    let data = data.to_str().expect("the temporary folder's name is UTF-8");
    let mut properties = BTreeMap::from([
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
             SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        ),
        ("listeners", &listeners),
        ("advertised.listeners", &plain),
        ("log.dirs", data),
        ("auto.create.topics.enable", "false"),
        // Internal topics, for one node; the default of 50 partitions is slow to create.
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "4"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("share.coordinator.state.topic.num.partitions", "1"),
        // Periodic background work runs at once.
        ("group.initial.rebalance.delay.ms", "0"),
        ("log.initial.task.delay.ms", "500"),
        ("log.cleaner.backoff.ms", "500"),
        ("log.cleaner.dedupe.buffer.size", "16777216"),
        ("log.retention.check.interval.ms", "1000"),
        (
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            "1000",
        ),
    ])
    .into_iter()
    .map(|(key, value)| (key, value.to_owned()))
    .collect::<BTreeMap<_, _>>();
    for &(key, value) in extra {
        let entry = properties.entry(key).or_default();
        *entry = match key {
            "listeners" | "advertised.listeners" => format!("{entry},{value}"),
            _ => value.to_owned(),
        };
    }
    properties
        .iter()
        .fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}={value}").expect("a string takes everything");
            text
        })
}
