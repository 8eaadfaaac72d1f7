//! The mail service and the archive's bucket, which say what they are told to say.

use std::sync::{Arc, Mutex};

use lambda_queue::memory::World;
use lambda_queue::{Clock, Entry, Failure, Ids as _, Outgoing, Queue, Random};
use order::Email;
use platform::Platform;
use platform::memory::Memory;
use ports::{ArchiveEvents, Gate, Mail, ProviderError, SendMail, StoreError};

/// The mail service.
pub struct Post {
    world: World,
    pub says: Mutex<Option<ProviderError>>,
}

impl Post {
    pub fn new(world: World) -> Self {
        Self { world, says: Mutex::default() }
    }
}

impl Gate for Post {
    async fn gate(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl SendMail for Post {
    async fn send_mail(&self, _: &Email, _: &Mail) -> Result<String, ProviderError> {
        self.says.lock().unwrap().clone().map_or_else(|| Ok(self.world.fresh().to_string()), Err)
    }
}

/// The platform, with a bucket that may refuse.
pub struct Bucket {
    platform: Arc<Platform<Memory>>,
    pub says: Mutex<Option<StoreError>>,
    /// What the archive dies of as it writes, where it does.
    pub panic: Mutex<Option<String>>,
}

impl Bucket {
    pub fn over(platform: Arc<Platform<Memory>>) -> Self {
        Self { platform, says: Mutex::default(), panic: Mutex::default() }
    }
}

impl ArchiveEvents for Bucket {
    async fn archive_events(&self, key: &str, lines: &[String]) -> Result<(), StoreError> {
        let text = self.panic.lock().unwrap().clone();
        if let Some(text) = text {
            panic!("{text}");
        }
        let says = self.says.lock().unwrap().clone();
        match says {
            Some(error) => Err(error),
            None => self.platform.archive_events(key, lines).await,
        }
    }
}

impl Clock for Bucket {
    fn now_ms(&self) -> u64 {
        self.platform.now_ms()
    }
}

impl Random for Bucket {
    fn below(&self, bound: u64) -> u64 {
        self.platform.below(bound)
    }
}

impl Queue for Bucket {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        self.platform.send(queue, messages).await
    }

    async fn change_visibility(&self, queue_arn: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        self.platform.change_visibility(queue_arn, entries).await
    }
}
