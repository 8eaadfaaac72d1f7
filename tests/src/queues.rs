//! The queues: what they hold, and sending to them directly.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use orderflow::stack::StackInfo;

/// What a queue holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Depth {
    /// Waiting.
    pub visible: u64,
    /// Received, and neither deleted nor back.
    pub in_flight: u64,
    /// Waiting for their delay.
    pub delayed: u64,
}

impl Depth {
    /// All of them.
    pub fn total(self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// What all queues of a stack hold, by name without the stack's: `payment-express`, `stock-dlq`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Depths(pub BTreeMap<String, Depth>);

impl Depths {
    /// The queues that hold something, dead-letter queues or the others.
    pub fn holding(&self, dead_letters: bool) -> impl Iterator<Item = (&str, Depth)> {
        let is_dlq = |name: &str| name.trim_end_matches(".fifo").ends_with("-dlq");
        self.0
            .iter()
            .map(|(name, depth)| (name.as_str(), *depth))
            .filter(move |(name, depth)| is_dlq(name) == dead_letters && depth.total() > 0)
    }

    /// Whether nothing is left but dead letters.
    pub fn are_drained(&self) -> bool {
        self.holding(false).next().is_none()
    }

    /// Whether there are no dead letters.
    pub fn have_no_dead_letters(&self) -> bool {
        self.holding(true).next().is_none()
    }

    /// The queues that hold something, in words.
    pub fn describe(&self) -> String {
        let all: Vec<String> = [false, true]
            .into_iter()
            .flat_map(|dead| self.holding(dead))
            .map(|(name, Depth { visible, in_flight, delayed })| {
                format!("{name}: {visible} visible, {in_flight} in flight, {delayed} delayed")
            })
            .collect();
        if all.is_empty() { "all queues are empty".to_owned() } else { all.join("; ") }
    }
}

/// The queues of one stack.
#[derive(Clone, Debug)]
pub struct Queues {
    sqs: aws_sdk_sqs::Client,
    stack: String,
    url_prefix: String,
}

impl Queues {
    /// Of a running stack.
    ///
    /// # Errors
    /// When the stack lacks an output.
    pub fn new(sqs: aws_sdk_sqs::Client, info: &StackInfo) -> anyhow::Result<Self> {
        Ok(Self { sqs, stack: info.stack_name.clone(), url_prefix: info.output("QueueUrlPrefix")?.to_owned() })
    }

    /// The URL of a queue by its name without the stack's: `validate-bulk`, `payment-dlq`, `notify.fifo`.
    pub fn url(&self, name: &str) -> String {
        format!("{}{name}", self.url_prefix)
    }

    /// What every queue holds.
    ///
    /// # Errors
    /// When they cannot be listed or read.
    pub async fn depths(&self) -> anyhow::Result<Depths> {
        let prefix = format!("{}-", self.stack);
        let mut urls = Vec::new();
        let mut pages = self.sqs.list_queues().queue_name_prefix(&prefix).max_results(100).into_paginator().send();
        while let Some(page) = pages.next().await {
            urls.extend(page.context("cannot list the queues")?.queue_urls.unwrap_or_default());
        }
        ensure!(!urls.is_empty(), "the stack has no queues");
        let named = urls.iter().map(|url| async {
            let name = url.rsplit('/').next().unwrap_or_default();
            let name = name.strip_prefix(&prefix).unwrap_or(name).to_owned();
            anyhow::Ok((name, self.depth(url).await?))
        });
        Ok(Depths(futures::future::try_join_all(named).await?.into_iter().collect()))
    }

    async fn depth(&self, url: &str) -> anyhow::Result<Depth> {
        let ask = self.sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let answer = ask.send().await.with_context(|| format!("cannot read {url}"))?;
        let count = |name| -> anyhow::Result<u64> {
            let text = answer.attributes().and_then(|all| all.get(&name));
            text.and_then(|text| text.parse().ok()).with_context(|| format!("{url} does not tell {name}"))
        };
        Ok(Depth {
            visible: count(QueueAttributeName::ApproximateNumberOfMessages)?,
            in_flight: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
            delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed)?,
        })
    }

    /// Sends bodies in one batch, so that they may be received in one, too.
    ///
    /// # Errors
    /// When one of them is not taken.
    pub async fn send(&self, name: &str, group: Option<&str>, bodies: &[String]) -> anyhow::Result<()> {
        let mut entries = Vec::new();
        for (at, body) in bodies.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder().id(at.to_string()).message_body(body);
            entries.push(entry.set_message_group_id(group.map(str::to_owned)).build()?);
        }
        let send = self.sqs.send_message_batch().queue_url(self.url(name)).set_entries(Some(entries));
        let answer = send.send().await.with_context(|| format!("cannot send to {name}"))?;
        ensure!(answer.failed().is_empty(), "{name} did not take all: {:?}", answer.failed());
        Ok(())
    }

    /// Receives what is visible, at most ten, and leaves it invisible for `visibility_s`.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn receive(&self, url: &str, visibility_s: i32) -> anyhow::Result<Vec<Message>> {
        let ask = self
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .visibility_timeout(visibility_s)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All);
        Ok(ask.send().await.with_context(|| format!("cannot receive from {url}"))?.messages.unwrap_or_default())
    }

    /// Deletes a received message.
    ///
    /// # Errors
    /// When it is not deleted.
    pub async fn delete(&self, url: &str, message: &Message) -> anyhow::Result<()> {
        let delete = self.sqs.delete_message().queue_url(url).set_receipt_handle(message.receipt_handle.clone());
        delete.send().await.with_context(|| format!("cannot delete from {url}"))?;
        Ok(())
    }
}
