//! S3.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

use super::errors::{read_error, store_error};
use crate::ports::Objects;
use crate::ports::store::StoreError;

/// S3's code where the caller may not read. A 403 has others: a signature or a token that is refused is no lack of a right.
const ACCESS_DENIED: &str = "AccessDenied";
/// What is said where the bucket refuses a read. S3 does not tell a stranger whether an object is there.
const DENIED: &str = "access denied: the role lacks s3:GetObject (or kms:Decrypt), or there is no such object and it lacks \
                      s3:ListBucket";

/// [`Objects`] over S3.
///
/// Reading needs `s3:GetObject` on the objects, and `s3:ListBucket` on the bucket: without the latter S3 answers 403 for an
/// object that is not there, as for one that may not be read. That is an error which says so, never `None`.
#[derive(Clone, Debug)]
pub struct S3(pub Client);

impl Objects for S3 {
    async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), StoreError> {
        let put = self.0.put_object().bucket(bucket).key(key).body(ByteStream::from(body)).content_type(content_type);
        put.send().await.map(drop).map_err(|error| store_error(&error))
    }

    async fn get_object(&self, bucket: &str, key: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let found = match self.0.get_object().bucket(bucket).key(key).send().await {
            Ok(found) => found,
            Err(error) => match error.as_service_error() {
                Some(GetObjectError::NoSuchKey(_)) => return Ok(None),
                Some(service) if service.code() == Some(ACCESS_DENIED) => {
                    return Err(StoreError::NotDone(DENIED.to_owned()));
                }
                Some(_) | None => return Err(read_error(&error)),
            },
        };
        let too_large = |bytes: &dyn std::fmt::Display| {
            StoreError::Unreadable(format!("object {key} has {bytes} bytes, at most {most_bytes} are read"))
        };
        // What it says of its own size is looked at before anything is read.
        if let Some(length) =
            found.content_length().filter(|length| usize::try_from(*length).is_ok_and(|it| it > most_bytes))
        {
            return Err(too_large(&length));
        }
        let mut body = found.body;
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.map_err(|error| StoreError::NotDone(error.to_string()))?);
            if bytes.len() > most_bytes {
                return Err(too_large(&"more"));
            }
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use aws_config::retry::RetryConfig;
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_s3::config::Credentials;

    use super::super::scripted::{Scripted, answer};
    use super::*;

    /// What is read of a bucket that answers so.
    async fn read(status: u16, code: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        let server = Scripted::start(vec![answer(status, &body)]).await;
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("0", "local", None, None, "tests"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(server.endpoint())
            .load()
            .await;
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let found = S3(Client::from_conf(config)).get_object("claims", "prefix/1", 100).await;
        server.all_were_asked();
        found
    }

    #[tokio::test]
    async fn a_read_that_is_refused_is_no_missing_object_and_names_the_two_rights() {
        assert_eq!(read(404, "NoSuchKey").await, Ok(None));
        let denied = read(403, "AccessDenied").await.unwrap_err().to_string();
        assert!(denied.contains("s3:GetObject") && denied.contains("s3:ListBucket"), "{denied}");
        for (status, code) in [(404, "NoSuchBucket"), (403, "ExpiredToken"), (403, "SignatureDoesNotMatch")] {
            let other = read(status, code).await.unwrap_err().to_string();
            assert!(other.contains(code) && !other.contains("s3:ListBucket"), "{other}");
        }
    }
}
