//! `orderflow completions|man`: what a shell and `man` want to know of the commands. Both are made of the parser itself.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::out;

const NAME: &str = "orderflow";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write a page for every command into this folder, instead of printing the first one
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn completions(what: &Completions) -> anyhow::Result<()> {
    // Into memory first: the generator panics where its reader has left.
    let mut script = Vec::new();
    clap_complete::generate(what.shell, &mut Cli::command(), NAME, &mut script);
    out().write_all(&script)?;
    Ok(())
}

pub(super) fn man(what: &Man) -> anyhow::Result<()> {
    let Some(dir) = &what.out else {
        // As the generator of all pages does: `help` has none.
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        out().write_all(&page)?;
        return Ok(());
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("cannot write in {}", dir.display()))?;
    writeln!(out(), "written to {}: `man -l {}`", dir.display(), dir.join(format!("{NAME}.1")).display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_one_that_clap_takes() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_words_for_its_help() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} says nothing about itself");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for inner in command.get_subcommands() {
                look(inner, &path);
            }
        }
        look(&Cli::command(), "");
    }
}
