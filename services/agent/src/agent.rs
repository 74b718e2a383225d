//! All identities of a configuration, and what shows how they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sd_notify::NotifyState;
use signet_client::IdentitySettings;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, IdentityConfig},
    control,
    instance::Instance,
    lock::Lock,
    metrics,
    report::{IdentityReport, Report},
    socket::{self, Place},
    workload_api::{self, Offers},
};

/// Time for commands under way when the agent ends.
const LAST_MOMENT: Duration = Duration::from_secs(20);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    report: watch::Sender<Report>,
    instances: BTreeMap<String, Running>,
    /// Told to stop; not ended yet.
    ending: Vec<Running>,
    hurries: Hurries,
    offers: Offers,
    helpers: Vec<JoinHandle<()>>,
    sockets: Vec<Place>,
    _lock: Lock,
}

#[derive(Debug)]
struct Running {
    config: IdentityConfig,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// By identity: whom to tell to renew now.
type Hurries = Arc<Mutex<BTreeMap<String, Arc<Notify>>>>;

impl Agent {
    /// Takes the lock, opens the listeners and starts with every identity. The error says what to do.
    pub async fn start(config: Config) -> Result<Self, String> {
        let lock = Lock::take(&config.state_dir)?;
        let report = watch::channel(Report {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            identities: Vec::new(),
        });
        let hurries = Hurries::default();
        let renew = {
            let hurries = Arc::clone(&hurries);
            Arc::new(move |name: &str| locked(&hurries).get(name).map(|hurry| hurry.notify_one()).is_some())
        };
        // For this user and its group.
        let (listener, place) = socket::open(&config.socket, 0o660)?;
        let mut sockets = vec![place];
        let mut helpers = vec![tokio::spawn(control::serve(listener, report.1.clone(), renew))];
        if let Some(address) = config.metrics {
            helpers.push(tokio::spawn(metrics::serve(address, report.1.clone())));
        }
        let offers = Offers::default();
        if let Some(api) = &config.workload_api {
            // For everybody: who connects is asked for by the rules.
            let opened = socket::open(&api.socket, 0o666);
            let (listener, place) = opened.inspect_err(|_| sockets.iter().for_each(Place::leave))?;
            sockets.push(place);
            helpers.push(tokio::spawn(workload_api::serve(listener, offers.clone())));
        }
        helpers.push(tokio::spawn(tell_systemd(report.1)));
        let instances = BTreeMap::new();
        let ending = Vec::new();
        let report = report.0;
        let mut agent = Self { config, report, instances, ending, hurries, offers, helpers, sockets, _lock: lock };
        agent.reconcile();
        Ok(agent)
    }

    /// How everything is, now and from now on.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Asks an identity to renew now; false if there is none of this name.
    pub fn renew(&self, name: &str) -> bool {
        locked(&self.hurries).get(name).map(|hurry| hurry.notify_one()).is_some()
    }

    /// Takes over another configuration: identities that did not change are left alone. Folder, socket and listeners
    /// stay as they are until a restart. When it is dropped half-way, [`Self::stop`] still waits for those that
    /// were told to end.
    pub async fn reload(&mut self, config: Config) {
        let places = |config: &Config| {
            (config.state_dir.clone(), config.socket.clone(), config.metrics, config.workload_api.clone())
        };
        if places(&config) != places(&self.config) {
            tracing::warn!("state_dir, socket, metrics and workload_api need a restart to change");
        }
        let elsewhere = !same_control_plane(&config.control_plane, &self.config.control_plane);
        let Config { control_plane, identities, log_json, .. } = config;
        self.config = Config { control_plane, identities, log_json, ..self.config.clone() };
        let wanted = &self.config.identities;
        let (keep, end) = std::mem::take(&mut self.instances)
            .into_iter()
            .partition(|(_, running)| !elsewhere && wanted.iter().any(|one| one.is_like(&running.config)));
        self.instances = keep;
        // At once, and first: the next one of that name may be somebody else, and a rule that is gone must not wait for
        // the identity's end.
        end.keys().for_each(|name| self.offers.entrust(name, None));
        self.offers.configure(&self.config.identities);
        self.end(end);
        self.ended().await;
        self.reconcile();
    }

    fn end(&mut self, instances: BTreeMap<String, Running>) {
        instances.values().for_each(|running| running.stop.cancel());
        self.ending.extend(instances.into_values());
    }

    /// Waits for those that were told to stop, all within one limit. May be given up and called again.
    async fn ended(&mut self) {
        let all = async {
            for running in &mut self.ending {
                if !running.task.is_finished() {
                    // A task that panicked has ended, too.
                    let _ = (&mut running.task).await;
                }
            }
        };
        if timeout(LAST_MOMENT, all).await.is_err() {
            self.ending.iter().for_each(|running| running.task.abort());
        }
        self.ending.clear();
    }

    /// Starts what is wanted and does not run.
    fn reconcile(&mut self) {
        let names: Vec<_> = self.config.identities.iter().map(|one| one.name.clone()).collect();
        self.report.send_modify(|report| {
            let mut known: BTreeMap<_, _> = report.identities.drain(..).map(|one| (one.name.clone(), one)).collect();
            let fresh = |name: &String| IdentityReport {
                name: name.clone(),
                standing: "enrolling".into(),
                ..IdentityReport::default()
            };
            // Of one that starts anew, nothing is known.
            known.retain(|name, _| self.instances.contains_key(name));
            report.identities = names.iter().map(|name| known.remove(name).unwrap_or_else(|| fresh(name))).collect();
        });
        self.offers.configure(&self.config.identities);
        locked(&self.hurries).retain(|name, _| names.contains(name));
        for config in &self.config.identities {
            if self.instances.contains_key(&config.name) {
                continue;
            }
            let hurry = Arc::new(Notify::new());
            locked(&self.hurries).insert(config.name.clone(), Arc::clone(&hurry));
            let (control_plane, state_dir) = (&self.config.control_plane, &self.config.state_dir);
            let (report, offers) = (self.report.clone(), self.offers.clone());
            let instance = Instance::new(config, control_plane, state_dir, report, hurry, offers);
            let stop = CancellationToken::new();
            let task = tokio::spawn(instance.run(stop.clone()));
            self.instances.insert(config.name.clone(), Running { config: config.clone(), stop, task });
        }
    }

    /// Ends everything in order.
    pub async fn stop(mut self) {
        let instances = std::mem::take(&mut self.instances);
        self.end(instances);
        self.ended().await;
        self.helpers.iter().for_each(JoinHandle::abort);
        self.sockets.iter().for_each(Place::leave);
    }
}

fn locked(hurries: &Hurries) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
    hurries.lock().unwrap_or_else(PoisonError::into_inner)
}

fn same_control_plane(one: &IdentitySettings, other: &IdentitySettings) -> bool {
    one.endpoint == other.endpoint
        && one.server_name == other.server_name
        && one.roots_der == other.roots_der
        && one.out_of_band == other.out_of_band
        && one.require_pq_kex == other.require_pq_kex
}

/// Ready once every identity has its files and its programs know; `systemctl status` shows a line.
async fn tell_systemd(mut report: watch::Receiver<Report>) {
    let mut ready = false;
    loop {
        let (all, begun, well) = {
            let report = report.borrow_and_update();
            let begun = report.identities.iter().filter(|one| one.published).count();
            (report.identities.len(), begun, report.identities.iter().filter(|one| one.is_well()).count())
        };
        let line = format!("{well} of {all} identities are ok");
        let mut states = vec![NotifyState::Status(&line)];
        if begun == all && !ready {
            ready = true;
            states.push(NotifyState::Ready);
        }
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(%error, "cannot notify systemd");
        }
        if report.changed().await.is_err() {
            return;
        }
    }
}
