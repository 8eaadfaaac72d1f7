//! SES v2.

use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use order::Email;
use ports::{Mail, ProviderError, SendMail, StoreError};

use crate::Aws;
use crate::errors::{store_error, text};

impl SendMail for Aws {
    async fn send_mail(&self, to: &Email, mail: &Mail) -> Result<String, ProviderError> {
        let refused = |why: aws_sdk_sesv2::error::BuildError| ProviderError::Refused { why: why.to_string() };
        let content = |data: &str| Content::builder().data(data).charset("UTF-8").build().map_err(refused);
        let body = Body::builder().text(content(&mail.text)?).html(content(&mail.html)?).build();
        let message = Message::builder().subject(content(&mail.subject)?).body(body).build();
        let sent = self
            .ses()
            .send_email()
            .from_email_address(&self.names.mail_from)
            .destination(Destination::builder().to_addresses(to.as_str()).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(answer.message_id.unwrap_or_default()),
            Err(error) => {
                let throttled = error.raw_response().is_some_and(|response| response.status().as_u16() == 429);
                let why = text(&error);
                Err(match store_error(&error) {
                    StoreError::NotDone(_) if throttled => ProviderError::NotRun { retry_after: None, why },
                    StoreError::NotDone(_) => ProviderError::Refused { why },
                    StoreError::Unknown(_) | StoreError::Unreadable(_) => ProviderError::Unknown { why },
                })
            }
        }
    }
}
