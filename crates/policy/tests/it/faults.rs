//! What is wrong with policies is told with its place and what to do.

use signet_policy::{MAX_POLICIES, MAX_TEXT, Policies, Position, Vocabulary};

use crate::world::vocabulary;

fn faults(text: &str) -> Vec<String> {
    let faults = Policies::new(&vocabulary(), text).expect_err(text);
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let told =
        Policies::new(&vocabulary(), "permit (principal, action, resource);\n  permit (principal, action resource);");
    let told = told.unwrap_err();
    assert_eq!(told[0].place, Some(Position { line: 2, column: 29 }), "{told:?}");
    assert!(told[0].message.contains("unexpected token"), "{told:?}");
}

#[test]
fn what_the_schema_does_not_know_is_told_with_a_hint() {
    let told = faults("\npermit (principal is Wroker, action == Action::\"jobs:sbmit\", resource);");
    assert!(told.iter().any(|fault| fault.starts_with("line 2, column 22: ") && fault.contains("Wroker")), "{told:#?}");
    assert!(told.iter().any(|fault| fault.contains("did you mean `Worker`")), "{told:#?}");
    assert!(told.iter().any(|fault| fault.contains("Action::\"jobs:submit\"")), "{told:#?}");
}

#[test]
fn types_are_checked() {
    let told = faults(r#"permit (principal is User, action, resource) when { principal.id == 3 };"#);
    assert!(told[0].starts_with("line 1, column"), "{told:#?}");
    let told = faults(r#"permit (principal is User, action, resource is Resource) when { resource.owner == "x" };"#);
    assert!(told.iter().any(|fault| fault.contains("has")), "an optional attribute wants a test: {told:#?}");
}

#[test]
fn templates_repeated_names_and_too_much_are_refused() {
    let told = faults("permit (principal == ?principal, action, resource);");
    assert!(told[0].contains("templates"), "{told:#?}");
    let twice = r#"@id("a") permit (principal is User, action, resource);"#.repeat(2);
    assert!(faults(&twice)[0].contains("two policies have the name \"a\""));
    let many = "forbid(principal,action,resource);".repeat(MAX_POLICIES + 1);
    assert!(faults(&many)[0].contains("may have 200 policies, not 201"));
    assert!(faults(&" ".repeat(MAX_TEXT + 1))[0].contains("may have 32768 bytes"));
}

#[test]
fn permissions_of_any_form_make_a_vocabulary() {
    for odd in ["a b", "a\"b", "ä:ö", "x\\y", "{}"] {
        let vocabulary = Vocabulary::new([], [odd]).unwrap();
        assert_eq!(vocabulary.own().collect::<Vec<_>>(), [odd]);
    }
    assert!(Vocabulary::new(["same"], ["same"]).is_err(), "twice");
}
