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

/// Policies that were validated against their vocabulary.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub(crate) all: PolicySet,
    /// Those that may apply to an action; an action that is missing has those in `general` only.
    by_action: HashMap<Box<str>, PolicySet>,
    general: PolicySet,
    /// Of policies that forbid.
    pub(crate) forbidding: HashSet<PolicyId>,
}

impl Policies {
    /// Parses and validates; every fault is told, in the order of the text.
    pub fn new(vocabulary: &Vocabulary, text: &str) -> Result<Self, Vec<Fault>> {
        if text.len() > MAX_TEXT {
            return Err(vec![Fault::plain(format!("policies may have {MAX_TEXT} bytes, not {}", text.len()))]);
        }
        let parsed = PolicySet::from_str(text)
            .map_err(|errors| errors.iter().map(|e| Fault::of(text, e)).collect::<Vec<_>>())?;
        let named = named(&parsed)?;
        if let Some(template) = named.templates().next() {
            let message = format!("{}: templates (?principal, ?resource) have nobody who fills them in", template.id());
            return Err(vec![Fault::plain(message)]);
        }
        if named.num_of_policies() > MAX_POLICIES {
            let message = format!("a tenant may have {MAX_POLICIES} policies, not {}", named.num_of_policies());
            return Err(vec![Fault::plain(message)]);
        }
        let found = Validator::new(vocabulary.schema.clone()).validate(&named, ValidationMode::Strict);
        let mut faults: Vec<_> = found.validation_errors().map(|error| Fault::of(text, error)).collect();
        if !faults.is_empty() {
            faults.sort_by_key(|fault| fault.place);
            return Err(faults);
        }
        Ok(Self::sorted(named))
    }

    fn sorted(all: PolicySet) -> Self {
        let mut sorted = Self { all, ..Self::default() };
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
