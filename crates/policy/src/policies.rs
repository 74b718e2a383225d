//! A tenant's policies, parsed, validated and sorted by the action that they are about.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
};

use cedar_policy::{ActionConstraint, Effect, PolicyId, PolicySet, ValidationMode, Validator};

use crate::{Fault, Vocabulary};

/// Longest text of a tenant's policies, in bytes.
pub const MAX_TEXT: usize = 32 * 1024;
/// Most policies of a tenant.
pub const MAX_POLICIES: usize = 200;
/// Longest policy, in bytes: what parses and evaluates it recurses with its length.
pub const MAX_POLICY: usize = 2 * 1024;
/// Deepest nesting of brackets.
pub const MAX_DEPTH: usize = 20;
/// Most pairs of a policy and a permission that it may be about: validation takes time for each.
pub const MAX_PAIRS: usize = 1000;

/// Policies that were validated against their vocabulary.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub(crate) all: PolicySet,
    /// Those that may apply to an action; an action that is missing has those in `general` only.
    by_action: HashMap<Box<str>, PolicySet>,
    general: PolicySet,
    /// Of policies that forbid.
    pub(crate) forbidding: HashSet<PolicyId>,
    /// Whether the time of the decision may matter: some policy names `now`.
    reads_time: bool,
}

impl Policies {
    /// Those that were validated when they were set. What the environment has taken out of its permissions since is
    /// never asked for, and does no harm.
    pub fn validated_before(text: &str) -> Result<Self, Vec<Fault>> {
        deep(|| Ok(Self::sorted(named(&parsed(text)?)?, text)))
    }

    /// Those of somebody who is not told whether they are valid.
    pub fn unvalidated(text: &str) -> Result<Self, Vec<Fault>> {
        if text.len() > MAX_TEXT {
            return Err(vec![Fault::plain(format!("policies may have {MAX_TEXT} bytes, not {}", text.len()))]);
        }
        bounded(text)?;
        Self::validated_before(text)
    }

    /// Parses and validates; every fault is told, in the order of the text. `declared`: whether there is a role or
    /// group of this name.
    pub fn new(vocabulary: &Vocabulary, declared: impl Fn(&str, &str) -> bool, text: &str) -> Result<Self, Vec<Fault>> {
        if text.len() > MAX_TEXT {
            return Err(vec![Fault::plain(format!("policies may have {MAX_TEXT} bytes, not {}", text.len()))]);
        }
        bounded(text)?;
        let named = named(&parsed(text)?)?;
        if let Some(template) = named.templates().next() {
            let message = format!("{}: templates (?principal, ?resource) have nobody who fills them in", template.id());
            return Err(vec![Fault::plain(message)]);
        }
        if named.num_of_policies() > MAX_POLICIES {
            let message = format!("a tenant may have {MAX_POLICIES} policies, not {}", named.num_of_policies());
            return Err(vec![Fault::plain(message)]);
        }
        let pairs: usize = named.policies().map(|policy| permissions_of(policy, vocabulary)).sum();
        if pairs > MAX_PAIRS {
            let message = format!(
                "the policies are about {pairs} permissions together, at most {MAX_PAIRS}: write `action == …` in more of them"
            );
            return Err(vec![Fault::plain(message)]);
        }
        let found = Validator::new(vocabulary.schema.clone()).validate(&named, ValidationMode::Strict);
        let mut faults: Vec<_> = found.validation_errors().map(|error| Fault::of(text, error)).collect();
        for policy in named.policies() {
            for entity in policy.entity_literals() {
                let (of, name) = (entity.type_name().to_string(), entity.id().unescaped().to_owned());
                if matches!(of.as_str(), "Role" | "Group") && !declared(&of, &name) {
                    let what = of.to_lowercase();
                    let message =
                        format!("policy {}: there is no {what} {name:?}: describe it under `{what}s`", policy.id());
                    faults.push(Fault::plain(message));
                }
            }
        }
        if !faults.is_empty() {
            faults.sort_by_key(|fault| fault.place);
            return Err(faults);
        }
        Ok(Self::sorted(named, text))
    }

    fn sorted(all: PolicySet, text: &str) -> Self {
        let mut sorted = Self { all, reads_time: may_read_time(text), ..Self::default() };
        let mut by_action: HashMap<Box<str>, Vec<_>> = HashMap::new();
        let mut general = Vec::new();
        for policy in sorted.all.policies() {
            if policy.effect() == Effect::Forbid {
                sorted.forbidding.insert(policy.id().clone());
            }
            match policy.action_constraint() {
                ActionConstraint::Any => general.push(policy.clone()),
                ActionConstraint::Eq(action) => by_action.entry(name_of(&action)).or_default().push(policy.clone()),
                ActionConstraint::In(actions) => {
                    let names: HashSet<_> = actions.iter().map(name_of).collect();
                    names.into_iter().for_each(|name| by_action.entry(name).or_default().push(policy.clone()));
                }
            }
        }
        let set = |policies: Vec<_>| PolicySet::from_policies(policies).unwrap_or_default();
        sorted.by_action = by_action
            .into_iter()
            .map(|(action, mut policies)| {
                policies.extend(general.iter().cloned());
                (action, set(policies))
            })
            .collect();
        sorted.general = set(general);
        sorted
    }

    /// Those that may apply to `action`.
    pub(crate) fn about(&self, action: &str) -> &PolicySet {
        self.by_action.get(action).unwrap_or(&self.general)
    }

    /// Whether what they say may depend on the time of the decision.
    pub const fn read_time(&self) -> bool {
        self.reads_time
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.num_of_policies()
    }

    /// Their names, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.all.policies().map(|policy| policy.id().to_string())
    }
}

/// Whether some policy may name `now`: as a word anywhere, or as one that is spelled with escapes.
fn may_read_time(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.contains('\\') || text.split(|c| !is_part(c)).any(|word| word == "now")
}

/// Refuses what would need more stack than there is, before anything recurses.
fn bounded(text: &str) -> Result<(), Vec<Fault>> {
    let (mut depth, mut length, mut quoted) = (0_usize, 0_usize, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        length = length.saturating_add(c.len_utf8());
        match c {
            '\\' if quoted => drop(characters.next()),
            '"' => quoted = !quoted,
            _ if quoted => {}
            // A comment ends with its line.
            '/' if characters.peek() == Some(&'/') => while characters.next_if(|c| *c != '\n').is_some() {},
            '(' | '[' | '{' => depth = depth.saturating_add(1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' => length = 0,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(vec![Fault::plain(format!(
                "brackets may be nested {MAX_DEPTH} deep; write flatter conditions"
            ))]);
        }
        if length > MAX_POLICY {
            return Err(vec![Fault::plain(format!("a policy may have {MAX_POLICY} bytes; write several"))]);
        }
    }
    Ok(())
}

/// Of threads that read policies, in bytes.
pub(crate) const STACK: usize = 64 * 1024 * 1024;

/// Runs `work` on a stack that is deep enough for policies of [`MAX_POLICY`].
fn deep<T: Send>(work: impl FnOnce() -> Result<T, Vec<Fault>> + Send) -> Result<T, Vec<Fault>> {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let failed = |what: &str| Err(vec![Fault::plain(what.to_owned())]);
        match spawned.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => failed("the policies cannot be read"),
            Err(_) => failed("there is no thread to read the policies"),
        }
    })
}

fn parsed(text: &str) -> Result<PolicySet, Vec<Fault>> {
    PolicySet::from_str(text).map_err(|errors| errors.iter().map(|error| Fault::of(text, error)).collect())
}

/// How many permissions a policy may be about.
fn permissions_of(policy: &cedar_policy::Policy, vocabulary: &Vocabulary) -> usize {
    match policy.action_constraint() {
        ActionConstraint::Any => vocabulary.own().count(),
        ActionConstraint::Eq(_) => 1,
        ActionConstraint::In(actions) => actions.len(),
    }
}

fn name_of(action: &cedar_policy::EntityUid) -> Box<str> {
    action.id().unescaped().into()
}

/// The policies under the names that their `@id` annotations give them: a refusal names the policy, and `policy3` says
/// nothing once another was put before it.
fn named(parsed: &PolicySet) -> Result<PolicySet, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut taken = HashSet::new();
    let mut named = Vec::new();
    for policy in parsed.policies() {
        let id = policy.annotation("id").map_or_else(|| policy.id().to_string(), str::to_owned);
        if !taken.insert(id.clone()) {
            faults.push(Fault::plain(format!("two policies have the name {id:?}")));
        }
        named.push(policy.new_id(PolicyId::new(id)));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut set = PolicySet::from_policies(named).map_err(|error| vec![Fault::plain(error.to_string())])?;
    for template in parsed.templates() {
        set.add_template(template.clone()).map_err(|error| vec![Fault::plain(error.to_string())])?;
    }
    Ok(set)
}
