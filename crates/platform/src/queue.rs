//! SQS.

use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue,
    SendMessageBatchRequestEntry,
};
use lambda_queue::{Entry, Outgoing, Queue, meter};

use crate::Aws;
use lambda_queue::aws;

impl Queue for Aws {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        let entries: Result<Vec<_>, String> =
            messages.iter().enumerate().map(|(at, message)| entry(at, message)).collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(why) => return vec![Err(why); messages.len()],
        };
        meter::count_send(queue);
        let sent = self.sqs().send_message_batch().queue_url(self.url(queue)).set_entries(Some(entries)).send().await;
        match sent {
            Ok(answer) => {
                let ok = answer.successful().iter().map(|entry| entry.id().to_owned()).collect();
                each(messages.len(), ok, answer.failed())
            }
            Err(error) => vec![Err(aws::text(&error)); messages.len()],
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
        let url = self.url_of_arn(queue_arn);
        let sent = self.sqs().change_message_visibility_batch().queue_url(url).set_entries(Some(requests)).send().await;
        match sent {
            Ok(answer) => {
                let ok = answer.successful().iter().map(|entry| entry.id().to_owned()).collect();
                each(entries.len(), ok, answer.failed())
            }
            Err(error) => vec![Err(aws::text(&error)); entries.len()],
        }
    }
}

/// Each entry's own answer. One that the service named neither way was not done.
fn each(
    entries: usize,
    ok: std::collections::HashSet<String>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Result<(), String>> {
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

impl Aws {
    /// A queue's URL: itself, or the stack's prefix and the queue's name.
    fn url(&self, queue: &str) -> String {
        if queue.contains("://") { queue.to_owned() } else { format!("{}{queue}", self.names.queue_url_prefix) }
    }

    /// The URL of a queue of this account and region by its ARN: beside the queues whose URLs are known.
    fn url_of_arn(&self, arn: &str) -> String {
        let known = if self.names.dlq_url.is_empty() { &self.names.queue_url_prefix } else { &self.names.dlq_url };
        let base = known.rsplit_once('/').map_or("", |(base, _)| base);
        format!("{base}/{}", arn.rsplit(':').next().unwrap_or_default())
    }
}
