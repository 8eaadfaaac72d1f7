//! Create, read, confirm, capture and cancel PaymentIntents.

use axum::http::StatusCode;
use serde_json::Value;

use crate::app::Reply;
use crate::ledger::{Effect, Provider};
use crate::payment::error;
use crate::payment::list::{self, Created};
use crate::payment::model::{
    AUTHENTICATION_REQUIRED, Behaviour, Charge, Decline, Intent, MAXIMUM_MINOR, PaymentMethod, Status, behaviour,
    minimum_minor,
};
use crate::payment::params::Params;
use crate::world::{Happened, Tx, new_id};

/// An online card authorization lasts seven days:
/// <https://docs.stripe.com/payments/place-a-hold-on-a-payment-method#auth-capture-limitations>
const HOLD_MS: i64 = 7 * 24 * 60 * 60 * 1000;

const CREATE: &[&str] = &[
    "amount",
    "automatic_payment_methods[",
    "capture_method",
    "confirm",
    "confirmation_method",
    "currency",
    "customer",
    "description",
    "error_on_requires_action",
    "metadata[",
    "off_session",
    "payment_method",
    "payment_method_options[",
    "payment_method_types[",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping[",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
    "use_stripe_sdk",
];
const CONFIRM: &[&str] = &[
    "capture_method",
    "error_on_requires_action",
    "off_session",
    "payment_method",
    "payment_method_options[",
    "payment_method_types[",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping[",
    "use_stripe_sdk",
];
const CAPTURE: &[&str] =
    &["amount_to_capture", "final_capture", "metadata[", "statement_descriptor", "statement_descriptor_suffix"];
const CAPTURE_METHODS: &[&str] = &["automatic", "automatic_async", "manual"];
const CANCEL_REASONS: &[&str] = &["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
const EXPANDABLE: &[&str] = &["latest_charge"];

fn rendered(tx: &Tx<'_>, intent: &Intent, params: &Params) -> Value {
    let charge = intent.latest_charge.as_deref().filter(|_| params.expands("latest_charge"));
    let charge = charge.and_then(|id| tx.charge(id));
    intent.render(charge.as_ref())
}

fn shown(tx: &Tx<'_>, intent: &Intent, params: &Params) -> Reply {
    Reply::json(StatusCode::OK, &rendered(tx, intent, params))
}

fn happened(effect: Effect, intent: &Intent, amount_minor: i64) -> Happened {
    Happened {
        provider: Provider::Payment,
        effect,
        order_id: intent.order_id(),
        id: intent.id.clone(),
        payment_intent: Some(intent.id.clone()),
        amount_minor: Some(amount_minor),
        currency: Some(intent.currency.clone()),
        metadata: intent.metadata.clone(),
    }
}

fn payment_method(params: &Params) -> Result<Option<PaymentMethod>, Reply> {
    let Some(token) = params.get("payment_method") else { return Ok(None) };
    if behaviour(token).is_none() {
        return Err(error::no_such("PaymentMethod", token, "payment_method"));
    }
    Ok(Some(PaymentMethod { id: new_id("pm_", 24), token: token.to_owned() }))
}

/// POST /v1/payment_intents
pub(crate) fn create(tx: &mut Tx<'_>, params: &Params) -> Result<Reply, Reply> {
    params.only(CREATE)?;
    params.check_expand(EXPANDABLE)?;
    params.require("amount")?;
    let amount = params.amount("amount")?.unwrap_or(0);
    let currency = params.require("currency")?.to_ascii_lowercase();
    let Some(minimum) = minimum_minor(&currency) else {
        return Err(error::invalid_without_code(&format!("Invalid currency: {currency}."), Some("currency")));
    };
    if amount < minimum {
        let message = format!("The amount must be at least {minimum} {currency} in its smallest unit.");
        return Err(error::invalid("amount_too_small", &message, Some("amount")));
    }
    if amount > MAXIMUM_MINOR {
        let message = format!("The amount must be no more than {MAXIMUM_MINOR} {currency} in its smallest unit.");
        return Err(error::invalid("amount_too_large", &message, Some("amount")));
    }
    let capture_method = params.one_of("capture_method", CAPTURE_METHODS)?.unwrap_or("automatic_async").to_owned();
    let confirm_now = params.flag("confirm")?;
    let attended = Attended::of(params)?;
    let metadata = params.metadata()?;
    let payment_method = payment_method(params)?;
    if confirm_now && payment_method.is_none() {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
        return Err(error::invalid_without_code(message, None));
    }
    let status = if payment_method.is_some() { Status::RequiresConfirmation } else { Status::RequiresPaymentMethod };
    let intent = Intent {
        id: new_id("pi_", 24),
        amount,
        amount_capturable: 0,
        amount_received: 0,
        currency,
        capture_method,
        status,
        payment_method,
        latest_charge: None,
        last_payment_error: None,
        description: params.get("description").map(str::to_owned),
        created_s: tx.now_s(),
        canceled_at_s: None,
        cancellation_reason: None,
        capture_before_ms: None,
        metadata,
    };
    tx.record(happened(Effect::PaymentCreated, &intent, amount));
    tx.put_intent(&intent);
    if confirm_now { Ok(authorize(tx, intent, attended, params)) } else { Ok(shown(tx, &intent, params)) }
}

/// The PaymentIntent, its hold lapsed where its time is over.
fn load(tx: &mut Tx<'_>, id: &str) -> Result<Intent, Reply> {
    let mut intent = tx.intent(id).ok_or_else(|| error::not_found("payment_intent", id, "intent"))?;
    if intent.status == Status::RequiresCapture && intent.capture_before_ms.is_some_and(|at_ms| at_ms <= tx.now_ms) {
        expire(tx, &mut intent);
    }
    Ok(intent)
}

fn expire(tx: &mut Tx<'_>, intent: &mut Intent) {
    release(tx, intent, Effect::HoldExpired, Some("automatic"));
}

/// Cancels the PaymentIntent and lets go of whatever it holds.
fn release(tx: &mut Tx<'_>, intent: &mut Intent, effect: Effect, reason: Option<&str>) {
    let held = intent.amount_capturable;
    if let Some(mut charge) = intent.latest_charge.as_deref().filter(|_| held > 0).and_then(|id| tx.charge(id)) {
        // Stripe shows a released hold as a charge refunded in full, never captured.
        charge.amount_refunded = charge.amount;
        charge.refunded = true;
        tx.put_charge(&charge);
    }
    intent.status = Status::Canceled;
    intent.amount_capturable = 0;
    intent.canceled_at_s = Some(tx.now_s());
    intent.cancellation_reason = reason.map(str::to_owned);
    tx.record(happened(effect, intent, held));
    tx.put_intent(intent);
}

/// GET /v1/payment_intents/{id}
pub(crate) fn read(tx: &mut Tx<'_>, id: &str, params: &Params) -> Result<Reply, Reply> {
    params.only(&["client_secret"])?;
    params.check_expand(EXPANDABLE)?;
    let intent = load(tx, id)?;
    Ok(shown(tx, &intent, params))
}

/// GET /v1/payment_intents, newest first
pub(crate) fn list(tx: &mut Tx<'_>, params: &Params) -> Result<Reply, Reply> {
    params.only(&list::PARAMS)?;
    params.check_expand(EXPANDABLE)?;
    let created = Created::of(params)?;
    let world = tx.world;
    // Seconds do not tell the order in which they came; the ledger does.
    let made = world.ledger.iter().rev().filter(|entry| entry.effect == Effect::PaymentCreated);
    let found = made.filter_map(|entry| world.intents.get(&entry.id)).filter(|intent| created.holds(intent.created_s));
    let (page, has_more) = list::page(params, "payment_intent", found, |intent| &intent.id)?;
    let mut shown = Vec::with_capacity(page.len());
    for intent in page {
        let intent = load(tx, &intent.id)?;
        shown.push(rendered(tx, &intent, params));
    }
    Ok(list::shown("/v1/payment_intents", shown, has_more))
}

/// Whether somebody is there to answer a 3-D Secure question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attended {
    Yes,
    No,
}

impl Attended {
    fn of(params: &Params) -> Result<Self, Reply> {
        let alone = params.flag("off_session")? || params.flag("error_on_requires_action")?;
        Ok(if alone { Self::No } else { Self::Yes })
    }
}

/// POST /v1/payment_intents/{id}/confirm
pub(crate) fn confirm(tx: &mut Tx<'_>, id: &str, params: &Params) -> Result<Reply, Reply> {
    params.only(CONFIRM)?;
    params.check_expand(EXPANDABLE)?;
    let attended = Attended::of(params)?;
    let given = payment_method(params)?;
    let capture_method = params.one_of("capture_method", CAPTURE_METHODS)?;
    let mut intent = load(tx, id)?;
    match intent.status {
        Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction => {}
        Status::Succeeded => {
            let message = "You cannot confirm this PaymentIntent because it has already succeeded after being \
                           previously confirmed.";
            return Err(error::unexpected_state(&intent, message));
        }
        Status::RequiresCapture | Status::Canceled => {
            let message = format!(
                "You cannot confirm this PaymentIntent because it has a status of {}. Only a PaymentIntent with one \
                 of the following statuses may be confirmed: requires_confirmation, requires_action.",
                intent.status.as_str()
            );
            return Err(error::unexpected_state(&intent, &message));
        }
    }
    if let Some(given) = given {
        intent.payment_method = Some(given);
    }
    if let Some(method) = capture_method {
        intent.capture_method = method.to_owned();
    }
    if intent.payment_method.is_none() {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can either \
                       update the PaymentIntent with a payment method and then confirm it again, or confirm it again \
                       directly with a payment method.";
        return Err(error::unexpected_state(&intent, message));
    }
    Ok(authorize(tx, intent, attended, params))
}

fn authorize(tx: &mut Tx<'_>, mut intent: Intent, attended: Attended, params: &Params) -> Reply {
    let token = intent.payment_method.as_ref().map(|method| method.token.as_str());
    match token.and_then(behaviour) {
        Some(Behaviour::Approves) => hold(tx, intent, params, tx.now_ms + HOLD_MS),
        // Ours lapses by the attempt to capture it, so that it looks held until then.
        Some(Behaviour::ApprovesAndExpires) => hold(tx, intent, params, tx.now_ms + HOLD_MS),
        Some(Behaviour::Asks3dSecure) if attended == Attended::No => decline(tx, intent, &AUTHENTICATION_REQUIRED),
        Some(Behaviour::Asks3dSecure) => {
            intent.status = Status::RequiresAction;
            tx.put_intent(&intent);
            shown(tx, &intent, params)
        }
        Some(Behaviour::Declines(why)) => decline(tx, intent, &why),
        None => error::unexpected_state(&intent, "You cannot confirm this PaymentIntent: it has no payment method."),
    }
}

fn new_charge(tx: &Tx<'_>, intent: &Intent) -> Charge {
    Charge {
        id: new_id("ch_", 24),
        payment_intent: intent.id.clone(),
        amount: intent.amount,
        amount_captured: 0,
        amount_refunded: 0,
        paid: true,
        captured: false,
        refunded: false,
        failure_code: None,
        created_s: tx.now_s(),
    }
}

fn hold(tx: &mut Tx<'_>, mut intent: Intent, params: &Params, capture_before_ms: i64) -> Reply {
    let charge = new_charge(tx, &intent);
    intent.status = Status::RequiresCapture;
    intent.amount_capturable = intent.amount;
    intent.capture_before_ms = Some(capture_before_ms);
    intent.latest_charge = Some(charge.id.clone());
    intent.last_payment_error = None;
    tx.record(happened(Effect::Authorized, &intent, intent.amount));
    tx.put_charge(&charge);
    if intent.capture_method != "manual" {
        let all = intent.amount;
        take(tx, &mut intent, all);
    }
    tx.put_intent(&intent);
    shown(tx, &intent, params)
}

fn decline(tx: &mut Tx<'_>, mut intent: Intent, why: &Decline) -> Reply {
    let charge = Charge { paid: false, failure_code: Some(why.code.to_owned()), ..new_charge(tx, &intent) };
    let method = intent.payment_method.take().map(|method| method.render());
    let card_error = error::card_error(why, Some(&charge.id), serde_json::json!(method));
    intent.status = Status::RequiresPaymentMethod;
    intent.latest_charge = Some(charge.id.clone());
    intent.last_payment_error = Some(card_error.clone());
    tx.record(happened(Effect::Declined, &intent, intent.amount));
    tx.put_charge(&charge);
    tx.put_intent(&intent);
    error::declined(card_error, &intent)
}

/// Takes `amount` of the hold; the rest is released.
fn take(tx: &mut Tx<'_>, intent: &mut Intent, amount: i64) {
    if let Some(mut charge) = intent.latest_charge.as_deref().and_then(|id| tx.charge(id)) {
        charge.captured = true;
        charge.amount_captured = amount;
        charge.amount_refunded = charge.amount - amount;
        tx.put_charge(&charge);
    }
    intent.status = Status::Succeeded;
    intent.amount_capturable = 0;
    intent.amount_received = amount;
    tx.record(happened(Effect::Captured, intent, amount));
    tx.put_intent(intent);
}

/// POST /v1/payment_intents/{id}/capture
pub(crate) fn capture(tx: &mut Tx<'_>, id: &str, params: &Params) -> Result<Reply, Reply> {
    params.only(CAPTURE)?;
    params.check_expand(EXPANDABLE)?;
    let asked = params.amount("amount_to_capture")?;
    let metadata = params.metadata()?;
    let mut intent = load(tx, id)?;
    let lapses = intent.payment_method.as_ref().and_then(|method| behaviour(&method.token))
        == Some(Behaviour::ApprovesAndExpires);
    if intent.status == Status::RequiresCapture && lapses {
        expire(tx, &mut intent);
    }
    match intent.status {
        Status::RequiresCapture => {}
        Status::Succeeded => {
            let message = "This PaymentIntent could not be captured because it has already been captured.";
            return Err(error::unexpected_state(&intent, message));
        }
        Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction | Status::Canceled => {
            let message = format!(
                "This PaymentIntent could not be captured because it has a status of {}. Only a PaymentIntent with \
                 one of the following statuses may be captured: requires_capture.",
                intent.status.as_str()
            );
            return Err(error::unexpected_state(&intent, &message));
        }
    }
    let amount = asked.unwrap_or(intent.amount_capturable);
    if amount > intent.amount_capturable {
        let message = "The payment could not be captured because the requested capture amount is greater than the authorized \
             amount.";
        return Err(error::refused(Some("amount_too_large"), message, Some("amount_to_capture")));
    }
    intent.metadata.extend(metadata);
    take(tx, &mut intent, amount);
    Ok(shown(tx, &intent, params))
}

/// POST /v1/payment_intents/{id}/cancel
pub(crate) fn cancel(tx: &mut Tx<'_>, id: &str, params: &Params) -> Result<Reply, Reply> {
    params.only(&["cancellation_reason"])?;
    params.check_expand(EXPANDABLE)?;
    let reason = params.one_of("cancellation_reason", CANCEL_REASONS)?;
    let mut intent = load(tx, id)?;
    if matches!(intent.status, Status::Succeeded | Status::Canceled) {
        let message = format!(
            "You cannot cancel this PaymentIntent because it has a status of {}. Only a PaymentIntent with one of the \
             following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, \
             requires_action, processing.",
            intent.status.as_str()
        );
        return Err(error::unexpected_state(&intent, &message));
    }
    release(tx, &mut intent, Effect::Voided, reason);
    Ok(shown(tx, &intent, params))
}
