//! The routes of values.

use super::{
    blob::Text,
    body::{By, Contains, Elements, Keys, Members, Named, NewValue, Nothing, ReceiptBody, Value, json},
    error::ApiError,
    request::{Name, Write, query},
};
use crate::{Leader, topology::is_reserved};
use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mesh_proto::{Kind, Op};

type Reply = Result<Response, ApiError>;

async fn perform<T>(leader: &Leader, write: Write<T>, op: impl FnOnce(T) -> Op) -> Reply {
    let Write { name, body, idempotency_key } = write;
    let receipt = leader.write(name, op(body), idempotency_key).await?;
    Ok(json(&ReceiptBody::from(receipt)))
}

pub(super) async fn counter(State(leader): State<Leader>, Name(name): Name) -> Reply {
    Ok(json(&Value { value: leader.counter(name).await?, stamp: None }))
}

pub(super) async fn increment(State(leader): State<Leader>, write: Write<By>) -> Reply {
    perform(&leader, write, |By { by }| Op::Increment(by)).await
}

pub(super) async fn decrement(State(leader): State<Leader>, write: Write<By>) -> Reply {
    perform(&leader, write, |By { by }| Op::Decrement(by)).await
}

pub(super) async fn g_counter(State(leader): State<Leader>, Name(name): Name) -> Reply {
    let value =
        leader.read_as(Kind::GCounter, name, |engine, name| engine.g_counter(name).unwrap_or(0)).await?;
    Ok(json(&Value { value, stamp: None }))
}

pub(super) async fn grow(State(leader): State<Leader>, write: Write<By>) -> Reply {
    perform(&leader, write, |By { by }| Op::Grow(by)).await
}

pub(super) async fn register(State(leader): State<Leader>, Name(name): Name) -> Reply {
    let Some((value, stamp)) = leader.register(name.as_str()).await? else {
        let error = format!("nobody has written a register {name:?}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not-found", error));
    };
    Ok(json(&Value { value: Text(value), stamp: Some(stamp) }))
}

pub(super) async fn assign(State(leader): State<Leader>, write: Write<NewValue>) -> Reply {
    perform(&leader, write, |NewValue { value: Text(value) }| Op::Assign(value)).await
}

pub(super) async fn members(State(leader): State<Leader>, Name(name): Name) -> Reply {
    let members = leader.members(name).await?.into_iter().map(Text).collect();
    Ok(json(&Members { members }))
}

pub(super) async fn contains(State(leader): State<Leader>, Name(name): Name, uri: Uri) -> Reply {
    let element = match query(&uri, ["element", "base64"])? {
        [Some(element), None] => element.into_bytes(),
        [None, Some(text)] => BASE64_STANDARD
            .decode(&text)
            .map_err(|why| ApiError::bad_request(format!("{text:?} is not base64: {why}")))?,
        _ => {
            let sentence = "the query must name one element, as element=text or as base64=…";
            return Err(ApiError::bad_request(sentence));
        }
    };
    Ok(json(&Contains { contains: leader.contains(name, element).await? }))
}

pub(super) async fn add(State(leader): State<Leader>, write: Write<Elements>) -> Reply {
    perform(&leader, write, |elements| Op::Add(elements.into_blobs())).await
}

pub(super) async fn remove(State(leader): State<Leader>, write: Write<Elements>) -> Reply {
    perform(&leader, write, |elements| Op::Remove(elements.into_blobs())).await
}

pub(super) async fn clear(State(leader): State<Leader>, write: Write<Nothing>) -> Reply {
    perform(&leader, write, |Nothing {}| Op::Clear).await
}

pub(super) async fn keys(State(leader): State<Leader>, uri: Uri) -> Reply {
    let [prefix] = query(&uri, ["prefix"])?;
    let prefix = prefix.unwrap_or_default();
    let read = leader.read(move |engine| {
        let named = |key: &mesh_proto::Key| Named::from(key);
        // The mesh's own keys are listed for whoever asks for them.
        let shown = |key: &&mesh_proto::Key| is_reserved(&prefix) || !is_reserved(&key.name);
        engine.keys(&prefix).filter(shown).map(named).collect()
    });
    Ok(json(&Keys { keys: read.await? }))
}
