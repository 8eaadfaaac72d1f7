//! An order's way by the transition table, and what the provider has of it at each step.

use order::{
    Capture, Command, Currency, Fingerprint, Lane, Line, Money, NewOrder, Next, Order, OrderId, Outcome, Parked,
    Payment, PaymentId, Price, Reason, ReasonCode, Shipment, transition,
};
use ports::{PaymentStatus, PaymentView, RefundView};
use proptest::prelude::*;
use reconcile_payments::Seen;

pub const PRICE: u64 = 1_900;
/// When every order here is placed, UTC milliseconds; each change is a second later.
pub const PLACED_MS: u64 = 1_795_426_200_000;

pub fn usd(minor: u64) -> Money {
    Money::new(minor, Currency::USD)
}

pub fn placed(key: &str) -> Order {
    let (tenant, customer, key) = ("acme".parse().unwrap(), "ada".parse().unwrap(), key.parse().unwrap());
    let new = NewOrder {
        order_id: OrderId::derive(&tenant, &customer, &key),
        tenant,
        customer,
        lane: Lane::Express,
        fingerprint: Fingerprint::of(b"request"),
        lines: vec![Line { sku: "MUG".parse().unwrap(), quantity: 2, price: None }],
        currency: Currency::USD,
        expected_total: None,
        ship_to: order::Address {
            name: "Ada Secretname".to_owned(),
            line1: "1 Hidden Street".to_owned(),
            line2: None,
            city: "Veiledton".to_owned(),
            postal_code: "90210".to_owned(),
            country: "US".to_owned(),
        },
        email: "ada.private@example.test".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    Order::accept(new, PLACED_MS)
}

/// One thing that happens: how the step at hand goes, and what somebody wishes meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    luck: u8,
    wish: u8,
    amount: u64,
}

pub fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one =
        (any::<u8>(), any::<u8>(), 0..2 * PRICE + 10).prop_map(|(luck, wish, amount)| Move { luck, wish, amount });
    proptest::collection::vec(one, 0..40)
}

/// An order and its payment at the provider.
#[derive(Clone, Debug)]
pub struct Story {
    pub row: Order,
    pub payment: Option<Seen>,
    pub refunds: usize,
}

impl Story {
    pub fn new(key: &str) -> Self {
        Self { row: placed(key), payment: None, refunds: 0 }
    }

    pub fn payment_id(&self) -> PaymentId {
        format!("pi_{}", &self.row.order_id.to_string()[..8]).parse().unwrap()
    }

    /// A story in which all goes well, and that is played to its end.
    pub fn shipped(key: &str) -> Self {
        let mut story = Self::new(key);
        for _ in 0..5 {
            story.act(Move { luck: 255, wish: 255, amount: 0 });
        }
        assert_eq!(story.row.state, order::State::Shipped);
        story
    }

    /// A shipped order of which so much was given back on request.
    pub fn refunded(key: &str, amount: u64) -> Self {
        let mut story = Self::shipped(key);
        story.act(Move { luck: 255, wish: 1, amount });
        story.act(Move { luck: 255, wish: 255, amount: 0 });
        assert!(story.row.pending_refund().is_none() && story.row.refunds.len() == 1);
        story
    }

    fn change(&mut self, outcome: &Outcome) {
        let at_ms = PLACED_MS + 1_000 * self.row.version;
        match transition(&self.row, outcome, at_ms) {
            Ok(Next::Changed(row)) => self.row = *row,
            Ok(Next::Absorbed) => {}
            Err(bug) => panic!("{bug}"),
        }
    }

    fn at_provider(&mut self, status: PaymentStatus) {
        let total = self.row.total.unwrap();
        let (order_id, payment_id) = (self.row.order_id, self.payment_id());
        let seen = self.payment.get_or_insert_with(|| Seen {
            order_id,
            payment_id,
            view: PaymentView {
                status: PaymentStatus::Unconfirmed,
                amount: total,
                captured_minor: 0,
                refunds: Vec::new(),
            },
        });
        if status == PaymentStatus::Captured {
            seen.view.captured_minor = total.amount_minor;
        }
        seen.view.status = status;
    }

    pub fn act(&mut self, next: Move) {
        match next.wish {
            0..=12 => {
                let key = format!("refund {}", self.row.refunds.len());
                self.change(&Outcome::RefundRequested {
                    amount_minor: next.amount,
                    key_hash: Fingerprint::of(key.as_bytes()),
                    fingerprint: Fingerprint::of(b"refund"),
                    reason: Some("Words of the customer".to_owned()),
                });
                return;
            }
            13..=18 => return self.change(&Outcome::CancelRequested),
            19..=22 if self.row.next_command().is_some() => {
                let (case_id, reason) = ("c-1".parse().unwrap(), "stuck".to_owned());
                let parked = Parked { case_id, reason, at_ms: PLACED_MS, abandoned: false };
                return self.change(&Outcome::Parked(parked));
            }
            _ => {}
        }
        if self.row.parked.is_some() {
            return self.change(&Outcome::Resumed);
        }
        let Some(command) = self.row.next_command() else { return };
        let (bad, skipped) = (next.luck < 40, self.row.cancel_requested && next.luck.is_multiple_of(2));
        let reason = |code| Reason::new(code, "because");
        let total = self.row.total;
        let outcome = match command {
            Command::ValidateOrder if bad => Outcome::Invalid(reason(ReasonCode::UnknownSku)),
            Command::ValidateOrder => {
                let price = Price { name: "Mug".to_owned(), unit_price_minor: PRICE };
                Outcome::Valid { prices: vec![price], total: usd(2 * PRICE) }
            }
            Command::AuthorizePayment if skipped => Outcome::Skipped,
            Command::AuthorizePayment if bad => {
                let status = match next.luck % 3 {
                    0 => PaymentStatus::Declined { code: "generic_decline".to_owned() },
                    1 => PaymentStatus::NeedsCustomer,
                    _ => PaymentStatus::Cancelled,
                };
                self.at_provider(status);
                Outcome::Declined(reason(ReasonCode::PaymentDeclined))
            }
            Command::AuthorizePayment => {
                self.at_provider(PaymentStatus::Held);
                Outcome::Authorized(Payment { payment_id: self.payment_id(), amount: total.unwrap() })
            }
            Command::ReserveStock if self.row.cancel_requested => Outcome::Skipped,
            Command::ReserveStock if bad => Outcome::OutOfStock("MUG".parse().unwrap()),
            Command::ReserveStock => Outcome::Reserved,
            Command::CapturePayment if skipped => Outcome::Skipped,
            Command::CapturePayment if bad => {
                self.at_provider(PaymentStatus::Cancelled);
                Outcome::CaptureRefused(reason(ReasonCode::CaptureRefused))
            }
            Command::CapturePayment => {
                self.at_provider(PaymentStatus::Captured);
                Outcome::Captured(Capture { amount: total.unwrap() })
            }
            Command::CreateShipment if skipped => Outcome::Skipped,
            Command::CreateShipment if bad => Outcome::Undeliverable(reason(ReasonCode::Undeliverable)),
            Command::CreateShipment => Outcome::ShipmentCreated(Shipment {
                shipment_id: "shp_1".to_owned(),
                carrier: "Van".to_owned(),
                tracking_number: "V1".to_owned(),
                tracking_url: "https://van.example/V1".to_owned(),
            }),
            Command::ReleaseStock => Outcome::Released,
            Command::VoidPayment => {
                self.at_provider(PaymentStatus::Cancelled);
                Outcome::Voided
            }
            Command::RefundPayment => {
                let (ordinal, amount_minor) =
                    self.row.pending_refund().map(|(ordinal, refund)| (ordinal, refund.amount_minor)).unwrap();
                let made =
                    |id: String, failed| RefundView { refund_id: id, ordinal: Some(ordinal), amount_minor, failed };
                let view = &mut self.payment.as_mut().unwrap().view;
                // One that failed at once gave nothing back, and the row never heard of it.
                if bad {
                    view.refunds.push(made(format!("re_failed_{}", self.refunds), true));
                }
                let refund_id = format!("re_{}", self.refunds);
                view.refunds.push(made(refund_id.clone(), false));
                self.refunds += 1;
                Outcome::Refunded { ordinal, refund_id }
            }
        };
        self.change(&outcome);
    }

    /// Lets the steps work until nothing is owed.
    pub fn drain(&mut self) {
        for _ in 0..200 {
            if self.row.next_command().is_none() && self.row.parked.is_none() {
                return;
            }
            self.act(Move { luck: 255, wish: 255, amount: 0 });
        }
        panic!("never ends: {:?}", self.row.state);
    }
}
