//! How late consumers are. Queues of one kind, one a step of the way, are a lane; each process that works on one tells, now
//! and then, what it saw, in a row that the lane shares ([`Row`]). Whoever lets work into the lane reads it.
//!
//! [`Teller`] writes: give it to [`Batch::afterwards`](crate::Batch::afterwards). [`Word`] is what it wrote of a step:
//! whether that is late, and how fast it goes when it is.

mod row;
mod teller;

pub use row::{FOR_EVER_MS, HELD_MS, LATE_MS, Pace, Row, SLOT_MS, SLOTS, STALE_MS, Word};
pub use teller::{Place, TELL_EVERY_MS, Teller};
