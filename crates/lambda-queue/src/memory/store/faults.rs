//! What may go wrong with a call, chosen by whoever simulates.

use std::fmt;
use std::time::Duration;

use crate::ports::store::{Item, StoreError};

/// Which call of the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `GetItem`.
    Get,
    /// `BatchGetItem`.
    GetAll,
    /// `Query`.
    Query,
    /// `PutItem`.
    Put,
    /// `UpdateItem`.
    Update,
    /// `DeleteItem`.
    Delete,
    /// `TransactWriteItems`.
    Transact,
}

impl Operation {
    /// Whether it writes.
    pub fn writes(self) -> bool {
        match self {
            Self::Put | Self::Update | Self::Delete | Self::Transact => true,
            Self::Get | Self::GetAll | Self::Query => false,
        }
    }
}

/// A call that is about to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Which.
    pub operation: Operation,
    /// Table and key of each item that it names. Of a query, its table and an empty key; of a put, the whole item.
    pub items: Vec<(String, Item)>,
}

/// What happens to a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It is refused as too much: surely not done.
    Throttle,
    /// It is done, and the answer is lost: the caller sees `Unknown`.
    Lost,
    /// It never arrives, and the caller cannot tell: the caller sees `Unknown`.
    Vanished,
    /// A write meets somebody else's transaction: surely not done. Of a transaction, its first item met it. A read is not
    /// touched by this.
    Conflict,
    /// It takes this long, by tokio's clock. A transaction holds its items meanwhile.
    Slow(Duration),
    /// Nothing is done, and the caller is told this: no permission, no such table, an error inside.
    Says(StoreError),
}

/// The hook that chooses.
pub(super) struct Hook(pub Box<dyn FnMut(&Call) -> Fault + Send>);

impl fmt::Debug for Hook {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Hook")
    }
}
