//! Objects too large for a message.

use std::future::Future;

use super::store::StoreError;

/// A bucket.
pub trait Objects {
    /// `PutObject`. Writing the same key again overwrites it.
    fn put_object(
        &self,
        bucket: &str,
        key: &str,
        body: Vec<u8>,
        content_type: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// `GetObject`; `None` where there is none of this key. An object of more than `most_bytes` is `Unreadable`.
    fn get_object(
        &self,
        bucket: &str,
        key: &str,
        most_bytes: usize,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;
}
