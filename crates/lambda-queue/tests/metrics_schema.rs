//! Every emitted line against the published schema, and against what CloudWatch asks beyond it, over random programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use lambda_queue::metrics::{Document, Number, Settings, Unit};
use serde_json::Value;

const NOW_MS: u64 = 1_795_426_200_123;
const PROGRAMS: u64 = 12_000;

/// SplitMix64: the same programs in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// Mostly a small pool, so that names collide; sometimes one that is refused.
    fn name(&mut self) -> String {
        match self.below(20) {
            0 => self
                .pick(&["", " ", ":x", "_aws", "level", "message", "timestamp", "a\nb", "naïve", "\u{0}"])
                .to_owned(),
            1 => "n".repeat(usize::try_from(248 + self.below(12)).unwrap()),
            2 => self
                .pick(&["quote\"d", "back\\slash", "a b", "Tenant_Id", "order_id", "customer", "metrics_lines_lost"])
                .to_owned(),
            _ => format!("n{}", self.below(60)),
        }
    }

    fn text(&mut self) -> String {
        match self.below(12) {
            0 => "v".repeat(usize::try_from(1_020 + self.below(10)).unwrap()),
            1 => self.pick(&["", " ", "\"", "\\", "tab\there", "größe", "\u{7f}"]).to_owned(),
            _ => format!("v{}", self.below(5)),
        }
    }

    fn number(&mut self) -> Number {
        match self.below(10) {
            0 => Number::Real(self.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 2.4e108, -2.4e108])),
            1 => Number::Real(self.pick(&[0.0, -0.0, 1e-300, 5e-324, 2.3e108, -2.3e108, 0.1, 1e16, 123_456_789.125])),
            2 => Number::Whole(self.pick(&[0, 1, u64::MAX])),
            3 => Number::Signed(self.pick(&[i64::MIN, -1, 0, i64::MAX])),
            4..=6 => Number::from(self.below(1_000_000)),
            _ => Number::Real(f64::from_bits(self.next())),
        }
    }
}

/// A random program: what was asked of the document does not matter here, only what comes out.
fn program(chance: &mut Chance) -> Document {
    let mut settings = Settings::new(chance.pick(&["Orderflow", "a/b", "N"])).unwrap();
    for _ in 0..chance.below(3) {
        let (name, value) = (chance.name(), chance.text());
        if let Ok(more) = settings.clone().dimension(name, value) {
            settings = more;
        }
    }
    let steps = chance.pick(&[0, 1, 2, 5, 5, 10, 20, 20, 20, 40, 60, 250]);
    (0..steps).fold(Document::with(Arc::new(settings), chance.text()), |document, _| match chance.below(24) {
        0 => document.dimension(chance.name(), &chance.text()),
        1 => {
            let names: Vec<&'static str> = (0..chance.below(4))
                .map(|_| chance.pick(&["s0", "s1", "s2", "n1", "n2", "", "tenant", "_aws"]))
                .collect();
            let values: Vec<String> = names.iter().map(|_| chance.text()).collect();
            let set: Vec<(&'static str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
            document.dimension_set(&set)
        }
        2 => document.property(chance.name(), chance.text()),
        3 => document.property(chance.name(), serde_json::json!({ "a": [chance.below(9), null, chance.text()] })),
        4 => document
            .property(chance.name(), "x".repeat(usize::try_from(chance.pick(&[100, 1_000, 8_000, 33_000])).unwrap())),
        5 => document.at(chance.pick(&[
            NOW_MS,
            0,
            u64::MAX,
            NOW_MS - 1_209_600_000,
            NOW_MS + 7_200_000,
            NOW_MS + 7_200_001,
        ])),
        6 => document.high_resolution(chance.name(), chance.pick(Unit::ALL), chance.number()),
        7 => document.metric(
            chance.name(),
            chance.pick(&["Count", "Milliseconds", "count", "Furlongs", ""]),
            chance.number(),
        ),
        8 => {
            let name = chance.name();
            (0..chance.below(300)).fold(document, |document, at| document.metric(name.clone(), Unit::Count, at))
        }
        9 => (0..chance.below(250))
            .fold(document, |document, at| document.metric(format!("m{at}"), Unit::Bytes, chance.number())),
        _ => document.metric(chance.name(), chance.pick(Unit::ALL), chance.number()),
    })
}

/// What the schema does not say.
fn beyond_the_schema(line: &str, document: &Value) {
    let root = document.as_object().unwrap();
    assert!(!line.contains('\n') && line.len() < 1_000_000);
    // A member that stands twice would be one of the two to serde, and either to CloudWatch.
    assert_eq!(members(line), root.len(), "a member twice in {line}");
    let Some(aws) = root.get("_aws") else { return };
    assert!(line.len() < 256 * 1024, "{}", line.len());
    let at_ms = aws["Timestamp"].as_u64().unwrap();
    assert!(at_ms + 14 * 86_400_000 >= NOW_MS && at_ms <= NOW_MS + 2 * 3_600_000);
    let directives = aws["CloudWatchMetrics"].as_array().unwrap();
    assert_eq!(directives.len(), 1);
    let directive = &directives[0];
    let namespace = directive["Namespace"].as_str().unwrap();
    assert!((1..=255).contains(&namespace.len()) && !namespace.starts_with("AWS/"));
    let plain = |text: &str, most: usize| {
        (1..=most).contains(&text.len())
            && text.bytes().all(|byte| (32..127).contains(&byte))
            && !text.trim().is_empty()
    };
    let mut names = BTreeSet::from(["_aws", "level", "message", "timestamp"]);
    for set in directive["Dimensions"].as_array().unwrap() {
        let set: Vec<&str> = set.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(set.iter().collect::<BTreeSet<_>>().len(), set.len(), "a dimension twice in a set");
        for name in set {
            assert!(plain(name, 250) && !name.starts_with(':'), "{name}");
            assert!(!["tenant", "Tenant_Id", "order_id", "customer"].contains(&name), "{name}");
            assert!(plain(root[name].as_str().unwrap(), 1_024), "{name}");
        }
    }
    let dimensions: BTreeSet<&str> = directive["Dimensions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|set| set.as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(dimensions.iter().all(|name| names.insert(name)), "a dimension with a reserved name");
    let metrics = directive["Metrics"].as_array().unwrap();
    assert!((1..=100).contains(&metrics.len()));
    for metric in metrics {
        let name = metric["Name"].as_str().unwrap();
        assert!(plain(name, 255) && !name.starts_with(':'), "{name}");
        assert!(names.insert(name), "{name} is two things");
        assert!(matches!(metric.get("StorageResolution").and_then(Value::as_u64), None | Some(1 | 60)));
        let values = match &root[name] {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        assert!((1..=100).contains(&values.len()), "{}", values.len());
        let taken =
            |value: &Value| value.as_f64().is_some_and(|value| value.is_finite() && value.abs() <= 2_f64.powi(360));
        assert!(values.iter().all(taken), "{values:?}");
    }
}

/// How many members the object says it has, doubles among them.
fn members(line: &str) -> usize {
    struct Count;
    impl<'de> serde::de::Visitor<'de> for Count {
        type Value = usize;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
            let mut count = 0;
            while map.next_entry::<String, serde::de::IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }
    }
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(line), Count).unwrap()
}

/// The published schema. Its `$id`s are pointers, which the draft allows no more: nothing refers to them.
fn schema() -> jsonschema::Validator {
    fn without_ids(schema: &mut Value) {
        if let Some(map) = schema.as_object_mut() {
            map.remove("$id");
            map.values_mut().for_each(without_ids);
        }
    }
    let mut schema: Value = serde_json::from_str(include_str!("fixtures/emf.schema.json")).unwrap();
    without_ids(&mut schema);
    jsonschema::draft7::new(&schema).unwrap()
}

#[test]
fn every_line_of_every_random_program_is_what_cloudwatch_takes() {
    let schema = schema();
    let (mut documents, mut splits, mut refused) = (0, 0, 0);
    for seed in 0..PROGRAMS {
        let document = program(&mut Chance(seed));
        refused += u64::from(!document.refusals().is_empty());
        let lines = document.lines(NOW_MS);
        splits += u64::from(lines.len() > 1);
        for line in lines {
            let document: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("seed {seed}: {error}: {line}"));
            if document.get("_aws").is_some() {
                let errors: Vec<String> = schema.iter_errors(&document).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "seed {seed}: {errors:?}");
                documents += 1;
            }
            beyond_the_schema(&line, &document);
        }
    }
    // The programs reach what they are for.
    assert!(
        documents > PROGRAMS / 2 && splits > PROGRAMS / 20 && refused > PROGRAMS / 2,
        "{documents} {splits} {refused}"
    );
}

#[test]
fn the_schema_itself_refuses_what_is_wrong() {
    let schema = schema();
    let good: Value = serde_json::from_str(&Document::single("a", Unit::Count, 1_u32).lines(NOW_MS)[0]).unwrap();
    assert!(schema.is_valid(&good));
    for (pointer, wrong) in [
        ("/_aws/Timestamp", serde_json::json!("now")),
        ("/_aws/CloudWatchMetrics/0/Metrics/0/Unit", serde_json::json!("Furlongs")),
        ("/_aws/CloudWatchMetrics/0/Namespace", serde_json::json!("")),
        ("/_aws/CloudWatchMetrics/0/Dimensions", serde_json::json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&bad), "{pointer}");
    }
}
