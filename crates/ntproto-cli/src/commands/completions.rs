//! `ntp completions`: what a shell needs to complete our commands.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::exit::{Code, Outcome};

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp completions bash > ~/.local/share/bash-completion/completions/ntp
  ntp completions zsh  > ~/.zfunc/_ntp           (with fpath+=~/.zfunc before compinit)
  ntp completions fish > ~/.config/fish/completions/ntp.fish")]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints them.
pub(crate) fn run(args: &Args) -> Outcome {
    // The generator panics when its output goes away, so it writes to memory.
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::Cli::command(), "ntp", &mut out);
    std::io::stdout().write_all(&out)?;
    Ok(Code::Ok)
}
