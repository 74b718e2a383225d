//! What is wrong with policies is told with its place and what to do.

use signet_policy::{MAX_POLICIES, MAX_TEXT, Policies, Position, Vocabulary};

use crate::world::{declared, vocabulary};

fn faults(text: &str) -> Vec<String> {
    let faults = Policies::new(&vocabulary(), declared, text).expect_err(text);
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let told = Policies::new(
        &vocabulary(),
        declared,
        "permit (principal, action, resource);\n  permit (principal, action resource);",
    );
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
fn roles_and_groups_must_be_declared_and_signets_own_permissions_are_none() {
    let told = faults(r#"permit (principal in Role::"dispacher", action == Action::"connect", resource);"#);
    assert!(told[0].contains("there is no role \"dispacher\""), "{told:#?}");
    let told = faults(r#"permit (principal, action == Action::"connect", resource) when { resource in Group::"x" };"#);
    assert!(told.iter().any(|fault| fault.contains("there is no group \"x\"")), "{told:#?}");
    let told = faults(r#"permit (principal, action == Action::"principals.create", resource);"#);
    assert!(told.iter().any(|fault| fault.contains("principals.create")), "{told:#?}");
}

/// Validation takes time for each kind of request: policies about everything are few.
#[test]
fn policies_about_all_permissions_are_bounded() {
    let names: Vec<String> = (0..200).map(|number| format!("p:{number}")).collect();
    let vocabulary = Vocabulary::new(names.iter().map(String::as_str)).unwrap();
    let open = "forbid(principal,action,resource);".repeat(6);
    let told = Policies::new(&vocabulary, declared, &open).unwrap_err();
    assert!(told[0].to_string().contains("about 1200 permissions together, at most 1000"), "{told:#?}");
    let narrow = r#"forbid(principal,action == Action::"p:1",resource);"#.repeat(20);
    assert!(Policies::new(&vocabulary, declared, &narrow).is_ok());
}

/// A node must not run out of stack by what a tenant writes.
#[test]
fn deep_and_long_policies_are_refused_before_they_are_parsed() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("permit (principal, action, resource) when {{ {}true{} }};", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}")] {
        let told = faults(&nested(open, close, 5_000));
        assert!(told[0].contains("nested 20 deep"), "{told:#?}");
    }
    let long = format!("permit (principal, action, resource) when {{ 1{} == 1 }};", "+1".repeat(1100));
    assert!(faults(&long)[0].contains("may have 2048 bytes"));
    // In strings and comments brackets are text.
    let text = r#"// ((((((((((((((((((((((((
        permit (principal is User, action == Action::"connect", resource is Resource)
        when { resource.id == "((((((((((((((((((((((((((\"" };"#;
    assert!(Policies::new(&vocabulary(), declared, text).is_ok());
}

#[test]
fn permissions_of_any_form_make_a_vocabulary() {
    for odd in ["a b", "a\"b", "ä:ö", "x\\y", "{}"] {
        let vocabulary = Vocabulary::new([odd]).unwrap();
        assert_eq!(vocabulary.own().collect::<Vec<_>>(), [odd]);
    }
    assert!(Vocabulary::new(["same", "same"]).is_err(), "twice");
}
