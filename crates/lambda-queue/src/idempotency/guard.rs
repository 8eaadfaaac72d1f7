//! One conditional write: the guard folded into the business row.

use crate::Ids;
use crate::ports::Tries;
use crate::ports::store::{Action, Item, Reason, Store, StoreError, Write, Written, number, text, text_of};

/// How often a write is sent whose answers are lost.
const TRIES: u32 = 3;

/// Makes a write of a business row its own deduplication: it holds only against the version that was read, and leaves its
/// own id in the row (`commit_id`), by which it is known again after a lost answer. Of one write only.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lambda_queue::Failure> {
/// # use lambda_queue::idempotency::{Guard, Guarded};
/// # use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
/// # use lambda_queue::ports::store::{Write, number, text};
/// # let world = World::new(1);
/// # let store = MemoryStore::new(world.clone()).with(Table::new("orders", "order_id", KeyType::S));
/// let row = [("order_id".to_owned(), text("o1")), ("total".to_owned(), number(5))].into();
/// let guard = Guard::new(&world);
/// guard.send(&store, guard.create(Write::put("orders", row), "order_id")?).await?;
///
/// let key = [("order_id".to_owned(), text("o1"))].into();
/// let pay = Write::update("orders", key, "SET paid = :yes").value(":yes", text("yes"));
/// let (ours, theirs) = (Guard::new(&world), Guard::new(&world));
/// let (our_write, their_write) = (ours.next(pay.clone(), 1)?, theirs.next(pay, 1)?);
/// assert_eq!(ours.send(&store, our_write.clone()).await?, Guarded::Done);
/// // The same write again, as after a lost answer, knows itself; another one of the same version is lost.
/// assert_eq!(ours.send(&store, our_write).await?, Guarded::Done);
/// assert!(matches!(theirs.send(&store, their_write).await?, Guarded::Lost(Some(_))));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    commit_id: String,
    version: String,
    commit: String,
}

/// How a guarded write went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guarded {
    /// It is written, now or by an earlier try.
    Done,
    /// It is not: this row stands there, of another version or another's. `None`: there is no row.
    Lost(Option<Item>),
}

/// A write that cannot be guarded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GuardError {
    /// A put creates a row; of an existing one only an update keeps what others added.
    #[error("only a put can create a row")]
    NotAPut,
    /// A deletion or a check leaves no commit id behind.
    #[error("only an update or a put can be guarded by version")]
    NothingWritten,
}

impl From<GuardError> for crate::Failure {
    fn from(error: GuardError) -> Self {
        Self::bug(error)
    }
}

impl Guard {
    /// Of one write. The row's version is in `version`, the id of its last write in `commit_id`.
    pub fn new(ids: &impl Ids) -> Self {
        Self { commit_id: ids.fresh().to_string(), version: "version".to_owned(), commit: "commit_id".to_owned() }
    }

    /// With other names for the two attributes.
    #[must_use]
    pub fn attributes(mut self, version: impl Into<String>, commit: impl Into<String>) -> Self {
        (self.version, self.commit) = (version.into(), commit.into());
        self
    }

    /// The row's first version, 1: refused where there is a row of this key. `key` is the partition key's attribute.
    pub fn create(&self, mut write: Write, key: &str) -> Result<Write, GuardError> {
        let Action::Put(item) = &mut write.action else { return Err(GuardError::NotAPut) };
        item.insert(self.version.clone(), number(1));
        item.insert(self.commit.clone(), text(self.commit_id.as_str()));
        let write = and(write, "attribute_not_exists(#lq_key)");
        Ok(write.name("#lq_key", key.to_owned()))
    }

    /// The version after `read`: refused where the row is at another. The update must not set the two attributes itself.
    pub fn next(&self, mut write: Write, read: u64) -> Result<Write, GuardError> {
        let next = number(read.saturating_add(1));
        match &mut write.action {
            Action::Put(item) => {
                item.insert(self.version.clone(), next);
                item.insert(self.commit.clone(), text(self.commit_id.as_str()));
            }
            Action::Update { expression, .. } => {
                *expression = with_set(expression, "#lq_version = :lq_next, #lq_commit = :lq_commit").into();
                write.names.insert("#lq_commit", self.commit.clone());
                write.values.insert(":lq_next", next);
                write.values.insert(":lq_commit", text(self.commit_id.as_str()));
            }
            Action::Delete(_) | Action::Check(_) => return Err(GuardError::NothingWritten),
        }
        let write = and(write, "#lq_version = :lq_read");
        Ok(write.name("#lq_version", self.version.clone()).value(":lq_read", number(read)))
    }

    /// What became of the write.
    pub fn read(&self, written: Written) -> Guarded {
        match written {
            Written::Done(_) => Guarded::Done,
            Written::Refused(row) => self.refused(row),
        }
    }

    /// What a transaction's reason for this item means; `None` where it was not refused for this item.
    pub fn read_reason(&self, reason: Reason) -> Option<Guarded> {
        match reason {
            Reason::ConditionFailed(row) => Some(self.refused(row)),
            Reason::None | Reason::Conflict | Reason::Other(_) => None,
        }
    }

    fn refused(&self, row: Option<Item>) -> Guarded {
        match row {
            Some(row) if text_of(&row, &self.commit) == Some(self.commit_id.as_str()) => Guarded::Done,
            row => Guarded::Lost(row),
        }
    }

    /// Sends the guarded write; again, up to twice, where its answer was lost. One call, 1 write unit a KiB.
    ///
    /// # Errors
    /// The table's. Once an answer was lost and no later try is answered, it is `Unknown`, though the last one was throttled:
    /// the row may be written. The same write may be sent again.
    pub async fn send(&self, store: &impl Store, write: Write) -> Result<Guarded, StoreError> {
        let mut tries = Tries::default();
        for _ in 1..TRIES {
            match tries.judge(store.write(write.clone()).await) {
                Err(StoreError::Unknown(why)) => tracing::debug!(why, "a row's answer was lost: sent again"),
                answer => return answer.map(|written| self.read(written)),
            }
        }
        tries.judge(store.write(write).await).map(|written| self.read(written))
    }
}

fn and(mut write: Write, more: &'static str) -> Write {
    write.condition = Some(match write.condition {
        Some(condition) => format!("({condition}) AND ({more})").into(),
        None => more.into(),
    });
    write
}

/// The update expression with more to set. A clause's keyword is a reserved word, so it is no attribute's bare name.
fn with_set(expression: &str, more: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '#' | ':' | '.' | '-');
    let mut from = 0;
    while let Some(at) = expression.get(from..).and_then(|rest| rest.to_ascii_uppercase().find("SET")) {
        let (start, end) = (from.saturating_add(at), from.saturating_add(at).saturating_add(3));
        let (before, after) = (expression.get(..start).unwrap_or_default(), expression.get(end..).unwrap_or_default());
        if !before.ends_with(word) && !after.starts_with(word) {
            return format!("{before}SET {more}, {}", after.trim_start());
        }
        from = end;
    }
    if expression.trim().is_empty() { format!("SET {more}") } else { format!("SET {more} {expression}") }
}

#[cfg(test)]
mod tests {
    use super::with_set;

    #[test]
    fn the_guard_joins_the_clause_that_sets_or_makes_one() {
        for (expression, expected) in [
            ("SET a = :a", "SET x, a = :a"),
            ("REMOVE offset SET a = :a", "REMOVE offset SET x, a = :a"),
            ("set #set = :set", "SET x, #set = :set"),
            ("REMOVE #set, setting", "SET x REMOVE #set, setting"),
            ("ADD n :one", "SET x ADD n :one"),
            ("", "SET x"),
        ] {
            assert_eq!(with_set(expression, "x"), expected);
        }
    }
}
