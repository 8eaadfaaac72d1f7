//! The archive bucket.

use std::io::Write;

use aws_sdk_s3::primitives::ByteStream;
use flate2::Compression;
use flate2::write::GzEncoder;
use ports::{ArchiveEvents, StoreError};

use crate::Aws;
use lambda_queue::aws::store_error;

impl ArchiveEvents for Aws {
    async fn archive_events(&self, key: &str, lines: &[String]) -> Result<(), StoreError> {
        let body = gzip(lines).map_err(|error| StoreError::NotDone(error.to_string()))?;
        let put =
            self.backend.s3().put_object().bucket(&self.names.archive_bucket).key(key).body(ByteStream::from(body));
        let put = put.content_type("application/x-ndjson").content_encoding("gzip");
        put.send().await.map(drop).map_err(|error| store_error(&error))
    }
}

pub(crate) fn gzip(lines: &[String]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for line in lines {
        encoder.write_all(line.as_bytes())?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}
