//! `principal context`.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    certificate::Held,
    confirm::confirm,
    context::{self, Context, Contexts, Lock},
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, Status, When, With},
        Column, View,
    },
    run::Run,
    values::Yes,
};

/// Contexts: servers and identities on this machine.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List contexts
    List(View),
    /// Switch to a context
    Use {
        /// Name of the context
        #[arg(value_parser = context::parse_name)]
        name: String,
    },
    /// Show a context and its certificate; default: the current one
    Show {
        /// Name of the context
        #[arg(value_parser = context::parse_name)]
        name: Option<String>,
    },
    /// Add or replace a context; `--tenant` sets its tenant, if not the certificate's
    Add(AddArgs),
    /// Give a context another name
    Rename {
        /// Its name
        #[arg(value_parser = context::parse_name)]
        name: String,
        /// The new one
        #[arg(value_parser = context::parse_name)]
        new_name: String,
    },
    /// Remove a context, with its credentials if they are in the home directory
    Remove {
        /// Name of the context
        #[arg(value_parser = context::parse_name)]
        name: String,
        /// Says yes in advance.
        #[command(flatten)]
        yes: Yes,
    },
}

/// What the context is.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Name of the context
    #[arg(value_parser = context::parse_name)]
    name: String,
    /// The control plane, e.g. https://signet.example.com:8443
    #[arg(long, value_name = "URL", value_parser = crate::values::https)]
    endpoint: String,
    /// Name in the server's certificate, if not the endpoint's host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The server's public listener, e.g. http://127.0.0.1:8080
    #[arg(long, value_name = "URL", value_parser = crate::values::http)]
    public_endpoint: Option<String>,
    /// Folder with the credentials, used in place; default: a folder in the home directory
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Change an existing context; what is not given stays as it is, its key too
    #[arg(long)]
    replace: bool,
    /// Switch to it
    #[arg(long = "use")]
    make_current: bool,
}

const COLUMNS: &[Column] = &[
    Column::new("CURRENT", With(mark)),
    Column::new("CONTEXT", Field("name")),
    Column::new("TENANT", With(tenant)),
    Column::new("CERTIFICATE", Status("certificate_state")),
    Column::new("EXPIRES", When("not_after")),
    Column::wide("ENDPOINT", Field("endpoint")),
    Column::wide("IDENTITY", Field("spiffe_id")),
];

fn mark(context: &Value) -> String {
    if context.get("current") == Some(&Value::Bool(true)) { "*".into() } else { String::new() }
}

/// The context's, or the certificate's.
fn tenant(context: &Value) -> String {
    let text = |name: &str| context.get(name).and_then(Value::as_str);
    let own = || text("spiffe_id")?.strip_prefix("spiffe://")?.split_once('.').map(|(tenant, _)| tenant);
    text("tenant").or_else(own).unwrap_or("-").to_owned()
}

const ORDER: [&str; 4] = ["name", "current", "endpoint", "spiffe_id"];

/// Carries out a command.
pub fn run(run: &Run, command: ContextCommand) -> Result<Exit, Failure> {
    match command {
        ContextCommand::List(view) => {
            let contexts = Contexts::load(&run.home)?;
            let rows = contexts.contexts.iter().map(|(name, context)| describe(run, &contexts, name, context));
            run.printer.rows(COLUMNS, &["name"], rows.collect(), &view)?;
        }
        ContextCommand::Show { name } => {
            let contexts = Contexts::load(&run.home)?;
            let (name, context) = contexts.select(name.as_deref().or(run.global.context.as_deref()))?;
            run.printer.record(&describe(run, &contexts, name, context), &ORDER)?;
        }
        ContextCommand::Use { name } => Contexts::update(&run.home, |contexts| {
            contexts.select(Some(&name))?;
            contexts.current = Some(name);
            Ok(())
        })?,
        ContextCommand::Add(args) => Contexts::update(&run.home, |contexts| add(run, contexts, args))?,
        ContextCommand::Rename { name, new_name } => rename(run, &name, new_name)?,
        ContextCommand::Remove { name, yes } => remove(run, &name, yes)?,
    }
    Ok(Exit::Ok)
}

fn describe(run: &Run, contexts: &Contexts, name: &str, context: &Context) -> Value {
    let directory = context.directory(&run.home);
    let held = Held::load(&directory);
    let leaf = held.as_ref().ok();
    let state = match &held {
        Ok(held) => held.state(run.printer.now),
        Err(_) => "missing",
    };
    json!({
        "name": name,
        "current": contexts.current.as_deref() == Some(name),
        "endpoint": context.endpoint,
        "server_name": context.server_name,
        "public_endpoint": context.public_endpoint,
        "tenant": context.tenant,
        "credentials": directory,
        "certificate_state": state,
        "spiffe_id": leaf.and_then(|held| held.spiffe_id.clone()),
        "serial_number": leaf.map(|held| held.serial.clone()),
        "not_before": leaf.map(|held| held.not_before.to_string()),
        "not_after": leaf.map(|held| held.not_after.to_string()),
    })
}

fn add(run: &Run, contexts: &mut Contexts, args: AddArgs) -> Result<(), Failure> {
    let there = contexts.contexts.get(&args.name).cloned();
    if there.is_some() && !args.replace {
        let message = format!("context {} already exists", args.name);
        return Err(Failure::new(Exit::Conflict, message).hint("change it with --replace, or choose another name"));
    }
    let credentials = match (args.credentials, &there) {
        (Some(dir), _) => fs::canonicalize(&dir).map_err(|error| Failure::file(&dir, &error))?,
        (None, Some(there)) => there.credentials.clone(),
        (None, None) => context::default_directory(&args.name),
    };
    let kept = |of: fn(&Context) -> &Option<String>| there.as_ref().and_then(|there| of(there).clone());
    let context = Context {
        endpoint: args.endpoint,
        server_name: args.server_name.or_else(|| kept(|there| &there.server_name)),
        public_endpoint: args.public_endpoint.or_else(|| kept(|there| &there.public_endpoint)),
        tenant: run.global.tenant.as_ref().map(ToString::to_string).or_else(|| kept(|there| &there.tenant)),
        credentials,
        login: there.and_then(|there| there.login),
    };
    context::private::make_dir(&context.directory(&run.home))?;
    contexts.put(&args.name, context);
    if args.make_current {
        contexts.current = Some(args.name);
    }
    Ok(())
}

/// Its credentials stay where they are, so that nothing that uses them is moved under it.
fn rename(run: &Run, name: &str, new_name: String) -> Result<(), Failure> {
    Contexts::update(&run.home, |contexts| {
        contexts.select(Some(name))?;
        if contexts.contexts.contains_key(&new_name) {
            return Err(Failure::new(Exit::Conflict, format!("context {new_name} already exists"))
                .hint("choose another name, or remove that context: `principal context remove`"));
        }
        if let Some(context) = contexts.contexts.remove(name) {
            contexts.contexts.insert(new_name.clone(), context);
        }
        if contexts.current.as_deref() == Some(name) {
            contexts.current = Some(new_name);
        }
        Ok(())
    })
}

fn remove(run: &Run, name: &str, yes: Yes) -> Result<(), Failure> {
    Contexts::load(&run.home)?.select(Some(name))?;
    confirm(&format!("remove context {name} and its key"), yes)?;
    let owned = Contexts::update(&run.home, |contexts| {
        let (_, context) = contexts.select(Some(name))?;
        // Only what this program made; folders of others stay, and one that another context uses too.
        let directory = context.directory(&run.home);
        let is_shared = contexts.contexts.iter().any(|(other, context)| {
            let shares = fs::canonicalize(context.directory(&run.home)).ok() == fs::canonicalize(&directory).ok();
            other != name && shares
        });
        // Under the name that it had when it was made.
        let is_own = context.credentials.parent() == context::default_directory(name).parent();
        let owned = (is_own && !is_shared).then_some(directory);
        contexts.contexts.remove(name);
        contexts.current.take_if(|current| current == name);
        Ok(owned)
    })?;
    // Who changes it now is waited for.
    let _lock = owned.as_deref().map(Lock::take).transpose()?;
    match owned.map(|dir| (fs::remove_dir_all(&dir), dir)) {
        Some((Err(error), dir)) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::file(&dir, &error)),
        _ => Ok(()),
    }
}
