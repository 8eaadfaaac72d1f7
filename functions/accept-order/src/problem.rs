//! RFC 9457 problems: every answer that is a "no", each with a stable code.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc9457>

use std::borrow::Cow;

use http::{HeaderName, StatusCode, header};
use order::OrderId;
use ports::StoreError;
use serde_json::json;

use crate::lanes::Full;

/// Declares the codes: name, status and title of each, once.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $title:literal;)*) => {
        /// What a problem is, for programs. Its URI is `urn:orderflow:problem:<name>`; codes are never renamed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status it is answered with, always the same.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// What it is, for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// No token came with the request.
    TokenMissing = "token_missing", UNAUTHORIZED, "A bearer token is needed";
    /// The token is not one of ours, not for us, or says too little.
    TokenInvalid = "token_invalid", UNAUTHORIZED, "The token is not valid";
    /// The token was good once.
    TokenExpired = "token_expired", UNAUTHORIZED, "The token has expired";
    /// The lane is above the token's.
    LaneNotAllowed = "lane_not_allowed", FORBIDDEN, "The lane is above what the token allows";
    /// No such path.
    RouteNotFound = "route_not_found", NOT_FOUND, "There is nothing at this path";
    /// No such order, or somebody else's.
    OrderNotFound = "order_not_found", NOT_FOUND, "There is no such order";
    /// The path takes other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    /// No Idempotency-Key.
    IdempotencyKeyMissing = "idempotency_key_missing", BAD_REQUEST, "An Idempotency-Key is needed";
    /// An Idempotency-Key that is none.
    IdempotencyKeyInvalid = "idempotency_key_invalid", BAD_REQUEST, "The Idempotency-Key is malformed";
    /// Not JSON: truncated, trailing bytes, a byte order mark, a lone surrogate, not UTF-8.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON";
    /// One object has one key twice.
    DuplicateKey = "duplicate_key", BAD_REQUEST, "An object has a key twice";
    /// Nested deeper than 32.
    TooDeep = "too_deep", BAD_REQUEST, "The body is nested too deeply";
    /// A value of another JSON type than it has to be.
    WrongType = "wrong_type", BAD_REQUEST, "A value is of the wrong type";
    /// A field that the request does not have.
    UnknownField = "unknown_field", BAD_REQUEST, "There is a field that is not known";
    /// A field that the request has to have.
    MissingField = "missing_field", BAD_REQUEST, "A field is missing";
    /// Empty, too long, or with control or bidi characters.
    InvalidText = "invalid_text", BAD_REQUEST, "A text is not acceptable";
    /// Not a SKU.
    InvalidSku = "invalid_sku", BAD_REQUEST, "A SKU is malformed";
    /// Not an integer of 1-9,999.
    InvalidQuantity = "invalid_quantity", BAD_REQUEST, "A quantity is out of range";
    /// No lines, or over 50.
    InvalidLineCount = "invalid_line_count", BAD_REQUEST, "An order has 1 to 50 lines";
    /// Two lines name one SKU.
    DuplicateSku = "duplicate_sku", BAD_REQUEST, "A SKU is in two lines";
    /// Not a currency of ISO 4217.
    UnknownCurrency = "unknown_currency", BAD_REQUEST, "The currency is not known";
    /// Not a lane.
    UnknownLane = "unknown_lane", BAD_REQUEST, "The lane is not known";
    /// Not a country code.
    InvalidCountry = "invalid_country", BAD_REQUEST, "The country is malformed";
    /// Not an e-mail address.
    InvalidEmail = "invalid_email", BAD_REQUEST, "The e-mail address is malformed";
    /// Not a payment-method token.
    InvalidPaymentMethod = "invalid_payment_method", BAD_REQUEST, "The payment method is malformed";
    /// Not an integer amount of minor units.
    InvalidAmount = "invalid_amount", BAD_REQUEST, "An amount is out of range";
    /// A query parameter that the path does not have, or a value that it does not take.
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter is not acceptable";
    /// Not a cursor of this list.
    InvalidCursor = "invalid_cursor", BAD_REQUEST, "The cursor is not one of this list";
    /// It is with the carrier.
    OrderShipped = "order_shipped", CONFLICT, "The order is shipped";
    /// It ended already.
    OrderRejected = "order_rejected", CONFLICT, "The order was rejected";
    /// Only what shipped is refunded.
    OrderNotShipped = "order_not_shipped", CONFLICT, "The order is not shipped";
    /// An operator has given it up.
    OrderAbandoned = "order_abandoned", CONFLICT, "The order was given up";
    /// 20 refunds were asked for.
    RefundLimitReached = "refund_limit_reached", CONFLICT, "The order takes no more refunds";
    /// Over 64 KiB.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// Not `application/json` in UTF-8.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body has to be application/json";
    /// The key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key belongs to another request";
    /// More than is left of the capture.
    RefundOverCapture = "refund_over_capture", UNPROCESSABLE_ENTITY, "The refund is more than is left to refund";
    /// The tenant asks too often.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// Our fault, for good.
    InternalError = "internal_error", INTERNAL_SERVER_ERROR, "Something is broken here";
    /// The order's row failed or may have been written.
    OrderUnconfirmed = "order_unconfirmed", SERVICE_UNAVAILABLE, "It is not known whether the order was accepted";
    /// A change of an order failed or may have been written.
    ChangeUnconfirmed = "change_unconfirmed", SERVICE_UNAVAILABLE, "It is not known whether the change was made";
    /// The lane's deadline, or that of one above, cannot be met.
    LaneOverloaded = "lane_overloaded", SERVICE_UNAVAILABLE, "The lane takes no new orders at the moment";
    /// Orders cannot be read.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Orders cannot be read at the moment";
    /// The issuer's keys cannot be had.
    KeysUnavailable = "keys_unavailable", SERVICE_UNAVAILABLE, "Tokens cannot be checked at the moment";
}

impl Code {
    /// The problem's `type`.
    pub fn uri(self) -> String {
        format!("urn:orderflow:problem:{}", self.name())
    }
}

/// How long a client should wait after a 503, seconds.
const RETRY_AFTER_S: u64 = 2;

/// A "no".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What.
    pub code: Code,
    /// What exactly, for people. Repeats nothing of the request but names of fields.
    pub detail: Cow<'static, str>,
    /// Where in the body, a JSON pointer (RFC 6901).
    pub pointer: Option<String>,
    /// Headers that belong to it.
    pub headers: Vec<(HeaderName, String)>,
    /// About which order, for the log.
    pub order_id: Option<OrderId>,
}

impl Problem {
    /// A problem with what the status asks for besides: `WWW-Authenticate`, `Retry-After`.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut headers = Vec::new();
        match code.status() {
            StatusCode::UNAUTHORIZED if code == Code::TokenMissing => {
                headers.push((header::WWW_AUTHENTICATE, "Bearer".to_owned()));
            }
            StatusCode::UNAUTHORIZED => {
                headers.push((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"".to_owned()));
            }
            StatusCode::SERVICE_UNAVAILABLE => headers.push((header::RETRY_AFTER, RETRY_AFTER_S.to_string())),
            _ => {}
        }
        Self { code, detail: detail.into(), pointer: None, headers, order_id: None }
    }

    /// Something wrong at a place of the body.
    pub fn at(code: Code, pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(code, detail) }
    }

    /// With one header more.
    pub fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// About this order.
    pub fn of(mut self, order_id: OrderId) -> Self {
        self.order_id = Some(order_id);
        self
    }

    /// The lane is shed, for so many seconds as it looks. That there is no row does not say that there will be none: an
    /// earlier request with this key may still be writing it.
    pub fn overloaded(Full { lane, late, better, wait_s }: Full) -> Self {
        let why = if late == lane {
            format!("New orders of the lane {lane} would wait too long.")
        } else {
            format!("The lane {late} is late, and those below it take no new orders until it is not.")
        };
        // With another lane it is another body, so it takes another key.
        let better = better
            .map_or_else(String::new, |lane| format!(" A new order, with a key of its own, may take the lane {lane}."));
        let detail = format!(
            "{why} This request accepted nothing; an earlier one with this key may have, and the same key tells: repeat the \
             request with it after Retry-After.{better}"
        );
        let headers = vec![(header::RETRY_AFTER, wait_s.to_string())];
        Self { headers, ..Self::new(Code::LaneOverloaded, detail) }
    }

    /// Somebody else's order and no order are the same answer.
    pub fn order_not_found() -> Self {
        Self::new(Code::OrderNotFound, "There is no order of yours with this id.")
    }

    /// A read that failed.
    pub fn unread(error: &StoreError) -> Self {
        Self::store(error, Code::Unavailable, "Nothing was changed. Try again.")
    }

    /// The conditional put of a new order failed.
    pub fn unaccepted(error: &StoreError) -> Self {
        Self::store(
            error,
            Code::OrderUnconfirmed,
            "The order may have been accepted. Repeat the request with the same Idempotency-Key: it makes no second order.",
        )
    }

    /// The write of a cancel or a refund failed.
    pub fn unchanged(error: &StoreError) -> Self {
        Self::store(
            error,
            Code::ChangeUnconfirmed,
            "The change may have been made. Repeat the request, with the same Idempotency-Key if it has one.",
        )
    }

    fn store(error: &StoreError, code: Code, detail: &'static str) -> Self {
        match error {
            StoreError::NotDone(why) | StoreError::Unknown(why) => {
                tracing::warn!(code = code.name(), why, "the orders table did not answer as asked");
                Self::new(code, detail)
            }
            StoreError::Unreadable(why) => {
                tracing::error!(why, "an order cannot be read");
                Self::internal()
            }
        }
    }

    /// Our fault.
    pub fn internal() -> Self {
        Self::new(Code::InternalError, "The request may have been carried out all the same: look before you repeat it.")
    }

    /// The body of the answer.
    pub fn body(&self, request_id: &str) -> serde_json::Value {
        let mut body = json!({
            "type": self.code.uri(),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "code": self.code.name(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if let (Some(pointer), Some(fields)) = (&self.pointer, body.as_object_mut()) {
            fields.insert("pointer".to_owned(), pointer.as_str().into());
        }
        body
    }
}
