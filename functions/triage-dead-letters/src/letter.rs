//! Where a dead letter came from: our own attribute, or what SQS says.

use lambda_queue::dead_letter::{ATTRIBUTE, DeadLetter};
use lambda_queue::{Failure, Record};
use order::CaseId;
use ports::dead_letter_case;

/// The attribute that a replayed message carries: the id of its case. Every send has another message id, so nothing else
/// leads back.
pub const REPLAY_OF: &str = "replay_of";

/// A dead letter's origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    /// What the consumer wrote, where it was the consumer that gave the message up.
    pub(crate) letter: Option<DeadLetter>,
    /// The queue it was in; the dead-letter queue where nobody says.
    pub(crate) queue: String,
    /// The id that it had there. A consumer's letter is a new message; a move by SQS keeps the id.
    pub(crate) message_id: String,
    /// The case that it was replayed for.
    replay_of: Option<CaseId>,
}

impl Origin {
    pub(crate) fn of(record: &Record, dead_letter_queue: &str) -> Self {
        let letter: Option<DeadLetter> = record.attribute(ATTRIBUTE).and_then(|text| serde_json::from_str(text).ok());
        let letter = letter.filter(|letter| !letter.message_id.is_empty());
        let (queue, message_id) = match &letter {
            Some(letter) => (letter.source_queue.clone(), letter.message_id.clone()),
            None => (dead_letter_queue.to_owned(), record.message_id.clone()),
        };
        let replay_of = record.attribute(REPLAY_OF).and_then(|id| id.parse().ok());
        Self { letter, queue, message_id, replay_of }
    }

    /// The case's id: the case that it was replayed for, else made of the dead-letter queue and the message's first id.
    pub(crate) fn case_id(&self, dead_letter_queue: &str) -> Result<CaseId, Failure> {
        match &self.replay_of {
            Some(case_id) => Ok(case_id.clone()),
            None => dead_letter_case(dead_letter_queue, &self.message_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_queue::RecordContext;
    use lambda_queue::batch::Attribute;

    fn record(id: &str, attributes: &[(&str, &str)]) -> Record {
        let context =
            RecordContext { receive_count: 1, sent_ms: 0, group: None, handler_deadline_ms: 0, deadline_ms: 0 };
        let mut record = Record::new(id, "{}", context);
        record.attributes = attributes
            .iter()
            .map(|(name, value)| Attribute {
                name: (*name).to_owned(),
                data_type: "String".to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        record
    }

    fn letter(message_id: &str) -> String {
        let letter = DeadLetter {
            message_id: message_id.to_owned(),
            source_queue: "shop-payment-bulk".to_owned(),
            ..DeadLetter::default()
        };
        letter.to_attribute()
    }

    fn case_of(record: &Record) -> CaseId {
        Origin::of(record, "shop-payment-dlq").case_id("shop-payment-dlq").unwrap()
    }

    #[test]
    fn the_letters_of_one_message_are_one_case_whoever_moved_them() {
        let first = case_of(&record("letter-1", &[(ATTRIBUTE, &letter("m"))]));
        assert_eq!(case_of(&record("letter-2", &[(ATTRIBUTE, &letter("m"))])), first, "its own consumer, twice");
        assert_eq!(case_of(&record("m", &[])), first, "SQS itself, which keeps the id");
        assert_ne!(case_of(&record("n", &[])), first);
        let elsewhere = Origin::of(&record("m", &[]), "shop-stock-dlq").case_id("shop-stock-dlq").unwrap();
        assert_ne!(elsewhere, first);
    }

    #[test]
    fn a_replay_comes_back_to_its_case() {
        let first = case_of(&record("m", &[]));
        assert_eq!(case_of(&record("other", &[(REPLAY_OF, first.as_str())])), first);
        let both = [(REPLAY_OF, first.as_str()), (ATTRIBUTE, &letter("another"))];
        assert_eq!(case_of(&record("other", &both)), first);
        assert_ne!(case_of(&record("other", &[(REPLAY_OF, "no id at all!")])), first);
    }

    #[test]
    fn an_attribute_that_cannot_be_read_counts_as_none() {
        for text in
            ["", "{", "{}", r#"{"code":"poison","attempts":1,"source_queue":"q","message_id":"","first_seen_ms":0}"#]
        {
            let origin = Origin::of(&record("m", &[(ATTRIBUTE, text)]), "q-dlq");
            assert_eq!(
                (origin.letter, origin.queue.as_str(), origin.message_id.as_str()),
                (None, "q-dlq", "m"),
                "{text}"
            );
        }
    }
}
