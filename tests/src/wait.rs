//! Polling for a condition, with a bound.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Between the first two looks; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Looks until `probe` answers something, at most for `timeout`. What it does not find in time is named in the error,
/// as is what a look could not read.
///
/// # Errors
/// When a look fails, or the time is over.
pub async fn eventually<T, F, W>(what: &str, timeout: Duration, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> W,
    W: Future<Output = anyhow::Result<Option<T>>>,
{
    let until = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("not within {timeout:?}: {what}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_named() {
        let waited = eventually("the moon", Duration::from_millis(30), || async { Ok(None::<()>) }).await;
        assert!(waited.unwrap_err().to_string().contains("the moon"));
    }

    #[tokio::test]
    async fn what_comes_is_handed_over() {
        let mut looks = 0;
        let found = eventually("the third look", Duration::from_secs(5), || {
            looks += 1;
            let seen = looks;
            async move { Ok((seen == 3).then_some(seen)) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }
}
