//! Checks of the way to the gRPC listener: name, TCP, TLS, identity.

use signet_client::{Alert, ConnectError};
use signet_proto::v1::{WhoAmIRequest, principal_service_client::PrincipalServiceClient};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::check::Check;
use crate::{
    certificate::Held,
    connect,
    context::Context,
    failure::Failure,
    run::Run,
    session::{Session, rpc},
};

pub(super) async fn examine(run: &Run, name: &str, context: &Context) -> Vec<Check> {
    let mut checks = Vec::new();
    let authority = context.endpoint.strip_prefix("https://").unwrap_or(&context.endpoint);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if has_port { authority.to_owned() } else { format!("{authority}:443") };
    if !reaches(run, &address, &mut checks).await {
        return checks;
    }
    match connect::connector(run, name, context) {
        Ok(connector) => match connector.connect().await {
            Ok(_) => checks.push(Check::ok("TLS", "the server's certificate is trusted, and it accepts ours")),
            Err(error) => {
                let held = Held::load(&context.directory(&run.home)).ok();
                checks.push(tls(&error, held.as_ref()));
                return checks;
            }
        },
        Err(failure) => {
            checks.push(told("TLS", failure));
            return checks;
        }
    }
    checks.push(identity(run, name, context).await);
    checks
}

async fn reaches(run: &Run, address: &str, checks: &mut Vec<Check>) -> bool {
    let limit = run.global.timeout;
    let found = timeout(limit, lookup_host(address)).await.map_err(std::io::Error::from).and_then(|found| found);
    match found.map(Iterator::collect::<Vec<_>>) {
        Ok(all) if !all.is_empty() => {
            let all: Vec<String> = all.iter().map(|address| address.ip().to_string()).collect();
            checks.push(Check::ok("name", format!("{address} is {}", all.join(", "))));
        }
        Ok(_) => checks.push(Check::fail("name", format!("{address} has no address"), "check the endpoint and DNS")),
        Err(error) => {
            checks.push(Check::fail("name", format!("{address}: {error}"), "check the endpoint's host, and DNS"));
            return false;
        }
    }
    match timeout(limit, TcpStream::connect(address)).await.map_err(std::io::Error::from).and_then(|opened| opened) {
        Ok(_) => {
            checks.push(Check::ok("TCP", format!("{address} accepts connections")));
            true
        }
        Err(error) => {
            let advice = "is signetd running there, and does a firewall let this port through?";
            checks.push(Check::fail("TCP", format!("{address}: {error}"), advice));
            false
        }
    }
}

fn tls(error: &ConnectError, held: Option<&Held>) -> Check {
    let advice = match error {
        ConnectError::CertificateRefused { alert: Alert::AccessDenied } => {
            return told("TLS", Failure::from(error.clone()).of_caller(held.and_then(Held::tenant_and_principal)));
        }
        ConnectError::ServerCertificate { .. } => {
            "is this the right environment? compare ca.pem with the operator's server anchors (`principal ca bundle --server`) before you trust others"
        }
        ConnectError::CertificateRefused { .. } => "an admin can see why: `principal audit list`; then enroll again",
        ConnectError::Closed { .. } => {
            "the server closed the connection: see its log; too many connections, or PROXY protocol?"
        }
        _ => "is this signetd's gRPC port? it supports only TLS 1.3",
    };
    Check::fail("TLS", error.to_string(), advice)
}

async fn identity(run: &Run, name: &str, context: &Context) -> Check {
    let asked = async {
        let session = Session::open(run, name, context)?;
        rpc!(session, "reading the identity", PrincipalServiceClient.who_am_i(WhoAmIRequest {})).await
    };
    match asked.await {
        Ok(caller) => Check::ok("identity", format!("{}, {} permissions", caller.spiffe_id, caller.permissions.len())),
        Err(failure) => told("identity", failure),
    }
}

fn told(check: &'static str, failure: Failure) -> Check {
    // Not to this command again.
    let advice = failure.hint.filter(|hint| !hint.contains("principal doctor"));
    let advice = advice.unwrap_or_else(|| "an admin can see why: `principal audit list`".into());
    Check::fail(check, failure.message, advice)
}
