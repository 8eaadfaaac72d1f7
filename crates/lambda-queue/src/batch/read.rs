//! Reads the event from JSON: what is not needed is skipped, what is of another type than SQS's counts as absent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::event::{Attribute, Event, Message};

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;
        impl<'de> Visitor<'de> for EventVisitor {
            type Value = Event;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an event with a list of Records")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
                let mut event = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "Records" {
                        event = Some(map.next_value_seed(Records)?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                event.ok_or_else(|| de::Error::missing_field("Records"))
            }
        }
        deserializer.deserialize_map(EventVisitor)
    }
}

/// The list; the ARN of its first record is kept, the others' are the same.
struct Records;

impl<'de> DeserializeSeed<'de> for Records {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records {
    type Value = Event;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Event, A::Error> {
        let mut event = Event::default();
        while let Some(message) = records.next_element_seed(One { queue_arn: &mut event.queue_arn })? {
            event.records.push(message);
        }
        Ok(event)
    }
}

struct One<'a> {
    queue_arn: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Message;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Message, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    MessageId,
    ReceiptHandle,
    Body,
    Attributes,
    MessageAttributes,
    #[serde(rename = "eventSourceARN")]
    Arn,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Message;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut message = Message::default();
        while let Some(field) = map.next_key()? {
            match field {
                Field::MessageId => message.message_id = map.next_value::<Lenient<Text>>()?.0,
                Field::ReceiptHandle => message.receipt_handle = map.next_value::<Lenient<Text>>()?.0,
                Field::Body => message.body = map.next_value::<Lenient<Text>>()?.0,
                Field::Attributes => {
                    let system = map.next_value::<Lenient<System>>()?.0.unwrap_or_default();
                    (message.receive_count, message.sent_ms) = (system.receive_count, system.sent_ms);
                    (message.group, message.aws_trace_header) = (system.group, system.aws_trace_header);
                }
                Field::MessageAttributes => {
                    message.attributes = map.next_value::<Lenient<Attributes>>()?.0.unwrap_or_default();
                }
                Field::Arn if self.queue_arn.is_empty() => {
                    *self.queue_arn = map.next_value::<Lenient<Text>>()?.0.unwrap_or_default();
                }
                Field::Arn | Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(message)
    }
}

/// A value read if it is of the expected type; of any other it is `None`.
struct Lenient<K: Kind>(Option<K::Value>);

/// What is expected: a text, or an object.
trait Kind {
    type Value;

    fn of_text(_: Cow<'_, str>) -> Option<Self::Value> {
        None
    }

    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self::Value>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(std::marker::PhantomData))
    }
}

struct LenientVisitor<K>(std::marker::PhantomData<K>);

impl<'de, K: Kind> Visitor<'de> for LenientVisitor<K> {
    type Value = Lenient<K>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Lenient(K::of_text(Cow::Borrowed(text))))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Lenient(K::of_text(Cow::Owned(text))))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        K::of_map(map).map(Lenient)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Lenient(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient(None))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Lenient(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Lenient(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Lenient(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Lenient(None))
    }
}

struct Text;

impl Kind for Text {
    type Value = String;

    fn of_text(text: Cow<'_, str>) -> Option<String> {
        Some(text.into_owned())
    }
}

/// A number in a text, as SQS writes its own attributes.
struct Number;

impl Kind for Number {
    type Value = u64;

    fn of_text(text: Cow<'_, str>) -> Option<u64> {
        text.parse().ok()
    }
}

#[derive(Default)]
struct System {
    receive_count: Option<u32>,
    sent_ms: Option<u64>,
    group: Option<String>,
    aws_trace_header: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum SystemField {
    ApproximateReceiveCount,
    SentTimestamp,
    MessageGroupId,
    AWSTraceHeader,
    #[serde(other)]
    Other,
}

impl Kind for System {
    type Value = Self;

    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut system = Self::default();
        while let Some(field) = map.next_key()? {
            match field {
                SystemField::ApproximateReceiveCount => {
                    let count = map.next_value::<Lenient<Number>>()?.0;
                    system.receive_count = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
                }
                SystemField::SentTimestamp => system.sent_ms = map.next_value::<Lenient<Number>>()?.0,
                SystemField::MessageGroupId => system.group = map.next_value::<Lenient<Text>>()?.0,
                SystemField::AWSTraceHeader => system.aws_trace_header = map.next_value::<Lenient<Text>>()?.0,
                SystemField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(system))
    }
}

struct Attributes;

impl Kind for Attributes {
    type Value = Vec<Attribute>;

    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Vec<Attribute>>, A::Error> {
        let mut attributes = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if let Some((data_type, value)) = map.next_value::<Lenient<AttributeValue>>()?.0 {
                attributes.push(Attribute { name, data_type, value });
            }
        }
        Ok(Some(attributes))
    }
}

struct AttributeValue;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum AttributeField {
    StringValue,
    BinaryValue,
    DataType,
    #[serde(other)]
    Other,
}

impl Kind for AttributeValue {
    type Value = (String, String);

    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<(String, String)>, A::Error> {
        let (mut value, mut data_type) = (None, None);
        while let Some(field) = map.next_key()? {
            match field {
                AttributeField::StringValue | AttributeField::BinaryValue => {
                    value = map.next_value::<Lenient<Text>>()?.0.or(value);
                }
                AttributeField::DataType => data_type = map.next_value::<Lenient<Text>>()?.0,
                AttributeField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(value.map(|value| (data_type.unwrap_or_else(|| "String".to_owned()), value)))
    }
}
