//! How each service says no: its own status, headers and body, so that the SDK reads them as it would AWS's.
//!
//! Sources: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>,
//! <https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html>,
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::call::Call;

/// Whole answers that AWS gives without having done anything.
struct Shape {
    status: &'static str,
    kind: &'static str,
    /// Beside the usual ones.
    header: Option<(&'static str, String)>,
    body: String,
}

impl Shape {
    fn bytes(self) -> Vec<u8> {
        let Self { status, kind, header, body } = self;
        let header = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nx-amzn-requestid: 00000000-0000-4000-8000-000000000000\r\n\
             {header}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

const JSON_1_0: &str = "application/x-amz-json-1.0";
const JSON_1_1: &str = "application/x-amz-json-1.1";

fn json_error(status: &'static str, kind: &'static str, code: &str, message: &str) -> Shape {
    Shape { status, kind, header: None, body: json!({ "__type": code, "message": message }).to_string() }
}

/// SQS speaks JSON and names the code of its older query protocol beside.
fn sqs_error(status: &'static str, shape: &str, query: &str, message: &str) -> Shape {
    let mut error = json_error(status, JSON_1_0, &format!("com.amazonaws.sqs#{shape}"), message);
    error.header = Some(("x-amzn-query-error", query.to_owned()));
    error
}

fn query_error(status: &'static str, whose: &str, code: &str, message: &str) -> Shape {
    let body = format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>{whose}</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>"
    );
    Shape { status, kind: "text/xml", header: None, body }
}

/// REST services with JSON bodies tell the code in a header.
fn rest_error(status: &'static str, code: &str, message: &str) -> Shape {
    let body = json!({ "message": message }).to_string();
    Shape { status, kind: "application/json", header: Some(("x-amzn-errortype", code.to_owned())), body }
}

fn s3_error(status: &'static str, code: &str, message: &str) -> Shape {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>0000000000000000</RequestId><HostId>chaos</HostId></Error>"
    );
    Shape { status, kind: "application/xml", header: None, body }
}

/// Too many requests.
pub(super) fn throttled(call: &Call) -> Vec<u8> {
    match call.service.as_str() {
        "dynamodb" => json_error(
            "400 Bad Request",
            JSON_1_0,
            "com.amazonaws.dynamodb.v20120810#ThrottlingException",
            "Throughput exceeds the current capacity of your table or index.",
        ),
        "sqs" => sqs_error(
            "400 Bad Request",
            "RequestThrottled",
            "RequestThrottled;Sender",
            "The request was denied due to request throttling.",
        ),
        "sns" => query_error("400 Bad Request", "Sender", "Throttling", "Rate exceeded"),
        "ses" => rest_error("429 Too Many Requests", "TooManyRequestsException", "Too many requests"),
        "s3" => s3_error("503 Slow Down", "SlowDown", "Please reduce your request rate."),
        _ => json_error("400 Bad Request", JSON_1_1, "ThrottlingException", "Rate exceeded"),
    }
    .bytes()
}

/// An internal error.
pub(super) fn internal(call: &Call) -> Vec<u8> {
    const STATUS: &str = "500 Internal Server Error";
    match call.service.as_str() {
        "dynamodb" => json_error(
            STATUS,
            JSON_1_0,
            "com.amazonaws.dynamodb.v20120810#InternalServerError",
            "Internal server error",
        ),
        "sqs" => sqs_error(STATUS, "InternalFailure", "InternalFailure;Receiver", "The request processing has failed."),
        "sns" => query_error(STATUS, "Receiver", "InternalError", "We encountered an internal error."),
        "events" => {
            json_error(STATUS, JSON_1_1, "InternalException", "This exception occurs due to unexpected causes.")
        }
        "ses" => rest_error(STATUS, "InternalServiceErrorException", "The request processing has failed."),
        "s3" => s3_error(STATUS, "InternalError", "We encountered an internal error. Please try again."),
        _ => json_error(STATUS, JSON_1_1, "InternalServiceError", "An error occurred on the server side."),
    }
    .bytes()
}

/// A batch of which some entries are left out.
#[derive(Debug)]
pub(super) struct Cut {
    /// What is still asked for; `None` where nothing is left.
    pub(super) request: Option<Vec<u8>>,
    left_out: LeftOut,
}

#[derive(Debug)]
enum LeftOut {
    /// Ids of SQS entries.
    Sqs(Vec<String>),
    /// Ids of SNS entries.
    Sns(Vec<String>),
    /// Places of EventBridge entries, of so many.
    Events(Vec<usize>, usize),
    /// Table and keys that are left unprocessed.
    Keys(String, Vec<Value>),
}

/// How many entries a batch has; 0 where it is none.
pub(super) fn entries(call: &Call, body: &[u8]) -> usize {
    match call.operation.as_str() {
        "PublishBatch" => members(&form(body)).len(),
        "BatchGetItem" => {
            let Ok(asked) = serde_json::from_slice::<Value>(body) else { return 0 };
            table_keys(&asked).map_or(0, |(_, keys)| keys.len())
        }
        _ => {
            let Ok(asked) = serde_json::from_slice::<Value>(body) else { return 0 };
            asked.get("Entries").and_then(Value::as_array).map_or(0, Vec::len)
        }
    }
}

/// Leaves the entries at these places out of a batch.
///
/// # Errors
/// When the body is no batch of that operation.
pub(super) fn cut(call: &Call, body: &[u8], places: &[usize]) -> anyhow::Result<Cut> {
    match call.operation.as_str() {
        "PublishBatch" => cut_publish(body, places),
        "BatchGetItem" => cut_keys(body, places),
        "PutEvents" => {
            let (asked, gone, count) = cut_entries(body, places)?;
            Ok(Cut { request: asked, left_out: LeftOut::Events(gone.into_iter().map(|(at, _)| at).collect(), count) })
        }
        _ => {
            let (asked, gone, _) = cut_entries(body, places)?;
            let id = |entry: Value| entry.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let ids = gone.into_iter().map(|(_, entry)| id(entry)).collect();
            Ok(Cut { request: asked, left_out: LeftOut::Sqs(ids) })
        }
    }
}

type Entries = (Option<Vec<u8>>, Vec<(usize, Value)>, usize);

fn cut_entries(body: &[u8], places: &[usize]) -> anyhow::Result<Entries> {
    let mut asked: Value = serde_json::from_slice(body).context("no JSON")?;
    let entries = asked.get_mut("Entries").and_then(Value::as_array_mut).context("no entries")?;
    let count = entries.len();
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for (at, entry) in std::mem::take(entries).into_iter().enumerate() {
        if places.contains(&at) { gone.push((at, entry)) } else { kept.push(entry) }
    }
    let left = !kept.is_empty();
    *entries = kept;
    Ok((left.then(|| asked.to_string().into_bytes()), gone, count))
}

fn table_keys(asked: &Value) -> Option<(String, Vec<Value>)> {
    let (table, of_table) = asked.get("RequestItems")?.as_object()?.iter().next()?;
    Some((table.clone(), of_table.get("Keys")?.as_array()?.clone()))
}

fn cut_keys(body: &[u8], places: &[usize]) -> anyhow::Result<Cut> {
    let mut asked: Value = serde_json::from_slice(body).context("no JSON")?;
    let (table, keys) = table_keys(&asked).context("no keys")?;
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for (at, key) in keys.into_iter().enumerate() {
        if places.contains(&at) { gone.push(key) } else { kept.push(key) }
    }
    let left = !kept.is_empty();
    if let Some(keys) = asked.get_mut("RequestItems").and_then(|all| all.get_mut(&table)?.get_mut("Keys")) {
        *keys = Value::Array(kept);
    }
    Ok(Cut { request: left.then(|| asked.to_string().into_bytes()), left_out: LeftOut::Keys(table, gone) })
}

type Form = Vec<(String, String)>;

fn form(body: &[u8]) -> Form {
    form_urlencoded::parse(body).into_owned().collect()
}

const MEMBER: &str = "PublishBatchRequestEntries.member.";

/// The number of an entry that a field belongs to, and the rest of its name.
fn member(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix(MEMBER)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// The entries' numbers with their ids, in order.
fn members(form: &Form) -> Vec<(usize, String)> {
    let id = |(name, value): &(String, String)| {
        member(name).filter(|(_, rest)| *rest == "Id").map(|(number, _)| (number, value.clone()))
    };
    let mut members: Vec<_> = form.iter().filter_map(id).collect();
    members.sort();
    members
}

fn cut_publish(body: &[u8], places: &[usize]) -> anyhow::Result<Cut> {
    let form = form(body);
    let members = members(&form);
    if members.is_empty() {
        bail!("no entries");
    }
    let gone = |at: &usize| places.contains(at);
    let ids = members.iter().enumerate().filter(|(at, _)| gone(at)).map(|(_, (_, id))| id.clone()).collect();
    // Numbers are given anew, without gaps.
    let kept: Vec<usize> =
        members.iter().enumerate().filter(|(at, _)| !gone(at)).map(|(_, (number, _))| *number).collect();
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &form {
        match member(name) {
            None => {
                out.append_pair(name, value);
            }
            Some((number, rest)) => {
                if let Some(at) = kept.iter().position(|kept| *kept == number) {
                    out.append_pair(&format!("{MEMBER}{}.{rest}", at + 1), value);
                }
            }
        }
    }
    let request = (!kept.is_empty()).then(|| out.finish().into_bytes());
    Ok(Cut { request, left_out: LeftOut::Sns(ids) })
}

impl Cut {
    /// The answer to the whole batch, where `answer` is what was said to the rest of it.
    ///
    /// # Errors
    /// When that is no answer of the operation.
    pub(super) fn answer(&self, answer: &[u8]) -> anyhow::Result<Vec<u8>> {
        match &self.left_out {
            LeftOut::Sns(ids) => {
                let text = std::str::from_utf8(answer).context("no text")?;
                let failed: String = ids.iter().map(|id| sns_failed(id)).collect();
                let merged = if text.contains("<Failed>") {
                    text.replacen("<Failed>", &format!("<Failed>{failed}"), 1)
                } else if text.contains("<Failed/>") {
                    text.replacen("<Failed/>", &format!("<Failed>{failed}</Failed>"), 1)
                } else {
                    bail!("no list of failed entries in the answer");
                };
                Ok(merged.into_bytes())
            }
            LeftOut::Sqs(ids) => {
                let mut said: Value = serde_json::from_slice(answer).context("no JSON")?;
                let fields = said.as_object_mut().context("no answer")?;
                let failed = fields.entry("Failed").or_insert_with(|| json!([]));
                if failed.is_null() {
                    *failed = json!([]);
                }
                failed.as_array_mut().context("no list of failed entries")?.extend(ids.iter().map(
                    |id| json!({ "Id": id, "SenderFault": false, "Code": "InternalError", "Message": "left out" }),
                ));
                Ok(said.to_string().into_bytes())
            }
            LeftOut::Events(places, count) => {
                let said: Value = serde_json::from_slice(answer).context("no JSON")?;
                let none = Vec::new();
                let mut taken = said.get("Entries").and_then(Value::as_array).unwrap_or(&none).iter();
                let refused = || json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "left out" });
                let entry = |at: usize| {
                    if places.contains(&at) { refused() } else { taken.next().cloned().unwrap_or_else(refused) }
                };
                let entries: Vec<Value> = (0..*count).map(entry).collect();
                let failed = entries.iter().filter(|entry| entry.get("ErrorCode").is_some()).count();
                Ok(json!({ "FailedEntryCount": failed, "Entries": entries }).to_string().into_bytes())
            }
            LeftOut::Keys(table, keys) => {
                let mut said: Value = serde_json::from_slice(answer).context("no JSON")?;
                let fields = said.as_object_mut().context("no answer")?;
                fields.insert("UnprocessedKeys".to_owned(), json!({ table: { "Keys": keys } }));
                Ok(said.to_string().into_bytes())
            }
        }
    }

    /// The answer where nothing is left to ask for.
    ///
    /// # Errors
    /// Never for a batch that was cut here.
    pub(super) fn whole_answer(&self) -> anyhow::Result<Vec<u8>> {
        let (kind, empty) = match &self.left_out {
            LeftOut::Sns(_) => (
                "text/xml",
                "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
                 <Successful></Successful><Failed></Failed></PublishBatchResult><ResponseMetadata><RequestId>\
                 00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata></PublishBatchResponse>",
            ),
            LeftOut::Sqs(_) => (JSON_1_0, r#"{"Successful":[],"Failed":[]}"#),
            LeftOut::Events(..) => (JSON_1_1, r#"{"Entries":[]}"#),
            LeftOut::Keys(..) => (JSON_1_0, r#"{"Responses":{}}"#),
        };
        let body = String::from_utf8(self.answer(empty.as_bytes())?).context("no text")?;
        Ok(Shape { status: "200 OK", kind, header: None, body }.bytes())
    }
}

fn sns_failed(id: &str) -> String {
    format!(
        "<member><Id>{id}</Id><Code>InternalError</Code><Message>left out</Message><SenderFault>false</SenderFault></member>"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn call(service: &str, operation: &str) -> Call {
        Call { service: service.to_owned(), operation: operation.to_owned(), orders: BTreeSet::new() }
    }

    #[test]
    fn every_service_says_no_in_its_own_words() {
        for (service, status, says) in [
            ("dynamodb", "400", "v20120810#ThrottlingException"),
            ("sqs", "400", "x-amzn-query-error: RequestThrottled;Sender"),
            ("sns", "400", "<Code>Throttling</Code>"),
            ("events", "400", r#""__type":"ThrottlingException""#),
            ("ses", "429", "x-amzn-errortype: TooManyRequestsException"),
            ("s3", "503", "<Code>SlowDown</Code>"),
            ("secretsmanager", "400", "ThrottlingException"),
        ] {
            let said = String::from_utf8(throttled(&call(service, "Any"))).unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")) && said.contains(says), "{service}: {said}");
            let said = String::from_utf8(internal(&call(service, "Any"))).unwrap();
            let (head, body) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 500"), "{service}: {said}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{service}: {said}");
        }
    }

    #[test]
    fn entries_left_out_of_a_send_are_reported_failed() {
        let send = call("sqs", "SendMessageBatch");
        let body = br#"{"QueueUrl":"q","Entries":[{"Id":"0"},{"Id":"1"},{"Id":"2"}]}"#;
        assert_eq!(entries(&send, body), 3);
        let cut_ = cut(&send, body, &[1]).unwrap();
        let asked: Value = serde_json::from_slice(cut_.request.as_ref().unwrap()).unwrap();
        assert_eq!(asked, json!({ "QueueUrl": "q", "Entries": [{ "Id": "0" }, { "Id": "2" }] }));
        let said = cut_.answer(br#"{"Successful":[{"Id":"0"},{"Id":"2"}]}"#).unwrap();
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(said["Failed"][0]["Id"], "1");
        assert_eq!(said["Successful"].as_array().unwrap().len(), 2);
        let all = cut(&send, body, &[0, 1, 2]).unwrap();
        assert!(all.request.is_none());
        assert!(String::from_utf8(all.whole_answer().unwrap()).unwrap().contains(r#""Id":"2""#));
    }

    #[test]
    fn entries_left_out_of_a_publication_are_reported_failed() {
        let publish = call("sns", "PublishBatch");
        let body = "Action=PublishBatch&Version=2010-03-31&PublishBatchRequestEntries.member.1.Id=0\
                    &PublishBatchRequestEntries.member.1.Message=a+b&PublishBatchRequestEntries.member.2.Id=1\
                    &PublishBatchRequestEntries.member.2.Message=c";
        assert_eq!(entries(&publish, body.as_bytes()), 2);
        let cut_ = cut(&publish, body.as_bytes(), &[0]).unwrap();
        let asked = String::from_utf8(cut_.request.clone().unwrap()).unwrap();
        assert_eq!(
            asked,
            "Action=PublishBatch&Version=2010-03-31&PublishBatchRequestEntries.member.1.Id=1\
             &PublishBatchRequestEntries.member.1.Message=c"
        );
        for none in ["<R><Successful/><Failed/></R>", "<R><Successful></Successful><Failed></Failed></R>"] {
            let said = String::from_utf8(cut_.answer(none.as_bytes()).unwrap()).unwrap();
            assert!(said.contains("<Failed><member><Id>0</Id>") && said.contains("</member></Failed>"), "{said}");
        }
    }

    #[test]
    fn entries_left_out_of_events_keep_their_places() {
        let put = call("events", "PutEvents");
        let body = br#"{"Entries":[{"Detail":"a"},{"Detail":"b"},{"Detail":"c"}]}"#;
        let cut_ = cut(&put, body, &[0, 2]).unwrap();
        let said = cut_.answer(br#"{"FailedEntryCount":0,"Entries":[{"EventId":"of b"}]}"#).unwrap();
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(said["FailedEntryCount"], 2);
        assert_eq!(said["Entries"][1]["EventId"], "of b");
        assert_eq!(said["Entries"][2]["ErrorCode"], "InternalFailure");
    }

    #[test]
    fn keys_left_out_of_a_batch_read_are_unprocessed() {
        let get = call("dynamodb", "BatchGetItem");
        let body =
            br#"{"RequestItems":{"stock":{"Keys":[{"sku":{"S":"A"}},{"sku":{"S":"B"}}],"ConsistentRead":true}}}"#;
        assert_eq!(entries(&get, body), 2);
        let cut_ = cut(&get, body, &[1]).unwrap();
        let asked: Value = serde_json::from_slice(cut_.request.as_ref().unwrap()).unwrap();
        assert_eq!(asked["RequestItems"]["stock"]["Keys"], json!([{ "sku": { "S": "A" } }]));
        assert_eq!(asked["RequestItems"]["stock"]["ConsistentRead"], true);
        let said: Value = serde_json::from_slice(&cut_.answer(br#"{"Responses":{}}"#).unwrap()).unwrap();
        assert_eq!(said["UnprocessedKeys"]["stock"]["Keys"][0]["sku"]["S"], "B");
    }
}
