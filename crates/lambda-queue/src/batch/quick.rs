//! The quick way to read an event: the form in which Lambda writes one, and nothing else.
//!
//! Reading the event is most of what a batch costs, and most of that goes into the general case. Lambda's own form is
//! narrow: objects of texts, a few lists of texts, no numbers. What is of that form is read here, in one pass. Anything
//! else, malformed or only unusual, makes this reader give up, and `read.rs` reads the whole text from its beginning: so
//! this one never judges an event, and what it answers is what `read.rs` answers (`tests/batch/events.rs` compares them over
//! events that were changed at random).

use std::borrow::Cow;

use super::event::{Attribute, Event, Message};

/// The event, if it is of Lambda's form.
pub(super) fn event(text: &str) -> Option<Event> {
    let mut at = Cursor { text, at: 0, likely: 64 };
    let mut event = None;
    at.object(|at, key| {
        if key == "Records" {
            event = Some(records(at)?);
            Some(())
        } else {
            at.skip()
        }
    })?;
    at.space();
    event.filter(|_| at.at == text.len())
}

fn records(at: &mut Cursor<'_>) -> Option<Event> {
    let mut event = Event::default();
    at.list(|at| {
        let message = message(at, &mut event.queue_arn)?;
        event.records.push(message);
        Some(())
    })?;
    Some(event)
}

fn message(at: &mut Cursor<'_>, queue_arn: &mut String) -> Option<Message> {
    let mut message = Message::default();
    at.object(|at, key| {
        match key {
            "messageId" => message.message_id = Some(at.text()?.into_owned()),
            "receiptHandle" => message.receipt_handle = Some(at.text()?.into_owned()),
            "body" => message.body = Some(at.text()?.into_owned()),
            "attributes" => system(at, &mut message)?,
            "messageAttributes" => message.attributes = attributes(at)?,
            "eventSourceARN" if queue_arn.is_empty() => *queue_arn = at.text()?.into_owned(),
            _ => at.skip()?,
        }
        Some(())
    })?;
    Some(message)
}

/// SQS's own attributes.
fn system(at: &mut Cursor<'_>, message: &mut Message) -> Option<()> {
    (message.receive_count, message.sent_ms, message.group, message.aws_trace_header) = (None, None, None, None);
    at.object(|at, key| {
        match key {
            "ApproximateReceiveCount" => {
                let count: Option<u64> = at.text()?.parse().ok();
                message.receive_count = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
            }
            "SentTimestamp" => message.sent_ms = at.text()?.parse().ok(),
            "MessageGroupId" => message.group = Some(at.text()?.into_owned()),
            "AWSTraceHeader" => message.aws_trace_header = Some(at.text()?.into_owned()),
            _ => at.skip()?,
        }
        Some(())
    })
}

/// The sender's attributes.
fn attributes(at: &mut Cursor<'_>) -> Option<Vec<Attribute>> {
    let mut attributes = Vec::new();
    at.object(|at, name| {
        let (mut value, mut data_type) = (None, None);
        at.object(|at, key| {
            match key {
                "stringValue" | "binaryValue" => value = Some(at.text()?.into_owned()),
                "dataType" => data_type = Some(at.text()?.into_owned()),
                _ => at.skip()?,
            }
            Some(())
        })?;
        if let Some(value) = value {
            let data_type = data_type.unwrap_or_else(|| "String".to_owned());
            attributes.push(Attribute { name: name.to_owned(), data_type, value });
        }
        Some(())
    })?;
    Some(attributes)
}

/// A place in the text. Every method answers `None` where it meets what it does not know.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
    /// How long the last text with escapes was: bodies of a queue are alike, and what is taken too much is held by each.
    likely: usize,
}

/// Bytes that are looked at together.
const STEP: usize = 16;

/// How many of these bytes are plain: no quote, no backslash, no control character. The usual arithmetic on all of them at
/// once: <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>
fn plain(bytes: [u8; STEP]) -> usize {
    const ONES: u128 = u128::MAX / 255;
    let bytes = u128::from_le_bytes(bytes);
    let less = |bytes: u128, than: u8| bytes.wrapping_sub(ONES.wrapping_mul(u128::from(than))) & !bytes;
    let same = |byte: u8| less(bytes ^ ONES.wrapping_mul(u128::from(byte)), 1);
    let found = (less(bytes, b' ') | same(b'"') | same(b'\\')) & (ONES << 7);
    (found.trailing_zeros() / u8::BITS) as usize
}

impl<'t> Cursor<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes this byte, and the white space before it.
    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek() != Some(byte) {
            self.space();
        }
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Reads an object; `member` reads the value of each key.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'t str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let Cow::Borrowed(key) = self.text()? else { return None };
            self.take(b':')?;
            member(self, key)?;
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    /// Reads a list.
    fn list(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }

    /// Passes over a text, or a list of texts.
    fn skip(&mut self) -> Option<()> {
        self.space();
        if self.peek()? == b'[' { self.list(|at| at.text().map(drop)) } else { self.text().map(drop) }
    }

    /// Reads a text.
    #[inline]
    fn text(&mut self) -> Option<Cow<'t, str>> {
        self.take(b'"')?;
        let start = self.at;
        self.plain();
        let read = self.text.get(start..self.at)?;
        match self.peek()? {
            b'"' => {
                self.at += 1;
                Some(Cow::Borrowed(read))
            }
            b'\\' => self.escaped(read).map(Cow::Owned),
            _ => None,
        }
    }

    /// Passes over what is plain.
    #[inline]
    fn plain(&mut self) {
        let (steps, _) = self.rest().as_chunks();
        let mut read = 0;
        for step in steps {
            let plain = plain(*step);
            read += plain;
            if plain < STEP {
                self.at += read;
                return;
            }
        }
        self.at += read;
        while self.peek().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'t [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The rest of a text whose first escape is next.
    fn escaped(&mut self, before: &str) -> Option<String> {
        let mut read = Vec::with_capacity(before.len().max(self.likely).saturating_add(STEP));
        read.extend_from_slice(before.as_bytes());
        loop {
            // All of a step is copied, and what was too much is taken back: cheaper than to copy so many.
            let (steps, _) = self.rest().as_chunks();
            for step in steps {
                let plain = plain(*step);
                read.extend_from_slice(step);
                self.at += plain;
                if plain < STEP {
                    read.truncate(read.len().saturating_sub(STEP).saturating_add(plain));
                    break;
                }
            }
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.likely = read.len();
                    return String::from_utf8(read).ok();
                }
                b'\\' => {
                    self.at += 1;
                    self.escape(&mut read)?;
                }
                // The last few bytes of the text, which are no whole step.
                byte if byte >= b' ' => {
                    self.at += 1;
                    read.push(byte);
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self, read: &mut Vec<u8>) -> Option<()> {
        let byte = match self.peek()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'u' => {
                let digits = self.text.get(self.at + 1..self.at + 5)?;
                let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                // Of a surrogate this makes nothing: such pairs are rare.
                let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?).filter(|_| hexadecimal)?;
                read.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += 5;
                return Some(());
            }
            _ => return None,
        };
        read.push(byte);
        self.at += 1;
        Some(())
    }
}
