//! What groups cases of one cause: step, code, and the reason without what differs from one message to the next.
//!
//! Pure: the same three texts always make the same fingerprint, and nothing of it names an order, a customer or an address.

/// Longest fingerprint, bytes. An index key may have 2,048.
///
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const LONGEST: usize = 200;

/// The fingerprint of a case: `<step>/<code>/<reason>`, in small letters, digits and `-` but for the words that stand for
/// what was taken out: `ID`, `N`, `HEX`, `URL`, `ADDRESS`, `ARN`, `PATH`, `TEXT`.
///
/// ```
/// let one = ports::fingerprint("payment", "poison", "refund 3 of pi_3NkQ81Aa is over 1900");
/// let other = ports::fingerprint("payment", "poison", "refund 12 of pi_9ZzT0pQx is over 250");
/// assert_eq!(one, "payment/poison/refund-N-of-ID-is-over-N");
/// assert_eq!(one, other);
/// ```
pub fn fingerprint(step: &str, code: &str, reason: &str) -> String {
    let mut text = format!("{}/{}/{}", plain(step), plain(code), normalised(reason));
    if text.len() > LONGEST {
        // All of it is ASCII.
        text.truncate(LONGEST);
    }
    text.trim_end_matches(['-', '/']).to_owned()
}

/// A step's or code's own name.
fn plain(name: &str) -> String {
    let keep =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(keep).collect()
}

/// A reason without ids, numbers, hex, addresses and quoted values, as words joined by `-`.
pub fn normalised(reason: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let is_panic = reason.starts_with("panic: ");
    // What an assertion found left and right are values, however they are written.
    let told = if is_panic { reason.split(" left: ").next().unwrap_or(reason) } else { reason };
    // A status tells causes apart where it is said to be one, or begins what is said. No number of a panic is one.
    let mut status_may_come = !is_panic;
    for token in without_values(told, is_panic).split_whitespace() {
        // A file of somebody's: of a provider's address the path is a name.
        let token = if is_panic && token.trim_start_matches(['(', '\'']).starts_with('/') { "\u{2}" } else { token };
        let bare = token.trim_matches(|c: char| !c.is_alphanumeric());
        let is_amount = bare.len() == 3 && bare.bytes().all(|byte| byte.is_ascii_uppercase());
        for word in words_of(token, status_may_come) {
            // A list of one thing is as good as one of it; and `1900 USD` is an amount, whatever the currency.
            let is_again = words.last() == Some(&word);
            let is_currency = is_amount && words.last().is_some_and(|last| last == "N");
            if !is_again && !is_currency {
                words.push(word);
            }
        }
        let last = words.last().map_or("", String::as_str);
        status_may_come =
            !is_panic && (token.ends_with(':') || matches!(last, "status" | "http" | "code" | "error" | "answered"));
    }
    words.join("-")
}

/// What stands for a value until words are made of the text.
const VALUE: &str = " \u{1} ";

/// Takes the values out: what is in double quotes, to the quote that is not escaped. What is in backticks are names, and stays,
/// but for what serde says is unknown, and in a panic for all but a path of a program: the standard library puts values there,
/// and a character in single quotes.
fn without_values(reason: &str, is_panic: bool) -> String {
    let mut text = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(at) = rest.find(['"', '`', '\'']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let (quote, inside) = from.split_at(1);
        rest = match quote {
            "\"" => {
                text.push_str(VALUE);
                behind_string(inside)
            }
            "`" if text.ends_with("unknown variant ") || text.ends_with("unknown field ") => {
                text.push_str(VALUE);
                // The value may have a backtick of its own.
                let end = inside.rfind("`, expected ").or_else(|| inside.rfind("`, there are no "));
                inside.get(end.unwrap_or(inside.len())..).and_then(|behind| behind.get(1..)).unwrap_or_default()
            }
            "`" => match inside.split_once('`') {
                Some((name, behind)) if !is_panic || is_path(name) => {
                    text.extend(["`", name, "`"]);
                    behind
                }
                Some((_, behind)) => {
                    text.push_str(VALUE);
                    behind
                }
                // Whatever it is, nothing says that it is a name.
                None if is_panic => {
                    text.push_str(VALUE);
                    ""
                }
                None => inside,
            },
            _ => match behind_character(inside).filter(|_| is_panic) {
                Some(behind) => {
                    text.push_str(VALUE);
                    behind
                }
                None => {
                    text.push_str(quote);
                    inside
                }
            },
        };
    }
    text.push_str(rest);
    text
}

/// `Result::unwrap()`, `Err`: of a program, and no value.
fn is_path(name: &str) -> bool {
    name.contains("::") || matches!(name, "Ok" | "Err" | "Some" | "None")
}

/// What comes behind the quote that ends a string, as `Debug` writes one.
fn behind_string(inside: &str) -> &str {
    let mut escaped = false;
    let end = inside.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.and_then(|(at, _)| inside.get(at + 1..)).unwrap_or_default()
}

/// What comes behind a single character and its quote, if it is one.
fn behind_character(inside: &str) -> Option<&str> {
    let inside = inside.strip_prefix('\\').unwrap_or(inside);
    let mut chars = inside.chars();
    chars.next()?;
    chars.as_str().strip_prefix('\'')
}

fn words_of(token: &str, status_may_come: bool) -> Vec<String> {
    let stand_in = |word: &str| vec![word.to_owned()];
    if token == "\u{1}" {
        return stand_in("TEXT");
    }
    if token == "\u{2}" {
        return stand_in("PATH");
    }
    let bare = token.trim_matches(|c: char| !c.is_alphanumeric());
    if bare.contains("://") {
        return stand_in("URL");
    }
    if bare.starts_with("arn:") {
        return stand_in("ARN");
    }
    if bare.contains('@') {
        return stand_in("ADDRESS");
    }
    if is_uuid(bare) || is_sku(bare) {
        return stand_in("ID");
    }
    // `payment#0b8e.../authorize#0`, `key=12`, `2026-11-24T01:28:05Z`: each part by itself. An id's own `_` holds it together.
    let parts = bare.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-' || c == '.'));
    parts
        .flat_map(|part| {
            let part = part.trim_matches(|c: char| !c.is_alphanumeric());
            if is_uuid(part) { vec![part] } else { part.split(['-', '.']).collect() }
        })
        .filter(|part| !part.is_empty())
        .map(|part| word_of(part, status_may_come))
        .collect()
}

fn word_of(part: &str, status_may_come: bool) -> String {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_uuid(part) || is_providers_id(part) {
        return "ID".to_owned();
    }
    if digits == 0 {
        if is_hex && part.len() >= 12 {
            return "HEX".to_owned();
        }
        return plain(part);
    }
    if digits == part.len() {
        let is_status = status_may_come && part.len() == 3 && part.starts_with(['4', '5']);
        return if is_status { part.to_owned() } else { "N".to_owned() };
    }
    // An error code of this house: `ORD0012`.
    let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.len() + 4 == part.len() && letters.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return part.to_ascii_lowercase();
    }
    let unit = part.trim_start_matches(|c: char| c.is_ascii_digit());
    if unit.len() <= 3 && unit.bytes().all(|byte| byte.is_ascii_alphabetic()) && !(is_hex && part.len() >= 8) {
        return "N".to_owned();
    }
    if is_hex && part.len() >= 8 {
        return "HEX".to_owned();
    }
    // A word with a short number behind it is the word: `refund2`, `v1`. All else that mixes the two is an id.
    let is_counted = letters.bytes().all(|byte| byte.is_ascii_alphabetic()) && part.len() - letters.len() <= 2;
    if is_counted && !letters.is_empty() { letters.to_ascii_lowercase() } else { "ID".to_owned() }
}

/// `TEE-S-BLK`: capitals joined by `-` are somebody's number, not a word.
fn is_sku(text: &str) -> bool {
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    text.contains('-') && text.bytes().all(is_capital) && text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `req_dwyeezzonvbawv`, `pi_3NkQ81AaBbCc`: a short prefix and one long run, with a digit in it or not.
fn is_providers_id(text: &str) -> bool {
    text.split_once('_').is_some_and(|(prefix, rest)| {
        (2..=4).contains(&prefix.len()) && rest.len() >= 12 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_message_to_message_is_taken_out() {
        for (reason, expected) in [
            ("no such order", "no-such-order"),
            ("No such  order!", "no-such-order"),
            ("order 0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293 has no row any more", "order-ID-has-no-row-any-more"),
            ("12 attempts at authorize#0 came to nothing", "N-attempts-at-authorize-N-came-to-nothing"),
            ("message of version 7, row of version 3", "message-of-version-N-row-of-version-N"),
            ("pi_3NkQ81AaBbCc is gone (req_9x8Y7z)", "ID-is-gone-ID"),
            ("503 api_error (req_dwyeezzonvbawv)", "503-api_error-ID"),
            ("more_permissions_required_for_application", "more_permissions_required_for_application"),
            ("captured 1200 USD of 1900 EUR", "captured-N-of-N"),
            ("cancelled: Conflict, None, None", "cancelled-conflict-none"),
            ("sha 9f86d081884c7d65 differs", "sha-HEX-differs"),
            ("deadbeefcafebabe", "HEX"),
            ("GET https://api.stripe.test/v1/x?id=3: 503", "get-URL-503"),
            ("the provider: 503 Service Unavailable", "the-provider-503-service-unavailable"),
            ("answered 429", "answered-429"),
            ("500, and more than 65536 bytes of it", "500-and-more-than-N-bytes-of-it"),
            ("took 5021ms", "took-N"),
            ("at 2026-11-24T01:28:05.937Z", "at-N-ID-N"),
            ("mail to ada@example.test was refused", "mail-to-ADDRESS-was-refused"),
            ("not allowed on arn:aws:sqs:us-east-1:1:q", "not-allowed-on-ARN"),
            (r#"invalid type: string "Ada L", expected u64"#, "invalid-type-string-TEXT-expected-u"),
            ("missing field `order_id` at line 1 column 20", "missing-field-order_id-at-line-N-column-N"),
            ("ORD0012: sold out", "ord0012-sold-out"),
            ("no room to put TEE-S-BLK back", "no-room-to-put-ID-back"),
            ("no room to put MUG-2 back", "no-room-to-put-ID-back"),
            ("ids 1, 2, 3, 4", "ids-N"),
            ("", ""),
            ("   ", ""),
            ("\"", "TEXT"),
            (
                "unknown variant `imported_7`, expected `paid` or `shipped`",
                "unknown-variant-TEXT-expected-paid-or-shipped",
            ),
            ("panic: called `Option::unwrap()` on a `None` value", "panic-called-option-unwrap-on-a-none-value"),
            ("panic: at column: 429", "panic-at-column-N"),
            ("panic: (/tmp/a-7.gz is full)", "panic-PATH-is-full"),
            ("panic: assertion `left == right` failed: left: 426", "panic-assertion-TEXT-failed"),
            ("panic: no `Zürich`, it is inside 'ü' (bytes 1..3)", "panic-no-TEXT-it-is-inside-TEXT-bytes-N"),
        ] {
            assert_eq!(normalised(reason), expected, "{reason}");
        }
    }

    #[test]
    fn statuses_tell_causes_apart_and_amounts_do_not() {
        let of = |reason| fingerprint("payment", "bug", reason);
        assert_ne!(of("the provider refuses the request: 401"), of("the provider refuses the request: 403"));
        assert_eq!(of("a refund of 401 is over 400"), of("a refund of 502 is over 500"));
    }

    #[test]
    fn step_and_code_are_part_of_it() {
        let all = [("payment", "poison"), ("payment", "expired"), ("stock", "poison")];
        let prints: std::collections::BTreeSet<String> =
            all.iter().map(|(step, code)| fingerprint(step, code, "no such order")).collect();
        assert_eq!(prints.len(), 3);
        assert!(prints.contains("stock/poison/no-such-order"));
    }

    #[test]
    fn it_fits_an_index_key_and_is_ascii_whatever_comes() {
        for reason in ["x".repeat(10_000), "ä ö ü 日本語 ".repeat(90), "1 a ".repeat(400), "\u{0}\n\t".to_owned()]
        {
            let print = fingerprint("a step/of mine", "", &reason);
            assert!(print.len() <= LONGEST && print.is_ascii() && !print.is_empty(), "{print}");
            assert!(!print.ends_with('-') && !print.contains(char::is_whitespace), "{print}");
        }
    }

    #[test]
    fn nothing_of_a_customer_passes_through_a_quoted_value_an_address_or_an_id() {
        for reason in [
            r#"field "name" is "Ada Lovelace" of ada@example.test, card pm_card_4242"#,
            r#"panic: called `Result::unwrap()` on an `Err` value: Error("unknown variant `ada lovelace`, expected `paid`", line: 1)"#,
            r#"panic: called `Result::unwrap()` on an `Err` value: Error("invalid type: string \"ada lovelace\", expected u64")"#,
            r#"panic: parse failed: "row `status` of Ada Lovelace""#,
            "panic: no such thing as `ada lovelace",
            "order 7: unknown variant `a`Ada Lovelace`, expected `b` or `c`",
            r#"the name is "ada lovelace and never ends"#,
        ] {
            let print = normalised(reason);
            for told in ["ada", "lovelace", "example", "4242"] {
                assert!(!print.to_lowercase().contains(told), "{print}");
            }
        }
    }
}
