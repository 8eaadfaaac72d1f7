//! A function's own binary on this machine, invoked as Lambda does.
//!
//! | what | for whom |
//! | --- | --- |
//! | [`RuntimeApi`] | the Lambda Runtime API on a loopback port, for one process: the benchmarks, which start and watch it themselves |
//! | [`Function`] | a process under it, with what it prints: the tests of the deployed stack, `orderflow replay-local` |
//!
//! What Lambda does around a function is not here: no freezing between invocations, no limit of memory, no extensions, no
//! second process. A process that does not answer in time is not killed; its owner does that.

mod api;
mod function;

pub use api::{Answer, Limit, RuntimeApi, Unanswered};
pub use function::{Function, Invoked, Outcome};
