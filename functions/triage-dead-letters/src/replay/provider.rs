//! Whether the provider is there that a replay needs. What is sent while it is not waits behind a closed door, and tells
//! nothing of whether the trouble is over.

use std::collections::BTreeMap;

use lambda_queue::breaker::State;
use ports::{Dependency, ReadBreakers};

/// Why nothing that needs one of these is to be sent now. Those that are there are not named.
pub(super) async fn away(ports: &impl ReadBreakers) -> BTreeMap<Dependency, String> {
    let mut away = BTreeMap::new();
    for dependency in Dependency::ALL {
        away.extend(why_not(ports, dependency).await.map(|why| (dependency, why)));
    }
    away
}

/// Why nothing that needs it is to be sent now. One that cannot be read counts as away: a replay has time.
pub(super) async fn why_not(ports: &impl ReadBreakers, dependency: Dependency) -> Option<String> {
    let stands = match ports.read_breaker(dependency).await {
        Ok(row) if row.state == State::Closed => return None,
        Ok(row) => format!("is {}", row.state.name()),
        Err(error) => format!("cannot be read ({error})"),
    };
    Some(format!(
        "the breaker of {dependency} {stands}, so what is sent would only wait: replay it once `orderflow breaker list` \
         shows it closed, or with --despite-breaker all the same"
    ))
}
