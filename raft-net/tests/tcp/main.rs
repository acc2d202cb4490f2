//! Transports on the loopback interface.

mod delivery;
mod handshakes;
mod member;
mod raw_peer;
mod removal;
mod versions;
