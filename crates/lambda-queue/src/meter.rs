//! Counts calls to services, per record and per invocation: an adapter says [`count`], whoever opened the innermost
//! [`Meter`] around the work has the number. Sends are counted by target queue, too ([`count_send`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static METER: Meter;
}

/// Calls by service name, sends by queue.
#[derive(Clone, Default, Debug)]
pub struct Meter(Arc<Mutex<Counts>>);

#[derive(Clone, Default, Debug)]
struct Counts {
    calls: BTreeMap<&'static str, u64>,
    sends: BTreeMap<String, u64>,
}

impl Meter {
    /// Runs `work` with every call that it makes counted here. An outer meter does not see them.
    // No `async fn`: that one would have room for `work` twice, as it is handed over and as it is waited for, and a handler's
    // future is moved a few times until it is.
    pub fn around<W: Future>(&self, work: W) -> impl Future<Output = W::Output> + use<W> {
        METER.scope(self.clone(), work)
    }

    /// The counts so far.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calls.clone()
    }

    /// The send calls so far, by target queue.
    pub fn sends(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sends.clone()
    }
}

/// Counts one call of a service. Outside any meter it does nothing.
pub fn count(service: &'static str) {
    // An `Err` says that no meter is open here: start-up, a tool, a test.
    METER
        .try_with(|meter| {
            *meter.0.lock().unwrap_or_else(PoisonError::into_inner).calls.entry(service).or_default() += 1;
        })
        .ok();
}

/// Counts one send call to a queue, however many messages it carries. Outside any meter it does nothing.
pub fn count_send(queue: &str) {
    METER
        .try_with(|meter| {
            let mut counts = meter.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.sends.entry(queue.to_owned()).or_default() += 1;
        })
        .ok();
}

/// Runs `work` and counts all its calls, whatever service they are of, under this name: they are the process's own, and not
/// of the record or batch that happened to be at hand.
pub async fn apart<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    let own = Meter::default();
    let done = own.around(work).await;
    for _ in 0..own.calls().values().sum() {
        count(name);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_and_sends_count_for_the_innermost_meter() {
        let (outer, inner) = (Meter::default(), Meter::default());
        outer
            .around(async {
                count("sqs");
                count_send("a");
                inner.around(async { count("dynamodb") }).await;
                count_send("a");
                count_send("b");
            })
            .await;
        count("sqs");
        assert_eq!(outer.calls(), BTreeMap::from([("sqs", 1)]));
        assert_eq!(outer.sends(), BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert_eq!((inner.calls(), inner.sends()), (BTreeMap::from([("dynamodb", 1)]), BTreeMap::new()));
    }

    #[tokio::test]
    async fn calls_apart_are_counted_under_one_name() {
        let outer = Meter::default();
        let work = async {
            count("sqs");
            apart("own", async {
                count("sqs");
                count("dynamodb");
            })
            .await;
        };
        outer.around(work).await;
        assert_eq!(outer.calls(), BTreeMap::from([("own", 2), ("sqs", 1)]));
    }
}
