//! Counts calls to services, per record and per invocation: an adapter says [`count`], whoever opened the innermost
//! [`Meter`] around the work has the number.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static METER: Meter;
}

/// Calls by service name.
#[derive(Clone, Default, Debug)]
pub struct Meter(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Meter {
    /// Runs `work` with every call that it makes counted here. An outer meter does not see them.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        METER.scope(self.clone(), work).await
    }

    /// The counts so far.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts one call of a service. Outside any meter it does nothing.
pub fn count(service: &'static str) {
    // An `Err` says that no meter is open here: start-up, a tool, a test.
    METER
        .try_with(|meter| {
            *meter.0.lock().unwrap_or_else(PoisonError::into_inner).entry(service).or_default() += 1;
        })
        .ok();
}
