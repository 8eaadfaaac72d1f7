//! I11: what was published, by the archive.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Findings, Verdict};

/// I11, as far as the archive tells: every committed version was published at least once, as what it was, and a repeat
/// under the same event id. (That each order's come in order is for an observer of a FIFO queue.)
pub fn i11_every_version_published(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I11", "versions that were published");
    let Some(archived) = &evidence.archived else {
        found.violated("archive", "was not read");
        return found.verdict();
    };
    let mut events: BTreeMap<(String, u64), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for event in archived {
        let kept = events.entry((event.order_id.clone(), event.version)).or_default();
        kept.insert((event.event.as_str(), event.id.as_str()));
    }
    for row in &evidence.rows {
        let id = row.order.order_id.to_string();
        for entry in &row.order.timeline {
            found.looked();
            let subject = format!("{id} version {}", entry.version);
            let Some(kept) = events.remove(&(id.clone(), entry.version)) else {
                found.violated(subject, format!("{} was never published", entry.event));
                continue;
            };
            let event_id = entry.event_id(row.order.order_id).to_string();
            let as_it_is = BTreeSet::from([(entry.event.name(), event_id.as_str())]);
            found.require(kept == as_it_is, &subject, || format!("published as {kept:?}, is {as_it_is:?}"));
        }
    }
    for ((id, version), kept) in events {
        found.violated(format!("{id} version {version}"), format!("published as {kept:?}, and is nowhere"));
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, good};

    #[test]
    fn good_events_are_good() {
        let verdict = i11_every_version_published(&good());
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn a_version_that_was_not_published_as_it_is_is_seen() {
        let archived = |evidence: &mut Evidence, change: fn(&mut Vec<crate::archive::Archived>)| {
            change(evidence.archived.as_mut().unwrap());
        };
        broken(i11_every_version_published, "never published", |evidence| {
            archived(evidence, |events| drop(events.remove(3)));
        });
        broken(i11_every_version_published, "published as", |evidence| {
            archived(evidence, |events| events[3].event = "shipped".to_owned());
        });
        broken(i11_every_version_published, "published as", |evidence| {
            archived(evidence, |events| {
                let mut repeat = events[3].clone();
                repeat.id = "another".to_owned();
                events.push(repeat);
            });
        });
        broken(i11_every_version_published, "is nowhere", |evidence| {
            archived(evidence, |events| {
                let mut phantom = events[3].clone();
                phantom.version = 99;
                events.push(phantom);
            });
        });
        broken(i11_every_version_published, "not read", |evidence| evidence.archived = None);
    }

    #[test]
    fn a_repeat_of_the_same_event_is_good() {
        let mut evidence = good();
        let events = evidence.archived.as_mut().unwrap();
        events.push(events[3].clone());
        assert!(i11_every_version_published(&evidence).holds);
    }
}
