//! The only crate that names `aws_sdk_*`: an adapter for every port, and where functions get their settings from.
//!
//! [`Aws`] holds one client a service, made when first used. Every attempt of every call is counted by an interceptor
//! ([`lambda_queue::meter`]).

mod archive;
mod aws;
mod cases;
mod catalogue;
mod due;
mod effects;
mod events;
mod item;
mod mail;
mod orders;
mod queue;
mod settings;
mod stock;

pub use aws::{Aws, StartError};
pub use settings::{Names, setting};
