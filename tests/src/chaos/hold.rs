//! Calls that are kept from AWS until a test lets them go: what races a write can so be put exactly before it.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use order::OrderId;
use tokio::sync::oneshot;

use super::call::Call;

/// One call that is kept, once it comes. Dropped, it is let go.
#[derive(Debug)]
pub struct Hold {
    reached: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Hold {
    /// Waits until the call has come.
    ///
    /// # Errors
    /// When the proxy is gone.
    pub async fn reached(&mut self) -> anyhow::Result<()> {
        (&mut self.reached).await.context("the proxy is gone, and the call never came")
    }

    /// Lets it go on to AWS. Whoever made it waits 2 s, and then makes it once more.
    ///
    /// # Errors
    /// When nobody waits for it: it has not come, or its connection is gone.
    pub fn let_go(self) -> anyhow::Result<()> {
        self.go.send(()).ok().context("the call is not there any more")
    }
}

struct Kept {
    operation: String,
    order: OrderId,
    naming: String,
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

/// Those that are waited for.
#[derive(Default)]
pub(super) struct Holds(Mutex<Vec<Kept>>);

impl Holds {
    pub(super) fn put(&self, operation: &str, order: OrderId, naming: &str) -> Hold {
        let ((told, reached), (go, may_go)) = (oneshot::channel(), oneshot::channel());
        let (operation, naming) = (operation.to_owned(), naming.to_owned());
        let kept = Kept { operation, order, naming, reached: told, go: may_go };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Hold { reached, go }
    }

    /// Keeps a call as long as somebody wants it kept; each only once.
    pub(super) async fn pass(&self, call: &Call, body: &[u8]) {
        let Some(kept) = self.take(call, body) else { return };
        // Where nobody waits any more, nobody wants it kept.
        if kept.reached.send(()).is_ok() {
            kept.go.await.ok();
        }
    }

    fn take(&self, call: &Call, body: &[u8]) -> Option<Kept> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |kept: &Kept| {
            let names = body.windows(kept.naming.len().max(1)).any(|part| part == kept.naming.as_bytes());
            call.operation == kept.operation && call.orders.contains(&kept.order) && names
        };
        let at = all.iter().position(is_it)?;
        Some(all.swap_remove(at))
    }
}
