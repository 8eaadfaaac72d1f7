//! What is compared, how often it is repeated, and the samples.
//!
//! Every contestant takes its turn in every round (A B C D, A B C D, ...), so that a machine that slows down slows all of
//! them. A sample is one turn: CPU time of the whole process, read from outside, by the work's units.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::contestant::{self, Contestant, Places, Program};
use crate::dynamodb::{DynamoDb, FLOOR_TABLE, ORDERS_TABLE, OURS_TABLE, POWERTOOLS_TABLE, SAME_TABLE};
use crate::event;
use crate::function::Function;

/// How long one turn should take.
const TURN: Duration = Duration::from_millis(250);
/// A turn this long is long enough to reckon from.
const RECKONABLE: Duration = Duration::from_millis(60);
/// Repetitions in a turn that calls DynamoDB: how long one takes is the server's affair, and it warms up too.
const CALLS: u64 = 200;
/// Invocations of a whole function before it counts as warm: more than a just-in-time compiler needs for its first pass.
const WARM_UP: usize = 60;
/// Invocations of a whole function in one turn.
const INVOCATIONS: usize = 20;
/// Records of one invocation of a whole function.
pub const INVOCATION_RECORDS: usize = 10;

/// Where idempotency records are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// DynamoDB Local, over the network.
    Dynamodb,
    /// A store that answers at once: what remains is the library's own work.
    Memory,
}

/// One thing that is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// From the event's bytes to the answer's bytes, every body read.
    Batch(usize),
    /// A call whose key nobody used before.
    First(Store),
    /// A call whose result is kept already.
    Replay(Store),
    /// Three metrics added and printed.
    Emf,
    /// One line with three fields.
    Log,
    /// A whole invocation of ten records, warm.
    Invocation,
    /// The same, where the floor makes `lambda-queue`'s very requests: what remains is not the records' size.
    SameRequests,
    /// From the start of the process to its first poll.
    Start,
}

impl Work {
    /// Its name in the report.
    pub fn name(self) -> String {
        match self {
            Self::Batch(records) => format!("batch core, {records} records a batch"),
            Self::First(Store::Dynamodb) => "idempotent call, first run, with DynamoDB".to_owned(),
            Self::Replay(Store::Dynamodb) => "idempotent call, replay, with DynamoDB".to_owned(),
            Self::First(Store::Memory) => "idempotent call, first run, outside the network".to_owned(),
            Self::Replay(Store::Memory) => "idempotent call, replay, outside the network".to_owned(),
            Self::Emf => "EMF flush of 3 metrics".to_owned(),
            Self::Log => "log line".to_owned(),
            Self::Invocation => format!("warm invocation, {INVOCATION_RECORDS} records, 30 DynamoDB writes"),
            Self::SameRequests => "the same, the floor with our very requests".to_owned(),
            Self::Start => "start to first poll".to_owned(),
        }
    }

    /// What one unit is.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Batch(_) => "record",
            Self::First(_) | Self::Replay(_) => "call",
            Self::Emf => "flush",
            Self::Log => "line",
            Self::Invocation | Self::SameRequests => "invocation",
            Self::Start => "start",
        }
    }
}

/// One turn of one contestant at one work.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// At what.
    pub work: Work,
    /// Whose.
    pub contestant: Contestant,
    /// CPU time of the process, microseconds a unit.
    pub cpu_us: f64,
    /// Time of the wall clock, microseconds a unit.
    pub wall_us: f64,
}

/// The small works: each contestant's process is told to repeat one so often inside one invocation.
pub struct Works {
    functions: Vec<(Contestant, Function)>,
    events: PathBuf,
    turns: u64,
}

impl Works {
    /// Starts the four processes and checks that each really hands back a bad record, and only that.
    ///
    /// # Errors
    /// Where one does not start, or answers wrongly.
    pub async fn start(places: &Places, dynamodb: &DynamoDb) -> anyhow::Result<Self> {
        let mut functions = Vec::new();
        for contestant in Contestant::ALL {
            let launch = contestant::launch(contestant, Program::Works, places, dynamodb);
            let mut function = Function::start(&launch, &places.out).await?;
            function.first_poll().await?;
            functions.push((contestant, function));
        }
        let mut works = Self { functions, events: places.out.join("events"), turns: 0 };
        std::fs::create_dir_all(&works.events).context("cannot make the folder of events")?;
        works.check_bad_record().await?;
        Ok(works)
    }

    /// One record of ten is refused by the handler: the answer has to name it, and no other.
    async fn check_bad_record(&mut self) -> anyhow::Result<()> {
        let bodies = (0..10).map(|at| event::order(&format!("o-{at}"), if at == 4 { 0 } else { 2 }));
        let path = write(&self.events.join("one-bad.json"), &event::sqs(bodies))?;
        let wanted = json!({ "batchItemFailures": [{ "itemIdentifier": event::message_id(4) }] });
        for (contestant, function) in &mut self.functions {
            let (answer, _) = function.invoke(&json!({ "work": "batch", "path": path, "repeat": 1 })).await?;
            ensure!(answer == wanted, "{} answered a batch with one bad record: {answer}", contestant.name());
        }
        Ok(())
    }

    /// Samples of one batch size.
    ///
    /// # Errors
    /// Where a contestant fails or answers wrongly.
    pub async fn batch(&mut self, records: usize, rounds: usize) -> anyhow::Result<Vec<Sample>> {
        let bodies = (0..records).map(|at| event::order(&format!("o-{at}"), 2));
        let path = write(&self.events.join(format!("batch-{records}.json")), &event::sqs(bodies))?;
        let work = Work::Batch(records);
        let event = |repeat: u64, _: &str| json!({ "work": "batch", "path": path, "repeat": repeat });
        let check = |answer: &Value, _: u64, _: &str| *answer == json!({ "batchItemFailures": [] });
        let units = u64::try_from(records)?;
        self.sample(rounds, Repeats::AtMost(u64::MAX), &[(work, units, &event, &check)], |_| true).await
    }

    /// Samples of first runs and replays.
    ///
    /// # Errors
    /// Where a contestant fails or answers wrongly.
    pub async fn idempotent(&mut self, store: Store, rounds: usize) -> anyhow::Result<Vec<Sample>> {
        let event =
            |repeat: u64, turn: &str| json!({ "work": "idempotent", "store": store, "prefix": turn, "repeat": repeat });
        let last =
            |repeat: u64, turn: &str| json!({ "order_id": format!("{turn}-{}", repeat - 1), "status": "accepted" });
        let first =
            |answer: &Value, repeat: u64, turn: &str| *answer == json!({ "ran": repeat, "last": last(repeat, turn) });
        let replay =
            |answer: &Value, repeat: u64, turn: &str| *answer == json!({ "ran": 0, "last": last(repeat, turn) });
        let repeats = match store {
            Store::Dynamodb => Repeats::Fixed(CALLS),
            // Bounded, because records stay in the store.
            Store::Memory => Repeats::AtMost(20_000),
        };
        let steps: [Step<'_>; 2] = [(Work::First(store), 1, &event, &first), (Work::Replay(store), 1, &event, &replay)];
        // A bare handler keeps no records but in the database.
        self.sample(rounds, repeats, &steps, |who| store == Store::Dynamodb || who != Contestant::Floor).await
    }

    /// Samples of EMF flushes.
    ///
    /// # Errors
    /// Where a contestant fails, or does not print one document a flush.
    pub async fn emf(&mut self, rounds: usize) -> anyhow::Result<Vec<Sample>> {
        self.printing(Work::Emf, "emf", rounds, |line, repeat| {
            let names: Vec<&str> = line
                .pointer("/_aws/CloudWatchMetrics/0/Metrics")
                .and_then(Value::as_array)
                .map(|metrics| metrics.iter().filter_map(|metric| metric["Name"].as_str()).collect())
                .unwrap_or_default();
            let lines = line.get("Lines").map(|lines| lines.get(0).unwrap_or(lines)).and_then(Value::as_f64);
            names.len() == 3 && names.contains(&"OrdersPlaced") && names.contains(&"Latency") && same(lines, repeat - 1)
        })
        .await
    }

    /// Samples of log lines.
    ///
    /// # Errors
    /// Where a contestant fails, or does not print the lines.
    pub async fn log(&mut self, rounds: usize) -> anyhow::Result<Vec<Sample>> {
        self.printing(Work::Log, "log", rounds, |line, repeat| {
            // `tracing`'s own form keeps an event's fields apart; the others put them beside the message.
            let fields = line.get("fields").unwrap_or(line);
            fields["message"] == "order placed"
                && fields["order_id"] == "o-1"
                && same(fields["receive_count"].as_f64(), repeat - 1)
        })
        .await
    }

    /// Ends the processes.
    ///
    /// # Errors
    /// Where one cannot be ended.
    pub async fn stop(self) -> anyhow::Result<()> {
        for (_, function) in self.functions {
            function.stop().await?;
        }
        Ok(())
    }

    async fn printing(
        &mut self,
        work: Work,
        name: &str,
        rounds: usize,
        check: impl Fn(&Value, u64) -> bool,
    ) -> anyhow::Result<Vec<Sample>> {
        let event = |repeat: u64, _: &str| json!({ "work": name, "repeat": repeat });
        let check = |line: &Value, repeat: u64, _: &str| check(line, repeat);
        self.sample(rounds, Repeats::AtMost(u64::MAX), &[(work, 1, &event, &check)], |_| true).await
    }

    /// `rounds` rounds of these steps, one after the other in each turn, after one round that only warms up.
    async fn sample(
        &mut self,
        rounds: usize,
        how_often: Repeats,
        steps: &[Step<'_>],
        takes_part: impl Fn(Contestant) -> bool,
    ) -> anyhow::Result<Vec<Sample>> {
        let mut repeats = Vec::new();
        for (at, (contestant, function)) in self.functions.iter_mut().enumerate() {
            if takes_part(*contestant) {
                let repeat = match how_often {
                    Repeats::Fixed(repeat) => repeat,
                    Repeats::AtMost(most) => reckon(function, steps, most, &mut self.turns).await?,
                };
                repeats.push((at, repeat));
            }
        }
        let mut samples = Vec::new();
        for round in 0..=rounds {
            for (at, repeat) in &repeats {
                let Some((contestant, function)) = self.functions.get_mut(*at) else { continue };
                self.turns += 1;
                let turn = format!("{}-{}", contestant.name(), self.turns);
                for step in steps {
                    let (cpu, wall) = take(function, step, *repeat, &turn).await?;
                    let units = (step.1 * repeat) as f64;
                    let sample = Sample {
                        work: step.0,
                        contestant: *contestant,
                        cpu_us: cpu.as_secs_f64() * 1e6 / units,
                        wall_us: wall.as_secs_f64() * 1e6 / units,
                    };
                    samples.extend((round > 0).then_some(sample));
                }
            }
        }
        Ok(samples)
    }
}

/// A work, the units of one repetition, its event and the check of its answer or last line.
type Step<'a> = (Work, u64, &'a dyn Fn(u64, &str) -> Value, &'a dyn Fn(&Value, u64, &str) -> bool);

/// How many repetitions make a turn.
#[derive(Clone, Copy)]
enum Repeats {
    /// So many.
    Fixed(u64),
    /// As many as fill [`TURN`], at most so many.
    AtMost(u64),
}

/// How many repetitions make a turn, found by trying: the second of two tries counts, as the first may only have been
/// slow because it was the first.
async fn reckon(function: &mut Function, steps: &[Step<'_>], most: u64, turns: &mut u64) -> anyhow::Result<u64> {
    let mut repeat = 1;
    loop {
        let mut longest = Duration::ZERO;
        for _ in 0..2 {
            *turns += 1;
            let turn = format!("reckon-{turns}");
            longest = Duration::ZERO;
            for step in steps {
                longest = longest.max(take(function, step, repeat, &turn).await?.1);
            }
        }
        if longest >= RECKONABLE || repeat >= most {
            let by_time = repeat as f64 * TURN.as_secs_f64() / longest.as_secs_f64();
            return Ok((by_time as u64).clamp(1, most));
        }
        repeat = (repeat * 4).min(most);
    }
}

/// One step: CPU and wall time of `repeat` repetitions, checked.
async fn take(
    function: &mut Function,
    step: &Step<'_>,
    repeat: u64,
    turn: &str,
) -> anyhow::Result<(Duration, Duration)> {
    let (work, _, event, check) = step;
    function.idle().await?;
    let lines = function.lines();
    let before = function.cpu()?;
    let (answer, wall) = function.invoke(&event(repeat, turn)).await?;
    function.idle().await?;
    let cpu = function.cpu()?.since(&before);
    let proof = match work {
        Work::Emf | Work::Log => function.printed(lines + repeat).await?,
        Work::Batch(_) | Work::First(_) | Work::Replay(_) | Work::Invocation | Work::SameRequests | Work::Start => {
            answer
        }
    };
    ensure!(check(&proof, repeat, turn), "{}: the wrong answer: {proof}", work.name());
    Ok((cpu, wall))
}

/// Samples of whole warm invocations: ten records, each placed once (two writes of the idempotency record) and written
/// (one write).
///
/// # Errors
/// Where a contestant fails, answers that a record failed, or has not written every row that it should have.
pub async fn invocations(places: &Places, dynamodb: &DynamoDb, rounds: usize) -> anyhow::Result<Vec<Sample>> {
    let mut functions = Vec::new();
    let whole = Contestant::ALL.map(|contestant| (contestant, Program::Invocation));
    for (contestant, program) in whole.into_iter().chain([(Contestant::Floor, Program::Same)]) {
        let launch = contestant::launch(contestant, program, places, dynamodb);
        let mut function = Function::start(&launch, &places.out).await?;
        function.first_poll().await?;
        functions.push((contestant, program, launch.name, function));
    }
    let tables = [ORDERS_TABLE, OURS_TABLE, POWERTOOLS_TABLE, FLOOR_TABLE, SAME_TABLE];
    let mut before = Vec::new();
    for table in tables {
        before.push(dynamodb.count(table).await?);
    }
    let mut samples = Vec::new();
    for round in 0..=rounds {
        for (contestant, program, name, function) in &mut functions {
            let count = if round == 0 { WARM_UP } else { INVOCATIONS };
            function.idle().await?;
            let start = function.cpu()?;
            let mut wall = Duration::ZERO;
            for invocation in 0..count {
                let orders =
                    (0..INVOCATION_RECORDS).map(|at| event::order(&format!("{name}-{round}-{invocation}-{at}"), 2));
                let (answer, took) = function.invoke(&event::sqs(orders)).await?;
                ensure!(answer == json!({ "batchItemFailures": [] }), "{name} answered {answer}");
                wall += took;
            }
            function.idle().await?;
            let cpu = function.cpu()?.since(&start);
            if round == 0 {
                continue;
            }
            // Ours is one turn, beside either floor.
            let works: &[Work] = match (*contestant, *program) {
                (Contestant::Ours, _) => &[Work::Invocation, Work::SameRequests],
                (_, Program::Same) => &[Work::SameRequests],
                (_, Program::Invocation | Program::Works) => &[Work::Invocation],
            };
            samples.extend(works.iter().map(|work| Sample {
                work: *work,
                contestant: *contestant,
                cpu_us: cpu.as_secs_f64() * 1e6 / count as f64,
                wall_us: wall.as_secs_f64() * 1e6 / count as f64,
            }));
        }
    }
    // Everybody did the same work: a row and a record for every order.
    let each = u64::try_from((WARM_UP + rounds * INVOCATIONS) * INVOCATION_RECORDS)?;
    for ((table, before), wanted) in tables.iter().zip(before).zip([5 * each, each, 2 * each, each, each]) {
        let written = dynamodb.count(table).await? - before;
        ensure!(written == wanted, "{written} items were written to {table}, not {wanted}");
    }
    for (_, _, _, function) in functions {
        function.stop().await?;
    }
    Ok(samples)
}

fn write(path: &Path, event: &Value) -> anyhow::Result<String> {
    std::fs::write(path, event.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_string_lossy().into_owned())
}

fn same(number: Option<f64>, wanted: u64) -> bool {
    number.is_some_and(|number| (number - wanted as f64).abs() < 0.5)
}
