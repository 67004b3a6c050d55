//! A connection at work: frames to the engine and from it, until one of the sides has enough.

use super::{
    frame::{self, Reader, Writer},
    handshake::Ready,
    heartbeat,
};
use crate::{
    core::{Core, Input, Starved},
    map,
    metrics::Traffic,
};
use bytes::Bytes;
use mesh_proto::{Message, SessionId};
use std::{fmt, io, sync::Arc};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How many messages of one connection wait for the engine at most; while they do, the other side waits too.
const MESSAGES_AHEAD: usize = 4;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The engine closed it, or the leader is stopping.
    Here,
    /// The other side closed it.
    There,
    /// Nothing came for too long.
    Silence,
    Broken(io::Error),
    /// A frame is no message.
    Garbage(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Here => f.write_str("it was closed here"),
            Ended::There => f.write_str("the peer closed it"),
            Ended::Silence => f.write_str("the peer fell silent"),
            Ended::Broken(error) => write!(f, "it broke: {error}"),
            Ended::Garbage(why) => write!(f, "the peer sent what is no message: {why}"),
        }
    }
}

/// Carries messages until the connection ends, or `close` is set; then the engine knows.
pub(super) async fn run(core: &Arc<Core>, ready: Ready, close: &CancellationToken) -> Ended {
    let Ready { accepted, traffic, reader, writer, .. } = ready;
    let session = accepted.session;
    let ended = tokio::select! {
        () = accepted.close.cancelled() => Ended::Here,
        () = close.cancelled() => Ended::Here,
        ended = receive(core, session, reader, &traffic) => ended,
        ended = send(core, accepted.frames, &accepted.starved, writer, &traffic) => ended,
    };
    // Fails only if the engine has stopped.
    let _ = core.send(Input::Disconnected(session)).await;
    ended
}

async fn receive(core: &Core, session: SessionId, mut reader: Reader, traffic: &Traffic) -> Ended {
    let room = Arc::new(Semaphore::new(MESSAGES_AHEAD));
    // The other side says something every heartbeat; an engine that waits for its disk may make it late.
    let patience = heartbeat(core) * 4;
    loop {
        let bytes = match timeout(patience, reader.read()).await {
            Err(_) => return Ended::Silence,
            Ok(Err(error)) => return Ended::Broken(error),
            Ok(Ok(None)) => return Ended::There,
            Ok(Ok(Some(bytes))) => bytes,
        };
        traffic.received.inc_by(frame::size(&bytes));
        if bytes.is_empty() {
            continue;
        }
        if let Some((&map::MARK, announcements)) = bytes.split_first() {
            let Ok(announcements) = map::decode(announcements) else {
                return Ended::Garbage("its announcements are damaged".into());
            };
            if core.send(Input::Announced { session, announcements }).await.is_err() {
                return Ended::Here;
            }
            continue;
        }
        let message = match Message::decode(&bytes) {
            Ok(message) => message,
            Err(error) => return Ended::Garbage(error.to_string()),
        };
        let Ok(room) = Arc::clone(&room).acquire_owned().await else { return Ended::Here };
        if core.send(Input::Message { session, message, room }).await.is_err() {
            return Ended::Here;
        }
    }
}

async fn send(
    core: &Core,
    mut frames: mpsc::Receiver<Bytes>,
    starved: &Starved,
    mut writer: Writer,
    traffic: &Traffic,
) -> Ended {
    loop {
        // An engine at a long merge or commit says nothing. An empty frame says that the process lives.
        let next = timeout(heartbeat(core) * 2, frames.recv()).await;
        let frame = match next {
            Err(_) => Bytes::new(),
            Ok(None) => return Ended::Here,
            Ok(Some(frame)) => frame,
        };
        let mut next = Some(frame);
        while let Some(frame) = next {
            traffic.sent.inc_by(frame::size(&frame));
            if let Err(error) = writer.feed(frame).await {
                return Ended::Broken(error);
            }
            next = frames.try_recv().ok();
            if starved.take() && core.send(Input::Wake).await.is_err() {
                return Ended::Here;
            }
        }
        if let Err(error) = writer.flush().await {
            return Ended::Broken(error);
        }
    }
}
