//! The tests of the flat-file log.

mod crash;
mod damage;
mod fixture;
mod life;
mod readers;
mod routes;
mod samples;
