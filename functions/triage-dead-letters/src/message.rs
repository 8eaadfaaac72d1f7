//! What a dead letter's body says, as far as it can be read. Nothing of a customer is taken from it.

use lambda_queue::envelope::{Data, Envelope, split_version};
use order::{Command, OrderId, TenantId};
use ports::{COMMAND_VERSION, CommandData, EVENT_VERSION, command_data};
use serde_json::Value;

/// A body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A command that this program knows.
    Command {
        /// Which.
        command: Command,
        /// About which order.
        order_id: OrderId,
        /// The version of the row that owed it.
        version: u64,
        /// Whose.
        tenant: Option<TenantId>,
    },
    /// An order event, or a command that names no order.
    Other {
        /// About which order.
        order_id: Option<OrderId>,
        /// Of which version.
        version: Option<u64>,
        /// Whose.
        tenant: Option<TenantId>,
    },
    /// Of a version that this program does not know yet.
    Newer {
        /// Which.
        version: u32,
        /// About which order.
        order_id: Option<OrderId>,
        /// Whose.
        tenant: Option<TenantId>,
    },
    /// No message of ours. The reason quotes nothing of it.
    Unreadable {
        /// Why.
        why: String,
    },
}

impl Body {
    /// About which order.
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Command { order_id, .. } => Some(*order_id),
            Self::Other { order_id, .. } | Self::Newer { order_id, .. } => *order_id,
            Self::Unreadable { .. } => None,
        }
    }

    /// Of which version of the row.
    pub fn version(&self) -> Option<u64> {
        match self {
            Self::Command { version, .. } => Some(*version),
            Self::Other { version, .. } => *version,
            Self::Newer { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Whose.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Command { tenant, .. } | Self::Other { tenant, .. } | Self::Newer { tenant, .. } => tenant.as_ref(),
            Self::Unreadable { .. } => None,
        }
    }
}

/// Reads a body. Only what has the form of an id is taken from it.
pub fn read(body: &str) -> Body {
    let envelope = match Envelope::<Data>::parse(body) {
        Ok(envelope) => envelope,
        Err(error) => return Body::Unreadable { why: error.to_string() },
    };
    let data = match &envelope.data {
        Data::Json(data) => data.clone(),
        Data::None | Data::Binary(_) => Value::Null,
    };
    let named = data.get("order_id").and_then(Value::as_str).or(envelope.subject.as_deref());
    let order_id: Option<OrderId> = named.and_then(|id| id.parse().ok());
    let version = data.get("version").and_then(Value::as_u64);
    let tenant: Option<TenantId> = envelope.tenant.as_deref().and_then(|tenant| tenant.parse().ok());
    let name_and_version =
        split_version(&envelope.kind).and_then(|(name, version)| Some((name.strip_prefix("orderflow.")?, version)));
    let Some((name, kind_version)) = name_and_version else {
        return Body::Unreadable { why: "type_unknown: not a type of ours".to_owned() };
    };
    let command: Option<Command> = name.parse().ok();
    let known = if command.is_some() { COMMAND_VERSION } else { EVENT_VERSION };
    if kind_version > known {
        return Body::Newer { version: kind_version, order_id, tenant };
    }
    // Where a command keeps them is its version's business.
    let read = command.and_then(|_| command_data(envelope));
    match (command, read) {
        (Some(command), Some(CommandData { order_id, version })) => {
            Body::Command { command, order_id, version, tenant }
        }
        (_, _) => Body::Other { order_id, version, tenant },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(kind: &str, data: &Value) -> String {
        json!({ "specversion": "1.0", "id": "1", "source": "orderflow", "type": kind, "tenant": "acme", "data": data })
            .to_string()
    }

    const ORDER: &str = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";

    #[test]
    fn a_command_an_event_and_a_newer_one_are_told_apart() {
        let data = json!({ "order_id": ORDER, "version": 3 });
        let (order_id, tenant) = (ORDER.parse().unwrap(), Some("acme".parse().unwrap()));
        assert_eq!(
            read(&message("orderflow.payment.authorize.v1", &data)),
            Body::Command { command: Command::AuthorizePayment, order_id, version: 3, tenant: tenant.clone() }
        );
        assert_eq!(
            read(&message("orderflow.order.shipped.v1", &data)),
            Body::Other { order_id: Some(order_id), version: Some(3), tenant: tenant.clone() }
        );
        for kind in ["orderflow.payment.authorize.v2", "orderflow.order.shipped.v9"] {
            assert!(matches!(read(&message(kind, &data)), Body::Newer { order_id: Some(_), .. }), "{kind}");
        }
        assert_eq!(
            read(&message("orderflow.payment.authorize.v1", &json!({ "order_id": ORDER }))),
            Body::Other { order_id: Some(order_id), version: None, tenant }
        );
    }

    #[test]
    fn what_is_none_of_ours_is_unreadable_and_nothing_of_it_is_told() {
        for body in [
            "",
            "null",
            "this is Ada's card",
            "[]",
            "{}",
            &message("com.example.ada", &json!({})),
            &message("orderflow", &json!(1)),
        ] {
            let Body::Unreadable { why } = read(body) else { panic!("{body}") };
            assert!(!why.contains("Ada") && !why.contains("ada") && !why.is_empty(), "{why}");
        }
    }

    #[test]
    fn an_order_id_that_is_none_is_not_taken_for_one() {
        let body = read(&message(
            "orderflow.order.validate.v1",
            &json!({ "order_id": "Ada Lovelace, 1 Main St", "version": 1 }),
        ));
        assert_eq!(body.order_id(), None);
    }
}
