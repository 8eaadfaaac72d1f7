//! The mail that the local SES took.

use std::collections::HashMap;

use anyhow::Context;
use serde::Deserialize;

/// A mail.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mail {
    /// Recipients.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Text part.
    pub body_text: String,
    /// HTML part.
    pub body_html: Option<String>,
    /// When it was sent, seconds.
    pub timestamp: f64,
}

#[derive(Deserialize)]
struct Messages {
    /// By account, in the order they were sent.
    messages: HashMap<String, Vec<Mail>>,
}

/// The mailbox of one local AWS.
#[derive(Clone, Debug)]
pub struct Mailbox {
    http: reqwest::Client,
    url: String,
}

impl Mailbox {
    /// Of the local AWS at `endpoint`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("no HTTP client")?;
        Ok(Self { http, url: format!("{endpoint}/_ministack/ses/messages") })
    }

    /// Every mail, in the order it was sent.
    ///
    /// # Errors
    /// When the mailbox cannot be read.
    pub async fn all(&self) -> anyhow::Result<Vec<Mail>> {
        let answer = self.http.get(&self.url).send().await.context("the mailbox does not answer")?;
        let Messages { messages } = answer.json().await.context("the mailbox cannot be read")?;
        Ok(messages.into_values().flatten().collect())
    }

    /// The mails to one address, in the order they were sent.
    ///
    /// # Errors
    /// When the mailbox cannot be read.
    pub async fn to(&self, address: &str) -> anyhow::Result<Vec<Mail>> {
        Ok(self.all().await?.into_iter().filter(|mail| mail.to.iter().any(|to| to == address)).collect())
    }
}
