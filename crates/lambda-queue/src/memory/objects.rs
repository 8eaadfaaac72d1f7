//! S3 in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::meter;
use crate::ports::Objects;
use crate::ports::store::StoreError;

/// Bucket and key.
type Key = (String, String);
/// Body and content type.
type Object = (Vec<u8>, String);

/// Buckets in memory: every bucket is there. Clones are the same buckets.
#[derive(Clone, Debug, Default)]
pub struct MemoryObjects {
    inner: Arc<Mutex<BTreeMap<Key, Object>>>,
}

impl MemoryObjects {
    /// No objects yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys of a bucket in order, without a call: for checkers.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.lock().keys().filter(|(of, _)| of == bucket).map(|(_, key)| key.clone()).collect()
    }

    /// An object's bytes and content type, without a call: for checkers.
    pub fn object(&self, bucket: &str, key: &str) -> Option<(Vec<u8>, String)> {
        self.lock().get(&(bucket.to_owned(), key.to_owned())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Object>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects for MemoryObjects {
    async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), StoreError> {
        meter::count("s3");
        tokio::task::yield_now().await;
        self.lock().insert((bucket.to_owned(), key.to_owned()), (body, content_type.to_owned()));
        Ok(())
    }

    async fn get_object(&self, bucket: &str, key: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        meter::count("s3");
        tokio::task::yield_now().await;
        match self.object(bucket, key) {
            Some((body, _)) if body.len() > most_bytes => Err(StoreError::Unreadable(format!(
                "object {key} has {} bytes, at most {most_bytes} are read",
                body.len()
            ))),
            found => Ok(found.map(|(body, _)| body)),
        }
    }
}
