//! Numbers as DynamoDB keeps them: decimals of 38 digits, from 1E-130 to 9.99E+125, exact.

use std::str::FromStr as _;

use bigdecimal::BigDecimal;

use super::Invalid;

/// The most significant digits.
const DIGITS: u64 = 38;
/// The greatest exponent of the first digit.
const GREATEST: i64 = 125;
/// The least.
const LEAST: i64 = -130;
/// The longest text that is looked at.
const LONGEST: usize = 512;

/// Reads a number.
pub(super) fn parse(text: &str) -> Result<BigDecimal, Invalid> {
    let odd = || Invalid(format!("The parameter cannot be converted to a numeric value: {text}"));
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if text.is_empty() || text.len() > LONGEST || !plain {
        return Err(odd());
    }
    check(BigDecimal::from_str(text).map_err(|_| odd())?)
}

/// A number that DynamoDB can keep, without zeros at its end.
pub(super) fn check(number: BigDecimal) -> Result<BigDecimal, Invalid> {
    let number = number.normalized();
    if number.sign() == bigdecimal::num_bigint::Sign::NoSign {
        return Ok(BigDecimal::from(0));
    }
    let digits = number.digits();
    let (_, scale) = number.as_bigint_and_exponent();
    let exponent = i64::try_from(digits).unwrap_or(i64::MAX).saturating_sub(scale).saturating_sub(1);
    if exponent > GREATEST {
        let why = "Number overflow. Attempting to store a number with magnitude larger than supported range";
        return Err(Invalid(why.to_owned()));
    }
    if exponent < LEAST {
        let why = "Number underflow. Attempting to store a number with magnitude smaller than supported range";
        return Err(Invalid(why.to_owned()));
    }
    if digits > DIGITS {
        return Err(Invalid("Attempting to store more than 38 significant digits in a Number".to_owned()));
    }
    Ok(number)
}

/// The text that DynamoDB gives back: no exponent, no zeros that say nothing.
pub(super) fn show(number: &BigDecimal) -> String {
    number.normalized().to_plain_string()
}

/// Bytes that it takes of an item: one for two digits, and one.
pub(super) fn size(text: &str) -> usize {
    match parse(text) {
        Ok(number) => usize::try_from(number.digits().div_ceil(2)).unwrap_or(usize::MAX).saturating_add(1),
        Err(_) => text.len(),
    }
}
