//! What programs that trust a tenant's files do with who comes to them. The table is part of
//! `services/agent/relying-parties/README.md`; `UPDATE_GOLDEN=1` writes it anew. `./scripts/demo relying-parties` shows
//! how it comes about.

mod client;
mod page;
pub(crate) mod programs;
#[path = "../../../relying-parties/server.rs"]
mod server;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use secrecy::SecretString;
use signet_agent::report::IdentityReport;
use signet_client::{Identity, system_clock};
use signet_core::{KeyManager as _, Lifetime, PrincipalType as Type, Serial, spiffe::SpiffeId};
use signet_proto::v1::PrincipalType;
use signet_softkey::SoftKeys;
use signet_x509::{Csr, Environment, IssuerCert, KeyPair, LeafProfile, csr, issue, pem};

use self::{
    client::{Session, Visitor},
    page::Table,
    programs::Program,
};
use crate::world::{World, eventually, run};

/// How one visit ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Refused,
    /// Neither: nobody listens, or it is another answer.
    Other(String),
}

impl Outcome {
    fn of(visit: Result<bool, String>) -> Self {
        match visit {
            Ok(_) => Self::Accepted,
            // nginx ends the handshake and says it in HTTP.
            Err(error) if error.starts_with("HTTP/1.1 400") => Self::Refused,
            Err(error) if ["handshake: ", "write: ", "read: "].iter().any(|at| error.starts_with(at)) => Self::Refused,
            Err(error) => Self::Other(error),
        }
    }

    fn cell(self) -> String {
        match self {
            Self::Accepted => "accepted".into(),
            Self::Refused => "refused".into(),
            Self::Other(words) => words,
        }
    }
}

/// What comes of `visitor` at a program that may not know the newest files yet: `expected`, or what it is 15 s later.
async fn settled(program: &Program, visitor: &Visitor, expected: Outcome) -> Outcome {
    let started = Instant::now();
    loop {
        let visit = visitor.visit(program.speaks, program.port).await;
        let found = Outcome::of(visit.clone());
        // Workers of before a reload still take connections.
        if found == expected && program.has_one_worker() {
            return found;
        }
        if started.elapsed() > Duration::from_secs(15) {
            // For whoever looks for the reason.
            let log = fs::read_to_string(&program.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(5).collect();
            let text = format!("{}: {visit:?}: {lines:#?}\n", program.name);
            io::stderr().write_all(text.as_bytes()).unwrap();
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn all_settled(programs: &[Program], visitor: &Visitor, expected: Outcome) -> Vec<Outcome> {
    join_all(programs.iter().map(|program| settled(program, visitor, expected.clone()))).await
}

fn cells(outcomes: Vec<Outcome>) -> Vec<String> {
    outcomes.into_iter().map(Outcome::cell).collect()
}

/// Of those who must be refused.
fn refusals(outcomes: Vec<Outcome>) -> Vec<String> {
    let cell = |one: Outcome| if one == Outcome::Accepted { "**accepted**".into() } else { one.cell() };
    outcomes.into_iter().map(cell).collect()
}

/// A visit of each to its program.
async fn again(programs: &[Program], sessions: &[Session]) -> Vec<Result<bool, String>> {
    join_all(programs.iter().zip(sessions).map(|(program, session)| session.visit(program.speaks, program.port))).await
}

/// Each with a session at its program.
async fn with_tickets(programs: &[Program], visitor: &Visitor) -> Vec<Session> {
    let sessions: Vec<_> = programs.iter().map(|_| visitor.session()).collect();
    assert!(again(programs, &sessions).await.iter().all(Result::is_ok));
    sessions
}

fn anchors(world: &World) -> Vec<Vec<u8>> {
    pem::decode_certificates(&fs::read_to_string(world.path("web/bundle.pem")).unwrap()).unwrap()
}

/// The worker `app-1` of `acme`, with a certificate from the key of `ca` that the control plane knows nothing of.
/// `holder`: somebody whom that CA certified.
async fn past_the_control_plane(world: &World, holder: &Identity, ca: &str, lifetime: Lifetime) -> Visitor {
    let keys = SoftKeys::open(&world.path("keys"), SecretString::from("correct horse battery staple")).unwrap();
    let signer = keys.open(&format!("soft:{ca}").parse().unwrap()).await.unwrap();
    let issuer = holder.with_credentials(|own| own.chain_der()[1].clone());
    let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
    let principal = "app-1".parse().unwrap();
    let id = SpiffeId { tenant: "acme".parse().unwrap(), principal_type: Type::Worker, principal };
    let profile = LeafProfile::new(&environment, id, Vec::new()).unwrap();
    let key = KeyPair::generate().unwrap();
    let request = Csr::parse(&csr::create(&key).unwrap()).unwrap();
    let (certified, now) = (IssuerCert::from_der(&issuer).unwrap(), (system_clock())());
    let prepared =
        issue::prepare_leaf(&profile, &request, &certified, Serial::new(now, [7; 10]), lifetime, now).unwrap();
    let signature = signer.sign(prepared.tbs_der()).await.unwrap();
    let leaf = prepared.finish(&signature).unwrap().certificate_der;
    Visitor::new(&[leaf, issuer], key.pkcs8_der().as_slice(), &anchors(world))
}

/// Looks at the agent's list all the time: there is no moment in which a program would find a bad one.
struct Watcher {
    /// Somebody else writes.
    paused: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Watcher {
    fn start(folder: PathBuf) -> Self {
        let (paused, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (pause, end) = (Arc::clone(&paused), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while !end.load(SeqCst) {
                let found = good_lists(&folder);
                // What began before the pause may have seen what came after.
                if !pause.load(SeqCst) {
                    found.unwrap();
                    looks += 1;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            looks
        });
        Self { paused, ended, thread }
    }

    fn end(self) {
        self.ended.store(true, SeqCst);
        assert!(self.thread.join().unwrap() > 100);
    }
}

fn good_lists(folder: &Path) -> Result<(), String> {
    let text = fs::read(folder.join("crl.pem")).map_err(|error| error.to_string())?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::pem_file_iter(folder.join("bundle.pem")).unwrap().next().unwrap().unwrap();
    roots.add(anchor).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    if lists.is_empty() {
        return Err("no list".into());
    }
    verifier.with_crls(lists).build().map(|_| ()).map_err(|error| error.to_string())
}

/// The service web-1 with every form of its files, for all programs.
fn identity(world: &World, token: &Path, envoy: &str) -> String {
    let dir = world.dir.path().display();
    let key = if nix::unistd::Uid::effective().is_root() {
        "mode = \"0640\", group = \"postgres\""
    } else {
        "mode = \"0600\""
    };
    format!(
        "[workload_api]\nsocket = \"workload.sock\"\n\
         [[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"{}\" }}\n\
         pem = {{ directory = \"web\", crl = true, key = {{ {key} }} }}\ncombined = {{ file = \"web.pem\" }}\n\
         exec = {{ command = [\"/bin/sh\", \"-e\", \"{dir}/reload.sh\"] }}\n\
         workloads = [{{ uid = \"{}\", executable = \"{envoy}\" }}]\n",
        token.display(),
        nix::unistd::getuid()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_page_shows_what_relying_parties_do() {
    let world = World::new().await;
    world.tenant("globex").await;
    let mut programs = programs::all(&world).await;
    let reload: Vec<_> = programs.iter().map(|program| program.reload.as_str()).collect();
    fs::write(world.path("reload.sh"), reload.join("\n") + "\n").unwrap();
    let token = world.token(PrincipalType::Service, "web-1").await;
    let (agent, mut reports) = world.agent(&identity(&world, &token, &programs::envoy_path().await)).await;
    // Nothing is told before the lists are there.
    reports.until("it is told", IdentityReport::is_well).await;
    let watcher = Watcher::start(world.path("web"));
    programs.iter_mut().for_each(Program::start);

    let one = world.enrolled("acme", PrincipalType::Worker, "app-1").await;
    let other = world.enrolled("acme", PrincipalType::Worker, "app-2").await;
    let foreign = world.enrolled("globex", PrincipalType::Worker, "app-1").await;
    let trusted = anchors(&world);
    let expired = past_the_control_plane(&world, &one, "acme.1", Lifetime::seconds(1)).await;
    let forged = past_the_control_plane(&world, &foreign, "globex.1", Lifetime::hours(1)).await;
    let [good, gone, stranger] = [&one, &other, &foreign].map(|identity| Visitor::of(identity, &trusted));

    let mut table = Table::new(&programs);
    table.add("good", cells(all_settled(&programs, &good, Outcome::Accepted).await));
    let sessions = with_tickets(&programs, &good).await;
    let resumed = again(&programs, &sessions).await;
    let resumes = |visit: &Result<bool, String>| if *visit == Ok(true) { "yes" } else { "no" }.to_owned();
    table.add("resumes sessions", resumed.iter().map(resumes).collect());
    for (case, visitor) in
        [("another tenant's", &stranger), ("forged by another tenant's CA", &forged), ("expired", &expired)]
    {
        table.add(case, refusals(all_settled(&programs, visitor, Outcome::Refused).await));
    }

    let tickets = with_tickets(&programs, &gone).await;
    world.revoke_leaf(&other).await;
    table.add("revoked", refusals(all_settled(&programs, &gone, Outcome::Refused).await));
    let resumed = again(&programs, &tickets).await;
    table.add("revoked, resumes", refusals(resumed.into_iter().map(Outcome::of).collect()));

    // Somebody else spoils the file.
    watcher.paused.store(true, SeqCst);
    let before: Vec<_> = programs.iter().map(Program::complains).collect();
    fs::write(world.path("web/crl.pem"), "no list\n").unwrap();
    // nginx' own command refuses it, and so ends with an error.
    run("/bin/sh", &[&world.path("reload.sh").display().to_string()]).await;
    for (program, before) in programs.iter().zip(before).filter(|(program, _)| !program.complaint.is_empty()) {
        eventually(&format!("{} complains", program.name), || program.complains() > before).await;
    }
    let (good_then, gone_then) = (all_once(&programs, &good).await, all_once(&programs, &gone).await);
    let then = programs.iter().zip(good_then.into_iter().zip(gone_then));
    table.add("bad list file", then.map(|(program, (good, gone))| spoilt(program, good, gone)).collect());
    // The agent puts a good one in its place when it looks next.
    reports.renew(&agent, "web").await;
    good_lists(&world.path("web")).unwrap();
    watcher.paused.store(false, SeqCst);
    assert!(all_settled(&programs, &good, Outcome::Accepted).await.iter().all(|one| *one == Outcome::Accepted));
    assert!(all_settled(&programs, &gone, Outcome::Refused).await.iter().all(|one| *one == Outcome::Refused));

    world.prepare_ca().await;
    let count = |file: &str| fs::read_to_string(world.path(file)).unwrap().matches("-----BEGIN").count();
    eventually("both CAs are known", || count("web/bundle.pem") == 2 && count("web/crl.pem") == 2).await;
    world.activate_ca().await;
    let next = world.enrolled("acme", PrincipalType::Worker, "app-3").await;
    let trusted = anchors(&world);
    let (good, late) = (Visitor::of(&one, &trusted), Visitor::of(&next, &trusted));
    reports.renew(&agent, "web").await;
    table.add("next CA's", cells(all_settled(&programs, &late, Outcome::Accepted).await));
    table.add("previous CA's", cells(all_settled(&programs, &good, Outcome::Accepted).await));
    for visitor in [&stranger, &gone] {
        assert!(all_settled(&programs, visitor, Outcome::Refused).await.iter().all(|one| *one == Outcome::Refused));
    }
    // A CA that leaves the bundle takes its list along.
    world.retire_ca().await;
    eventually("one CA is known", || count("web/bundle.pem") == 1 && count("web/crl.pem") == 1).await;
    table.add("retired CA's", refusals(all_settled(&programs, &good, Outcome::Refused).await));
    assert!(all_settled(&programs, &late, Outcome::Accepted).await.iter().all(|one| *one == Outcome::Accepted));

    watcher.end();
    drop(programs);
    agent.stop().await;
    table.compare();
}

/// The first answer: one that starts again does not listen yet.
async fn first_answer(program: &Program, visitor: &Visitor) -> Outcome {
    let started = Instant::now();
    loop {
        let visit = visitor.visit(program.speaks, program.port).await;
        let is_there = visit.as_ref().err().is_none_or(|error| !error.starts_with("connect: "));
        if is_there || started.elapsed() > Duration::from_secs(10) {
            return Outcome::of(visit);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn all_once(programs: &[Program], visitor: &Visitor) -> Vec<Outcome> {
    join_all(programs.iter().map(|program| first_answer(program, visitor))).await
}

/// What a program does with a list file that is none.
fn spoilt(program: &Program, good: Outcome, gone: Outcome) -> String {
    match (good, gone) {
        _ if program.name.starts_with("Envoy") => "has no file".into(),
        (Outcome::Accepted, Outcome::Refused) => "the last one counts".into(),
        (Outcome::Accepted, Outcome::Accepted) => "**accepts the revoked**".into(),
        (Outcome::Refused, Outcome::Refused) => "refuses everybody".into(),
        (good, gone) => format!("{good:?}, {gone:?}"),
    }
}
