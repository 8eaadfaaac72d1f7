//! `GET /orders` and `GET /orders/{id}`.

use http::StatusCode;
use order::{Fingerprint, Order, OrderId};
use ports::LoadOrder;
use serde::Serialize;

use crate::Ports;
use crate::answer::Answer;
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::view::OrderView;

/// Orders on a page that asks for no number.
const DEFAULT_LIMIT: u32 = 20;
/// Most orders on a page.
const MAX_LIMIT: u32 = 100;
/// Longest cursor, characters.
const MAX_CURSOR: usize = 256;
/// Of a cursor's seal, hex digits.
const SEAL: usize = 16;

#[derive(Serialize)]
struct Page<'a> {
    orders: Vec<OrderView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the caller's own orders, the newest first: `?limit=1..100&cursor=`.
pub async fn list(ports: &impl Ports, caller: &Caller, query: Option<&str>) -> Result<Answer, Problem> {
    let Query { limit, after } = Query::read(query.unwrap_or_default(), caller)?;
    let page = ports.list_orders(&caller.tenant, &caller.customer, limit, after.as_deref()).await;
    let page = page.map_err(|error| Problem::unread(&error))?;
    let next = page.next.map(|cursor| sealed(&cursor, caller));
    Answer::json(StatusCode::OK, &Page { orders: page.orders.iter().map(OrderView::from).collect(), next })
}

/// Reads one order.
pub async fn read(ports: &impl Ports, caller: &Caller, id: Option<OrderId>) -> Result<Answer, Problem> {
    Answer::order(StatusCode::OK, &own(ports, caller, id).await?)
}

/// The order of this id, if it is the caller's: of both the tenant and the customer.
pub async fn own<P: LoadOrder>(ports: &P, caller: &Caller, id: Option<OrderId>) -> Result<Order, Problem> {
    let id = id.ok_or_else(Problem::order_not_found)?;
    let row = ports.load_order(id).await.map_err(|error| Problem::unread(&error).of(id))?;
    row.filter(|row| row.tenant == caller.tenant && row.customer == caller.customer)
        .ok_or_else(|| Problem::order_not_found().of(id))
}

struct Query {
    limit: u32,
    after: Option<String>,
}

impl Query {
    fn read(query: &str, caller: &Caller) -> Result<Self, Problem> {
        let invalid = |detail: &'static str| Problem::new(Code::InvalidQuery, detail);
        let (mut limit, mut after) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let twice = match name.as_ref() {
                "limit" => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let number = value.parse().ok().filter(|limit| digits && (1..=MAX_LIMIT).contains(limit));
                    limit.replace(number.ok_or_else(|| invalid("limit is a number from 1 to 100."))?).is_some()
                }
                "cursor" => {
                    let cursor = opened(&value, caller);
                    let foreign = || Problem::new(Code::InvalidCursor, "Begin again without a cursor.");
                    after.replace(cursor.ok_or_else(foreign)?).is_some()
                }
                _ => return Err(invalid("The parameters are limit and cursor.")),
            };
            if twice {
                return Err(invalid("A parameter is given once."));
            }
        }
        Ok(Self { limit: limit.unwrap_or(DEFAULT_LIMIT), after })
    }
}

/// The store's cursor with a seal of whose list it is, so that a cursor that never was one, or was another customer's,
/// is told from a table that does not answer. It guards nothing: the query is by owner, whatever the cursor.
fn sealed(cursor: &str, caller: &Caller) -> String {
    format!("{}.{cursor}", seal(cursor, caller))
}

fn opened(text: &str, caller: &Caller) -> Option<String> {
    let (given, cursor) = text.split_once('.').filter(|_| text.len() <= MAX_CURSOR)?;
    (given == seal(cursor, caller)).then(|| cursor.to_owned())
}

fn seal(cursor: &str, caller: &Caller) -> String {
    let (tenant, customer) = (caller.tenant.as_str(), caller.customer.as_str());
    let owned = format!("{}#{tenant}{}#{customer}{cursor}", tenant.len(), customer.len());
    Fingerprint::of(owned.as_bytes()).as_str().chars().take(SEAL).collect()
}
