//! The topic and the bus.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use ports::{Publication, PublishEvents};

use crate::Aws;
use lambda_queue::aws;

impl PublishEvents for Aws {
    async fn publish_events(&self, events: &[Publication]) -> Vec<Result<(), String>> {
        let (topic, bus) = futures::join!(self.to_topic(events), self.to_bus(events));
        topic.into_iter().zip(bus).map(|(topic, bus)| topic.and(bus)).collect()
    }
}

impl Aws {
    async fn to_topic(&self, events: &[Publication]) -> Vec<Result<(), String>> {
        let entries: Result<Vec<_>, String> = events.iter().enumerate().map(|(at, event)| entry(at, event)).collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(why) => return vec![Err(why); events.len()],
        };
        let publish = self.backend.sns().publish_batch().topic_arn(&self.names.events_topic_arn);
        match publish.set_publish_batch_request_entries(Some(entries)).send().await {
            Ok(answer) => (0..events.len())
                .map(|at| {
                    let id = at.to_string();
                    if answer.successful().iter().any(|entry| entry.id() == Some(id.as_str())) {
                        return Ok(());
                    }
                    let failed = answer.failed().iter().find(|entry| entry.id() == id);
                    Err(failed.map_or("the topic did not name it".to_owned(), |entry| entry.code().to_owned()))
                })
                .collect(),
            Err(error) => vec![Err(aws::text(&error)); events.len()],
        }
    }

    async fn to_bus(&self, events: &[Publication]) -> Vec<Result<(), String>> {
        let entries = events.iter().map(|event| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.names.event_bus_name)
                .source("orderflow")
                .detail_type(&event.kind)
                .detail(&event.body)
                .build()
        });
        match self.backend.eventbridge().put_events().set_entries(Some(entries.collect())).send().await {
            Ok(answer) => {
                let mut results = answer.entries().iter().map(|entry| match entry.error_code() {
                    None => Ok(()),
                    Some(code) => Err(code.to_owned()),
                });
                events.iter().map(|_| results.next().unwrap_or(Err("the bus did not answer".to_owned()))).collect()
            }
            Err(error) => vec![Err(aws::text(&error)); events.len()],
        }
    }
}

fn entry(at: usize, event: &Publication) -> Result<PublishBatchRequestEntry, String> {
    let attribute = |value: &str| {
        MessageAttributeValue::builder().data_type("String").string_value(value).build().map_err(|e| e.to_string())
    };
    let mut entry = PublishBatchRequestEntry::builder()
        .id(at.to_string())
        .message(&event.body)
        .message_group_id(&event.order_id)
        .message_deduplication_id(format!("{}/{}", event.order_id, event.version))
        .message_attributes("event", attribute(&event.event)?);
    if !event.lane.is_empty() {
        entry = entry.message_attributes("lane", attribute(&event.lane)?);
    }
    entry.build().map_err(|error| error.to_string())
}
