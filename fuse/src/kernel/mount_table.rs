//! The mounted file systems, from `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The mount point.
    pub mount_point: PathBuf,
    /// Its type, such as `ext4` or `fuse.kbk`.
    pub file_system: String,
    /// The source, such as a device or a repository.
    pub source: String,
    /// The major and minor number of its device, such as `3:17`.
    pub device: String,
}

impl MountEntry {
    /// Whether kbk mounted it.
    #[must_use]
    pub fn is_kbk(&self) -> bool {
        self.file_system == "fuse.kbk"
    }
}

/// The file system that is mounted at exactly this path; the topmost if there are several.
///
/// # Errors
///
/// If the table cannot be read.
pub fn mounted_at(path: &Path) -> io::Result<Option<MountEntry>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let entries = table.split(|&byte| byte == b'\n').filter_map(parse);
    let mut there = entries.filter(|entry| entry.mount_point == path);
    Ok(there.next_back())
}

/// Parses a line of mountinfo (man 5 `proc_pid_mountinfo`): fields 3 and 5, and after a lone dash the type and the source.
fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = fields.nth(2)?;
    let mount_point = fields.nth(1)?;
    let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
    let text = |field| String::from_utf8_lossy(&unescaped(field)).into_owned();
    Some(MountEntry {
        mount_point: OsString::from_vec(unescaped(mount_point)).into(),
        file_system: text(fields.next()?),
        source: text(fields.next()?),
        device: text(device),
    })
}

/// Decodes spaces, tabs, line feeds and backslashes, which are written as `\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_parsed() {
        let entry = parse(br"60 28 0:55 / /mnt/my\040backup\134 ro,nosuid shared:1 master:2 - fuse.kbk /data/a\040b ro,user_id=0").unwrap();
        assert_eq!(
            entry,
            MountEntry {
                mount_point: "/mnt/my backup\\".into(),
                file_system: "fuse.kbk".to_owned(),
                source: "/data/a b".to_owned(),
                device: "0:55".to_owned(),
            }
        );
        assert!(entry.is_kbk());
        let plain = parse(b"25 1 254:0 / / rw - ext4 /dev/vda rw").unwrap();
        assert_eq!(plain.mount_point, Path::new("/"));
        for torn in [&b""[..], b"25 1 254:0 / / rw", b"25 1 254:0 / / rw - ext4"] {
            assert_eq!(parse(torn), None);
        }
        assert_eq!(unescaped(br"a\9\04"), br"a\9\04");
    }

    #[test]
    fn mount_points_are_found_by_their_exact_path() {
        assert!(mounted_at(Path::new("/proc")).unwrap().is_some());
        assert_eq!(mounted_at(Path::new("/proc/self/mountinfo")).unwrap(), None);
    }
}
