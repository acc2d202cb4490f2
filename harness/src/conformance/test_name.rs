//! The full name of a test: for the command that a failure prints, and for a check that starts its
//! own test in a second process.

/// The full name of a test, for the command that runs it again.
#[derive(Clone, Copy, Debug)]
pub struct TestName {
    /// The package.
    pub package: &'static str,
    /// The test binary.
    pub binary: &'static str,
    /// The module, from the binary on.
    pub module: &'static str,
}

/// The test in which a check runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rerun {
    test: TestName,
    name: &'static str,
}

impl Rerun {
    pub(crate) fn new(test: TestName, name: &'static str) -> Rerun {
        Rerun { test, name }
    }

    /// The test's name, as the test runner lists it.
    pub(crate) fn path(&self) -> String {
        self.test.path(self.name)
    }
}

impl TestName {
    fn path(&self, name: &str) -> String {
        match self.module.split_once("::") {
            Some((_, inner)) => format!("{inner}::{name}"),
            None => name.to_owned(),
        }
    }

    pub(crate) fn command(&self, name: &str) -> String {
        let (package, binary) = (self.package, self.binary);
        format!("cargo test -p {package} --test {binary} -- --exact {}", self.path(name))
    }
}
