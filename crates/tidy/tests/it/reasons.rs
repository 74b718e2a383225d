//! The table of reasons (`signet_core::reasons`) is what the code says, and what the documents print.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use signet_core::reasons::{self, REASONS, Reason, Told};
use syn::{
    Arm, Attribute, Expr, ExprCall, ExprLit, ExprStruct, ImplItemFn, ItemFn, ItemMod, Lit, Macro, Member, Meta, Pat,
    visit::{self, Visit},
};

use crate::{files, name, read, root};

/// Crates whose sources are not shipped.
const FOR_TESTS: &[&str] = &["crates/fuzz/", "crates/sim/", "crates/testkit/", "crates/tidy/"];

/// What else is written as reasons are. With a `_` at the end: all that begins so.
const NO_REASONS: &[(&str, &str)] = &[
    ("ACTIONS_ID_TOKEN_", "environment variables of GitHub Actions"),
    ("AWS_REGION", "an environment variable of AWS"),
    ("LC_ALL", "an environment variable of POSIX"),
    ("SIGNET_", "environment variables of ours"),
    ("TF_", "environment variables of Terraform"),
    ("TLS_", "names of cipher suites"),
    ("XDG_CONFIG_HOME", "an environment variable of freedesktop.org"),
];

/// Who compares with what servers say, and gives reasons of clients only.
const ACT_ON_REASONS: &[&str] = &["crates/client/", "services/agent/", "services/principal/"];

/// Whose wire format no RPC has.
const ONLY_HTTP: &[&str] = &["crates/enroll-http/", "services/control-plane/src/services/authorization/authzen/"];

/// Functions that take a reason, and as which argument.
const TAKE_REASONS: &[(&str, usize)] = &[
    ("Error::invalid", 1),
    ("Error::precondition", 0),
    ("ErrorDetails::with_error_info", 0),
    ("Miss::new", 0),
    ("Problem::new", 1),
    ("Self::invalid", 1),
    ("Self::new", 1),
    ("Self::unavailable", 0),
    ("because", 1),
    ("busy", 1),
    ("exhausted", 0),
    ("refused", 0),
];

#[test]
fn every_reason_in_the_code_is_in_the_table() {
    let known: BTreeSet<_> = reasons::all().map(|reason| reason.name).collect();
    let unknown: Vec<_> = found().into_iter().filter(|(reason, _)| !known.contains(reason.as_str())).collect();
    assert!(unknown.is_empty(), "add these to crates/core/src/reasons: {unknown:#?}");
}

#[test]
fn every_reason_of_the_table_is_in_the_code() {
    let found = found();
    let gives = |reason: &Reason| {
        let is_given = |place: &Place| {
            reason.told.contains(&Told::Client) || ACT_ON_REASONS.iter().all(|reader| !place.file.starts_with(reader))
        };
        found.get(reason.name).is_some_and(|places| places.iter().any(is_given))
    };
    let unused: Vec<_> = reasons::all().filter(|reason| !gives(reason)).map(|reason| reason.name).collect();
    assert!(unused.is_empty(), "nothing gives these; take them out of crates/core/src/reasons: {unused:?}");
}

#[test]
fn every_exclusion_is_needed() {
    let literals = literals(|_| true);
    let unused: Vec<_> =
        NO_REASONS.iter().filter(|(no, _)| !literals.keys().any(|literal| is_one(literal, no))).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// As far as the place of a literal tells.
#[test]
fn the_table_has_the_code_and_the_readers_that_the_code_gives() {
    let mut wrong = Vec::new();
    for (literal, uses) in found() {
        let Some(reason) = reasons::all().find(|reason| reason.name == literal) else { continue };
        for place in uses {
            let has = match place.code {
                // Operations that no RPC has.
                Some(_) if reason.told == [Told::Operator] => true,
                Some(_) if ONLY_HTTP.iter().any(|folder| place.file.starts_with(folder)) => !reason.codes.is_empty(),
                Some(AUDITED) => reason.told.contains(&Told::AuditLog),
                Some(code) => reason.codes.contains(&code),
                None => true,
            };
            if !has {
                wrong.push(format!(
                    "{literal}: {} in {}, and {:?} in the table",
                    place.code.unwrap(),
                    place.file,
                    reason
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_page_prints_the_table() {
    let path = root().join("proto/REASONS.md");
    let page = page();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(read(&path) == page, "proto/REASONS.md differs; UPDATE_GOLDEN=1 writes it anew");
}

fn page() -> String {
    let mut page = String::from(HEAD);
    for group in REASONS {
        page += &format!("\n## {}\n\n{}\n\n", group.title, group.about);
        page += "| reason | told | code | meaning | what to do |\n| --- | --- | --- | --- | --- |\n";
        group.reasons.iter().for_each(|reason| page += &row(reason));
    }
    page
}

const HEAD: &str = "# Reasons

What Signet calls a refusal: for programs, UPPER_SNAKE_CASE, in `google.rpc.ErrorInfo` (domain `signet`), in `reason` of
HTTP problem details, in audit events, metrics and logs. A reason keeps its meaning within v1. New ones may come under
the same code: a program that does not know one acts on the code.

Where a reason is **told**: *caller* (`ErrorInfo`, HTTP `reason`), *audit log* (of a refused proof, whose caller is told
no more than `ENROLLMENT_REFUSED`), *connection* (GOAWAY, node's log and metrics, audit log), *rule test*
(`TestEnrollmentRules`), *operator* (`/readyz`, node's log, `principal bootstrap`), *client* (the SDK, agent or CLI
itself). Where callers lack a right, the audit log has the reason too. **Code** is the gRPC code; `HTTP` and a status
stand where no RPC gives the reason.

Printed from `crates/core/src/reasons` (`tidy: reasons`); `UPDATE_GOLDEN=1` writes it anew.
";

fn row(reason: &Reason) -> String {
    let told: Vec<_> = reason.told.iter().map(|told| told.place()).collect();
    let codes = if reason.codes.is_empty() { "–".to_owned() } else { reason.codes.join(", ") };
    format!("| `{}` | {} | {codes} | {} | {} |\n", reason.name, told.join(", "), reason.meaning, reason.action)
}

/// No code, but a refusal that only the audit log explains.
const AUDITED: &str = "the audit log";

/// Where a literal stands, and the gRPC code that its place gives it.
#[derive(Clone, Debug)]
struct Place {
    file: String,
    code: Option<&'static str>,
    /// Whether only reasons stand in such a place.
    is_reasons: bool,
}

/// The reasons in the code that is shipped.
fn found() -> BTreeMap<String, Vec<Place>> {
    let is_other = |literal: &str| NO_REASONS.iter().any(|(no, _)| is_one(literal, no));
    let mut found = literals(|place| place.is_reasons);
    for (literal, places) in literals(|place| !place.is_reasons) {
        // Single words are also methods, columns and much else.
        if literal.contains('_') && !is_other(&literal) {
            found.entry(literal).or_default().extend(places);
        }
    }
    assert!(found.len() > 100, "{found:?}");
    found
}

fn is_one(literal: &str, no: &str) -> bool {
    literal == no || no.ends_with('_') && literal.starts_with(no)
}

/// Literals in upper snake case in shipped sources, and where they stand.
fn literals(wanted: impl Fn(&Place) -> bool) -> BTreeMap<String, Vec<Place>> {
    let mut found: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for path in shipped() {
        let file = syn::parse_file(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", name(&path)));
        let mut finder = Finder { file: name(&path), in_reason: false, found: Vec::new() };
        finder.visit_file(&file);
        for (literal, place) in finder.found.into_iter().filter(|(_, place)| wanted(place)) {
            found.entry(literal).or_default().push(place);
        }
    }
    found
}

fn shipped() -> Vec<PathBuf> {
    let is_shipped = |name: &str| {
        let is_test = name.ends_with("/tests.rs") || FOR_TESTS.iter().any(|folder| name.starts_with(folder));
        name.contains("/src/") && !is_test && !name.starts_with("crates/core/src/reasons/")
    };
    let sources = files(&["crates", "services", "lambdas"], &[".rs"]);
    sources.into_iter().filter(|path| is_shipped(&name(path))).collect()
}

struct Finder {
    file: String,
    /// Inside of a function that is called `reason`.
    in_reason: bool,
    found: Vec<(String, Place)>,
}

impl Finder {
    fn add(&mut self, text: &str, is_reasons: bool, code: Option<&'static str>) {
        let first = text.starts_with(|c: char| c.is_ascii_uppercase());
        if first && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            let is_reasons = is_reasons || self.in_reason;
            self.found.push((text.to_owned(), Place { file: self.file.clone(), code, is_reasons }));
        }
    }

    fn within(&mut self, function: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        let before = self.in_reason;
        self.in_reason |= function == "reason";
        visit(self);
        self.in_reason = before;
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let tests = |attribute: &Attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::NameValue(_) => false,
    };
    attributes.iter().any(tests)
}

fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The last two parts of a path.
fn called(path: &syn::Path) -> String {
    let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    parts[parts.len().saturating_sub(2)..].join("::")
}

impl<'a> Visit<'a> for Finder {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        if !is_test(&item.attrs) {
            self.within(&item.sig.ident, |finder| visit::visit_item_fn(finder, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        if !is_test(&item.attrs) {
            self.within(&item.sig.ident, |finder| visit::visit_impl_item_fn(finder, item));
        }
    }

    /// Attributes hold texts for people.
    fn visit_attribute(&mut self, _: &'a Attribute) {}

    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        if let Expr::Path(function) = &*call.func {
            let called = called(&function.path);
            let is_called = |name: &str| called == name || called.ends_with(&format!("::{name}"));
            for (function, at) in TAKE_REASONS.iter().filter(|(function, _)| is_called(function)) {
                let code = match *function {
                    "Error::invalid" | "Self::invalid" => Some("INVALID_ARGUMENT"),
                    "Error::precondition" => Some("FAILED_PRECONDITION"),
                    "refused" => Some(AUDITED),
                    _ => None,
                };
                if let Some(text) = call.args.iter().nth(*at).and_then(text) {
                    self.add(&text, true, code);
                }
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_struct(&mut self, item: &'a ExprStruct) {
        let code = called(&item.path).ends_with("Exhausted").then_some("RESOURCE_EXHAUSTED");
        for field in &item.fields {
            if matches!(&field.member, Member::Named(name) if name == "reason")
                && let Some(text) = text(&field.expr)
            {
                self.add(&text, true, code);
            }
        }
        visit::visit_expr_struct(self, item);
    }

    fn visit_expr_lit(&mut self, literal: &'a ExprLit) {
        if let Lit::Str(text) = &literal.lit {
            self.add(&text.value(), false, None);
        }
    }

    /// gRPC's own names of its codes.
    fn visit_arm(&mut self, arm: &'a Arm) {
        if !matches!(&arm.pat, Pat::Path(pattern) if called(&pattern.path).starts_with("Code::")) {
            visit::visit_arm(self, arm);
        }
    }

    /// Only its tokens are known.
    fn visit_macro(&mut self, found: &'a Macro) {
        if !called(&found.path).contains("env") {
            found.tokens.to_string().split('"').skip(1).step_by(2).for_each(|text| self.add(text, false, None));
        }
    }
}
