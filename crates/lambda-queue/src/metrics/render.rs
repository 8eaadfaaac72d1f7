//! Documents as JSON, written straight: no tree is built.

use std::io::Write;

use super::{AHEAD_MS, Document, Metric, Number, OLDEST_MS, Part, Why};
use crate::envelope::rfc3339;

/// Most metrics of a document, and most values of a metric in it.
const MOST: usize = 100;
/// Most bytes of a document with metrics: under CloudWatch Logs' earlier limit of 256 KiB, which some readers still have.
const MOST_BYTES: usize = 256 * 1024 - 1;
/// Longest property that goes along in every document of a split, and most of all of them, bytes.
const LONGEST_INLINE: usize = 32 * 1024;
const MOST_INLINE: usize = 64 * 1024;
/// The member that tells of lines that could not be written.
pub(super) const LOST: &str = "metrics_lines_lost";

impl Document {
    /// The lines, each ended. `lost`: how many could not be written before.
    pub(super) fn render(&mut self, now_ms: u64, lost: u64) -> Vec<Vec<u8>> {
        let at_ms = match self.at_ms {
            Some(at_ms) if at_ms.saturating_add(OLDEST_MS) < now_ms || at_ms > now_ms.saturating_add(AHEAD_MS) => {
                self.refuse(Part::Timestamp, "timestamp", Why::Time);
                now_ms
            }
            Some(at_ms) => at_ms,
            None => now_ms,
        };
        let mut members = Vec::with_capacity(512);
        members.extend_from_slice(b"\"level\":\"INFO\",\"message\":");
        text(&mut members, &short(&self.message));
        members.extend_from_slice(b",\"timestamp\":\"");
        members.extend_from_slice(rfc3339(now_ms).as_bytes());
        members.push(b'"');
        if lost > 0 {
            put(&mut members, format_args!(",\"{LOST}\":{lost}"));
        }
        for (name, value) in &self.settings.defaults {
            pair(&mut members, name, value);
        }
        for (name, value) in &self.dimensions {
            pair(&mut members, name, value);
        }
        let mut inline = 0;
        let mut apart = Vec::new();
        for (name, value) in &self.properties {
            // A name is at most 255 bytes, which JSON writes as at most six times as many.
            let size = value.len() + 6 * name.len();
            if value.len() > LONGEST_INLINE || inline + size > MOST_INLINE {
                apart.push((name, value));
                continue;
            }
            inline += size;
            property(&mut members, name, value);
        }
        let mut lines = Vec::with_capacity(1 + apart.len());
        if self.metrics.is_empty() {
            lines.push(line(b"", &members, b""));
        } else {
            self.with_metrics(at_ms, &members, &mut lines);
        }
        for (name, value) in apart {
            let mut member = Vec::with_capacity(value.len() + name.len() + 8);
            property(&mut member, name, value);
            lines.push(line(b"", &members, &member));
        }
        lines
    }

    fn with_metrics(&self, at_ms: u64, members: &[u8], lines: &mut Vec<Vec<u8>>) {
        let mut head = Vec::with_capacity(256);
        put(&mut head, format_args!("\"_aws\":{{\"Timestamp\":{at_ms},\"CloudWatchMetrics\":[{{\"Namespace\":"));
        text(&mut head, &self.settings.namespace);
        head.extend_from_slice(b",\"Dimensions\":[");
        self.set(&mut head, 0..self.plain);
        for set in &self.sets {
            head.push(b',');
            self.set(&mut head, set.iter().copied());
        }
        head.extend_from_slice(b"],\"Metrics\":[");

        let fixed = head.len() + members.len() + 16;
        let (mut definitions, mut values, mut count) = (Vec::with_capacity(256), Vec::with_capacity(128), 0);
        let mut finish = |definitions: &mut Vec<u8>, values: &mut Vec<u8>| {
            let mut front = Vec::with_capacity(head.len() + definitions.len() + 8);
            front.extend_from_slice(&head);
            front.extend_from_slice(definitions);
            front.extend_from_slice(b"]}]},");
            lines.push(line(&front, members, values));
            definitions.clear();
            values.clear();
        };
        // Every metric's first hundred values, then every metric's next: one document has a metric once.
        let rounds = self.metrics.iter().map(|metric| metric.more.len() / MOST).max().unwrap_or(0);
        let (mut definition, mut member) = (Vec::with_capacity(96), Vec::with_capacity(64));
        for round in 0..=rounds {
            for metric in self.metrics.iter().filter(|metric| metric.more.len() / MOST >= round) {
                definition.clear();
                member.clear();
                define(&mut definition, metric);
                chunk(&mut member, metric, round);
                let size = fixed + definitions.len() + values.len() + definition.len() + member.len() + 1;
                if count > 0 && (count == MOST || size > MOST_BYTES) {
                    finish(&mut definitions, &mut values);
                    count = 0;
                }
                if count > 0 {
                    definitions.push(b',');
                }
                definitions.extend_from_slice(&definition);
                values.extend_from_slice(&member);
                count += 1;
            }
            // The next round begins with metrics that this one has.
            if count > 0 {
                finish(&mut definitions, &mut values);
                count = 0;
            }
        }
    }

    fn set(&self, out: &mut Vec<u8>, places: impl Iterator<Item = usize>) {
        let defaults = self.settings.defaults.iter().map(|(name, _)| name.as_str());
        let own = places.filter_map(|place| self.dimensions.get(place)).map(|(name, _)| name.as_ref());
        out.push(b'[');
        for (at, name) in defaults.chain(own).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text(out, name);
        }
        out.push(b']');
    }
}

fn define(out: &mut Vec<u8>, metric: &Metric) {
    out.extend_from_slice(b"{\"Name\":");
    text(out, &metric.name);
    put(out, format_args!(",\"Unit\":\"{}\"", metric.unit.name()));
    if metric.high_resolution {
        out.extend_from_slice(b",\"StorageResolution\":1");
    }
    out.push(b'}');
}

/// The metric's values of a round: a number where it has one in all, else an array.
fn chunk(out: &mut Vec<u8>, metric: &Metric, round: usize) {
    out.push(b',');
    text(out, &metric.name);
    out.push(b':');
    if metric.more.is_empty() {
        number(out, metric.first);
        return;
    }
    let all = std::iter::once(&metric.first).chain(&metric.more);
    for (at, value) in all.skip(round * MOST).take(MOST).enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        number(out, *value);
    }
    out.push(b']');
}

fn number(out: &mut Vec<u8>, value: Number) {
    match value {
        Number::Whole(value) => put(out, format_args!("{value}")),
        Number::Signed(value) => put(out, format_args!("{value}")),
        // Finite, as was checked: Rust's form of it is JSON's, and the shortest that reads back the same.
        Number::Real(value) => put(out, format_args!("{value:?}")),
    }
}

fn line(front: &[u8], members: &[u8], back: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(front.len() + members.len() + back.len() + 3);
    line.push(b'{');
    line.extend_from_slice(front);
    line.extend_from_slice(members);
    line.extend_from_slice(back);
    line.extend_from_slice(b"}\n");
    line
}

fn pair(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    text(out, name);
    out.push(b':');
    text(out, value);
}

fn property(out: &mut Vec<u8>, name: &str, json: &str) {
    out.push(b',');
    text(out, name);
    out.push(b':');
    out.extend_from_slice(json.as_bytes());
}

/// A JSON string. Writing to memory does not fail.
fn text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).ok();
}

/// Writing to memory does not fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).ok();
}

/// A message has no need of more than 1,024 characters.
fn short(message: &str) -> std::borrow::Cow<'_, str> {
    if message.len() <= 1024 { message.into() } else { message.chars().take(1024).collect::<String>().into() }
}
