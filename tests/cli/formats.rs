//! `kbk cat` of lone segment files in every format, against the contents of the goldens, which were written without kbk's code.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::program::{kbk, run};

/// A golden segment and its contents.
struct Golden {
    file: PathBuf,
    contents: Value,
}

/// A record of a golden, without control records.
struct Expected {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn goldens() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/v1");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segments = files.filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "kseg")
    });
    let golden = |file: PathBuf| Golden {
        contents: serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap(),
        file,
    };
    let goldens: Vec<_> = segments.map(golden).collect();
    assert!(goldens.len() > 20);
    goldens
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    value
        .as_str()
        .map(|digits| HEXLOWER.decode(digits.as_bytes()).unwrap())
}

impl Golden {
    fn records(&self) -> Vec<Expected> {
        let records = self.contents["records"].as_array().unwrap().iter();
        let records = records.filter(|record| record["control"] == false);
        let header = |pair: &Value| (hex(&pair[0]).unwrap(), hex(&pair[1]));
        let times = |record: &Value| record["value_repeat"].as_u64().unwrap_or(1) as usize;
        records
            .map(|record| Expected {
                offset: record["offset"].as_i64().unwrap(),
                timestamp: record["timestamp"].as_i64().unwrap(),
                key: hex(&record["key_hex"]),
                value: hex(&record["value_hex"]).map(|bytes| bytes.repeat(times(record))),
                headers: record["headers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(header)
                    .collect(),
            })
            .collect()
    }

    /// Prints the segment, and checks that this is no error.
    fn cat(&self, args: &[&str]) -> Vec<u8> {
        let file = self.file.to_str().unwrap();
        let output = kbk(&[&["cat", file], args].concat()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{file} {args:?}: {stderr}");
        output.stdout
    }

    fn topic(&self) -> &str {
        self.contents["header"]["topic"].as_str().unwrap()
    }

    fn partition(&self) -> String {
        self.contents["header"]["partition"].to_string()
    }
}

fn or_empty(bytes: Option<&Vec<u8>>) -> &[u8] {
    bytes.map_or(b"", |bytes| bytes)
}

fn length(bytes: Option<&Vec<u8>>) -> String {
    bytes.map_or("-1".to_owned(), |bytes| bytes.len().to_string())
}

#[test]
fn json_lines_values_and_keys_are_those_of_the_specification() {
    for golden in goldens() {
        for (view, format) in [
            ("records.jsonl", "jsonl"),
            ("values", "value"),
            ("keys", "%k\\n"),
        ] {
            let Some(expected) = golden.contents["rendered_sha256"][view].as_str() else {
                continue;
            };
            let printed = golden.cat(&["--format", format]);
            let found = HEXLOWER.encode(&Sha256::digest(printed));
            assert_eq!(found, expected, "{view} of {}", golden.file.display());
        }
    }
}

#[test]
fn templates_have_every_byte_of_a_record() {
    const TEMPLATE: &str = "%t|%p|%o|%T|%K|%S|%h|%k|%s\\0";
    for golden in goldens() {
        let mut expected = Vec::new();
        for record in golden.records() {
            let (key, value) = (record.key.as_ref(), record.value.as_ref());
            let numbers = format!(
                "{}|{}|{}|{}",
                golden.topic(),
                golden.partition(),
                record.offset,
                record.timestamp
            );
            let headers: Vec<Vec<u8>> = record
                .headers
                .iter()
                .map(|(name, value)| {
                    let value: &[u8] = value.as_ref().map_or(b"<null>", |value| value);
                    [name, &b"="[..], value].concat()
                })
                .collect();
            let (key_length, value_length) = (length(key), length(value));
            let pieces = [
                numbers.as_bytes(),
                key_length.as_bytes(),
                value_length.as_bytes(),
                &headers.join(&b','),
                key.map_or(b"<null>", |key| key),
                value.map_or(b"<null>", |value| value),
            ];
            expected.extend(pieces.join(&b'|'));
            expected.push(0);
        }
        let printed = golden.cat(&["-f", TEMPLATE, "--null-as", "<null>"]);
        assert!(printed == expected, "{}", golden.file.display());
        let mut expected = Vec::new();
        for record in golden.records() {
            let [key, value] = [&record.key, &record.value].map(|bytes| or_empty(bytes.as_ref()));
            expected.extend([key, b"\t", value, b"\n"].concat());
        }
        let printed = golden.cat(&["--format", "key-value"]);
        assert!(printed == expected, "{}", golden.file.display());
    }
}

/// Returns a field and the one that says how it is written.
fn csv_field(bytes: Option<&Vec<u8>>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => ",".to_owned(),
        Some((bytes, Ok(text))) if !bytes.contains(&0) => {
            format!("\"{}\",text", text.replace('"', "\"\""))
        }
        Some((bytes, _)) => format!("{},base64", BASE64.encode(bytes)),
    }
}

#[test]
fn csv_has_every_byte_of_a_record() {
    for golden in goldens() {
        let lines = String::from_utf8(golden.cat(&[])).unwrap();
        // Not every segment was written by Kafka's rules of names.
        let topic = match golden.topic() {
            plain if !plain.contains(['"', ',', '\r', '\n']) => plain.to_owned(),
            other => format!("\"{}\"", other.replace('"', "\"\"")),
        };
        let mut expected =
            "topic,partition,offset,timestamp,time,key,key_encoding,value,value_encoding,headers\r\n"
                .to_owned();
        for (record, line) in golden.records().iter().zip(lines.lines()) {
            // Time and headers are those of the JSON line, which are compared with the specification.
            let json: Value = serde_json::from_str(line).unwrap();
            let (_, headers) = line.rsplit_once(",\"headers\":").unwrap();
            let headers = headers.strip_suffix('}').unwrap().replace('"', "\"\"");
            expected += &format!(
                "{topic},{},{},{},{},{},{},\"{headers}\"\r\n",
                golden.partition(),
                record.offset,
                record.timestamp,
                json["time"].as_str().unwrap_or_default(),
                csv_field(record.key.as_ref()),
                csv_field(record.value.as_ref()),
            );
        }
        let printed = String::from_utf8(golden.cat(&["--format", "csv"])).unwrap();
        assert_eq!(printed, expected, "{}", golden.file.display());
    }
}

/// Returns bytes in hex; `-` for null.
fn digits(bytes: Option<&Vec<u8>>) -> String {
    bytes.map_or("-".to_owned(), |bytes| HEXLOWER.encode(bytes))
}

#[test]
fn hex_and_raw_have_every_byte_of_a_record() {
    for golden in goldens() {
        let partition: i32 = golden.partition().parse().unwrap();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let (mut lines, mut raw) = (String::new(), Vec::new());
        for record in golden.records() {
            let headers = record.headers.iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| {
                    format!("{}={}", HEXLOWER.encode(name), digits(value.as_ref()))
                })
                .collect();
            lines += &format!(
                "{}\t{partition}\t{}\t{}\t{}\t{}\t{}\n",
                golden.topic(),
                record.offset,
                record.timestamp,
                digits(record.key.as_ref()),
                digits(record.value.as_ref()),
                headers.join(",")
            );
            let sized = |bytes: Option<&Vec<u8>>| -> Vec<u8> {
                let length = bytes.map_or(-1, |bytes| bytes.len() as i32);
                [&length.to_be_bytes()[..], or_empty(bytes)].concat()
            };
            let mut bytes = sized(Some(&golden.topic().as_bytes().to_vec()));
            bytes.extend(partition.to_be_bytes());
            bytes.extend(record.offset.to_be_bytes());
            bytes.extend(record.timestamp.to_be_bytes());
            bytes.extend([sized(record.key.as_ref()), sized(record.value.as_ref())].concat());
            bytes.extend((record.headers.len() as u32).to_be_bytes());
            for (name, value) in &record.headers {
                bytes.extend([sized(Some(name)), sized(value.as_ref())].concat());
            }
            raw.extend((bytes.len() as u32).to_be_bytes());
            raw.extend(bytes);
        }
        if golden.topic().chars().all(is_plain) {
            let printed = String::from_utf8(golden.cat(&["-f", "hex"])).unwrap();
            assert_eq!(printed, lines, "{}", golden.file.display());
        }
        assert!(
            golden.cat(&["-f", "raw"]) == raw,
            "{}",
            golden.file.display()
        );
    }
}

#[test]
fn reverse_and_keys_select_and_order_the_same_records() {
    for golden in goldens() {
        let offsets = |args: &[&str]| -> Vec<i64> {
            let printed = golden.cat(&[&["-f", "%o\\n"], args].concat());
            let printed = String::from_utf8(printed).unwrap();
            printed.lines().map(|line| line.parse().unwrap()).collect()
        };
        let records = golden.records();
        let mut expected: Vec<i64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets(&[]), expected, "{}", golden.file.display());
        expected.reverse();
        assert_eq!(offsets(&["--reverse"]), expected);
        expected.truncate(3);
        assert_eq!(offsets(&["--reverse", "-n", "3"]), expected);
        let Some(first) = records.first() else {
            continue;
        };
        let with_key = records.iter().filter(|record| record.key == first.key);
        let expected: Vec<i64> = with_key.map(|record| record.offset).collect();
        let found = match &first.key {
            None => offsets(&["--key-null"]),
            Some(key) => {
                let found = offsets(&["--key-hex", &HEXLOWER.encode(key)]);
                assert_eq!(offsets(&["--key-base64", &BASE64.encode(key)]), found);
                found
            }
        };
        assert_eq!(found, expected, "{}", golden.file.display());
    }
}

#[test]
fn an_invalid_format_or_key_is_explained() {
    let file = "fixtures/golden/v1/minimal.kseg";
    for (args, says) in [
        (
            &["-f", "json"][..],
            "give jsonl, csv, value, key-value, hex, raw, or a template",
        ),
        (&["-f", "%v"], "`%v` is not a token; valid are %k key"),
        (&["-f", "%k\\d"], "`\\d` is not an escape"),
        (&["-f", "csv", "--json"], "--json"),
        (
            &["--null-as", "-"],
            "jsonl and csv, hex and raw distinguish null",
        ),
        (&["--key-hex", "0"], "is not hex"),
        (&["--key-base64", "?"], "is not base64"),
        (&["-p", "0"], "a segment file has one partition"),
        (&["--snapshot", "1"], "segment files are read without one"),
        (&["orders"], "topics and files are both given"),
    ] {
        let ended = run(&[&["cat", file], args].concat());
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
        // With --json, the failure is a document.
        let is_json = args.contains(&"--json");
        assert_eq!(ended.stdout.is_empty(), !is_json, "{}", ended.stdout);
    }
}
