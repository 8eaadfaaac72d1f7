//! What the templates show of an order: only clean, finished texts.

use order::{Money, Order, ReasonCode, RefundStatus};

use crate::carrier::is_link;

/// Longest name of a person or of a piece that is shown.
const NAME_CHARS: usize = 80;
const LINK_CHARS: usize = 2_000;

/// Everything a template may say.
pub(super) struct View {
    /// `Hello Ada,`
    pub(super) greeting: String,
    /// The whole id, to ask about.
    pub(super) order_id: String,
    /// Its first eight digits, for the subject.
    pub(super) short: String,
    pub(super) lines: Vec<Line>,
    pub(super) total: Option<String>,
    pub(super) shipment: Option<Parcel>,
    /// Refunds that are done, oldest first.
    pub(super) refunds: Vec<String>,
    /// Their sum, where there is more than one.
    pub(super) refunded: Option<String>,
    /// Why it did not ship.
    pub(super) reason: &'static str,
    /// What became of the money of an order that did not ship.
    pub(super) money: String,
}

pub(super) struct Line {
    pub(super) quantity: u32,
    pub(super) name: String,
    pub(super) price: Option<String>,
}

pub(super) struct Parcel {
    pub(super) carrier: String,
    pub(super) number: String,
    pub(super) link: Option<String>,
}

impl View {
    pub(super) fn new(order: &Order) -> Self {
        let order_id = order.order_id.to_string();
        let money = |amount_minor| Money::new(amount_minor, order.currency).to_string();
        let done: Vec<u64> = order
            .refunds
            .iter()
            .filter(|refund| refund.status == RefundStatus::Done)
            .map(|refund| refund.amount_minor)
            .collect();
        let sum = done.iter().copied().fold(0, u64::saturating_add);
        let name = order.ship_to.as_ref().and_then(|to| name(&to.name));
        Self {
            greeting: name.map_or_else(|| "Hello,".to_owned(), |name| format!("Hello {name},")),
            short: order_id.chars().take(8).collect(),
            order_id,
            lines: order.lines.iter().map(|line| self::line(line, order)).collect(),
            total: order.total.map(|total| total.to_string()),
            shipment: order.shipment.as_ref().map(|shipment| Parcel {
                carrier: clean(&shipment.carrier),
                number: clean(&shipment.tracking_number),
                link: link(&shipment.tracking_url),
            }),
            refunded: (done.len() > 1).then(|| money(sum)),
            refunds: done.into_iter().map(money).collect(),
            reason: reason(order),
            money: fate_of_the_money(order, sum),
        }
    }
}

fn line(line: &order::Line, order: &Order) -> Line {
    let priced = line.price.as_ref();
    let price = priced.and_then(|price| Money::new(price.unit_price_minor, order.currency).checked_mul(line.quantity));
    Line {
        quantity: line.quantity,
        name: priced.map(|price| clean(&price.name)).filter(|name| !name.is_empty()).unwrap_or(line.sku.to_string()),
        price: price.map(|price| price.to_string()),
    }
}

/// In words of our own: the reason on the row is for programs and operators.
fn reason(order: &Order) -> &'static str {
    match order.reason.as_ref().map(|reason| reason.code) {
        Some(ReasonCode::UnknownSku) => "Something in it is no longer in our range.",
        Some(ReasonCode::TotalDiffers) => {
            "The price has changed since you put it together, and we did not want to charge you another amount than the one you saw."
        }
        Some(ReasonCode::CurrencyDiffers) => "We cannot sell it in the currency you chose.",
        Some(ReasonCode::AmountOverflow) => "It is larger than what we can take in one order. Smaller orders are fine.",
        Some(ReasonCode::AmountZero) => "There was nothing to pay for in it.",
        Some(ReasonCode::AmountTooSmall) => "It is less than what we can charge a card. Larger orders are fine.",
        Some(ReasonCode::PaymentDeclined) => {
            "Your bank did not approve the payment. It may help to ask them, or to try another card."
        }
        Some(ReasonCode::AuthenticationRequired) => {
            "Your bank wanted to check with you first, which was not possible any more. Another card may work."
        }
        Some(ReasonCode::OutOfStock) => "Something in it was sold out before we could set it aside for you.",
        Some(ReasonCode::CaptureRefused) => "Your bank had let go of the payment before we could complete it.",
        Some(ReasonCode::Undeliverable) => "The carrier does not deliver to the address you gave.",
        Some(ReasonCode::CustomerCancelled) => "You asked us to cancel it.",
        None => "",
    }
}

fn fate_of_the_money(order: &Order, refunded_minor: u64) -> String {
    match (&order.capture, &order.payment) {
        (Some(capture), _) if refunded_minor >= capture.amount.amount_minor => format!(
            "The full {} has gone back to you. Depending on your bank it takes a few days until you see it.",
            capture.amount
        ),
        (Some(capture), _) => format!("Your {} is on its way back to you.", capture.amount),
        (None, Some(payment)) => format!(
            "You have not been charged. The {} that was set aside on your card has been released; depending on your bank \
             it takes a few days until you see it.",
            payment.amount
        ),
        (None, None) => "You have not been charged.".to_owned(),
    }
}

/// A person's name to greet; `None` where there is none, or where it looks like a link that somebody wants to plant in
/// another's mail.
fn name(text: &str) -> Option<String> {
    let name = clean(text);
    (!name.is_empty() && !reads_as_link(&name)).then_some(name)
}

/// What mail programs turn into links by themselves: addresses with a scheme, mail addresses, host names.
fn reads_as_link(text: &str) -> bool {
    let host = |word: &str| {
        word.split_once('.').is_some_and(|(_, rest)| {
            rest.split('.').any(|label| label.chars().take_while(|letter| letter.is_alphabetic()).count() >= 2)
        })
    };
    text.contains("://") || text.contains('@') || text.split_whitespace().any(host)
}

/// One line without what does not print or turns the writing around, at most [`NAME_CHARS`] long.
fn clean(text: &str) -> String {
    let shown = |letter: char| {
        if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') {
            Some(' ')
        } else if is_invisible(letter) {
            None
        } else {
            Some(letter)
        }
    };
    let line: String = text.chars().filter_map(shown).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(NAME_CHARS) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
    }
}

/// Marks of writing direction, zero-width characters, tags. The joiners U+200C and U+200D stay: Persian and Hindi names
/// are not spelled without them.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// A web address as it stands, or nothing.
fn link(url: &str) -> Option<String> {
    let plain = url.len() <= LINK_CHARS && url.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && is_link(url)).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_that_reads_as_it_is_written() {
        for (given, shown) in [
            ("Ada Lovelace", Some("Ada Lovelace")),
            ("  Ada\r\nBcc: all@example\t ", None),
            ("Ada\r\nSubject: x", Some("Ada Subject: x")),
            ("\u{202e}adA", Some("adA")),
            ("a\u{200b}b\u{feff}", Some("ab")),
            ("می\u{200c}خواهم", Some("می\u{200c}خواهم")),
            ("J.R.R. Tolkien", Some("J.R.R. Tolkien")),
            ("Dr. No", Some("Dr. No")),
            ("O'Neil & Söhne <x>", Some("O'Neil & Söhne <x>")),
            ("Win at prizes.example today", None),
            ("see https://prizes", None),
            ("\u{0}\u{1}", None),
            ("", None),
        ] {
            assert_eq!(name(given).as_deref(), shown, "{given:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let cut = name(&"ä".repeat(500)).unwrap();
        assert_eq!(cut.chars().count(), NAME_CHARS + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn only_a_web_address_becomes_a_link() {
        assert_eq!(link("https://carrier.example/t/1?a=b").as_deref(), Some("https://carrier.example/t/1?a=b"));
        for url in ["javascript:alert(1)", "data:text/html,x", "https://", "https://a/\n", "carrier.example", ""] {
            assert_eq!(link(url), None, "{url:?}");
        }
    }
}
