//! The command line.

use clap::{Parser, Subcommand};

use crate::{
    commands as c,
    exit::Exit,
    failure::Failure,
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
    /// Contexts: servers and identities on this machine
    #[command(subcommand)]
    Context(c::context::ContextCommand),
    /// Check contexts, certificates, clock, network and server, and say how to fix problems
    Doctor(c::doctor::DoctorArgs),
    /// Show your identity as the server sees it, and your permissions
    Whoami,
    /// Tenants of the environment
    #[command(subcommand)]
    Tenant(c::tenant::TenantCommand),
    /// Create a principal
    Create(c::principal::CreateArgs),
    /// List principals
    List(crate::values::ListArgs),
    /// Show a principal
    Get(c::principal::GetArgs),
    /// Change a principal's name, roles or groups
    Update(c::principal::UpdateArgs),
    /// Suspend a principal: refuse it everywhere, within a second
    Suspend(c::principal::RiskyArgs),
    /// Reactivate a suspended principal
    Activate(c::principal::IdArgs),
    /// Delete a principal permanently
    Delete(c::principal::RiskyArgs),
    /// Certificates of principals
    #[command(subcommand)]
    Cert(c::cert::CertCommand),
    /// Renewals: when a tenant's certificates are renewed
    #[command(subcommand)]
    Renewal(c::renewal::RenewalCommand),
    /// Join tokens, for first certificates
    #[command(subcommand)]
    Token(c::token::TokenCommand),
    /// Get a first certificate with a join token, AWS role, OIDC token or device certificate
    Enroll(c::enroll::EnrollArgs),
    /// Sign in as a person to get a short-lived certificate
    Login(c::login::LoginArgs),
    /// Enrollment rules: who may enroll without a token
    #[command(subcommand)]
    Enrollment(c::enrollment::EnrollmentCommand),
    /// Certificate authorities
    #[command(subcommand)]
    Ca(c::ca::CaCommand),
    /// Trust bundles
    #[command(subcommand)]
    Trust(c::trust::TrustCommand),
    /// Audit log: list, follow and verify events
    #[command(subcommand)]
    Audit(c::audit::AuditCommand),
    /// Write a completion script for a shell
    Completion(c::shell::CompletionArgs),
    /// Write manual pages
    Man(c::shell::ManArgs),
}

/// Carries out a command.
pub async fn carry_out(run: &Run, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Bootstrap(args) => c::bootstrap::run(run, args).await,
        Command::Context(command) => c::context::run(run, command),
        Command::Doctor(args) => c::doctor::run(run, args).await,
        Command::Whoami => c::principal::whoami(run).await,
        Command::Tenant(command) => c::tenant::run(run, command).await,
        Command::Create(args) => c::principal::create(run, args).await,
        Command::List(args) => c::principal::list(run, args).await,
        Command::Get(args) => c::principal::get(run, args).await,
        Command::Update(args) => c::principal::update(run, args).await,
        Command::Suspend(args) => c::principal::suspend(run, args).await,
        Command::Activate(args) => c::principal::activate(run, args).await,
        Command::Delete(args) => c::principal::delete(run, args).await,
        Command::Cert(command) => c::cert::run(run, command).await,
        Command::Renewal(command) => c::renewal::run(run, command).await,
        Command::Token(command) => c::token::run(run, command).await,
        Command::Enroll(args) => c::enroll::run(run, args).await,
        Command::Login(args) => c::login::run(run, args).await,
        Command::Enrollment(command) => c::enrollment::run(run, command).await,
        Command::Ca(command) => c::ca::run(run, command).await,
        Command::Trust(command) => c::trust::run(run, command).await,
        Command::Audit(command) => c::audit::run(run, command).await,
        Command::Completion(args) => c::shell::completion(run, &args),
        Command::Man(args) => c::shell::man(run, &args),
    }
}
