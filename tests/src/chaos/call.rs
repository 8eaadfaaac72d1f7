//! What a request asks of AWS: read off its head and body, without believing more of it than is needed.

use std::collections::BTreeSet;

use order::OrderId;

use super::wire::Head;

/// A call of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Call {
    /// Its name in the credential scope of SigV4: `dynamodb`, `sqs`, `sns`, `events`, `ses`, `s3`, `secretsmanager`.
    pub(super) service: String,
    /// `PutItem`, `SendMessageBatch`, `PublishBatch`, ...
    pub(super) operation: String,
    /// The orders that its body names.
    pub(super) orders: BTreeSet<OrderId>,
}

impl Call {
    /// Reads a request. What names no service is nobody's.
    pub(super) fn of(head: &Head, body: &[u8]) -> Option<Self> {
        // Credential=AKID/20261124/us-east-1/sqs/aws4_request, ...
        let (_, scope) = head.field("authorization")?.split_once("Credential=")?;
        let service = scope.split(',').next()?.split('/').nth(3)?.to_owned();
        let target = head.field("x-amz-target").and_then(|target| target.rsplit('.').next());
        let operation = match (target, service.as_str()) {
            (Some(target), _) => target.to_owned(),
            (None, "ses") if head.path.ends_with("/outbound-emails") => "SendEmail".to_owned(),
            (None, "s3" | "ses") => format!("{}Object", head.method),
            (None, _) => form_field(body, "Action").unwrap_or_else(|| head.method.clone()),
        };
        Some(Self { service, operation, orders: order_ids(body) })
    }

    /// As it is told.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.service, self.operation)
    }
}

fn form_field(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(body).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// Length of a UUID's text.
const UUID: usize = 36;

/// Every order id in a text. An order's id is the only UUID of version 8 here: those of commands are of version 5, those
/// of events, cases and leases of 7 and 4.
pub(super) fn order_ids(text: &[u8]) -> BTreeSet<OrderId> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(part) = text.get(at..at + UUID) {
        let is_one = part.get(14) == Some(&b'8') && part.get(8) == Some(&b'-') && part.get(13) == Some(&b'-');
        let id = is_one.then(|| std::str::from_utf8(part).ok()?.parse::<OrderId>().ok()).flatten();
        match id {
            Some(id) => {
                found.insert(id);
                at += UUID;
            }
            None => at += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6274a7cd-17b9-8f6c-80c0-45bc88dbba23";

    fn call(head: &str, body: &str) -> Call {
        let auth = |service| {
            format!(
                "Authorization: AWS4-HMAC-SHA256 Credential=0/20261124/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=1"
            )
        };
        let service = head.split_whitespace().next().unwrap();
        let rest = head.split_once(' ').unwrap().1;
        let raw = format!("{rest}\r\n{}\r\n\r\n", auth(service));
        Call::of(&Head::request(raw.into_bytes()).unwrap(), body.as_bytes()).unwrap()
    }

    #[test]
    fn every_service_is_told_by_its_protocol() {
        let target = "dynamodb POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.PutItem";
        let put = call(target, &format!(r#"{{"Item":{{"order_id":{{"S":"{ID}"}}}}}}"#));
        assert_eq!((put.name().as_str(), put.orders.len()), ("dynamodb PutItem", 1));
        let sns = call("sns POST / HTTP/1.1", &format!("Version=2010-03-31&Action=PublishBatch&M=%22{ID}%22"));
        assert_eq!((sns.name().as_str(), sns.orders.len()), ("sns PublishBatch", 1));
        assert_eq!(call("ses POST /v2/email/outbound-emails HTTP/1.1", "{}").name(), "ses SendEmail");
        assert_eq!(call("s3 PUT /bucket/key HTTP/1.1", "x").name(), "s3 PUTObject");
    }

    #[test]
    fn what_is_not_signed_is_nobodys() {
        let head = Head::request(b"GET /health HTTP/1.1\r\n\r\n".to_vec()).unwrap();
        assert_eq!(Call::of(&head, b""), None);
    }

    #[test]
    fn only_order_ids_are_found() {
        let event = "01a20b2a-dcae-722b-9b5d-8ae9e8e30117";
        let text = format!("payment#{ID}/x {event} {ID} 8-8-8");
        assert_eq!(order_ids(text.as_bytes()), BTreeSet::from([ID.parse().unwrap()]));
    }
}
