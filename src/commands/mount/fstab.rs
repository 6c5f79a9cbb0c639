//! The helper of mount(8): called as `mount.kbk`, the program takes that one's words, so that fstab can have lines like
//!
//! ```text
//! /backup/kafka  /mnt/kafka  kbk  allow_other,nofail  0 0
//! ```
//!
//! `ln -s "$(command -v kbk)" /sbin/mount.kbk` makes it one. mount(8), section "External helpers", gives the form:
//! `mount.kbk SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.

use std::ffi::OsString;
use std::path::Path;

/// The words of `kbk` that mean what `words`, from the program's own name on, mean where they come from mount(8).
///
/// `Some` of no words: a rehearsal (`-f`), in which nothing is to be done.
pub(crate) fn words_of_mount(words: &[OsString]) -> Option<Vec<OsString>> {
    let (name, words) = words.split_first()?;
    if Path::new(name).file_name()? != "mount.kbk" {
        return None;
    }
    let mut translated = vec![OsString::from("kbk"), "mount".into(), "--daemon".into()];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-o") => {
                translated.extend(["-o".into(), words.next().cloned().unwrap_or_default()])
            }
            // Types and namespaces are mount(8)'s own affair.
            Some("-t" | "-N") => {
                words.next();
            }
            Some(flags) if flags.len() > 1 && flags.starts_with('-') => {
                if flags.contains('f') {
                    return Some(Vec::new());
                }
                if flags.contains('v') {
                    translated.push("-v".into());
                }
            }
            _ => translated.push(word.clone()),
        }
    }
    Some(translated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(words: &str) -> Option<String> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let words = words_of_mount(&words)?;
        let words = words.iter().map(|word| word.to_str().unwrap());
        Some(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_words_of_mount() {
        assert_eq!(translated("/usr/bin/kbk mount /a /b"), None);
        assert_eq!(
            translated("/sbin/mount.kbk /data/repo /mnt -sn -N 7 -t kbk -o rw,allow_other")
                .unwrap(),
            "kbk mount --daemon /data/repo /mnt -o rw,allow_other"
        );
        assert_eq!(
            translated("mount.kbk /r /m -v").unwrap(),
            "kbk mount --daemon /r /m -v"
        );
        assert_eq!(translated("mount.kbk /r /m -fnv").unwrap(), "");
    }
}
