//! Whom an order calls outside: payment over Stripe's API, a carrier over HTTP JSON, and the mails it writes.
//!
//! What every adapter here keeps to, because money hangs on it ([`ports::ProviderError`] has the names):
//!
//! - **The first byte.** Only what failed while connecting, TLS included, is `NotRun`; a 429 is an answer, `Throttled`.
//!   From the first byte of a request on, whatever goes wrong (a reset, a timeout, half an answer, an answer that cannot
//!   be read, a 5xx) is `Unknown`: the effect may have happened.
//! - **No second try.** A call is one request for its effect; redirects and proxies are off. Whether to ask again is for
//!   the step to decide, which knows the effect's record. (The one thing that goes out again is a request whose
//!   connection was found closed before anything of it was written.)
//! - **At most 5 s** a call, the reading of the answer and the pages of a look-up included.
//! - **A probe has no effect.** One GET that tells whether the provider answers.
//! - **Nothing to leak.** Keys are [`Secret`]s. An error's text holds an HTTP status, words of the provider's own
//!   vocabulary (error types, codes, parameter names) and its request id; never a message of the provider, as those
//!   quote what the customer sent.

mod carrier;
mod http;
pub mod mail;
mod secret;
mod stripe;

pub use carrier::HttpCarrier;
pub use http::SetupError;
pub use secret::Secret;
pub use stripe::{STRIPE_VERSION, Stripe, StripeLimits};
