//! JSON lines: a file per partition.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use kbk_format::repo::PartitionId;
use kbk_format::{Record, TextFormat, TextRenderer, TimestampType};

use super::error::ExportError;
use super::partition::{RecordFile, Written};

/// Text is written in pieces of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// The file of one partition.
pub(super) struct JsonLines {
    path: PathBuf,
    file: File,
    renderer: TextRenderer,
    buffer: Vec<u8>,
    bytes: u64,
}

impl JsonLines {
    pub(super) fn create(path: &Path, id: &PartitionId) -> Result<JsonLines, ExportError> {
        let file = File::create_new(path).map_err(ExportError::io("create", path))?;
        Ok(JsonLines {
            path: path.to_owned(),
            file,
            renderer: TextRenderer::new(&TextFormat::JsonLines, &id.topic, id.partition, None),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            bytes: 0,
        })
    }

    fn write(&mut self) -> Result<(), ExportError> {
        self.file
            .write_all(&self.buffer)
            .map_err(ExportError::io("write", &self.path))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl RecordFile for JsonLines {
    fn push(&mut self, _: TimestampType, record: &Record<'_>) -> Result<(), ExportError> {
        self.renderer.render(record, &mut self.buffer);
        match self.buffer.len() >= BUFFER_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>, _: i64) -> Result<Written, ExportError> {
        self.write()?;
        self.file
            .sync_all()
            .map_err(ExportError::io("flush", &self.path))?;
        Ok(Written {
            segments: 1,
            bytes: self.bytes,
        })
    }
}
