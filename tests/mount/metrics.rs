//! The metrics of a mount: served while it is mounted, and written when it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::mounted::{Mount, until};
use crate::world::{Row, World};

/// Returns the answer to a request, with its headers.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: kbk\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_mount_serves_its_metrics_and_writes_them_when_it_ends() {
    let rows: Vec<Row> = (0..200).map(|offset| (offset, offset)).collect();
    let world = World::with_blocks(16 * 1024);
    world.backup(&[("orders", 0, vec![rows])]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kbk-mount.prom");
    let args = ["--metrics-addr", "127.0.0.1:0", "--metrics-textfile"];
    let mount = Mount::with(&world, &[&args[..], &[file.to_str().unwrap()]].concat());
    let address = until("the address", || {
        let said = mount.stderr();
        let (_, rest) = said.split_once("http://")?;
        Some(rest.split_once("/metrics")?.0.to_owned())
    });
    fs::read(mount.latest("topics/orders/0/records.jsonl")).unwrap();
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200 "));
    let cached = until("the cache to hold something", || {
        let text = get(&address, "/metrics");
        let mut lines = text.lines().map(str::to_owned);
        lines.find(|line| {
            line.starts_with("kbk_memory_used_bytes{budget=\"cache\"") && !line.ends_with(" 0")
        })
    });
    assert!(cached.contains("command=\"mount\""), "{cached}");
    mount.signal("TERM");
    until("the file", || fs::read_to_string(&file).ok());
    let text = fs::read_to_string(&file).unwrap();
    let has = |start: &str, end: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.starts_with(start) && line.ends_with(end))
    };
    assert!(has("kbk_run_verdict{verdict=\"ok\"", " 1"), "{text}");
    assert!(
        has("kbk_memory_limit_bytes{budget=\"cache\"", " 268435456"),
        "{text}"
    );
}
