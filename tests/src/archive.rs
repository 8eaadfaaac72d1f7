//! The archived events.

use std::io::Read as _;

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use orderflow::stack::{Clients, StackInfo};
use serde_json::Value;

/// Objects read side by side.
const AT_ONCE: usize = 16;

/// An event as the archive keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Archived {
    /// CloudEvents `subject`.
    pub order_id: String,
    /// Which version of the row.
    pub version: u64,
    /// `accepted` of `orderflow.order.accepted.v1`.
    pub event: String,
    /// CloudEvents `id`.
    pub id: String,
}

/// Reads every archived event, in no order; a repeat shows as often as it was kept.
///
/// # Errors
/// When the bucket cannot be read, or holds something else.
pub async fn events(clients: &Clients, info: &StackInfo) -> anyhow::Result<Vec<Archived>> {
    let bucket = info.output("ArchiveBucket")?;
    let mut keys = Vec::new();
    let mut pages = clients.s3.list_objects_v2().bucket(bucket).prefix("events/").into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.context("cannot list the archive")?;
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    let objects = stream::iter(keys).map(|key| object(clients, bucket, key)).buffer_unordered(AT_ONCE);
    Ok(objects.try_collect::<Vec<Vec<Archived>>>().await?.into_iter().flatten().collect())
}

async fn object(clients: &Clients, bucket: &str, key: String) -> anyhow::Result<Vec<Archived>> {
    let object = clients.s3.get_object().bucket(bucket).key(&key).send().await;
    let object = object.with_context(|| format!("cannot read {key}"))?;
    let bytes = object.body.collect().await.with_context(|| format!("cannot read {key}"))?.to_vec();
    let text = text(&bytes).with_context(|| format!("{key} is not gzip"))?;
    text.lines().map(|line| parse(line).with_context(|| format!("{key} holds what is no event"))).collect()
}

/// A client that honours `Content-Encoding` has unpacked it already.
fn text(bytes: &[u8]) -> anyhow::Result<String> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes).read_to_string(&mut text)?;
    } else {
        text.push_str(std::str::from_utf8(bytes)?);
    }
    Ok(text)
}

/// Reads one event, as it is in the archive and on the topic.
///
/// # Errors
/// When it is none.
pub fn parse(line: &str) -> anyhow::Result<Archived> {
    let event: Value = serde_json::from_str(line)?;
    let field = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned).context(format!("no {name}"));
    let kind = field("type")?;
    let name = kind.strip_prefix("orderflow.order.").and_then(|name| name.rsplit_once(".v"));
    Ok(Archived {
        order_id: field("subject")?,
        version: event.pointer("/data/version").and_then(Value::as_u64).context("no version")?,
        event: name.context("no order event")?.0.to_owned(),
        id: field("id")?,
    })
}
