//! The tests of the flat-file log.

mod closing;
mod crash;
mod damage;
mod fixture;
mod full_disk;
mod inspect;
mod life;
mod newer;
mod readers;
mod routes;
mod samples;
