//! Searches everything that a server keeps for a text: the names of files, their bytes, and what is compressed in them.

use std::fs;
use std::io::Read as _;
use std::path::Path;

/// How every frame of zstd begins.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// No test compresses more in one frame.
const FRAME_BYTES: u64 = 64 << 20;

/// What was read from a folder.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Names of files, their bytes, and the bytes of each frame in them.
    texts: Vec<(String, Vec<u8>)>,
    /// The frames that were decompressed.
    pub(crate) frames: usize,
}

impl Kept {
    /// Reads all files of a folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut kept = Self::default();
        kept.add(folder);
        kept
    }

    /// Returns where a text is.
    pub(crate) fn find(&self, text: &str) -> Option<&str> {
        let text = text.as_bytes();
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let mut texts = self.texts.iter();
        let found = texts.find(|(name, bytes)| holds(name.as_bytes()) || holds(bytes));
        found.map(|(name, _)| name.as_str())
    }

    fn add(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                self.add(&path);
                continue;
            }
            let name = path.display().to_string();
            let bytes = fs::read(&path).expect("a file");
            let at = bytes.windows(FRAME.len()).enumerate();
            let frames: Vec<Vec<u8>> = at
                .filter(|(_, window)| *window == FRAME)
                .filter_map(|(at, _)| decompressed(&bytes[at..]))
                .collect();
            self.frames += frames.len();
            let frames = frames.into_iter().map(|frame| (name.clone(), frame));
            self.texts.extend(frames);
            self.texts.push((name, bytes));
        }
    }
}

/// Returns what is in the frame at the begin of some bytes, if one is there.
fn decompressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let frame = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
    let mut raw = Vec::new();
    let read = frame.single_frame().take(FRAME_BYTES).read_to_end(&mut raw);
    read.ok().map(|_| raw)
}
