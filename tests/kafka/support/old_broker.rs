//! An old Apache Kafka, with the ZooKeeper that it needs, for `make soak`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use super::broker::{Broker, free_port};
use super::wait::{self, PATIENCE};

const LIBS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/kafka-2.8.2/libs");

/// Runs both until standard input ends, as it does when the test process ends, however it ended.
const SUPERVISOR: &str = r#"
folder=$1; libs=$2
run() { exec java -Xmx512m -XX:+UseSerialGC -Dlog4j.configuration=file:log4j.properties -cp "$libs/*" "$@" >>server.log 2>&1; }
(run org.apache.zookeeper.server.quorum.QuorumPeerMain zookeeper.properties) & zookeeper=$!
(run kafka.Kafka server.properties) & kafka=$!
read -r end
kill -KILL $kafka $zookeeper
wait
rm -rf "$folder"
"#;

/// Apache Kafka 2.8.2: it has no KRaft that is complete, no topic setting of 3.6, and older versions of every request.
pub(crate) struct OldBroker {
    pub(crate) broker: Broker,
    supervisor: Child,
    /// Removed by the supervisor as well.
    _folder: TempDir,
}

impl OldBroker {
    /// Starts both, and waits until the coordinators answer.
    pub(crate) fn start() -> Self {
        assert!(
            Path::new(LIBS).is_dir(),
            "Apache Kafka 2.8.2 is not in {LIBS}: run `scripts/setup old-kafka`"
        );
        let folder = TempDir::with_prefix("kbk-old-kafka-").expect("a temporary folder");
        let path = folder.path().display();
        let (port, keeper) = (free_port(), free_port());
        let files = [
            (
                "log4j.properties",
                "log4j.rootLogger=WARN, A\nlog4j.appender.A=org.apache.log4j.ConsoleAppender\n\
                 log4j.appender.A.layout=org.apache.log4j.SimpleLayout\n"
                    .to_owned(),
            ),
            (
                "zookeeper.properties",
                format!(
                    "dataDir={path}/zookeeper\nclientPort={keeper}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
                ),
            ),
            (
                "server.properties",
                format!(
                    "broker.id=1\nzookeeper.connect=127.0.0.1:{keeper}\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={path}/data\n\
                     offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\ntransaction.state.log.replication.factor=1\n\
                     transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\ngroup.initial.rebalance.delay.ms=0\n\
                     auto.create.topics.enable=false\n"
                ),
            ),
        ];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("it is written");
        }
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .args([folder.path(), Path::new(LIBS)])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let old = Self {
            broker: Broker::at(&format!("127.0.0.1:{port}")),
            supervisor,
            _folder: folder,
        };
        wait::until("the old broker", || {
            let consumer: BaseConsumer = old.broker.client().create().expect("a consumer");
            let metadata = consumer.fetch_metadata(None, PATIENCE / 60).ok()?;
            (!metadata.brokers().is_empty()).then_some(())
        });
        old
    }
}

impl Drop for OldBroker {
    fn drop(&mut self) {
        // The end of its standard input.
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}
