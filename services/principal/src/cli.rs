//! The command line.

use clap::{Parser, Subcommand};

use crate::{
    commands as c,
    exit::Exit,
    failure::Failure,
    renewing,
    run::{Global, Run},
};

/// Signet: certificates for the machines and people of many tenants.
///
/// A context selects the server and the identity; `principal bootstrap` and `principal enroll` create contexts.
#[derive(Debug, Parser)]
#[command(
    name = "principal",
    version,
    max_term_width = 100,
    after_help = Exit::help(),
    arg_required_else_help = true,
    propagate_version = false,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an environment: root, CAs, server certificate, first admin. Creates only what is missing
    Bootstrap(c::bootstrap::BootstrapArgs),
    /// Restore an earlier state of the store, without undoing what was refused since
    ///
    /// Compares an earlier state of the store with the present one and brings back what is missing or different. What
    /// was suspended, deleted, revoked, locked or used up since stays so, and so do newer records. While it runs, nodes
    /// and Lambdas change nothing. If it is cut off, they change nothing until you run it again to its end.
    Restore(c::restore::RestoreArgs),
    /// Contexts: servers and identities on this machine
    #[command(subcommand)]
    Context(c::context::ContextCommand),
    /// Check contexts, certificates, clock, network and server, and say how to fix problems
    Doctor(c::doctor::DoctorArgs),
    /// Show your identity as the server sees it, and your permissions
    Whoami,
    /// Tenants of the environment
    #[command(subcommand)]
    Tenant(c::tenants::TenantCommand),
    /// Create a principal
    Create(c::principals::CreateArgs),
    /// List principals
    List(c::principals::PrincipalListArgs),
    /// Show a principal
    Get(c::principals::GetArgs),
    /// Change a principal's name, roles or groups
    Update(c::principals::UpdateArgs),
    /// Suspend a principal: refuse it everywhere, within a second
    Suspend(c::principals::RiskyArgs),
    /// Reactivate a suspended principal
    Activate(c::principals::IdArgs),
    /// Delete a principal permanently
    Delete(c::principals::RiskyArgs),
    /// Certificates of principals
    #[command(subcommand)]
    Cert(c::certificates::CertCommand),
    /// Renewals: when a tenant's certificates are renewed
    #[command(subcommand)]
    Renewal(c::certificates::renewal::RenewalCommand),
    /// Join tokens, for first certificates
    #[command(subcommand)]
    Token(c::enrollment::tokens::TokenCommand),
    /// Devices: principals with first certificates, one by one or a fleet from a CSV file
    #[command(subcommand)]
    Device(c::devices::DeviceCommand),
    /// Get a first certificate with a join token, AWS role, OIDC token or device certificate
    Enroll(c::enrollment::enroll::EnrollArgs),
    /// Sign in as a person to get a short-lived certificate
    Login(c::enrollment::login::LoginArgs),
    /// Enrollment rules: who may enroll without a token
    #[command(subcommand)]
    Enrollment(c::enrollment::rules::EnrollmentCommand),
    /// Certificate authorities
    #[command(subcommand)]
    Ca(c::authorities::CaCommand),
    /// Trust bundles
    #[command(subcommand)]
    Trust(c::trust::TrustCommand),
    /// Authorization: a tenant's permissions, grants and policies, and what they decide
    #[command(subcommand, visible_alias = "policy")]
    Authz(c::authorization::AuthzCommand),
    /// OAuth access tokens, bound to a certificate
    #[command(subcommand)]
    AccessToken(c::tokens::AccessTokenCommand),
    /// Passwords for message brokers
    #[command(subcommand)]
    BrokerToken(c::tokens::BrokerTokenCommand),
    /// SPIFFE JWT-SVIDs
    #[command(subcommand)]
    Svid(c::tokens::SvidCommand),
    /// Keys that sign a tenant's tokens
    #[command(subcommand)]
    TokenKey(c::tokens::TokenKeyCommand),
    /// Messages that devices sign: try them out
    #[command(subcommand)]
    Message(c::messages::MessageCommand),
    /// Audit log: list, follow and verify events
    #[command(subcommand)]
    Audit(c::audit::AuditCommand),
    /// Write a completion script for a shell
    Completion(c::shell::CompletionArgs),
    /// Write manual pages
    Man(c::shell::ManArgs),
}

impl Command {
    /// Whether it calls the server as the context's principal, and is not about its certificate itself.
    const fn uses_context(&self) -> bool {
        !matches!(
            self,
            Self::Bootstrap(_)
                | Self::Restore(_)
                | Self::Context(_)
                | Self::Doctor(_)
                | Self::Enroll(_)
                | Self::Login(_)
                | Self::Completion(_)
                | Self::Man(_)
                | Self::Cert(c::certificates::CertCommand::Renew)
                | Self::Message(c::messages::MessageCommand::Sign(_))
        )
    }
}

/// Carries out a command, and keeps the certificate fresh that it uses.
pub async fn carry_out(run: &Run, command: Command) -> Result<Exit, Failure> {
    if !command.uses_context() {
        return dispatch(run, command).await;
    }
    renewing::before(run).await;
    let done = dispatch(run, command).await;
    renewing::after(run, done.is_ok()).await;
    done
}

async fn dispatch(run: &Run, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Bootstrap(args) => c::bootstrap::run(run, args).await,
        Command::Restore(args) => c::restore::run(run, args).await,
        Command::Context(command) => c::context::run(run, command),
        Command::Doctor(args) => c::doctor::run(run, args).await,
        Command::Whoami => c::principals::whoami(run).await,
        Command::Tenant(command) => c::tenants::run(run, command).await,
        Command::Create(args) => c::principals::create(run, args).await,
        Command::List(args) => c::principals::list(run, args).await,
        Command::Get(args) => c::principals::get(run, args).await,
        Command::Update(args) => c::principals::update(run, args).await,
        Command::Suspend(args) => c::principals::suspend(run, args).await,
        Command::Activate(args) => c::principals::activate(run, args).await,
        Command::Delete(args) => c::principals::delete(run, args).await,
        Command::Cert(command) => c::certificates::run(run, command).await,
        Command::Renewal(command) => c::certificates::renewal::run(run, command).await,
        Command::Token(command) => c::enrollment::tokens::run(run, command).await,
        Command::Device(command) => c::devices::run(run, command).await,
        Command::Enroll(args) => c::enrollment::enroll::run(run, args).await,
        Command::Login(args) => c::enrollment::login::run(run, args).await,
        Command::Enrollment(command) => c::enrollment::rules::run(run, command).await,
        Command::Ca(command) => c::authorities::run(run, command).await,
        Command::Authz(command) => c::authorization::run(run, command).await,
        Command::AccessToken(command) => c::tokens::run_access_token(run, command).await,
        Command::BrokerToken(command) => c::tokens::run_broker_token(run, command).await,
        Command::Svid(command) => c::tokens::run_svid(run, command).await,
        Command::TokenKey(command) => c::tokens::run_token_key(run, command).await,
        Command::Message(command) => c::messages::run_message(run, command).await,
        Command::Trust(command) => c::trust::run(run, command).await,
        Command::Audit(command) => c::audit::run(run, command).await,
        Command::Completion(args) => c::shell::completion(run, &args),
        Command::Man(args) => c::shell::man(run, &args),
    }
}
