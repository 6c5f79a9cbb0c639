#![allow(warnings)]
#[path = "tools/support/world.rs"]
mod world;
use std::sync::Arc;
use std::time::Instant;
use std::io::Read;
use kbk_format::*;
use kbk_format::repo::*;
use sha2::{Digest as _, Sha256};
fn rss() -> String { std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM")||l.starts_with("VmRSS")).collect::<Vec<_>>().join(" ") }
#[test]
fn speed() {
    let world = world::World::new();
    let mut parts = vec![];
    let mut paths = vec![];
    let mut changes = vec![];
    for p in 0..8 {
        let place = world::place("big", p);
        let header = FileHeader { segment_id: Id::random().0, topic_id: place.topic_id.0, topic: "big".into(), partition: p, timestamp_type: TimestampType::CreateTime, isolation_level: IsolationLevel::ReadCommitted, base_offset: 0, cluster_id: None, writer: None, created_at: None };
        let key0 = Key::segment(&place, 0, &Hex(header.segment_id)).to_string();
        let path = world.path(&key0); std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut w = SegmentWriter::new(std::io::BufWriter::new(std::fs::File::create(&path).unwrap()), header, WriterOptions { compression: Compression::None, ..Default::default() }).unwrap();
        let mut v = vec![0u8; 1000]; let mut x = 12345u64 + p as u64;
        for o in 0..130_000i64 { for c in v.chunks_mut(8) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; c.copy_from_slice(&x.to_le_bytes()); }
            w.push(&Record { offset: o, timestamp: o, control: false, key: None, value: Some(&v), headers: Headers::EMPTY }).unwrap(); }
        let (_, sealed) = w.seal(130_000, GapReason::NotDelivered).unwrap();
        let mut h = Sha256::new(); let mut f = std::fs::File::open(&path).unwrap(); let mut b = vec![0u8; 1<<20]; loop { let n = f.read(&mut b).unwrap(); if n == 0 { break; } h.update(&b[..n]); }
        let up = Uploaded { sha256: Hex(h.finalize().into()), size: sealed.file_length };
        let e = SegmentEntry::new(&place, &sealed.header, &sealed.statistics, sealed.footer_position, up);
        paths.push(path);
        changes.push(PartitionChange { partition: p, log_start_offset: 0, high_watermark: 130_000, last_stable_offset: 130_000, segments: vec![e], lost: vec![] });
        parts.push(());
    }
    let change = Change { base: None, nonce: Id::random(), started_at: jiff::Timestamp::UNIX_EPOCH, created_at: jiff::Timestamp::UNIX_EPOCH, writer: "t".into(), cluster_id: None, gone: vec![], topics: vec![TopicChange { name: "big".parse().unwrap(), topic_id: world::place("big",0).topic_id, internal: false, replication_factor: 1, config: None, partitions: changes }] };
    world.runtime.block_on(world.repository.commit(&change)).unwrap();
    println!("built {}", rss());
    for round in 0..6 {
        let t = Instant::now();
        let mut total = 0u64;
        let mut buf = vec![0u8; 1 << 20];
        for p in &paths { let mut f = std::fs::File::open(p).unwrap(); let mut crc = 0; loop { let n = f.read(&mut buf).unwrap(); if n == 0 { break; } crc = crc32c::crc32c_append(crc, &buf[..n]); total += n as u64; } }
        let one = t.elapsed().as_secs_f64();
        let t = Instant::now();
        std::thread::scope(|s| for half in paths.chunks(4) { s.spawn(move || { let mut buf = vec![0u8; 1 << 20]; for p in half { let mut f = std::fs::File::open(p).unwrap(); let mut crc = 0; loop { let n = f.read(&mut buf).unwrap(); if n == 0 { break; } crc = crc32c::crc32c_append(crc, &buf[..n]); } } }); });
        let two = t.elapsed().as_secs_f64();
let (v,full)=(1.0,1.0);
        let t = Instant::now();
        let snap = world.latest();
        let mut n = 0u64;
        for p in 0..8 { let place = world::place("big", p); let st = snap.partition(&place).unwrap().clone();
            let plan = world.runtime.block_on(kbk_tools::PartitionPlan::new(&world.repository, place, &st, kbk_tools::Selection::all())).unwrap();
            let mut rd = plan.read(Streams::All, world.runtime.handle());
            world.runtime.block_on(async { while let Some(b) = rd.next().await.unwrap() { n += b.records().map(|r| r.value.unwrap().len() as u64).sum::<u64>(); } }); }
        let read = t.elapsed().as_secs_f64();
        let gb = total as f64 / 1e9;
        println!("read+crc 1: {:.2} GB/s, 2 threads: {:.2} GB/s, verify: {:.2} GB/s, full {:.2} GB/s, reader {:.2} GB/s ({n}) {}", gb/one, gb/two, gb/v, gb/full, gb/read, rss());
    }
}
