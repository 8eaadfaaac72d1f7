//! The catalogue: names, prices and what is available, one item a SKU.

use std::collections::HashMap;

use lambda_queue::ports::store::{Reason, Transacted, Value, Write};
use order::{Currency, Sku};
use ports::{Audit, Product, ReadCatalogue, StoreError};

use crate::item::{Item, number, number_of, text, text_of};
use crate::{Aws, Backend, Platform};
use lambda_queue::aws::store_error;

impl<B: Backend> ReadCatalogue for Platform<B> {
    async fn read_catalogue(&self, skus: &[Sku]) -> Result<Vec<Product>, StoreError> {
        let keys = skus.iter().map(|sku| HashMap::from([("sku".to_owned(), text(sku.as_str()))])).collect();
        let items = self.backend.get_all(&self.names.stock_table, keys, false).await?;
        items.iter().map(product).collect()
    }
}

fn product(item: &Item) -> Result<Product, StoreError> {
    let no = |name: &str| {
        let sku = text_of(item, "sku").unwrap_or_default();
        StoreError::Unreadable(format!("product {sku}: no {name} that can be read"))
    };
    let sku = text_of(item, "sku").and_then(|sku| sku.parse().ok());
    let currency = text_of(item, "currency").and_then(|code| code.parse().ok());
    Ok(Product {
        sku: sku.ok_or_else(|| no("sku"))?,
        name: text_of(item, "name").ok_or_else(|| no("name"))?,
        price_minor: number_of(item, "price_minor").ok_or_else(|| no("price"))?,
        currency: currency.ok_or_else(|| no("currency"))?,
        available: number_of(item, "available").ok_or_else(|| no("available pieces"))?,
    })
}

/// What an operator changes of a product; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProductChange {
    /// Which.
    pub sku: Sku,
    /// What the customer reads.
    pub name: Option<String>,
    /// Minor units for one piece.
    pub price_minor: Option<u64>,
    /// Of the price.
    pub currency: Option<Currency>,
    /// Pieces that can be taken.
    pub available: Option<u64>,
}

impl ProductChange {
    /// The change that makes a product this one, whatever it was.
    pub fn to(product: Product) -> Self {
        Self {
            sku: product.sku,
            name: Some(product.name),
            price_minor: Some(product.price_minor),
            currency: Some(product.currency),
            available: Some(product.available),
        }
    }

    /// What it changes, by the names of the table.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let values = [
            ("name", self.name.clone().map(text)),
            ("price_minor", self.price_minor.map(number)),
            ("currency", self.currency.map(|currency| text(currency.code()))),
            ("available", self.available.map(number)),
        ];
        values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Whether it says all that a product is, so that one which is not there yet can be made of it.
    fn is_whole(&self) -> bool {
        self.values().len() == 4
    }

    /// In one line, for the audit record.
    pub fn told(&self) -> String {
        let of = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
        let parts = [
            of("name", self.name.clone()),
            of("price_minor", self.price_minor.map(|minor| minor.to_string())),
            of("currency", self.currency.map(|currency| currency.code().to_owned())),
            of("available", self.available.map(|pieces| pieces.to_string())),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What its audit records stand under.
    pub fn subject(sku: &Sku) -> String {
        format!("stock/{sku}")
    }
}

/// What a product has to be, so that a change of it is made: what whoever decided on the change was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// There, with this many pieces that can be taken. Only held to where the change sets how many: otherwise any will do.
    Available(u64),
    /// Not there. Only held to where the change says all that a product is: otherwise nothing can be made of it.
    Absent,
    /// Whatever it is.
    Anything,
}

/// How a change of a product went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// It is written.
    Done,
    /// Nothing is written: there is no such product.
    Absent,
    /// Nothing is written: the product is not the expected one. How many of its pieces can be taken by now, where that can be
    /// read.
    Other(Option<u64>),
}

/// The most keys of a `BatchGetItem`.
const MOST_KEYS: usize = 100;

/// What an operator does to the catalogue. Not a port: no function may.
impl<B: Backend> Platform<B> {
    /// What the table has of these SKUs, by SKU; none may be given twice. One that is not there is left out, and one that cannot
    /// be read hides no others. `stock`: BatchGetItem.
    ///
    /// # Errors
    /// The table's.
    pub async fn find_products(
        &self,
        skus: &[Sku],
    ) -> Result<HashMap<String, Result<Product, StoreError>>, StoreError> {
        let mut found = HashMap::with_capacity(skus.len());
        for skus in skus.chunks(MOST_KEYS) {
            let keys = skus.iter().map(|sku| HashMap::from([("sku".to_owned(), text(sku.as_str()))])).collect();
            for item in self.backend.get_all(&self.names.stock_table, keys, true).await? {
                let sku = text_of(&item, "sku").ok_or_else(|| {
                    StoreError::Unreadable("a product without the sku it was asked for by".to_owned())
                })?;
                found.insert(sku, product(&item));
            }
        }
        Ok(found)
    }

    /// Writes a product: name, price, currency and what is available.
    pub async fn put_product(&self, product: &Product) -> Result<(), StoreError> {
        let item = HashMap::from([
            ("sku".to_owned(), text(product.sku.as_str())),
            ("name".to_owned(), text(product.name.clone())),
            ("price_minor".to_owned(), number(product.price_minor)),
            ("currency".to_owned(), text(product.currency.code())),
            ("available".to_owned(), number(product.available)),
        ]);
        self.backend.write(Write::put(&self.names.stock_table, item)).await.map(drop)
    }

    /// Changes a product that is as expected, or makes one where the change says all of it, in one transaction with its audit
    /// record. `stock`: UpdateItem, `cases`: PutItem.
    ///
    /// # Errors
    /// The tables'. A change that says nothing is `NotDone`.
    pub async fn change_product(
        &self,
        change: &ProductChange,
        expected: Expected,
        audit: &Audit,
    ) -> Result<Changed, StoreError> {
        let values = change.values();
        if values.is_empty() {
            return Err(StoreError::NotDone("nothing is to be changed".to_owned()));
        }
        let sets: Vec<String> = values.iter().map(|(name, _)| format!("#{name} = :{name}")).collect();
        let key = HashMap::from([("sku".to_owned(), text(change.sku.as_str()))]);
        let mut update = Write::update(&self.names.stock_table, key, format!("SET {}", sets.join(", ")));
        for (name, value) in values {
            update = update.name(format!("#{name}"), name).value(format!(":{name}"), value);
        }
        update = match expected {
            Expected::Available(pieces) if change.available.is_some() => {
                update.when("#available = :expected").value(":expected", number(pieces))
            }
            Expected::Absent if change.is_whole() => update.when("attribute_not_exists(sku)"),
            Expected::Available(_) | Expected::Absent | Expected::Anything if change.is_whole() => update,
            Expected::Available(_) | Expected::Absent | Expected::Anything => update.when("attribute_exists(sku)"),
        };
        match self.backend.transact(vec![update, self.audit(audit)]).await? {
            Transacted::Done => Ok(Changed::Done),
            Transacted::Refused(reasons) => match reasons.first() {
                Some(Reason::ConditionFailed(Some(item))) => Ok(Changed::Other(number_of(item, "available"))),
                Some(Reason::ConditionFailed(None)) => Ok(Changed::Absent),
                Some(Reason::None | Reason::Conflict | Reason::Other(_)) | None => {
                    Err(StoreError::NotDone("the transaction met another one".to_owned()))
                }
            },
        }
    }
}

impl Aws {
    /// Every product, in no order. A scan, which no function may: the port has none.
    pub async fn scan_products(&self) -> Result<Vec<Product>, StoreError> {
        let mut products = Vec::new();
        let client = self.backend.dynamo().client();
        let mut pages = client.scan().table_name(&self.names.stock_table).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| store_error(&error))?;
            let item: Item = item.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
            products.push(product(&item)?);
        }
        Ok(products)
    }
}
