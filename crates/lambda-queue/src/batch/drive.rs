//! The loop itself: starts what the plan allows, sends what is owed, stops when the time is up.
//!
//! It is one task, and nothing in it is shared: handlers' futures are polled here and hand their answer back as their
//! value, so there is no list that several tasks write to. A handler's future is polled once as it is made; one that is
//! ready at once costs no place among the running ones. At most `concurrency` of them exist at a time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Duration, Instant, sleep_until};

use super::owed::{Debt, Next, Owed, Sending, Sent};
use super::plan::{Job, Plan};
use crate::{Answer, Failure, Outgoing, Verdict};

/// What became of a record.
pub(super) type Ended = Result<Verdict, Failure>;
/// Where a record stands when the loop ends.
#[derive(Debug)]
pub(super) enum Fate {
    Ended(Ended),
    /// Its handler was at it when the time was up, and was dropped: what it did until then is done.
    Cut,
    /// It was not started.
    Waiting,
}

/// Starts in a row before other tasks of the process get their turn.
const BURST: usize = 32;

/// When things end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Nothing is started any more, and what runs is dropped.
    pub(super) handlers_end: Instant,
    /// Sends are dropped too.
    pub(super) sends_end: Instant,
}

/// What the loop asks of whoever runs it.
pub(super) struct Rules<B, L, S> {
    /// Most handlers' futures at a time.
    pub(super) concurrency: usize,
    pub(super) times: Times,
    /// Makes a handler's future for these places.
    pub(super) begin: B,
    /// The dead letter of a record, where its failure is to end there, or that it was cut off.
    pub(super) letter: L,
    /// Whether what is ordered after a dead-lettered record may be started.
    pub(super) goes_on: bool,
    /// Sends at most ten messages to one queue.
    pub(super) send: S,
}

/// Runs the plan. Answers where each of `records` stands at the end.
pub(super) async fn drive<P, B, W, L, S, T>(plan: &mut P, records: usize, rules: Rules<B, L, S>) -> Vec<Fate>
where
    P: Plan,
    B: Fn(&[usize]) -> W,
    W: Future,
    W::Output: IntoIterator<Item = Answer>,
    L: Fn(usize, Option<&Failure>) -> Option<Outgoing>,
    S: Fn(Sending) -> T,
    T: Future<Output = Sent>,
{
    let Times { handlers_end, sends_end } = rules.times;
    let concurrency = rules.concurrency.max(1);
    let mut books = Books {
        ends: std::iter::repeat_with(|| Fate::Waiting).take(records).collect(),
        owed: Owed::default(),
        sends: FuturesUnordered::new(),
        rules: &rules,
    };
    let mut running = FuturesUnordered::new();
    let mut handlers_timer = pin!(sleep_until(handlers_end));
    let mut sends_timer = pin!(sleep_until(sends_end));
    let mut closed = false;
    // The place of a future that was ready at once serves the next one.
    let mut spare = None;
    loop {
        let mut started = 0;
        while !closed && started < BURST && running.len() < concurrency && plan.has_next() {
            if Instant::now() >= handlers_end {
                closed = true;
                break;
            }
            let Some(job) = plan.next() else { break };
            started += 1;
            let mut place = spare.take().unwrap_or_else(|| Box::pin(None));
            place.set(Some((rules.begin)(job.places())));
            let mut guard = Guard { future: Some(place), job: Some(job) };
            match once(&mut guard).await {
                Poll::Ready((job, answers)) => {
                    spare = guard.future.take();
                    books.take(plan, &job, answers);
                }
                Poll::Pending => running.push(guard),
            }
        }
        if closed {
            for guard in &running {
                books.cut_off(plan, guard);
            }
            running.clear();
        }
        let more = !closed && plan.has_next();
        if running.is_empty() && !more {
            books.flush();
            if books.sends.is_empty() {
                break;
            }
        }
        let more = more && running.len() < concurrency;
        if more && running.is_empty() && books.sends.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        let flush_at = books.owed.flush_at;
        tokio::select! {
            biased;
            Some(sent) = books.sends.next(), if !books.sends.is_empty() => books.sent(plan, sent),
            Some((job, answers)) = running.next(), if !running.is_empty() => books.take(plan, &job, answers),
            () = sleep_until(flush_at.unwrap_or(sends_end)), if flush_at.is_some() => books.flush(),
            () = &mut handlers_timer, if !closed => closed = true,
            () = &mut sends_timer => break,
            () = tokio::task::yield_now(), if more => {}
        }
    }
    for guard in &running {
        books.cut(guard);
    }
    drop(running);
    books.close()
}

/// Polls once.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// A handler's future that neither panics nor panics in its end: not while it runs, not as it is dropped.
struct Guard<J, W> {
    job: Option<J>,
    future: Option<Pin<Box<Option<W>>>>,
}

impl<J, W> Unpin for Guard<J, W> {}

impl<J, W: Future> Future for Guard<J, W> {
    type Output = (J, Result<W::Output, String>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.future.as_mut().and_then(|place| place.as_mut().as_pin_mut()) else {
            return Poll::Pending;
        };
        let answers = match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answers)) => Ok(answers),
            Err(panic) => Err(panic_text(&*panic)),
        };
        self.end();
        self.job.take().map_or(Poll::Pending, |job| Poll::Ready((job, answers)))
    }
}

impl<J, W> Guard<J, W> {
    fn end(&mut self) {
        // Empty afterwards even where the drop panics.
        let Some(place) = self.future.as_mut() else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| place.set(None))) {
            tracing::error!(panic = panic_text(&*panic), "a handler panicked as it was dropped");
        }
    }
}

impl<J, W> Drop for Guard<J, W> {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("of no text"))
}

/// The loop's state beside what runs.
struct Books<'r, B, L, S, T> {
    ends: Vec<Fate>,
    owed: Owed,
    sends: FuturesUnordered<T>,
    rules: &'r Rules<B, L, S>,
}

impl<B, L, S, T> Books<'_, B, L, S, T>
where
    L: Fn(usize, Option<&Failure>) -> Option<Outgoing>,
    S: Fn(Sending) -> T,
    T: Future<Output = Sent>,
{
    /// Takes the answers of one call of the handler.
    fn take<J: Job>(
        &mut self,
        plan: &mut impl Plan<Job = J>,
        job: &J,
        answers: Result<impl IntoIterator<Item = Answer>, String>,
    ) {
        match answers {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for &place in job.places() {
                    let none = || Err(Failure::bug("the handler gave no answer for it"));
                    self.answered(plan, place, answers.next().unwrap_or_else(none));
                }
            }
            Err(panic) => {
                for &place in job.places() {
                    self.answered(plan, place, Err(Failure::bug(&panic)));
                }
            }
        }
    }

    fn answered(&mut self, plan: &mut impl Plan, place: usize, answer: Answer) {
        match answer {
            Ok(done) if done.owes.is_empty() => self.end(plan, place, Ok(done.verdict), true),
            Ok(done) => self.owe(plan, place, Debt::Handled(done.verdict), done.owes),
            Err(failure) => match (self.rules.letter)(place, Some(&failure)) {
                Some(letter) => self.owe(plan, place, Debt::Letter(failure), vec![letter]),
                None => self.end(plan, place, Err(failure), false),
            },
        }
    }

    fn owe(&mut self, plan: &mut impl Plan, place: usize, debt: Debt, messages: Vec<Outgoing>) {
        let next = self.owed.add(place, debt, messages);
        self.go_on(plan, next);
    }

    fn go_on(&mut self, plan: &mut impl Plan, next: Next) {
        for messages in next.sends {
            self.sends.push((self.rules.send)(messages));
        }
        for place in next.held_back {
            self.settle(plan, place, Err("an earlier message of its group was not sent".to_owned()));
        }
    }

    fn flush(&mut self) {
        for messages in self.owed.flush() {
            self.sends.push((self.rules.send)(messages));
        }
    }

    fn sent(&mut self, plan: &mut impl Plan, sent: Sent) {
        let next = self.owed.landed(&sent);
        for (place, result) in sent.results {
            self.settle(plan, place, result);
        }
        self.go_on(plan, next);
    }

    fn settle(&mut self, plan: &mut impl Plan, place: usize, sent: Result<(), String>) {
        match self.owed.settle(place, sent) {
            None => {}
            Some((Debt::Handled(verdict), Ok(()))) => self.end(plan, place, Ok(verdict), true),
            Some((Debt::Handled(_), Err(why))) => {
                let why = format!("what it owes was not sent: {why}");
                self.end(plan, place, Err(Failure::retry(why)), false);
            }
            Some((Debt::Letter(_), Ok(()))) => {
                self.end(plan, place, Ok(Verdict::DeadLettered), self.rules.goes_on);
            }
            Some((Debt::Cut, Ok(()))) => self.end(plan, place, Ok(Verdict::DeadLettered), self.rules.goes_on),
            Some((Debt::Letter(failure), Err(why))) => {
                tracing::error!(%failure, why, "could not be dead-lettered: it stays failed");
                self.end(plan, place, Err(failure), false);
            }
            Some((Debt::Cut, Err(why))) => {
                tracing::error!(why, "what was cut off could not be dead-lettered: it stays failed");
                plan.ended(place, false);
            }
        }
    }

    fn end(&mut self, plan: &mut impl Plan, place: usize, ended: Ended, goes_on: bool) {
        if let Some(end) = self.ends.get_mut(place) {
            *end = Fate::Ended(ended);
        }
        plan.ended(place, goes_on);
    }

    /// A handler's future that is dropped as its time is up, while there still is some for its dead letter, if it is to have
    /// one. What became of it nobody knows, and one of its queue's last receive nobody will look at again.
    fn cut_off<J: Job, W>(&mut self, plan: &mut impl Plan<Job = J>, guard: &Guard<J, W>) {
        self.cut(guard);
        for &place in guard.job.iter().flat_map(Job::places) {
            if let Some(letter) = (self.rules.letter)(place, None) {
                self.owe(plan, place, Debt::Cut, vec![letter]);
            }
        }
    }

    /// A handler's future that is dropped before it ended.
    fn cut<W>(&mut self, guard: &Guard<impl Job, W>) {
        for &place in guard.job.iter().flat_map(Job::places) {
            if let Some(end) = self.ends.get_mut(place) {
                *end = Fate::Cut;
            }
        }
    }

    /// The ends. A debt that is still open at the end of the time was not paid.
    fn close(mut self) -> Vec<Fate> {
        for (place, debt) in self.owed.unpaid() {
            let failure = match debt {
                Debt::Handled(_) => Failure::retry("what it owes was not sent: the time ran out"),
                Debt::Letter(failure) => failure,
                // It is told as cut already.
                Debt::Cut => continue,
            };
            if let Some(end) = self.ends.get_mut(place) {
                *end = Fate::Ended(Err(failure));
            }
        }
        self.ends
    }
}

/// Says so, where the time left was too short for a single handler: a batch that is only ever deferred has no failure that
/// would tell.
pub(super) fn tell_nothing_started(ends: &[Fate], left_ms: u64) {
    if !ends.is_empty() && ends.iter().all(|end| matches!(end, Fate::Waiting)) {
        tracing::error!(left_ms, records = ends.len(), "no time to start a single record: all of them come back");
    }
}

/// A moment so far from now, never before it.
pub(super) fn in_ms(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}
