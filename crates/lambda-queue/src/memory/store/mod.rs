//! DynamoDB in memory.
//!
//! It answers as the service does: what is stored, what is refused, and why. The text of an error begins with the
//! service's code (`ValidationException: `, ...); what follows is near the service's words, not a promise.

mod changes;
mod condition;
mod faults;
mod lexer;
mod number;
mod path;
mod reserved;
mod schema;
mod table;
mod update;
mod value;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use changes::{Change, Changes};
pub use faults::{Call, Fault, Operation};
pub use schema::{Index, KeyType, Projection, Table};

use super::World;
use crate::meter;
use crate::ports::Clock as _;
use crate::ports::store::{Action, Item, Page, Query, Reason, Returned, Store, StoreError, Transacted, Write, Written};
use faults::Hook;
use schema::Key;
use table::State;
use write::{Outcome, Prepared};

/// The most items of a transaction, and keys of a batch read.
const MOST: usize = 100;
/// The most bytes of a transaction.
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// A time to live further back than this is taken for a mistake: five years, milliseconds.
const LONG_AGO_MS: u64 = 5 * 365 * 24 * 60 * 60 * 1_000;

/// A request that the service refuses as it stands: `ValidationException`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Invalid(String);

impl From<Invalid> for StoreError {
    fn from(Invalid(why): Invalid) -> Self {
        validation_error(&why)
    }
}

/// The error of a request that is malformed.
pub fn validation_error(why: &str) -> StoreError {
    StoreError::NotDone(format!("ValidationException: {why}"))
}

/// Tables in memory. Clones are the same tables.
///
/// Every call lets other tasks run before it is done, so that on one thread concurrent tasks interleave between calls. A
/// transaction holds its items meanwhile: a write or another transaction that comes to one of them is refused with a
/// conflict, as the service does. Global indexes are up to date at once, and every read is consistent.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    world: World,
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<String, State>,
    /// Items that a transaction is at.
    held: BTreeSet<(String, Key)>,
    hook: Option<Hook>,
}

impl Inner {
    fn table(&self, name: &str) -> Result<&State, StoreError> {
        self.tables.get(name).ok_or_else(not_found)
    }
}

fn not_found() -> StoreError {
    StoreError::NotDone("ResourceNotFoundException: Requested resource not found".to_owned())
}

/// Lets go of a transaction's items, also when its future is dropped.
struct Holding<'a> {
    store: &'a MemoryStore,
    items: Vec<(String, Key)>,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut inner = self.store.lock();
        for item in &self.items {
            inner.held.remove(item);
        }
    }
}

impl MemoryStore {
    /// No tables yet, in this world.
    pub fn new(world: World) -> Self {
        Self { inner: Arc::default(), world }
    }

    /// Creates a table. One of this name that is there is replaced by an empty one.
    pub fn create(&self, table: Table) {
        self.lock().tables.insert(table.name.clone(), State::new(table));
    }

    /// With a table.
    #[must_use]
    pub fn with(self, table: Table) -> Self {
        self.create(table);
        self
    }

    /// Every call asks this first what is to happen to it. Replaces the hook before.
    pub fn set_faults(&self, choose: impl FnMut(&Call) -> Fault + Send + 'static) {
        self.lock().hook = Some(Hook(Box::new(choose)));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.lock().hook = None;
    }

    /// Every item of a table in the order of its keys, without a call: for checkers. Empty where there is no such table.
    pub fn items(&self, table: &str) -> Vec<Item> {
        let inner = self.lock();
        inner.tables.get(table).map(|state| state.items().map(|(_, item)| item.clone()).collect()).unwrap_or_default()
    }

    /// The table's changes from now on. `None` where there is no such table.
    pub fn changes(&self, table: &str) -> Option<Changes> {
        let inner = self.lock();
        let log = &inner.tables.get(table)?.log;
        Some(Changes { store: self.clone(), table: table.to_owned(), read: log.latest(), latest: log.watch() })
    }

    fn changes_after(&self, table: &str, sequence: u64, most: usize) -> Vec<Change> {
        self.lock().tables.get(table).map(|state| state.log.after(sequence, most)).unwrap_or_default()
    }

    /// Deletes what has been past its time to live for at least `late_ms`, and answers how many. The service does so
    /// within a few days, so nothing may rely on it: it happens here when it is asked for, and never before.
    pub fn expire(&self, late_ms: u64) -> usize {
        let now_ms = self.world.now_ms();
        let mut deleted = 0_usize;
        for state in self.lock().tables.values_mut() {
            let Some(attribute) = state.table.expires.clone() else { continue };
            let gone = |item: &Item| {
                let expires_ms = crate::ports::store::number_of(item, &attribute)?.checked_mul(1_000)?;
                let late = expires_ms.saturating_add(late_ms) <= now_ms;
                Some(late && expires_ms.saturating_add(LONG_AGO_MS) > now_ms)
            };
            let keys: Vec<Key> =
                state.items().filter(|(_, item)| gone(item) == Some(true)).map(|(key, _)| key.clone()).collect();
            for key in keys {
                state.replace(&key, None, now_ms, true);
                deleted = deleted.saturating_add(1);
            }
        }
        deleted
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call: asks the hook and lets others run. Answers what is to become of the call's answer.
    async fn begin(&self, operation: Operation, items: Vec<(String, Item)>) -> Result<After, StoreError> {
        meter::count("dynamodb");
        let call = Call { operation, items };
        let fault = self.lock().hook.as_mut().map(|Hook(choose)| choose(&call)).unwrap_or_default();
        match fault {
            Fault::Throttle => {
                Err(StoreError::NotDone("ThrottlingException: Rate of requests exceeds the limit".to_owned()))
            }
            Fault::Vanished => {
                tokio::task::yield_now().await;
                Err(lost(operation, "the request was lost"))
            }
            Fault::Conflict if operation == Operation::Transact => Ok(After { conflict: true, ..After::default() }),
            Fault::Conflict if operation.writes() => Err(conflict()),
            Fault::Conflict | Fault::None => Ok(After::default()),
            Fault::Lost => Ok(After { lost: Some(lost(operation, "the answer was lost")), ..After::default() }),
            Fault::Slow(duration) => Ok(After { slow: Some(duration), ..After::default() }),
            Fault::Says(error) => {
                tokio::task::yield_now().await;
                Err(error)
            }
        }
    }
}

fn conflict() -> StoreError {
    StoreError::NotDone("TransactionConflictException: Transaction is ongoing for the item".to_owned())
}

/// Of a write nobody knows then; a read has done nothing.
fn lost(operation: Operation, what: &str) -> StoreError {
    if operation.writes() { StoreError::Unknown(what.to_owned()) } else { StoreError::NotDone(what.to_owned()) }
}

/// What becomes of a call that has begun.
#[derive(Default)]
struct After {
    lost: Option<StoreError>,
    conflict: bool,
    slow: Option<std::time::Duration>,
}

impl After {
    /// While it is under way.
    async fn pass(&self) {
        match self.slow {
            Some(duration) => tokio::time::sleep(duration).await,
            None => tokio::task::yield_now().await,
        }
    }

    fn answer<T>(self, answer: T) -> Result<T, StoreError> {
        self.lost.map_or(Ok(answer), Err)
    }
}

impl Store for MemoryStore {
    async fn get(&self, table: &str, key: Item, _: bool) -> Result<Option<Item>, StoreError> {
        let after = self.begin(Operation::Get, vec![(table.to_owned(), key.clone())]).await?;
        after.pass().await;
        let found = {
            let inner = self.lock();
            let state = inner.table(table)?;
            state.get(&write::read_key(&state.table.schema, key)?).cloned()
        };
        after.answer(found)
    }

    async fn get_all(&self, table: &str, keys: Vec<Item>, _: bool) -> Result<Vec<Item>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let named = keys.iter().map(|key| (table.to_owned(), key.clone())).collect();
        let after = self.begin(Operation::GetAll, named).await?;
        after.pass().await;
        let found = {
            let inner = self.lock();
            let state = inner.table(table)?;
            if keys.len() > MOST {
                return Err(validation_error("Too many items requested for the BatchGetItem call"));
            }
            let mut asked = BTreeSet::new();
            for key in keys {
                if !asked.insert(write::read_key(&state.table.schema, key)?) {
                    return Err(validation_error("Provided list of item keys contains duplicates"));
                }
            }
            asked.iter().filter_map(|key| state.get(key).cloned()).collect()
        };
        after.answer(found)
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        let after = self.begin(Operation::Query, vec![(query.table.clone(), Item::new())]).await?;
        after.pass().await;
        let page = self.lock().table(&query.table)?.query(&query)?;
        after.answer(page)
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let operation = match &write.action {
            Action::Put(_) => Operation::Put,
            Action::Update { .. } => Operation::Update,
            Action::Delete(_) => Operation::Delete,
            Action::Check(_) => {
                return Err(StoreError::NotDone("a check stands in a transaction only".to_owned()));
            }
        };
        let after = self.begin(operation, vec![write::named(&write)]).await?;
        after.pass().await;
        let now_ms = self.world.now_ms();
        let written = {
            let mut inner = self.lock();
            let prepared = Prepared::of(&write, inner.table(&write.table)?)??;
            if inner.held.contains(&(prepared.table.clone(), prepared.key.clone())) {
                return Err(conflict());
            }
            let state = inner.tables.get_mut(&write.table).ok_or_else(not_found)?;
            match prepared.try_on(state)? {
                Outcome::Refused => Written::Refused(state.get(&prepared.key).cloned()),
                Outcome::Stays => Written::Done(Item::new()),
                Outcome::Becomes(item) => {
                    let asked = operation == Operation::Update && write.returned == Returned::New;
                    let new = item.clone().filter(|_| asked).unwrap_or_default();
                    state.replace(&prepared.key, item, now_ms, false);
                    Written::Done(new)
                }
            }
        };
        after.answer(written)
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        let after = self.begin(Operation::Transact, writes.iter().map(write::named).collect()).await?;
        let prepared = self.prepare(&writes)?;
        let holding = self.hold(&prepared, after.conflict)?;
        after.pass().await;
        let transacted = self.commit(&prepared)?;
        drop(holding);
        after.answer(transacted)
    }
}

impl MemoryStore {
    /// Each write as it may be tried, or why its item does not fit.
    fn prepare(&self, writes: &[Write]) -> Result<Vec<Result<Prepared, Invalid>>, StoreError> {
        if writes.is_empty() || writes.len() > MOST {
            return Err(validation_error(&format!(
                "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have \
                 length less than or equal to {MOST}, and greater than or equal to 1"
            )));
        }
        let inner = self.lock();
        let mut prepared: Vec<Result<Prepared, Invalid>> = Vec::with_capacity(writes.len());
        let mut items = BTreeSet::new();
        for write in writes {
            let one = Prepared::of(write, inner.table(&write.table)?)?;
            if one.as_ref().is_ok_and(|one| !items.insert((one.table.clone(), one.key.clone()))) {
                return Err(validation_error("Transaction request cannot include multiple operations on one item"));
            }
            prepared.push(one);
        }
        if prepared.iter().flatten().map(|one| one.bytes).sum::<usize>() > TRANSACTION_BYTES {
            return Err(validation_error("Transaction request size cannot exceed 4MB"));
        }
        Ok(prepared)
    }

    /// Takes hold of the items; where another transaction is at one, this one is cancelled.
    fn hold(&self, prepared: &[Result<Prepared, Invalid>], forced: bool) -> Result<Holding<'_>, StoreError> {
        let item = |one: &Prepared| (one.table.clone(), one.key.clone());
        let mut inner = self.lock();
        let met = |(at, one): (usize, &Result<Prepared, Invalid>)| {
            let held = one.as_ref().is_ok_and(|one| inner.held.contains(&item(one)));
            if held || (forced && at == 0) { Reason::Conflict } else { Reason::None }
        };
        let reasons: Vec<Reason> = prepared.iter().enumerate().map(met).collect();
        if reasons.contains(&Reason::Conflict) {
            return Err(StoreError::cancelled(&reasons));
        }
        let items: Vec<(String, Key)> = prepared.iter().flatten().map(item).collect();
        inner.held.extend(items.iter().cloned());
        Ok(Holding { store: self, items })
    }

    fn commit(&self, prepared: &[Result<Prepared, Invalid>]) -> Result<Transacted, StoreError> {
        let now_ms = self.world.now_ms();
        let mut inner = self.lock();
        let (mut reasons, mut becomes) = (Vec::with_capacity(prepared.len()), Vec::new());
        for one in prepared {
            let Ok(one) = one else {
                reasons.push(Reason::Other("ValidationError".to_owned()));
                continue;
            };
            let state = inner.table(&one.table)?;
            reasons.push(match one.try_on(state) {
                Ok(Outcome::Becomes(item)) => {
                    becomes.push((one, item));
                    Reason::None
                }
                Ok(Outcome::Stays) => Reason::None,
                Ok(Outcome::Refused) => Reason::ConditionFailed(state.get(&one.key).cloned()),
                Err(Invalid(_)) => Reason::Other("ValidationError".to_owned()),
            });
        }
        if reasons.iter().any(|reason| matches!(reason, Reason::ConditionFailed(_))) {
            return Ok(Transacted::Refused(reasons));
        }
        if reasons.iter().any(|reason| *reason != Reason::None) {
            return Err(StoreError::cancelled(&reasons));
        }
        for (one, item) in becomes {
            if let Some(state) = inner.tables.get_mut(&one.table) {
                state.replace(&one.key, item, now_ms, false);
            }
        }
        Ok(Transacted::Done)
    }
}
