//! The clock, the dice and the ids of a test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use crate::ports::{Clock, Ids, Random};

/// When a world begins: 2026-01-01T00:00:00Z, UTC milliseconds since the epoch.
pub const START_MS: u64 = 1_767_225_600_000;

/// A clock that is set, randomness that is seeded, ids that follow from both. Clones are the same world.
///
/// The generator is xoshiro256++, whose numbers stay the same from release to release, so a seed stays a regression.
#[derive(Clone, Debug)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    base_ms: AtomicU64,
    /// Where tokio's clock stood when the world began, of a world that follows it.
    tokio: Option<tokio::time::Instant>,
    dice: Mutex<Xoshiro256PlusPlus>,
}

impl World {
    /// A world whose time stands still at [`START_MS`] until it is moved.
    pub fn new(seed: u64) -> Self {
        Self::of(seed, None)
    }

    /// A world whose time goes on with tokio's, the paused one included; [`World::advance_ms`] adds to it.
    pub fn with_tokio(seed: u64) -> Self {
        Self::of(seed, Some(tokio::time::Instant::now()))
    }

    fn of(seed: u64, tokio: Option<tokio::time::Instant>) -> Self {
        let dice = Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed));
        Self { inner: Arc::new(Inner { base_ms: AtomicU64::new(START_MS), tokio, dice }) }
    }

    /// Moves the clock on.
    pub fn advance_ms(&self, ms: u64) {
        self.inner.base_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock, backwards too. In a world that follows tokio this is what the clock shows now.
    pub fn set_ms(&self, now_ms: u64) {
        self.inner.base_ms.store(now_ms.wrapping_sub(self.followed_ms()), Ordering::SeqCst);
    }

    fn followed_ms(&self) -> u64 {
        let elapsed = self.inner.tokio.map(|start| start.elapsed().as_millis()).unwrap_or_default();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    /// Draws from the dice.
    fn draw<T>(&self, draw: impl FnOnce(&mut Xoshiro256PlusPlus) -> T) -> T {
        draw(&mut self.inner.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether something of this likelihood (0 never, 1 always) happens now.
    pub fn chance(&self, likelihood: f64) -> bool {
        self.draw(|dice| dice.random_bool(likelihood.clamp(0.0, 1.0)))
    }
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        self.inner.base_ms.load(Ordering::SeqCst).wrapping_add(self.followed_ms())
    }
}

impl Random for World {
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw(|dice| dice.random_range(0..bound)) }
    }
}

impl Ids for World {
    fn fresh(&self) -> Uuid {
        let random = self.draw(|dice| dice.random::<[u8; 10]>());
        uuid::Builder::from_unix_timestamp_millis(self.now_ms(), &random).into_uuid()
    }
}
