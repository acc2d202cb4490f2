//! The tests of the memory log.

mod contract;
mod grouping;
mod samples;
mod split;
