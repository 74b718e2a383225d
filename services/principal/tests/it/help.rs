//! The help of every command is reviewed like code.

use std::{collections::BTreeSet, fs, path::Path};

use clap::{Command, CommandFactory as _};
use signet_principal::cli::Cli;

use crate::golden;

fn each(command: &mut Command, path: &str, visit: &mut dyn FnMut(&str, &mut Command)) {
    visit(path, command);
    for child in command.get_subcommands_mut() {
        let path = format!("{path}-{}", child.get_name());
        each(child, &path, visit);
    }
}

fn all() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

#[test]
fn help_is_as_reviewed() {
    let mut names = BTreeSet::new();
    each(&mut all(), "principal", &mut |path, command| {
        golden::check(&format!("help/{path}.txt"), &command.render_long_help().to_string());
        names.insert(format!("{path}.txt"));
    });
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help");
    let found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<_>>(), names, "a file of a command that is gone");
}

#[test]
fn every_command_and_every_option_says_what_it_is() {
    each(&mut all(), "principal", &mut |path, command| {
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
        }
    });
}

#[test]
fn no_option_takes_a_secret() {
    each(&mut all(), "principal", &mut |path, command| {
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            let secret = ["token", "secret", "passphrase", "password"].iter().any(|word| name.contains(word));
            assert!(!secret || name.ends_with("_file"), "{path} --{name} would put a secret on the command line");
        }
    });
}
