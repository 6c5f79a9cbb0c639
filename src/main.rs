//! The `kbk` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kbk::app::main()
}
