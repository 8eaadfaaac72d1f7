//! The Runtime API as a function sees it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, Response, StatusCode};
use runtime_api::{Answer, Limit, RuntimeApi, Unanswered};

const LIMIT: Duration = Duration::from_secs(10);

struct Function {
    client: Client,
    base: String,
}

impl Function {
    fn of(api: &RuntimeApi) -> Self {
        Self { client: Client::new(), base: format!("http://{}/2018-06-01/runtime", api.address()) }
    }

    async fn poll(&self) -> Response {
        self.client.get(format!("{}/invocation/next", self.base)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: &'static str) -> StatusCode {
        self.client.post(format!("{}/{path}", self.base)).body(body).send().await.unwrap().status()
    }
}

fn request_id(next: &Response) -> String {
    next.headers()["lambda-runtime-aws-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_invocation_is_handed_out_once_and_answered_by_its_id() {
    let api = RuntimeApi::start().await.unwrap();
    let function = Function::of(&api);
    let work = async {
        for answer in ["response", "error"] {
            let next = function.poll().await;
            let id = request_id(&next);
            assert!(next.headers().contains_key("lambda-runtime-deadline-ms"));
            assert_eq!(next.text().await.unwrap(), r#"{"n":1}"#);
            assert_eq!(function.post(&format!("invocation/{id}/{answer}"), r#""said""#).await, StatusCode::ACCEPTED);
            // A second answer is refused.
            assert_eq!(function.post(&format!("invocation/{id}/{answer}"), "2").await, StatusCode::BAD_REQUEST);
        }
    };
    let invoked = async {
        let first = api.invoke(r#"{"n":1}"#, LIMIT).await.unwrap();
        (first, api.invoke(r#"{"n":1}"#, LIMIT).await.unwrap())
    };
    let ((), answers) = tokio::join!(work, invoked);
    assert_eq!(answers, (Answer::Response(r#""said""#.into()), Answer::Error(r#""said""#.into())));
}

#[tokio::test]
async fn the_deadline_is_the_functions_own_however_long_its_answer_is_waited_for() {
    let api = RuntimeApi::start().await.unwrap();
    let function = Function::of(&api);
    let work = async {
        let next = function.poll().await;
        let deadline_ms: u64 = next.headers()["lambda-runtime-deadline-ms"].to_str().unwrap().parse().unwrap();
        #[allow(clippy::disallowed_methods, reason = "what the emulator tells is of the wall clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        function.post(&format!("invocation/{}/response", request_id(&next)), "1").await;
        Duration::from_millis(deadline_ms).saturating_sub(now)
    };
    let patient = Limit { timeout: Duration::from_secs(30), patience: Duration::from_secs(12 * 3_600) };
    let (left, answer) = tokio::join!(work, api.invoke("{}", patient));
    answer.unwrap();
    assert!(left <= patient.timeout, "it believes that it has {left:?}");
    // And one whose patience is short is not waited for until its deadline.
    let short = Limit { timeout: LIMIT, patience: Duration::from_millis(20) };
    assert!(matches!(api.invoke("{}", short).await, Err(Unanswered::TooLate(waited)) if waited == short.patience));
}

#[tokio::test]
async fn the_first_poll_is_told_and_idle_means_that_it_polls_again() {
    let api = RuntimeApi::start().await.unwrap();
    let function = Function::of(&api);
    assert!(matches!(api.first_poll(Duration::from_millis(20)).await, Err(Unanswered::TooLate(_))));
    let work = async {
        let id = request_id(&function.poll().await);
        function.post(&format!("invocation/{id}/response"), "1").await;
        // Until it polls again it is not idle.
        assert!(matches!(api.idle(Duration::from_millis(20)).await, Err(Unanswered::TooLate(_))));
        tokio::select! {
            idle = api.idle(LIMIT) => idle.unwrap(),
            _ = function.poll() => unreachable!("nothing was invoked"),
        }
    };
    let (_, answer) = tokio::join!(work, api.invoke("{}", LIMIT));
    answer.unwrap();
    api.first_poll(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_function_that_cannot_start_is_told_apart_from_a_late_one() {
    let api = RuntimeApi::start().await.unwrap();
    let function = Function::of(&api);
    assert!(matches!(api.invoke("{}", Duration::from_millis(20)).await, Err(Unanswered::TooLate(_))));
    assert_eq!(function.post("init/error", r#"{"errorMessage":"no table"}"#).await, StatusCode::ACCEPTED);
    let Err(Unanswered::InitError(why)) = api.first_poll(LIMIT).await else { panic!("it did not start") };
    assert!(why.contains("no table"), "{why}");
}
