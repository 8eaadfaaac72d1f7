//! What clients ask for, parsed into types: after this nothing is checked again.

use std::collections::HashSet;

use order::{Address, Currency, Email, Fingerprint, Lane, Line, MAX_LINES, MAX_QUANTITY, Money, PaymentMethod};
use serde_json::Value;

use crate::fields::{Field, Object};
use crate::problem::{Code, Problem};

/// Longest name, street or town, characters.
const MAX_TEXT: usize = 100;
/// Longest reason of a refund, characters.
const MAX_REASON: usize = 300;
/// Longest postal code, characters.
const MAX_POSTAL_CODE: usize = 20;

/// `POST /orders`.
#[derive(Clone, Debug)]
pub struct PlaceOrder {
    /// Left out: the token decides.
    pub lane: Option<Lane>,
    /// 1 to 50, each SKU once, no prices.
    pub lines: Vec<Line>,
    /// Left out: USD.
    pub currency: Currency,
    /// Where it goes.
    pub ship_to: Address,
    /// Where mail goes.
    pub email: Email,
    /// What pays.
    pub payment_method: PaymentMethod,
    /// What the customer believes it costs.
    pub expected_total: Option<Money>,
    /// Of the request as it was written, but for white space and the order of fields.
    pub fingerprint: Fingerprint,
}

impl PlaceOrder {
    /// Reads a body.
    pub fn read(body: &Value) -> Result<Self, Problem> {
        let known = &["lane", "lines", "currency", "ship_to", "email", "payment_method", "expected_total"];
        let root = Field::root(body).object(known)?;
        let lane = root.optional("lane").map(|lane| lane.parsed(Code::UnknownLane)).transpose()?;
        let currency = root.optional("currency").map(|field| currency(&field)).transpose()?;
        Ok(Self {
            lane,
            lines: lines(&root.required("lines")?)?,
            currency: currency.unwrap_or(Currency::USD),
            ship_to: address(root.required("ship_to")?)?,
            email: root.required("email")?.parsed(Code::InvalidEmail)?,
            payment_method: root.required("payment_method")?.parsed(Code::InvalidPaymentMethod)?,
            expected_total: root.optional("expected_total").map(money).transpose()?,
            fingerprint: fingerprint(body)?,
        })
    }
}

/// `POST /orders/{id}/refunds`.
#[derive(Clone, Debug)]
pub struct AskRefund {
    /// Left out: all that is left.
    pub amount_minor: Option<u64>,
    /// Why.
    pub reason: Option<String>,
    /// Of the request as it was written.
    pub fingerprint: Fingerprint,
}

impl AskRefund {
    /// Reads a body.
    pub fn read(body: &Value) -> Result<Self, Problem> {
        let root = Field::root(body).object(&["amount_minor", "reason"])?;
        let amount = root.optional("amount_minor");
        Ok(Self {
            // No upper bound but JSON's: too much is for the capture to say.
            amount_minor: amount.map(|field| field.integer(Code::InvalidAmount, 1, u64::MAX)).transpose()?,
            reason: root.optional("reason").map(|field| field.text(MAX_REASON)).transpose()?,
            fingerprint: fingerprint(body)?,
        })
    }
}

fn lines(field: &Field<'_>) -> Result<Vec<Line>, Problem> {
    let items = field.items()?;
    if !(1..=MAX_LINES).contains(&items.len()) {
        return Err(field.problem(Code::InvalidLineCount, format!("There have to be 1 to {MAX_LINES} lines.")));
    }
    let mut seen = HashSet::new();
    let mut lines = Vec::with_capacity(items.len());
    for item in items {
        let fields = item.object(&["sku", "quantity"])?;
        let line = line(&fields)?;
        if !seen.insert(line.sku.clone()) {
            return Err(fields.required("sku")?.problem(Code::DuplicateSku, "Another line has this SKU already."));
        }
        lines.push(line);
    }
    Ok(lines)
}

fn line(fields: &Object<'_>) -> Result<Line, Problem> {
    let quantity = fields.required("quantity")?;
    let pieces = quantity.integer(Code::InvalidQuantity, 1, u64::from(MAX_QUANTITY))?;
    Ok(Line {
        sku: fields.required("sku")?.parsed(Code::InvalidSku)?,
        quantity: u32::try_from(pieces)
            .map_err(|_| quantity.problem(Code::InvalidQuantity, "This is too many pieces."))?,
        price: None,
    })
}

fn address(field: Field<'_>) -> Result<Address, Problem> {
    let fields = field.object(&["name", "line1", "line2", "city", "postal_code", "country"])?;
    let text = |name| fields.required(name)?.text(MAX_TEXT);
    let country = fields.required("country")?;
    let code = country.string()?;
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(country.problem(Code::InvalidCountry, "This has to be two capital letters, as in ISO 3166-1."));
    }
    Ok(Address {
        name: text("name")?,
        line1: text("line1")?,
        line2: fields.optional("line2").map(|line| line.text(MAX_TEXT)).transpose()?,
        city: text("city")?,
        postal_code: fields.required("postal_code")?.text(MAX_POSTAL_CODE)?,
        country: code.to_owned(),
    })
}

fn money(field: Field<'_>) -> Result<Money, Problem> {
    let fields = field.object(&["amount_minor", "currency"])?;
    let amount_minor = fields.required("amount_minor")?.integer(Code::InvalidAmount, 0, u64::MAX)?;
    Ok(Money::new(amount_minor, currency(&fields.required("currency")?)?))
}

fn currency(field: &Field<'_>) -> Result<Currency, Problem> {
    // Not the parser's own message, which repeats what it was given.
    let code: Result<Currency, _> = field.string()?.parse();
    code.map_err(|_| field.problem(Code::UnknownCurrency, "This has to be a currency code of ISO 4217."))
}

/// SHA-256 over the canonical form (RFC 8785) of the request as parsed, before defaults: a default that depends on the
/// token must not make a repeat another request.
///
/// RFC 8785 writes numbers as doubles, so of two whole numbers over 2^53 - 1 it may make one. No body holds such a number
/// that comes this far: every number is read as a field, and [`Field::integer`] takes none over it, nor a fraction.
fn fingerprint(body: &Value) -> Result<Fingerprint, Problem> {
    let canonical = serde_json_canonicalizer::to_vec(body).map_err(|error| {
        tracing::error!(%error, "a parsed request has no canonical form");
        Problem::internal()
    })?;
    Ok(Fingerprint::of(&canonical))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The largest whole number that a double tells from all below it.
    const EXACT: u64 = (1 << 53) - 1;

    fn refund(amount: &Value) -> Result<Fingerprint, Problem> {
        AskRefund::read(&json!({ "amount_minor": amount })).map(|asked| asked.fingerprint)
    }

    fn place(expected: &Value, quantity: &Value) -> Result<Fingerprint, Problem> {
        let body = json!({
            "lines": [{ "sku": "MUG", "quantity": quantity }],
            "ship_to": { "name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "1", "country": "GB" },
            "email": "ada@example.com",
            "payment_method": "pm_card_visa",
            "expected_total": { "amount_minor": expected, "currency": "USD" },
        });
        PlaceOrder::read(&body).map(|placed| placed.fingerprint)
    }

    #[test]
    fn numbers_that_the_canonical_form_would_round_are_refused() {
        for rounded in
            [json!(EXACT + 1), json!(EXACT + 2), json!(u64::MAX), json!(u64::MAX - 1), json!(1.5), json!(1e20)]
        {
            assert!(refund(&rounded).is_err(), "{rounded}");
            assert!(place(&rounded, &json!(1)).is_err(), "{rounded}");
            assert!(place(&json!(1), &rounded).is_err(), "{rounded}");
        }
        assert!(refund(&json!(EXACT)).is_ok());
        assert!(place(&json!(EXACT), &json!(MAX_QUANTITY)).is_ok());
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![1..20_000_u64, EXACT - 4..EXACT + 4, u64::MAX - 4096..=u64::MAX]
    }

    proptest! {
        #[test]
        fn two_requests_of_different_numbers_are_never_one_request(one in number(), other in number(), quantity in 1..=3_u32) {
            prop_assume!(one != other);
            if let (Ok(one), Ok(other)) = (refund(&json!(one)), refund(&json!(other))) {
                prop_assert_ne!(one, other);
            }
            let quantity = json!(quantity);
            if let (Ok(one), Ok(other)) = (place(&json!(one), &quantity), place(&json!(other), &quantity)) {
                prop_assert_ne!(one, other);
            }
        }
    }
}
