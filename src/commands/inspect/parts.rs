//! The parts of an object as text, with or without their bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use kbk_tools::inspect::{Part, PartField};

/// Bytes of a line of the dump.
const LINE_BYTES: usize = 16;
/// What a disk does not return is skipped in steps of this.
const SECTOR_BYTES: u64 = 4096;
/// Width of the bytes of a line.
const LINE_WIDTH: usize = 3 * LINE_BYTES;

/// Shows the parts; with the file, their bytes too, of which only a line is in memory.
pub(super) fn show(parts: &[Part], file: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
    let mut file = file.map(File::open).transpose()?;
    for part in parts {
        let raw = if part.raw { " decompressed" } else { "" };
        writeln!(
            out,
            "\n{}: position {}, {} bytes{raw}",
            part.name, part.position, part.length
        )?;
        if let Some(problem) = &part.problem {
            writeln!(out, "  WRONG: {problem}")?;
        }
        match file.as_mut().filter(|_| !part.raw) {
            Some(file) => dump(part, file, out)?,
            None => fields(part, out)?,
        }
    }
    Ok(())
}

fn fields(part: &Part, out: &mut dyn Write) -> io::Result<()> {
    for field in &part.fields {
        let PartField {
            name,
            position,
            length,
            value,
        } = field;
        let value = value.as_deref().unwrap_or_default();
        writeln!(
            out,
            "{}",
            format!("  {position:>10} {length:>6}  {name:<22}{value}").trim_end()
        )?;
    }
    Ok(())
}

/// Shows every byte of a part: those of a field beside its name and value, and those between fields by themselves.
fn dump(part: &Part, file: &mut File, out: &mut dyn Write) -> io::Result<()> {
    let mut at = part.position;
    let end = part.position.saturating_add(part.length);
    for field in &part.fields {
        // Fields of the whole part say something about all of its bytes.
        if field.position < at
            || field.length == 0
            || (field.length == part.length && part.fields.len() > 1)
        {
            let value = field.value.as_deref().unwrap_or_default();
            writeln!(out, "{:LINE_WIDTH$}          {:<22}{value}", "", field.name)?;
            continue;
        }
        bytes(file, at..field.position, "", out)?;
        let value = field.value.as_deref().unwrap_or_default();
        let text = format!("{:<22}{value}", field.name);
        at = field.position.saturating_add(field.length);
        bytes(file, field.position..at, &text, out)?;
    }
    bytes(file, at..end, "", out)
}

fn bytes(
    file: &mut File,
    range: std::ops::Range<u64>,
    text: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut at = range.start;
    file.seek(SeekFrom::Start(at))?;
    let mut text = text.trim_end();
    while at < range.end {
        let mut line = Vec::with_capacity(LINE_BYTES);
        let left = (range.end - at).min(LINE_BYTES as u64);
        match Read::take(&mut *file, left).read_to_end(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                writeln!(out, "{at:08x}  cannot be read: {error}")?;
                at = (at + 1).next_multiple_of(SECTOR_BYTES);
                file.seek(SeekFrom::Start(at))?;
                continue;
            }
        }
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.join(" ");
        writeln!(
            out,
            "{}",
            format!("{at:08x}  {hex:<LINE_WIDTH$}{text}").trim_end()
        )?;
        text = "";
        at += line.len() as u64;
    }
    Ok(())
}
