//! What `kbk cat` reads: a topic of the repository, or segment files.
//!
//! How a name is written decides, and never what there is: a script must not read something else because of a file in its folder. What ends in
//! `.kseg`, or begins with `./` or `../`, is a file. `/x/` is a regular expression, and `x/0` a partition. A topic whose name ends in `.kseg` is
//! selected by its id, by a regular expression, or with its partitions.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::select::{TopicError, TopicPartitions};

/// What to try where something was taken for a file, or for a topic.
pub(super) const RULE: &str = "a name that ends in .kseg, or begins with ./ or ../, is a file; `NAME@ID` or `/NAME/` selects a topic of such a name";

/// An operand of `kbk cat`.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Topics of the repository, or some of their partitions.
    Topics(TopicPartitions),
    /// A segment file.
    File(PathBuf),
}

/// Text that is not an operand.
#[derive(Debug, thiserror::Error)]
pub enum OperandError {
    /// `-`.
    #[error(
        "a segment is read from its end, which standard input does not have; save it to a file first"
    )]
    Stdin,
    /// Neither a file nor a topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl Operand {
    /// Reads an argument.
    pub(super) fn parse(text: OsString) -> Result<Operand, OperandError> {
        match text.to_str() {
            Some("-") => Err(OperandError::Stdin),
            Some(name) if !is_path(name) => Ok(Operand::Topics(name.parse()?)),
            // No topic has a name that is not UTF-8.
            _ => Ok(Operand::File(text.into())),
        }
    }
}

fn is_path(name: &str) -> bool {
    name.ends_with(".kseg") || name.starts_with("./") || name.starts_with("../")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Operand {
        Operand::parse(text.into()).unwrap()
    }

    #[test]
    fn the_name_alone_decides_between_topics_and_files() {
        let is_file = |text| matches!(parse(text), Operand::File(path) if path == Path::new(text));
        for file in [
            "a.kseg",
            "/tmp/a.kseg",
            "./a",
            "../a",
            "b/a.kseg",
            ".kseg",
            "a b.kseg",
            "*.kseg",
        ] {
            assert!(is_file(file), "{file}");
        }
        let is_topics =
            |text| matches!(parse(text), Operand::Topics(topics) if topics.to_string() == text);
        for topics in [
            "orders",
            "a.kseg.b",
            "kseg",
            "a.kseg@1a2b3c4d",
            "/a.kseg/",
            "a.kseg/0",
            "..a",
            "a.KSEG",
        ] {
            assert!(is_topics(topics), "{topics}");
        }
    }

    #[test]
    fn standard_input_is_refused_with_the_reason() {
        let error = Operand::parse("-".into()).unwrap_err().to_string();
        assert!(error.contains("save it to a file"), "{error}");
    }
}
