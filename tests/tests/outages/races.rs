//! A cancel while a step writes: the cases that no slow provider can make (`tests/deployed/cancels.rs` has those). The step's write is
//! kept from the table by a proxy between the functions and the local AWS.

use order::{ReasonCode, Sku};

use super::*;

#[tokio::test]
async fn a_cancel_while_a_step_writes_comes_first_and_nothing_is_left_of_the_step() -> anyhow::Result<()> {
    let d = deployed()?;
    let who = Who::new("shop-race", "ann");
    let sku: Sku = "race-1".parse()?;
    d.tables.put_product(sku.as_str(), 1_000, 100).await?;
    for (key, write, state, effects) in [
        ("validating", ("UpdateItem", "-orders\""), State::Accepted, &[][..]),
        (
            "reserving",
            ("TransactWriteItems", "-stock\""),
            State::Authorized,
            &[Effect::PaymentCreated, Effect::Authorized, Effect::Voided],
        ),
    ] {
        let (operation, table) = write;
        let id = who.order_id(key)?;
        let mut write = proxy().hold(operation, id, table);
        assert_eq!(place_of(&d, &who, key, sku.as_str()).await?, id);
        tokio::time::timeout(SOON, write.reached()).await.context("the step never wrote")??;
        let answer = d.api.cancel(&who, id).await?;
        assert_eq!((answer.status, answer.state()), (202, state.name()), "{}", answer.text);
        write.let_go()?;
        let order = d.ended(id, SOON).await?.order;
        assert_eq!((order.state, order.parked), (State::Cancelled, None), "{key}");
        assert_eq!(order.reason.map(|reason| reason.code), Some(ReasonCode::CustomerCancelled), "{key}");
        let id = id.to_string();
        let own = d.ledger.entries()?.into_iter().filter(|entry| entry.order_id.as_ref() == Some(&id));
        assert_eq!(own.map(|entry| entry.effect).collect::<Vec<_>>(), effects, "{key}");
        assert_eq!(d.tables.stock().await?[&sku], 100, "{key}");
    }
    Ok(())
}
