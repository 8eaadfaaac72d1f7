//! What Lambda's control plane and CloudFormation are asked: each thing once, however many checks want it, and Lambda a few at
//! a time. Its reads have a quota of 15 a second for the whole account, and a doctor is called when `control-breakers` needs its
//! share of it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_lambda::operation::get_event_source_mapping::GetEventSourceMappingOutput;
use aws_sdk_lambda::operation::get_function_concurrency::GetFunctionConcurrencyOutput;
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use lambda_queue::aws::text;
use tokio::sync::{OnceCell, Semaphore};

/// Calls that are under way.
const AT_ONCE: usize = 4;
/// A call's place is taken for so long at least: no more than 10 begin in a second.
const TURN: Duration = Duration::from_millis(400);

/// What is known of each thing, by its name; why not, in words.
struct Once<T>(Mutex<HashMap<String, Arc<OnceCell<Read<T>>>>>);

/// One answer.
pub(super) type Read<T> = Result<Arc<T>, String>;

impl<T> Once<T> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    async fn get(&self, turns: &Semaphore, name: &str, ask: impl Future<Output = Result<T, String>>) -> Read<T> {
        let cell = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(name.to_owned()).or_default())
        };
        let asked = cell.get_or_init(|| async {
            let _turn = turns.acquire().await.map_err(|error| error.to_string())?;
            let (answer, ()) = tokio::join!(ask, tokio::time::sleep(TURN));
            answer.map(Arc::new)
        });
        asked.await.clone()
    }
}

/// Lambda's control plane.
pub(super) struct Lambda {
    client: aws_sdk_lambda::Client,
    turns: Semaphore,
    functions: Once<GetFunctionConfigurationOutput>,
    reserved: Once<GetFunctionConcurrencyOutput>,
    mappings: Once<GetEventSourceMappingOutput>,
}

impl Lambda {
    pub(super) fn new(client: aws_sdk_lambda::Client) -> Self {
        let turns = Semaphore::new(AT_ONCE);
        Self { client, turns, functions: Once::new(), reserved: Once::new(), mappings: Once::new() }
    }

    /// A function's configuration, by its whole name.
    pub(super) async fn function(&self, name: &str) -> Read<GetFunctionConfigurationOutput> {
        let ask = self.client.get_function_configuration().function_name(name);
        self.functions.get(&self.turns, name, async { ask.send().await.map_err(|error| text(&error)) }).await
    }

    /// How many of a function may run, where that is set.
    pub(super) async fn reserved(&self, name: &str) -> Read<GetFunctionConcurrencyOutput> {
        let ask = self.client.get_function_concurrency().function_name(name);
        self.reserved.get(&self.turns, name, async { ask.send().await.map_err(|error| text(&error)) }).await
    }

    /// An event source mapping, by its id.
    pub(super) async fn mapping(&self, id: &str) -> Read<GetEventSourceMappingOutput> {
        let ask = self.client.get_event_source_mapping().uuid(id);
        self.mappings.get(&self.turns, id, async { ask.send().await.map_err(|error| text(&error)) }).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_thing_is_asked_for_once_and_few_at_a_time() {
        let (once, turns) = (Once::new(), Semaphore::new(AT_ONCE));
        let counts = [(); 3].map(|()| AtomicUsize::new(0));
        let [asked, running, most] = &counts;
        let began = tokio::time::Instant::now();
        let names: Vec<String> = (0..20).map(|nth| format!("thing-{nth}")).collect();
        // Three checks want all of them.
        let looks = names.iter().chain(&names).chain(&names).map(|name| {
            once.get(&turns, name, async move {
                asked.fetch_add(1, Ordering::Relaxed);
                let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                running.fetch_sub(1, Ordering::Relaxed);
                if name == "thing-7" { Err("access denied".to_owned()) } else { Ok(name.clone()) }
            })
        });
        let answers = join_all(looks).await;
        assert_eq!((asked.load(Ordering::Relaxed), most.load(Ordering::Relaxed)), (20, AT_ONCE));
        assert_eq!(began.elapsed(), TURN * 5, "10 a second");
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 3, "why not is told to each");
        assert!(
            answers[20..].iter().zip(&names).all(|(answer, name)| answer.as_ref().map_or(true, |is| **is == *name))
        );
    }
}
