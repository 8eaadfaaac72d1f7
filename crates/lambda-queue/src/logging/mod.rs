//! Log lines as JSON through `tracing`, on stdout, one object a line, with the ids of the invocation and the record they
//! are about; debug lines that are only printed when something fails.
//!
//! ```no_run
//! lambda_queue::logging::init(); // once, at start
//! ```
//!
//! **A line** has, always in this order and none of them twice: `timestamp` (RFC 3339, UTC, milliseconds), `level`,
//! `message`, `service`, `function`, `function_version`, `request_id`, `cold_start`, `subject`, `correlation_id`,
//! `causation_id`, `trace_id`, `xray_trace_id`, `message_id`, `receive_count`, `queue`, then the event's own fields, then
//! those of the spans around it, inner before outer. What is not known is not there. A field of the event wins over one
//! of a span. A field that is called as one of the first six gets `field_` before its name.
//!
//! **Bounds**: 8 KiB a value as it stands in the line (`...[cut]` follows what was longer), 64 KiB a line (fields that
//! have no room are counted in `fields_left_out`). Control characters, and others that a terminal would act on, are
//! escaped. A line is one write.
//!
//! **Ids** come from [`invocation_span`] and [`record_span`], or any span with fields of these names. What a record is about
//! is its `subject`, or what the program calls it: `order_id`, with
//! `Settings { subject_name: "order_id".to_owned(), ..Settings::from_env() }.init()` in place of [`init`].
//!
//! **Levels.** `LOG_LEVEL` is a `tracing` filter: `info`, or `warn,my_crate=debug`. What no part of it names is at
//! `info`. `AWS_LAMBDA_LOG_LEVEL` (`TRACE` to `FATAL`, set by Lambda's logging controls) is what Lambda lets through, so
//! nothing more verbose is written; alone, it is the level. Where `LOG_LEVEL` is more verbose, a line says so once, as
//! Powertools does. `docs/logging.md` says why. A value that cannot be read is said once, and its default holds.
//!
//! **Held lines.** Debug lines that `LOG_LEVEL` does not print are kept in memory, [`invocation`] by invocation, at most
//! `LOG_HELD_LINES` (200) and `LOG_HELD_BYTES` (65536) of them, the oldest giving way. When the invocation fails they
//! are all printed, with their own timestamps; when a record fails ([`fail`]), that record's are; otherwise they are
//! gone at the end. `LOG_HELD` says which: a filter (`debug`; modules of the HTTP stack and the SDK are left out unless
//! it names them) or `off`. `LOG_HELD_UNTIL=invocation` keeps a record's lines until the invocation fails.
//! `LOG_SAMPLE_RATE` (0 to 1) is the share of invocations whose debug lines go out at once: decided by a hash of the
//! request id, so that a retry of a request is decided like the first.
//!
//! **Denied fields.** Values of fields such as `email`, `authorization`, `payment_method` or `..._token` are printed and
//! exported as `[redacted]`; `LOG_REDACT` adds names. This is the second line of defence: types that must not be printed
//! are [`Redacted`](crate::Redacted).
//!
//! **Own layer, not `tracing-subscriber`'s JSON**: that one writes a key twice when an event and a span share it, has no
//! bounds, and cannot hold lines back.
//!
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>,
//! <https://docs.aws.amazon.com/powertools/python/latest/core/logger/>

#[cfg(doctest)]
#[doc = include_str!("../../docs/logging.md")]
mod page {}

mod deny;
mod held;
mod layer;
mod level;
mod line;
mod settings;
mod span;
mod text;

#[cfg(feature = "otlp")]
pub(crate) use line::SUBJECT_FIELD;
#[cfg(feature = "runtime")]
pub(crate) use settings::system_ms;
pub(crate) use span::in_invocation;

use std::sync::Arc;

pub use deny::Denied;
pub use held::LetOut;
pub use level::Levels;
pub use settings::Settings;
pub use span::{
    InvocationIds, RecordIds, current_traceparent, end, fail, flush, invocation, invocation_span, record_span,
};

/// Tells the time of a line, UTC milliseconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where lines go.
pub trait Sink: Send + Sync + 'static {
    /// Takes one whole line, its line end included. Called from any thread; lines must not mix.
    fn line(&self, line: &[u8]);
}

/// Standard output.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stdout;

impl Sink for Stdout {
    fn line(&self, line: &[u8]) {
        // Where stdout is closed there is nobody to tell.
        crate::stdout::line(line).ok();
    }
}

/// Sets the process's logger up, once, from the environment: see [the module](self). Where one is set already (a test, a
/// second function in one process) that one stays.
pub fn init() {
    Settings::from_env().init();
}
