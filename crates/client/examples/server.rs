//! A service of the tenant that greets its callers by name. It keeps its own certificate fresh and trusts whom the
//! tenant's bundle says. Run it with a join token for a service:
//!
//! ```sh
//! principal token create service --id billing --secret-file billing.token
//! SIGNET_SERVER=https://localhost:8443 SIGNET_CA=root.pem SIGNET_TOKEN=billing.token cargo run --example server
//! ```

use std::{env, error::Error, io, sync::Arc};

use signet_client::{Directory, Enrollment, Identity, IdentitySettings, JoinToken, PeerPolicy};
use signet_core::PrincipalType;
use signet_x509::pem;
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = std::fs::read_to_string(env::var("SIGNET_CA")?)?;
    let mut settings =
        IdentitySettings::new(env::var("SIGNET_SERVER")?, pem::decode_certificates(&root).ok_or("no root")?);
    settings.storage = Arc::new(Directory::new("billing-identity"));
    let proof = Arc::new(JoinToken::read(env::var("SIGNET_TOKEN")?.as_ref())?);
    let enrollment = Enrollment { proof, tenant_id: None, principal_id: None };
    let identity = Identity::load_or_enroll(settings, &enrollment).await?;
    serve(identity, TcpListener::bind("127.0.0.1:9443").await?).await
}

/// Takes workers and services, on connections of which each shows the certificate of that moment.
pub async fn serve(identity: Identity, listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let policy = PeerPolicy::types(&[PrincipalType::Worker, PrincipalType::Service]);
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config(policy)?));
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, identity) = (acceptor.clone(), identity.clone());
        tokio::spawn(async move {
            let mut tls = acceptor.accept(tcp).await?;
            let peer = identity.peer(tls.get_ref().1.peer_certificates());
            let name = peer.map(|peer| format!("{} {}", peer.principal_type, peer.principal)).unwrap_or_default();
            tls.write_all(format!("hello, {name}\n").as_bytes()).await?;
            tls.shutdown().await?;
            Ok::<_, io::Error>(())
        });
    }
}
