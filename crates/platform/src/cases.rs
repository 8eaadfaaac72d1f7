//! The table of cases: opening, keeping dead letters, reading.

use std::collections::HashMap;

use lambda_queue::ports::Objects;
use lambda_queue::ports::store::{Item, Query, Value, Write, Written, number, number_of, text};
use order::CaseId;
use ports::{
    Audit, Case, CaseClass, CaseIndex, CaseKind, CasePage, CaseStatus, CountCases, KeepDeadLetters, KeepPlace, Letter,
    OpenCase, ReadCases, RecordDifference, Recorded, Stands, StoreError, StoredCase, UnreadableCase,
};

use crate::item::text_of;
use crate::{Backend, Platform};

/// The largest raw message that is read back, bytes: 1 MiB of message, whose control characters JSON may write in six.
const MOST_RAW: usize = 8 * 1024 * 1024;
/// Audit records of one subject that are read, at most.
const MOST_AUDITS: u32 = 1_000;
/// Pages of open cases that are counted, at most: of 1 MB each, so some 100,000 cases. What is beyond is not counted.
const MOST_COUNTED_PAGES: u32 = 100;

/// The index key under which the audit records of a case or an order stand together.
pub(crate) fn audits_of(subject: &str) -> String {
    format!("audit#{subject}")
}

pub(crate) fn key_of(case_id: &CaseId) -> Item {
    HashMap::from([("case_id".to_owned(), text(case_id.as_str()))])
}

impl<B: Backend> Platform<B> {
    fn case_update(&self, case_id: &CaseId, expression: &str) -> Write {
        let write = Write::update(&self.names.cases_table, key_of(case_id), expression.to_owned());
        write.name("#status", "status").value(":open", text(CaseStatus::Open.name()))
    }

    /// Closes a case that is open and fits. One that is closed, is not there or does not fit is left alone.
    async fn close_case(&self, case_id: &CaseId, fits: &str, value: Value) -> Result<(), StoreError> {
        let write = self
            .case_update(case_id, "SET #status = :superseded, closed_at = :now")
            .when(format!("#status = :open AND {fits}"))
            .value(":superseded", text(CaseStatus::Superseded.name()))
            .value(":now", number(self.backend.now_ms()))
            .value(":value", value);
        self.backend.write(write).await.map(drop)
    }

    /// The update that writes what a case says, open, whoever wrote it before.
    fn say(&self, case: &Case, now_ms: u64, more: &[(&str, Value)], then: &str) -> Write {
        let mut set =
            "SET #status = :open, #kind = :kind, fingerprint = :fingerprint, #class = :class, #step = :step, \
                       digest = :digest, opened_at = if_not_exists(opened_at, :opened), last_seen = :now, \
                       row_version = :row_version"
                .to_owned();
        let mut values = vec![
            ("kind", text(case.kind.name())),
            ("fingerprint", text(case.fingerprint.clone())),
            ("class", text(case.class.name())),
            ("step", text(case.step.clone())),
            ("digest", text(case.digest.clone())),
            ("opened", number(case.opened_at_ms)),
            ("now", number(now_ms)),
            ("row_version", number(case.row_version)),
        ];
        let mut optional: Vec<(&str, Value)> = more.to_vec();
        // An empty text tells nothing.
        if !case.order_id.is_empty() {
            optional.push(("order_id", text(case.order_id.clone())));
        }
        if let Some(tenant) = &case.tenant {
            optional.push(("tenant", text(tenant.as_str())));
        }
        for (name, value) in optional {
            set.push_str(&format!(", {name} = :{name}"));
            values.push((name, value));
        }
        let write = self
            .case_update(&case.case_id, &format!("{set} REMOVE closed_at{then}"))
            .name("#kind", "kind")
            .name("#class", "class")
            .name("#step", "step");
        values.into_iter().fold(write, |write, (name, value)| write.value(format!(":{name}"), value))
    }
}

impl<B: Backend> OpenCase for Platform<B> {
    async fn open_case(&self, case: &Case) -> Result<(), StoreError> {
        let write = self.say(case, case.opened_at_ms, &[("attempt", text(case.attempt.clone()))], "");
        self.backend.write(write).await.map(drop)
    }

    async fn withdraw_case(&self, case: &Case) -> Result<(), StoreError> {
        self.close_case(&case.case_id, "attempt = :value", text(case.attempt.clone())).await
    }

    async fn supersede_case(&self, case_id: &CaseId, version: u64) -> Result<(), StoreError> {
        self.close_case(case_id, "row_version < :value", number(version)).await
    }
}

impl<B: Backend + Objects> KeepDeadLetters for Platform<B> {
    async fn keep_raw(&self, key: &str, raw: Vec<u8>) -> Result<(), StoreError> {
        self.backend.put_object(&self.names.archive_bucket, key, raw, "application/json").await
    }

    async fn record_letter(&self, case: &Case) -> Result<Recorded, StoreError> {
        let Some(letter) = &case.letter else {
            return Err(StoreError::NotDone("the case is not a dead letter's".to_owned()));
        };
        let more = [
            ("queue", text(letter.queue.clone())),
            ("message_id", text(letter.message_id.clone())),
            ("letter_id", text(letter.letter_id.clone())),
            ("raw_key", text(letter.raw.clone())),
            ("sent_at", number(letter.sent_at_ms)),
            ("attempts", number(letter.attempts)),
        ];
        let counted = Value::Ss(vec![letter.letter_id.clone()]);
        let write = self
            .say(case, self.backend.now_ms(), &more, " ADD letters :letters, seen :one")
            .when("attribute_not_exists(case_id) OR NOT contains(letters, :letter_id)")
            .value(":letters", counted)
            .value(":one", number(1));
        Ok(match self.backend.write(write).await? {
            Written::Done(now) if number_of(&now, "seen") == Some(1) => Recorded::Opened,
            Written::Done(_) => Recorded::Again,
            Written::Refused(_) => Recorded::Known,
        })
    }
}

impl<B: Backend> RecordDifference for Platform<B> {
    async fn record_difference(&self, case: &Case) -> Result<Stands, StoreError> {
        let now_ms = self.backend.now_ms();
        let write = self
            .say(case, now_ms, &[], " ADD seen :one")
            .when("attribute_not_exists(case_id) OR digest <> :digest")
            .value(":one", number(1));
        if let Written::Done(_) = self.backend.write(write).await? {
            return Ok(Stands::Opened);
        }
        // The same words: whatever was decided stands, and so does its time.
        let seen = Write::update(&self.names.cases_table, key_of(&case.case_id), "SET last_seen = :now")
            .when("attribute_exists(case_id)")
            .value(":now", number(now_ms));
        Ok(match self.backend.write(seen).await? {
            Written::Done(now) if text_of(&now, "status").as_deref() != Some(CaseStatus::Open.name()) => {
                Stands::Decided
            }
            Written::Done(_) | Written::Refused(_) => Stands::Open,
        })
    }
}

impl<B: Backend> CountCases for Platform<B> {
    async fn open_cases(&self, kind: CaseKind) -> Result<u64, StoreError> {
        self.counted_on(MOST_COUNTED_PAGES, None, kind).await
    }
}

impl<B: Backend> Platform<B> {
    /// The open cases of a kind on so many pages, at most, of so many cases.
    async fn counted_on(&self, most_pages: u32, limit: Option<u32>, kind: CaseKind) -> Result<u64, StoreError> {
        let mut query = Query {
            table: self.names.cases_table.clone(),
            index: Some("status".to_owned()),
            key_condition: "#status = :open".to_owned(),
            filter: Some("#kind = :kind".to_owned()),
            limit,
            names: [("#status", "status"), ("#kind", "kind")].into(),
            values: [(":open", text(CaseStatus::Open.name())), (":kind", text(kind.name()))].into(),
            ..Query::default()
        };
        let mut counted = 0_u64;
        for _ in 0..most_pages {
            let page = self.backend.query(query.clone()).await?;
            counted += u64::try_from(page.items.len()).unwrap_or(u64::MAX);
            match page.next {
                Some(next) => query.start = Some(next),
                None => return Ok(counted),
            }
        }
        // So many are open in the incident that the count is for: too few of them is an alarm, no number is none.
        tracing::warn!(kind = kind.name(), counted, most_pages, "open cases are not counted to the end");
        Ok(counted)
    }
}

/// How a walk stands, UTC milliseconds; `None` where it never did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walked {
    /// It kept its place, or came to its end.
    pub kept_ms: Option<u64>,
    /// It came to its end.
    pub ended_ms: Option<u64>,
}

/// The item of a walk. It has no status and no fingerprint, so no list of cases shows it.
fn place_of(walk: &str) -> Item {
    HashMap::from([("case_id".to_owned(), text(format!("place#{walk}")))])
}

impl<B: Backend> Platform<B> {
    /// When a walk last came on, and when it last came to its end. For a tool that looks whether a schedule runs, and whether
    /// what it starts gets through.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn walked(&self, walk: &str) -> Result<Walked, StoreError> {
        let item = self.backend.get(&self.names.cases_table, place_of(walk), true).await?;
        let at = |name: &str| item.as_ref().and_then(|item| number_of(item, name));
        Ok(Walked { kept_ms: at("last_seen"), ended_ms: at("ended") })
    }
}

impl<B: Backend> KeepPlace for Platform<B> {
    async fn kept_place(&self, walk: &str) -> Result<Option<String>, StoreError> {
        let item = self.backend.get(&self.names.cases_table, place_of(walk), true).await?;
        Ok(item.and_then(|item| text_of(&item, "place")))
    }

    async fn keep_place(&self, walk: &str, place: Option<&str>) -> Result<(), StoreError> {
        let write = match place {
            Some(place) => {
                Write::update(&self.names.cases_table, place_of(walk), "SET place = :place, last_seen = :now")
                    .value(":place", text(place))
            }
            None => Write::update(
                &self.names.cases_table,
                place_of(walk),
                "SET last_seen = :now, ended = :now REMOVE place",
            ),
        };
        self.backend.write(write.value(":now", number(self.backend.now_ms()))).await.map(drop)
    }
}

impl<B: Backend + Objects> ReadCases for Platform<B> {
    async fn load_case(&self, case_id: &CaseId) -> Result<Option<StoredCase>, StoreError> {
        let item = self.backend.get(&self.names.cases_table, key_of(case_id), true).await?;
        item.as_ref().map(case_of).transpose().map_err(|why| StoreError::Unreadable(format!("case {case_id}: {why}")))
    }

    async fn list_cases(&self, index: &CaseIndex, limit: u32, after: Option<&str>) -> Result<CasePage, StoreError> {
        let (name, hash) = match index {
            CaseIndex::Status(status) => ("status", status.name().to_owned()),
            CaseIndex::Fingerprint(fingerprint) => ("fingerprint", fingerprint.clone()),
        };
        let start = after.map(|cursor| start_key(cursor, name, &hash)).transpose()?;
        let query = Query { start, descending: true, limit: Some(limit.clamp(1, 100)), ..self.index(name, hash) };
        let page = self.backend.query(query).await?;
        let mut found =
            CasePage { cases: Vec::new(), unreadable: Vec::new(), next: page.next.as_ref().and_then(cursor) };
        for item in &page.items {
            match case_of(item) {
                Ok(case) => found.cases.push(case),
                Err(unreadable) => found.unreadable.push(UnreadableCase {
                    case_id: text_of(item, "case_id").unwrap_or_default(),
                    unreadable,
                    opened_at_ms: number_of(item, "opened_at").unwrap_or(0),
                    step: text_of(item, "step").unwrap_or_default(),
                    order_id: text_of(item, "order_id").unwrap_or_default(),
                }),
            }
        }
        Ok(found)
    }

    async fn audits_of(&self, subject: &str) -> Result<Vec<Audit>, StoreError> {
        let query = Query { limit: Some(MOST_AUDITS), ..self.index("fingerprint", audits_of(subject)) };
        let page = self.backend.query(query).await?;
        page.items.iter().map(|item| audit_of(item, subject)).collect()
    }

    async fn load_raw(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.backend.get_object(&self.names.archive_bucket, key, MOST_RAW).await
    }
}

impl<B> Platform<B> {
    fn index(&self, name: &'static str, hash: String) -> Query {
        Query {
            table: self.names.cases_table.clone(),
            index: Some(name.to_owned()),
            key_condition: "#hash = :hash".to_owned(),
            names: [("#hash", name)].into_iter().collect(),
            values: [(":hash", text(hash))].into_iter().collect(),
            ..Query::default()
        }
    }
}

fn cursor(last: &Item) -> Option<String> {
    Some(format!("{}_{}", number_of(last, "opened_at")?, text_of(last, "case_id")?))
}

fn start_key(cursor: &str, name: &str, hash: &str) -> Result<Item, StoreError> {
    let parts = cursor
        .split_once('_')
        .and_then(|(opened_at, id)| Some((opened_at.parse::<u64>().ok()?, id.parse::<CaseId>().ok()?)));
    let (opened_at, id) = parts.ok_or_else(|| StoreError::NotDone("not a cursor of a list of cases".to_owned()))?;
    let mut start = key_of(&id);
    start.insert(name.to_owned(), text(hash));
    start.insert("opened_at".to_owned(), number(opened_at));
    Ok(start)
}

/// A case as an item has it, or what of it cannot be read. One of the program before has no kind: its fingerprint tells.
fn case_of(item: &Item) -> Result<StoredCase, String> {
    let lacks = |what: &str| format!("it has no {what} that can be read");
    let fingerprint = text_of(item, "fingerprint").ok_or_else(|| lacks("fingerprint"))?;
    let kind = match text_of(item, "kind") {
        None if fingerprint.contains("/unreadable/") => CaseKind::Unreadable,
        None => CaseKind::Parked,
        Some(_) => named(&CaseKind::ALL, CaseKind::name, item, "kind")?,
    };
    let opened_at_ms = number_of(item, "opened_at").ok_or_else(|| lacks("time"))?;
    let letter = text_of(item, "letter_id").map(|letter_id| Letter {
        letter_id,
        queue: text_of(item, "queue").unwrap_or_default(),
        message_id: text_of(item, "message_id").unwrap_or_default(),
        raw: text_of(item, "raw_key").unwrap_or_default(),
        sent_at_ms: number_of(item, "sent_at").unwrap_or(opened_at_ms),
        attempts: number_of(item, "attempts").and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
    });
    let case = Case {
        case_id: text_of(item, "case_id").and_then(|id| id.parse().ok()).ok_or_else(|| lacks("id"))?,
        kind,
        attempt: text_of(item, "attempt").unwrap_or_default(),
        row_version: number_of(item, "row_version").unwrap_or(0),
        fingerprint,
        class: named(&CaseClass::ALL, CaseClass::name, item, "class")?,
        step: text_of(item, "step").unwrap_or_default(),
        order_id: text_of(item, "order_id").unwrap_or_default(),
        tenant: text_of(item, "tenant").and_then(|tenant| tenant.parse().ok()),
        digest: text_of(item, "digest").unwrap_or_default(),
        opened_at_ms,
        letter,
    };
    Ok(StoredCase {
        case,
        status: named(&CaseStatus::ALL, CaseStatus::name, item, "status")?,
        last_seen_ms: number_of(item, "last_seen").unwrap_or(opened_at_ms),
        closed_at_ms: number_of(item, "closed_at"),
        seen: number_of(item, "seen").unwrap_or(0),
        replays: number_of(item, "replays").unwrap_or(0),
    })
}

/// The one of this name, or what is there instead.
fn named<T: Copy>(all: &[T], name_of: impl Fn(T) -> &'static str, item: &Item, field: &str) -> Result<T, String> {
    let found = text_of(item, field);
    let known = all.iter().copied().find(|one| found.as_deref() == Some(name_of(*one)));
    known.ok_or_else(|| format!("its {field} `{}` is none that this program knows", found.unwrap_or_default()))
}

fn audit_of(item: &Item, subject: &str) -> Result<Audit, StoreError> {
    let field = |name: &str| text_of(item, name).unwrap_or_default();
    let at_ms = number_of(item, "opened_at");
    Ok(Audit {
        audit_id: field("case_id"),
        at_ms: at_ms.ok_or_else(|| StoreError::Unreadable("an audit record without a time".to_owned()))?,
        who: field("who"),
        action: field("action"),
        subject: subject.to_owned(),
        reason: field("reason"),
        detail: field("detail"),
    })
}

#[cfg(test)]
mod tests {
    use lambda_queue::memory::World;

    use super::*;

    #[tokio::test]
    async fn more_open_cases_than_are_counted_are_at_least_so_many_and_no_error() -> Result<(), lambda_queue::Failure> {
        let platform = Platform::in_memory(World::new(1));
        for key in ["one", "two", "three"] {
            platform.open_case(&ports::unreadable(key, "reconcile", CaseClass::Bug, "a test", 1)?).await?;
        }
        for (most_pages, counted) in [(2, 2), (9, 3)] {
            assert_eq!(platform.counted_on(most_pages, Some(1), CaseKind::Unreadable).await, Ok(counted));
        }
        Ok(())
    }
}
