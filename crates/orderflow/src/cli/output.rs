//! What the commands print: tables on the terminal, or JSON. Tables read the API's JSON leniently: a field that is missing is an empty cell.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Where results go. A write that fails is the command's failure, and one into a pipe that nobody reads any more (`| head`)
/// ends it quietly: see [`crate::reader_left`]. So `println!`, which panics there, is not used.
pub(super) fn out() -> impl Write {
    io::stdout()
}

pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// One order, its lines and its timeline.
pub(super) fn order(order: &Value) -> io::Result<()> {
    let mut head = table();
    head.add_row(["order", &text(order, "/order_id")]);
    head.add_row(["status", &status(order)]);
    head.add_row(["lane", &text(order, "/lane")]);
    head.add_row(["version", &text(order, "/version")]);
    head.add_row(["created", &text(order, "/created_at")]);
    for (name, value) in [
        ("total", money(order.get("total"))),
        ("reason", join(order, &["/reason/code", "/reason/message"])),
        ("parked", join(order, &["/parked/case_id", "/parked/reason"])),
        ("tracking", join(order, &["/shipment/carrier", "/shipment/tracking_number", "/shipment/tracking_url"])),
    ] {
        if !value.is_empty() {
            head.add_row([name, &value]);
        }
    }
    for refund in list(order, "refunds") {
        let what = format!("{} {}", text(refund, "/amount_minor"), text(refund, "/status"));
        head.add_row([format!("refund {}", text(refund, "/ordinal")), what]);
    }
    writeln!(out(), "{head}")?;

    let mut lines = table();
    lines.set_header(["sku", "name", "quantity", "unit price"]);
    for line in list(order, "lines") {
        lines.add_row(["/sku", "/name", "/quantity", "/unit_price_minor"].map(|field| text(line, field)));
    }
    if !lines.is_empty() {
        writeln!(out(), "{lines}")?;
    }
    let mut timeline = table();
    timeline.set_header(["version", "event", "at"]);
    for entry in list(order, "timeline") {
        timeline.add_row(["/version", "/event", "/at"].map(|field| text(entry, field)));
    }
    if !timeline.is_empty() {
        writeln!(out(), "{timeline}")?;
    }
    Ok(())
}

/// A page of orders.
pub(super) fn orders(page: &Value) -> io::Result<()> {
    let mut rows = table();
    rows.set_header(["order", "status", "lane", "total", "created"]);
    for order in list(page, "orders") {
        rows.add_row([
            text(order, "/order_id"),
            status(order),
            text(order, "/lane"),
            money(order.get("total")),
            text(order, "/created_at"),
        ]);
    }
    writeln!(out(), "{rows}")?;
    let next = text(page, "/next");
    if !next.is_empty() {
        writeln!(out(), "more: --cursor {next}")?;
    }
    Ok(())
}

fn status(order: &Value) -> String {
    let asked = order.get("cancel_requested").and_then(Value::as_bool) == Some(true);
    text(order, "/status") + if asked { " (cancel requested)" } else { "" }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

fn join(value: &Value, pointers: &[&str]) -> String {
    let parts: Vec<_> = pointers.iter().map(|pointer| text(value, pointer)).filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// Minor units as the API tells them: how many decimals a currency has is the domain's business.
fn money(value: Option<&Value>) -> String {
    value.filter(|money| money.is_object()).map_or_else(String::new, |money| {
        format!("{} {} (minor units)", text(money, "/amount_minor"), text(money, "/currency"))
    })
}
