//! `orderflow replay-local <case>`: runs the captured message of a case through its function's own binary on this machine, for
//! debugging. Unless it is let, the process changes nothing: [`crate::replay::Guard`].

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_sdk_sqs::config::ProvideCredentials as _;
use clap::Args;
use lambda_queue::Clock as _;
use order::CaseId;
use platform::Aws;
use ports::{DecideCases as _, ReadCases as _, StoredCase};
use runtime_api::{Function, Invoked, Limit, Outcome};
use serde_json::{Value, json};

use super::operator::{Asking, by};
use super::output::{out, table};
use super::target::Target;
use crate::replay::{self, Guard, Held, PROVIDERS, Replay, What};
use crate::stack::{Options, StackInfo, binaries, deployed_function, project_root};

/// How long an answer is waited for with a debugger attached. The deadline stays the deployed function's.
const DEBUGGED: Duration = Duration::from_secs(12 * 3_600);

#[derive(Debug, Args)]
#[command(
    after_help = "The function is the one that this checkout built (`make build`), with the environment of the deployed \
    one. Without --with-effects it may read the stack; a message that it would send is held back, a write to a table is \
    refused, and of a provider only reads are asked: what it would have done is shown. So a step that gets as far as its \
    effect ends with `retry` here.\n\nIts timeout is the deployed function's, under a debugger too: what goes on after it does so \
    as in a function that has run out of time.\n\nOn AWS nothing can be held back: there it is --with-effects, or --on-local."
)]
pub(super) struct ReplayLocal {
    /// The case's id: of a dead letter, as the others have no message
    case_id: CaseId,
    /// Another binary of the function
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Let it write, send and call the providers, as the deployed one would; asks first
    #[arg(long, requires = "reason")]
    with_effects: bool,
    /// Take the message from --stack and run it on the local stack: on AWS nothing can be held back. Its state folder
    /// [default: .local in the project]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, requires = "stack", conflicts_with = "with_effects")]
    on_local: Option<Option<PathBuf>>,
    /// Print the process's id and wait for Enter before it gets the message: to attach a debugger. Not with effects: a
    /// process that is halted holds the order's lease, and may outlive it between two of its calls
    #[arg(long, conflicts_with = "with_effects")]
    debugger: bool,
    /// Log from this level on [default: as deployed]
    #[arg(long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
    /// Why: written down where it may have effects, and needed there
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    target: Target,
}

/// What came of it.
struct Ran {
    ready_after: Duration,
    invoked: Invoked,
    lines: Vec<String>,
    held: Vec<Held>,
}

pub(super) async fn run(what: ReplayLocal, json: bool) -> anyhow::Result<()> {
    let aws = what.target.aws().await?;
    let stack = what.target.name()?;
    let Some(case) = aws.load_case(&what.case_id).await? else {
        bail!("there is no case {}: `orderflow case list --status all` shows what there is", what.case_id);
    };
    let replay = captured(&aws, &stack, &case).await?;
    let binary = what.binary(replay.function)?;
    let (environment, timeout) = what.deployed(&stack, &replay).await?;
    let own = replay.function;
    eprintln!("{own} ({}) gets the message of {}, as {own} of {stack} would", binary.display(), replay.queue);
    let (environment, guards) = if what.with_effects {
        what.ask(&aws, &stack, &replay, &environment).await?;
        (environment, Vec::new())
    } else {
        eprintln!("it may read; what it would send, write or ask of a provider is held back (--with-effects lets it)");
        guarded(environment).await?
    };
    let ran = what.invoke(&binary, &environment, timeout, replay.event, &guards).await?;
    if json {
        let shown = shown(&case, own, &ran);
        writeln!(out(), "{}", serde_json::to_string_pretty(&shown)?)?;
    } else {
        show(&ran)?;
    }
    Ok(())
}

/// The event of a case's message.
async fn captured(aws: &Aws, stack: &str, case: &StoredCase) -> anyhow::Result<Replay> {
    let id = &case.case.case_id;
    let Some(letter) = &case.case.letter else {
        bail!(
            "case {id} is about no message ({}): nothing was captured; `orderflow case show {id}`",
            case.case.kind.name()
        );
    };
    let raw =
        aws.load_raw(&letter.raw).await?.with_context(|| format!("the raw message {} has expired", letter.raw))?;
    replay::event(stack, letter, &serde_json::from_slice(&raw)?, aws.now_ms())
}

impl ReplayLocal {
    fn binary(&self, function: &str) -> anyhow::Result<PathBuf> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => binaries(&project_root()?).join(function),
        };
        ensure!(binary.is_file(), "{} is not there: compile it with `make build`, or give --binary", binary.display());
        Ok(binary)
    }

    /// The environment of the deployed function, with what a process outside needs to reach the same AWS, and its timeout.
    async fn deployed(&self, stack: &str, replay: &Replay) -> anyhow::Result<(BTreeMap<String, String>, Duration)> {
        let (mut environment, timeout) = match self.local()? {
            Some(info) => deployed_function(&info, replay.function).await?,
            None => {
                ensure!(
                    self.with_effects,
                    "{stack} is a stack on AWS: what a function does there cannot be held back here. --on-local runs it on \
                     the local stack; --with-effects lets it read and write on {stack}, with your credentials"
                );
                self.remote(&format!("{stack}-{}", replay.function)).await?
            }
        };
        environment.insert("AWS_LAMBDA_FUNCTION_NAME".to_owned(), format!("{stack}-{}", replay.function));
        environment.insert("RUST_BACKTRACE".to_owned(), "1".to_owned());
        if let Some(level) = &self.log_level {
            environment.insert("LOG_LEVEL".to_owned(), level.clone());
        }
        Ok((environment, timeout))
    }

    /// The local stack that it runs on.
    fn local(&self) -> anyhow::Result<Option<StackInfo>> {
        let Some(dir) = &self.on_local else { return self.target.info() };
        let dir = match dir {
            Some(dir) => dir.clone(),
            None => Options::discover()?.dir,
        };
        let info = StackInfo::load(&dir)?.filter(StackInfo::is_running);
        Ok(Some(info.with_context(|| format!("no stack is running from {}; start one with `make up`", dir.display()))?))
    }

    /// Of a function on AWS, with the operator's own credentials.
    async fn remote(&self, function: &str) -> anyhow::Result<(BTreeMap<String, String>, Duration)> {
        let config = self.target.config().await?;
        let asked =
            aws_sdk_lambda::Client::new(&config).get_function_configuration().function_name(function).send().await;
        let asked = asked.with_context(|| format!("the function {function} cannot be read"))?;
        let timeout_s = asked.timeout().and_then(|seconds| u64::try_from(seconds).ok());
        let timeout_s = timeout_s.with_context(|| format!("{function} does not say its timeout"))?;
        let variables = asked.environment().and_then(|environment| environment.variables()).cloned();
        let mut environment: BTreeMap<String, String> = variables.unwrap_or_default().into_iter().collect();
        let provider = config.credentials_provider().context("there are no AWS credentials")?;
        let credentials = provider.provide_credentials().await.context("there are no AWS credentials")?;
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", Some(credentials.access_key_id())),
            ("AWS_SECRET_ACCESS_KEY", Some(credentials.secret_access_key())),
            ("AWS_SESSION_TOKEN", credentials.session_token()),
            ("AWS_REGION", config.region().map(AsRef::as_ref)),
            ("AWS_ENDPOINT_URL", config.endpoint_url()),
        ] {
            environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        }
        Ok((environment, Duration::from_secs(timeout_s)))
    }

    /// Shows what it can touch, asks, and writes down that it was done.
    async fn ask(
        &self,
        aws: &Aws,
        stack: &str,
        replay: &Replay,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for line in replay::reach(environment) {
            eprintln!("  {line}");
        }
        let function = replay.function;
        self.asking.confirm(&format!("{function} may read and change all of these, as on {stack} itself. Run it?"))?;
        let by = by(&self.target, self.reason.as_deref().context("why? Say it with --reason")?).await?;
        let detail = format!("{function} on the operator's machine, with effects");
        aws.write_audit(&by.audit(aws, "replay-local", self.case_id.as_str(), detail)).await?;
        Ok(())
    }

    async fn invoke(
        &self,
        binary: &std::path::Path,
        environment: &BTreeMap<String, String>,
        timeout: Duration,
        event: Value,
        guards: &[Guard],
    ) -> anyhow::Result<Ran> {
        let mut function = Function::start(binary, environment, limit(timeout, self.debugger)).await?;
        if self.debugger {
            let pid = function.pid().context("it has ended")?;
            eprintln!("process {pid} waits for its message (`gdb -p {pid}`, `lldb -p {pid}`): Enter hands it over");
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).context("cannot read from the terminal")?;
        }
        let ready_after = function.ready_after();
        let invoked = function.invoke(event).await;
        let lines = function.end().await;
        let invoked = invoked.with_context(|| format!("it printed:\n{}", lines.join("\n")))?;
        Ok(Ran { ready_after, invoked, lines, held: guards.iter().flat_map(Guard::held).collect() })
    }
}

/// The deadline is never later than the deployed function's: leases are written by it.
fn limit(timeout: Duration, debugged: bool) -> Limit {
    Limit { timeout, patience: if debugged { DEBUGGED } else { timeout } }
}

/// The environment with guards in front of AWS and of each provider.
async fn guarded(mut environment: BTreeMap<String, String>) -> anyhow::Result<(BTreeMap<String, String>, Vec<Guard>)> {
    let closed = replay::close_ways_out(&mut environment)?;
    if !closed.is_empty() {
        eprintln!("not given to it, as they lead around what holds it back: {}", closed.join(", "));
    }
    let mut guards = Vec::new();
    let words = environment.get("BREAKERS_TABLE").cloned();
    for (name, what) in
        [("AWS_ENDPOINT_URL", What::Aws)].into_iter().chain(PROVIDERS.map(|name| (name, What::Provider)))
    {
        let Some(address) = environment.get_mut(name) else { continue };
        let guard = Guard::before(address, what, words.as_deref()).await?;
        guard.address().clone_into(address);
        guards.push(guard);
    }
    ensure!(environment.contains_key("AWS_ENDPOINT_URL"), "nobody says where AWS is");
    Ok((environment, guards))
}

/// What the function's own line says became of the record.
fn verdict(lines: &[String]) -> Option<String> {
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |line: Value| line.get("verdict").and_then(Value::as_str).map(str::to_owned);
    lines.filter_map(of).next_back()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn shown(case: &StoredCase, function: &str, ran: &Ran) -> Value {
    let (answer, error) = match &ran.invoked.outcome {
        Outcome::Answered(answer) => (Some(answer), None),
        Outcome::Failed(error) => (None, Some(error)),
    };
    // A line that is JSON is printed as what it is.
    let lines: Vec<Value> =
        ran.lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect();
    json!({
        "case_id": case.case.case_id, "function": function, "verdict": verdict(&ran.lines), "answer": answer,
        "error": error, "held_back": ran.held, "ready_after_ms": milliseconds(ran.ready_after),
        "took_ms": milliseconds(ran.invoked.took), "lines": lines,
    })
}

fn show(ran: &Ran) -> anyhow::Result<()> {
    for line in &ran.lines {
        writeln!(out(), "{line}")?;
    }
    let mut rows = table();
    rows.add_row(["verdict", verdict(&ran.lines).as_deref().unwrap_or("none: the record was not finished")]);
    match &ran.invoked.outcome {
        Outcome::Answered(answer) => rows.add_row(["answer", &answer.to_string()]),
        Outcome::Failed(error) => rows.add_row(["failed", &error.to_string()]),
    };
    for Held { call, on, letter, told } in &ran.held {
        let on = if on.is_empty() { String::new() } else { format!(" on {on}") };
        let letter = if letter.is_empty() { String::new() } else { format!(" ({letter})") };
        rows.add_row(["held back", &format!("{call}{on}{letter}, told that it is {told}")]);
    }
    let times =
        format!("ready after {} ms, answered after {} ms", ran.ready_after.as_millis(), ran.invoked.took.as_millis());
    rows.add_row(["took", &times]);
    writeln!(out(), "{rows}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_functions_own() {
        let lines =
            ["a panic's text", r#"{"message":"record failed"}"#, r#"{"message":"record finished","verdict":"retry"}"#];
        assert_eq!(verdict(&lines.map(str::to_owned)).as_deref(), Some("retry"));
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn a_debugger_makes_the_tool_patient_and_no_deadline_later() {
        let timeout = Duration::from_secs(25);
        assert_eq!(limit(timeout, false), Limit { timeout, patience: timeout });
        assert_eq!(limit(timeout, true), Limit { timeout, patience: DEBUGGED });
    }

    #[tokio::test]
    async fn every_way_out_is_guarded() {
        let environment = [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("PAYMENT_API_URL", "http://127.0.0.1:2"),
            ("CARRIER_API_URL", "http://127.0.0.1:3/carrier"),
            ("ORDERS_TABLE", "orders"),
        ];
        let around = ("AWS_ENDPOINT_URL_SQS".to_owned(), "http://127.0.0.1:4".to_owned());
        let environment: BTreeMap<String, String> =
            environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (guarded_by, guards) = guarded(environment.clone().into_iter().chain([around]).collect()).await.unwrap();
        assert_eq!(guarded_by.len(), environment.len(), "{guarded_by:?}");
        assert_eq!(guards.len(), 3);
        for (name, value) in &environment {
            assert_eq!(guarded_by[name] == *value, name == "ORDERS_TABLE", "{name}");
        }
        let without = BTreeMap::from([("ORDERS_TABLE".to_owned(), "orders".to_owned())]);
        assert!(guarded(without).await.is_err(), "it would look for AWS itself");
    }
}
