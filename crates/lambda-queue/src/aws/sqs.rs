//! SQS.

use std::collections::HashSet;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use super::errors::text;
use crate::ports::store::StoreError;
use crate::ports::{Entry, Outgoing, Queue, QueueDepth};
use crate::{envelope, meter};

/// [`Queue`] over SQS.
#[derive(Clone, Debug)]
pub struct Sqs {
    /// The client.
    pub client: Client,
    /// What the URL of a queue that is named by its name begins with, up to that name. A stack's prefix may be part of it.
    pub url_prefix: String,
    /// The URL of any queue of the same account and region, or [`Sqs::url_prefix`]: a queue that is named by its ARN has its
    /// URL beside it. Where this is empty the URL is made of the ARN, by the rule of the partitions `aws`, `aws-cn` and
    /// `aws-us-gov`.
    pub beside: String,
}

impl Sqs {
    /// Over this client, every queue named by its URL. The queue that a batch came from needs no name: its ARN is in the
    /// event.
    pub fn new(client: Client) -> Self {
        Self { client, url_prefix: String::new(), beside: String::new() }
    }

    /// A queue's URL: itself, or the prefix and the queue's name.
    fn url(&self, queue: &str) -> String {
        if queue.contains("://") { queue.to_owned() } else { format!("{}{queue}", self.url_prefix) }
    }

    /// The URL of a queue by its ARN.
    fn url_of_arn(&self, arn: &str) -> String {
        url_of_arn(&self.beside, arn)
    }
}

fn url_of_arn(beside: &str, arn: &str) -> String {
    if let ("", [_, partition, _, region, account, name]) = (beside, arn.split(':').collect::<Vec<_>>().as_slice()) {
        let suffix = if *partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        return format!("https://sqs.{region}.{suffix}/{account}/{name}");
    }
    let base = beside.rsplit_once('/').map_or("", |(base, _)| base);
    format!("{base}/{}", arn.rsplit(':').next().unwrap_or_default())
}

impl Queue for Sqs {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        let (entries, mut results) = entries(messages);
        if entries.is_empty() {
            return results;
        }
        meter::count_send(queue);
        let send = self.client.send_message_batch().queue_url(self.url(queue));
        let sent = match send.set_entries(Some(entries)).send().await {
            Ok(answer) => {
                let ok = answer.successful().iter().map(|entry| entry.id().to_owned()).collect();
                each(messages.len(), &ok, answer.failed())
            }
            Err(error) => vec![Err(text(&error)); messages.len()],
        };
        for (result, sent) in results.iter_mut().zip(sent).filter(|(result, _)| result.is_ok()) {
            *result = sent;
        }
        results
    }

    async fn change_visibility(&self, queue_arn: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        let requests: Result<Vec<_>, String> = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(at.to_string())
                    .receipt_handle(&entry.receipt_handle)
                    .visibility_timeout(i32::try_from(entry.visible_in_s).unwrap_or(43_200))
                    .build()
                    .map_err(|error| error.to_string())
            })
            .collect();
        let requests = match requests {
            Ok(requests) => requests,
            Err(why) => return vec![Err(why); entries.len()],
        };
        let change = self.client.change_message_visibility_batch().queue_url(self.url_of_arn(queue_arn));
        match change.set_entries(Some(requests)).send().await {
            Ok(answer) => {
                let ok = answer.successful().iter().map(|entry| entry.id().to_owned()).collect();
                each(entries.len(), &ok, answer.failed())
            }
            Err(error) => vec![Err(text(&error)); entries.len()],
        }
    }
}

impl QueueDepth for Sqs {
    async fn queue_depth(&self, queue_arn: &str) -> Result<u64, StoreError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let ask =
            self.client.get_queue_attributes().queue_url(self.url_of_arn(queue_arn)).attribute_names(name.clone());
        let answer = ask.send().await.map_err(|error| StoreError::NotDone(text(&error)))?;
        let count = answer.attributes().and_then(|all| all.get(&name)?.parse().ok());
        count.ok_or_else(|| StoreError::Unreadable("the queue does not tell how many wait".to_owned()))
    }
}

/// Each entry's own answer. One that the service named neither way was not done.
fn each(entries: usize, ok: &HashSet<String>, failed: &[BatchResultErrorEntry]) -> Vec<Result<(), String>> {
    (0..entries)
        .map(|at| {
            let id = at.to_string();
            if ok.contains(&id) {
                return Ok(());
            }
            Err(failed.iter().find(|entry| entry.id() == id).map_or_else(
                || "the service did not name it".to_owned(),
                |entry| format!("{}: {}", entry.code(), entry.message().unwrap_or_default()),
            ))
        })
        .collect()
}

/// What is sent, each under its place as id; and for each message why it is not. One that is too large is its own error:
/// SQS would refuse the whole request for it.
fn entries(messages: &[Outgoing]) -> (Vec<SendMessageBatchRequestEntry>, Vec<Result<(), String>>) {
    let mut entries = Vec::with_capacity(messages.len());
    let results = messages.iter().enumerate().map(|(at, message)| {
        envelope::check(message).map_err(|error| error.to_string())?;
        entries.push(entry(at, message)?);
        Ok(())
    });
    let results = results.collect();
    (entries, results)
}

fn entry(at: usize, message: &Outgoing) -> Result<SendMessageBatchRequestEntry, String> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(at.to_string())
        .message_body(&message.body)
        .set_message_group_id(message.group.clone())
        .set_message_deduplication_id(message.dedup.clone());
    for (name, value) in &message.attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        entry = entry.message_attributes(name, value.map_err(|error| error.to_string())?);
    }
    entry.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_named_by_its_arn_has_its_url_beside_a_known_one_or_where_its_partition_has_it() {
        let arn = "arn:aws:sqs:eu-west-1:123456789012:work.fifo";
        for (beside, arn, url) in [
            ("", arn, "https://sqs.eu-west-1.amazonaws.com/123456789012/work.fifo"),
            ("", "arn:aws-cn:sqs:cn-north-1:1:work", "https://sqs.cn-north-1.amazonaws.com.cn/1/work"),
            ("", "arn:aws-us-gov:sqs:us-gov-west-1:1:work", "https://sqs.us-gov-west-1.amazonaws.com/1/work"),
            ("http://127.0.0.1:4566/000000000000/dead", arn, "http://127.0.0.1:4566/000000000000/work.fifo"),
            ("http://127.0.0.1:4566/000000000000/stack-", arn, "http://127.0.0.1:4566/000000000000/work.fifo"),
        ] {
            assert_eq!(url_of_arn(beside, arn), url, "{beside:?} {arn}");
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_its_own_error_and_the_others_are_sent() {
        let of = |body: String, attributes: usize| Outgoing {
            queue: "work".to_owned(),
            body,
            group: None,
            dedup: None,
            attributes: (0..attributes).map(|at| (format!("a{at}"), "x".to_owned())).collect(),
        };
        let large = "x".repeat(envelope::MOST_BYTES + 1);
        let (entries, results) = entries(&[of("1".into(), 0), of(large, 0), of("3".into(), 10), of("4".into(), 11)]);
        assert_eq!(entries.iter().map(SendMessageBatchRequestEntry::id).collect::<Vec<_>>(), ["0", "2"]);
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(results.get(1).is_some_and(|result| result.as_ref().is_err_and(|why| why.contains("bytes"))));
    }
}
