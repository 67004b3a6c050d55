//! The greeting: each side says who it is, then whether it takes the other.
//!
//! A verdict has one form in all versions of the protocol, so that leaders of different versions can tell each other
//! why they part.

use super::{
    brief,
    frame::{self, Reader, Writer},
};
use crate::{
    core::{Accepted, Connect, Core, Input, Rejected},
    metrics::Traffic,
};
use bytes::Bytes;
use crdt_core::ReplicaId;
use mesh_proto::{Hello, MAX_MESSAGE, Message};
use std::{fmt, io, sync::Arc};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot},
    time::{error::Elapsed, timeout},
};

/// The greatest frame before both sides have taken each other: a greeting with a vector of thousands of leaders.
const MAX_GREETING: usize = 512 << 10;

/// The first byte of a verdict; after `REFUSED` follows a sentence in UTF-8.
const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;
const DUPLICATE: u8 = 2;
/// After it follows a message that shows that the other side runs on a copy of some leader's data.
const FORKED: u8 = 3;

/// A connection that both sides have taken.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) replica: ReplicaId,
    pub(super) accepted: Accepted,
    pub(super) traffic: Traffic,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Why a greeting led to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is another connection to the same peer, which stays.
    Duplicate(ReplicaId),
    /// This side does not take the other, and told it so.
    Refused(String),
    /// The other side does not take this one.
    RefusedByPeer(String),
    /// The other side knows another history of this leader, and has shown it.
    Forked(Message),
    /// The connection broke.
    Broken(io::Error),
    /// The other side closed the connection, or took too long.
    Silent(&'static str),
    /// This leader is stopping.
    Stopping,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Duplicate(_) => f.write_str("there is another connection already"),
            Failed::Refused(why) => f.write_str(why),
            Failed::RefusedByPeer(why) => write!(f, "it refuses this leader: {why}"),
            Failed::Forked(_) => f.write_str("it knows another history of this leader"),
            // The only invalid data there is are lengths of frames.
            Failed::Broken(error) if error.kind() == io::ErrorKind::InvalidData => {
                f.write_str("what it sends is not a leader's greeting: a frame is too long")
            }
            Failed::Broken(error) => write!(f, "the connection broke during the greeting: {error}"),
            Failed::Silent(what) => f.write_str(what),
            Failed::Stopping => f.write_str("this leader is stopping"),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Broken(error)
    }
}

impl From<Elapsed> for Failed {
    fn from(_: Elapsed) -> Self {
        Failed::Silent("it did not greet in time")
    }
}

/// Greets the other side of `stream`; `dialled` if this side opened it.
pub(super) async fn greet(core: &Arc<Core>, stream: TcpStream, dialled: bool) -> Result<Ready, Failed> {
    let limit = core.config.limits.handshake;
    // News is small and should not wait for more.
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = frame::split(stream, MAX_GREETING);
    let (sent, hello, sizes) = timeout(limit, hellos(core, &mut reader, &mut writer)).await??;
    let taken = match hello {
        Ok(hello) => connect(core, hello, sent, dialled).await?,
        Err(why) => Err((None, Rejected::Refused(brief(&why)))),
    };
    let (name, replica, accepted) = match taken {
        Ok(taken) => taken,
        Err((replica, rejected)) => {
            // To be refused with a reason helps whoever reads the other side's log; that it arrives is not essential.
            let _ = timeout(limit, writer.write(verdict(&rejected))).await;
            return Err(match (rejected, replica) {
                (Rejected::Duplicate, Some(replica)) => Failed::Duplicate(replica),
                (Rejected::Duplicate, None) => Failed::Stopping,
                (Rejected::Refused(why) | Rejected::Forked(why, _), _) => Failed::Refused(why),
            });
        }
    };
    let traffic = core.metrics.traffic(&name);
    traffic.sent.inc_by(sizes.0);
    traffic.received.inc_by(sizes.1);
    let answered = timeout(limit, verdicts(replica, &traffic, &mut reader, &mut writer)).await;
    if let Err(failed) = answered.map_err(Failed::from).and_then(|answered| answered) {
        if let Failed::Forked(message) = &failed {
            let (session, message) = (accepted.session, message.clone());
            // The engine finds out from it, and writes no more.
            if let Ok(room) = Arc::new(Semaphore::new(1)).acquire_owned().await {
                let _ = core.send(Input::Message { session, message, room }).await;
            }
        }
        let _ = core.send(Input::Disconnected(accepted.session)).await;
        return Err(failed);
    }
    reader.set_limit(MAX_MESSAGE);
    writer.set_limit(MAX_MESSAGE);
    Ok(Ready { name, replica, accepted, traffic, reader, writer })
}

/// Sends this side's greeting and reads the other's; also gives their sizes.
async fn hellos(
    core: &Arc<Core>,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(Hello, Result<Hello, String>, (u64, u64)), Failed> {
    let said = core.view(|view| view.engine.hello()).await.map_err(|_| Failed::Stopping)?;
    let ours = said.encode();
    let sent = frame::size(&ours);
    writer.write(ours.into()).await?;
    let theirs = reader.read().await?.ok_or(Failed::Silent("it closed the connection without a greeting"))?;
    let hello = Hello::decode(&theirs).map_err(|why| why.to_string());
    Ok((said, hello, (sent, frame::size(&theirs))))
}

type Taken = Result<(String, ReplicaId, Accepted), (Option<ReplicaId>, Rejected)>;

/// Asks the engine whether it takes the connection.
async fn connect(core: &Arc<Core>, hello: Hello, sent: Hello, dialled: bool) -> Result<Taken, Failed> {
    let (name, replica) = (hello.name.clone(), hello.replica);
    let (reply, answer) = oneshot::channel();
    let connect = Input::Connect(Box::new(Connect { hello, sent, dialled, reply }));
    core.send(connect).await.map_err(|_| Failed::Stopping)?;
    let verdict = answer.await.map_err(|_| Failed::Stopping)?;
    Ok(match verdict {
        Ok(accepted) => Ok((name, replica, accepted)),
        Err(Rejected::Refused(why)) => Err((Some(replica), Rejected::Refused(brief(&why)))),
        Err(rejected) => Err((Some(replica), rejected)),
    })
}

fn verdict(rejected: &Rejected) -> Bytes {
    match rejected {
        Rejected::Duplicate => Bytes::from_static(&[DUPLICATE]),
        Rejected::Forked(_, Some(farewell)) => [&[FORKED][..], &farewell.encode()].concat().into(),
        Rejected::Refused(why) | Rejected::Forked(why, None) => [&[REFUSED], why.as_bytes()].concat().into(),
    }
}

/// Says that this side takes the other, and reads what the other says.
async fn verdicts(
    replica: ReplicaId,
    traffic: &Traffic,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Failed> {
    let ours = Bytes::from_static(&[ACCEPTED]);
    traffic.sent.inc_by(frame::size(&ours));
    writer.write(ours).await?;
    let theirs =
        reader.read().await?.ok_or(Failed::Silent("it closed the connection during the greeting"))?;
    traffic.received.inc_by(frame::size(&theirs));
    match *theirs {
        [ACCEPTED] => Ok(()),
        [DUPLICATE] => Err(Failed::Duplicate(replica)),
        [FORKED, ref message @ ..] => Err(match Message::decode(message) {
            Ok(message) => Failed::Forked(message),
            Err(why) => Failed::Refused(format!("its verdict cannot be read: {why}")),
        }),
        [REFUSED, ref why @ ..] => Err(Failed::RefusedByPeer(brief(&String::from_utf8_lossy(why)))),
        _ => Err(Failed::Refused("its verdict is none that is known here".into())),
    }
}
