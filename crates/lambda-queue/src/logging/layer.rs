//! The `tracing` layer that writes lines, or holds them back.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::deny::Denied;
use super::held::{Fate, Held, LetOut};
use super::level::Levels;
use super::line::{Fields, Gather, REQUEST_ID, Scratch};
use super::span::{INVOCATION, RECORD, TARGET};
use super::{Now, Sink};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Callsites that are needed: those that are printed and those that may be held back. Spans are, down to `info`, whatever
/// the level of lines: they carry the ids.
pub(super) struct Wanted {
    pub(super) print: Levels,
    pub(super) debug: Option<Levels>,
}

impl Wanted {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        (metadata.is_span() && *metadata.level() <= Level::INFO)
            || self.print.enabled(metadata)
            || self.debug.as_ref().is_some_and(|debug| debug.enabled(metadata))
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let debug = self.debug.as_ref().map_or(LevelFilter::OFF, Levels::most);
        Some(self.print.most().max(debug).max(LevelFilter::INFO))
    }
}

/// What a record's span keeps: whether it has failed.
pub(super) struct RecordFailed(pub(super) AtomicBool);

/// What a span knows of its trace.
pub(super) struct Trace {
    /// 32 hexadecimal digits.
    pub(super) trace_id: String,
    /// For messages that are sent from inside.
    pub(super) traceparent: String,
}

/// The layer.
pub(super) struct Lines {
    pub(super) print: Levels,
    pub(super) let_out: LetOut,
    pub(super) held_lines: usize,
    pub(super) held_bytes: usize,
    /// Of 2^64.
    pub(super) sampled_below: Option<u64>,
    pub(super) denied: Arc<Denied>,
    pub(super) subject: String,
    /// `,"service":...,"function":...`
    pub(super) head: Vec<u8>,
    pub(super) now: Now,
    pub(super) sink: Arc<dyn Sink>,
    #[cfg(feature = "otlp")]
    pub(super) exporter: Option<Arc<crate::otlp::Exporter>>,
}

impl Lines {
    /// Whether debug lines of this request go out at once: by its id, so that every process decides alike.
    fn sampled(&self, request_id: Option<&[u8]>) -> bool {
        let id = request_id.unwrap_or_default();
        let id = id.strip_prefix(b"\"").and_then(|id| id.strip_suffix(b"\"")).unwrap_or(id);
        self.sampled_below.is_some_and(|below| hash(id) <= below)
    }

    fn gather<'a>(&'a self, fields: &'a mut Fields, of_span: bool, replace: bool) -> Gather<'a> {
        Gather { fields, denied: &self.denied, subject: &self.subject, of_span, replace }
    }

    fn with_scratch(&self, work: impl FnOnce(&mut Scratch)) {
        // Taken, not borrowed: a value whose `Debug` logs gets a fresh one.
        let mut scratch = SCRATCH.try_with(RefCell::take).unwrap_or_default();
        work(&mut scratch);
        SCRATCH.try_with(|kept| kept.replace(scratch)).ok();
    }
}

/// FNV-1a, then mixed as SplitMix64 does, so that ids that differ in one digit differ everywhere.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut self.gather(&mut fields, true, false));
        let metadata = attributes.metadata();
        let mut extensions = span.extensions_mut();
        if metadata.target() == TARGET && metadata.name() == INVOCATION {
            let sampled = self.sampled(fields.get(REQUEST_ID));
            let lines = if self.let_out == LetOut::Never { 0 } else { self.held_lines };
            extensions.replace(Arc::new(Held::new(sampled, lines, self.held_bytes)));
        } else if metadata.target() == TARGET && metadata.name() == RECORD {
            extensions.replace(RecordFailed(AtomicBool::new(false)));
        }
        extensions.replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Written beside and taken over afterwards: a `Debug` that logs would wait for the span's lock for ever.
        let mut fields = Fields::default();
        values.record(&mut self.gather(&mut fields, true, true));
        let mut extensions = span.extensions_mut();
        if let Some(known) = extensions.get_mut::<Fields>() {
            fields.inherit(known);
            *known = fields;
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut held: Option<Arc<Held>> = None;
        let mut record = 0;
        if !self.print.enabled(metadata) {
            let mut record_failed = false;
            for span in context.event_scope(event).into_iter().flatten() {
                let extensions = span.extensions();
                if let Some(failed) = extensions.get::<RecordFailed>().filter(|_| record == 0) {
                    record = span.id().into_u64();
                    record_failed = failed.0.load(Ordering::Relaxed);
                }
                if let Some(found) = extensions.get::<Arc<Held>>() {
                    held = Some(Arc::clone(found));
                    break;
                }
            }
            // Outside an invocation there is nothing whose failure would let it out.
            let Some(holding) = &held else { return };
            match holding.fate() {
                Fate::Print => held = None,
                Fate::Hold if record_failed && self.let_out == LetOut::Record => held = None,
                Fate::Hold => {}
                Fate::Drop => return,
            }
        }
        self.with_scratch(|scratch| {
            scratch.fields.clear();
            event.record(&mut self.gather(&mut scratch.fields, false, false));
            for span in context.event_scope(event).into_iter().flatten() {
                let extensions = span.extensions();
                if let Some(fields) = extensions.get::<Fields>() {
                    scratch.fields.inherit(fields);
                }
                if let Some(trace) = extensions.get::<Trace>() {
                    scratch.fields.trace_id(&trace.trace_id);
                }
            }
            scratch.write((self.now)(), metadata.level().as_str(), metadata.name(), &self.head, &self.subject);
            match &held {
                None => self.sink.line(&scratch.line),
                Some(held) => held.push(record, &scratch.line),
            }
        });
    }
}
