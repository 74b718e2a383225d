//! Every `principal` command in the runbooks, the README and the page on bootstrap is one that exists.

use std::{fs, path::Path};

use clap::Parser;
use signet_principal::cli::Cli;

#[test]
fn the_commands_of_the_documents_parse() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md"), root.join("infra/BOOTSTRAP.md")];
    documents.extend(fs::read_dir(root.join("runbooks")).unwrap().map(|entry| entry.unwrap().path()));
    let mut seen = 0;
    for document in documents {
        for line in commands(&fs::read_to_string(&document).unwrap()) {
            seen += 1;
            let words = line
                .split_whitespace()
                .map(|word| if word == "SERIAL" { "01a20162dddb7ceeae659e2b1f73318d" } else { word });
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{}: {line}\n{error}", document.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}

/// Commands at a prompt, and commands in backticks that are whole.
fn commands(text: &str) -> Vec<String> {
    let at_prompt = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let in_text = text.split('`').skip(1).step_by(2).filter(|code| !code.contains('\n'));
    at_prompt
        .chain(in_text)
        .filter(|line| line.starts_with("principal ") && line.split_whitespace().count() > 1)
        .map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned())
        .collect()
}
