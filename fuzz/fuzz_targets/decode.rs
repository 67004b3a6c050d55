//! Decodes any bytes as every message and every type. What decodes must be a state like any other: canonical (encoding it
//! gives bytes that decode to the same, and the same bytes again), and a point of a semilattice.
#![no_main]

use crdt_core::Merge;
use g_counter::GCounter;
use libfuzzer_sys::fuzz_target;
use lww_register::LwwRegister;
use mesh_proto::{Config, Engine, Hello, Identity, Message, Now, Recovery, Registry, ReplicaId, SessionId};
use or_set::{OrSet, Slice};
use pn_counter::PnCounter;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use version_vector::VersionVector;

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let (value, _) = postcard::take_from_bytes::<T>(bytes).ok()?;
    let canonical = postcard::to_allocvec(&value).expect("what was read can be written");
    assert_eq!(postcard::from_bytes::<T>(&canonical).as_ref(), Ok(&value));
    Some(value)
}

fn state<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone + Default + Merge>(bytes: &[u8]) {
    let json = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str::<T>(text).ok());
    for value in [round_trip::<T>(bytes), json].into_iter().flatten() {
        let mut same = value.clone();
        assert!(!same.merge(&value), "idempotent");
        let mut from_bottom = T::default();
        from_bottom.merge(&value);
        assert_eq!(from_bottom, value);
        let text = serde_json::to_string(&value).expect("every type has a JSON form");
        assert_eq!(serde_json::from_str::<T>(&text).expect("and reads it back"), value);
    }
}

fn engine(n: u64) -> Engine {
    let identity = Identity { cluster: "fuzz".into(), name: format!("{n}"), replica: ReplicaId::new(n) };
    let mut engine =
        Engine::recover(Config::default(), identity, Recovery::new(Registry::new(), 1)).expect("fresh");
    if engine.take_commit().is_some() {
        engine.committed(Now::default());
    }
    engine
}

fuzz_target!(|bytes: &[u8]| {
    state::<VersionVector>(bytes);
    state::<GCounter>(bytes);
    state::<PnCounter>(bytes);
    state::<LwwRegister<String>>(bytes);
    state::<OrSet<String>>(bytes);
    state::<OrSet<u64>>(bytes);
    round_trip::<Slice<Vec<u8>>>(bytes);
    let _ = Hello::decode(bytes);
    // As a message, as a frame, as the body of a delta, and as a step of an exchange.
    let (frame, delta) = (Message::Frame(bytes.to_vec().into()), Message::Part(bytes.to_vec().into()));
    let step = Message::Reconcile(bytes.to_vec().into());
    for message in [Message::decode(bytes).ok(), Some(frame), Some(delta), Some(step)].into_iter().flatten() {
        let mut leader = engine(1);
        let sent = leader.hello();
        leader.connect(SessionId(0), &sent, engine(2).hello(), Now::default()).expect("a good greeting");
        let _ = leader.handle(SessionId(0), message, Now::default());
        assert_eq!(leader.version().get(ReplicaId::new(1)), 0, "nobody moves this leader's counter");
    }
    // As rows of a store.
    let mut recovery = Recovery::new(Registry::new(), 1);
    let (key, value) = bytes.split_at(bytes.len().min(8));
    recovery.row(key, value);
    let identity = Identity { cluster: "fuzz".into(), name: "1".into(), replica: ReplicaId::new(1) };
    let _ = Engine::recover(Config::default(), identity, recovery);
});
