//! The wire codec and the TCP transport of Kontiki.

pub mod wire;
