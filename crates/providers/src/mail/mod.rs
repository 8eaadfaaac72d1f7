//! What customers read: one mail for each event that matters to them, as text and as HTML.
//!
//! The templates are `templates/<event>.txt` and `templates/<event>.html`, checked when the crate is compiled. HTML is
//! escaped by askama; whatever a customer or a catalogue wrote is cleaned first (see `view`), so that a name can neither
//! end a line of the text, nor turn the writing around, nor plant a link in a mail to somebody else. Subjects hold
//! nothing that anybody wrote.

mod view;

use askama::Template;
use order::{EventKind, Order};
use ports::Mail;

use view::View;

/// Declares the two templates of an event, and the function that renders them.
macro_rules! mails {
    ($($event:ident: $text:ident($txt:literal), $html:ident($page:literal);)*) => {$(
        #[derive(Template)]
        #[template(path = $txt, escape = "none")]
        struct $text<'a> {
            view: &'a View,
        }

        #[derive(Template)]
        #[template(path = $page)]
        struct $html<'a> {
            view: &'a View,
        }

        fn $event(view: &View) -> askama::Result<(String, String)> {
            Ok(($text { view }.render()?, $html { view }.render()?))
        }
    )*};
}

mails! {
    accepted: AcceptedText("accepted.txt"), AcceptedHtml("accepted.html");
    rejected: RejectedText("rejected.txt"), RejectedHtml("rejected.html");
    shipped: ShippedText("shipped.txt"), ShippedHtml("shipped.html");
    cancel_requested: CancelRequestedText("cancel_requested.txt"), CancelRequestedHtml("cancel_requested.html");
    cancel_refused: CancelRefusedText("cancel_refused.txt"), CancelRefusedHtml("cancel_refused.html");
    cancelled: CancelledText("cancelled.txt"), CancelledHtml("cancelled.html");
    refunded: RefundedText("refunded.txt"), RefundedHtml("refunded.html");
}

/// The mail about an event, told from the row as it now is; `None` for an event that is no affair of the customer's.
///
/// The row may have moved on since the event: a mail says only what stays true.
pub fn render(order: &Order, event: EventKind) -> Option<Mail> {
    type Render = fn(&View) -> askama::Result<(String, String)>;
    let (what, rendered): (&str, Render) = match event {
        EventKind::Accepted => ("We have received your order", accepted),
        EventKind::Rejected => ("We could not complete your order", rejected),
        EventKind::Shipped => ("On its way: your order", shipped),
        EventKind::CancelRequested => ("We are cancelling your order", cancel_requested),
        EventKind::CancelRefused => ("Too late to cancel your order", cancel_refused),
        EventKind::Cancelled => ("Cancelled: your order", cancelled),
        EventKind::Refunded => ("Your refund for order", refunded),
        EventKind::Validated
        | EventKind::Authorized
        | EventKind::Reserved
        | EventKind::Paid
        | EventKind::Releasing
        | EventKind::Voiding
        | EventKind::Refunding
        | EventKind::RefundRequested
        | EventKind::Parked
        | EventKind::Resumed => return None,
    };
    let view = View::new(order);
    match rendered(&view) {
        Ok((text, html)) => Some(Mail { subject: format!("{what} {}", view.short), text, html }),
        Err(error) => {
            // Writing to memory does not fail. If it ever did, an order goes on without a mail.
            tracing::error!(order_id = %order.order_id, %error, "a mail could not be rendered");
            None
        }
    }
}
