//! A client of the HTTP API that speaks it by hand.

use super::PATIENCE;
use mesh::Leader;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) struct Client(pub(crate) SocketAddr);

impl Client {
    pub(crate) async fn of(leader: &Leader) -> Self {
        Client(mesh::api::serve(leader, "127.0.0.1:0").await.unwrap())
    }

    pub(crate) async fn open(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        // A server that has refused a large body may have hung up before it was sent.
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        stream
    }

    /// Sends `bytes` on a connection of their own.
    pub(crate) async fn raw(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn text(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.open(method, path, headers, body).await;
        let reply = rest(&mut stream).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {reply:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A whole reply, with its head.
    pub(crate) async fn whole(&self, method: &str, path: &str) -> String {
        rest(&mut self.open(method, path, "", b"").await).await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.text(method, path, "", body.as_bytes()).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|why| panic!("{why}: {body:?}")))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.json("GET", path, "").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) async fn write(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, body) = self.json(method, path, body).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let (status, body) = self.json(method, path, body).await;
        let word = |field: &str| body[field].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
        (status, word("code"), word("error"))
    }
}

/// What comes until the other side closes the connection.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection is closed");
    String::from_utf8(bytes).unwrap()
}
