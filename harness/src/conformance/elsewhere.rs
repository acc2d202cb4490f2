//! The families that need a Linux disk, on other systems: each check reports that it is skipped.
//! They are generated from the one list of checks, on Linux too, so that a check that is missing
//! here is noticed there.

crate::list_of_checks!(skipped_checks);
