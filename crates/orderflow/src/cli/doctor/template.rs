//! The stack's own template, read as CloudFormation reads it: what a resource's property comes to with the stack's parameters.
//!
//! Only what our template uses for settings is understood: `Ref`, `Fn::If`, `Fn::Sub`, `Fn::GetAtt` of an `Arn`, and conditions of
//! `Fn::Equals`, `Fn::Not`, `Fn::And`, `Fn::Or`. What cannot be told is not compared, rather than guessed at.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value};

/// What something in a template comes to.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Told {
    /// This.
    Value(Value),
    /// It is left out (`AWS::NoValue`).
    Nothing,
    /// It cannot be told from here.
    Unknown,
}

/// A processed template, with what its names stand for in one stack.
#[derive(Clone)]
pub(super) struct Template {
    document: Value,
    parameters: BTreeMap<String, String>,
    /// Physical ids by logical ones.
    physical: BTreeMap<String, String>,
    /// Of resources whose ARN is known, by logical id.
    arns: BTreeMap<String, String>,
}

impl Template {
    /// `parameters`: those of the stack; the template's defaults stand behind them. Pseudo parameters (`AWS::Region`) are
    /// given as parameters.
    ///
    /// # Errors
    /// When it is no JSON, as a processed template with a transform is.
    pub(super) fn new(
        body: &str,
        parameters: BTreeMap<String, String>,
        physical: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let document = serde_json::from_str(body).context("the stack's processed template is no JSON")?;
        Ok(Self { document, parameters, physical, arns: BTreeMap::new() })
    }

    /// Tells the ARN of a resource, for `Fn::GetAtt`.
    pub(super) fn know_arn(&mut self, logical: &str, arn: &str) {
        self.arns.insert(logical.to_owned(), arn.to_owned());
    }

    /// The resources of a type that the stack has: logical id, physical id.
    pub(super) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let resources = self.document.get("Resources").and_then(Value::as_object).into_iter().flatten();
        resources
            .filter(move |(_, resource)| resource.get("Type").and_then(Value::as_str) == Some(kind))
            .filter_map(|(logical, _)| Some((logical.as_str(), self.physical.get(logical)?.as_str())))
    }

    /// Resources of a type that the stack should have by its conditions and has not.
    pub(super) fn missing<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let resources = self.document.get("Resources").and_then(Value::as_object).into_iter().flatten();
        resources
            .filter(move |(_, resource)| resource.get("Type").and_then(Value::as_str) == Some(kind))
            .filter(|(_, resource)| match resource.get("Condition").and_then(Value::as_str) {
                Some(condition) => self.condition(condition) == Some(true),
                None => true,
            })
            .filter_map(|(logical, _)| (!self.physical.contains_key(logical)).then_some(logical.as_str()))
    }

    /// A property of a resource; `Nothing` where it has none of that name.
    pub(super) fn property(&self, logical: &str, name: &str) -> Told {
        let properties = self.document.pointer(&format!("/Resources/{logical}/Properties"));
        properties.and_then(|all| all.get(name)).map_or(Told::Nothing, |value| self.resolve(value))
    }

    /// Each variable of a function's environment.
    pub(super) fn environment(&self, logical: &str) -> BTreeMap<String, Told> {
        let pointer = format!("/Resources/{logical}/Properties/Environment/Variables");
        let variables = self.document.pointer(&pointer).and_then(Value::as_object).into_iter().flatten();
        variables.map(|(name, value)| (name.clone(), self.resolve(value))).collect()
    }

    fn resolve(&self, value: &Value) -> Told {
        match value {
            Value::Object(fields) => match intrinsic(fields) {
                Some((name, of)) => self.call(name, of),
                None => self.object(fields),
            },
            Value::Array(values) => {
                let mut all = Vec::with_capacity(values.len());
                for value in values {
                    match self.resolve(value) {
                        Told::Value(value) => all.push(value),
                        Told::Nothing => {}
                        Told::Unknown => return Told::Unknown,
                    }
                }
                Told::Value(Value::Array(all))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Told::Value(value.clone()),
        }
    }

    fn object(&self, fields: &Map<String, Value>) -> Told {
        let mut all = Map::new();
        for (name, value) in fields {
            match self.resolve(value) {
                Told::Value(value) => {
                    all.insert(name.clone(), value);
                }
                Told::Nothing => {}
                Told::Unknown => return Told::Unknown,
            }
        }
        Told::Value(Value::Object(all))
    }

    fn call(&self, name: &str, of: &Value) -> Told {
        let known = match name {
            "Ref" => match of.as_str() {
                Some("AWS::NoValue") => return Told::Nothing,
                name => name.and_then(|name| self.named(name)),
            },
            "Fn::If" => {
                let branch = of.get(0).and_then(Value::as_str).and_then(|condition| self.condition(condition));
                return match branch.and_then(|yes| of.get(if yes { 1 } else { 2 })) {
                    Some(branch) => self.resolve(branch),
                    None => Told::Unknown,
                };
            }
            "Fn::Sub" => of.as_str().and_then(|text| self.substitute(text)),
            "Fn::GetAtt" => {
                let (logical, attribute) = match of {
                    Value::String(text) => text.split_once('.').unzip(),
                    Value::Array(_) => (of.get(0).and_then(Value::as_str), of.get(1).and_then(Value::as_str)),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => (None, None),
                };
                (attribute == Some("Arn")).then(|| self.arns.get(logical?).cloned()).flatten()
            }
            _ => None,
        };
        known.map_or(Told::Unknown, |text| Told::Value(Value::String(text)))
    }

    /// A parameter of the stack, its default, or a resource's physical id.
    fn named(&self, name: &str) -> Option<String> {
        // What NoEcho hides is told as stars.
        let given = self.parameters.get(name).filter(|value| !value.starts_with("****")).cloned();
        let declared = self.document.pointer(&format!("/Parameters/{name}"));
        let hidden =
            declared.and_then(|parameter| parameter.get("NoEcho")).is_some_and(|hidden| truth(hidden) == Some(true));
        let default = || declared.filter(|_| !hidden)?.get("Default").map(text);
        given.or_else(default).or_else(|| self.physical.get(name).cloned())
    }

    /// `${Name}` in it; `${!Literal}` and attributes are not ours.
    fn substitute(&self, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, behind) = after.split_once('}')?;
            out.push_str(before);
            out.push_str(&self.named(name.trim())?);
            rest = behind;
        }
        out.push_str(rest);
        Some(out)
    }

    fn condition(&self, name: &str) -> Option<bool> {
        self.holds(self.document.pointer(&format!("/Conditions/{name}"))?)
    }

    fn holds(&self, condition: &Value) -> Option<bool> {
        let (name, of) = intrinsic(condition.as_object()?)?;
        let each = || of.as_array().into_iter().flatten().map(|one| self.holds(one));
        match name {
            "Condition" => self.condition(of.as_str()?),
            "Fn::Equals" => {
                let side = |at| match self.resolve(of.get(at)?) {
                    Told::Value(value) => Some(text(&value)),
                    Told::Nothing | Told::Unknown => None,
                };
                Some(side(0)? == side(1)?)
            }
            "Fn::Not" => self.holds(of.get(0)?).map(|holds| !holds),
            "Fn::And" => each().try_fold(true, |all, one| Some(all && one?)),
            "Fn::Or" => each().try_fold(false, |any, one| Some(any || one?)),
            _ => None,
        }
    }
}

/// The one field of a call.
fn intrinsic(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, of) = fields.iter().next().filter(|_| fields.len() == 1)?;
    (name == "Ref" || name == "Condition" || name.starts_with("Fn::")).then_some((name.as_str(), of))
}

fn truth(value: &Value) -> Option<bool> {
    text(value).parse().ok()
}

/// A scalar as text, whichever way it was written.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Template {
        let body = json!({
            "Parameters": {
                "Stage": { "Default": "local" }, "Most": { "Default": 20 }, "Key": { "NoEcho": true, "Default": "x" },
            },
            "Conditions": {
                "NotLocal": { "Fn::Not": [{ "Fn::Equals": [{ "Ref": "Stage" }, "local"] }] },
                "Big": { "Fn::And": [{ "Condition": "NotLocal" }, { "Fn::Equals": [{ "Ref": "Most" }, 20] }] },
            },
            "Resources": {
                "Queue": { "Type": "Q", "Properties": {
                    "Name": { "Fn::Sub": "${AWS::StackName}-pay ${Most}" },
                    "Most": { "Fn::If": ["NotLocal", { "Ref": "Most" }, 5] },
                    "Left": { "Fn::If": ["NotLocal", 1, { "Ref": "AWS::NoValue" }] },
                    "Policy": { "target": { "Fn::GetAtt": ["Dlq", "Arn"] }, "count": { "Ref": "Most" } },
                    "Secret": { "Ref": "Key" },
                    "Joined": { "Fn::Join": ["", ["a"]] },
                } },
                "Dlq": { "Type": "Q" },
                "Only": { "Type": "Q", "Condition": "NotLocal" },
            },
        });
        let parameters = |stage: &str| {
            BTreeMap::from([
                ("AWS::StackName".to_owned(), "shop".to_owned()),
                ("Stage".to_owned(), stage.to_owned()),
                ("Key".to_owned(), "****".to_owned()),
            ])
        };
        let physical = BTreeMap::from([("Queue".to_owned(), "url".to_owned())]);
        let mut template = Template::new(&body.to_string(), parameters("local"), physical).unwrap();
        template.know_arn("Dlq", "arn:dlq");
        template
    }

    #[test]
    fn a_property_comes_to_what_cloudformation_makes_of_it() {
        let mut template = template();
        for (name, expected) in [
            ("Name", Told::Value(json!("shop-pay 20"))),
            ("Most", Told::Value(json!(5))),
            ("Left", Told::Nothing),
            ("Policy", Told::Value(json!({ "target": "arn:dlq", "count": "20" }))),
            ("Secret", Told::Unknown),
            ("Joined", Told::Unknown),
            ("None", Told::Nothing),
        ] {
            assert_eq!(template.property("Queue", name), expected, "{name}");
        }
        template.parameters.insert("Stage".to_owned(), "prod".to_owned());
        assert_eq!(template.property("Queue", "Most"), Told::Value(json!("20")), "a parameter is text");
        assert_eq!(template.property("Queue", "Left"), Told::Value(json!(1)));
    }

    #[test]
    fn what_the_conditions_ask_for_and_is_not_there_is_missing() {
        let mut template = template();
        assert_eq!(template.of_type("Q").collect::<Vec<_>>(), [("Queue", "url")]);
        assert_eq!(template.missing("Q").collect::<Vec<_>>(), ["Dlq"]);
        template.parameters.insert("Stage".to_owned(), "prod".to_owned());
        assert_eq!(template.missing("Q").collect::<Vec<_>>(), ["Dlq", "Only"]);
        assert_eq!((template.condition("Big"), template.condition("None")), (Some(true), None));
    }

    #[test]
    fn a_template_that_is_no_json_is_refused() {
        assert!(Template::new("Resources:", BTreeMap::new(), BTreeMap::new()).is_err());
    }
}
