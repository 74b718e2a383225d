//! One module for each group of commands: what it takes, and what it does.

pub mod audit;
pub mod bootstrap;
pub mod ca;
pub mod cert;
pub mod context;
pub mod doctor;
pub mod enroll;
pub mod enrollment;
pub mod login;
pub mod principal;
pub mod renewal;
pub mod shell;
pub mod tenant;
pub mod token;
pub mod trust;
pub mod values;

use std::path::PathBuf;

use crate::{
    cli::{Command, Global},
    context::{Contexts, Home},
    exit::Exit,
    failure::Failure,
    output::Printer,
    session::Session,
};

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Run {
    /// Options of all commands.
    pub global: Global,
    /// Where contexts live.
    pub home: Home,
    /// Where results go.
    pub printer: Printer,
}

impl Run {
    /// Connects to the server of the chosen context.
    pub fn session(&self) -> Result<Session, Failure> {
        let contexts = Contexts::load(&self.home)?;
        let (name, context) = contexts.select(self.global.context.as_deref())?;
        Session::open(self, name, context)
    }

    /// The directory of the chosen context.
    pub fn context_directory(&self) -> Result<PathBuf, Failure> {
        let contexts = Contexts::load(&self.home)?;
        let (_, context) = contexts.select(self.global.context.as_deref())?;
        Ok(context.directory(&self.home))
    }
}

/// Carries out a command.
pub async fn run(run: &Run, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Bootstrap(args) => bootstrap::run(run, args).await,
        Command::Context(command) => context::run(run, command),
        Command::Doctor(args) => doctor::run(run, args).await,
        Command::Whoami => principal::whoami(run).await,
        Command::Tenant(command) => tenant::run(run, command).await,
        Command::Create(args) => principal::create(run, args).await,
        Command::List(args) => principal::list(run, args).await,
        Command::Get(args) => principal::get(run, args).await,
        Command::Update(args) => principal::update(run, args).await,
        Command::Suspend(args) => principal::suspend(run, args).await,
        Command::Activate(args) => principal::activate(run, args).await,
        Command::Delete(args) => principal::delete(run, args).await,
        Command::Cert(command) => cert::run(run, command).await,
        Command::Renewal(command) => renewal::run(run, command).await,
        Command::Token(command) => token::run(run, command).await,
        Command::Enroll(args) => enroll::run(run, args).await,
        Command::Login(args) => login::run(run, args).await,
        Command::Enrollment(command) => enrollment::run(run, command).await,
        Command::Ca(command) => ca::run(run, command).await,
        Command::Trust(command) => trust::run(run, command).await,
        Command::Audit(command) => audit::run(run, command).await,
        Command::Completion(args) => shell::completion(run, &args),
        Command::Man(args) => shell::man(run, &args),
    }
}
