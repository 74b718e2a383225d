//! What this node was asked by Check and BatchCheck since it started: a sample, in memory, that shows an admin what new
//! rules would change. Bounded: who asks much pushes out its own questions only.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use signet_core::{PrincipalId, PrincipalType, TenantId, Time};
use signet_policy::Context;
use signet_proto::v1::CheckResource;

/// Most different questions that are remembered of a tenant.
const PER_TENANT: usize = 500;
/// Longest that is remembered, and all together, in bytes of text.
const LONGEST: usize = 2 * 1024;
const ALL_TOGETHER: usize = 16 * 1024 * 1024;
/// What one takes beside its texts, about.
const OVERHEAD: usize = 256;

/// Who would do what to what, in which circumstances; without the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) principal_type: PrincipalType,
    pub(crate) principal: PrincipalId,
    pub(crate) action: String,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) host: Option<String>,
}

impl Question {
    pub(crate) fn new(
        (principal_type, principal): (PrincipalType, &PrincipalId),
        action: &str,
        resource: &CheckResource,
        context: &Context<'_>,
    ) -> Self {
        let mut tags: Vec<_> = resource.properties.clone().into_iter().collect();
        tags.sort_unstable();
        Self {
            principal_type,
            principal: principal.clone(),
            action: action.to_owned(),
            kind: resource.r#type.clone(),
            id: resource.id.clone(),
            owner: resource.owner.clone(),
            tags,
            source: context.source,
            method: context.method.map(str::to_owned),
            path: context.path.map(str::to_owned),
            host: context.host.map(str::to_owned),
        }
    }

    fn size(&self) -> usize {
        let texts = [self.principal.as_str(), &self.action, &self.kind, &self.id, &self.owner].into_iter();
        let tags = self.tags.iter().flat_map(|(name, value)| [&**name, &**value]);
        let context = [&self.method, &self.path, &self.host].into_iter().flatten().map(String::as_str);
        texts.chain(tags).chain(context).map(str::len).fold(OVERHEAD, usize::saturating_add)
    }
}

/// See the module's words.
#[derive(Default)]
pub(crate) struct Asked(Mutex<All>);

#[derive(Default)]
struct All {
    of: HashMap<TenantId, Of>,
    bytes: usize,
}

/// A tenant's questions, each with the time when it was asked last.
#[derive(Default)]
struct Of {
    asked: HashMap<Question, Time>,
    bytes: usize,
}

impl Asked {
    /// Remembers a question. Where others are at it, it is left out: nobody waits for a sample.
    pub(crate) fn note(&self, tenant: &TenantId, now: Time, question: impl FnOnce() -> Question) {
        if let Ok(mut all) = self.0.try_lock() {
            all.note(tenant, now, question());
        }
    }

    /// A tenant's, the latest first.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<(Question, Time)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = all.of.get(tenant).into_iter().flat_map(|of| &of.asked);
        let mut asked: Vec<_> = asked.map(|(question, at)| (question.clone(), *at)).collect();
        asked.sort_by(|(_, a), (_, b)| b.cmp(a));
        asked
    }
}

impl All {
    fn note(&mut self, tenant: &TenantId, now: Time, question: Question) {
        let size = question.size();
        if size > LONGEST {
            return;
        }
        let of = self.of.entry(tenant.clone()).or_default();
        if of.asked.insert(question, now).is_some() {
            return;
        }
        of.bytes = of.bytes.saturating_add(size);
        self.bytes = self.bytes.saturating_add(size);
        if of.asked.len() > PER_TENANT {
            self.bytes = self.bytes.saturating_sub(of.forget_one());
        }
        // Whoever has most gives way.
        while self.bytes > ALL_TOGETHER
            && let Some(most) = self.of.values_mut().max_by_key(|of| of.bytes)
        {
            self.bytes = self.bytes.saturating_sub(most.forget_one().max(1));
        }
    }
}

impl Of {
    /// Forgets the oldest of the principal with the most; returns its size.
    fn forget_one(&mut self) -> usize {
        let mut counts: HashMap<&PrincipalId, usize> = HashMap::new();
        for question in self.asked.keys() {
            let count = counts.entry(&question.principal).or_default();
            *count = count.saturating_add(1);
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(principal, _)| principal);
        let of_most = self.asked.iter().filter(|(question, _)| Some(&question.principal) == most);
        let Some(oldest) = of_most.min_by_key(|(_, at)| **at).map(|(question, _)| question.clone()) else { return 0 };
        self.asked.remove(&oldest);
        let size = oldest.size();
        self.bytes = self.bytes.saturating_sub(size);
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(principal: &str, id: String) -> Question {
        let resource = CheckResource { r#type: "queue".into(), id, ..Default::default() };
        let context = Context::at(Time::from_unix_seconds(0));
        Question::new((PrincipalType::Worker, &principal.parse().unwrap()), "jobs:submit", &resource, &context)
    }

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    #[test]
    fn who_asks_much_pushes_out_its_own_questions_only() {
        let asked = Asked::default();
        let acme = tenant("acme");
        asked.note(&acme, Time::from_unix_seconds(0), || question("quiet", "default".into()));
        for number in 1..2_000 {
            asked.note(&acme, Time::from_unix_seconds(number), || question("loud", number.to_string()));
        }
        let found = asked.of(&acme);
        assert_eq!(found.len(), PER_TENANT);
        assert_eq!(found.first().unwrap().0.id, "1999", "the latest first");
        assert_eq!(found.last().unwrap().0.principal.as_str(), "quiet");
        // The same once more is one question.
        asked.note(&acme, Time::from_unix_seconds(3_000), || question("quiet", "default".into()));
        let found = asked.of(&acme);
        assert_eq!((found.len(), found.first().unwrap().0.principal.as_str()), (PER_TENANT, "quiet"));
    }

    #[test]
    fn many_tenants_with_long_questions_stay_within_bounds_and_the_small_one_keeps_its_own() {
        let asked = Asked::default();
        let small = tenant("small");
        asked.note(&small, Time::from_unix_seconds(0), || question("w", "default".into()));
        for number in 0..40 {
            for id in 0..i64::try_from(PER_TENANT).unwrap() {
                let long = || question("w", format!("{id}{}", "x".repeat(1_500)));
                asked.note(&tenant(&format!("tenant-{number}")), Time::from_unix_seconds(id), long);
            }
        }
        asked.note(&small, Time::from_unix_seconds(1), || question("w", "x".repeat(LONGEST)));
        let all = asked.0.lock().unwrap();
        assert!(all.bytes <= ALL_TOGETHER, "{}", all.bytes);
        assert_eq!(all.bytes, all.of.values().map(|of| of.bytes).sum::<usize>());
        let sizes = |of: &Of| of.asked.keys().map(Question::size).sum::<usize>();
        assert_eq!(all.bytes, all.of.values().map(sizes).sum::<usize>());
        assert_eq!(all.of[&small].asked.len(), 1, "the short one is there, the one that is too long is not");
    }
}
