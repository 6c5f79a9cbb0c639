//! Kafka's own batches are copied once on their way from a response to the store: into the block. That buffer is what the store gets.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatches};
use kbk_format::repo::{Key, SegmentUpload, StoreProfile};
use kbk_format::{
    BatchesBuilder, Compression, Encoder, FileHeader, GapReason, Headers, IsolationLevel,
    PushBatch, Record, SegmentAssembler, SegmentFeatures, TimestampType,
};
use object_store::path::Path;
use object_store::{
    MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::support::delegate::delegate_to;
use crate::world;

/// The places and lengths of the buffers that a store was given.
type Given = Arc<Mutex<Vec<(usize, usize)>>>;

/// A store that notes where the bytes of its parts are.
#[derive(Debug)]
struct NotesBuffers {
    inner: Arc<dyn ObjectStore>,
    given: Given,
}

impl fmt::Display for NotesBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("notes buffers")
    }
}

#[async_trait]
impl ObjectStore for NotesBuffers {
    delegate_to!([inner] put_opts, get_opts, delete_stream, list, list_with_delimiter, copy_opts);

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let given = Arc::clone(&self.given);
        Ok(Box::new(Parts { inner, given }))
    }
}

#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    given: Given,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let buffers = data
            .iter()
            .map(|bytes| (bytes.as_ptr() as usize, bytes.len()));
        self.given.lock().unwrap().extend(buffers);
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// A response with as many batches as fill a few blocks.
fn response(codec: BatchCodec) -> Vec<u8> {
    let mut batches = BatchBuilder::new(BatchOptions {
        codec,
        ..BatchOptions::default()
    });
    let (mut bytes, mut state) = (Vec::new(), 1_u64);
    for offset in 0..30_000_i64 {
        // Half of it is noise, so that compression leaves something.
        let mut value = [b'v'; 200];
        for byte in &mut value[..100] {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 33) as u8;
        }
        let record = Record {
            offset,
            timestamp: 1_763_800_000_000 + offset,
            control: false,
            key: None,
            value: Some(&value),
            headers: Headers::EMPTY,
        };
        batches.push(&record).unwrap();
        if offset % 500 == 499 {
            batches.finish(offset, &mut bytes).unwrap();
        }
    }
    bytes
}

#[test]
fn batches_are_copied_once() {
    let runtime = world::runtime();
    for (codec, compression) in [
        (BatchCodec::Lz4, Compression::None),
        (BatchCodec::Zstd, Compression::None),
        (BatchCodec::None, Compression::None),
        (BatchCodec::None, Compression::Zstd(1)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let given = Given::default();
        let objects: Arc<dyn ObjectStore> = Arc::new(NotesBuffers {
            inner: world::local(&folder),
            given: Arc::clone(&given),
        });
        let store = world::store(&objects);
        let id = world::partition_id("orders", 2, 3);
        let header = FileHeader {
            segment_id: [7; 16],
            topic_id: [2; 16],
            topic: "orders".to_owned(),
            partition: 3.into(),
            timestamp_type: TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: 0,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        };
        let segment_id = kbk_format::repo::Hex([7; 16]);
        let key = Key::segment(&id, 0, &segment_id);
        let buffers = StoreProfile::local().upload;
        let handle = runtime.handle().clone();
        let upload = SegmentUpload::start(&store, key, handle, buffers).unwrap();
        let features = SegmentFeatures {
            batches: true,
            not_computed: codec != BatchCodec::None,
            ..SegmentFeatures::default()
        };
        let mut segment = SegmentAssembler::with_features(upload, header, features).unwrap();
        let mut encoder = Encoder::new(compression);
        let mut block = BatchesBuilder::computed_where_cheap(0, TimestampType::CreateTime);
        let mut blocks = Vec::new();
        let mut write = |block: BatchesBuilder, segment: &mut SegmentAssembler<SegmentUpload>| {
            let mut encoded = block.encode(segment.renderer(), &mut encoder);
            segment
                .append_handing_over(&mut encoded, |upload, buffer| {
                    blocks.push((buffer.as_ptr() as usize, buffer.len()));
                    upload.write_buffer(buffer)
                })
                .unwrap();
            encoded.recycle(segment.end_offset())
        };
        let response = response(codec);
        let most = 1 << 20;
        for batch in RecordBatches::new(&response, 0) {
            let batch = batch.unwrap().check().unwrap();
            while block.try_push(&batch, most).unwrap() == PushBatch::Full {
                block = write(block, &mut segment);
            }
        }
        drop(write(block, &mut segment));
        let (upload, summary) = segment.seal(GapReason::NotDelivered).unwrap();
        runtime.block_on(upload.complete()).unwrap();

        // The store got the buffers of all blocks but those too small to be parts, and besides them what is not of batches.
        let given = given.lock().unwrap();
        let large = blocks.iter().filter(|(_, length)| *length >= 256 << 10);
        let large: Vec<(usize, usize)> = large.copied().collect();
        assert!(large.len() > 1, "{codec:?}");
        for block in &large {
            assert!(given.contains(block), "{codec:?} {compression}");
        }
        let all: usize = given.iter().map(|(_, length)| length).sum();
        let shared: usize = large.iter().map(|(_, length)| length).sum();
        assert_eq!(all as u64, summary.file_length);
        let rest: usize = blocks.iter().map(|(_, length)| length).sum::<usize>() - shared;
        let copied = all - shared - rest;
        assert!(copied < 16 << 10, "{codec:?} {compression}: {copied} bytes");
    }
}
