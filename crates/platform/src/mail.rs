//! SES v2.

use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use order::Email;
use ports::{Mail, Probe, ProviderError, SendMail, StoreError};

use crate::Aws;
use lambda_queue::aws::{never_connected, store_error};

impl SendMail for Aws {
    async fn send_mail(&self, to: &Email, mail: &Mail) -> Result<String, ProviderError> {
        let refused = |why: aws_sdk_sesv2::error::BuildError| ProviderError::Refused { why: why.to_string() };
        let content = |data: &str| Content::builder().data(data).charset("UTF-8").build().map_err(refused);
        let body = Body::builder().text(content(&mail.text)?).html(content(&mail.html)?).build();
        let message = Message::builder().subject(content(&mail.subject)?).body(body).build();
        let sent = self
            .backend
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
                // Only the code: SES quotes the recipient in its messages.
                let code = error.code().unwrap_or_default().to_owned();
                let why = if code.is_empty() { "SES gave no answer".to_owned() } else { code.clone() };
                // The client does not retry: there was one attempt, and this is what became of it.
                if never_connected(&error) {
                    return Err(ProviderError::NotRun { retry_after: None, why: "no connection to SES".to_owned() });
                }
                Err(match store_error(&error) {
                    StoreError::NotDone(_) if matches!(code.as_str(), "MessageRejected" | "BadRequestException") => {
                        ProviderError::Refused { why }
                    }
                    StoreError::NotDone(_) if is_throttle(&code) => ProviderError::Throttled { retry_after: None, why },
                    // Paused, suspended, not allowed: all of them surely took no mail, and pass.
                    StoreError::NotDone(_) => ProviderError::NotRun { retry_after: None, why },
                    StoreError::Unknown(_) | StoreError::Unreadable(_) => ProviderError::Unknown { why },
                })
            }
        }
    }
}

impl Probe for Aws {
    /// `GetEmailIdentity` of the sender: one read in the region and account that mail leaves by. It tells whether SES
    /// answers, not whether it would take this mail.
    async fn probe(&self) -> Result<(), ProviderError> {
        let asked = self.backend.ses().get_email_identity().email_identity(&self.names.mail_identity).send().await;
        asked.map(drop).map_err(|error| {
            let code = error.code().unwrap_or_default().to_owned();
            match store_error(&error) {
                StoreError::NotDone(_) if is_throttle(&code) => {
                    ProviderError::Throttled { retry_after: None, why: code }
                }
                // An answer, and no good one: the identity is gone, or the role lacks the right.
                StoreError::NotDone(_) if !code.is_empty() => ProviderError::Refused { why: code },
                StoreError::NotDone(why) => ProviderError::NotRun { retry_after: None, why },
                StoreError::Unknown(why) | StoreError::Unreadable(why) => ProviderError::Unknown { why },
            }
        })
    }
}

/// Whether SES says that we are too fast. <https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html>
fn is_throttle(code: &str) -> bool {
    matches!(code, "TooManyRequestsException" | "ThrottlingException" | "Throttling" | "LimitExceededException")
}
