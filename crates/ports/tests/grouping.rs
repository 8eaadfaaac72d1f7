//! Whether cases of one cause come together, and of two causes stay apart: every reason that the steps give, with ids, numbers
//! and names of its own each time. The label is the template that a reason was made of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use ports::fingerprint;

/// Of each kind.
const REASONS: usize = 50;

/// Step, code, and the reason with what differs in braces.
const KINDS: [(&str, &str, &str); 46] = [
    ("validate", "poison", "envelope_json: no JSON (expected value, at line {n}, column {n})"),
    ("validate", "poison", "envelope_json: no JSON (it ends too early, at line {n}, column {n})"),
    ("validate", "poison", "envelope_oversize: {n} bytes, {n} are allowed"),
    ("validate", "poison", "envelope_twice: a key stands twice in one object (line {n}, column {n})"),
    ("validate", "poison", "envelope_object: not an object"),
    ("validate", "poison", "envelope_missing: source is missing"),
    ("validate", "poison", "envelope_missing: type is missing"),
    ("validate", "poison", "no such order"),
    ("validate", "poison", "subject and data name different orders"),
    ("payment", "poison", "no such order"),
    ("payment", "poison", "no command of payment, but of stock"),
    ("payment", "poison", "version_newer: still newer than this program after {n} receives"),
    ("payment", "bug", "the provider refuses the request: 401 invalid_api_key ({req})"),
    ("payment", "bug", "the provider refuses the request: 403 more_permissions_required ({req})"),
    ("payment", "bug", "the provider refuses the request: 400 parameter_unknown ({req})"),
    ("payment", "exhausted", "503 api_error ({req})"),
    ("payment", "exhausted", "500 api_error ({req})"),
    ("payment", "exhausted", "429 rate_limit ({req})"),
    ("payment", "exhausted", "no connection to {url}"),
    ("payment", "exhausted", "no answer in {n}ms"),
    ("payment", "expired", "503 api_error ({req})"),
    ("payment", "payment.authorize", "12 attempts at authorize#0 came to nothing"),
    ("payment", "payment.capture", "12 attempts at capture#0 came to nothing, the last: 503 api_error ({req})"),
    ("payment", "payment.refund", "12 attempts at refund#{n} came to nothing"),
    ("payment", "payment.refund", "refund {n} gave back {n} instead of {n}"),
    ("payment", "payment.capture", "captured {n} USD of {n} USD"),
    ("payment", "bug", "order {uuid} is paid at version {n}, so it cannot be that its hold was voided"),
    ("payment", "bug", "order {uuid} is voiding at version {n}, so it cannot be that it was captured"),
    ("payment", "bug", "message of version {n}, row of version {n}"),
    ("payment", "bug", "panic: index out of bounds: the len is {n} but the index is {n}"),
    ("payment", "bug", "panic: attempt to subtract with overflow"),
    ("stock", "bug", "no room to put {sku} back"),
    ("stock", "exhausted", "not run: the table did not take it: shop-stock: ThrottlingException: {text}"),
    ("stock", "exhausted", "not run: the table did not take it: ProvisionedThroughputExceededException: {text}"),
    ("stock", "exhausted", "not run: the table's answer was lost: timeout"),
    ("stock", "bug", "a stored item is unreadable: order {uuid}: missing field `lane`"),
    ("stock", "bug", "a stored item is unreadable: order {uuid}: unknown variant `teleported`"),
    ("stock", "moved", "received too often without an answer: its consumer died with it every time"),
    ("shipping", "bug", "the provider refuses the request: 401 unauthorized ({req})"),
    ("shipping", "exhausted", "502 ({req})"),
    ("shipping", "shipment.create", "12 attempts at create#0 came to nothing"),
    ("notify", "poison", "the mail was refused: MessageRejected"),
    ("notify", "poison", "the mail was refused: BadRequestException"),
    ("notify", "moved", "received too often, and its consumer gave no reason"),
    ("archive", "poison", "not a JSON object"),
    ("recover", "payment.capture", "10 nudges moved nothing"),
];

/// The same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        let pick = |_| char::from(alphabet[usize::try_from(self.below(alphabet.len() as u64)).unwrap()]);
        (0..length).map(pick).collect()
    }

    fn fill(&mut self, template: &str) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let mut text = template.to_owned();
        while let Some(at) = text.find('{') {
            let end = at + text[at..].find('}').unwrap();
            let value = match &text[at + 1..end] {
                "n" => self.below(1_000_000).to_string(),
                "uuid" => {
                    let hex = [8, 4, 4, 4, 12].map(|length| self.of(b"0123456789abcdef", length));
                    hex.join("-")
                }
                // At least one digit, as such ids have.
                "req" => format!("req_{}{}", self.of(b"0123456789", 1), self.of(LETTERS, 13)),
                "url" => format!("https://api.example.test/v1/{}?x={}", self.of(LETTERS, 9), self.below(99)),
                "sku" => {
                    let (kind, size) = (self.of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 3), self.of(b"SMLX", 1));
                    format!("{kind}-{size}-{}", self.of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 3))
                }
                "text" => format!("\"{}\"", self.of(LETTERS, 12)),
                other => panic!("no {{{other}}}"),
            };
            text.replace_range(at..=end, &value);
        }
        text
    }
}

#[test]
fn every_cause_is_one_group_and_no_two_causes_share_one() {
    let mut dice = Dice(7);
    let mut kinds_of: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (kind, (step, code, template)) in KINDS.into_iter().enumerate() {
        let groups: BTreeSet<String> = (0..REASONS).map(|_| fingerprint(step, code, &dice.fill(template))).collect();
        assert_eq!(groups.len(), 1, "{template}: {groups:?}");
        for group in groups {
            kinds_of.entry(group).or_default().insert(kind);
        }
    }
    for (group, kinds) in &kinds_of {
        assert_eq!(kinds.len(), 1, "{group}: {:?}", kinds.iter().map(|kind| KINDS[*kind].2).collect::<Vec<_>>());
    }
    assert_eq!(kinds_of.len(), KINDS.len());
}
