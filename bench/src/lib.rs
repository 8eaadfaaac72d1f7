//! `lambda-queue` beside Powertools for AWS Lambda (Python and TypeScript) and a bare `lambda_runtime` handler: the same
//! works on the same machine in the same run.
//!
//! | module | what |
//! | --- | --- |
//! | [`function`] | a function's process: its environment, what it prints, its CPU time and memory |
//! | [`contestant`] | who is compared, and how each is started |
//! | [`dynamodb`] | DynamoDB Local, and the tables |
//! | [`work`] | what is compared, how often it is repeated, the samples |
//! | [`start`] | from a process's start to its first poll |
//! | [`functions`] | the order system's functions: size, start, memory |
//! | [`panics`] | one record of ten panics and the other nine are answered |
//! | [`quiet`] | ports with no network behind them |
//! | [`report`] | medians and spread, the table, the files |
//!
//! How it measures, and what may be compared with what: docs/performance.md.

pub mod contestant;
pub mod dynamodb;
pub mod event;
pub mod function;
pub mod functions;
pub mod panics;
pub mod quiet;
pub mod report;
pub mod start;
pub mod work;
