//! Looks at the deployed stack from outside, as a customer, an operator and an auditor would: through the HTTP API, the
//! tables, queues and logs of the local AWS, and the ledger of the payment provider and the carrier.
//!
//! | module | what |
//! | --- | --- |
//! | [`deployed`] | one handle on everything below, made from a running stack |
//! | [`api`], [`tables`], [`queues`], [`logs`], [`ledger`], [`mail`], [`archive`], [`mappings`] | one window each |
//! | [`check`] | the invariants of the design, each a function over [`check::Evidence`] |
//! | [`chaos`] | the run behind `make chaos`: the same while everything around the orders fails |
//! | [`run`] | the run behind `make run`: generated orders, live progress, report |
//! | [`wait`] | polling for a condition; nothing here sleeps and hopes |
//! | [`guard`] | stops a stack when the process that wanted it is gone, however it went |

pub mod api;
pub mod archive;
pub mod chaos;
pub mod check;
pub mod clock;
pub mod deployed;
pub mod guard;
pub mod ledger;
pub mod logs;
pub mod mail;
pub mod mappings;
pub mod queues;
pub mod run;
pub mod tables;
pub mod wait;
