//! The stack that all tests share, and the shop that each test is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use order::{Fingerprint, Lane, Line, NewOrder, Order, OrderId, Sku};
use orderflow::stack::{self, Options, StackInfo};
use serde_json::{Value, json};
use tests::api::{Answer, Who};
use tests::archive;
use tests::check::{self, Evidence, Placed, RefundAsked};
use tests::clock::now_ms;
use tests::deployed::Deployed;
use tests::guard::{self, Guard, Owned};
use tests::ledger::{Effect, LedgerEntry};
use tests::run::without_deadlines;
use tests::tables::Row;
use tests::wait::eventually;

/// Long enough for an order's whole way on a busy machine; a message that comes back once is another half a minute.
pub const SOON: Duration = Duration::from_secs(60);
/// What every piece costs.
pub const PRICE: u64 = 1_000;
/// How many there are.
pub const PIECES: u64 = 100;

/// The stack, and the process that stops it after the last test, whichever that is.
static STACK: OnceLock<Result<Up, String>> = OnceLock::new();

struct Up {
    info: StackInfo,
    _guard: Guard,
    _owned: Owned,
}

fn stack_info() -> StackInfo {
    // A runtime of its own: the tests' runtimes end with them.
    let bring_up = || {
        let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
        runtime.block_on(bring_up())
    };
    let up = STACK.get_or_init(|| {
        let up = std::thread::spawn(bring_up).join();
        up.unwrap_or_else(|_| bail_out()).map_err(|error| format!("{error:#}"))
    });
    match up {
        Ok(up) => up.info.clone(),
        Err(error) => panic!("the stack could not be brought up: {error}"),
    }
}

fn bail_out() -> anyhow::Result<Up> {
    bail!("bringing it up panicked")
}

async fn bring_up() -> anyhow::Result<Up> {
    let root = stack::project_root()?;
    let (dir, owned) = guard::own_one_of(&root.join("target/deployed-tests"))?;
    let mut options = Options::new(root).in_dir(dir);
    // Bulk keeps its own, for the tests of overload, which have the lane to themselves.
    options.parameters.extend(without_deadlines(&[Lane::Express, Lane::Standard]));
    options.progress = Arc::new(|line| eprintln!("{line}"));
    let stack = stack::up(&options).await?;
    let guard = guard::watch(Path::new(env!("CARGO_BIN_EXE_run")), stack.dir())?;
    Ok(Up { info: stack.detach(), _guard: guard, _owned: owned })
}

/// One test's tenant, customer and products, and what it asked for.
pub struct Shop {
    /// The stack.
    pub d: Deployed,
    /// The one customer.
    pub who: Who,
    /// The one product, `PIECES` of it at `PRICE`.
    pub sku: String,
    /// The customer's address, nobody else's.
    pub email: String,
    since_ms: u64,
    seeded: Mutex<BTreeMap<Sku, u64>>,
    placed: Mutex<Vec<Placed>>,
    refunds: Mutex<Vec<RefundAsked>>,
}

impl Shop {
    /// Opens the shop of a test; the name is the test's own.
    pub async fn open(name: &str) -> anyhow::Result<Self> {
        let d = Deployed::new(stack_info())?;
        let shop = Self {
            who: Who::new(format!("shop-{name}"), "ann"),
            sku: format!("{name}-1"),
            email: format!("ann@{name}.example.test"),
            since_ms: now_ms(),
            seeded: Mutex::default(),
            placed: Mutex::default(),
            refunds: Mutex::default(),
            d,
        };
        shop.sell(&shop.sku, PIECES).await?;
        Ok(shop)
    }

    /// Puts another product on sale.
    pub async fn sell(&self, sku: &str, available: u64) -> anyhow::Result<()> {
        self.sell_at(sku, PRICE, available).await
    }

    /// The same at another price, US cents.
    pub async fn sell_at(&self, sku: &str, price_minor: u64, available: u64) -> anyhow::Result<()> {
        self.d.tables.put_product(sku, price_minor, available).await?;
        self.seeded.lock().unwrap().insert(sku.parse()?, available);
        Ok(())
    }

    /// An order of two pieces that ships.
    pub fn body(&self, lane: Lane) -> Value {
        json!({
            "lane": lane.name(),
            "lines": [{ "sku": self.sku, "quantity": 2 }],
            "ship_to": {
                "name": "Ann", "line1": "1 Long Road", "city": "Springfield", "postal_code": "12345", "country": "US",
            },
            "email": self.email,
            "payment_method": "pm_card_visa",
        })
    }

    /// The same, paid with another method.
    pub fn body_paid_by(&self, lane: Lane, payment_method: &str) -> Value {
        let mut body = self.body(lane);
        body["payment_method"] = payment_method.into();
        body
    }

    /// The id of the order that this key means.
    pub fn id(&self, key: &str) -> OrderId {
        self.who.order_id(key).unwrap()
    }

    /// Places an order and remembers that it did.
    pub async fn place(&self, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let at_ms = now_ms();
        let answer = self.d.api.place(&self.who, key, body).await?;
        self.remember(key, body, at_ms, &answer);
        Ok(answer)
    }

    /// Remembers a request that the test sent by itself.
    pub fn remember(&self, key: &str, body: &Value, at_ms: u64, answer: &Answer) {
        self.placed.lock().unwrap().push(Placed::new(&self.who, key, body, at_ms, Some(answer)));
    }

    /// Places an order that has to be taken, and answers its id.
    pub async fn order(&self, key: &str, body: &Value) -> anyhow::Result<OrderId> {
        let answer = self.place(key, body).await?;
        anyhow::ensure!(answer.status == 202, "answered {} {}", answer.status, answer.text);
        answer.order_id().context("no order id")
    }

    /// Takes a request for refused, so that its order is nobody's.
    pub fn forget(&self, key: &str) {
        self.placed
            .lock()
            .unwrap()
            .iter_mut()
            .filter(|placed| placed.key == key)
            .for_each(|placed| placed.status = 400);
    }

    /// Asks money back, and remembers.
    pub async fn refund(&self, id: OrderId, key: &str, amount_minor: Option<u64>) -> anyhow::Result<Answer> {
        let answer = self.d.api.refund(&self.who, id, key, amount_minor).await?;
        let asked = RefundAsked { order_id: id, key: key.to_owned(), amount_minor, status: answer.status };
        self.refunds.lock().unwrap().push(asked);
        Ok(answer)
    }

    /// A row as acceptance makes it, not yet in the table.
    pub fn row(&self, key: &str, lane: Lane, at_ms: u64) -> anyhow::Result<Order> {
        let new = NewOrder {
            order_id: self.id(key),
            tenant: self.who.tenant.parse()?,
            customer: self.who.customer.parse()?,
            lane,
            fingerprint: Fingerprint::of(key.as_bytes()),
            lines: vec![Line { sku: self.sku.parse()?, quantity: 2, price: None }],
            currency: order::Currency::USD,
            expected_total: None,
            ship_to: serde_json::from_value(self.body(lane)["ship_to"].clone())?,
            email: self.email.parse()?,
            payment_method: "pm_card_visa".parse()?,
            traceparent: None,
        };
        Ok(Order::accept(new, at_ms))
    }

    /// Puts an accepted row in the table without any message: the API was killed between the two.
    pub async fn accept_without_message(&self, key: &str, lane: Lane, at_ms: u64) -> anyhow::Result<Order> {
        let order = self.row(key, lane, at_ms)?;
        self.d.tables.put_order(&order).await?;
        let placed = Placed {
            who: self.who.clone(),
            key: key.to_owned(),
            body: self.body(lane),
            status: 202,
            order_id: Some(order.order_id),
            at_ms,
        };
        self.placed.lock().unwrap().push(placed);
        Ok(order)
    }

    /// Waits until an order has ended.
    pub async fn ended(&self, id: OrderId) -> anyhow::Result<Row> {
        self.d.ended(id, SOON).await
    }

    /// Waits until a row is as asked.
    pub async fn when(&self, id: OrderId, what: &str, is_so: impl Fn(&Order) -> bool) -> anyhow::Result<Row> {
        self.d.row_when(id, what, SOON, |row| is_so(&row.order)).await
    }

    /// What the providers did for an order, oldest first.
    pub fn effects(&self, id: OrderId) -> anyhow::Result<Vec<Effect>> {
        Ok(self.entries(id)?.into_iter().map(|entry| entry.effect).collect())
    }

    /// The providers' entries for an order, oldest first.
    pub fn entries(&self, id: OrderId) -> anyhow::Result<Vec<LedgerEntry>> {
        let id = id.to_string();
        let mut entries = self.d.ledger.entries()?;
        entries.retain(|entry| entry.order_id.as_ref() == Some(&id));
        Ok(entries)
    }

    /// Pieces of the product that can be had now.
    pub async fn available(&self) -> anyhow::Result<i64> {
        let sku: Sku = self.sku.parse()?;
        self.d.tables.stock().await?.get(&sku).copied().context("the product is gone")
    }

    /// Waits until every order of the shop has ended and all that happened is published, and demands every invariant.
    pub async fn close(self) -> anyhow::Result<()> {
        let placed = self.placed.lock().unwrap().clone();
        let ids: BTreeSet<OrderId> = placed.iter().map(|placed| self.id(&placed.key)).collect();
        for placed in placed.iter().filter(|placed| placed.is_accepted()) {
            self.ended(self.id(&placed.key)).await?;
        }
        self.published(&ids).await?;
        let seeded = self.seeded.lock().unwrap().clone();
        let skus: BTreeSet<Sku> = seeded.keys().cloned().collect();
        let refunds = self.refunds.lock().unwrap().clone();
        let evidence = Evidence::collect(&self.d, placed, refunds, seeded, self.since_ms).await?.only(&ids, &skus);
        let broken: Vec<String> = check::all(&evidence)
            .into_iter()
            .filter(|verdict| !verdict.holds)
            .map(|verdict| format!("{}: {}", verdict.id, verdict.detail))
            .collect();
        anyhow::ensure!(broken.is_empty(), "{}", broken.join("\n"));
        Ok(())
    }

    async fn published(&self, ids: &BTreeSet<OrderId>) -> anyhow::Result<()> {
        eventually("every version is archived", SOON, || async {
            let archived = archive::events(&self.d.clients, &self.d.info).await?;
            let versions: BTreeSet<(&str, u64)> =
                archived.iter().map(|event| (event.order_id.as_str(), event.version)).collect();
            for id in ids {
                let Some(row) = self.d.tables.order(*id).await? else { continue };
                let text = id.to_string();
                if !(1..=row.order.version).all(|version| versions.contains(&(text.as_str(), version))) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }
}

/// The names of a row's events.
pub fn events(order: &Order) -> Vec<&'static str> {
    order.timeline.iter().map(|entry| entry.event.name()).collect()
}
