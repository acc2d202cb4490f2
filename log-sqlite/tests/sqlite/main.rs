//! The tests of the SQLite log.

mod crash;
mod damage;
mod fixture;
mod founding;
mod full_disk;
mod inspect;
mod life;
mod newer;
mod samples;
