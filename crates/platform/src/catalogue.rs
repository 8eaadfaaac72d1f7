//! The catalogue: names, prices and what is available, one item a SKU.

use std::collections::HashMap;

use lambda_queue::ports::store::{Value, Write};
use order::Sku;
use ports::{Product, ReadCatalogue, StoreError};

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

/// What an operator does to the catalogue. Not a port: no function may.
impl<B: Backend> Platform<B> {
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
}

impl Aws {
    /// Every product, in no order. A scan, which no function may: the port has none.
    pub async fn scan_products(&self) -> Result<Vec<Product>, StoreError> {
        let mut products = Vec::new();
        let client = &self.backend.dynamo().0;
        let mut pages = client.scan().table_name(&self.names.stock_table).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| store_error(&error))?;
            let item: Item = item.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
            products.push(product(&item)?);
        }
        Ok(products)
    }
}
