//! An AWS endpoint that gives the answers of a list: for what no proxy in front of a working one can be told to say.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// How the server ends one call.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The connection is closed.
    Lost,
    /// A status and a body, which need not be JSON.
    Http(u16, &'static str),
}

/// See the module's words. It ends with the test's runtime.
#[derive(Debug)]
pub struct Scripted {
    endpoint: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Scripted {
    /// Gives `answers` in their order, and the last one to whoever asks more often.
    pub async fn new(answers: impl Into<Vec<Answer>>) -> Self {
        let (answers, asked) = (answers.into(), Arc::new(Mutex::new(Vec::new())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            for number in 0.. {
                let mut connection = BufReader::new(listener.accept().await.unwrap().0);
                let call = call(&mut connection).await;
                seen.lock().unwrap().push(call);
                if let Answer::Http(status, body) = answers[number.min(answers.len() - 1)] {
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} S\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    connection.write_all((head + body).as_bytes()).await.unwrap();
                }
            }
        });
        Self { endpoint, asked }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The operations of the calls until now.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(operation, _)| operation.clone()).collect()
    }

    /// The bodies of the same calls.
    pub fn bodies(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

/// Reads one call: operation and body. Its target is e.g. `TrentService.CreateKey`; without one its path tells.
async fn call(connection: &mut BufReader<TcpStream>) -> (String, String) {
    let mut line = String::new();
    connection.read_line(&mut line).await.unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default();
    let (mut operation, mut length) = (path.to_owned(), 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => {
                operation = value.rsplit('.').next().unwrap().to_owned();
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.unwrap();
    (operation, String::from_utf8(body).unwrap())
}
