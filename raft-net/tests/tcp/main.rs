//! Transports on the loopback interface.

mod bulk;
mod delivery;
mod handshakes;
mod member;
mod raw_peer;
mod removal;
mod versions;
