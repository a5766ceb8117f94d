//! What packagers put beside the program: manual pages and shell completions, made from the arguments it takes, so that
//! they cannot say anything else.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap_complete::Shell;

/// Writes the manual pages of `command` and of all its subcommands into `directory`, which is made when it is not there.
///
/// # Errors
/// What the file system says.
pub(crate) fn manual(command: clap::Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}

/// Prints the completions of `command` for `shell`.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn completions(mut command: clap::Command, shell: Shell) -> io::Result<()> {
    let name = command.get_name().to_owned();
    // The generator panics where it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    io::stdout().write_all(&script)
}
