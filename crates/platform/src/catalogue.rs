//! The catalogue: names, prices and what is available, one item a SKU.

use std::collections::HashMap;

use order::Sku;
use ports::{Product, ReadCatalogue, StoreError};

use crate::Aws;
use crate::item::{Item, number, number_of, text, text_of};
use lambda_queue::aws::store_error;

impl ReadCatalogue for Aws {
    async fn read_catalogue(&self, skus: &[Sku]) -> Result<Vec<Product>, StoreError> {
        let keys = skus.iter().map(|sku| HashMap::from([("sku".to_owned(), text(sku.as_str()))])).collect();
        let items = self.read_batch(&self.names.stock_table, keys, false).await?;
        items.iter().map(product).collect()
    }
}

fn product(item: &Item) -> Result<Product, StoreError> {
    let read = || {
        Some(Product {
            sku: text_of(item, "sku")?.parse().ok()?,
            name: text_of(item, "name")?,
            price_minor: number_of(item, "price_minor")?,
            currency: text_of(item, "currency")?.parse().ok()?,
            available: number_of(item, "available")?,
        })
    };
    read().ok_or_else(|| StoreError::Unreadable(format!("product {}", text_of(item, "sku").unwrap_or_default())))
}

/// What an operator does to the catalogue. Not a port: no function may.
impl Aws {
    /// Writes a product: name, price, currency and what is available.
    pub async fn put_product(&self, product: &Product) -> Result<(), StoreError> {
        let item = HashMap::from([
            ("sku".to_owned(), text(product.sku.as_str())),
            ("name".to_owned(), text(product.name.clone())),
            ("price_minor".to_owned(), number(product.price_minor)),
            ("currency".to_owned(), text(product.currency.code())),
            ("available".to_owned(), number(product.available)),
        ]);
        let put = self.dynamodb().put_item().table_name(&self.names.stock_table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| store_error(&error))
    }

    /// Adds to (or with a negative number takes from) what is available of a product that is there; never below zero.
    /// Answers whether it could.
    pub async fn add_stock(&self, sku: &Sku, pieces: i64) -> Result<bool, StoreError> {
        let sent = self
            .dynamodb()
            .update_item()
            .table_name(&self.names.stock_table)
            .key("sku", text(sku.as_str()))
            .update_expression("SET available = available + :pieces")
            .condition_expression("attribute_exists(sku) AND available >= :least")
            .expression_attribute_values(":pieces", number(pieces))
            .expression_attribute_values(":least", number(pieces.saturating_neg().max(0)))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|said| said.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(store_error(&error)),
        }
    }

    /// Every product, in no order.
    pub async fn scan_products(&self) -> Result<Vec<Product>, StoreError> {
        let mut products = Vec::new();
        let mut pages = self.dynamodb().scan().table_name(&self.names.stock_table).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            products.push(product(&item.map_err(|error| store_error(&error))?)?);
        }
        Ok(products)
    }
}
