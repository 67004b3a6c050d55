//! The routes of the topology and the members.

use super::{
    body::{NewMember, NewTopology, ReceiptBody, json},
    error::ApiError,
    request::{Body, Name, Write},
};
use crate::{Leader, Member};
use axum::{extract::State, response::Response};

type Reply = Result<Response, ApiError>;

pub(super) async fn show(State(leader): State<Leader>) -> Reply {
    Ok(json(&leader.topology().await?))
}

pub(super) async fn set(State(leader): State<Leader>, Body(body): Body<NewTopology>) -> Reply {
    Ok(json(&ReceiptBody::from(leader.set_topology(body.topology).await?)))
}

pub(super) async fn add(State(leader): State<Leader>, write: Write<NewMember>) -> Reply {
    let Write { name, body: NewMember { address, region }, .. } = write;
    Ok(json(&ReceiptBody::from(leader.add_member(Member { name, address, region }).await?)))
}

pub(super) async fn remove(State(leader): State<Leader>, Name(name): Name) -> Reply {
    Ok(json(&ReceiptBody::from(leader.remove_member(name).await?)))
}
