//! CloudWatch embedded metric format: one JSON document a line on stdout.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::io::Write;

use serde_json::{Map, Value, json};

/// The namespace of every metric.
pub const NAMESPACE: &str = "Orderflow";

/// One document: metrics under one set of dimensions, and properties that are only logged.
pub struct Document {
    fields: Map<String, Value>,
    dimensions: Vec<&'static str>,
    metrics: Vec<Value>,
}

impl Document {
    /// An empty document whose `message` is this.
    pub fn new(message: &'static str) -> Self {
        let mut fields = Map::new();
        fields.insert("level".into(), "INFO".into());
        fields.insert("message".into(), message.into());
        Self { fields, dimensions: Vec::new(), metrics: Vec::new() }
    }

    /// A dimension: few values, never an order, customer or tenant. An empty value is left out, as the service refuses it.
    pub fn dimension(mut self, name: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.fields.insert(name.into(), value.chars().take(1024).collect::<String>().into());
            self.dimensions.push(name);
        }
        self
    }

    /// A metric. Units are CloudWatch's: `Milliseconds`, `Count`.
    pub fn metric(mut self, name: &'static str, unit: &'static str, value: u64) -> Self {
        self.fields.insert(name.into(), value.into());
        self.metrics.push(json!({ "Name": name, "Unit": unit }));
        self
    }

    /// A property: logged, searchable, not a metric.
    pub fn property(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// The document, stamped with a time in UTC milliseconds.
    pub fn render(mut self, now_ms: u64) -> String {
        self.fields.insert("timestamp".into(), crate::envelope::rfc3339(now_ms).into());
        if !self.metrics.is_empty() {
            let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [self.dimensions], "Metrics": self.metrics });
            self.fields.insert("_aws".into(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": [directive] }));
        }
        Value::Object(self.fields).to_string()
    }

    /// Prints the document as one line. Where stdout is closed there is nobody to tell.
    pub fn emit(self, now_ms: u64) {
        let mut line = self.render(now_ms);
        line.push('\n');
        std::io::stdout().lock().write_all(line.as_bytes()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_declares_its_metrics_and_dimensions_and_keeps_its_properties() {
        let line = Document::new("record finished")
            .dimension("function", "validate-order")
            .dimension("lane", "")
            .metric("latency_ms", "Milliseconds", 12)
            .property("order_id", "o-1")
            .render(1_795_426_200_123);
        let document: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(document["latency_ms"], 12);
        assert_eq!(document["order_id"], "o-1");
        assert_eq!(document["_aws"]["Timestamp"], 1_795_426_200_123_u64);
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["function"]]));
        assert_eq!(directive["Metrics"], json!([{ "Name": "latency_ms", "Unit": "Milliseconds" }]));
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_document_without_metrics_is_a_log_line() {
        let document: Value = serde_json::from_str(&Document::new("request finished").render(0)).unwrap();
        assert!(document.get("_aws").is_none());
    }
}
