//! From a process's start to its first poll of the Runtime API: what is left of a cold start once the code is there.

use std::time::Duration;

use crate::contestant::{self, Contestant, Places, Program};
use crate::dynamodb::DynamoDb;
use crate::function::{Function, Launch};
use crate::work::{Sample, Work};

/// One start of one process.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the process's start to its first poll.
    pub wall: Duration,
    /// CPU time of its threads by then.
    pub cpu: Duration,
    /// The most memory it had by then, bytes.
    pub memory: u64,
}

/// Starts a process, waits for its first poll, ends it.
///
/// # Errors
/// Where it does not poll.
pub async fn once(launch: &Launch, places: &Places) -> anyhow::Result<Start> {
    let mut function = Function::start(launch, &places.out).await?;
    let wall = function.first_poll().await?;
    let start = Start { wall, cpu: function.cpu()?.total(), memory: function.peak_memory()? };
    function.stop().await?;
    Ok(start)
}

/// Starts of the four whole functions, in turns; the first round only warms the page cache. Also the memory of each.
///
/// # Errors
/// Where one does not start.
pub async fn contestants(
    places: &Places,
    dynamodb: &DynamoDb,
    rounds: usize,
) -> anyhow::Result<(Vec<Sample>, Vec<(Contestant, u64)>)> {
    let (mut samples, mut memory) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        for contestant in Contestant::ALL {
            let start = once(&contestant::launch(contestant, Program::Invocation, places, dynamodb), places).await?;
            if round > 0 {
                let us = |time: Duration| time.as_secs_f64() * 1e6;
                samples.push(Sample { work: Work::Start, contestant, cpu_us: us(start.cpu), wall_us: us(start.wall) });
                memory.push((contestant, start.memory));
            }
        }
    }
    Ok((samples, memory))
}
