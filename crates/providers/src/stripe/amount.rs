//! Amounts in Stripe's units, which are not everywhere the minor units of ISO 4217.
//!
//! Source: <https://docs.stripe.com/currencies#special-cases>

use order::{Currency, Money};
use ports::ChargeLimits;

/// What an amount of minor units is multiplied with (left) or divided by (right) to get Stripe's units.
///
/// Stripe keeps krónur and Ugandan shillings, which have no decimals, with two; and Malagasy ariary, which have two in
/// ISO 4217, with none. Taken for what they are not, a payment would be off by a hundred.
fn factor(currency: Currency) -> (u64, u64) {
    match currency.code() {
        "ISK" | "UGX" => (100, 1),
        "MGA" => (1, 100),
        _ => (1, 1),
    }
}

/// Stripe's smallest charges, by currency.
///
/// They hold where a charge is settled in its own currency. One that Stripe converts has to reach the minimum of the
/// currency it is settled in, which depends on the account and on the day's rate: only Stripe's answer tells.
///
/// Source: <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StripeLimits;

impl ChargeLimits for StripeLimits {
    fn least_charge_minor(&self, currency: Currency) -> u64 {
        match currency.code() {
            "GBP" => 30,
            "AUD" | "BRL" | "CAD" | "CHF" | "EUR" | "INR" | "JPY" | "NZD" | "SGD" | "USD" => 50,
            "BGN" => 100,
            "AED" | "MYR" | "PLN" | "RON" => 200,
            "DKK" => 250,
            "NOK" | "SEK" => 300,
            "HKD" => 400,
            "MXN" | "THB" => 1_000,
            "CZK" => 1_500,
            "HUF" => 17_500,
            _ => 0,
        }
    }
}

/// In Stripe's units; `None` for an amount that Stripe cannot express.
pub(super) fn to_stripe(money: Money) -> Option<u64> {
    let (times, by) = factor(money.currency);
    // Dinars have three decimals of which card networks carry two: the last digit has to be 0.
    let step = if money.currency.exponent() == 3 { 10 } else { 1 };
    let whole = money.amount_minor.is_multiple_of(by) && money.amount_minor.is_multiple_of(step);
    whole.then(|| (money.amount_minor / by).checked_mul(times)).flatten()
}

/// From Stripe's units and its spelling of a currency; `None` for a currency or an amount that does not exist.
pub(super) fn from_stripe(amount: u64, currency: &str) -> Option<Money> {
    let currency: Currency = currency.to_ascii_uppercase().parse().ok()?;
    let (times, by) = factor(currency);
    let minor = amount.is_multiple_of(times).then(|| (amount / times).checked_mul(by)).flatten()?;
    Some(Money::new(minor, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_go_to_stripe_and_back_in_its_own_units() {
        for (code, minor, stripe) in [
            ("USD", 1_250, Some(1_250)),
            ("JPY", 980, Some(980)),
            ("KWD", 1_230, Some(1_230)),
            ("KWD", 1_234, None),
            ("ISK", 500, Some(50_000)),
            ("UGX", 500, Some(50_000)),
            ("MGA", 50_000, Some(500)),
            ("MGA", 50_001, None),
            ("ISK", u64::MAX, None),
        ] {
            let money = Money::new(minor, code.parse().unwrap());
            assert_eq!(to_stripe(money), stripe, "{money}");
            if let Some(stripe) = stripe {
                assert_eq!(from_stripe(stripe, &code.to_ascii_lowercase()), Some(money), "{money}");
            }
        }
    }

    #[test]
    fn an_amount_that_no_currency_has_is_none() {
        for (amount, currency) in [(1, "usdollar"), (1, ""), (150, "isk"), (u64::MAX, "mga")] {
            assert_eq!(from_stripe(amount, currency), None, "{amount} {currency}");
        }
    }
}
