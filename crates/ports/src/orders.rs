//! The order row, the stock and the catalogue, as their tables keep them.

use std::future::Future;
use std::ops::Range;

pub use lambda_queue::ports::store::StoreError;
use order::{Currency, CustomerId, Lane, Order, OrderId, Sku, TenantId};

/// Reads one order, strongly consistent. `orders`: GetItem.
pub trait LoadOrder {
    /// `None` where there is no such order.
    fn load_order(&self, id: OrderId) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;
}

/// What a commit found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Commit {
    /// The row is the new one: written now, or by this very commit whose answer had been lost.
    Done,
    /// Somebody was first; this is the row now.
    Lost(Box<Order>),
}

/// Writes the next version of a row, if the row still has the version before. `orders`: UpdateItem.
pub trait CommitOrder {
    /// One conditional write. Attributes that this program does not know stay as they are.
    fn commit_order(&self, before: &Order, after: &Order) -> impl Future<Output = Result<Commit, StoreError>> + Send;

    /// Moves `due_at` and `nudges` of a row that still has this version; neither version nor event changes.
    /// Answers whether it did.
    fn postpone(
        &self,
        order: &Order,
        due_at_ms: u64,
        nudges: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What acceptance found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// The row is new.
    New,
    /// The key was used before; this is its row.
    Known(Box<Order>),
}

/// Writes a new order's row, if its key is new. `orders`: PutItem.
pub trait AcceptOrder {
    /// One conditional put.
    fn accept_order(&self, order: &Order) -> impl Future<Output = Result<Accepted, StoreError>> + Send;
}

/// One page of a customer's orders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderPage {
    /// The newest first; without those that this program cannot read.
    pub orders: Vec<Order>,
    /// Where the next page begins; `None` at the end. Opaque, ASCII.
    pub next: Option<String>,
}

/// Lists a customer's own orders. `orders`: Query on the index `customer`, BatchGetItem.
pub trait ListOrders {
    /// At most `limit` (1-100) orders, newest first, after the cursor. A row that cannot be read is told in the log and left out:
    /// a page may be short, even empty, and have a next one. A cursor that is none of this customer's answers `NotDone`.
    fn list_orders(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
        limit: u32,
        after: Option<&str>,
    ) -> impl Future<Output = Result<OrderPage, StoreError>> + Send;
}

/// A row as the index of open orders has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueRow {
    /// The row's key: an order's id, if all is well.
    pub key: String,
    /// When it was due, UTC milliseconds.
    pub due_at_ms: u64,
}

/// Finds the rows whose command is due at some time. `orders`: Query on the index `open_shard-due_at`.
pub trait FindDue {
    /// At most `limit` rows of one shard (0-15) that are due in `due` (UTC milliseconds; the end is not in it), the longest
    /// overdue first, from behind `after` on. Fewer: there are no more. The index lags.
    fn find_due(
        &self,
        shard: u16,
        due: Range<u64>,
        limit: u32,
        after: Option<&DueRow>,
    ) -> impl Future<Output = Result<Vec<DueRow>, StoreError>> + Send;
}

/// Moves rows out of the way that this program cannot deal with. `orders`: UpdateItem.
pub trait SetAside {
    /// Moves `due_at`, if it is still the one found; the row is not read, and nothing else of it changes. Answers whether
    /// it did.
    fn set_aside(&self, row: &DueRow, due_at_ms: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What the catalogue knows of a SKU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// The SKU.
    pub sku: Sku,
    /// What the customer reads.
    pub name: String,
    /// Minor units for one piece.
    pub price_minor: u64,
    /// Of the price.
    pub currency: Currency,
    /// Pieces that can be taken.
    pub available: u64,
}

/// Reads the catalogue. `stock`: BatchGetItem.
pub trait ReadCatalogue {
    /// What is known of these SKUs, in any order; a SKU that is not there is left out.
    fn read_catalogue(&self, skus: &[Sku]) -> impl Future<Output = Result<Vec<Product>, StoreError>> + Send;
}

/// Which way the lines of an order go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StockMove {
    /// Out of the stock: each line only if there is enough.
    Take,
    /// Back into it.
    Return,
}

/// What a commit with stock found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StockCommit {
    /// Lines and row are written.
    Done,
    /// Nothing is written: somebody was first; this is the row now.
    Lost(Box<Order>),
    /// Nothing is written: there is too little of this.
    Short(Sku),
}

/// Moves the lines of an order and writes its next version, both or neither. `stock`: UpdateItem, `orders`: UpdateItem.
pub trait CommitStock {
    /// One transaction of an item a line and one for the row.
    fn commit_stock(
        &self,
        before: &Order,
        after: &Order,
        way: StockMove,
    ) -> impl Future<Output = Result<StockCommit, StoreError>> + Send;
}

/// The lanes' share of a queue's name.
pub(crate) fn lane_queue(step: order::Step, lane: Lane) -> String {
    format!("{}-{}", step.name(), lane.name())
}
