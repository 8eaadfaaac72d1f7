//! Mails the customer the story of an order, in order, each mail at most once. Consumes order events from
//! `notify.fifo`, emits mail.

use std::time::Duration;

use lambda_queue::envelope::{Data, Envelope, Versions, split_version};
use lambda_queue::idempotency::{Claim, Ended};
use lambda_queue::metrics::Document;
use lambda_queue::{Clock, Done, Failure, Record};
use ports::{ClaimOnce, EVENT_VERSION, Event, Gate, LoadOrder, Mail, ProviderError, SendMail, StoreError};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: LoadOrder + ClaimOnce + Clock {}
impl<P: LoadOrder + ClaimOnce + Clock> Ports for P {}

/// Who sends its mail, behind its breaker.
pub trait Sender: SendMail + Gate {}
impl<P: SendMail + Gate> Sender for P {}

/// The longest that a claim and its mail may take, milliseconds.
const CLAIM_AND_SEND_MS: u64 = 5_000;
/// The longest that a mail alone may take, milliseconds: one attempt, with its connection.
const SEND_MS: u64 = 2_500;
/// How often a claim is given back before its mail is given up.
const GIVE_BACKS: u32 = 3;
/// Between these, milliseconds, times the try.
const GIVE_BACK_PAUSE_MS: u64 = 100;

/// The code of a mail whose answer was lost: it may not have left.
pub const MAIL_UNKNOWN: &str = "mail_unknown";
/// The code of a mail that an earlier receive of the same event has claimed: it has sent it, or was cut off before.
pub const MAIL_CLAIMED: &str = "mail_claimed";

/// Renders the mail of an event; `None` for events that nobody is written about.
pub type Render = fn(&order::Order, order::EventKind) -> Option<Mail>;

/// Takes one event of the notify queue.
///
/// At most once: the claim `mail#<order>#<version>` goes before the mail and comes back only where the service surely
/// did not take it. A mail whose answer was lost is never sent again.
pub async fn handle(
    ports: &impl Ports,
    sender: &impl Sender,
    render: Render,
    record: &Record,
) -> Result<Done, Failure> {
    let event = parse(record)?;
    let Some(kind) = event.data.event else { return Ok(Done::already()) };
    let Some(order) = ports.load_order(event.data.order_id).await? else {
        return Err(Failure::Poison { reason: "no such order".to_owned() });
    };
    // Erased since: there is nobody to write to.
    let Some(email) = &order.email else { return Ok(Done::already()) };
    let Some(mail) = render(&order, kind) else { return Ok(Done::already()) };
    // A claim without its mail would silence it for good: nothing is claimed that may not be sent in time.
    let now_ms = ports.now_ms();
    if now_ms.saturating_add(CLAIM_AND_SEND_MS) > record.context.handler_deadline_ms {
        return Err(Failure::Defer { until_ms: now_ms, why: "too little time left to send".to_owned() });
    }
    sender.gate().await?;
    let Some(claim) = ports.claim_once(&format!("mail#{}#{}", order.order_id, event.data.version)).await? else {
        // By another copy that is at work or has sent it; or by one that died, and then nobody sends it.
        let code = claimed_already(record.context.receive_count);
        if code == Some(MAIL_CLAIMED) {
            tracing::warn!(order_id = %order.order_id, event = %kind, version = event.data.version, code,
                "claimed by an earlier receive, which may have been cut off before it sent the mail: not sent here");
            uncertain(MAIL_CLAIMED).emit(ports.now_ms());
        } else {
            tracing::info!(order_id = %order.order_id, event = %kind, "the mail is claimed already: not sent here");
        }
        return Ok(Done::already());
    };
    // The claim may have taken its time: what is begun now and cut off would count as sent.
    let now_ms = ports.now_ms();
    if now_ms.saturating_add(SEND_MS) > record.context.handler_deadline_ms {
        give_back(ports, &claim).await?;
        return Err(Failure::Defer { until_ms: now_ms, why: "too little time left to send".to_owned() });
    }
    match sender.send_mail(email, &mail).await {
        Ok(message_id) => {
            // The mail is out whether or not its record says so: the claim alone keeps it from going twice.
            match ports.claim_done(&claim, &message_id).await {
                Ok(Ended::Done) => {}
                Ok(Ended::LeaseLost) => {
                    tracing::error!(order_id = %order.order_id, record = claim.record, "the mail's claim was lost");
                }
                Err(error) => {
                    tracing::warn!(order_id = %order.order_id, %error, "the mail's record was not completed");
                }
            }
            tracing::info!(order_id = %order.order_id, event = %kind, mail_id = message_id, "mail sent");
            Ok(Done::now(Vec::new()))
        }
        Err(ProviderError::NotRun { retry_after, why } | ProviderError::Throttled { retry_after, why }) => {
            give_back(ports, &claim).await?;
            Err(Failure::Retry { after: retry_after, why })
        }
        Err(ProviderError::Unknown { why } | ProviderError::Failed { why }) => {
            tracing::warn!(order_id = %order.order_id, event = %kind, version = event.data.version, why, code = MAIL_UNKNOWN,
                "the mail may not have left; not sent again");
            uncertain(MAIL_UNKNOWN).emit(ports.now_ms());
            Ok(Done::now(Vec::new()))
        }
        Err(ProviderError::Refused { why } | ProviderError::WrongState { why }) => {
            // Poison either way: where the claim stays, its line says that a replay would find it.
            if let Err(error) = give_back(ports, &claim).await {
                tracing::error!(order_id = %order.order_id, %error, "a refused mail's claim stays");
            }
            Err(Failure::Poison { reason: format!("the mail was refused: {why}") })
        }
    }
}

/// What a claim that somebody has already says of its mail. Of a first receive it is another copy's, which tells its own
/// story; of a later one it may be that of a receive that was cut off, and then nobody else would tell.
fn claimed_already(receive_count: u32) -> Option<&'static str> {
    (receive_count > 1).then_some(MAIL_CLAIMED)
}

/// A mail that may never have left, as it is counted: the metric `mails_uncertain`, which an alarm watches, with the code.
fn uncertain(code: &'static str) -> Document {
    Document::new("mail uncertain")
        .dimension("function", "notify-customer")
        .metric("mails_uncertain", "Count", 1_u32)
        .property("code", code)
}

/// Gives a claim back whose mail surely did not leave; again where that fails, as a claim that stays silences its mail for
/// good. One that is somebody else's by now stays that one's.
async fn give_back(ports: &impl Ports, claim: &Claim) -> Result<(), StoreError> {
    let mut tried = 1;
    loop {
        match ports.unclaim(claim).await {
            Ok(Ended::Done) => return Ok(()),
            Ok(Ended::LeaseLost) => {
                tracing::warn!(record = claim.record, "the mail's claim is somebody else's");
                return Ok(());
            }
            Err(error) if tried >= GIVE_BACKS => {
                tracing::error!(record = claim.record, %error, "a claim without its mail stays: nobody will send this mail");
                return Err(error);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(GIVE_BACK_PAUSE_MS * u64::from(tried))).await,
        }
        tried += 1;
    }
}

/// Reads an order event. One of a newer version is a case at once: waiting, it would hold up the story behind it.
fn parse(record: &Record) -> Result<Event, Failure> {
    let poison = |reason: &str| Failure::Poison { reason: reason.to_owned() };
    let event = Envelope::<Data>::parse(&record.body)?;
    let name = match split_version(&event.kind) {
        Some((name, _)) if name.starts_with("orderflow.order.") => name.to_owned(),
        Some(_) | None => return Err(poison("not an order event")),
    };
    let versions = Versions::new().takes(name, EVENT_VERSION);
    let event = versions.bring_up(event).map_err(|error| poison(&error.to_string()))?;
    Ok(event.typed()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_an_earlier_receive_left_is_told_and_another_copys_is_not() {
        assert_eq!([1, 2, 50].map(claimed_already), [None, Some(MAIL_CLAIMED), Some(MAIL_CLAIMED)]);
    }

    #[test]
    fn a_mail_that_may_never_have_left_is_counted_where_the_alarm_looks() {
        let line: serde_json::Value = serde_json::from_str(&uncertain(MAIL_UNKNOWN).lines(7).remove(0)).unwrap();
        assert_eq!((&line["mails_uncertain"], &line["code"]), (&1.into(), &"mail_unknown".into()));
        let told = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(
            (&told["Metrics"][0]["Name"], &line["function"]),
            (&"mails_uncertain".into(), &"notify-customer".into())
        );
        assert_eq!(told["Dimensions"], serde_json::json!([["function"]]));
    }
}
