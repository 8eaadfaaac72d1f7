//! Handlers that take a type in place of a text.

use std::future::{Future, Ready, ready};
use std::sync::Arc;

use futures::future::Either;
use serde::de::DeserializeOwned;

use super::Record;
use crate::{Answer, Failure};

/// What [`json`] makes of a handler: its future, or the poison of a body that it does not take.
pub type Json<W> = Either<W, Ready<Answer>>;

/// A handler for records whose body is JSON of this type. A body that is none is its record's poison; the reason names the
/// place and the kind of mistake, and quotes nothing of the body.
///
/// ```
/// use lambda_queue::{Done, batch::json};
///
/// #[derive(serde::Deserialize)]
/// struct Greeting {
///     name: String,
/// }
///
/// let handler = json(|greeting: Greeting, _record| async move {
///     println!("hello {}", greeting.name);
///     Ok(Done::now(Vec::new()))
/// });
/// # let _ = |record| handler(record);
/// ```
pub fn json<T, F, W>(handler: F) -> impl Fn(Arc<Record>) -> Json<W> + Clone
where
    T: DeserializeOwned,
    F: Fn(T, Arc<Record>) -> W + Clone,
    W: Future<Output = Answer>,
{
    move |record| match serde_json::from_str::<T>(&record.body) {
        Ok(message) => Either::Left(handler(message, record)),
        Err(error) => Either::Right(ready(Err(unreadable(&error)))),
    }
}

fn unreadable(error: &serde_json::Error) -> Failure {
    let kind = match error.classify() {
        serde_json::error::Category::Syntax => "no JSON",
        serde_json::error::Category::Eof => "JSON that ends too early",
        serde_json::error::Category::Data => "JSON of another shape than the handler's",
        serde_json::error::Category::Io => "unreadable",
    };
    Failure::poison(format!("the body is {kind} (line {}, column {})", error.line(), error.column()))
}
