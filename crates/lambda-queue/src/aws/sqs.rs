//! SQS.

use std::collections::HashSet;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue,
    SendMessageBatchRequestEntry,
};

use super::errors::text;
use crate::meter;
use crate::ports::{Entry, Outgoing, Queue};

/// [`Queue`] over SQS.
#[derive(Clone, Debug)]
pub struct Sqs {
    /// The client.
    pub client: Client,
    /// What the URL of a queue that is named by its name begins with, up to that name. A stack's prefix may be part of it.
    pub url_prefix: String,
    /// The URL of any queue of the same account and region, or [`Sqs::url_prefix`]: a queue that is named by its ARN has its
    /// URL beside it.
    pub beside: String,
}

impl Sqs {
    /// A queue's URL: itself, or the prefix and the queue's name.
    fn url(&self, queue: &str) -> String {
        if queue.contains("://") { queue.to_owned() } else { format!("{}{queue}", self.url_prefix) }
    }

    /// The URL of a queue by its ARN.
    fn url_of_arn(&self, arn: &str) -> String {
        let base = self.beside.rsplit_once('/').map_or("", |(base, _)| base);
        format!("{base}/{}", arn.rsplit(':').next().unwrap_or_default())
    }
}

impl Queue for Sqs {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        let entries: Result<Vec<_>, String> =
            messages.iter().enumerate().map(|(at, message)| entry(at, message)).collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(why) => return vec![Err(why); messages.len()],
        };
        meter::count_send(queue);
        let send = self.client.send_message_batch().queue_url(self.url(queue));
        match send.set_entries(Some(entries)).send().await {
            Ok(answer) => {
                let ok = answer.successful().iter().map(|entry| entry.id().to_owned()).collect();
                each(messages.len(), &ok, answer.failed())
            }
            Err(error) => vec![Err(text(&error)); messages.len()],
        }
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
