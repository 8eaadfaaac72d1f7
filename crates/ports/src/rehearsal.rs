//! The next version of command messages, as a rehearsal: what it says is what version 1 says, in another shape.
//!
//! Compiled with the feature `rehearse-next` only, and for this crate's own tests. Nothing that ships reads or writes it: it is
//! there so that `make skew` can deploy two programs of which one is a version ahead (ADR 15). The real version 2 takes its
//! place.

use lambda_queue::envelope::{Data, Envelope, EnvelopeError};
use order::OrderId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::CommandData;

pub(crate) const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct NextData {
    order: OrderAt,
}

#[derive(Serialize, Deserialize)]
struct OrderAt {
    id: OrderId,
    version: u64,
}

pub(crate) fn write(data: &CommandData) -> Value {
    json!(NextData { order: OrderAt { id: data.order_id, version: data.version } })
}

pub(crate) fn read(message: Envelope<Data>) -> Result<Envelope<CommandData>, EnvelopeError> {
    let message: Envelope<NextData> = message.typed()?;
    Ok(message.map(|data| CommandData { order_id: data.order.id, version: data.order.version }))
}

/// Data of version 1 as data of version 2. What is no data of version 1 is refused without a word of it.
pub(crate) fn upcast(data: Value) -> Result<Value, String> {
    let data: CommandData = serde_json::from_value(data).map_err(|_| "no data of version 1".to_owned())?;
    Ok(write(&data))
}
