//! A request's parameters, form-encoded as Stripe takes them.

use std::collections::BTreeMap;

use crate::app::Reply;
use crate::payment::error;

/// Metadata as Stripe bounds it: <https://docs.stripe.com/metadata>.
const METADATA_KEYS: usize = 50;
const METADATA_KEY_CHARS: usize = 40;
const METADATA_VALUE_CHARS: usize = 500;

/// Parameters by name, in order of their names. A name given twice keeps its last value, `expand[]` keeps all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    values: BTreeMap<String, String>,
    expand: Vec<String>,
}

impl Params {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(text) {
            if name.starts_with("expand[") {
                params.expand.push(value.into_owned());
            } else {
                params.values.insert(name.into_owned(), value.into_owned());
            }
        }
        params
    }

    /// One text for equal parameters in whatever order they came.
    pub(crate) fn canonical(&self) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&self.values);
        text.extend_pairs(self.expand.iter().map(|value| ("expand[]", value)));
        text.finish()
    }

    /// Refuses what the endpoint does not know. A name ending in `[` lets any member of that hash through.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Reply> {
        for name in self.values.keys() {
            let fits = |known: &&str| if known.ends_with('[') { name.starts_with(known) } else { name == known };
            if !known.iter().any(fits) {
                let message = format!("Received unknown parameter: {name}");
                return Err(error::invalid("parameter_unknown", &message, Some(name)));
            }
        }
        Ok(())
    }

    /// Whether `what` was asked to be expanded; anything but `allowed` is refused by [`Params::check_expand`].
    pub(crate) fn expands(&self, what: &str) -> bool {
        self.expand.iter().any(|asked| asked == what || asked.strip_prefix("data.") == Some(what))
    }

    pub(crate) fn check_expand(&self, allowed: &[&str]) -> Result<(), Reply> {
        match self.expand.iter().find(|asked| !allowed.contains(&asked.strip_prefix("data.").unwrap_or(asked))) {
            None => Ok(()),
            Some(asked) => {
                let message = format!("This property cannot be expanded ({asked}).");
                Err(error::invalid_without_code(&message, Some("expand")))
            }
        }
    }

    /// A value that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, Reply> {
        self.get(name)
            .ok_or_else(|| error::invalid("parameter_missing", &format!("Missing required param: {name}."), Some(name)))
    }

    /// A positive amount in minor units.
    pub(crate) fn amount(&self, name: &str) -> Result<Option<i64>, Reply> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let amount: i64 = text.parse().map_err(|_| {
            error::invalid("parameter_invalid_integer", &format!("Invalid integer: {text}"), Some(name))
        })?;
        if amount < 1 {
            let message = "This value must be greater than or equal to 1.";
            return Err(error::invalid("parameter_invalid_integer", message, Some(name)));
        }
        Ok(Some(amount))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Reply> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(error::invalid_without_code(&format!("Invalid boolean: {other}"), Some(name))),
        }
    }

    pub(crate) fn one_of<'a>(&'a self, name: &str, allowed: &[&str]) -> Result<Option<&'a str>, Reply> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if allowed.contains(&value) => Ok(Some(value)),
            Some(_) => {
                let message = format!("Invalid {name}: must be one of {}", allowed.join(", "));
                Err(error::invalid_without_code(&message, Some(name)))
            }
        }
    }

    pub(crate) fn metadata(&self) -> Result<BTreeMap<String, String>, Reply> {
        let mut metadata = BTreeMap::new();
        for (name, value) in &self.values {
            let Some(rest) = name.strip_prefix("metadata[") else { continue };
            let Some(key) = rest.strip_suffix(']').filter(|key| !key.is_empty() && !key.contains(['[', ']'])) else {
                return Err(error::invalid_without_code("Invalid hash", Some("metadata")));
            };
            if key.chars().count() > METADATA_KEY_CHARS {
                let message = format!("Metadata keys can be at most {METADATA_KEY_CHARS} characters long: {key}");
                return Err(error::invalid_without_code(&message, Some("metadata")));
            }
            if value.chars().count() > METADATA_VALUE_CHARS {
                let message = format!("Metadata values can have up to {METADATA_VALUE_CHARS} characters: {key}");
                return Err(error::invalid_without_code(&message, Some(name)));
            }
            // An empty value unsets a key: on creation it is simply not there.
            if !value.is_empty() {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        if metadata.len() > METADATA_KEYS {
            let message = format!("You can have up to {METADATA_KEYS} metadata keys.");
            return Err(error::invalid_without_code(&message, Some("metadata")));
        }
        Ok(metadata)
    }
}
