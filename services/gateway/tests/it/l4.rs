//! Bytes after TLS, with a PROXY header that says whose they are.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{client::SOON, upstreams::bytes, world::World};

#[tokio::test]
async fn the_server_gets_the_name_and_the_bytes_until_the_principal_is_suspended() {
    let (address, mut headers) = bytes().await;
    let rest = format!(
        "[[l4]]\nname = \"mqtt\"\nlisten = \"127.0.0.1:0\"\nupstream = \"{address}\"\npermission = \"mqtt:connect\"\n\
         [[l4]]\nname = \"closed\"\nlisten = \"127.0.0.1:0\"\nupstream = \"{address}\"\npermission = \"jobs:delete\"\n"
    );
    let world = World::new(&rest).await;
    let worker = world.worker("w-1").await;
    let mqtt = worker.at(world.gateway().l4()[0]);
    // A client of MQTT asks for its own protocol by ALPN.
    let mut stream = mqtt.tls(&["mqtt"]).await;
    stream.write_all(b"\x10\x0c\x00\x04MQTT").await.unwrap();
    let header = timeout(SOON, headers.recv()).await.unwrap().unwrap();
    let source = stream.get_ref().0.local_addr().unwrap();
    assert_eq!(header[16..20], [127, 0, 0, 1]);
    assert_eq!(header[24..26], source.port().to_be_bytes());
    let tls = String::from_utf8_lossy(&header[28..]).into_owned();
    assert!(tls.contains("w-1") && tls.contains("TLSv1.3") && tls.contains("TLS_AES"), "{tls:?}");
    let mut back = [0; 8];
    timeout(SOON, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, *b"\x10\x0c\x00\x04MQTT");

    let mut closed = worker.at(world.gateway().l4()[1]).tls(&[]).await;
    assert!(timeout(SOON, closed.read_u8()).await.unwrap().is_err());
    let event =
        world.event("the refusal", |event| event["upstream"] == "closed" && event["outcome"] == "failure").await;
    assert_eq!(event["reason"], "PERMISSION_MISSING");

    let begun = Instant::now();
    world.suspend("w-1").await;
    let told = begun.elapsed();
    assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
    assert!(begun.elapsed().saturating_sub(told) < Duration::from_secs(1), "{:?}", begun.elapsed());
    let event = world.event("the end", |event| event["event"] == "l4" && event["reason"] == "PRINCIPAL_DENIED").await;
    assert_eq!(event["spiffe_id"], "spiffe://acme.test.example.com/worker/w-1");
}
