//! An invocation's metrics under shuttle: its lock is shuttle's in this crate's own tests, so whatever handlers that run side by
//! side record, flush and end may come in any order.

use std::io;
use std::sync::Mutex as PlainMutex;

use shuttle::thread;

use super::super::{Settings, Unit};
use super::*;

/// Schedules tried a test.
const SCHEDULES: usize = 2_000;

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        1_795_426_200_123
    }
}

/// The lines that went out. Their lock is not shuttle's: it is no part of what is tested.
#[derive(Clone, Default)]
struct Lines(Arc<PlainMutex<Vec<Value>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(serde_json::from_slice(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The values of `n` over all lines, in their order.
    fn values(&self) -> Vec<u64> {
        let of_line = |line: &Value| -> Vec<u64> {
            match line["n"].as_array() {
                Some(values) => values.iter().map(|value| value.as_u64().unwrap()).collect(),
                None => line["n"].as_u64().into_iter().collect(),
            }
        };
        self.0.lock().unwrap().iter().flat_map(of_line).collect()
    }
}

fn begin(lines: &Lines) -> Metrics<'static, Still> {
    let document = Document::with(Arc::new(Settings::new("Test").unwrap()), "done").dimension("function", "f");
    Metrics::begin_to(&Still, document, Sink::to(lines.clone()))
}

/// Each of three handlers records two values: ten times its number and that and one.
fn handlers(recorder: &Recorder) -> Vec<thread::JoinHandle<()>> {
    let handler = |at: u32| {
        let recorder = recorder.clone();
        thread::spawn(move || {
            recorder.metric("n", Unit::Count, 10 * at);
            recorder.metric("n", Unit::Count, 10 * at + 1);
        })
    };
    (0..3).map(handler).collect()
}

#[test]
fn every_value_goes_out_once_whenever_it_is_flushed() {
    shuttle::check_random(
        || {
            let lines = Lines::default();
            let metrics = begin(&lines);
            let handlers = handlers(&metrics.recorder());
            metrics.flush();
            metrics.flush();
            for handler in handlers {
                handler.join().unwrap();
            }
            drop(metrics);
            let mut values = lines.values();
            values.sort_unstable();
            assert_eq!(values, [0, 1, 10, 11, 20, 21]);
        },
        SCHEDULES,
    );
}

#[test]
fn what_comes_after_the_end_is_left_out_and_what_came_before_is_not_torn() {
    shuttle::check_random(
        || {
            let lines = Lines::default();
            let metrics = begin(&lines);
            let handlers = handlers(&metrics.recorder());
            drop(metrics);
            let ended = lines.values();
            for handler in handlers {
                handler.join().unwrap();
            }
            assert_eq!(lines.values(), ended, "nothing goes out after the end");
            for at in 0..3 {
                let own: Vec<u64> = ended.iter().copied().filter(|value| value / 10 == at).collect();
                assert!(
                    [10 * at, 10 * at + 1].starts_with(&own),
                    "the first without the second, never the other way: {own:?}"
                );
            }
        },
        SCHEDULES,
    );
}
