//! Request-reply over queues: waiting for a row to be decided.

use std::time::Duration;

use order::Order;
use ports::{Clock, LoadOrder};

/// The first pause between two reads, milliseconds.
const FIRST_PAUSE_MS: u64 = 100;
/// The longest, milliseconds.
const LONGEST_PAUSE_MS: u64 = 500;
/// Kept of the function's time for the answer, milliseconds.
const KEPT_MS: u64 = 1_000;

/// Reads the row until it is decided, is parked, or the time is up: `wait_s` seconds, or the function's own end. A read
/// that fails is a read that saw nothing new; each takes its own time off the wait.
pub async fn until_decided<P: LoadOrder + Clock>(ports: &P, order: Order, wait_s: u64, deadline_ms: u64) -> Order {
    let end_ms = ports.now_ms().saturating_add(wait_s.saturating_mul(1_000)).min(deadline_ms.saturating_sub(KEPT_MS));
    let mut order = order;
    let mut pause_ms = FIRST_PAUSE_MS;
    while !order.state.is_decided() && order.parked.is_none() {
        let left_ms = end_ms.saturating_sub(ports.now_ms());
        if left_ms == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms.min(left_ms))).await;
        pause_ms = (pause_ms + pause_ms / 2).min(LONGEST_PAUSE_MS);
        let read_ms = end_ms.saturating_sub(ports.now_ms()).saturating_add(KEPT_MS / 2);
        match tokio::time::timeout(Duration::from_millis(read_ms), ports.load_order(order.order_id)).await {
            Ok(Ok(Some(row))) => order = row,
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(order_id = %order.order_id, %error, "a read while waiting failed"),
        }
    }
    order
}
