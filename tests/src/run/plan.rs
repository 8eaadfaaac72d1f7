//! Generated orders: the same seed makes the same ones.

use anyhow::{Context, ensure};
use order::{Lane, OrderId};
use orderflow::stack::Product;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::{Kind, Mix};
use crate::api::Who;

/// Shops. The first is busier than the others.
const TENANTS: [&str; 6] = ["acme", "acme", "bazaar", "corner-shop", "delta.goods", "emporium"];
/// Customers of each shop.
const CUSTOMERS: u32 = 25;
/// The longest a customer takes to change their mind, milliseconds.
const CANCEL_WITHIN_MS: u64 = 2_500;

/// Per thousand orders of a mix.
const SHARES: [(Kind, usize); 7] = [
    (Kind::Declined, 80),
    (Kind::NeedsCustomer, 20),
    (Kind::OutOfStock, 50),
    (Kind::Undeliverable, 50),
    (Kind::Cancelled, 50),
    (Kind::ExpiredHold, 15),
    (Kind::UnknownSku, 10),
];
/// Happy orders of which something is asked back, per thousand orders.
const REFUNDED: usize = 50;
/// Orders whose request is repeated, per thousand.
const REPEATED: usize = 40;
/// Orders whose key is used again for something else, per thousand.
const MISUSED: usize = 15;

/// An order to be placed, and what is done with it.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedOrder {
    /// Who places it.
    pub who: Who,
    /// Under this key.
    pub key: String,
    /// Its id, which follows.
    pub order_id: OrderId,
    /// The request.
    pub body: Value,
    /// What is to become of it.
    pub kind: Kind,
    /// Cancelled so long after it was accepted.
    pub cancel_after_ms: Option<u64>,
    /// Amounts asked back once it shipped, one after the other; `None` is all that is left.
    pub refunds: Vec<Option<u64>>,
    /// The request is sent again so long after it was accepted.
    pub repeat_after_ms: Option<u64>,
    /// The key is used again for something else so long after.
    pub misuse_after_ms: Option<u64>,
}

impl PlannedOrder {
    /// Whether nothing but shipping happens to it, and nobody asks twice.
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Happy
            && self.refunds.is_empty()
            && self.repeat_after_ms.is_none()
            && self.misuse_after_ms.is_none()
    }

    /// The request under the same key that is another one.
    pub fn misuse(&self) -> Value {
        let mut body = self.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("email".to_owned(), "somebody.else@example.test".into());
        }
        body
    }
}

/// Orders, in the order they are placed.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The orders.
    pub orders: Vec<PlannedOrder>,
}

impl Plan {
    /// Makes `count` orders of a mix, over all lanes or one.
    ///
    /// # Errors
    /// When the catalogue has nothing to sell.
    pub fn generate(
        seed: u64,
        count: usize,
        mix: Mix,
        lane: Option<Lane>,
        catalogue: &[Product],
    ) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let on_sale: Vec<&Product> = catalogue.iter().filter(|product| product.available > 0).collect();
        let sold_out = catalogue.iter().find(|product| product.available == 0);
        ensure!(!on_sale.is_empty(), "the catalogue has nothing in stock");
        let sold_out = sold_out.context("the catalogue has nothing that is sold out")?.sku.as_str();

        let mut kinds = match mix {
            Mix::Mixed => mixed(count),
            Mix::Happy => vec![Kind::Happy; count],
        };
        kinds.shuffle(&mut rng);
        let mut orders = Vec::with_capacity(count);
        for (at, kind) in kinds.into_iter().enumerate() {
            orders.push(one(&mut rng, seed, at, kind, lane, &on_sale, sold_out)?);
        }
        match mix {
            Mix::Mixed => add_afterthoughts(&mut rng, &mut orders),
            Mix::Happy => {}
        }
        Ok(Self { orders })
    }
}

/// So many per thousand of `count`, to the nearest.
fn share(count: usize, per_thousand: usize) -> usize {
    (count * per_thousand + 500) / 1000
}

fn mixed(count: usize) -> Vec<Kind> {
    let mut kinds: Vec<Kind> =
        SHARES.iter().flat_map(|(kind, share_of)| vec![*kind; share(count, *share_of)]).take(count).collect();
    kinds.resize(count, Kind::Happy);
    kinds
}

fn one(
    rng: &mut StdRng,
    seed: u64,
    at: usize,
    kind: Kind,
    lane: Option<Lane>,
    on_sale: &[&Product],
    sold_out: &str,
) -> anyhow::Result<PlannedOrder> {
    let tenant = TENANTS.choose(rng).copied().unwrap_or("acme");
    let customer = format!("customer-{:02}", rng.random_range(0..CUSTOMERS));
    let who = Who::new(tenant, customer.as_str());
    // Most are everyday orders.
    let drawn = [Lane::Express, Lane::Standard, Lane::Standard, Lane::Bulk].choose(rng).copied().unwrap_or_default();
    let lane = lane.unwrap_or(drawn);
    let pieces = rng.random_range(1..=3);
    let mut lines: Vec<Value> = on_sale
        .sample(rng, pieces)
        .map(|product| product.sku.clone())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|sku| json!({ "sku": sku, "quantity": rng.random_range(1..=4) }))
        .collect();
    match kind {
        Kind::OutOfStock => lines.push(json!({ "sku": sold_out, "quantity": 1 })),
        Kind::UnknownSku => lines.push(json!({ "sku": "NEVER-MADE", "quantity": 1 })),
        Kind::Happy
        | Kind::Declined
        | Kind::NeedsCustomer
        | Kind::Undeliverable
        | Kind::ExpiredHold
        | Kind::Cancelled => {}
    }
    let key = format!("run-{seed}-{at}");
    let body = json!({
        "lane": lane.name(),
        "lines": lines,
        "ship_to": {
            "name": format!("Customer {at}"),
            "line1": format!("{} Long Road", rng.random_range(1..300)),
            "city": "Springfield",
            "postal_code": if kind == Kind::Undeliverable { "00000" } else { "12345" },
            "country": "US",
        },
        "email": format!("{customer}@{tenant}.example.test"),
        "payment_method": kind.payment_method(),
    });
    let cancel_after_ms = (kind == Kind::Cancelled).then(|| rng.random_range(0..CANCEL_WITHIN_MS));
    let order_id = who.order_id(&key)?;
    Ok(PlannedOrder {
        who,
        key,
        order_id,
        body,
        kind,
        cancel_after_ms,
        refunds: Vec::new(),
        repeat_after_ms: None,
        misuse_after_ms: None,
    })
}

/// Refunds, repeats and misused keys.
fn add_afterthoughts(rng: &mut StdRng, orders: &mut [PlannedOrder]) {
    let count = orders.len();
    let mut happy: Vec<usize> = Vec::new();
    for (at, order) in orders.iter().enumerate() {
        if order.kind == Kind::Happy {
            happy.push(at);
        }
    }
    happy.shuffle(rng);
    for at in happy.into_iter().take(share(count, REFUNDED)) {
        // The cheapest thing on sale costs more than all the amounts here together.
        let refunds = match rng.random_range(0..3_u32) {
            0 => vec![None],
            1 => vec![Some(rng.random_range(50..200))],
            _ => vec![Some(rng.random_range(50..100)), Some(rng.random_range(50..100)), None],
        };
        if let Some(order) = orders.get_mut(at) {
            order.refunds = refunds;
        }
    }
    let mut all: Vec<usize> = (0..count).collect();
    all.shuffle(rng);
    let (repeated, misused) = (share(count, REPEATED), share(count, MISUSED));
    for (nth, at) in all.into_iter().take(repeated + misused).enumerate() {
        let after_ms = rng.random_range(0..3_000);
        if let Some(order) = orders.get_mut(at) {
            if nth < repeated {
                order.repeat_after_ms = Some(after_ms);
            } else {
                order.misuse_after_ms = Some(after_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn catalogue() -> Vec<Product> {
        ["A", "B", "C", "D", "GONE"]
            .into_iter()
            .map(|sku| Product {
                sku: sku.to_owned(),
                name: sku.to_owned(),
                price_minor: 1_000,
                currency: "USD".to_owned(),
                available: if sku == "GONE" { 0 } else { 1_000 },
            })
            .collect()
    }

    fn plan(seed: u64) -> Plan {
        Plan::generate(seed, 1_000, Mix::Mixed, None, &catalogue()).unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_orders() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn a_mix_has_its_shares_over_all_lanes_and_many_tenants() {
        let plan = plan(1);
        let of = |kind| plan.orders.iter().filter(|order| order.kind == kind).count();
        assert_eq!(of(Kind::Declined) + of(Kind::NeedsCustomer), 100);
        assert_eq!((of(Kind::OutOfStock), of(Kind::Undeliverable), of(Kind::Cancelled)), (50, 50, 50));
        assert_eq!(of(Kind::Happy), 725);
        let tenants: BTreeSet<_> = plan.orders.iter().map(|order| order.who.tenant.as_str()).collect();
        assert!(tenants.len() >= 4);
        for lane in Lane::ALL {
            assert!(plan.orders.iter().any(|order| order.body["lane"] == lane.name()), "{lane}");
        }
        let count = |is: fn(&PlannedOrder) -> bool| plan.orders.iter().filter(|order| is(order)).count();
        assert_eq!(count(|order| order.repeat_after_ms.is_some()), REPEATED);
        assert_eq!(count(|order| order.misuse_after_ms.is_some()), MISUSED);
        assert_eq!(count(|order| !order.refunds.is_empty()), REFUNDED);
        assert_eq!(count(|order| order.cancel_after_ms.is_some()), 50);
    }

    #[test]
    fn no_order_names_a_sku_twice_and_no_two_are_one() {
        let plan = plan(3);
        for order in &plan.orders {
            let lines = order.body["lines"].as_array().unwrap();
            let skus: BTreeSet<_> = lines.iter().map(|line| line["sku"].as_str().unwrap()).collect();
            assert_eq!(skus.len(), lines.len());
        }
        let ids: BTreeSet<_> = plan.orders.iter().map(|order| order.order_id).collect();
        assert_eq!(ids.len(), plan.orders.len());
    }

    #[test]
    fn a_happy_mix_on_one_lane_is_just_that() {
        let plan = Plan::generate(1, 50, Mix::Happy, Some(Lane::Standard), &catalogue()).unwrap();
        assert!(plan.orders.iter().all(|order| order.is_plain() && order.body["lane"] == "standard"));
    }

    #[test]
    fn another_request_under_the_same_key_is_another() {
        let order = &plan(1).orders[0];
        assert_ne!(order.misuse(), order.body);
    }
}
