//! Any range of a partition's file is the slice of a rendering made independently of it.

use std::sync::Arc;

use kbk_format::render::View;
use kbk_format::repo::{Hex, Id, Key, Place, SegmentEntry, Store, Uploaded};
use kbk_format::{
    Compression, FileHeader, GapReason, Header, Headers, IsolationLevel, Record, SegmentWriter,
    TimestampType, WriterOptions,
};
use kbk_fuse::view::PartitionFile;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use tokio::runtime::Runtime;

const RECORDS: i64 = 200;
const SEGMENT_RECORDS: i64 = 80;

fn value(offset: i64) -> Option<Vec<u8>> {
    match offset % 5 {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![0xff, offset as u8]),
        3 => Some("quoted \"text\"\nover two lines".into()),
        _ => Some(vec![b'x'; offset as usize % 97]),
    }
}

fn with_record<T>(offset: i64, give: impl FnOnce(&Record<'_>) -> T) -> T {
    let (key, value) = (offset.to_string(), value(offset));
    let headers = [
        Header {
            name: b"n",
            value: None,
        },
        Header {
            name: b"n",
            value: Some(&[0x80]),
        },
    ];
    give(&Record {
        offset,
        timestamp: 1_000 - offset,
        control: false,
        key: (offset % 3 > 0).then_some(key.as_bytes()),
        value: value.as_deref(),
        headers: if offset % 2 > 0 {
            Headers::Slice(&headers)
        } else {
            Headers::EMPTY
        },
    })
}

/// Writes the partition in several segments of several blocks.
async fn partition(objects: &InMemory, place: &Place) -> Vec<SegmentEntry> {
    let mut entries = Vec::new();
    for base in (0..RECORDS).step_by(SEGMENT_RECORDS as usize) {
        let end = (base + SEGMENT_RECORDS).min(RECORDS);
        let header = FileHeader {
            segment_id: [base as u8 + 1; 16],
            topic_id: place.topic_id.0,
            topic: place.topic.to_string(),
            partition: place.partition,
            timestamp_type: TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: base,
            cluster_id: None,
            writer: None,
            created_at: None,
        };
        let options = WriterOptions {
            compression: Compression::Zstd(1),
            block_bytes: 700,
        };
        let mut writer = SegmentWriter::new(Vec::new(), header, options).unwrap();
        for offset in base..end {
            with_record(offset, |record| writer.push(record)).unwrap();
        }
        let (bytes, sealed) = writer.seal(end, GapReason::NotDelivered).unwrap();
        let uploaded = Uploaded {
            sha256: Hex([0; 32]),
            size: sealed.file_length,
        };
        let entry = SegmentEntry::new(
            place,
            &sealed.header,
            &sealed.statistics,
            sealed.footer_position,
            uploaded,
        );
        objects
            .put(&Path::from(entry.key.as_str()), bytes.into())
            .await
            .unwrap();
        entries.push(entry);
    }
    entries
}

fn rendering(view: View) -> Vec<u8> {
    let mut text = Vec::new();
    for offset in 0..RECORDS {
        with_record(offset, |record| view.render(record, &mut text));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_is_the_slice_of_the_whole(start in 0u64..25_000, length in 0u64..30_000, view in 0usize..3) {
        let view = View::ALL[view];
        let place = Place { topic: "orders".parse().unwrap(), topic_id: Id::ZERO, partition: 0 };
        Runtime::new().unwrap().block_on(async {
            let objects = InMemory::new();
            let entries = partition(&objects, &place).await;
            let store = Store::new(Arc::new(objects), "memory");
            let file = PartitionFile::open(&store, &place, &entries, view).await.unwrap();
            let whole = rendering(view);
            prop_assert_eq!(file.size(), whole.len() as u64);
            let clamp = |at: u64| at.min(whole.len() as u64) as usize;
            let expected = &whole[clamp(start)..clamp(start + length)];
            let found = file.read_at(start..start + length).await.unwrap();
            prop_assert_eq!(&found[..], expected);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_damaged_block_fails_and_its_neighbours_read() {
    let place = Place {
        topic: "orders".parse().unwrap(),
        topic_id: Id::ZERO,
        partition: 0,
    };
    let objects = Arc::new(InMemory::new());
    let entries = partition(&objects, &place).await;
    let key = Path::from(Key::segment(&place, 0, &entries[0].segment_id).to_string());
    let mut bytes = objects
        .get(&key)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec();
    let header_length = 128 + 192 + 40;
    bytes[header_length] ^= 1;
    objects.put(&key, bytes.into()).await.unwrap();
    let store = Store::new(objects, "memory");
    let file = PartitionFile::open(&store, &place, &entries, View::Values)
        .await
        .unwrap();
    let error = file.read_at(0..1).await.unwrap_err().to_string();
    assert!(error.contains("orders/"), "{error}");
    let size = file.size();
    let whole = rendering(View::Values);
    assert_eq!(
        file.read_at(size - 10..size).await.unwrap(),
        &whole[whole.len() - 10..]
    );
}
