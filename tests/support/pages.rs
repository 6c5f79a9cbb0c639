//! The blocks of commands and files that README.md and docs/ show.

use std::fs;
use std::path::Path;

/// What is between two lines of backticks, or indented by four spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The page, such as `docs/how-to.md`.
    pub(crate) page: String,
    /// The heading that it is under.
    pub(crate) heading: String,
    /// Its lines, without the indentation.
    pub(crate) lines: Vec<String>,
}

impl Block {
    /// Returns the commands of a console: the lines that begin with a prompt, without it.
    pub(crate) fn commands(&self) -> Vec<&str> {
        let lines = self.lines.iter();
        lines.filter_map(|line| line.strip_prefix("$ ")).collect()
    }
}

/// Returns the blocks of a page, in its order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).expect("the page is there");
    let mut blocks: Vec<Block> = Vec::new();
    let (mut heading, mut fenced, mut continues) = (String::new(), false, false);
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        let shown = match fenced {
            true => Some(line),
            // After a blank line of a block, more of it may follow; in a list, an indented line is text.
            false => line.strip_prefix("    ").filter(|_| !is_fence),
        };
        match shown {
            Some(_) if is_fence => {}
            Some(line) if continues => {
                let last = blocks.last_mut().expect("it was begun");
                last.lines.push(line.to_owned());
            }
            Some(line) => {
                blocks.push(Block {
                    page: page.to_owned(),
                    heading: heading.clone(),
                    lines: vec![line.to_owned()],
                });
            }
            None => {}
        }
        if is_fence {
            fenced = !fenced;
        }
        // Text that is not a block, such as an item of a list, is continued by indented lines that are not blocks either.
        continues = shown.is_some() && !is_fence;
        if let Some(text) = line.strip_prefix('#').filter(|_| !fenced) {
            heading = text.trim_start_matches('#').trim().to_owned();
        }
    }
    blocks
}
