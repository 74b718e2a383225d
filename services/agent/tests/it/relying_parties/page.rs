//! The table of what was seen, and the page that has it.

use std::{
    env, fs,
    io::{self, Write as _},
    time::Instant,
};

use super::programs::{Program, RECIPES};

const BEGIN: &str = "<!-- what the test has seen -->\n";
const END: &str = "<!-- end -->\n";

/// A row for each program, a column for each case.
pub(crate) struct Table {
    started: Instant,
    cases: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<String>)>,
}

impl Table {
    pub(crate) fn new(programs: &[Program]) -> Self {
        let rows = programs.iter().map(|program| (program.name, Vec::new())).collect();
        Self { started: Instant::now(), cases: Vec::new(), rows }
    }

    /// One column, in the order of the programs; whoever looks on sees it.
    pub(crate) fn add(&mut self, case: &'static str, cells: Vec<String>) {
        let mut lines = format!("\n{:7.2} s  {case}\n", self.started.elapsed().as_secs_f32());
        for ((name, row), cell) in self.rows.iter_mut().zip(cells) {
            lines += &format!("             {name:40} {cell}\n");
            row.push(cell);
        }
        self.cases.push(case);
        io::stdout().write_all(lines.as_bytes()).unwrap();
    }

    fn markdown(&self) -> String {
        let line = |first: &str, cells: &[String]| format!("| {first} | {} |\n", cells.join(" | "));
        let cases: Vec<_> = self.cases.iter().map(ToString::to_string).collect();
        let rule = vec!["---".to_owned(); cases.len()];
        let rows = self.rows.iter().map(|(name, cells)| line(name, cells));
        line("", &cases) + &line("---", &rule) + &rows.collect::<String>()
    }

    /// With the page.
    pub(crate) fn compare(&self) {
        let path = format!("{RECIPES}/README.md");
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let new = format!("{before}{BEGIN}{}{END}{after}", self.markdown());
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &new).unwrap();
        }
        assert!(
            new == page || env::var_os("UPDATE_GOLDEN").is_some(),
            "{path} differs; UPDATE_GOLDEN=1 writes it anew:\n{}",
            self.markdown()
        );
    }
}
