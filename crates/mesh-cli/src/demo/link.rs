//! The links between leaders: small TCP relays, so that a link can be cut without the leaders having any part in it.

use anyhow::{Context, Result};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A relay: whoever connects to [`address`](Link::address) is connected to the target, unless the link is cut.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    forth: AtomicU64,
    back: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Where connections lead; `None` while nobody is there.
    target: Option<SocketAddr>,
    cut: bool,
    ended: bool,
    /// Both ends of each connection that was made.
    streams: Vec<TcpStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&self) -> Option<SocketAddr> {
        self.target.filter(|_| !self.cut && !self.ended)
    }

    fn break_connections(&mut self) {
        for stream in self.streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    /// A link on a free port that leads nowhere yet.
    pub(super) fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("no port is free for a link between leaders")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on connections lead there.
    pub(super) fn lead_to(&self, target: SocketAddr) {
        self.shared.state().target = Some(target);
    }

    /// Breaks all connections, and refuses new ones until [`heal`](Link::heal).
    pub(super) fn cut(&self) {
        let mut state = self.shared.state();
        state.cut = true;
        state.break_connections();
    }

    pub(super) fn heal(&self) {
        self.shared.state().cut = false;
    }

    /// How many bytes who connects has sent, and how many the target.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.shared.forth.load(Relaxed), self.shared.back.load(Relaxed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        state.break_connections();
        drop(state);
        // Wakes the thread, which waits for a connection; if that fails it goes on waiting, and ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.state().ended {
            return;
        }
        // What cannot be connected is closed at once, and the leader will try again.
        if let Ok(near) = near {
            let _ = connect(near, shared);
        }
    }
}

fn connect(near: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(target) = shared.state().open() else { return Ok(()) };
    let far = TcpStream::connect_timeout(&target, Duration::from_secs(1))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
    let ends = [near.try_clone()?, far.try_clone()?];
    let mut state = shared.state();
    if state.open() != Some(target) {
        // Cut in the meantime.
        return Ok(());
    }
    state.streams.extend(ends);
    drop(state);
    let forth = Arc::clone(shared);
    thread::spawn(move || pump(near, far, &forth.forth));
    let back = Arc::clone(shared);
    thread::spawn(move || pump(back_from, back_to, &back.back));
    Ok(())
}

/// Passes bytes on until either side ends; then the connection is of no more use in either direction.
fn pump(mut from: TcpStream, mut to: TcpStream, sent: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                sent.fetch_add(count as u64, Relaxed);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut stream.try_clone().expect("a handle"), &mut stream));
            }
        });
        address
    }

    fn says_hello(stream: &mut TcpStream) -> bool {
        let mut reply = [0; 5];
        stream.write_all(b"hello").is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"hello"
    }

    #[test]
    fn a_cut_link_breaks_and_refuses_and_a_healed_one_passes_again() {
        let link = Link::new().expect("a link");
        let dial = || TcpStream::connect(link.address()).expect("the relay listens");
        assert!(!says_hello(&mut dial()), "it leads nowhere");
        link.lead_to(echo());
        let mut stream = dial();
        assert!(says_hello(&mut stream));
        assert_eq!(link.bytes(), (5, 5));
        link.cut();
        assert!(!says_hello(&mut stream), "cut");
        assert!(!says_hello(&mut dial()), "refused");
        link.heal();
        assert!(!says_hello(&mut stream), "what was cut stays so");
        assert!(says_hello(&mut dial()));
        assert_eq!(link.bytes(), (10, 10));
    }
}
