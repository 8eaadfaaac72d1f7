//! The stack of these tests, and the tool on it.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use order::OrderId;
use orderflow::stack::{self, Options, StackInfo, binaries, project_root};
use serde_json::{Value, json};
use tests::deployed::Deployed;
use tests::guard::{self, Guard, Owned};
use tests::wait::eventually;
use tokio::sync::{Mutex, MutexGuard};

/// Within which the stack comes to rest on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);

static STACK: OnceLock<(StackInfo, Guard, Owned)> = OnceLock::new();
/// The stack's health is everybody's: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// One test's turn with the stack.
pub struct Desk {
    pub d: Deployed,
    pub dir: std::path::PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// How a command of the tool ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    fn of(output: &std::process::Output) -> anyhow::Result<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().context("it was killed")?;
        Ok(Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Whether a finding of this check has this health and says this.
    pub fn finds(&self, check: &str, health: &str, seen: &str) -> bool {
        let all = self.json();
        all["findings"].as_array().unwrap().iter().any(|finding| {
            finding["check"] == check
                && finding["health"] == health
                && finding["seen"].as_str().unwrap().contains(seen)
                && (health == "ok" || !finding["do"].as_str().unwrap().is_empty())
        })
    }
}

impl Desk {
    pub async fn open() -> anyhow::Result<Self> {
        let alone = ALONE.lock().await;
        let bring_up = || -> anyhow::Result<(StackInfo, Guard, Owned)> {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let root = project_root()?;
                let (dir, owned) = guard::own_one_of(&root.join("target/operator-tests"))?;
                let mut options = Options::new(root).in_dir(dir);
                options.progress = Arc::new(|line| eprintln!("{line}"));
                let stack = stack::up(&options).await?;
                let guard = guard::watch(Path::new(env!("CARGO_BIN_EXE_run")), stack.dir())?;
                Ok((stack.detach(), guard, owned))
            })
        };
        let up = STACK.get_or_init(|| std::thread::spawn(bring_up).join().expect("a panic").expect("a stack"));
        // The ledger is in the state folder.
        let dir = up.0.ledger.parent().context("the ledger has no folder")?.to_owned();
        Ok(Self { d: Deployed::new(up.0.clone())?, dir, _alone: alone })
    }

    pub async fn orderflow(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let output = tokio::process::Command::new(binaries(&project_root()?).join("orderflow"))
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .env_remove("ORDERFLOW_STACK")
            .stdin(Stdio::null())
            .output()
            .await?;
        Ended::of(&output)
    }

    /// The same stack as one on AWS: by its name, with credentials of the environment.
    pub async fn as_on_aws(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let output = tokio::process::Command::new(binaries(&project_root()?).join("orderflow"))
            .args(arguments)
            .args(["--stack", "orderflow", "--region", "us-east-1", "--endpoint-url", &self.d.info.endpoint])
            .env_remove("AWS_PROFILE")
            .env("AWS_ACCESS_KEY_ID", stack::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .output()
            .await?;
        Ended::of(&output)
    }

    pub async fn doctor(&self) -> anyhow::Result<Ended> {
        self.orderflow(&["doctor", "--json"]).await
    }

    pub async fn is_healthy(&self) -> anyhow::Result<()> {
        eventually("the doctor finds nothing", SOON, || async {
            let ended = self.doctor().await?;
            Ok((ended.code == 0 && ended.json()["health"] == "ok").then_some(()))
        })
        .await
    }

    /// The open cases of a step, once there are so many.
    pub async fn cases(&self, step: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        eventually("the cases are open", SOON, || async {
            let listed = self.orderflow(&["case", "list", "--step", step, "--json"]).await?;
            let cases = listed.json().as_array().cloned().unwrap_or_default();
            Ok((cases.len() >= count).then_some(cases))
        })
        .await
    }

    pub async fn close(&self, step: &str) -> anyhow::Result<()> {
        let closed = self.orderflow(&["case", "close", "--step", step, "--reason", "a test's", "--yes"]).await?;
        ensure!(closed.code == 0, "{}", closed.stderr);
        Ok(())
    }

    /// Places an order of one piece.
    pub async fn place(&self, key: &str, lane: &str) -> anyhow::Result<OrderId> {
        self.d.tables.put_product("op-1", 1_000, 10).await?;
        let who = tests::api::Who::new("shop-operator".to_owned(), "ann");
        let body = json!({
            "lane": lane,
            "lines": [{ "sku": "op-1", "quantity": 1 }],
            "ship_to": {
                "name": "Ann", "line1": "1 Long Road", "city": "Springfield", "postal_code": "12345", "country": "US",
            },
            "email": "ann@op.example.test",
            "payment_method": "pm_card_visa",
        });
        self.d.api.place(&who, key, &body).await?.order_id().context("no order id")
    }

    /// Puts an alarm into a state, as CloudWatch would.
    pub async fn alarm(&self, name: &str, state: &str) -> anyhow::Result<()> {
        let set = json!({ "AlarmName": name, "StateValue": state, "StateReason": "a test's" });
        let http = reqwest::Client::builder().no_proxy().build()?;
        let asked =
            http.post(&self.d.info.endpoint).header("x-amz-target", "GraniteServiceVersion20100801.SetAlarmState");
        let asked = asked.header("content-type", "application/x-amz-json-1.0").body(set.to_string());
        asked.send().await?.error_for_status()?;
        Ok(())
    }
}
