//! docs/reference/ against the definitions of the options: `make reference` writes it, and these tests compare it.

mod attributes;
mod json;
mod metrics;
mod types;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, CommandFactory};
use kbk::cli::{Key, STORE_OPTIONS, StoreOptionKey, keys};
use kbk::commands::Cli;

const INTRODUCTION: &str = r#"# The configuration file

The options that stay the same from run to run, in TOML. The key is the name of the long option without its dashes, and the
value is what the option takes.

```toml
repo = "/backup/kafka"
bootstrap-server = "broker-1:9092,broker-2:9092"
command-config = "/etc/kbk/client.properties"

[backup]
topic = ["orders*", "audit"]
compression = "zstd:9"

[restore]
bootstrap-server = "another-cluster:9092"

[store]                           # as --store-option key=value
region = "eu-central-1"

[properties]                      # as -X key=value; [backup.properties] are those of a command
receive.message.max.bytes = 200000000
```

What takes precedence, from the highest:

1. an option of the command line;
2. a variable of the environment: `KBK_REPO`, `KBK_BOOTSTRAP_SERVER`, `KBK_COMMAND_CONFIG`, `KBK_PUSHGATEWAY`, `KBK_CONFIG`;
3. the user's file, `$XDG_CONFIG_HOME/kbk/kbk.toml`, or `~/.config/kbk/kbk.toml` if that variable is not set;
4. the system's file, `/etc/kbk/kbk.toml`.

With `--config FILE` or `KBK_CONFIG`, only that file is read; `--config /dev/null` runs without one. A default file that does not exist is no
error; one that cannot be read is. Keys of both files apply, one by one. A list replaces a list.

- An unknown key, or an invalid value anywhere in the file, is an error that names the line, whatever the command.
- A key in the table of a command takes precedence over the same key at the top, so that commands may use different clusters.
- An option of the command line that excludes a key of the file (`--no-acls` and `acls = true`) takes precedence.
- A flag that the file sets cannot be unset on the command line, except by an option that excludes it or by another file.
- Relative paths start at the working directory.
- A file with passwords under `[properties]` should be private, as a client's properties file is. kbk shows no value of a property.

"#;

fn reference() -> String {
    let all = keys(&Cli::command());
    let mut page = INTRODUCTION.to_owned();
    let mut tables: Vec<&[String]> = all.iter().map(|key| &*key.table).collect();
    tables.dedup();
    for table in tables {
        let heading = match table {
            [] => "At the top".to_owned(),
            names => format!("[{}]", names.join(".")),
        };
        let about = match table {
            [] => "The options of every command, and those that reach Kafka.".to_owned(),
            names => format!("The options of `kbk {}`.", names.join(" ")),
        };
        write!(
            page,
            "## {heading}\n\n{about}\n\n| key | value | meaning |\n|---|---|---|\n"
        )
        .unwrap();
        for key in all.iter().filter(|key| key.table == table) {
            row(&mut page, key);
        }
        if table.is_empty() {
            let meaning = "any librdkafka property, as -X key=value; also in the tables of commands that connect to Kafka";
            writeln!(page, "| `properties` | table | {meaning} |").unwrap();
            let meaning = "how to reach and write a bucket, as --store-option key=value: [store-options.md](store-options.md)";
            writeln!(page, "| `store` | table | {meaning} |").unwrap();
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page + "\n"
}

const STORES: &str = "\
# Store options

How a bucket is reached and written: `--store-option KEY=VALUE` on the command line, and keys of the table `[store]` in the
[configuration file](config.md). A value on the command line replaces those of its key in the file. [stores.md](../stores.md) says where
credentials come from, which are no options.

| key | value | stores | meaning |
|---|---|---|---|
";

fn stores() -> String {
    let row = |option: &StoreOptionKey| {
        let schemes = option.backends.iter().map(|backend| backend.scheme());
        let schemes = schemes.collect::<Vec<_>>().join(", ");
        let (name, meaning) = (option.name, option.meaning);
        let value = option.value.replace('|', "\\|");
        format!("| `{name}` | {value} | {schemes} | {meaning} |\n")
    };
    STORES.to_owned() + &STORE_OPTIONS.iter().map(row).collect::<String>()
}

fn row(page: &mut String, key: &Key) {
    let option = &key.option;
    let long = option.get_long().unwrap();
    let help = option.get_long_help().or(option.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let help = [help.replace('\n', " "), default(option), variable(option)].concat();
    let escaped = |text: String| text.replace('|', "\\|").replace('<', "\\<");
    let (value, help) = (escaped(key.value()), escaped(help));
    writeln!(page, "| `{long}` | {value} | {help} |").unwrap();
}

fn default(option: &Arg) -> String {
    let values = option.get_default_values().iter();
    let values: Vec<_> = values.filter_map(|value| value.to_str()).collect();
    if values.is_empty() || !option.get_action().takes_values() {
        return String::new();
    }
    format!(" [default: {}]", values.join(", "))
}

fn variable(option: &Arg) -> String {
    let name = option.get_env().and_then(|name| name.to_str());
    name.map(|name| format!(" [environment: {name}]"))
        .unwrap_or_default()
}

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    folder.join(name)
}

/// Compares a page with what it should be, or writes it if `KBK_WRITE_REFERENCE` is set.
#[track_caller]
fn assert_page(name: &str, expected: &str) {
    let path = path(name);
    if std::env::var_os("KBK_WRITE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found
        .lines()
        .zip(expected.lines())
        .find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/reference/{name} is out of date: `make reference` writes it again; the first difference: {differs:#?}"
    );
}

#[test]
fn the_reference_of_the_configuration_file_has_every_key() {
    assert_page("config.md", &reference());
}

#[test]
fn the_reference_of_store_options_has_every_key() {
    assert_page("store-options.md", &stores());
}

#[test]
fn the_reference_of_metrics_has_every_metric() {
    assert_page("metrics.md", &metrics::page());
}

#[test]
fn the_reference_of_json_has_every_member() {
    let found = fs::read_to_string(path("json.md")).unwrap();
    assert_page("json.md", &json::page(&found));
}
