//! Prices and checks an order against the catalogue. Consumes `order.validate.v1`, emits `payment.authorize.v1`.

use std::collections::HashMap;

use lambda_queue::{Clock, Done, Failure, Record};
use order::{Money, Order, Outcome, Price, Reason, ReasonCode, Sku, Step};
use ports::{
    ChargeLimits, CommitOrder, Due, LoadOrder, OpenCase, Product, ReadCatalogue, SendCommands, TellLanes, due,
    parse_command, settle, skip,
};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: LoadOrder + CommitOrder + OpenCase + ReadCatalogue + SendCommands + TellLanes + Clock {}
impl<P: LoadOrder + CommitOrder + OpenCase + ReadCatalogue + SendCommands + TellLanes + Clock> Ports for P {}

/// Takes one message of a validate queue. `limits` is what the payment provider takes: a total that it would refuse is
/// refused here, before anybody is asked.
///
/// Idempotent: the outcome is one write on the row's version; a second copy finds the row ahead.
pub async fn handle(ports: &impl Ports, limits: &impl ChargeLimits, record: &Record) -> Result<Done, Failure> {
    let message = parse_command(&record.body, Step::Validate, record.context.receive_count, ports.now_ms())?;
    let order = match due(ports, &message).await? {
        Due::Now(order) => *order,
        Due::Finished(done) => return Ok(done),
    };
    if order.cancel_requested {
        return skip(ports, &order, Some(&message.id)).await;
    }
    let skus: Vec<Sku> = order.lines.iter().map(|line| line.sku.clone()).collect();
    let catalogue = ports.read_catalogue(&skus).await?;
    let least_minor = limits.least_charge_minor(order.currency);
    let outcome = price(&order, &catalogue, least_minor);
    settle(ports, order, &outcome, Some(&message.id)).await
}

/// What the catalogue makes of an order: a price for every line and their sum, or the first reason why not. `least_minor`
/// is the least that can be paid, minor units.
pub fn price(order: &Order, catalogue: &[Product], least_minor: u64) -> Outcome {
    priced(order, catalogue, least_minor).unwrap_or_else(Outcome::Invalid)
}

fn priced(order: &Order, catalogue: &[Product], least_minor: u64) -> Result<Outcome, Reason> {
    let by_sku: HashMap<&Sku, &Product> = catalogue.iter().map(|product| (&product.sku, product)).collect();
    let too_much = || Reason::new(ReasonCode::AmountOverflow, "the total is more than an order may cost");
    let mut total = Money::new(0, order.currency);
    let mut prices = Vec::with_capacity(order.lines.len());
    for line in &order.lines {
        let product = by_sku
            .get(&line.sku)
            .ok_or_else(|| Reason::new(ReasonCode::UnknownSku, format!("{} is not in the catalogue", line.sku)))?;
        if product.currency != order.currency {
            let why = format!("{} is sold in {}, not in {}", line.sku, product.currency, order.currency);
            return Err(Reason::new(ReasonCode::CurrencyDiffers, why));
        }
        let amount = Money::new(product.price_minor, product.currency).checked_mul(line.quantity);
        total = amount.and_then(|amount| total.checked_add(amount)).ok_or_else(too_much)?;
        prices.push(Price { name: product.name.clone(), unit_price_minor: product.price_minor });
    }
    if total.amount_minor == 0 {
        return Err(Reason::new(ReasonCode::AmountZero, "there is nothing to pay"));
    }
    if let Some(expected) = order.expected_total.filter(|expected| *expected != total) {
        let why = format!("the total is {total}, not the {expected} that was expected");
        return Err(Reason::new(ReasonCode::TotalDiffers, why));
    }
    if total.amount_minor < least_minor {
        let least = Money::new(least_minor, total.currency);
        let why = format!("the total is {total}, and nothing under {least} can be paid");
        return Err(Reason::new(ReasonCode::AmountTooSmall, why));
    }
    Ok(Outcome::Valid { prices, total })
}
