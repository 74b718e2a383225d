//! A client of MQTT 3.1.1 that sends whatever a test wants.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rustls::{ClientConfig, HandshakeKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that was let in.
pub(crate) struct Mqtt {
    stream: TlsStream<TcpStream>,
    next: u16,
    /// Messages that came while something else was waited for.
    waiting: VecDeque<(u8, Vec<u8>)>,
}

/// A CONNECT packet.
#[derive(Clone, Default)]
pub(crate) struct Hello<'a> {
    pub(crate) client_id: &'a str,
    /// Whether the broker is to keep what was subscribed to.
    pub(crate) stays: bool,
    pub(crate) will: Option<(&'a str, &'a str)>,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
}

/// How the broker refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// CONNACK with this return code (MQTT 3.1.1 section 3.2.2.3).
    Code(u8),
    /// The connection ended.
    Closed,
}

impl<'a> Hello<'a> {
    pub(crate) fn of(client_id: &'a str) -> Self {
        Self { client_id, ..Self::default() }
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let flag = |bit: u8, is_set: bool| if is_set { 1 << bit } else { 0 };
        let flags = flag(1, !self.stays)
            | flag(2, self.will.is_some())
            | flag(6, self.password.is_some())
            | flag(7, self.username.is_some());
        let mut body = text("MQTT");
        body.extend([4, flags, 0, 60]);
        body.extend(text(self.client_id));
        for one in self.will.into_iter().flat_map(|(topic, payload)| [topic, payload]) {
            body.extend(text(one));
        }
        for one in [self.username, self.password].into_iter().flatten() {
            body.extend(text(one));
        }
        packet(0x10, &body)
    }
}

impl Mqtt {
    pub(crate) async fn connect(tls: &Arc<ClientConfig>, port: u16, hello: &Hello<'_>) -> Result<Self, Refusal> {
        Self::connect_with(tls, port, &hello.packet()).await
    }

    /// With bytes instead of a CONNECT packet.
    pub(crate) async fn connect_with(tls: &Arc<ClientConfig>, port: u16, first: &[u8]) -> Result<Self, Refusal> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(|_| Refusal::Closed)?;
        let mut client = Self { stream, next: 1, waiting: VecDeque::new() };
        if client.stream.write_all(first).await.is_err() {
            return Err(Refusal::Closed);
        }
        match client.read().await {
            Some((0x20, body)) if body[1] == 0 => Ok(client),
            Some((0x20, body)) => Err(Refusal::Code(body[1])),
            Some(other) => panic!("not CONNACK: {other:?}"),
            None => Err(Refusal::Closed),
        }
    }

    /// Sends bytes and ends the connection without a look at what comes.
    pub(crate) async fn cut_after(tls: &Arc<ClientConfig>, port: u16, first: &[u8]) {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream.flush().await.unwrap();
    }

    pub(crate) fn was_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The code in SUBACK: 0x80 is a refusal (so is an end of the connection), anything else says little.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = self.number().to_vec();
        body.extend(text(filter));
        body.push(1);
        self.send(&packet(0x82, &body)).await;
        loop {
            match self.read().await {
                Some((0x90, body)) => return body[2],
                Some(message) if message.0 >> 4 == 3 => self.waiting.push_back(message),
                None => return 0x80,
                other => panic!("no SUBACK for {filter:.80}: {other:?}"),
            }
        }
    }

    /// With QoS 1: the broker has done with it when this returns. False: the connection ended.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> bool {
        let mut body = text(topic);
        body.extend(self.number());
        body.extend(payload.as_bytes());
        let kind = if retain { 0x33 } else { 0x32 };
        if self.stream.write_all(&packet(kind, &body)).await.is_err() {
            return false;
        }
        loop {
            match self.read().await {
                Some((0x40, _)) => return true,
                Some(message) if message.0 >> 4 == 3 => self.waiting.push_back(message),
                None => return false,
                other => panic!("no PUBACK for {topic:.80}: {other:?}"),
            }
        }
    }

    /// The next message, with its topic.
    pub(crate) async fn message(&mut self) -> (String, String) {
        loop {
            let next = match self.waiting.pop_front() {
                Some(message) => Some(message),
                None => self.read().await,
            };
            let (kind, body) = next.expect("the connection goes on");
            if kind >> 4 != 3 {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
            let rest = &body[2 + length..];
            let payload = if kind & 6 == 0 { rest } else { &rest[2..] };
            if kind & 6 != 0 {
                let ack = packet(0x40, &rest[..2]);
                self.send(&ack).await;
            }
            return (topic, String::from_utf8(payload.to_vec()).unwrap());
        }
    }

    /// Waits until the broker ends the connection.
    pub(crate) async fn ended(&mut self) {
        loop {
            let (mut byte, patience) = ([0; 256], Duration::from_secs(30));
            match timeout(patience, self.stream.read(&mut byte)).await.expect("the broker ends it") {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Ends the connection without a word, so that the will is sent.
    pub(crate) async fn vanish(self) {
        drop(self);
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    fn number(&mut self) -> [u8; 2] {
        self.next = self.next.wrapping_add(1).max(1);
        self.next.to_be_bytes()
    }

    /// A packet: its first byte and its body.
    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, self.read_patiently()).await.expect("the broker answers")
    }

    async fn read_patiently(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }
}

/// A text with its length (MQTT 3.1.1 section 1.5.3).
pub(crate) fn text(text: &str) -> Vec<u8> {
    bytes(text.as_bytes())
}

pub(crate) fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut left) = (vec![kind], body.len());
    loop {
        let byte = u8::try_from(left & 0x7f).unwrap();
        left >>= 7;
        packet.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
