//! The families that need a disk of Linux, for where there is none: each check is skipped, and says
//! so. They are made of the one list of checks, on Linux too, so that none is missing elsewhere.

crate::list_of_checks!(skipped_checks);
