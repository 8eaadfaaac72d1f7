//! A sink that keeps lines, and a reader that minds what JSON readers forgive.

use std::fmt;
use std::sync::{Arc, Mutex};

use lambda_queue::logging::{Settings, Sink};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tracing::Dispatch;

pub const NOW_MS: u64 = 1_795_426_200_123;

/// Lines, as they were written.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<String>>>);

impl Sink for Kept {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }
}

impl Kept {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn objects(&self) -> Vec<Object> {
        self.lines().iter().map(|line| Object::read(line)).collect()
    }

    pub fn messages(&self) -> Vec<String> {
        self.objects().iter().map(|object| object.get("message").unwrap().as_str().unwrap().to_owned()).collect()
    }
}

/// One line's fields, in their order, none twice.
#[derive(Debug)]
pub struct Object(pub Vec<(String, Value)>);

impl Object {
    /// Reads one line, and refuses what is not one line of one JSON object without a key that is there twice.
    pub fn read(line: &str) -> Self {
        let text = line.strip_suffix('\n').unwrap_or_else(|| panic!("no line end: {line:?}"));
        assert!(!text.contains(|ch: char| ch.is_control()), "a control character in {text:?}");
        let object: Self = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let mut names: Vec<&str> = object.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "a key is there twice: {text}");
        object
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value)
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The settings of an environment, with a clock that stands.
pub fn env(variables: &[(&str, &str)]) -> Settings {
    let mut settings =
        Settings::read(|name| variables.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned()));
    settings.now = Arc::new(|| NOW_MS);
    settings
}

/// A logger of an environment, and what it writes.
pub fn logger(variables: &[(&str, &str)]) -> (Dispatch, Kept) {
    let kept = Kept::default();
    (env(variables).dispatch(Arc::new(kept.clone())), kept)
}

/// What `work` logs.
pub fn logged(variables: &[(&str, &str)], work: impl FnOnce()) -> Kept {
    let (dispatch, kept) = logger(variables);
    tracing::dispatcher::with_default(&dispatch, work);
    kept
}
