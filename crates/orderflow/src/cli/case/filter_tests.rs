//! Which cases are chosen, from however many there are.

use super::*;

#[test]
fn an_age_is_a_number_and_a_unit() {
    for (text, ms) in [("90s", 90_000), ("30m", 1_800_000), ("12h", 43_200_000), ("7d", 604_800_000)] {
        assert_eq!(age(text), Ok(ms));
    }
    for text in ["", "h", "12", "12 h", "-1h", "1w", "99999999999999999999d", "1ü"] {
        assert!(age(text).is_err_and(|why| why.contains("12h")), "{text}");
    }
}

/// So many open cases, the newest first; the third page has one that cannot be read.
struct Table(u32);

impl ReadCases for Table {
    async fn load_case(&self, case_id: &CaseId) -> Result<Option<StoredCase>, StoreError> {
        match case_id.as_str() {
            "newer" => Err(StoreError::Unreadable("its kind is of tomorrow".to_owned())),
            "none" => Ok(None),
            _ => Ok(Some(case(7))),
        }
    }

    async fn list_cases(&self, _: &CaseIndex, limit: u32, after: Option<&str>) -> Result<ports::CasePage, StoreError> {
        let from = after.map_or(0, |after| after.parse().unwrap());
        let to = (from + limit).min(self.0);
        let newer = UnreadableCase {
            case_id: "newer".to_owned(),
            unreadable: "?".to_owned(),
            opened_at_ms: 0,
            step: "notify".to_owned(),
            order_id: "order".to_owned(),
        };
        Ok(ports::CasePage {
            cases: (from..to).map(|at| case(self.0 - at)).collect(),
            unreadable: if from == 200 { vec![newer] } else { Vec::new() },
            next: (to < self.0).then(|| to.to_string()),
        })
    }

    async fn audits_of(&self, _: &str) -> Result<Vec<ports::Audit>, StoreError> {
        Ok(Vec::new())
    }

    async fn load_raw(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

fn case(opened_at_ms: u32) -> StoredCase {
    let case = ports::Case {
        case_id: format!("case-{opened_at_ms}").parse().unwrap(),
        kind: CaseKind::DeadLetter,
        attempt: String::new(),
        row_version: 0,
        fingerprint: "payment/expired".to_owned(),
        class: CaseClass::Transient,
        step: if opened_at_ms.is_multiple_of(2) { "payment" } else { "stock" }.to_owned(),
        order_id: String::new(),
        tenant: None,
        digest: String::new(),
        opened_at_ms: opened_at_ms.into(),
        letter: None,
    };
    let (status, last_seen_ms) = (CaseStatus::Open, case.opened_at_ms);
    StoredCase { case, status, last_seen_ms, closed_at_ms: None, seen: 1, replays: 0 }
}

fn chosen(all: bool, step: Option<&str>, limit: u32, ids: &[&str]) -> Chosen {
    let filter = Filter { step: step.map(str::to_owned), ..Filter::any() };
    Chosen { case_ids: ids.iter().map(|id| id.parse().unwrap()).collect(), all, filter, limit }
}

#[tokio::test]
async fn the_oldest_are_taken_first_from_however_many_there_are() {
    let found = chosen(false, Some("payment"), 3, &[]).load_as_of(&Table(60_001), 0).await.unwrap();
    let ids: Vec<&str> = found.cases.iter().map(|case| case.case.case_id.as_str()).collect();
    assert_eq!(ids, ["case-2", "case-4", "case-6"]);
    assert_eq!(found.unreadable, [], "nobody can tell whether it is of that step");
    let all = chosen(true, None, 10_000, &[]).load_as_of(&Table(250), 0).await.unwrap();
    assert_eq!((all.cases.len(), all.unreadable.len()), (250, 1), "all are all");
    assert!(all.cases.is_sorted_by_key(|case| case.case.opened_at_ms));
}

#[tokio::test]
async fn of_more_than_anybody_looks_at_the_newest_are_taken_and_that_there_are_more_is_said() {
    let newest = async |open: u32| Filter::any().newest_open_as_of(&Table(open), 0, 1_000).await.unwrap();
    let (found, is_cut) = newest(60_001).await;
    assert_eq!((found.cases.len(), is_cut), (1_000, true));
    assert_eq!(found.cases[0].case.case_id.as_str(), "case-60001");
    assert_eq!(found.unreadable.len(), 1, "one that cannot be read hides none");
    let (found, is_cut) = newest(250).await;
    assert_eq!((found.cases.len(), is_cut), (250, false));
}

#[tokio::test]
async fn one_that_cannot_be_read_is_told_apart_from_one_that_is_not_there() {
    let found = chosen(false, None, 1, &["case-7", "newer"]).load_as_of(&Table(0), 0).await.unwrap();
    assert_eq!((found.cases.len(), found.unreadable.len()), (1, 1));
    assert!(found.to_json()[1]["unreadable"].as_str().is_some_and(|why| why.contains("of tomorrow")));
    let none = chosen(false, None, 1, &["none"]).load_as_of(&Table(0), 0).await.unwrap_err();
    assert!(none.to_string().contains("there is no case none"), "{none}");
}

#[tokio::test]
async fn with_the_events_of_a_group_come_those_that_cannot_be_read() {
    let groups = BTreeSet::from(["notify/order".to_owned()]);
    let found = in_groups(&Table(250), &groups).await.unwrap();
    assert_eq!((found.cases.len(), found.unreadable.len()), (0, 1));
    assert_eq!(found.unreadable[0].order_id, "order");
    assert_eq!(in_groups(&Table(250), &BTreeSet::new()).await.unwrap(), Found::default(), "commands have no group");
}
