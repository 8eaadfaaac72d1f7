//! The local stack: ministack (a local AWS), the sandbox (payment provider, carrier and token issuer) and the real
//! template deployed into them with the real `sam deploy`.
//!
//! [`up`] brings one up and answers a [`Stack`]; dropping that stops what it started, [`Stack::detach`] leaves it
//! running for later commands, which find it through `stack.json` in its state folder. Several stacks run side by side
//! when each has a state folder of its own ([`Options::dir`]).

mod artifacts;
mod catalogue;
mod cloud;
mod info;
mod process;
mod sam;
mod services;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

pub use artifacts::{FUNCTIONS, Program, binaries, build, build_next, package};
pub use catalogue::{Product, load as load_catalogue, read as read_products, seed};
pub use cloud::{Clients, local_config, output, outputs};
pub use info::{Launcher, StackInfo};
pub use services::free_port;
pub use status::{QueueDepth, Status, function_environment, status};
pub(crate) use status::{deployed_function, depths, queue_depths, queue_urls};

use process::Guard;

/// Account id (a 12-digit access key picks the account in ministack), and the secret that goes with it.
pub const ACCESS_KEY: &str = "000000000000";
/// The region of every local stack.
pub const REGION: &str = "us-east-1";
/// The sender of every mail of a local stack.
pub const MAIL_FROM: &str = "shop@example.test";
/// The audience that the sandbox's tokens carry and the API asks for.
pub const JWT_AUDIENCE: &str = "orderflow";

/// What to bring up, and where.
#[derive(Clone)]
pub struct Options {
    /// The project's folder: where `template.yaml` and `Cargo.toml` are.
    pub root: PathBuf,
    /// State folder: `stack.json`, logs, the sandbox's ledger. One stack each.
    pub dir: PathBuf,
    /// CloudFormation stack name.
    pub stack_name: String,
    /// How ministack is started.
    pub launcher: Launcher,
    /// Compile the functions first. Off when the caller has just done so.
    pub compile: bool,
    /// Where the functions reach AWS, when not ministack itself: a proxy that injects faults, say. `{endpoint}` in it
    /// is replaced with ministack's own address.
    pub function_endpoint: Option<String>,
    /// ministack's port; a free one where there is none. For whoever has to know it before it is up.
    pub port: Option<u16>,
    /// Keep ministack's state over [`Stack::restart_ministack`]. Off: it ends with its process.
    pub keep_state: bool,
    /// Template parameters on top of the ones every local stack gets, or in their place.
    pub parameters: Vec<(String, String)>,
    /// Says what is going on, one line a call.
    pub progress: Progress,
}

/// Takes one line of progress.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

impl Options {
    /// Options for the project that holds the current folder, with its state in `.local`.
    ///
    /// # Errors
    /// When no folder from here upwards is this project.
    pub fn discover() -> anyhow::Result<Self> {
        Ok(Self::new(project_root()?))
    }

    /// Options for the project at `root`, with its state in `.local`, saying nothing.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            dir: root.join(".local"),
            root,
            stack_name: "orderflow".to_owned(),
            launcher: Launcher::Patched,
            compile: true,
            function_endpoint: None,
            port: None,
            keep_state: false,
            parameters: Vec::new(),
            progress: Arc::new(|_| ()),
        }
    }

    /// The same in another state folder.
    #[must_use]
    pub fn in_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }
}

/// The project's folder: the first one from the current folder upwards that has our template and manifest, else the one
/// this tool was compiled in.
///
/// # Errors
/// When there is none.
pub fn project_root() -> anyhow::Result<PathBuf> {
    let is_root = |dir: &Path| dir.join("Cargo.toml").is_file() && dir.join("functions/accept-order").is_dir();
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    if let Some(root) = here.ancestors().find(|dir| is_root(dir)) {
        return Ok(root.to_owned());
    }
    let compiled_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match compiled_in.canonicalize() {
        Ok(root) if is_root(&root) => Ok(root),
        Ok(_) | Err(_) => bail!("no orderflow project here; run this inside its folder"),
    }
}

/// A running local stack. Dropped, it stops; [`Stack::detach`] lets it live on.
pub struct Stack {
    /// Where everything is.
    pub info: StackInfo,
    dir: PathBuf,
    guard: Guard,
}

impl Stack {
    /// The SDK clients of this stack.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients::new(&self.info.endpoint)
    }

    /// The state folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the stack running and answers where it is; [`down`] stops it.
    #[must_use]
    pub fn detach(self) -> StackInfo {
        self.guard.release();
        self.info
    }

    /// Kills the sandbox as a crash would (SIGKILL), waits for `down_for`, and starts it again on the same port and ledger.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn crash_sandbox(&mut self, options: &Options, down_for: Duration) -> anyhow::Result<()> {
        self.info.sandbox().kill();
        tokio::time::sleep(down_for).await;
        let sandbox = services::restart_sandbox(&options.root, &self.dir, &self.info, &mut self.guard).await?;
        self.info.sandbox_pid = sandbox.pid;
        self.info.sandbox_started = sandbox.started;
        self.info.save(&self.dir)
    }

    /// Asks ministack to end (SIGTERM), kills what functions it leaves behind, and starts it again on the same port with the
    /// same state. [`Options::keep_state`] has to be set, and to have been set when the stack came up.
    ///
    /// # Errors
    /// When its state is not kept, or it does not end or does not come up again.
    pub async fn restart_ministack(&mut self, options: &Options) -> anyhow::Result<()> {
        ensure!(options.keep_state, "ministack does not keep its state: what it holds would be lost");
        self.info.ministack().end().await?;
        let ministack = services::restart_ministack(options, &self.dir, &self.info, &mut self.guard).await?;
        self.info.ministack_pid = ministack.pid;
        self.info.ministack_started = ministack.started;
        self.info.save(&self.dir)
    }

    /// Stops the stack and forgets it. The ledger and the logs stay.
    ///
    /// # Errors
    /// When the state file cannot be removed.
    pub fn down(self) -> anyhow::Result<()> {
        drop(self.guard);
        StackInfo::forget(&self.dir)
    }
}

/// Says lines with the seconds since the start.
#[derive(Clone)]
pub(crate) struct Reporter {
    started: Instant,
    progress: Progress,
}

impl Reporter {
    fn new(progress: Progress) -> Self {
        Self { started: Instant::now(), progress }
    }

    pub(crate) fn say(&self, what: &str) {
        (self.progress)(&format!("[{:6.1} s] {what}", self.started.elapsed().as_secs_f64()));
    }
}

/// Brings up a stack: compiles, packages, starts ministack and the sandbox, deploys, seeds the catalogue, and waits
/// until the API answers. Whatever it started is stopped again when it fails or is cancelled.
///
/// # Errors
/// When a step fails; the message says which and what to do next.
pub async fn up(options: &Options) -> anyhow::Result<Stack> {
    let reporter = Reporter::new(Arc::clone(&options.progress));
    if let Some(running) = StackInfo::load(&options.dir)?
        && running.is_running()
    {
        bail!(
            "a stack is already running from {}: stop it first with `orderflow stack down` or `make down`",
            options.dir.display()
        );
    }
    std::fs::create_dir_all(&options.dir).with_context(|| format!("cannot create {}", options.dir.display()))?;
    let dir = options.dir.canonicalize().context("the state folder cannot be resolved")?;

    if options.compile {
        reporter.say("compiling the functions and the sandbox");
        build(&options.root).await?;
    }
    let bundle = artifacts::bundle(&options.root, Program::Shipped)?;
    reporter.say(&format!("packaged {} functions, {:.1} MB", FUNCTIONS.len(), bundle.megabytes()));

    let mut guard = Guard::default();
    let sandbox = services::start_sandbox(&options.root, &dir, &mut guard).await?;
    reporter.say(&format!("sandbox (payment, carrier, tokens) at {}", sandbox.url));
    let ministack = services::start_ministack(options, &dir, &mut guard).await?;
    reporter.say(&format!("ministack ({}) at {}", options.launcher, ministack.endpoint));

    let clients = Clients::new(&ministack.endpoint);
    cloud::prepare(&clients).await?;
    sam::deploy(options, &dir, &bundle, &ministack.endpoint, &sandbox.url, &reporter).await?;
    let outputs = cloud::outputs(&clients, &options.stack_name).await?;
    cloud::check_packages(&clients).await?;
    cloud::finish_topic(&clients, &outputs, &bundle.template).await?;
    let products = catalogue::load(&options.root)?;
    catalogue::seed(&clients, cloud::output(&outputs, "StockTable")?, &products).await?;
    reporter.say(&format!("deployed stack {}, {} products in stock", options.stack_name, products.len()));

    let api_url = cloud::reachable_api_url(&ministack.endpoint, cloud::output(&outputs, "ApiUrl")?)?;
    services::wait_for_api(&api_url).await?;
    let info = StackInfo {
        ministack_pid: ministack.process.pid,
        ministack_started: ministack.process.started,
        sandbox_pid: sandbox.process.pid,
        sandbox_started: sandbox.process.started,
        endpoint: ministack.endpoint,
        sandbox_url: sandbox.url,
        api_url,
        ledger: sandbox.ledger,
        stack_name: options.stack_name.clone(),
        outputs,
        launcher: options.launcher,
    };
    info.save(&dir)?;
    reporter.say(&format!("the API answers at {}", info.api_url));
    Ok(Stack { info, dir, guard })
}

/// Stops the stack whose state is in `dir`, by the process ids recorded there and only if they are still the processes
/// that were recorded. Answers whether there was one.
///
/// # Errors
/// When the state file cannot be read or removed.
pub fn down(dir: &Path) -> anyhow::Result<bool> {
    let Some(info) = StackInfo::load(dir)? else { return Ok(false) };
    let found = info.is_running();
    for process in info.processes() {
        process.stop();
    }
    StackInfo::forget(dir)?;
    Ok(found)
}
