//! TLS ends here, and the bytes go on, after a PROXY version 2 header that says whose they are.

use std::{net::SocketAddr, sync::Arc};

use signet_mtls::{RelayedTls, relayed_header};
use signet_x509::CertificateView;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::Event, config::L4Config, front::FrontConnection, metrics::Counted, pump, refusal::Refusal, shared::Shared,
    stream::over, subject::Subject, upstream::Places,
};

/// A listener that passes on bytes.
pub(crate) struct Relay {
    config: L4Config,
    places: Places,
}

impl Relay {
    pub(crate) fn new(config: L4Config) -> Self {
        // Nobody waits: the client sees a connection that is slow to begin, and comes again.
        let places = Places::new(config.max_connections, 0, config.connect_timeout);
        Self { config, places }
    }
}

/// Serves a connection until it ends, its principal may no more, or `stop`.
pub(crate) async fn carry(
    shared: Arc<Shared>,
    relay: Arc<Relay>,
    connection: FrontConnection,
    stop: CancellationToken,
) {
    let (remote, config) = (connection.peer().remote, &relay.config);
    let mut event = Event { upstream: Some(config.name.as_str().into()), ..Event::success("l4") };
    event = event.sourced(remote.ip());
    event.permission = Some(config.permission.as_str().into());
    let cut = tokio::select! {
        refused = carried(&shared, &relay, connection, &mut event) => match refused {
            Err(refusal) => refusal,
            Ok(()) => return,
        },
        () = stop.cancelled() => return,
    };
    shared.metrics.count(Counted::StreamsEnded, &cut.reason);
    let event = Event { outcome: "failure", reason: cut.reason, ..event };
    shared.audit.write(&event.detailed(cut.title));
}

async fn carried(
    shared: &Shared,
    Relay { config, places }: &Relay,
    connection: FrontConnection,
    event: &mut Event,
) -> Result<(), Refusal> {
    let session = connection.peer().session.clone().ok_or_else(Refusal::no_certificate)?;
    let leaf = connection.certificates().first().ok_or_else(Refusal::no_certificate)?;
    let subject = Subject::of_certificate(leaf, session.identity(), &shared.suffix);
    let name = common_name(leaf).unwrap_or_else(|| subject.id.to_string());
    *event = std::mem::take(event).by(&subject);
    let limits = Arc::clone(&shared.live.load().limits);
    limits.count(&subject.spiffe_id).map_err(|reached| Refusal::too_many(reached.whose, reached.seconds))?;
    let _place = places.take(&subject.spiffe_id).await?;
    let question = subject.question(&config.permission.as_str().into());
    let (_, access) = shared.authorizer.hold(question).await.map_err(|answer| Refusal::of(&answer))?;
    let source = connection.peer().remote;
    let (version, cipher) = connection.tls_names();
    let local = connection.local().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let header = relayed_header(source, local, RelayedTls { version, cipher, common_name: &name });
    let upstream = timeout(config.connect_timeout, TcpStream::connect(&config.upstream)).await;
    let unreachable = || {
        shared.metrics.count(Counted::UpstreamFailures, &config.name);
        let title = "the server behind cannot be reached";
        Refusal::upstream(http::StatusCode::BAD_GATEWAY, "UPSTREAM_UNREACHABLE", title)
    };
    let Ok(Ok(mut upstream)) = upstream else { return Err(unreachable()) };
    // Small packets of MQTT and the like must not wait.
    let _ = upstream.set_nodelay(true);
    upstream.write_all(&header).await.map_err(|_| unreachable())?;
    shared.audit.write(event);
    tokio::select! {
        biased;
        () = access.ended() => Err(over(&access)),
        _ = pump::carry(connection, upstream, None) => Ok(()),
    }
}

/// The first common name of a subject, as RFC 4514 writes it; ids have no characters that are escaped.
fn common_name(der: &[u8]) -> Option<String> {
    let subject = CertificateView::from_der(der).ok()?.subject_text();
    subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).map(str::to_owned)
}
