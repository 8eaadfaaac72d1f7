//! The weather of a run: faults on from the first order until a while after the last one was asked for, then none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use orderflow::stack::{FUNCTIONS, Options, Stack};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::bound::{Bound, bound};
use super::journal::Journal;
use super::providers::Watch;
use super::proxy::{Owner, Proxy, Sent};
use super::{copies, dead, victims};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::ledger::Fault;
use crate::mail::Mail;

/// In the report.
pub(super) const KILL_FUNCTION: &str = "kill_function";
/// In the report.
pub(super) const KILL_SANDBOX: &str = "kill_sandbox";
/// In the report.
pub(super) const RESTART_AWS: &str = "restart_ministack";
/// When ministack is restarted, once, of the time that placing takes.
const RESTART_AT: f64 = 0.4;
/// Between two kills of a function that happens to be there, milliseconds.
const KILLS_MS: std::ops::Range<u64> = 2_000..7_000;
/// Between two kills of the sandbox, milliseconds; the first comes sooner.
const SANDBOX_MS: std::ops::Range<u64> = 45_000..90_000;
/// How long it is away, milliseconds.
const AWAY_MS: std::ops::Range<u64> = 0..4_000;
/// Between two looks at what came true in the sandbox.
const LOOK: Duration = Duration::from_secs(3);

/// What makes a storm.
pub(super) struct Storm<'a> {
    pub(super) seed: u64,
    pub(super) intensity: f64,
    /// How long it goes on after the last order was asked for.
    pub(super) tail: Duration,
    pub(super) stack: &'a mut Stack,
    pub(super) options: &'a Options,
    pub(super) deployed: Arc<Deployed>,
    pub(super) proxy: &'a Proxy,
    pub(super) owner: Owner,
    pub(super) journal: Journal,
    pub(super) providers: Vec<Fault>,
    /// How long placing the orders takes.
    pub(super) placing: Duration,
}

/// How it ended.
pub(super) struct Calm {
    /// When the last fault was taken back, UTC milliseconds.
    pub(super) at_ms: u64,
    /// By when everything has to be at rest.
    pub(super) bound: Bound,
    /// The mail of ministacks before the present one: it forgets what it took when it is restarted.
    pub(super) mails: Vec<Mail>,
}

impl Storm<'_> {
    /// Rages, calms down, and tells the run by when it has to come to its end.
    pub(super) async fn rage(
        mut self,
        sent: mpsc::UnboundedReceiver<Sent>,
        mut asked: watch::Receiver<bool>,
        over: watch::Sender<Option<Instant>>,
    ) -> anyhow::Result<Calm> {
        self.deployed.ledger.faults(&self.providers).await?;
        let (end_copies, copies_end) = watch::channel(false);
        let (deployed, journal) = (Arc::clone(&self.deployed), self.journal.clone());
        let copying = copies::copy(deployed, sent, self.seed, self.intensity, journal, copies_end);
        let mut copying = tokio::spawn(copying);
        self.proxy.set(true);

        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut watch = Watch::default();
        let mut mails = Vec::new();
        let now = tokio::time::Instant::now();
        let mut kill_at = now + ms(rng.random_range(KILLS_MS));
        let mut crash_at = now + ms(rng.random_range(SANDBOX_MS) / 3);
        let mut restart_at = Some(now + self.placing.mul_f64(RESTART_AT));
        let mut look_at = now + LOOK;
        let mut ends_at = None;
        loop {
            let end = async {
                match ends_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let restart = async {
                match restart_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => break,
                () = restart => {
                    restart_at = None;
                    mails.extend(self.deployed.mail.all().await?);
                    self.restart_aws().await?;
                }
                asked_all = asked.wait_for(|asked| *asked), if ends_at.is_none() => {
                    // Whoever placed them is gone: there is nobody to make weather for.
                    if asked_all.is_err() {
                        break;
                    }
                    ends_at = Some(tokio::time::Instant::now() + self.tail);
                }
                () = sleep_until(kill_at) => {
                    self.kill_one(&mut rng);
                    kill_at = tokio::time::Instant::now() + ms(rng.random_range(KILLS_MS));
                }
                () = sleep_until(crash_at) => {
                    self.crash_sandbox(&mut watch, ms(rng.random_range(AWAY_MS))).await?;
                    crash_at = tokio::time::Instant::now() + ms(rng.random_range(SANDBOX_MS));
                }
                () = sleep_until(look_at) => {
                    watch.look_at(&self.deployed.ledger, &self.journal).await?;
                    look_at = tokio::time::Instant::now() + LOOK;
                }
                ended = &mut copying => {
                    ended??;
                    anyhow::bail!("the copies ended before the storm");
                }
            }
        }

        self.proxy.set(false);
        watch.look_at(&self.deployed.ledger, &self.journal).await?;
        self.deployed.ledger.heal().await?;
        end_copies.send_replace(true);
        copying.await??;
        dead::replay(&self.deployed, &self.journal).await?;
        let at_ms = now_ms();
        let bound = bound(&self.deployed.tables.orders().await?, at_ms);
        println!("faults stopped; to be at rest within {:.0} s: {}", bound.within.as_secs_f64(), bound.how);
        over.send_replace(Some(Instant::now() + bound.within));
        Ok(Calm { at_ms, bound, mails })
    }

    fn kill_one(&self, rng: &mut StdRng) {
        let ministack = self.owner.pid.load(Ordering::Acquire);
        let victims = victims::all(ministack, &self.owner.stack);
        if let Some(victim) = victims.choose(rng)
            && victims::kill(victim)
        {
            self.journal.killed(&victim.function);
            self.journal.note(KILL_FUNCTION, victim.function.clone(), std::collections::BTreeSet::new());
        }
    }

    /// Every function dies with it; what they had answered it may not have heard.
    async fn restart_aws(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        for function in FUNCTIONS {
            self.journal.killed(function);
        }
        self.owner.pid.store(0, Ordering::Release);
        self.stack.restart_ministack(self.options).await?;
        self.owner.pid.store(self.stack.info.ministack_pid, Ordering::Release);
        let what = format!("away for {} ms", started.elapsed().as_millis());
        self.journal.note(RESTART_AWS, what, std::collections::BTreeSet::new());
        for function in FUNCTIONS {
            self.journal.killed(function);
        }
        Ok(())
    }

    async fn crash_sandbox(&mut self, watch: &mut Watch, away: Duration) -> anyhow::Result<()> {
        let left = watch.look_at(&self.deployed.ledger, &self.journal).await?;
        self.journal.note(KILL_SANDBOX, format!("away for {} ms", away.as_millis()), std::collections::BTreeSet::new());
        self.stack.crash_sandbox(self.options, away).await?;
        // Faults do not come back by themselves.
        watch.restarted();
        self.deployed.ledger.faults(&left).await
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
