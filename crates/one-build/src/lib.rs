//! One build of each dependency (ADR 8): a crate that has nothing to call, and turns features on.
//!
//! Which features a dependency is built with depends on what is built beside it, and every other set compiles it, and all that
//! stands on it, anew: tokio, and so the AWS SDKs. `tests`, which is part of each build of the whole, depends on this crate; a
//! function does so by its feature `one-build`, for builds of that function alone (`cargo lambda watch`). A function that is
//! released has none of it.
