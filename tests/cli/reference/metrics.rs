//! docs/reference/metrics.md: every metric, from its definition.

use std::fmt::Write;

use kbk::metrics::{MOST_TOPICS, OTHER_TOPICS, descriptions};

const INTRODUCTION: &str = r#"# Metrics

`kbk backup`, `restore`, `verify`, `recover`, `copy`, `compact`, `index`, `export`, `import` and `mount` count what they do, and say so in Prometheus's text format:

| option | when | for |
|---|---|---|
| `--metrics-addr HOST:PORT` | while the command runs, at `/metrics` | Prometheus that scrapes a long run or a mount |
| `--metrics-textfile FILE.prom` | when it ends, even if it fails or is interrupted | runs from cron or a timer on a machine with node_exporter (`--collector.textfile.directory`) |
| `--pushgateway URL` or `KBK_PUSHGATEWAY` | when it ends, even if it fails or is interrupted | runs on machines that are gone before Prometheus asks, as in Kubernetes |

All three are keys of the [configuration file](config.md) too, in the tables of these commands. Without them, nothing is counted. They are no options of `mount -o`: for a
mount of /etc/fstab, give them in `[mount]`.

- **`--metrics-addr`** listens on 127.0.0.1 if only a port is given. There is no encryption and no password: whoever reaches the address can read the names of topics and the
  location of the repository. Port 0 takes any free port, and a message on stderr names it. An address that cannot be listened on is an error before anything is done. Only GET
  and HEAD are answered, 16 connections at a time, each within 10 s.
- **`/healthz`** is 200 while the process answers. **`/readyz`** is 200 once the command does its work (backup and restore: the cluster was looked at and records are read; verify:
  segments are read; mount: it is mounted), and 503 with the reason before that and while no broker answers.
- **`--metrics-textfile`** replaces the file by a rename, with the mode 0644. Give each command and repository a file of its own. A process that is killed with SIGKILL,
  or by a second signal, leaves the file of the run before it: alert on the age of `kbk_run_end_timestamp_seconds`.
- **`--pushgateway`** takes `http` only, with a user and a password if the URL has them; no message shows these. Metrics are grouped by `job="kbk"`, `instance` (the name of the
  host), `command` and `repository`, and replace those of the last run with the same labels. A URL that ends in a path `/metrics/job/...` names other labels. A gateway has 10 s
  to answer.
- A file that cannot be written and a push that fails are warnings. They change neither the exit code nor what was done.

## Labels

All metrics of kbk have the labels `command` and, if there is one, `repository` (without a user, a password or parameters). The label `topic` has at most "#;

pub(super) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    write!(
        page,
        "{MOST_TOPICS} values in a run:\nthe topics after those share `{OTHER_TOPICS}`, which is the name of no topic. All other labels have the values that the table lists.\n\n\
         ## All metrics\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
    )
    .unwrap();
    for metric in descriptions() {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.word(),
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    page += "\nA metric is absent until its command has something to say: only backups lag, and only restores commit transactions.\n\n\
        `/metrics` also has `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`,\n\
        `process_max_fds`, `process_threads` and `process_start_time_seconds`, without the labels above. The file and the push leave them out: node_exporter and the Pushgateway have\n\
        metrics of these names of their own.\n\n\
        [tuning.md](../tuning.md) says what to read from them. deploy/ has a dashboard for Grafana (`kbk-dashboard.json`) and alert rules (`kbk-alerts.yml`).\n";
    page
}
