//! W3C trace context in messages, and its translation to X-Ray's header.
//!
//! Sources: <https://www.w3.org/TR/trace-context/> and
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{Ids, Random};

/// Flags that are handed on: sampled, and (level 2) that the trace id is random. All others have to be zero.
const KNOWN_FLAGS: u8 = 0b11;
/// Longest future `traceparent` that is read, bytes.
const LONGEST: usize = 512;

/// Why a trace header cannot be used. It never repeats the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TraceError {
    /// Not made as the specification says.
    #[error("not a well-formed trace header")]
    Malformed,
    /// Version `ff`.
    #[error("version ff is not allowed")]
    Version,
    /// A trace id of zeros only.
    #[error("the trace id is all zeros")]
    NoTrace,
    /// A parent id of zeros only, or none at all (X-Ray).
    #[error("there is no parent id")]
    NoParent,
    /// More than 32 members, one key twice, or too many bytes.
    #[error("the trace state has too many members, or a key twice")]
    State,
}

/// A `traceparent`: where in which trace the sender was. Written as version 00.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// A trace that begins here, sampled. The trace id is a fresh UUID: its last 62 bits are random.
    pub fn begin(ids: &impl Ids) -> Self {
        // The random half of a UUIDv7 is its last, and its variant bits make it no zero.
        Self { trace_id: ids.fresh().as_u128(), parent_id: ids.fresh().as_u64_pair().1, flags: 1 }
    }

    /// A new span of the same trace, under this one.
    #[must_use]
    pub fn child(self, random: &impl Random) -> Self {
        self.with_parent(random.below(u64::MAX).saturating_add(1))
    }

    /// The span that `name` has under this one: always the same for the same name, so that a message which is made again
    /// is the same message. Its id is the start of SHA-256 over the parent's header and the name.
    #[must_use]
    pub fn child_of(self, name: &str) -> Self {
        let digest = Sha256::new().chain_update(self.to_string()).chain_update("/").chain_update(name).finalize();
        let id = digest.iter().take(8).fold(0_u64, |id, byte| (id << 8) | u64::from(*byte));
        self.with_parent(id.max(1))
    }

    fn with_parent(self, parent_id: u64) -> Self {
        Self { trace_id: self.trace_id, parent_id, flags: self.flags & KNOWN_FLAGS }
    }

    /// The trace, never 0.
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The span that sent it, never 0.
    pub fn parent_id(self) -> u64 {
        self.parent_id
    }

    /// Whether the sender recorded it.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// Reads `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`: SQS's system attribute
    /// `AWSTraceHeader`, Lambda's `_X_AMZN_TRACE_ID`. Other fields are passed over; without `Sampled=1` it is not sampled.
    /// [`TraceError::NoParent`] where the header has no parent: nothing was recorded above.
    pub fn from_xray(header: &str) -> Result<Self, TraceError> {
        if header.len() > LONGEST {
            return Err(TraceError::Malformed);
        }
        let field = |name: &str| {
            let fields = header.split(';').filter_map(|field| field.trim().split_once('='));
            fields.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        let mut root = field("Root").ok_or(TraceError::Malformed)?.split('-');
        let (version, time, unique) = (root.next(), root.next(), root.next());
        if version != Some("1") || root.next().is_some() {
            return Err(TraceError::Malformed);
        }
        let time = time.and_then(|text| hex(text, 8)).ok_or(TraceError::Malformed)?;
        let unique = unique.and_then(|text| hex(text, 24)).ok_or(TraceError::Malformed)?;
        let trace_id = (time << 96) | unique;
        let parent = hex(field("Parent").ok_or(TraceError::NoParent)?, 16).ok_or(TraceError::Malformed)?;
        Self::of(trace_id, parent, u8::from(field("Sampled") == Some("1")))
    }

    /// The same as X-Ray writes it.
    pub fn to_xray(self) -> String {
        let trace = format!("{:032x}", self.trace_id);
        let (time, unique) = trace.split_at_checked(8).unwrap_or_default();
        format!("Root=1-{time}-{unique};Parent={:016x};Sampled={}", self.parent_id, u8::from(self.is_sampled()))
    }

    pub(crate) fn of(trace_id: u128, parent_id: u128, flags: u8) -> Result<Self, TraceError> {
        if trace_id == 0 {
            return Err(TraceError::NoTrace);
        }
        let parent_id = u64::try_from(parent_id).ok().filter(|id| *id != 0).ok_or(TraceError::NoParent)?;
        Ok(Self { trace_id, parent_id, flags })
    }
}

impl Display for TraceParent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = TraceError;

    /// By the specification: version `ff` is invalid, version `00` is exactly four fields, of a later version the first
    /// four count and only its known flags.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        if text.len() > LONGEST {
            return Err(TraceError::Malformed);
        }
        let (fields, rest) = text.split_at_checked(55).ok_or(TraceError::Malformed)?;
        let mut fields = fields.split('-');
        let mut field = |digits| fields.next().and_then(|text| hex(text, digits)).ok_or(TraceError::Malformed);
        let (version, trace_id, parent_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        match version {
            0xff => return Err(TraceError::Version),
            0 if !rest.is_empty() => return Err(TraceError::Malformed),
            _ if !rest.is_empty() && !rest.starts_with('-') => return Err(TraceError::Malformed),
            _ => {}
        }
        let flags = u8::try_from(flags).map_err(|_| TraceError::Malformed)?;
        Self::of(trace_id, parent_id, if version == 0 { flags } else { flags & KNOWN_FLAGS })
    }
}

/// Exactly so many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (text.len() == digits && lower).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Most members of a `tracestate`.
const MEMBERS: usize = 32;
/// What is surely handed on, characters.
const HANDED_ON: usize = 512;
/// Members above this go first where it is too long, characters.
const LARGE: usize = 128;
/// Longest `tracestate` that is read, bytes.
const LONGEST_STATE: usize = 16 * 1024;

/// A `tracestate`: what tracing systems carry along beside the `traceparent`, latest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TraceState(Vec<(String, String)>);

impl TraceState {
    /// What a tracing system carries.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Puts a system's own member first, in place of its earlier one; of 33 members the last is dropped.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), TraceError> {
        if !is_key(key) || !is_value(value) {
            return Err(TraceError::Malformed);
        }
        self.0.retain(|(name, _)| name != key);
        self.0.insert(0, (key.to_owned(), value.to_owned()));
        self.0.truncate(MEMBERS);
        Ok(())
    }

    /// Takes a member out.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for TraceState {
    type Err = TraceError;

    /// By the specification: members between commas, blanks around them and empty ones allowed, at most 32, no key
    /// twice. Whoever gets an error goes on without a trace state.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        if text.len() > LONGEST_STATE {
            return Err(TraceError::State);
        }
        let mut members: Vec<(String, String)> = Vec::new();
        for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
        {
            let (key, value) = member.split_once('=').ok_or(TraceError::Malformed)?;
            if !is_key(key) || !is_value(value) {
                return Err(TraceError::Malformed);
            }
            if members.len() == MEMBERS || members.iter().any(|(name, _)| name == key) {
                return Err(TraceError::State);
            }
            members.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self(members))
    }
}

impl Display for TraceState {
    /// At most 512 characters: members of over 128 go first, then those at the end.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let size = |member: &(String, String)| member.0.len() + member.1.len() + 2;
        let mut members: Vec<&(String, String)> = self.0.iter().collect();
        let mut total = members.iter().map(|member| size(member)).sum::<usize>().saturating_sub(1);
        while total > HANDED_ON {
            let large = members.iter().rposition(|member| size(member) > LARGE + 1);
            let Some(at) = large.or_else(|| members.len().checked_sub(1)) else { break };
            total = total.saturating_sub(size(members.remove(at)));
        }
        for (at, (key, value)) in members.into_iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// `simple-key` or `multi-tenant-key`.
fn is_key(key: &str) -> bool {
    let rest = |text: &str, most: usize| {
        text.len() <= most
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/')
            })
    };
    let letter = |text: &str| text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    match key.split_once('@') {
        None => letter(key) && rest(key, 256),
        Some((tenant, system)) => {
            let first = tenant.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            first && rest(tenant, 241) && letter(system) && rest(system, 14)
        }
    }
}

/// 1 to 256 printable characters without comma and equals sign, the last of them no blank.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && !matches!(byte, b',' | b'='))
        && !value.ends_with(' ')
}
