//! The families that need a Linux disk, on other systems: each check is skipped, and reports it.
//! They are generated from the one list of checks, on Linux, too, so that none is missing
//! elsewhere.

crate::list_of_checks!(skipped_checks);
