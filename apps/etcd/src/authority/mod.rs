//! Accepts clients that name the server by a URL.
//!
//! `etcdctl endpoint status`, given endpoints as URLs, sends `http://host:port` as the `:authority`
//! of its requests. That is not an authority, and the HTTP/2 library refuses such a request before
//! our code runs; etcd's own server accepts it. No code reads that header here, so the invalid
//! letters are overwritten in the bytes from the client, each with a valid letter that takes
//! exactly as many bits, in plain text and in HPACK's Huffman code. This changes no length, and
//! nothing else has to be decoded: this module only finds the boundaries of frames and skips header
//! fields.
//!
//! A name that is not a URL passes unchanged, and so do bytes that are not HTTP/2. Absent: a header
//! that continues in a second frame, which no client of etcd needs.

mod fields;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How many bytes are read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// The longest frame of headers that is examined: the longest that a client may send.
const MAX_HEADERS_BYTES: usize = 16 * 1024;
/// The beginning of an HTTP/2 connection, in part, and its whole length (RFC 9113, 3.4).
const PREFACE: (&[u8], usize) = (b"PRI", 24);
/// The length of a frame's own header, and the type of a frame of header fields.
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;

/// A connection from a client.
pub(crate) struct LenientStream {
    stream: TcpStream,
    chunk: Box<[u8]>,
    inbound: Inbound,
}

/// The bytes that arrived and were not passed on yet.
struct Inbound {
    held: BytesMut,
    /// How many of them may be passed on.
    released: usize,
    position: Position,
}

/// The position in the connection of the byte after the released ones.
enum Position {
    /// At its very beginning.
    Start,
    /// At the header of a frame.
    Frame,
    /// This many bytes before the header of a frame.
    Within(usize),
    /// In bytes that are not HTTP/2, or at the end: all bytes may pass.
    Beyond,
}

impl LenientStream {
    pub(crate) fn new(stream: TcpStream) -> LenientStream {
        let inbound = Inbound { held: BytesMut::new(), released: 0, position: Position::Start };
        LenientStream { stream, chunk: vec![0; CHUNK_BYTES].into_boxed_slice(), inbound }
    }
}

impl AsyncRead for LenientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.inbound.released == 0 {
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                this.inbound.end();
                break;
            }
            this.inbound.take(chunk.filled());
        }
        this.inbound.hand_on(out);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LenientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Inbound {
    fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while self.release() {}
    }

    /// No more bytes will arrive: bytes that were held back because their end is missing pass
    /// unchanged.
    fn end(&mut self) {
        self.position = Position::Beyond;
        self.released = self.held.len();
    }

    fn hand_on(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.released.min(out.remaining());
        out.put_slice(&self.held[..count]);
        self.held.advance(count);
        self.released -= count;
    }

    /// Releases the next part of the bytes if it is complete, and returns whether it was.
    fn release(&mut self) -> bool {
        let rest = &mut self.held[self.released..];
        match self.position {
            Position::Start => {
                let (beginning, length) = PREFACE;
                if rest.len() < beginning.len() {
                    return false;
                }
                let is_http2 = rest.starts_with(beginning);
                self.position = if is_http2 { Position::Within(length) } else { Position::Beyond };
            }
            Position::Frame => {
                let Some(header) = rest.first_chunk::<FRAME_HEADER_BYTES>() else { return false };
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                let (kind, flags) = (header[3], header[4]);
                let frame = FRAME_HEADER_BYTES + length;
                if kind == HEADERS && length <= MAX_HEADERS_BYTES {
                    if rest.len() < frame {
                        return false;
                    }
                    fields::soften(flags, &mut rest[FRAME_HEADER_BYTES..frame]);
                }
                self.position = Position::Within(frame);
            }
            Position::Within(left) => {
                let count = left.min(rest.len());
                self.released += count;
                if count < left {
                    self.position = Position::Within(left - count);
                    return false;
                }
                self.position = Position::Frame;
            }
            Position::Beyond => {
                self.released = self.held.len();
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::fields::{COLON, DASH, Letter, PADDED, PRIORITY, SLASH, SMALL_Z, write_bits};
    use super::*;

    const PREFACE_BYTES: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let header = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&header[..], payload].concat()
    }

    /// A POST with a literal path, and an authority; two fields come before it.
    fn fields(authority: &[u8], is_huffman: bool) -> Vec<u8> {
        let length = authority.len() as u8 | if is_huffman { 0x80 } else { 0 };
        [&[0x83, 0x44, 2, b'/', b'x', 0x41, length][..], authority, &[0x86]].concat()
    }

    fn pass(connection: &[u8], chunk: usize) -> Vec<u8> {
        let mut inbound = Inbound { held: BytesMut::new(), released: 0, position: Position::Start };
        let mut passed = Vec::new();
        let mut hand_on = |inbound: &mut Inbound| {
            let mut room = [0; 7];
            while inbound.released > 0 {
                let mut out = ReadBuf::new(&mut room);
                inbound.hand_on(&mut out);
                passed.extend_from_slice(out.filled());
            }
        };
        for bytes in connection.chunks(chunk) {
            inbound.take(bytes);
            hand_on(&mut inbound);
        }
        inbound.end();
        hand_on(&mut inbound);
        passed
    }

    fn connection(headers: &[u8], flags: u8) -> Vec<u8> {
        let data = frame(0, 0, b"http://data:1 stays\x01\x04\x00");
        [PREFACE_BYTES, &frame(4, 0, &[]), &frame(HEADERS, flags, headers), &data].concat()
    }

    #[test]
    fn a_url_becomes_an_authority_however_the_bytes_arrive() {
        let given = connection(&fields(b"http://127.0.0.1:1", false), 4);
        let wanted = connection(&fields(b"httpz--127.0.0.1:1", false), 4);
        for chunk in 1..given.len() {
            assert_eq!(pass(&given, chunk), wanted, "in chunks of {chunk}");
        }
    }

    #[test]
    fn padding_and_priority_are_stepped_over() {
        for (flags, before) in [(PADDED, &[0][..]), (PADDED | PRIORITY, &[0, 1, 2, 3, 4, 5])] {
            let given = connection(&[before, &fields(b"a://b", false)].concat(), flags);
            let wanted = connection(&[before, &fields(b"az--b", false)].concat(), flags);
            assert_eq!(pass(&given, 11), wanted);
        }
    }

    #[test]
    fn huffman_code_is_repaired_in_place() {
        // "http://a:1" and "httpz--a:1", by the table of RFC 7541.
        let code = |letters: &[(u16, usize)]| {
            let bits: usize = letters.iter().map(|letter| letter.1).sum();
            let mut text = vec![0xff; bits.div_ceil(8)];
            let mut at = 0;
            for &(code, bits) in letters {
                write_bits(&mut text, at, Letter { code, bits });
                at += bits;
            }
            text
        };
        let (h, t, p, a, one) = ((39, 6), (9, 5), (43, 6), (3, 5), (1, 5));
        let (colon, slash) = ((COLON.code, 7), (SLASH.code, 6));
        let (small_z, dash) = ((SMALL_Z.code, 7), (DASH.code, 6));
        let given = code(&[h, t, t, p, colon, slash, slash, a, colon, one]);
        let wanted = code(&[h, t, t, p, small_z, dash, dash, a, colon, one]);
        let passed = pass(&connection(&fields(&given, true), 4), 5);
        assert_eq!(passed, connection(&fields(&wanted, true), 4));
    }

    #[test]
    fn all_else_passes_untouched() {
        let cut_short = [0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff];
        let connections = [
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            connection(&fields(b"127.0.0.1:2379", false), 4),
            connection(&cut_short, 4),
            connection(&[], PADDED | PRIORITY),
            [PREFACE_BYTES, &[0, 0, 9, HEADERS, 4, 0]].concat(),
            vec![b'P', b'R'],
        ];
        for given in connections {
            for chunk in [1, 3, 1000] {
                assert_eq!(pass(&given, chunk), given);
            }
        }
    }
}
