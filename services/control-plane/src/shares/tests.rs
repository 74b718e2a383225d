use super::*;
use crate::authorization::Lane;

pub(crate) fn limits() -> Limits {
    crate::Config::from_toml(include_str!("../../signet.sample.toml"), std::path::Path::new("/")).unwrap().limits
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn fill(account: &Arc<Account>, budget: Budget) -> (Vec<Place>, Full) {
    let mut places = Vec::new();
    loop {
        match account.take(budget, 1, Lane::Ordinary) {
            Ok(place) => places.push(place),
            Err(full) => return (places, full),
        }
    }
}

#[test]
fn a_principal_and_a_tenant_take_their_share_and_the_operator_finds_room() {
    let shares = Shares::new(&limits());
    let of = |tenant: &str, principal: &str| shares.account(&id(tenant), &id(principal));
    for (budget, limit) in [(Budget::Calls, 1024), (Budget::Streams, 1024)] {
        let (one, full) = fill(&of("acme", "w-1"), budget);
        assert_eq!((one.len(), full), (limit / 8, Full { whose: Whose::Principal, budget, limit: limit / 8 }));
        // On another connection the account is the same one.
        assert!(of("acme", "w-1").take(budget, 1, Lane::Ordinary).is_err());
        let others: Vec<_> = (2..9).map(|n| fill(&of("acme", &format!("w-{n}")), budget)).collect();
        assert_eq!(others[2].0.len(), limit / 8);
        assert_eq!(others[3].1, Full { whose: Whose::Tenant, budget, limit: limit / 2 });
        // Who comes later gets half of what is left, and the next one something still.
        let mut later = Vec::new();
        for (tenant, gets) in [("globex", 256), ("initech", 128), ("hooli", 64), ("umbrella", 32)] {
            let before = later.len();
            (0..3).for_each(|n| later.extend(fill(&of(tenant, &format!("w-{n}")), budget).0));
            assert_eq!(later.len() - before, gets, "{tenant}");
        }
        for n in 0..6 {
            later.extend(fill(&of(&format!("small-{n}"), "w-1"), budget).0);
        }
        // Nobody's share is used up, but the node is.
        let (none, full) = fill(&of("last", "w-1"), budget);
        assert_eq!((none.len(), full), (0, Full { whose: Whose::Node, budget, limit }));
        // Suspending and revoking find room, and the operator beyond that, even so.
        let urgent: Vec<_> = (0..200).map_while(|_| of("acme", "w-1").take(budget, 1, Lane::Urgent).ok()).collect();
        assert_eq!(urgent.len(), limit / 8);
        let (operator, full) = fill(&of("system", "root-admin"), budget);
        assert_eq!((operator.len(), full.whose), (limit / 8, Whose::Principal));
        assert!(of("system", "root-admin").take(budget, 1, Lane::Urgent).is_ok(), "it may still suspend");
        drop((one, others, later, urgent, operator));
        for tenant in ["acme", "last"] {
            assert_eq!(fill(&of(tenant, "w-1"), budget).0.len(), limit / 8, "what was taken, or nearly, came back");
        }
    }
}

/// A process that lets its answers hang, or a thief, must not keep the holder from its next certificate.
#[test]
fn who_has_taken_its_share_finds_places_for_renewals() {
    let shares = Shares::new(&limits());
    let worker = shares.account(&id("acme"), &id("w-1"));
    let (_taken, full) = fill(&worker, Budget::Calls);
    assert_eq!(full.whose, Whose::Principal);
    let renewals: Vec<_> = (0..100).map_while(|_| worker.take(Budget::Calls, 1, Lane::Renewal).ok()).collect();
    assert_eq!(renewals.len(), 16);
    assert!(worker.take(Budget::Calls, 1, Lane::Ordinary).is_err());
}

#[test]
fn a_rate_is_a_principals_and_a_tenants_and_never_the_operators() {
    let shares = Shares::new(&limits());
    let spent = |account: &Arc<Account>, weight: u32| {
        let weight = NonZeroU32::new(weight).unwrap();
        (0..100_000).take_while(|_| account.spend(weight, Lane::Ordinary).is_ok()).count()
    };
    let worker = shares.account(&id("acme"), &id("w-1"));
    let burst = limits().calls_per_second_per_principal as usize * 10;
    // The clock is the real one: a little comes back meanwhile.
    let first = spent(&worker, 1);
    assert!((burst..burst * 2).contains(&first), "{first}");
    let refused = worker.spend(NonZeroU32::new(16).unwrap(), Lane::Ordinary).unwrap_err();
    assert_eq!(refused, TooMany { whose: Whose::Principal, per_second: limits().calls_per_second_per_principal });
    let lists = spent(&shares.account(&id("acme"), &id("w-2")), 8);
    assert!((burst / 8..burst / 4).contains(&lists), "{lists}");
    assert_eq!(spent(&shares.account(&id("system"), &id("root-admin")), 1), 100_000);
    let tenant = (0..1000).find_map(|n| {
        let account = shares.account(&id("globex"), &id(&format!("w-{n}")));
        (0..burst).find_map(|_| account.spend(NonZeroU32::MIN, Lane::Ordinary).err())
    });
    assert_eq!(tenant.unwrap().whose, Whose::Tenant);
}

#[test]
fn who_has_spent_its_rate_still_renews_and_revokes() {
    let shares = Shares::new(&limits());
    let spent = |lane| {
        let account = shares.account(&id("acme"), &id("w-1"));
        (0..100_000).take_while(|_| account.spend(NonZeroU32::MIN, lane).is_ok()).count()
    };
    let burst = limits().calls_per_second_per_principal as usize * 10;
    spent(Lane::Ordinary);
    // The clock is the real one: a little comes back meanwhile, of the ordinary rate too.
    let renewals = spent(Lane::Renewal);
    assert!((burst / 10..burst).contains(&renewals), "{renewals}");
    let urgent = spent(Lane::Urgent);
    assert!((burst * 10..100_000).contains(&urgent), "revoking is faster, and not without end: {urgent}");
}

#[test]
fn the_heaviest_call_fits_into_the_least_rate() {
    let shares = Shares::new(&Limits { calls_per_second_per_principal: 1, ..limits() });
    let worker = shares.account(&id("acme"), &id("w-1"));
    assert!(worker.spend(NonZeroU32::new(16).unwrap(), Lane::Ordinary).is_ok());
    assert!(worker.spend(NonZeroU32::new(16).unwrap(), Lane::Ordinary).is_err());
}

#[test]
fn accounts_are_forgotten_once_they_hold_nothing() {
    let shares = Shares::new(&limits());
    let quiet = shares.account(&id("acme"), &id("quiet"));
    drop(shares.account(&id("globex"), &id("gone")));
    let spender = shares.account(&id("initech"), &id("spender"));
    spender.spend(NonZeroU32::new(50).unwrap(), Lane::Renewal).unwrap();
    drop(spender);
    shares.forget_idle(Uptime::from_millis(0));
    shares.forget_idle(Uptime::from_millis(0));
    // Who is asked about loses nothing by it.
    let spender = shares.account(&id("initech"), &id("spender"));
    spender.spend(NonZeroU32::new(900).unwrap(), Lane::Ordinary).unwrap();
    drop(spender);
    shares.forget_idle(Uptime::from_millis(0));
    let mut known: Vec<String> = shares.tenants().keys().map(ToString::to_string).collect();
    known.sort();
    assert_eq!(known, ["acme", "initech"], "who is connected, and who would get a new bucket by coming back");
    drop(quiet);
}

#[test]
fn refused_calls_get_some_log_lines_and_the_next_one_tells_how_many_did_not() {
    let shares = Shares::new(&limits());
    let worker = shares.account(&id("acme"), &id("w-1"));
    let lines: Vec<_> = (0..1000).filter_map(|_| worker.line()).collect();
    assert!((10..20).contains(&lines.len()) && lines.iter().take(10).all(|left_out| *left_out == 0), "{lines:?}");
}

#[test]
fn failures_are_kept_without_a_connection_while_they_matter_and_of_so_many() {
    let kept_after = |millis| {
        let shares = Shares::new(&limits());
        for number in 0..FAILING + 10 {
            let account = shares.account(&id("acme"), &id(&format!("w-{number}")));
            account.failures.add(Uptime::from_millis(0), signet_core::tenants::FailureLimit::default());
        }
        shares.forget_idle(Uptime::from_millis(millis));
        shares.tenants().get(&id::<TenantId>("acme")).map_or(0, |tenant| tenant.accounts.len())
    };
    assert_eq!((kept_after(3_600_000), kept_after(3_600_001)), (FAILING, 0));
}
