//! The tests of the RocksDB log.

mod crash;
mod damage;
mod fixture;
mod inspect;
mod kill;
mod life;
mod samples;
