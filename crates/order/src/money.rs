//! Money: integer minor units with a currency. Never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest amount an order may total, in minor units: Stripe takes at most eight digits.
///
/// Source: <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>
pub const MAX_AMOUNT_MINOR: u64 = 99_999_999;

/// An ISO 4217 currency, written as its three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// US dollar, the currency of an order that names none.
    pub const USD: Self = Self(iso_currency::Currency::USD);

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits after the decimal point in print: 2 for USD, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

/// Not a currency of ISO 4217.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ISO 4217 currency code")]
pub struct UnknownCurrency(pub String);

impl FromStr for Currency {
    type Err = UnknownCurrency;
    fn from_str(code: &str) -> Result<Self, Self::Err> {
        iso_currency::Currency::from_code(code)
            .map(Self)
            .ok_or_else(|| UnknownCurrency(code.chars().take(16).collect()))
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;
    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units (cents for USD, yen for JPY) of one currency.
///
/// Reads over fields that it does not know, as every part of a stored row does; the API refuses them in types of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    /// Integer minor units.
    pub amount_minor: u64,
    /// The currency the units are of.
    pub currency: Currency,
}

impl Money {
    /// So many minor units of a currency.
    pub fn new(amount_minor: u64, currency: Currency) -> Self {
        Self { amount_minor, currency }
    }

    /// The sum, or `None` where the currencies differ or the sum is over [`MAX_AMOUNT_MINOR`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let amount_minor = self.amount_minor.checked_add(other.amount_minor)?;
        (self.currency == other.currency && amount_minor <= MAX_AMOUNT_MINOR).then_some(Self { amount_minor, ..self })
    }

    /// The amount times a quantity, or `None` over [`MAX_AMOUNT_MINOR`].
    pub fn checked_mul(self, quantity: u32) -> Option<Self> {
        let amount_minor = self.amount_minor.checked_mul(u64::from(quantity))?;
        (amount_minor <= MAX_AMOUNT_MINOR).then_some(Self { amount_minor, ..self })
    }
}

impl fmt::Display for Money {
    /// `12.50 USD`, `980 JPY`: with as many decimals as the currency has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.currency.exponent();
        let unit = 10_u64.pow(exponent);
        if exponent == 0 {
            write!(f, "{} {}", self.amount_minor, self.currency)
        } else {
            let width = exponent as usize;
            write!(f, "{}.{:0width$} {}", self.amount_minor / unit, self.amount_minor % unit, self.currency)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_prints_with_the_decimals_of_its_currency() {
        for (code, amount, printed) in
            [("USD", 1250, "12.50 USD"), ("USD", 5, "0.05 USD"), ("JPY", 980, "980 JPY"), ("KWD", 1001, "1.001 KWD")]
        {
            assert_eq!(Money::new(amount, code.parse().unwrap()).to_string(), printed);
        }
    }

    #[test]
    fn sums_and_products_stop_at_the_largest_amount() {
        let most = Money::new(MAX_AMOUNT_MINOR, Currency::USD);
        assert_eq!(most.checked_add(Money::new(1, Currency::USD)), None);
        assert_eq!(most.checked_mul(2), None);
        assert_eq!(Money::new(u64::MAX, Currency::USD).checked_mul(2), None);
        assert_eq!(most.checked_mul(1), Some(most));
    }

    #[test]
    fn currencies_do_not_mix() {
        assert_eq!(Money::new(1, Currency::USD).checked_add(Money::new(1, "EUR".parse().unwrap())), None);
    }

    #[test]
    fn a_currency_that_is_none_is_refused() {
        for code in ["usd", "", "US", "DOLLAR", "ZZZ"] {
            assert!(code.parse::<Currency>().is_err(), "{code}");
        }
    }
}
