//! The tests of the RocksDB log.

mod background;
mod crash;
mod damage;
mod fixture;
mod inspect;
mod kill;
mod life;
mod samples;
