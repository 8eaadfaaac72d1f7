//! What operators do with one order, through the functions' own code: `order timeline|nudge|republish|resend-mail`.

use std::io::Write as _;

use anyhow::{Context, bail, ensure};
use clap::Args;
use lambda_queue::Clock as _;
use lambda_queue::envelope::rfc3339;
use order::{EventKind, Next, Order, OrderId, Outcome, transition};
use platform::Aws;
use ports::{CaseStatus, DecideCases as _, LoadOrder as _, ProviderError, ReadCases as _, SendMail as _};
use recover_orders::Nudged;
use serde_json::json;
use triage_dead_letters::decide::{By, Resumed, resume};

use super::operator::{Asking, by};
use super::output::{out, table};
use super::target::Target;

/// An order, and the stack it is in.
#[derive(Debug, Args)]
pub(super) struct Operate {
    /// The order's id
    order_id: OrderId,
    #[command(flatten)]
    target: Target,
}

/// An order that something is done to.
#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    what: Operate,
    /// Why: written down
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    asking: Asking,
}

/// An order whose command is sent again.
#[derive(Debug, Args)]
pub(super) struct Nudge {
    #[command(flatten)]
    change: Change,
    /// Also one that was given up: its case is abandoned, and what it owed may have been settled by hand
    #[arg(long)]
    reopen: bool,
}

/// A mail that is sent once more.
#[derive(Debug, Args)]
pub(super) struct ResendMail {
    #[command(flatten)]
    what: Operate,
    /// Of which event: accepted, shipped, cancelled, ...
    #[arg(long, value_parser = event)]
    event: EventKind,
    /// Why: written down
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    asking: Asking,
}

fn event(name: &str) -> Result<EventKind, String> {
    serde_json::from_value(json!(name)).map_err(|_| format!("`{name}` is no event of an order"))
}

fn unknown(id: OrderId) -> anyhow::Error {
    anyhow::anyhow!("there is no order {id}: `orderflow order list` shows what there is")
}

async fn load(aws: &Aws, id: OrderId) -> anyhow::Result<Order> {
    aws.load_order(id).await?.ok_or_else(|| unknown(id))
}

/// Sends what an order owes; a parked one is let go, with its case, in one transaction. One that was given up only where
/// that is asked for. Shows how it stands and what would be sent, and asks.
pub(super) async fn nudge(Nudge { change, reopen }: &Nudge, json: bool) -> anyhow::Result<()> {
    let (id, aws) = (change.what.order_id, change.what.target.aws().await?);
    let seen = load(&aws, id).await?;
    if !reopen
        && let Some(parked) = &seen.parked
        && aws.load_case(&parked.case_id).await?.is_some_and(|case| case.status == CaseStatus::Abandoned)
    {
        bail!(
            "order {id} was given up, and what it owed may have been settled by hand: `orderflow case show {}`; \
             --reopen lets it go on all the same",
            parked.case_id
        );
    }
    let nudged = match question(&seen, aws.now_ms())? {
        None => Nudged::NothingOwed,
        Some(question) => {
            change.asking.confirm(&question)?;
            send_again(&aws, &seen, &by(&change.what.target, &change.reason).await?).await?
        }
    };
    if json {
        writeln!(out(), "{}", json!({ "order_id": id, "nudged": nudged }))?;
    }
    match nudged {
        Nudged::Sent if !json => writeln!(out(), "sent what order {id} owes")?,
        Nudged::NothingOwed if !json => writeln!(out(), "order {id} owes nothing: it has ended")?,
        Nudged::Sent | Nudged::NothingOwed => {}
        Nudged::Unknown => return Err(unknown(id)),
    }
    Ok(())
}

/// How an order stands, what would be sent for it, and whether to; `None` where it owes nothing, parked or not.
fn question(order: &Order, now_ms: u64) -> anyhow::Result<Option<String>> {
    let Order { order_id: id, state, version, nudges, .. } = order;
    let stands = format!("Order {id} is {state}, version {version}");
    let Some(parked) = &order.parked else {
        let owes = order.next_command().map(|command| {
            format!("{stands}, and owes {}, sent again {nudges} times so far. Send it now?", command.name())
        });
        return Ok(owes);
    };
    let since = super::case::show::ago(now_ms, parked.at_ms);
    let given_up = if parked.abandoned { " and given up" } else { "" };
    let parked = format!("{stands}, parked{given_up} for {since} with case {}: {}", parked.case_id, parked.reason);
    let Next::Changed(after) = transition(order, &Outcome::Resumed, now_ms)? else { return Ok(None) };
    Ok(Some(match after.next_command() {
        Some(command) => format!("{parked}. Let it go on, and send {}?", command.name()),
        None => format!("{parked}. Let it go, though it owes nothing?"),
    }))
}

/// Lets an order that is as it was shown go on.
async fn send_again(aws: &Aws, seen: &Order, by: &By) -> anyhow::Result<Nudged> {
    let id = seen.order_id;
    // What somebody decided meanwhile, or why it was parked since, nobody has seen yet.
    let is_same = load(aws, id).await?.version == seen.version;
    ensure!(is_same, "order {id} has moved on meanwhile: nothing is done, look again and repeat");
    Ok(match resume(aws, id, by, CaseStatus::Superseded).await? {
        Resumed::Gone(_) => Nudged::Sent,
        Resumed::Unknown => Nudged::Unknown,
        Resumed::NotParked => {
            // Written down first: what was sent without a word of it could not be told of any more.
            aws.write_audit(&by.audit(aws, "nudge", &id.to_string(), "what it owes, if anything, is sent")).await?;
            recover_orders::nudge(aws, id).await?
        }
    })
}

/// Publishes an order's story again. Says how long it is, and asks.
pub(super) async fn republish(change: &Change, json: bool) -> anyhow::Result<()> {
    let (id, aws) = (change.what.order_id, change.what.target.aws().await?);
    let order = load(&aws, id).await?;
    change.asking.confirm(&format!(
        "Order {id} is {}. Publish its events of versions 1 to {} again, under the ids that they had?",
        order.state, order.version
    ))?;
    let by = by(&change.what.target, &change.reason).await?;
    aws.write_audit(&by.audit(&aws, "republish", &id.to_string(), format!("versions 1 to {}", order.version))).await?;
    let events = publish_events::republish(&aws, &order).await?;
    if json {
        writeln!(out(), "{}", json!({ "order_id": id, "published": events }))?;
    } else {
        writeln!(out(), "published {events} events of order {id} again")?;
    }
    Ok(())
}

/// Shows when an order took which step, and how long each took.
pub(super) async fn timeline(what: &Operate, json: bool) -> anyhow::Result<()> {
    let aws = what.target.aws().await?;
    let order = load(&aws, what.order_id).await?;
    let owes = order.next_command().map(order::Command::name);
    if json {
        let shown = json!({
            "order_id": order.order_id, "state": order.state, "version": order.version, "owes": owes,
            "due_at_ms": order.due_at, "nudges": order.nudges, "cancel_requested": order.cancel_requested,
            "parked": order.parked, "reason": order.reason, "timeline": order.timeline,
        });
        writeln!(out(), "{}", serde_json::to_string_pretty(&shown)?)?;
        return Ok(());
    }
    let mut rows = table();
    rows.set_header(["version", "event", "at", "after"]);
    let mut before_ms = order.created_at;
    for entry in &order.timeline {
        let after = format!("{} ms", entry.at_ms.saturating_sub(before_ms));
        rows.add_row([entry.version.to_string(), entry.event.name().to_owned(), rfc3339(entry.at_ms), after]);
        before_ms = entry.at_ms;
    }
    writeln!(out(), "{rows}")?;
    let now_ms = aws.now_ms();
    match (&order.parked, owes, order.due_at) {
        (Some(parked), ..) => {
            let since = super::case::show::ago(now_ms, parked.at_ms);
            writeln!(
                out(),
                "parked for {since}: {}\n`orderflow case show {}` says more",
                parked.reason,
                parked.case_id
            )?;
        }
        (None, Some(command), Some(due_at)) => {
            let how = if due_at > now_ms { "recovery looks at it at" } else { "recovery should have looked at it at" };
            writeln!(out(), "owes {command}; {how} {} ({} nudges so far)", rfc3339(due_at), order.nudges)?;
        }
        (None, _, _) => writeln!(out(), "{}, and owes nothing", order.state)?,
    }
    Ok(())
}

/// Sends the mail of an event once more, told from the row as it is. The only way to send a mail twice: it has no claim.
pub(super) async fn resend_mail(mail: &ResendMail, json: bool) -> anyhow::Result<()> {
    let (id, aws) = (mail.what.order_id, mail.what.target.aws().await?);
    let order = load(&aws, id).await?;
    let happened = order.timeline.iter().any(|entry| entry.event == mail.event);
    ensure!(happened, "order {id} has no event {}: `orderflow order timeline {id}` shows them", mail.event);
    let Some(to) = &order.email else { bail!("order {id} has no address any more: it was erased") };
    let Some(rendered) = providers::mail::render(&order, mail.event) else {
        bail!("nobody is written to about {}", mail.event);
    };
    mail.asking.confirm(&format!("Send \"{}\" to the customer of order {id} once more?", rendered.subject))?;
    let by = by(&mail.what.target, &mail.reason).await?;
    // Written down first: a mail that left without a word of it could not be told of any more.
    aws.write_audit(&by.audit(&aws, "resend-mail", &id.to_string(), format!("the mail of {}", mail.event))).await?;
    let mail_id = match aws.send_mail(to, &rendered).await {
        Ok(mail_id) => mail_id,
        Err(
            error @ (ProviderError::NotRun { .. }
            | ProviderError::Throttled { .. }
            | ProviderError::Refused { .. }
            | ProviderError::WrongState { .. }),
        ) => {
            return Err(error).context("the mail did not leave");
        }
        Err(error @ (ProviderError::Unknown { .. } | ProviderError::Failed { .. })) => {
            return Err(error).context("the mail may have left: ask the customer before you send it again");
        }
    };
    if json {
        writeln!(out(), "{}", json!({ "order_id": id, "event": mail.event, "mail_id": mail_id }))?;
    } else {
        writeln!(out(), "sent ({mail_id})")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as the table has it, with this on top.
    fn order(with: serde_json::Value) -> Order {
        let mut row = json!({
            "order_id": "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293", "tenant": "acme", "customer": "ada", "lane": "bulk",
            "state": "reserved", "version": 4, "fingerprint": "0".repeat(64), "created_at": 1,
            "lines": [{ "sku": "MUG", "quantity": 1 }], "currency": "USD", "timeline": [], "due_at": 9, "nudges": 2,
        });
        let (Some(row_fields), serde_json::Value::Object(with)) = (row.as_object_mut(), with) else { panic!() };
        row_fields.extend(with);
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn who_nudges_is_shown_how_the_order_stands_and_what_would_be_sent() {
        let asked = question(&order(json!({})), 0).unwrap().unwrap();
        let id = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";
        assert_eq!(
            asked,
            format!(
                "Order {id} is reserved, version 4, and owes payment.capture, sent again 2 times so far. Send it now?"
            )
        );
        assert_eq!(question(&order(json!({ "state": "cancelled" })), 0).unwrap(), None);

        // Letting it go takes money: who does so sees what it waits for.
        let parked = json!({ "case_id": "case-1", "reason": "the provider refuses the key", "at_ms": 0 });
        let asked = question(&order(json!({ "parked": parked, "due_at": null })), 7_200_000).unwrap().unwrap();
        assert!(asked.contains("parked for 2h with case case-1: the provider refuses the key."), "{asked}");
        assert!(asked.ends_with("Let it go on, and send payment.capture?"), "{asked}");
        let given_up = json!({ "case_id": "case-1", "reason": "stuck", "at_ms": 0, "abandoned": true });
        let asked = question(&order(json!({ "parked": given_up, "due_at": null })), 0).unwrap().unwrap();
        assert!(asked.contains("parked and given up for 0s"), "{asked}");
    }
}
