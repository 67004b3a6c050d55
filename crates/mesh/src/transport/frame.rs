//! Frames: a length of four bytes, big-endian, and as many bytes.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use std::io;
use tokio::net::{
    TcpStream,
    tcp::{OwnedReadHalf, OwnedWriteHalf},
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// The bytes before the content of a frame.
const HEADER: usize = 4;

pub(super) struct Reader(FramedRead<OwnedReadHalf, LengthDelimitedCodec>);

pub(super) struct Writer(FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>);

/// Splits a connection; frames may have `limit` bytes.
pub(super) fn split(stream: TcpStream, limit: usize) -> (Reader, Writer) {
    let codec = LengthDelimitedCodec::builder().max_frame_length(limit).new_codec();
    let (reader, writer) = stream.into_split();
    (Reader(FramedRead::new(reader, codec.clone())), Writer(FramedWrite::new(writer, codec)))
}

/// The bytes of a frame on the wire.
pub(super) fn size(content: &[u8]) -> u64 {
    (content.len() + HEADER) as u64
}

impl Reader {
    /// The next frame; `None` if the other side has closed the connection. Safe to cancel.
    pub(super) async fn read(&mut self) -> io::Result<Option<BytesMut>> {
        self.0.next().await.transpose()
    }

    /// From the next frame on, frames may have `limit` bytes.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.0.decoder_mut().set_max_frame_length(limit);
    }
}

impl Writer {
    pub(super) async fn write(&mut self, content: Bytes) -> io::Result<()> {
        self.0.send(content).await
    }

    /// Takes a frame that need not be on its way before the next [`write`](Self::write) or [`flush`](Self::flush).
    pub(super) async fn feed(&mut self, content: Bytes) -> io::Result<()> {
        self.0.feed(content).await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        SinkExt::<Bytes>::flush(&mut self.0).await
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.0.encoder_mut().set_max_frame_length(limit);
    }
}
