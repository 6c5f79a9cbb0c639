//! `--client`: which Kafka client records go through.

use clap::builder::PossibleValue;

use crate::records::ClientChoice;

impl clap::ValueEnum for ClientChoice {
    fn value_variants<'a>() -> &'a [ClientChoice] {
        &ClientChoice::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}
