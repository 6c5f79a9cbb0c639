//! `kbk man`: the manual pages, from the definitions of the options.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde::Serialize;

use super::Cli;
use crate::cli::{CliError, Context, FileKind, Outcome, OutputFile, Report, examples};

const EXAMPLES: &str = "\
Examples:
  kbk man ~/.local/share/man/man1
  kbk man | man -l -

The folder is created if it does not exist; it gets a page for each command, such as
kbk-backup(1), and kbk(1). Without a folder, kbk(1) is printed.";

/// The arguments of `kbk man`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder for the pages
    pub dir: Option<PathBuf>,
}

/// Writes or prints them.
pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let Some(folder) = &args.dir else {
        let page = String::from_utf8(page(&root)?)?;
        return context.conclude(&Printed { page }, Outcome::Clean);
    };
    let mut pages = Vec::new();
    open_pages(&root, folder, &mut pages)?;
    // Where one cannot be written, none is.
    let written = pages.into_iter().map(|(path, file, page)| {
        file.finish(&page)?;
        Ok::<_, CliError>(path)
    });
    let pages = written.collect::<Result<Vec<PathBuf>, _>>()?;
    context.conclude(&Written { pages }, Outcome::Clean)
}

/// The page that is printed.
#[derive(Serialize)]
struct Printed {
    /// kbk(1) for man(1).
    page: String,
}

/// The pages that were written to a folder.
#[derive(Serialize)]
struct Written {
    /// The files.
    pages: Vec<PathBuf>,
}

impl Report for Printed {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.page.as_bytes())
    }
}

impl Report for Written {
    fn human(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the file of each page.
fn open_pages(
    command: &Command,
    folder: &Path,
    pages: &mut Vec<(PathBuf, OutputFile, Vec<u8>)>,
) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(|error| {
        let message = format!("cannot create the folder {}", folder.display());
        CliError::new(message).caused_by(error)
    })?;
    let path = folder.join(Man::new(command.clone()).get_filename());
    let file = OutputFile::create(&path, FileKind::MANUAL)?;
    pages.push((path, file, page(command)?));
    let mut below = command.get_subcommands();
    below.try_for_each(|command| open_pages(command, folder, pages))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let version = concat!("kbk ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version).manual("kbk");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = examples(command) {
        page.extend(as_written(&text).into_bytes());
    }
    Ok(page)
}

/// Returns a section of the page that has this text as it is written, so that its commands can be copied.
fn as_written(text: &str) -> String {
    let heading = match text.starts_with("Examples:\n") {
        true => "EXAMPLES",
        false => "NOTES",
    };
    let text = text.strip_prefix("Examples:\n").unwrap_or(text);
    let lines = text.lines().map(|line| {
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq");
        // A line that begins with a dot is a request to roff.
        if line.starts_with('.') {
            format!("\\&{line}")
        } else {
            line
        }
    });
    let lines: Vec<_> = lines.collect();
    format!(".SH {heading}\n.nf\n{}\n.fi\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_roff() {
        let section = as_written("Examples:\n  kbk cat 'a-b' \\\n.x");
        assert_eq!(
            section,
            ".SH EXAMPLES\n.nf\n  kbk cat \\(aqa\\-b\\(aq \\e\n\\&.x\n.fi\n"
        );
    }
}
