//! What is seen of a run while it goes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use order::{OrderId, State};

use crate::tables::Glimpse;

/// Without a terminal a line is printed so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    total: usize,
    started: Instant,
    printed: Instant,
}

impl Progress {
    pub(super) fn start(total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{elapsed_precise} [{wide_bar}] {pos}/{len} ended  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        let now = Instant::now();
        Self { bar, total, started: now, printed: now }
    }

    pub(super) fn show(&mut self, placed: usize, orders: &HashMap<OrderId, Glimpse>) {
        let count = |state| orders.values().filter(|glimpse| glimpse.state == state).count();
        let ended = orders.values().filter(|glimpse| glimpse.is_settled()).count();
        let parked = orders.values().filter(|glimpse| glimpse.parked).count();
        let seconds = self.started.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let rate = if seconds > 0.0 { ended as f64 / seconds } else { 0.0 };
        let parked = if parked > 0 { format!(", {parked} parked") } else { String::new() };
        let message = format!(
            "placed {placed}, shipped {}, rejected {}, cancelled {}{parked}, open {}, {rate:.1}/s",
            count(State::Shipped),
            count(State::Rejected),
            count(State::Cancelled),
            orders.len().saturating_sub(ended),
        );
        self.bar.set_position(ended as u64);
        if self.bar.is_hidden() && self.printed.elapsed() >= LINE_EVERY {
            self.printed = Instant::now();
            println!("[{seconds:6.1} s] {ended}/{} ended: {message}", self.total);
        }
        self.bar.set_message(message);
    }

    pub(super) fn finish(&self) {
        self.bar.finish();
    }
}
