//! The service, and a command for those who use it: `job-service --help`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc};

use clap::{Args, Parser, Subcommand};
use job_service::{
    app,
    v1::{
        CancelJobRequest, CompleteJobRequest, DequeueJobRequest, Job, ListJobsRequest, PublishEventRequest,
        StreamEventsRequest, SubmitJobRequest, job_service_client::JobServiceClient,
    },
};
use signet_client::{Directory, Enrollment, Identity, IdentitySettings, JoinToken, LiveChannel, PeerPolicy, serve};
use signet_core::PrincipalType;
use signet_x509::pem;
use tokio::net::TcpListener;

/// A job service that lets in whom Signet's rules allow, and its client
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    who: Who,
    #[command(subcommand)]
    command: Command,
}

/// As whom.
#[derive(Args, Debug)]
struct Who {
    /// Where the identity is kept
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    /// A join token, the first time
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Signet's control plane
    #[arg(long, value_name = "URL", env = "SIGNET_SERVER", default_value = "https://localhost:8443")]
    server: String,
    /// What to trust it by
    #[arg(long, value_name = "FILE", env = "SIGNET_CA")]
    ca: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve
    Serve {
        /// Where to listen
        #[arg(default_value = "127.0.0.1:9443")]
        listen: SocketAddr,
    },
    /// Use the service at URL
    Call {
        /// E.g. https://localhost:9443
        url: String,
        #[command(subcommand)]
        call: Call,
    },
}

#[derive(Debug, Subcommand)]
enum Call {
    /// Hand in a job
    Submit { task: String },
    /// Take the oldest job that waits
    Dequeue,
    /// Report a job as done
    Complete { job_id: u64 },
    /// See all jobs
    List,
    /// Cancel a job
    Cancel { job_id: u64 },
    /// Tell all who follow events
    Publish { text: String },
    /// Follow events
    Events,
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    if let Err(error) = run(cli).await {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let identity = identity(cli.who).await?;
    match cli.command {
        Command::Serve { listen } => {
            let app = app(&Arc::default(), &identity.authorizer());
            let listener = TcpListener::bind(listen).await?;
            println!("serving at {}", listener.local_addr()?);
            let stop = async { drop(tokio::signal::ctrl_c().await) };
            Ok(serve(listener, &identity, PeerPolicy::anybody(), app, stop).await?)
        }
        Command::Call { url, call } => {
            let services = PeerPolicy::types(&[PrincipalType::Service]);
            let client = JobServiceClient::new(identity.channel_to(&url, services)?);
            carry_out(client, call).await.map_err(|status| status.message().to_owned().into())
        }
    }
}

async fn identity(who: Who) -> Result<Identity, Box<dyn Error>> {
    let roots = pem::decode_certificates(&std::fs::read_to_string(&who.ca)?).ok_or("--ca: no certificates")?;
    let mut settings = IdentitySettings::new(who.server, roots);
    settings.storage = Arc::new(Directory::new(&who.identity));
    let Some(token) = who.token else {
        return Identity::load(settings).await?.ok_or_else(|| "no identity there yet: give --token".into());
    };
    let proof = Arc::new(JoinToken::read(&token)?);
    let enrollment = Enrollment { proof, tenant_id: None, principal_id: None };
    Ok(Identity::load_or_enroll(settings, &enrollment).await?)
}

async fn carry_out(mut client: JobServiceClient<LiveChannel>, call: Call) -> Result<(), tonic::Status> {
    match call {
        Call::Submit { task } => show(&client.submit_job(SubmitJobRequest { task }).await?.into_inner()),
        Call::Dequeue => show(&client.dequeue_job(DequeueJobRequest {}).await?.into_inner()),
        Call::Complete { job_id } => show(&client.complete_job(CompleteJobRequest { job_id }).await?.into_inner()),
        Call::Cancel { job_id } => show(&client.cancel_job(CancelJobRequest { job_id }).await?.into_inner()),
        Call::List => client.list_jobs(ListJobsRequest {}).await?.into_inner().jobs.iter().for_each(show),
        Call::Publish { text } => drop(client.publish_event(PublishEventRequest { text }).await?),
        Call::Events => {
            let mut events = client.stream_events(StreamEventsRequest {}).await?.into_inner();
            println!("following");
            while let Some(event) = events.message().await? {
                println!("{}: {}", event.publisher, event.text);
            }
        }
    }
    Ok(())
}

fn show(job: &Job) {
    let state = job.state().as_str_name().trim_start_matches("JOB_STATE_").to_lowercase();
    println!("{}  {state}  {}  of {}  {}", job.job_id, job.task, job.submitter, job.worker);
}
