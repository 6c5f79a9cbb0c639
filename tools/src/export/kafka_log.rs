//! Kafka's own logs: a folder per partition.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use kbk_format::batch::{BatchCodec, RecordBatches};
use kbk_format::kafka_log::{
    EPOCHS_FILE, GAPS_FILE, GapFileWriter, LentBlock, LogFile, LogOptions, LogSink, LogWriter,
    METADATA_FILE, encode_epochs, encode_metadata,
};
use kbk_format::repo::Id;
use kbk_format::{Gap, Record, TimestampType};

use super::error::ExportError;
use super::output::sync_folder;
use super::partition::{RecordFile, Written};

/// The folder of one partition.
pub(super) struct KafkaLog {
    writer: LogWriter<Folder>,
    base_offset: i64,
    topic_id: Option<Id>,
    keeps_batches: bool,
    /// Where the gaps are written, once there is one.
    gaps: Option<GapFileWriter<BufWriter<File>>>,
    gaps_path: PathBuf,
}

impl KafkaLog {
    pub(super) fn create(
        path: &Path,
        base_offset: i64,
        (codec, keeps_batches): (BatchCodec, bool),
        options: LogOptions,
        topic_id: Option<Id>,
    ) -> Result<KafkaLog, ExportError> {
        fs::create_dir(path).map_err(ExportError::io("create", path))?;
        let folder = Folder {
            path: path.to_owned(),
            open: None,
            written: Written::default(),
        };
        Ok(KafkaLog {
            writer: LogWriter::new(folder, base_offset, codec, options)?,
            base_offset,
            topic_id,
            keeps_batches,
            gaps: None,
            gaps_path: path.join(GAPS_FILE),
        })
    }

    /// Takes all batches of a block as they are, after what was pushed before.
    pub(super) fn push_block(
        &mut self,
        block: &LentBlock,
        batches: RecordBatches<'_>,
    ) -> Result<(), ExportError> {
        self.writer.push_block(block, batches)
    }
}

impl RecordFile for KafkaLog {
    fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ExportError> {
        self.writer.push(timestamp_type, record)
    }

    fn batches(&mut self) -> Option<&mut KafkaLog> {
        self.keeps_batches.then_some(self)
    }

    fn keeps_gaps(&self) -> bool {
        true
    }

    fn gap(&mut self, gap: Gap) -> Result<(), ExportError> {
        let mut write = || {
            let file = match self.gaps.take() {
                Some(file) => file,
                None => {
                    let file = BufWriter::new(File::create_new(&self.gaps_path)?);
                    GapFileWriter::new(file, self.base_offset)?
                }
            };
            self.gaps.insert(file).push(gap)
        };
        let written: io::Result<()> = write();
        written.map_err(ExportError::io("write", &self.gaps_path))
    }

    fn finish(self: Box<Self>, end_offset: i64) -> Result<Written, ExportError> {
        let mut folder = self.writer.finish(end_offset)?;
        if let Some(gaps) = self.gaps {
            let ended = gaps.finish(end_offset).and_then(|(file, bytes)| {
                let file = file.into_inner().map_err(|error| error.into_error())?;
                file.sync_all()?;
                Ok(bytes)
            });
            folder.written.bytes += ended.map_err(ExportError::io("write", &self.gaps_path))?;
        }
        // An empty log has had no leader that appended.
        let epochs: &[(i32, i64)] = match end_offset > self.base_offset {
            true => &[(0, self.base_offset)],
            false => &[],
        };
        folder.put(EPOCHS_FILE, encode_epochs(epochs).as_bytes())?;
        if let Some(id) = self.topic_id {
            folder.put(METADATA_FILE, encode_metadata(id.0).as_bytes())?;
        }
        sync_folder(&folder.path)?;
        Ok(folder.written)
    }
}

/// Writes the files.
struct Folder {
    path: PathBuf,
    /// The segment that is being written: its first offset and its log.
    open: Option<(i64, BufWriter<File>)>,
    written: Written,
}

impl Folder {
    /// The log is written in pieces of this size.
    const BUFFER_BYTES: usize = 1 << 20;

    /// Writes a whole file.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.path.join(name);
        let put = || {
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        put().map_err(ExportError::io("write", &path))?;
        self.written.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl LogSink for Folder {
    type Error = ExportError;

    fn begin(&mut self, base_offset: i64) -> Result<(), ExportError> {
        let path = self.path.join(LogFile::Log(base_offset).to_string());
        let file = File::create_new(&path).map_err(ExportError::io("create", &path))?;
        self.open = Some((
            base_offset,
            BufWriter::with_capacity(Self::BUFFER_BYTES, file),
        ));
        self.written.segments += 1;
        Ok(())
    }

    fn append(&mut self, batches: &[u8]) -> Result<(), ExportError> {
        if let Some((base_offset, log)) = &mut self.open {
            let path = || self.path.join(LogFile::Log(*base_offset).to_string());
            log.write_all(batches)
                .map_err(|error| ExportError::io("write", &path())(error))?;
        }
        self.written.bytes += batches.len() as u64;
        Ok(())
    }

    fn end(&mut self, index: &[u8], time_index: &[u8]) -> Result<(), ExportError> {
        let Some((base_offset, log)) = self.open.take() else {
            return Ok(());
        };
        let path = self.path.join(LogFile::Log(base_offset).to_string());
        let file = log.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all())
            .map_err(ExportError::io("write", &path))?;
        self.put(&LogFile::Index(base_offset).to_string(), index)?;
        self.put(&LogFile::TimeIndex(base_offset).to_string(), time_index)
    }
}
