//! The helper for mount(8): called as `mount.kbk`, the program accepts the arguments of a mount helper, so that fstab can have lines
//! like
//!
//! ```text
//! /backup/kafka  /mnt/kafka  kbk  allow_other,nofail  0 0
//! ```
//!
//! `ln -s "$(command -v kbk)" /sbin/mount.kbk` installs it. mount(8), section "External helpers", defines the arguments:
//! `mount.kbk SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.

use std::ffi::OsString;
use std::path::Path;

/// Translates the arguments of `mount.kbk` to those of `kbk mount`, both with the program's own name first.
///
/// Returns `None` if the program was called under another name, and no arguments for a fake mount (`-f`), which does nothing.
pub(crate) fn translate_mount_arguments(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let (name, arguments) = arguments.split_first()?;
    if Path::new(name).file_name()? != "mount.kbk" {
        return None;
    }
    let mut translated = vec![OsString::from("kbk"), "mount".into(), "--daemon".into()];
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-o") => {
                translated.extend(["-o".into(), arguments.next().cloned().unwrap_or_default()])
            }
            // mount(8) has already handled types and namespaces.
            Some("-t" | "-N") => {
                arguments.next();
            }
            Some(flags) if flags.len() > 1 && flags.starts_with('-') => {
                if flags.contains('f') {
                    return Some(Vec::new());
                }
                if flags.contains('v') {
                    translated.push("-v".into());
                }
            }
            _ => translated.push(argument.clone()),
        }
    }
    Some(translated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(arguments: &str) -> Option<String> {
        let arguments: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
        let arguments = translate_mount_arguments(&arguments)?;
        let arguments = arguments.iter().map(|argument| argument.to_str().unwrap());
        Some(arguments.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_arguments_of_a_mount_helper() {
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
