//! The tools of the black-box tests: a runner that gives every test its own
//! namespaces, root file systems, a guest with another kernel, and faults.
//!
//! A test is a function. It fails by panicking, passes by returning, and may
//! skip only by naming a [`Requirement`](requirement::Requirement) that the
//! machine really lacks; the runner checks that.

pub mod attribute;
pub mod booted;
pub mod command;
pub mod compare;
pub mod descriptors;
pub mod fault;
pub mod filter;
pub mod guest;
pub mod ids;
pub mod init;
pub mod isolate;
pub mod json;
pub mod lock;
pub mod message;
pub mod networks;
pub mod pod;
pub mod policy;
pub mod profile;
pub mod random;
pub mod registered;
pub mod report;
pub mod requirement;
pub mod roots;
pub mod runner;
pub mod signals;
pub mod space;
pub mod sys;
pub mod terminal;
pub mod trace;

use requirement::Requirement;

/// What a test returns when it does not fail.
pub type TestResult = Result<(), Skip>;

/// The requirement that made a test skip.
#[derive(Debug)]
pub struct Skip(pub Requirement);

/// One test.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// The function's name.
    pub name: &'static str,
    /// Runs in a process of its own.
    pub run: fn() -> TestResult,
}

/// Tests of one subject.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The module's name; `--group` takes it.
    pub name: &'static str,
    /// Whether the tests also run in the guest, against its older kernel.
    pub in_guest: bool,
    /// What one test may take, in seconds.
    pub limit: u64,
    /// What has to be made (once, cached) before the group's tests run.
    pub needs: &'static [Requirement],
    /// The tests.
    pub tests: &'static [Test],
}

/// Declares a module's table of tests: `tests![first, second];`
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this file.
        pub const TESTS: &[$crate::Test] = &[
            $($crate::Test { name: stringify!($name), run: $name }),*
        ];
    };
}
