<<<<<<< HEAD
<<<<<<< HEAD
//! The `dunlin` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    dunlin::cli::main()
}
=======
fn main() {}
>>>>>>> h-wire
=======
fn main() {}
>>>>>>> h-config
