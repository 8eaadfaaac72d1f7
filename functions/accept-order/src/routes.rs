//! The paths, and what each takes.

use http::Method;
use order::OrderId;

/// What a path means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// `/orders`
    Orders,
    /// `/orders/{id}`; `None` where the id can be none.
    Order(Option<OrderId>),
    /// `/orders/{id}/cancel`
    Cancel(Option<OrderId>),
    /// `/orders/{id}/refunds`
    Refunds(Option<OrderId>),
    /// `/healthz`
    Health,
}

impl Route {
    /// The route of a path; a trailing slash is another path.
    pub fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["", "healthz"] => Some(Self::Health),
            ["", "orders"] => Some(Self::Orders),
            ["", "orders", id] if !id.is_empty() => Some(Self::Order(order_id(id))),
            ["", "orders", id, "cancel"] if !id.is_empty() => Some(Self::Cancel(order_id(id))),
            ["", "orders", id, "refunds"] if !id.is_empty() => Some(Self::Refunds(order_id(id))),
            _ => None,
        }
    }

    /// Its name in logs, metrics and the API document.
    pub fn template(&self) -> &'static str {
        match self {
            Self::Orders => "/orders",
            Self::Order(_) => "/orders/{id}",
            Self::Cancel(_) => "/orders/{id}/cancel",
            Self::Refunds(_) => "/orders/{id}/refunds",
            Self::Health => "/healthz",
        }
    }

    /// Its methods, as an `Allow` header lists them.
    pub fn allow(&self) -> &'static str {
        match self {
            Self::Orders => "GET, HEAD, POST, OPTIONS",
            Self::Order(_) | Self::Health => "GET, HEAD, OPTIONS",
            Self::Cancel(_) | Self::Refunds(_) => "POST, OPTIONS",
        }
    }

    /// Whether it takes this method.
    pub fn takes(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// The order that it names.
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Order(id) | Self::Cancel(id) | Self::Refunds(id) => *id,
            Self::Orders | Self::Health => None,
        }
    }
}

/// An id as this API writes it: no braces, no URN, no capitals, so that an order has one path.
fn order_id(text: &str) -> Option<OrderId> {
    text.parse().ok().filter(|id: &OrderId| id.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes_and_nothing_else_does() {
        let id = "6f2a8a0e-7c7e-8d1b-9c55-0d4f1f0a1b2c";
        let known: OrderId = id.parse().unwrap();
        for (path, route) in [
            ("/orders".to_owned(), Some(Route::Orders)),
            ("/healthz".to_owned(), Some(Route::Health)),
            (format!("/orders/{id}"), Some(Route::Order(Some(known)))),
            (format!("/orders/{id}/cancel"), Some(Route::Cancel(Some(known)))),
            (format!("/orders/{id}/refunds"), Some(Route::Refunds(Some(known)))),
            (format!("/orders/{}", id.to_uppercase()), Some(Route::Order(None))),
            (format!("/orders/{}", id.replace('-', "")), Some(Route::Order(None))),
            (format!("/orders/urn:uuid:{id}"), Some(Route::Order(None))),
            ("/orders/1".to_owned(), Some(Route::Order(None))),
            ("/orders/".to_owned(), None),
            ("/orders//cancel".to_owned(), None),
            (format!("/orders/{id}/"), None),
            (format!("/orders/{id}/ship"), None),
            ("/".to_owned(), None),
            ("".to_owned(), None),
            ("/Orders".to_owned(), None),
        ] {
            assert_eq!(Route::of(&path), route, "{path}");
        }
    }
}
