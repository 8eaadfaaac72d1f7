//! Whether cases of one fault come together, and of two faults stay apart, where the label is the fault that was injected: each
//! kind strikes orders, messages and answers of its own, through the steps' and the triage's own code.
//!
//! A case is in its right group if its fingerprint is the one that most cases of its kind have, and no other kind's.
//!
//! All in one process, over tables in memory: no deployed stack. Two sets of kinds were written by people who had read the rule
//! (`kinds`, `fresh`), three by people who had not (`third`, `fourth`, `fifth`), each measured once before the rule was changed for
//! it; docs/errors.md has the figures. What is asserted is the rule of today over all of them, and it has been mended for all: it
//! guards against getting worse, and says nothing of kinds to come.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod consumers;
mod dice;
mod fifth;
mod fourth;
mod fresh;
mod kinds;
mod provider;
mod scene;
mod third;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use lambda_queue::Clock as _;
use lambda_queue::ports::store::{number, text};
use order::{Next, Outcome, State, transition};
use ports::{Commit, CommitOrder as _, Publication};
use serde_json::Value;

use fifth::FIFTH;
use fourth::FOURTH;
use fresh::FRESH;
use kinds::{Fault, KINDS, Meanwhile, Recovery, step_of};
use scene::{Outside, Scene, body_of};
use third::THIRD;

/// Of each kind, unless `GROUPING_VARIANTS` says otherwise. The figures of docs/errors.md are of 20.
const VARIANTS: u64 = 8;
/// Kinds that are struck side by side.
const AT_A_TIME: usize = 12;
/// The least share of cases in their right groups, in a thousand.
const LEAST: usize = 950;

/// Lets one kind strike once; answers the fingerprints of the cases that come of it.
async fn strike(fault: &Fault, seed: u64, outside: &Arc<Outside>) -> Vec<String> {
    let scene = Scene::open(seed, outside);
    let scene = struck(fault, scene).await;
    scene.triage().await;
    scene.cases().await.into_iter().map(|case| case.case.fingerprint).collect()
}

async fn struck(fault: &Fault, scene: Scene) -> Scene {
    match fault {
        Fault::Command(state, spoil) => {
            let order = scene.order(*state).await;
            let step = step_of(*state);
            let body = spoil(&scene.dice, body_of(&order));
            scene.put(&scene.queue(step), &body).await;
            scene.work(step).await;
        }
        Fault::Event(queue, spoil) => {
            let order = scene.order(State::Shipped).await;
            let body: Value = serde_json::from_str(&Publication::of(&order).body).unwrap();
            scene.put(queue, &spoil(&scene.dice, body)).await;
            scene.work_events(queue).await;
        }
        Fault::Answers(states, stands, answer) => {
            let order = scene.order(scene.dice.one_of(states)).await;
            let (answer, stands) = (*answer, *stands);
            scene.provider_but(&order, stands, answer);
            let step = scene.send_owed(&order).await;
            scene.work(step).await;
        }
        Fault::NoConnection(states) => {
            let scene = scene.without_a_connection();
            let order = scene.order(scene.dice.one_of(states)).await;
            let step = scene.send_owed(&order).await;
            scene.work(step).await;
            return scene;
        }
        Fault::Silence(states, stands, when) => {
            let scene = scene.impatient();
            let order = scene.order(scene.dice.one_of(states)).await;
            let when = *when;
            scene.provider_but(&order, stands, move |asked, _| when(asked).then_some(provider::Reply::Silence));
            let step = scene.send_owed(&order).await;
            scene.work(step).await;
            return scene;
        }
        Fault::Row(state, table, spoil) => {
            let order = scene.order(*state).await;
            scene.provider_but(&order, "requires_capture", |_, _| None);
            let step = scene.send_owed(&order).await;
            scene.spoil(table, spoil).await;
            scene.work(step).await;
        }
        Fault::Spoilt(state, table, spoil) => {
            let order = scene.order(*state).await;
            scene.provider_but(&order, "requires_capture", |_, _| None);
            let step = scene.send_owed(&order).await;
            scene.spoil(table, |item| spoil(&scene.dice, item)).await;
            scene.work(step).await;
        }
        Fault::Left(state, table, left) => {
            let order = scene.order(*state).await;
            scene.provider_but(&order, "requires_capture", |_, _| None);
            scene.put_item(table, left(&scene.dice, &order)).await;
            let step = scene.send_owed(&order).await;
            scene.work(step).await;
        }
        Fault::Emptied(state, table, key) => {
            let order = scene.order(*state).await;
            scene.provider_but(&order, "requires_capture", |_, _| None);
            let step = scene.send_owed(&order).await;
            scene.empty(table, key).await;
            scene.work(step).await;
        }
        Fault::Table(state, table, fails) => {
            let order = scene.order(*state).await;
            scene.provider_but(&order, "requires_capture", |_, _| None);
            let step = scene.send_owed(&order).await;
            let (table, fails) = (*table, *fails);
            scene.platform.backend().store.set_faults(move |call| {
                let of_it = call.items.iter().any(|(of, _)| of == table);
                if of_it { fails(call.operation) } else { lambda_queue::memory::Fault::None }
            });
            scene.work(step).await;
            scene.platform.backend().store.clear_faults();
        }
        Fault::Hangs(state, table) => {
            let order = scene.order(*state).await;
            let step = scene.send_owed(&order).await;
            *scene.time_ms.lock().unwrap() = 120;
            let table = *table;
            scene.platform.backend().store.set_faults(move |call| {
                let of_it = call.items.iter().any(|(of, _)| of == table);
                let for_ever = lambda_queue::memory::Fault::Slow(std::time::Duration::from_secs(3_600));
                if of_it { for_ever } else { lambda_queue::memory::Fault::None }
            });
            scene.work(step).await;
            scene.platform.backend().store.clear_faults();
        }
        Fault::Panic(state, says) => {
            let order = scene.order(*state).await;
            let says = says(&scene.dice);
            *scene.panic.lock().unwrap() = Some(says);
            let step = scene.send_owed(&order).await;
            scene.work(step).await;
        }
        Fault::Killed(state, meanwhile) => killed(&scene, *state, *meanwhile).await,
        Fault::KilledWithEvent(queue) => {
            let order = scene.order(State::Shipped).await;
            scene.put(queue, &Publication::of(&order).body).await;
            scene.die_with(queue).await;
        }
        Fault::PanicWithEvent(queue, says) => {
            let order = scene.order(State::Shipped).await;
            let says = says(&scene.dice);
            *scene.panic.lock().unwrap() = Some(says.clone());
            *scene.bucket.panic.lock().unwrap() = Some(says);
            scene.put(queue, &Publication::of(&order).body).await;
            scene.work_events(queue).await;
        }
        Fault::RowOfEvent(queue, table, spoil) => {
            let order = scene.order(State::Shipped).await;
            scene.spoil(table, spoil).await;
            scene.put(queue, &Publication::of(&order).body).await;
            scene.work_events(queue).await;
        }
        Fault::TableOfEvent(queue, table, fails) => {
            let order = scene.order(State::Shipped).await;
            scene.put(queue, &Publication::of(&order).body).await;
            let (table, fails) = (*table, *fails);
            scene.platform.backend().store.set_faults(move |call| {
                let of_it = call.items.iter().any(|(of, _)| of == table);
                if of_it { fails(call.operation) } else { lambda_queue::memory::Fault::None }
            });
            scene.work_events(queue).await;
            scene.platform.backend().store.clear_faults();
        }
        Fault::Mail(says) => {
            let order = scene.order(State::Shipped).await;
            *scene.post.says.lock().unwrap() = Some(says());
            scene.put("notify.fifo", &Publication::of(&order).body).await;
            scene.work_events("notify.fifo").await;
        }
        Fault::Bucket(says) => {
            let order = scene.order(State::Shipped).await;
            *scene.bucket.says.lock().unwrap() = Some(says());
            scene.put("archive", &Publication::of(&order).body).await;
            scene.work_events("archive").await;
        }
        Fault::Recovery(finds) => recovered(&scene, *finds).await,
        Fault::Due(spoil) => {
            let states = [State::Accepted, State::Validated, State::Authorized, State::Reserved, State::Paid];
            scene.order(scene.dice.one_of(&states)).await;
            scene.spoil("orders", |item| spoil(&scene.dice, item)).await;
            scene.world.advance_ms(15 * 60_000);
            let deadline_ms = scene.platform.now_ms() + 50_000;
            recover_orders::recover(&*scene.platform, deadline_ms).await.unwrap();
        }
        Fault::Undelivered => {
            let order = scene.order(State::Shipped).await;
            scene.put("events-dlq.fifo", &Publication::of(&order).body).await;
        }
    }
    scene
}

async fn killed(scene: &Scene, state: State, meanwhile: Meanwhile) {
    let order = scene.order(state).await;
    let step = scene.send_owed(&order).await;
    scene.die_with(&scene.queue(step)).await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::MovedOn => {
            let outcome = Outcome::CancelRequested;
            let Next::Changed(after) = transition(&order, &outcome, scene.platform.now_ms()).unwrap() else {
                panic!("absorbed")
            };
            assert_eq!(scene.platform.commit_order(&order, &after).await, Ok(Commit::Done));
        }
        Meanwhile::Gone => {
            let store = &scene.platform.backend().store;
            let key =
                lambda_queue::ports::store::Item::from([("order_id".to_owned(), text(order.order_id.to_string()))]);
            lambda_queue::ports::store::Store::write(store, lambda_queue::ports::store::Write::delete("orders", key))
                .await
                .unwrap();
        }
        Meanwhile::Newer => {
            scene.spoil("orders", |item| drop(item.insert("state".to_owned(), text("on_hold")))).await;
        }
        Meanwhile::TableAway => {
            scene.platform.backend().store.set_faults(|call| {
                let of_it = call.items.iter().any(|(of, _)| of == "orders");
                if of_it { lambda_queue::memory::Fault::Throttle } else { lambda_queue::memory::Fault::None }
            });
            scene.triage().await;
            scene.platform.backend().store.clear_faults();
        }
    }
}

async fn recovered(scene: &Scene, finds: Recovery) {
    let states = [State::Accepted, State::Validated, State::Authorized, State::Reserved, State::Paid];
    let state = match finds {
        // What will not move is a command that its own step cannot do.
        Recovery::Stuck => State::Validated,
        Recovery::StuckIn(state) => state,
        Recovery::Newer | Recovery::NothingOwed | Recovery::Damaged => scene.dice.one_of(&states),
    };
    scene.order(state).await;
    let nudges = 10 + scene.dice.below(3);
    scene
        .spoil("orders", |item| {
            match finds {
                Recovery::Newer => item.insert("state".to_owned(), text("on_hold")),
                // What was owed is done, and nobody took the mark away.
                Recovery::NothingOwed => item.insert("state".to_owned(), text("cancelled")),
                Recovery::Stuck | Recovery::StuckIn(_) => item.insert("nudges".to_owned(), number(nudges)),
                Recovery::Damaged => item.remove("customer"),
            };
        })
        .await;
    scene.world.advance_ms(15 * 60_000);
    let deadline_ms = scene.platform.now_ms() + 50_000;
    recover_orders::recover(&*scene.platform, deadline_ms).await.unwrap();
}

/// The score of some kinds: how many cases are in their right groups, of how many, and what was mixed up.
struct Score {
    right: usize,
    cases: usize,
    mixed: Vec<String>,
}

impl Score {
    /// `found` has the fingerprints of each kind's cases.
    fn of(found: &BTreeMap<&str, Vec<String>>, counts: impl Fn(&str) -> bool) -> Self {
        let majority: BTreeMap<&str, &str> = found.iter().map(|(kind, prints)| (*kind, most(prints))).collect();
        let mut score = Self { right: 0, cases: 0, mixed: Vec::new() };
        for (kind, prints) in found.iter().filter(|(kind, _)| counts(kind)) {
            let own = majority[kind];
            let others: Vec<&str> = majority
                .iter()
                .filter(|(other, print)| *other != kind && **print == own)
                .map(|(other, _)| *other)
                .collect();
            let in_own = prints.iter().filter(|print| *print == own).count();
            score.cases += prints.len();
            if others.is_empty() {
                score.right += in_own;
            } else {
                score.mixed.push(format!("{kind}: {own}, as are those of {}", others.join(", ")));
            }
            if in_own < prints.len() {
                let mut strays: Vec<&String> = prints.iter().filter(|print| *print != own).collect();
                strays.sort();
                strays.dedup();
                score.mixed.push(format!(
                    "{kind}: {} of {} not in {own}: {strays:?}",
                    prints.len() - in_own,
                    prints.len()
                ));
            }
        }
        score
    }

    fn per_thousand(&self) -> usize {
        self.right * 1_000 / self.cases.max(1)
    }
}

/// The one that there is most of.
fn most(prints: &[String]) -> &str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for print in prints {
        *counts.entry(print).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or("", |(print, _)| print)
}

/// Lets each of these kinds strike, in all its variants; answers kind, seed and fingerprints of each time.
async fn strike_all<'k>(
    kinds: impl Iterator<Item = &'k (u64, &'k (&'static str, Fault))>,
) -> Vec<(&'static str, u64, Vec<String>)> {
    let outside = Arc::new(Outside::open().await);
    let variants = std::env::var("GROUPING_VARIANTS").map_or(VARIANTS, |variants| variants.parse().unwrap());
    let mut struck = Vec::new();
    for (at, (kind, fault)) in kinds {
        for variant in 0..variants {
            let seed = 1 + at * 1_000 + variant;
            struck.push((*kind, seed, strike(fault, seed, &outside).await));
        }
    }
    struck
}

#[tokio::test]
async fn cases_of_faults_that_the_rule_was_mended_for_come_together_and_of_two_faults_stay_apart() {
    let kinds: Vec<(u64, &(&str, Fault))> =
        (0..).zip(KINDS.iter().chain(FRESH).chain(THIRD).chain(FOURTH).chain(FIFTH)).collect();
    // Some of them wait for real: side by side, each over providers of its own.
    let struck = join_all((0..AT_A_TIME).map(|worker| strike_all(kinds.iter().skip(worker).step_by(AT_A_TIME)))).await;
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut without: Vec<String> = Vec::new();
    for (kind, seed, prints) in struck.into_iter().flatten() {
        if prints.is_empty() {
            without.push(format!("{kind}, seed {seed}"));
        }
        found.entry(kind).or_default().extend(prints);
    }
    assert_eq!(
        found.len(),
        KINDS.len() + FRESH.len() + THIRD.len() + FOURTH.len() + FIFTH.len(),
        "two kinds of one name"
    );
    let all = Score::of(&found, |_| true);
    let of = |half: &[(&str, Fault)]| Score::of(&found, |kind| half.iter().any(|(name, _)| *name == kind));
    println!("{} kinds, {} cases", found.len(), all.cases);
    for (name, score) in [
        ("all", &all),
        ("the first", &of(KINDS)),
        ("the second", &of(FRESH)),
        ("the third", &of(THIRD)),
        ("the fourth", &of(FOURTH)),
        ("the fifth", &of(FIFTH)),
    ] {
        println!(
            "{name}: {} of {} in their right groups, {} in a thousand",
            score.right,
            score.cases,
            score.per_thousand()
        );
    }
    for (kind, prints) in &found {
        println!("{kind}: {}", most(prints));
    }
    for line in &all.mixed {
        println!("mixed up: {line}");
    }
    assert!(without.is_empty(), "no case came of {without:#?}");
    assert!(all.per_thousand() >= LEAST, "{:#?}", all.mixed);
}

#[test]
fn a_score_counts_what_strays_and_what_two_kinds_share_as_wrong() {
    let prints = |all: &[&str]| all.iter().map(|print| (*print).to_owned()).collect::<Vec<_>>();
    let found = BTreeMap::from([
        ("alone", prints(&["a", "a", "a", "b"])),
        ("one of two", prints(&["c", "c"])),
        ("the other", prints(&["c", "d", "c"])),
    ]);
    let score = Score::of(&found, |_| true);
    assert_eq!((score.right, score.cases, score.mixed.len()), (3, 9, 4));
    assert_eq!(Score::of(&found, |kind| kind == "alone").right, 3);
}
