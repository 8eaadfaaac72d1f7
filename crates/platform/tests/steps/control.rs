//! `control-breakers` over the breakers' own table in memory, mappings that take their time, and providers that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control_breakers::{Asked, Normals, PROBE_EVERY_MS, Report, Wanted, Watched, parse, run, wanted};
use lambda_queue::Clock;
use lambda_queue::breaker::{Manual, State};
use lambda_queue::memory::{Fault, World};
use platform::memory::Memory;
use platform::{Breaker, Breakers, Platform, breaker};
use ports::{
    Dependency, Mapping, MappingSet, ProbeProviders, ProviderError, ReadBreakers as _, SetMappings, StartWatch,
    StoreError,
};
use proptest::prelude::*;

const NORMALS: Normals = Normals { express: 20, standard: 10, bulk: 5, notify: 10, archive: 2, dead_letters: 2 };
const NAMES: &str =
    "validate-express=v payment-express=p payment-bulk=q shipping-express=s notify=n archive=a events=e";

/// Whose, whether it shall be on, at which concurrency, and what became of that.
type Change = (String, bool, Option<u32>, MappingSet);

/// Lambda's mappings: a change takes a while, and only one at a time is taken.
pub struct Lambda {
    platform: Arc<Platform<Memory>>,
    of: Mutex<BTreeMap<String, (Mapping, u64)>>,
    pub takes_ms: u64,
    /// Whether a look says that all has settled, though a change is under way: it lags.
    pub lags: AtomicBool,
    /// Every change that was asked for, and whether it was taken.
    pub asked: Mutex<Vec<Change>>,
    started: AtomicU64,
    broken: Mutex<Option<&'static str>>,
}

impl Clock for Lambda {
    fn now_ms(&self) -> u64 {
        self.platform.now_ms()
    }
}

impl SetMappings for Lambda {
    async fn mapping(&self, id: &str) -> Result<Mapping, StoreError> {
        if *self.broken.lock().unwrap() == Some("read") {
            return Err(StoreError::NotDone("throttled".to_owned()));
        }
        let (mapping, settles_ms) = self.of.lock().unwrap()[id];
        let settled = self.lags.load(Ordering::SeqCst) || self.now_ms() >= settles_ms;
        Ok(Mapping { settled, ..mapping })
    }

    async fn set_mapping(&self, id: &str, enabled: bool, most: Option<u32>) -> Result<MappingSet, StoreError> {
        let now_ms = self.now_ms();
        let mut of = self.of.lock().unwrap();
        let (mapping, settles_ms) = of.get_mut(id).unwrap();
        let set = if now_ms < *settles_ms { MappingSet::Busy } else { MappingSet::Taken };
        self.asked.lock().unwrap().push((id.to_owned(), enabled, most, set));
        if set == MappingSet::Busy {
            return Ok(set);
        }
        *settles_ms = now_ms + self.takes_ms;
        (mapping.enabled, mapping.maximum_concurrency, mapping.changed_at_ms) = (enabled, most, now_ms);
        Ok(MappingSet::Taken)
    }
}

impl StartWatch for Lambda {
    async fn start_watch(&self) -> Result<(), StoreError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Providers, and when each was probed.
pub struct Outside {
    platform: Arc<Platform<Memory>>,
    answers: Mutex<BTreeMap<Dependency, ProviderError>>,
    pub probed: Mutex<Vec<(Dependency, u64)>>,
}

impl ProbeProviders for Outside {
    async fn probe_provider(&self, dependency: Dependency) -> Result<(), ProviderError> {
        self.probed.lock().unwrap().push((dependency, self.platform.now_ms()));
        match self.answers.lock().unwrap().get(&dependency) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

pub struct Stage {
    pub platform: Arc<Platform<Memory>>,
    pub lambda: Lambda,
    pub outside: Outside,
    breakers: Breakers<Memory>,
    mappings: Vec<Watched>,
}

impl Stage {
    pub fn new() -> Self {
        let platform = Arc::new(Platform::in_memory(World::with_tokio(1)));
        let mappings = parse(NAMES, &NORMALS).unwrap();
        let on = |mapping: &Watched| {
            let is = Mapping { enabled: true, settled: true, maximum_concurrency: mapping.normal, changed_at_ms: 0 };
            (mapping.id.clone(), (is, 0))
        };
        Self {
            lambda: Lambda {
                platform: platform.clone(),
                of: Mutex::new(mappings.iter().map(on).collect()),
                takes_ms: 3_000,
                lags: AtomicBool::new(false),
                asked: Mutex::default(),
                started: AtomicU64::new(0),
                broken: Mutex::new(None),
            },
            outside: Outside { platform: platform.clone(), answers: Mutex::default(), probed: Mutex::default() },
            breakers: Breakers::new(&platform).unwrap(),
            mappings,
            platform,
        }
    }

    pub fn breaker(&self) -> Breaker<Memory> {
        breaker(&self.platform, Dependency::Payment).unwrap()
    }

    pub async fn run(&self, asked: Asked) -> Report {
        let deadline_ms = self.platform.now_ms() + 58_000;
        run(&self.lambda, &self.breakers, &self.outside, &self.mappings, asked, deadline_ms).await.unwrap()
    }

    pub fn live(&self, id: &str) -> (bool, Option<u32>) {
        let (mapping, _) = self.lambda.of.lock().unwrap()[id];
        (mapping.enabled, mapping.maximum_concurrency)
    }

    fn turn_off(&self, id: &str) {
        let now_ms = self.platform.now_ms();
        let mut of = self.lambda.of.lock().unwrap();
        let (mapping, _) = of.get_mut(id).unwrap();
        (mapping.enabled, mapping.changed_at_ms) = (false, now_ms);
    }

    pub fn down(&self) {
        let lost = ProviderError::Unknown { why: "reset".to_owned() };
        self.outside.answers.lock().unwrap().insert(Dependency::Payment, lost);
    }

    pub fn up(&self) {
        self.outside.answers.lock().unwrap().clear();
    }
}

pub fn by_hand() -> Manual {
    Manual::new("a test", "an outage")
}

#[tokio::test(start_paused = true)]
async fn while_all_is_well_a_run_changes_nothing_and_ends_at_once() {
    let stage = Stage::new();
    let before = stage.platform.now_ms();
    assert_eq!(stage.run(Asked::Watch).await, Report::default());
    assert_eq!(stage.platform.now_ms(), before);
}

#[tokio::test(start_paused = true)]
async fn an_outage_turns_its_own_mappings_off_is_probed_every_ten_seconds_and_comes_up_by_steps() {
    let stage = Stage::new();
    stage.down();
    stage.breaker().open(&by_hand(), None).await.unwrap();
    // The stream's run answers at once, and has another one watch.
    let opened_ms = stage.platform.now_ms();
    let report = stage.run(Asked::Changed { start: true }).await;
    assert_eq!((report.changed, report.probes, stage.lambda.started.load(Ordering::SeqCst)), (2, 0, 1));
    assert_eq!(stage.platform.now_ms(), opened_ms);
    assert_eq!([stage.live("p"), stage.live("q")], [(false, Some(2)), (false, Some(2))]);
    for (id, normal) in [("v", 20), ("s", 20), ("n", 10), ("a", 2)] {
        assert_eq!(stage.live(id), (true, Some(normal)), "{id}");
    }

    // Two watch, the stream's and the schedule's: it is probed as often all the same.
    let (one, other) = tokio::join!(stage.run(Asked::Watch), stage.run(Asked::Watch));
    assert!(one.probes + other.probes <= 6, "{one:?} {other:?}");
    let probed = stage.outside.probed.lock().unwrap().clone();
    assert!(probed[0].1 - opened_ms <= 8_000, "the first after five seconds");
    for pair in probed.windows(2) {
        let apart_ms = pair[1].1 - pair[0].1;
        assert!((PROBE_EVERY_MS..=PROBE_EVERY_MS + 2_000).contains(&apart_ms), "{apart_ms} ms");
    }

    stage.up();
    let back_ms = stage.platform.now_ms();
    let watching = async { stage.run(Asked::Watch).await };
    let looking = async {
        let mut seen: Vec<(u64, u32)> = Vec::new();
        for _ in 0..550 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (enabled, most) = stage.live("p");
            if enabled && seen.last().is_none_or(|(_, last)| Some(*last) != most) {
                seen.push((stage.platform.now_ms() - back_ms, most.unwrap()));
            }
        }
        seen
    };
    let (report, seen) = tokio::join!(watching, looking);
    assert_eq!((report.good_probes, report.turned_on), (1, 0));
    assert!(seen[0].0 <= 12_000, "turned on {} ms after the provider came back", seen[0].0);
    assert_eq!(seen.iter().map(|(_, most)| *most).collect::<Vec<u32>>(), [2, 4, 8, 16, 20]);
    // A step waits for the one before to settle, and no longer.
    assert!(seen[4].0 - seen[0].0 <= 45_000, "{seen:?}");
    assert_eq!(stage.live("q"), (true, Some(5)));
    assert_eq!(stage.run(Asked::Watch).await, Report::default(), "and then there is nothing left to do");
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_somebody_turned_off_is_on_again_in_under_two_minutes_and_told() {
    // So long after it was turned off comes the schedule's next run.
    for (id, after_s) in [("p", 0), ("v", 1), ("e", 30), ("p", 44), ("v", 45), ("e", 59)] {
        let mut stage = Stage::new();
        // The longest that Lambda takes for a change.
        stage.lambda.takes_ms = 55_000;
        let off_ms = stage.platform.now_ms();
        stage.turn_off(id);
        tokio::time::advance(Duration::from_secs(after_s)).await;
        let report = stage.run(Asked::Watch).await;
        let on_ms = stage.lambda.of.lock().unwrap()[id].0.changed_at_ms - off_ms;
        assert_eq!((stage.live(id).0, report.turned_on, report.changed), (true, 1, 1), "{id} after {after_s} s");
        assert!(on_ms >= 45_000, "{id} after {after_s} s: whoever did it has a moment, not {on_ms} ms");
        assert!(on_ms <= after_s.max(45) * 1_000 + 2_000, "{id} after {after_s} s: the change began at {on_ms} ms");
        assert!(on_ms + stage.lambda.takes_ms < 120_000, "{id} after {after_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_is_given_back_in_time_is_left_as_it_is() {
    let stage = Stage::new();
    stage.turn_off("v");
    let (report, ()) = tokio::join!(stage.run(Asked::Watch), async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        stage.lambda.of.lock().unwrap().get_mut("v").unwrap().0.enabled = true;
    });
    assert_eq!(report, Report::default());
    assert_eq!(*stage.lambda.asked.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_the_stream_does_not_wait_for_a_mapping_that_is_left_alone() {
    let stage = Stage::new();
    stage.turn_off("v");
    let before_ms = stage.platform.now_ms();
    assert_eq!(stage.run(Asked::Changed { start: false }).await, Report::default());
    assert_eq!(stage.platform.now_ms(), before_ms, "a shard waits behind it");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_forced_open_stops_its_step_and_is_not_probed() {
    let stage = Stage::new();
    stage.breaker().open(&Manual::forced("ops", "the provider asked for it"), None).await.unwrap();
    let report = stage.run(Asked::Watch).await;
    assert_eq!((report.changed, report.probes), (2, 0));
    assert!(!stage.live("p").0);
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(stage.run(Asked::Watch).await.changed, 0);
    stage.breaker().close(&Manual::new("ops", "they are done"), None).await.unwrap();
    let report = stage.run(Asked::Watch).await;
    assert_eq!((stage.live("p"), stage.live("q"), report.turned_on), ((true, Some(20)), (true, Some(5)), 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_hears_is_told_to_the_row() {
    let error = |name: &str| match name {
        "refused" => ProviderError::Refused { why: "401".to_owned() },
        "throttled" => ProviderError::Throttled { retry_after: None, why: "429".to_owned() },
        _ => ProviderError::NotRun { retry_after: None, why: "refused".to_owned() },
    };
    for (name, closes) in [("refused", true), ("throttled", false), ("no connection", false)] {
        let stage = Stage::new();
        stage.outside.answers.lock().unwrap().insert(Dependency::Payment, error(name));
        stage.breaker().probe(&by_hand(), None).await.unwrap();
        stage.run(Asked::Watch).await;
        let row = stage.platform.read_breaker(Dependency::Payment).await.unwrap();
        assert_eq!(row.state == State::Closed, closes, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_cannot_be_read_leaves_its_mappings_on_and_the_run_fails_loudly() {
    let stage = Stage::new();
    stage.platform.backend().store.set_faults(|_| Fault::Throttle);
    stage.turn_off("p");
    let report = stage.run(Asked::Changed { start: false }).await;
    assert_eq!((report.failed, stage.live("p")), (3, (true, Some(20))));
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_cannot_be_looked_at_is_tried_until_it_can_and_stops_no_other() {
    let stage = Stage::new();
    stage.breaker().open(&Manual::forced("ops", "stop"), None).await.unwrap();
    *stage.lambda.broken.lock().unwrap() = Some("read");
    let report = stage.run(Asked::Changed { start: false }).await;
    assert_eq!(report.failed, 7);
    let mended = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        *stage.lambda.broken.lock().unwrap() = None;
    };
    let (report, ()) = tokio::join!(stage.run(Asked::Watch), mended);
    assert_eq!((report.failed, stage.live("p").0), (0, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever mappings were made of by hand, by a half-done change, or by nobody for a while: one run of the schedule makes
    /// them what the row asks for, as the row is then.
    #[test]
    fn one_run_makes_every_mapping_what_the_rows_ask_for_from_wherever_it_was(
        acts in proptest::collection::vec((0_u8..4, 0_u64..100), 0..6),
        was in proptest::collection::vec((any::<bool>(), 2_u32..40, 0_u64..20), 7),
        takes_ms in 0_u64..6_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut stage = Stage::new();
            stage.lambda.takes_ms = takes_ms;
            stage.down();
            let breaker = stage.breaker();
            for (act, after_s) in acts {
                match act {
                    0 => breaker.open(&by_hand(), None).await.unwrap(),
                    1 => breaker.close(&by_hand(), None).await.unwrap(),
                    2 => breaker.open(&Manual::forced("ops", "stop"), None).await.unwrap(),
                    _ => breaker.release(&by_hand(), None).await.unwrap(),
                };
                tokio::time::advance(Duration::from_secs(after_s)).await;
            }
            // Long enough ago that nobody is at it any more.
            tokio::time::advance(Duration::from_secs(60)).await;
            let now_ms = stage.platform.now_ms();
            for ((_, (mapping, settles_ms)), (enabled, most, settles_s)) in
                stage.lambda.of.lock().unwrap().iter_mut().zip(was)
            {
                mapping.enabled = enabled;
                mapping.maximum_concurrency = mapping.maximum_concurrency.map(|_| most);
                (mapping.changed_at_ms, *settles_ms) = (now_ms - 50_000, now_ms + settles_s * 1_000);
            }
            stage.run(Asked::Watch).await;
            let now_ms = stage.platform.now_ms();
            let row = stage.platform.read_breaker(Dependency::Payment).await.unwrap();
            for mapping in &stage.mappings {
                let row = (mapping.dependency == Some(Dependency::Payment)).then_some(&*row);
                let Wanted { enabled, maximum_concurrency } = wanted(row, mapping.normal, now_ms);
                assert_eq!(stage.live(&mapping.id), (enabled, maximum_concurrency), "{}", mapping.name);
            }
        });
    }
}
