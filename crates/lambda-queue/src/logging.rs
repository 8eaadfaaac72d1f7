//! JSON log lines through `tracing`, on stdout, one object a line.

use tracing_subscriber::EnvFilter;

/// Sets the process's logger up, once. The level comes from `LOG_LEVEL` (`tracing` filter syntax; default `info`).
/// Log lines hold ids and codes, never customer data: see `Debug` of whatever you log.
pub fn init() {
    let filter = EnvFilter::try_from_env("LOG_LEVEL").unwrap_or_else(|_| EnvFilter::new("info"));
    // An `Err` says that a logger is set already: a test, or a second function in one process.
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .with_writer(std::io::stdout)
        .try_init()
        .ok();
}
