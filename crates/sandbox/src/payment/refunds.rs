//! Create, read and list refunds.

use axum::http::StatusCode;
use serde_json::Value;

use crate::app::Reply;
use crate::ledger::{Effect, Provider};
use crate::payment::error;
use crate::payment::list::{self, Created};
use crate::payment::model::{Refund, Status};
use crate::payment::params::Params;
use crate::world::{Happened, Tx, new_id};

const REASONS: &[&str] = &["duplicate", "fraudulent", "requested_by_customer"];

/// POST /v1/refunds
pub(crate) fn create(tx: &mut Tx<'_>, params: &Params) -> Result<Reply, Reply> {
    params.only(&["payment_intent", "charge", "amount", "metadata[", "reason"])?;
    params.check_expand(&[])?;
    let asked = params.amount("amount")?;
    let reason = params.one_of("reason", REASONS)?.map(str::to_owned);
    let metadata = params.metadata()?;
    let by_charge = match params.get("charge") {
        Some(id) => Some(tx.charge(id).ok_or_else(|| error::no_such("charge", id, "charge"))?),
        None => None,
    };
    let intent_id = match (params.get("payment_intent"), &by_charge) {
        (Some(id), _) => id.to_owned(),
        (None, Some(charge)) => charge.payment_intent.clone(),
        (None, None) => {
            let message = "One of the following params should be provided for this request: payment_intent or charge.";
            return Err(error::invalid_without_code(message, None));
        }
    };
    let intent = tx.intent(&intent_id).ok_or_else(|| error::no_such("payment_intent", &intent_id, "payment_intent"))?;
    let charge = intent.latest_charge.as_deref().and_then(|id| tx.charge(id)).filter(|charge| charge.captured);
    let Some(mut charge) = charge.filter(|_| intent.status == Status::Succeeded) else {
        let message = format!("This PaymentIntent ({intent_id}) does not have a successful charge to refund.");
        return Err(error::refused(None, &message, Some("payment_intent")));
    };
    // What a partial capture released counts as refunded too, so this is what is left of the capture.
    let left = charge.amount - charge.amount_refunded;
    if left == 0 {
        let message = format!("Charge {} has already been refunded.", charge.id);
        return Err(error::refused(Some("charge_already_refunded"), &message, None));
    }
    let amount = asked.unwrap_or(left);
    if amount > left {
        let message = format!(
            "Refund amount ({amount} {currency}) is greater than unrefunded amount on charge ({left} {currency})",
            currency = intent.currency
        );
        return Err(error::refused(None, &message, Some("amount")));
    }
    charge.amount_refunded += amount;
    charge.refunded = charge.amount_refunded == charge.amount;
    let refund = Refund {
        id: new_id("re_", 24),
        payment_intent: intent.id.clone(),
        charge: charge.id.clone(),
        amount,
        currency: intent.currency.clone(),
        reason,
        metadata,
        created_s: tx.now_s(),
    };
    tx.record(Happened {
        provider: Provider::Payment,
        effect: Effect::Refunded,
        order_id: intent.order_id(),
        id: refund.id.clone(),
        payment_intent: Some(intent.id.clone()),
        amount_minor: Some(amount),
        currency: Some(intent.currency),
        metadata: refund.metadata.clone(),
    });
    let shown = Reply::json(StatusCode::OK, &refund.render());
    tx.put_charge(&charge);
    tx.commit.refunds.push(refund);
    Ok(shown)
}

/// GET /v1/refunds/{id}
pub(crate) fn read(tx: &mut Tx<'_>, id: &str, params: &Params) -> Result<Reply, Reply> {
    params.only(&[])?;
    params.check_expand(&[])?;
    let refund = tx.world.refunds.iter().find(|refund| refund.id == id);
    let refund = refund.ok_or_else(|| error::not_found("refund", id, "refund"))?;
    Ok(Reply::json(StatusCode::OK, &refund.render()))
}

/// GET /v1/refunds, newest first
pub(crate) fn list(tx: &mut Tx<'_>, params: &Params) -> Result<Reply, Reply> {
    params.only(&[&["payment_intent", "charge"], &list::PARAMS[..]].concat())?;
    params.check_expand(&["payment_intent"])?;
    let created = Created::of(params)?;
    let intent = params.get("payment_intent");
    if let Some(id) = intent.filter(|id| tx.intent(id).is_none()) {
        return Err(error::no_such("payment_intent", id, "payment_intent"));
    }
    let charge = params.get("charge");
    let found = tx
        .world
        .refunds
        .iter()
        .rev()
        .filter(|refund| intent.is_none_or(|id| refund.payment_intent == id))
        .filter(|refund| charge.is_none_or(|id| refund.charge == id))
        .filter(|refund| created.holds(refund.created_s));
    let (page, has_more) = list::page(params, "refund", found, |refund| &refund.id)?;
    let rendered = page.into_iter().map(|refund| {
        let mut shown = refund.render();
        if params.expands("payment_intent")
            && let Some(intent) = tx.intent(&refund.payment_intent)
            && let Value::Object(shown) = &mut shown
        {
            shown.insert("payment_intent".to_owned(), intent.render(None));
        }
        shown
    });
    Ok(list::shown("/v1/refunds", rendered.collect(), has_more))
}
