//! Whose rules a command is about, and reading them.

use clap::Args;
use signet_core::TenantId;
use signet_proto::v1::{self, authorization_service_client::AuthorizationServiceClient as Client};

use crate::{
    exit::Exit,
    failure::Failure,
    session::{Session, rpc},
};

/// Whose rules.
#[derive(Clone, Copy, Debug, Args)]
pub struct Whose {
    /// Those of the environment, which hold in every tenant
    #[arg(long)]
    environment: bool,
}

impl Whose {
    /// Its id; empty: the caller's own.
    pub(super) fn tenant(self, session: &Session) -> String {
        if self.environment { TenantId::system().to_string() } else { session.tenant() }
    }

    /// Whether they hold in every tenant.
    pub(super) fn is_environment(self, session: &Session) -> bool {
        self.environment || session.tenant_name() == TenantId::system().as_str()
    }
}

/// Reads the rules that hold, or an earlier version.
pub(super) async fn model(
    session: &Session,
    tenant: &str,
    version: Option<u32>,
) -> Result<v1::AuthorizationModel, Failure> {
    let request =
        v1::GetAuthorizationModelRequest { tenant_id: tenant.to_owned(), version: version.unwrap_or_default() };
    let found = rpc!(session, "reading the rules", Client.get_authorization_model(request)).await;
    found.map_err(|failure| match version {
        // Or it is the tenant that is missing.
        Some(version) if failure.exit == Exit::NotFound && failure.message.contains("authorization model") => Failure {
            message: format!("the rules have no version {version}, or it is no longer kept"),
            ..failure.hint("`principal authz history` lists the versions")
        },
        _ => failure,
    })
}
