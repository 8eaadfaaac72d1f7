//! The API over the platform's own tables, in memory: what one program cannot read, and what several environments share.

use accept_order::{Api, Invocation, Settings, handle};
use lambda_queue::Clock as _;
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Item, Store as _, Write, number_of, text};
use platform::Platform;
use platform::memory::Memory;
use ports::Deadlines;
use serde_json::{Value, json};

use crate::support::{AUDIENCE, Ask, ISSUER, IssuerKeys, Reply, order_body, post_order, token};

/// Some environments of the API over one set of tables.
struct Stage {
    platform: Platform<Memory>,
    environments: Vec<Api<IssuerKeys>>,
}

impl Stage {
    fn new(environments: usize, tenant_rate_per_second: u32) -> Self {
        let platform = Platform::in_memory(World::new(1));
        let (issuer, audience) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let settings = Settings { issuer, audience, tenant_rate_per_second, deadlines: Deadlines::NONE };
        let environments = (0..environments).map(|_| Api::new(&settings, IssuerKeys::new())).collect();
        Self { platform, environments }
    }

    async fn ask(&self, environment: usize, ask: Ask) -> Reply {
        let now_ms = self.platform.now_ms();
        let claims = json!({ "iat": now_ms / 1_000, "exp": now_ms / 1_000 + 3_600 });
        let ask = ask.bearer(&token(claims));
        let deadline_ms = now_ms + 25_000;
        let invocation = Invocation { request_id: "invocation-1".to_owned(), deadline_ms, cold_start: false };
        handle(&self.platform, &self.environments[environment], &invocation, ask.0).await.into()
    }
}

/// The ids of a page, and the cursor of the next one.
fn page(reply: &Reply) -> (Vec<String>, Option<String>) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let id = |order: &Value| order["order_id"].as_str().unwrap().to_owned();
    let ids = reply.json["orders"].as_array().unwrap().iter().map(id).collect();
    (ids, reply.json["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_of_its_customers_list_and_the_pages_go_on_past_it() {
    let stage = Stage::new(1, 0);
    let mut ids = Vec::new();
    for key in 0..5 {
        let placed = stage.ask(0, post_order(&order_body()).key(&format!("key-{key}"))).await;
        ids.push(placed.json["order_id"].as_str().unwrap().to_owned());
        stage.platform.backend().world.advance_ms(1_000);
    }
    ids.reverse();
    // The newest, and one in the middle, are in a state that this program does not know.
    for id in [&ids[0], &ids[2]] {
        let key = Item::from([("order_id".to_owned(), text(id.clone()))]);
        let write = Write::update("orders", key, "SET #state = :state").name("#state", "state");
        stage.platform.backend().write(write.value(":state", text("pondering"))).await.unwrap();
    }
    let (all, next) = page(&stage.ask(0, Ask::new("GET", "/orders")).await);
    assert_eq!((&all, next), (&vec![ids[1].clone(), ids[3].clone(), ids[4].clone()], None));

    // One a page: a page may be empty, and goes on all the same.
    let (mut seen, mut pages, mut path) = (Vec::new(), 0, "/orders?limit=1".to_owned());
    loop {
        let (ids, next) = page(&stage.ask(0, Ask::new("GET", &path)).await);
        pages += 1;
        assert!(ids.len() <= 1 && pages <= 6, "{ids:?}, page {pages}");
        seen.extend(ids);
        let Some(next) = next else { break };
        path = format!("/orders?limit=1&cursor={next}");
    }
    assert_eq!(seen, all);

    // Asked for by itself there is no way round it.
    let alone = stage.ask(0, Ask::new("GET", &format!("/orders/{}", ids[0]))).await;
    alone.is_problem(500, "internal_error");
    assert_eq!(stage.ask(0, Ask::new("GET", &format!("/orders/{}", ids[1]))).await.status, 200);
}

#[tokio::test]
async fn a_tenant_is_held_to_its_rate_over_all_environments_none_of_which_sees_much_of_it() {
    let stage = Stage::new(20, 5);
    let mut statuses = Vec::new();
    // Ten a second, of which an environment sees one in two seconds.
    for at in 0..100 {
        let reply = stage.ask(at % 20, Ask::new("GET", "/orders")).await;
        if reply.status == 429 {
            reply.is_problem(429, "rate_limited");
        }
        statuses.push(reply.status.as_u16());
        stage.platform.backend().world.advance_ms(100);
    }
    // Five a second are fifty in ten seconds.
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((admitted, &statuses[..50]), (50, &[200; 50][..]));
    let counts = stage.platform.backend().store.items("breakers");
    assert!(counts.iter().all(|row| number_of(row, "requests").is_some_and(|requests| requests <= 70)), "{counts:?}");
    // And in the next ten it may ask again.
    assert_eq!(stage.ask(0, Ask::new("GET", "/orders")).await.status, 200);
}
