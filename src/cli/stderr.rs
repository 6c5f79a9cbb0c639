//! The only way to write to stderr, so that messages and progress do not interleave.

use std::io::{self, IsTerminal, Write};

use indicatif::MultiProgress;

use super::args::ColorWhen;

/// Stderr with the progress that may be drawn at its end. Clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Stderr {
    bars: MultiProgress,
    terminal: bool,
    color: bool,
}

/// The colour of a message's first word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    /// An error.
    Red,
    /// A warning.
    Yellow,
    /// Debug and trace messages.
    Dim,
}

impl Stderr {
    /// Detects whether stderr is a terminal and should be coloured.
    pub(crate) fn new(color: ColorWhen) -> Self {
        let terminal = io::stderr().is_terminal();
        let color = match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal && !no_color(),
        };
        Self {
            bars: MultiProgress::new(),
            terminal,
            color,
        }
    }

    /// Returns whether stderr is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes one line above the progress.
    pub(crate) fn line(&self, text: &str) {
        let mut line = text.to_owned();
        line.push('\n');
        self.write_whole(line.as_bytes());
    }

    /// Returns `text` in this colour if stderr is coloured.
    pub(crate) fn painted(&self, paint: Paint, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Red => "1;31",
            Paint::Yellow => "1;33",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Ignores failures: stderr is where they would be reported.
    fn write_whole(&self, bytes: &[u8]) {
        let _ = self.bars.suspend(|| io::stderr().write_all(bytes));
    }
}

/// For the log, which writes each line at once.
impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_whole(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_added_only_where_it_is_wanted() {
        assert_eq!(
            Stderr::new(ColorWhen::Never).painted(Paint::Red, "error:"),
            "error:"
        );
        let always = Stderr::new(ColorWhen::Always).painted(Paint::Red, "error:");
        assert_eq!(always, "\x1b[1;31merror:\x1b[0m");
    }
}
