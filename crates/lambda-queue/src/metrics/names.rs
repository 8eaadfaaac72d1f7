//! What CloudWatch takes: names, units, values. And what is refused.
//!
//! Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html> and
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html>

/// Longest metric name and namespace.
pub(super) const LONGEST_NAME: usize = 255;
/// Longest dimension name: the embedded metric format's, five fewer than the API's.
pub(super) const LONGEST_DIMENSION_NAME: usize = 250;
/// Longest dimension value.
pub(super) const LONGEST_DIMENSION_VALUE: usize = 1024;
/// CloudWatch takes values of -2^360 to 2^360.
const LARGEST: f64 = 2.348_542_582_773_833_2e108;

macro_rules! units {
    ($($unit:ident $text:literal),* $(,)?) => {
        /// A unit of CloudWatch.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Unit {
            $(#[doc = concat!("`", $text, "`.")] $unit,)*
        }

        impl Unit {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$unit),*];

            /// As CloudWatch writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$unit => $text),* }
            }
        }
    };
}

units! {
    Seconds "Seconds", Microseconds "Microseconds", Milliseconds "Milliseconds",
    Bytes "Bytes", Kilobytes "Kilobytes", Megabytes "Megabytes", Gigabytes "Gigabytes", Terabytes "Terabytes",
    Bits "Bits", Kilobits "Kilobits", Megabits "Megabits", Gigabits "Gigabits", Terabits "Terabits",
    Percent "Percent", Count "Count",
    BytesPerSecond "Bytes/Second", KilobytesPerSecond "Kilobytes/Second", MegabytesPerSecond "Megabytes/Second",
    GigabytesPerSecond "Gigabytes/Second", TerabytesPerSecond "Terabytes/Second",
    BitsPerSecond "Bits/Second", KilobitsPerSecond "Kilobits/Second", MegabitsPerSecond "Megabits/Second",
    GigabitsPerSecond "Gigabits/Second", TerabitsPerSecond "Terabits/Second",
    CountPerSecond "Count/Second", None "None",
}

/// A unit, or the text of one: a text that is none is refused when the metric is added.
pub trait IntoUnit {
    /// The unit; `None` where CloudWatch has no such.
    fn unit(self) -> Option<Unit>;
}

impl IntoUnit for Unit {
    fn unit(self) -> Option<Unit> {
        Some(self)
    }
}

impl IntoUnit for &str {
    fn unit(self) -> Option<Unit> {
        Unit::ALL.iter().copied().find(|unit| unit.name() == self)
    }
}

/// The value of a metric.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// A whole number. CloudWatch keeps it as a double: exact up to 2^53.
    Whole(u64),
    /// A whole number below zero.
    Signed(i64),
    /// Any other. Not finite or beyond 2^360 is refused.
    Real(f64),
}

impl Number {
    pub(super) fn is_taken(self) -> bool {
        match self {
            Self::Whole(_) | Self::Signed(_) => true,
            Self::Real(value) => value.is_finite() && value.abs() <= LARGEST,
        }
    }
}

macro_rules! numbers {
    ($($from:ty => $variant:ident),*) => {
        $(impl From<$from> for Number {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}
numbers!(u8 => Whole, u16 => Whole, u32 => Whole, u64 => Whole, i8 => Signed, i16 => Signed, i32 => Signed,
    i64 => Signed, f32 => Real, f64 => Real, bool => Whole);

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

/// What a refusal was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A metric.
    Metric,
    /// A dimension.
    Dimension,
    /// A property.
    Property,
    /// The document's time.
    Timestamp,
}

/// Why a part of a document was refused. The rest of the document goes out without it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{part:?} {name:?} was refused: {why}")]
pub struct Refusal {
    /// What it was about.
    pub part: Part,
    /// Its name, shortened.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why a part was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// Empty, too long, not printable ASCII, blank, or beginning with a colon.
    #[error("not a name that CloudWatch takes")]
    Name,
    /// `_aws`, or a member that every document has.
    #[error("the name is reserved")]
    Reserved,
    /// Another part has the name, or the same dimension another value.
    #[error("the name is taken by another part of the document")]
    Collision,
    /// The same metric with another unit or resolution.
    #[error("the metric has another unit or resolution already")]
    Differs,
    /// No unit of CloudWatch.
    #[error("not a unit of CloudWatch")]
    Unit,
    /// Not finite, or beyond 2^360.
    #[error("not a number that CloudWatch takes")]
    Number,
    /// A dimension value of over 1,024 characters, not printable ASCII, or blank.
    #[error("not a dimension value that CloudWatch takes")]
    Value,
    /// A dimension of too many values: an order, a customer, a tenant.
    #[error("a dimension of this name would have too many values: make it a property")]
    Denied,
    /// More than a document, or this library, holds.
    #[error("there are too many of them, or they are too large")]
    TooMany,
    /// Over 14 days old or over 2 hours ahead: the present is used.
    #[error("CloudWatch takes at most 14 days of age and 2 hours ahead")]
    Time,
}

/// Printable ASCII, not blank, no colon in front.
pub(super) fn is_name(name: &str, most: usize) -> bool {
    is_plain(name, most) && !name.starts_with(':')
}

/// Printable ASCII, not blank.
pub(super) fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.bytes().any(|byte| byte != b' ')
}

/// The characters of a namespace: letters, digits, `.-_/#: `; not AWS's own.
///
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Namespace>
pub(super) fn is_namespace(text: &str) -> bool {
    is_name(text, LONGEST_NAME)
        && !text.starts_with("AWS/")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/#: ".contains(&byte))
}
