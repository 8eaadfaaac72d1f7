//! What Stripe's lists have in common: the newest first, by `created`, page by page.
//!
//! <https://docs.stripe.com/api/pagination>, <https://docs.stripe.com/api/payment_intents/list>

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::Reply;
use crate::payment::error;
use crate::payment::params::Params;

const PAGE: usize = 10;
const PAGE_MAX: usize = 100;

/// The parameters that every list takes.
pub(crate) const PARAMS: [&str; 7] =
    ["created", "created[gt]", "created[gte]", "created[lt]", "created[lte]", "limit", "starting_after"];

/// When what is listed was created, seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    from_s: i64,
    before_s: i64,
}

impl Created {
    pub(crate) fn of(params: &Params) -> Result<Self, Reply> {
        let at = |name: &str| match params.get(name) {
            None => Ok(None),
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| {
                error::invalid("parameter_invalid_integer", &format!("Invalid integer: {text}"), Some(name))
            }),
        };
        let next = |second: i64| second.saturating_add(1);
        let exact = at("created")?;
        let from = [at("created[gte]")?, at("created[gt]")?.map(next), exact];
        let before = [at("created[lt]")?, at("created[lte]")?.map(next), exact.map(next)];
        Ok(Self {
            from_s: from.into_iter().flatten().max().unwrap_or(i64::MIN),
            before_s: before.into_iter().flatten().min().unwrap_or(i64::MAX),
        })
    }

    pub(crate) fn holds(self, created_s: i64) -> bool {
        (self.from_s..self.before_s).contains(&created_s)
    }
}

/// One page of what is found, the newest first, and whether there is more behind it.
pub(crate) fn page<T>(
    params: &Params,
    object: &str,
    mut found: impl Iterator<Item = T>,
    id_of: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, bool), Reply> {
    let limit = match params.amount("limit")? {
        None => PAGE,
        Some(limit) => usize::try_from(limit).ok().filter(|limit| *limit <= PAGE_MAX).ok_or_else(|| {
            let message = format!("This value must be less than or equal to {PAGE_MAX}.");
            error::invalid("parameter_invalid_integer", &message, Some("limit"))
        })?,
    };
    if let Some(after) = params.get("starting_after") {
        let here = found.by_ref().any(|one| id_of(&one) == after);
        if !here {
            return Err(error::no_such(object, after, "starting_after"));
        }
    }
    let page = found.by_ref().take(limit).collect();
    Ok((page, found.next().is_some()))
}

/// The list as the API shows it.
pub(crate) fn shown(url: &str, page: Vec<Value>, has_more: bool) -> Reply {
    Reply::json(StatusCode::OK, &json!({ "object": "list", "url": url, "has_more": has_more, "data": page }))
}
