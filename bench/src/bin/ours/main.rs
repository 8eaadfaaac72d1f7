//! `lambda-queue` at the benchmark's works: `works` repeats the small ones, `invocation` is a whole function.

mod instant;
mod invocation;
mod works;

use lambda_queue::logging;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};

/// What handlers read of an order.
#[derive(Deserialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) quantity: i64,
}

/// What a placed order answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) order_id: String,
    pub(crate) status: String,
}

impl Placed {
    pub(crate) fn accepted(order_id: &str) -> Self {
        Self { order_id: order_id.to_owned(), status: "accepted".to_owned() }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    match std::env::args().nth(1).as_deref() {
        Some("works") => works::serve().await,
        Some("invocation") => invocation::serve().await,
        _ => Err("which program? works or invocation".into()),
    }
}
