//! Broker tokens: for the caller, with those topics that the default profile and the tenant's rules give it.

use signet_app::tokens::claims::{BROKER_TOKEN, BrokerToken, acl, token_id};
use signet_core::{
    Error, Identity, Time,
    brokers::{
        BROKER_AUDIENCE, BrokerTopics, FilterFault, FilterProblem, MOST_FILTER_BYTES, MOST_FILTERS, TopicUse,
        default_rules,
    },
    tokens::TokenUse,
};
use signet_policy::{Context, Rulebook, Subject, Target};

use super::mint::{Holder, book, key};
use crate::{node::Node, services::caller::Caller};

/// Longest suffix of a client id.
const MAX_SUFFIX: usize = 64;

/// What a caller wants.
pub(super) struct Wanted {
    /// Nothing in it: all that it may.
    pub(super) topics: BrokerTopics,
    /// Empty: any.
    pub(super) client_id_suffix: String,
    /// 0: an hour.
    pub(super) lifetime_seconds: u32,
}

/// A token and what it is good for.
pub(super) struct Made {
    pub(super) token: String,
    pub(super) client_id: String,
    pub(super) topics: BrokerTopics,
    pub(super) until: Time,
}

/// A broker token for the caller: what it may of what it wants.
pub(super) async fn broker_token(node: &Node, caller: &Caller, wanted: &Wanted) -> Result<Made, Error> {
    let (now, suffix) = (caller.call.now, &wanted.client_id_suffix);
    if suffix.len() > MAX_SUFFIX || suffix.contains(|c: char| !c.is_ascii_alphanumeric() && !".-_".contains(c)) {
        let message = format!("must have at most {MAX_SUFFIX} letters, digits, `.`, `_` and `-`");
        return Err(Error::invalid("client_id_suffix", "INVALID_ID", message));
    }
    let holder = Holder::of(node, caller)?;
    let Identity { tenant, principal, not_after, .. } = &*holder.identity;
    let until = node.issuer.expiry(TokenUse::BrokerToken, wanted.lifetime_seconds, *not_after, now)?;
    let topics = topics(node, caller, &holder, &wanted.topics).await?;
    let own = format!("{tenant}/{principal}");
    let client_id = Some(suffix).filter(|suffix| !suffix.is_empty()).map(|suffix| format!("{own}:{suffix}"));
    let claims = BrokerToken {
        iss: node.issuer.of_broker_tokens(tenant)?,
        sub: holder.spiffe_id(node),
        aud: BROKER_AUDIENCE.to_owned(),
        client_id: client_id.clone(),
        iat: now.unix_seconds(),
        exp: until.unix_seconds(),
        jti: token_id(&*node.entropy, now),
        roles: holder.roles.to_vec(),
        certificate: holder.certificate(),
        acl: acl(&topics),
        publ: topics.publish.clone(),
        subs: topics.subscribe.clone(),
    };
    let token = key(node, tenant, TokenUse::BrokerToken, now).await?.sign(BROKER_TOKEN, &claims);
    let until = Time::from_unix_seconds(claims.exp);
    Ok(Made { token: token.map_err(Error::internal)?, client_id: client_id.unwrap_or(own), topics, until })
}

/// By the tenant's grants and policies, as they are at this moment.
async fn topics(node: &Node, caller: &Caller, holder: &Holder, wanted: &BrokerTopics) -> Result<BrokerTopics, Error> {
    let Identity { tenant, principal_type, principal: id, .. } = &*holder.identity;
    let book = book(node, tenant)?;
    let groups = holder.groups(node, caller, book.as_deref()).await?;
    let subject = Subject { tenant, principal_type: *principal_type, id, roles: &holder.roles, groups: &groups };
    let context = Context { now: caller.call.now, source: caller.call.source, method: None, path: None, host: None };
    let has = |book: &Rulebook, permission: &String| {
        book.permissions().any(|known| known == permission)
            && book.decide(&subject, permission, &Target::Tenant(tenant), &context, false).allowed
    };
    let rules = default_rules();
    let granted = rules.permissions.iter().map(|permission| book.as_ref().is_some_and(|book| has(book, permission)));
    let rights = rules.rights(*principal_type, &granted.collect::<Vec<_>>());
    if rights.is_nothing() {
        let message = format!("{id} has no topics: an admin grants {}", rules.permissions.join(" or "));
        return Err(Error::invalid(field(TopicUse::Publish), "TOPIC_NOT_GRANTED", message));
    }
    rules.narrowed(rights, (tenant.as_str(), id.as_str()), wanted).map_err(|fault| refused(id.as_str(), &fault))
}

fn refused(id: &str, FilterFault { how, filter, problem }: &FilterFault) -> Error {
    let use_it = match how {
        TopicUse::Publish => "publish to",
        TopicUse::Subscribe => "subscribe to",
    };
    let (reason, message) = match problem {
        FilterProblem::Malformed(problem) => ("INVALID_TOPIC_FILTER", format!("{filter:?} {problem}")),
        FilterProblem::NotGranted => {
            ("TOPIC_NOT_GRANTED", format!("{id} may not {use_it} all topics that {filter:?} matches"))
        }
        FilterProblem::TooMany => {
            let room = format!("{MOST_FILTERS} filters and {MOST_FILTER_BYTES} bytes of them");
            ("OUT_OF_RANGE", format!("a token has room for {room}: there is none for {filter:?}"))
        }
    };
    Error::invalid(field(*how), reason, message)
}

const fn field(how: TopicUse) -> &'static str {
    match how {
        TopicUse::Publish => "publish",
        TopicUse::Subscribe => "subscribe",
    }
}
