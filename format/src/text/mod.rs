//! Records in the formats that programs print: JSON lines, CSV, or a template.
//!
//! | format | one record |
//! |---|---|
//! | `jsonl` | a line of `records.jsonl` (SPEC section 10) |
//! | `csv` | a line of RFC 4180, below a header line |
//! | a template | its literals and tokens, as kcat's `-f` |
//! | `value` | the template `%s\n`: the bytes of the view *values* |
//! | `key-value` | the template `%k\t%s\n` |
//! | `hex` | a line of fields in hex, separated by tabs |
//! | `raw` | its bytes, each field after its length |
//!
//! JSON lines, CSV, `hex` and `raw` keep everything. Templates are bytes as they are: null and empty are the same
//! unless null has a marker, and a separator inside a key or a value is not escaped.

mod csv;
mod hex;
mod raw;
mod template;

use std::str::FromStr;
use std::sync::Arc;

pub use self::template::TemplateError;

use self::csv::CsvRenderer;
use self::hex::HexRenderer;
use self::raw::RawRenderer;
use self::template::{Template, TemplateRenderer};
use crate::block::Streams;
use crate::partition::PartitionNumber;
use crate::record::Record;
use crate::render::{Renderer, View};

/// How records are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// One JSON object per line.
    JsonLines,
    /// One line of comma-separated values.
    Csv,
    /// One line of hex, separated by tabs.
    Hex,
    /// Bytes with their lengths.
    Raw,
    /// The text that a template makes of it.
    Template(Arc<Template>),
}

/// Why a text is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFormatError {
    /// Neither a name nor a template.
    #[error(
        "`{0}` is not a format; give jsonl, csv, value, key-value, hex, raw, or a template such as `%k\\t%s\\n`"
    )]
    Unknown(String),
    /// A template with a defect.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl FromStr for TextFormat {
    type Err = TextFormatError;

    fn from_str(text: &str) -> Result<TextFormat, TextFormatError> {
        let template = match text {
            "jsonl" => return Ok(TextFormat::JsonLines),
            "csv" => return Ok(TextFormat::Csv),
            "hex" => return Ok(TextFormat::Hex),
            "raw" => return Ok(TextFormat::Raw),
            "value" => "%s\\n",
            "key-value" => "%k\\t%s\\n",
            template if template.contains('%') => template,
            // A mistyped name must not be printed once per record.
            _ => return Err(TextFormatError::Unknown(text.to_owned())),
        };
        Ok(TextFormat::Template(Arc::new(template.parse()?)))
    }
}

impl TextFormat {
    /// Returns what is printed before the first record.
    #[must_use]
    pub fn head(&self) -> &'static [u8] {
        match self {
            TextFormat::Csv => csv::HEADER_LINE,
            TextFormat::JsonLines | TextFormat::Hex | TextFormat::Raw | TextFormat::Template(_) => {
                b""
            }
        }
    }

    /// Returns which streams of a block have to be decoded for it.
    #[must_use]
    pub fn streams(&self) -> Streams {
        match self {
            TextFormat::JsonLines | TextFormat::Csv | TextFormat::Hex | TextFormat::Raw => {
                Streams::All
            }
            TextFormat::Template(template) => template.streams(),
        }
    }
}

/// Prints the records of one partition in a format.
#[derive(Clone, Debug)]
pub struct TextRenderer(Kind);

#[derive(Clone, Debug)]
enum Kind {
    JsonLines(Renderer),
    Csv(CsvRenderer),
    Hex(HexRenderer),
    Raw(RawRenderer),
    Template(TemplateRenderer),
}

impl TextRenderer {
    /// Creates a renderer for the records of a partition. `null` is what a template prints for null.
    #[must_use]
    pub fn new(
        format: &TextFormat,
        topic: &str,
        partition: PartitionNumber,
        null: Option<&str>,
    ) -> TextRenderer {
        TextRenderer(match format {
            TextFormat::JsonLines => Kind::JsonLines(Renderer::new(topic, partition)),
            TextFormat::Csv => Kind::Csv(CsvRenderer::new(topic, partition)),
            TextFormat::Hex => Kind::Hex(HexRenderer::new(topic, partition)),
            TextFormat::Raw => Kind::Raw(RawRenderer::new(topic, partition)),
            TextFormat::Template(template) => {
                let template = Arc::clone(template);
                Kind::Template(TemplateRenderer::new(template, topic, partition, null))
            }
        })
    }

    /// Appends a record. Control records render to nothing.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        if record.control {
            return;
        }
        match &self.0 {
            Kind::JsonLines(renderer) => renderer.render(View::Records, record, out),
            Kind::Csv(renderer) => renderer.render(record, out),
            Kind::Hex(renderer) => renderer.render(record, out),
            Kind::Raw(renderer) => renderer.render(record, out),
            Kind::Template(renderer) => renderer.render(record, out),
        }
    }
}

#[cfg(test)]
mod tests;
