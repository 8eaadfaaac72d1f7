//! What is deployed against what the stack's own template says: the settings that matter of queues, mappings and functions, read
//! one by one. For everything else there is CloudFormation's drift detection: [`super::drift`].
//!
//! Whether a mapping is on and its MaximumConcurrency is `control-breakers`' business: [`super::control`].

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Ward;
use super::finding::{Finding, Health, many};
use super::template::{Template, Told, text};

/// Differences that are told.
pub(super) const MOST_TOLD: usize = 20;

const SETTINGS: &str = "settings";
pub(super) const DEPLOY: &str = "deploy again, or make the template say so: README.md";

const QUEUE: &str = "AWS::SQS::Queue";
pub(super) const MAPPING: &str = "AWS::Lambda::EventSourceMapping";
const FUNCTION: &str = "AWS::Lambda::Function";

const QUEUE_SETTINGS: [&str; 5] =
    ["VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy", "FifoQueue", "ContentBasedDeduplication"];
const MAPPING_SETTINGS: [&str; 8] = [
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "EventSourceArn",
    "FunctionResponseTypes",
    "ParallelizationFactor",
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
];
const FUNCTION_SETTINGS: [&str; 5] = ["MemorySize", "Timeout", "Runtime", "Handler", "Architectures"];

/// Settings of one resource as they are, under the template's names.
type Live = BTreeMap<&'static str, Value>;

pub(super) async fn settings(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let mut template = ward.template().await?.clone();
    let queues = queues(ward, &template).await?;
    for (logical, queue) in &queues {
        if let Some(arn) = queue.get("QueueArn").and_then(Value::as_str) {
            template.know_arn(logical, arn);
        }
    }
    let mut compared = Compared::default();
    let differences = &mut compared.differences;
    for kind in [QUEUE, MAPPING, FUNCTION] {
        differences.extend(template.missing(kind).map(|logical| format!("{logical} is not there")));
    }
    for (logical, live) in &queues {
        compared.settings(&template, logical, &QUEUE_SETTINGS, live);
    }
    let mappings = mappings(ward, &template).await?;
    for (logical, live) in &mappings {
        compared.settings(&template, logical, &MAPPING_SETTINGS, live);
    }
    let functions = configurations(ward, &template).await?;
    for (logical, live, environment) in &functions {
        compared.settings(&template, logical, &FUNCTION_SETTINGS, live);
        compared.environment(logical, &template.environment(logical), environment);
    }
    let looked = [(queues.len(), "queue"), (mappings.len(), "mapping"), (functions.len(), "function")];
    ensure!(looked.iter().all(|(count, _)| *count > 0), "the template names no queue, no mapping or no function");
    Ok(judge_settings(&compared, &looked.map(|(count, what)| many(count, what)).join(", ")))
}

fn judge_settings(compared: &Compared, looked: &str) -> Vec<Finding> {
    let Compared { differences, same, untold } = compared;
    if differences.is_empty() {
        let seen = format!(
            "{looked} as the stack's template says, in {}; {untold} not compared, as the template computes them",
            many(*same, "setting")
        );
        return vec![Finding::ok(SETTINGS, seen)];
    }
    let told = differences.iter().take(MOST_TOLD).map(|seen| Finding::new(SETTINGS, Health::Bad, seen, DEPLOY));
    let mut findings: Vec<Finding> = told.collect();
    if let Some(more) = differences.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        findings.push(Finding::new(SETTINGS, Health::Bad, format!("and {more} more"), DEPLOY));
    }
    findings
}

/// What came of comparing.
#[derive(Default)]
struct Compared {
    differences: Vec<String>,
    /// Settings that are as they should be.
    same: usize,
    /// Settings that the template names and whose value cannot be told from here.
    untold: usize,
}

impl Compared {
    /// The settings that the template names. One that it leaves to AWS is none.
    fn settings(&mut self, template: &Template, logical: &str, settings: &[&'static str], live: &Live) {
        for name in settings {
            let should = match template.property(logical, name) {
                Told::Value(should) => should,
                Told::Nothing => continue,
                Told::Unknown => {
                    self.untold += 1;
                    continue;
                }
            };
            let is = live.get(name).unwrap_or(&Value::Null);
            if plain(&should) == plain(is) {
                self.same += 1;
            } else {
                let told = if is.is_null() { "not set".to_owned() } else { text(is) };
                self.differences.push(format!("{logical}: {name} is {told}, not {}", text(&should)));
            }
        }
    }

    /// Variables by name; values where they can be told, and are not shown: one may be somebody's address.
    fn environment(&mut self, logical: &str, should: &BTreeMap<String, Told>, is: &BTreeMap<String, String>) {
        for (name, should) in should {
            let difference = match (should, is.get(name)) {
                (Told::Value(_) | Told::Unknown, None) => "is not set",
                (Told::Value(should), Some(is)) if text(should) != *is => "is not what the template says",
                (Told::Nothing, Some(_)) => "is set and should not be",
                (Told::Unknown, Some(_)) => {
                    self.untold += 1;
                    continue;
                }
                (Told::Value(_) | Told::Nothing, _) => {
                    self.same += 1;
                    continue;
                }
            };
            self.differences.push(format!("{logical}: {name} {difference}"));
        }
        let added = is.keys().filter(|name| !should.contains_key(*name));
        self.differences.extend(added.map(|name| format!("{logical}: {name} is set, and the template has none")));
    }
}

/// Numbers and booleans as text, lists in order: however they were written.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        Value::Array(values) => {
            let mut all: Vec<Value> = values.iter().map(plain).collect();
            all.sort_by_key(ToString::to_string);
            Value::Array(all)
        }
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::String(text(value)),
    }
}

/// The stack's processed template with the stack's parameters and physical ids.
pub(super) async fn template(ward: &Ward) -> anyhow::Result<Template> {
    let cloudformation = &ward.clients.cloudformation;
    let body = cloudformation.get_template().stack_name(&ward.stack).send().await;
    let body =
        body.context("the stack's template cannot be read")?.template_body.context("the stack has no template")?;
    let described = cloudformation.describe_stacks().stack_name(&ward.stack).send().await;
    let described = described.context("the stack cannot be described")?;
    let stack = described.stacks().first().context("the stack is not there")?;
    let given = stack.parameters().iter();
    let mut parameters: BTreeMap<String, String> =
        given.filter_map(|one| Some((one.parameter_key()?.to_owned(), one.parameter_value()?.to_owned()))).collect();
    // arn:<partition>:cloudformation:<region>:<account>:stack/...
    let arn: Vec<&str> = stack.stack_id().unwrap_or_default().split(':').collect();
    for (name, value) in [
        ("AWS::StackName", Some(ward.stack.as_str())),
        ("AWS::Partition", arn.get(1).copied()),
        ("AWS::Region", arn.get(3).copied()),
        ("AWS::AccountId", arn.get(4).copied()),
    ] {
        parameters.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    let mut physical = BTreeMap::new();
    let mut pages = cloudformation.list_stack_resources().stack_name(&ward.stack).into_paginator().send();
    while let Some(page) = pages.next().await {
        for resource in page.context("the stack's resources cannot be listed")?.stack_resource_summaries() {
            let Some(id) = resource.physical_resource_id() else { continue };
            physical.extend(resource.logical_resource_id().map(|logical| (logical.to_owned(), id.to_owned())));
        }
    }
    Template::new(&body, parameters, physical)
}

async fn queues(ward: &Ward, template: &Template) -> anyhow::Result<Vec<(String, Live)>> {
    let read = template.of_type(QUEUE).map(|(logical, url)| async move {
        let ask = ward.clients.sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let answer = ask.send().await.with_context(|| format!("{logical} cannot be read"))?;
        let attribute = |name: &str| answer.attributes().and_then(|all| all.get(&QueueAttributeName::from(name)));
        let mut live = Live::new();
        for name in QUEUE_SETTINGS.into_iter().chain(["QueueArn"]) {
            // A policy is JSON in a text.
            let value = attribute(name).map(|text| match serde_json::from_str::<Value>(text) {
                Ok(policy @ Value::Object(_)) => policy,
                Ok(_) | Err(_) => json!(text),
            });
            live.extend(value.map(|value| (name, value)));
        }
        anyhow::Ok((logical.to_owned(), live))
    });
    try_join_all(read).await
}

async fn mappings(ward: &Ward, template: &Template) -> anyhow::Result<Vec<(String, Live)>> {
    let read = template.of_type(MAPPING).map(|(logical, id)| async move {
        let is = ward.lambda.mapping(id).await.map_err(|why| anyhow!("{logical} cannot be read: {why}"))?;
        let types: Vec<&str> = is.function_response_types().iter().map(|one| one.as_str()).collect();
        let live = [
            ("BatchSize", json!(is.batch_size())),
            ("MaximumBatchingWindowInSeconds", json!(is.maximum_batching_window_in_seconds())),
            ("EventSourceArn", json!(is.event_source_arn())),
            ("FunctionResponseTypes", json!(types)),
            ("ParallelizationFactor", json!(is.parallelization_factor())),
            ("MaximumRetryAttempts", json!(is.maximum_retry_attempts())),
            ("MaximumRecordAgeInSeconds", json!(is.maximum_record_age_in_seconds())),
            ("BisectBatchOnFunctionError", json!(is.bisect_batch_on_function_error())),
        ];
        anyhow::Ok((logical.to_owned(), Live::from(live)))
    });
    try_join_all(read).await
}

async fn configurations(
    ward: &Ward,
    template: &Template,
) -> anyhow::Result<Vec<(String, Live, BTreeMap<String, String>)>> {
    let read = template.of_type(FUNCTION).map(|(logical, name)| async move {
        let is = ward.lambda.function(name).await.map_err(|why| anyhow!("{logical} cannot be read: {why}"))?;
        let architectures: Vec<&str> = is.architectures().iter().map(|one| one.as_str()).collect();
        let live = [
            ("MemorySize", json!(is.memory_size())),
            ("Timeout", json!(is.timeout())),
            ("Runtime", json!(is.runtime().map(|runtime| runtime.as_str()))),
            ("Handler", json!(is.handler())),
            ("Architectures", json!(architectures)),
        ];
        let environment = is.environment().and_then(|environment| environment.variables()).cloned();
        anyhow::Ok((logical.to_owned(), Live::from(live), environment.unwrap_or_default().into_iter().collect()))
    });
    try_join_all(read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        let body = json!({ "Resources": { "Queue": { "Type": QUEUE, "Properties": {
            "VisibilityTimeout": 90,
            "RedrivePolicy": { "maxReceiveCount": { "Ref": "Most" }, "deadLetterTargetArn": { "Fn::GetAtt": ["Dlq", "Arn"] } },
            "FunctionResponseTypes": ["a", "b"],
            "Handler": { "Fn::Join": ["", []] },
        } } } });
        let parameters = BTreeMap::from([("Most".to_owned(), "50".to_owned())]);
        let mut template = Template::new(&body.to_string(), parameters, BTreeMap::new()).unwrap();
        template.know_arn("Dlq", "arn:dlq");
        template
    }

    #[test]
    fn a_setting_differs_by_what_it_means_and_not_by_how_it_is_written() {
        let names = ["VisibilityTimeout", "RedrivePolicy", "FunctionResponseTypes", "Handler", "Timeout"];
        let mut live = Live::from([
            ("VisibilityTimeout", json!("90")),
            ("RedrivePolicy", json!({ "deadLetterTargetArn": "arn:dlq", "maxReceiveCount": 50 })),
            ("FunctionResponseTypes", json!(["b", "a"])),
            ("Handler", json!("cannot be told")),
            ("Timeout", json!("not in the template")),
        ]);
        let compare = |live: &Live| {
            let mut compared = Compared::default();
            compared.settings(&template(), "Queue", &names, live);
            compared
        };
        let fine = compare(&live);
        assert_eq!(fine.differences, Vec::<String>::new());
        assert_eq!((fine.same, fine.untold), (3, 1), "the handler is computed");
        live.insert("VisibilityTimeout", json!("30"));
        live.insert("RedrivePolicy", json!({ "deadLetterTargetArn": "arn:dlq", "maxReceiveCount": 3 }));
        live.remove("FunctionResponseTypes");
        let found = compare(&live).differences;
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "Queue: VisibilityTimeout is 30, not 90");
        assert!(found[2].contains("is not set, not"), "{}", found[2]);
    }

    #[test]
    fn variables_are_compared_and_their_values_not_shown() {
        let value = |text: &str| Told::Value(json!(text));
        let should = BTreeMap::from([
            ("TABLE".to_owned(), value("orders")),
            ("MAIL".to_owned(), value("ada@example.test")),
            ("URL".to_owned(), Told::Unknown),
            ("NONE".to_owned(), Told::Nothing),
        ]);
        let mut is: BTreeMap<String, String> = [("TABLE", "orders"), ("MAIL", "ada@example.test"), ("URL", "http://a")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let compare = |is: &BTreeMap<String, String>| {
            let mut compared = Compared::default();
            compared.environment("F", &should, is);
            compared
        };
        let fine = compare(&is);
        assert_eq!((fine.differences.len(), fine.same, fine.untold), (0, 3, 1), "the address is computed");
        is.insert("MAIL".to_owned(), "eve@example.test".to_owned());
        is.insert("MORE".to_owned(), "x".to_owned());
        is.remove("TABLE");
        assert_eq!(
            compare(&is).differences,
            [
                "F: MAIL is not what the template says",
                "F: TABLE is not set",
                "F: MORE is set, and the template has none",
            ]
        );
    }

    #[test]
    fn more_differences_than_anybody_reads_are_counted() {
        let fine = judge_settings(&Compared { same: 7, untold: 2, ..Compared::default() }, "1 queue");
        assert_eq!(fine[0].health, Health::Ok);
        assert!(fine[0].seen.contains("in 7 settings; 2 not compared"), "{}", fine[0].seen);
        let differences = (0..25).map(|nth| format!("difference {nth}")).collect();
        let found = judge_settings(&Compared { differences, ..Compared::default() }, "1 queue");
        assert_eq!((found.len(), found[20].seen.as_str()), (21, "and 5 more"));
        assert!(found.iter().all(|found| found.health == Health::Bad));
    }
}
