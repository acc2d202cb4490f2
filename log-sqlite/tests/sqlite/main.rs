//! The tests of the SQLite log.

mod checkpoint;
mod crash;
mod creation;
mod damage;
mod fixture;
mod full_disk;
mod inspect;
mod life;
mod newer;
mod samples;
