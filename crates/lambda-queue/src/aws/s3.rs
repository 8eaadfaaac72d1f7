//! S3.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;

use super::errors::{read_error, store_error};
use crate::ports::Objects;
use crate::ports::store::StoreError;

/// [`Objects`] over S3.
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
