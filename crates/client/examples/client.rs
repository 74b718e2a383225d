//! A worker that calls the service of the other example, and the control plane. Run it with a join token for a worker:
//!
//! ```sh
//! principal token create worker --id crawler-1 --secret-file crawler.token
//! SIGNET_SERVER=https://localhost:8443 SIGNET_CA=root.pem SIGNET_TOKEN=crawler.token cargo run --example client
//! ```

use std::{env, error::Error, net::SocketAddr, sync::Arc};

use rustls::pki_types::ServerName;
use signet_client::{Directory, Enrollment, Identity, IdentitySettings, JoinToken, PeerPolicy};
use signet_core::PrincipalType;
use signet_proto::v1::{WhoAmIRequest, principal_service_client::PrincipalServiceClient};
use signet_x509::pem;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsConnector;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = std::fs::read_to_string(env::var("SIGNET_CA")?)?;
    let mut settings =
        IdentitySettings::new(env::var("SIGNET_SERVER")?, pem::decode_certificates(&root).ok_or("no root")?);
    settings.storage = Arc::new(Directory::new("crawler-identity"));
    let proof = Arc::new(JoinToken::read(env::var("SIGNET_TOKEN")?.as_ref())?);
    let enrollment = Enrollment { proof, tenant_id: None, principal_id: None };
    let identity = Identity::load_or_enroll(settings, &enrollment).await?;

    // Calls of generated clients; certificates change below them.
    let mut control_plane = PrincipalServiceClient::new(identity.channel()?);
    let me = control_plane.who_am_i(WhoAmIRequest {}).await?.into_inner();
    let answer = ask(&identity, "127.0.0.1:9443".parse()?, "billing").await?;
    tracing::info!(spiffe_id = me.spiffe_id, answer, "done");
    Ok(())
}

/// What the service `id` at `address` says. Who it is, is in its certificate: a name in DNS proves nothing here.
pub async fn ask(identity: &Identity, address: SocketAddr, id: &str) -> Result<String, Box<dyn Error>> {
    let policy = PeerPolicy::principal(PrincipalType::Service, id.parse()?);
    let connector = TlsConnector::from(Arc::new(identity.client_config(policy)?));
    let tcp = TcpStream::connect(address).await?;
    let mut tls = connector.connect(ServerName::IpAddress(address.ip().into()), tcp).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}
