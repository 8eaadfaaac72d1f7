//! What is deployed: the functions' binaries, compiled once by cargo, laid out as `sam build` would.
//!
//! The folder made here is what `sam build` makes: the template with each `CodeUri` pointing at a folder that holds a
//! `bootstrap`. `sam build` itself works too and is what a deployment to AWS uses; locally this is quicker, because one
//! cargo run compiles everything in the profile that the tests use as well, the symbols are left out, and stacks
//! brought up side by side share the result.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Every function of the stack: its package, its binary and its folder under `functions/`.
pub const FUNCTIONS: [&str; 12] = [
    "accept-order",
    "validate-order",
    "process-payment",
    "reserve-stock",
    "ship-order",
    "notify-customer",
    "archive-events",
    "publish-events",
    "recover-orders",
    "reconcile-payments",
    "triage-dead-letters",
    "control-breakers",
];

/// What is compiled with them: so that features of dependencies unify as they do for the whole workspace and its tests,
/// and nothing is compiled twice. The Makefile's LOCAL_PACKAGES has the same (ADR 8).
const BESIDE: [&str; 3] = ["sandbox", "orderflow", "tests"];

/// A real function is megabytes; anything below this is a build that went wrong.
const SMALLEST_BOOTSTRAP: u64 = 100_000;
/// Bundles kept for re-use; each holds every function once.
const BUNDLES_KEPT: usize = 3;

/// A packaged stack: `template.yaml` and a folder a function.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) template: String,
    bytes: u64,
}

impl Bundle {
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    pub(crate) fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }
}

/// Compiles the functions and the sandbox in the dev profile, all in one cargo run.
///
/// # Errors
/// When cargo fails; its messages went to the terminal.
pub async fn build(root: &Path) -> anyhow::Result<()> {
    compile(root, &["--bins"]).await
}

/// Which program the functions are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// The one that ships.
    Shipped,
    /// The rehearsal of the next message version (ADR 15).
    Next,
}

/// What every function of the rehearsal says, and none of the program that ships (`ports::UnknownVersion`). Binaries of both
/// come to lie in one folder, and a build may be interrupted or another one come between: so what is packaged is looked at.
const REHEARSAL: &[u8] = b"this rehearsal of the next version sends";

/// Packages the functions as they are compiled, and answers the folder: one a function, with its `bootstrap`.
///
/// # Errors
/// When a binary is not there, or is of the other program.
pub fn package(root: &Path, program: Program) -> anyhow::Result<PathBuf> {
    Ok(bundle(root, program)?.dir)
}

/// Compiles the functions alone, as [`Program::Next`]: in the place of those that ship, until [`build`] is called again.
/// Meanwhile, and should it never be, a stack refuses to deploy them.
///
/// # Errors
/// When cargo fails; its messages went to the terminal.
pub async fn build_next(root: &Path) -> anyhow::Result<()> {
    let mut which = vec!["-p", "ports", "--features", "ports/rehearse-next"];
    which.extend(FUNCTIONS.iter().flat_map(|function| ["--bin", function]));
    compile(root, &which).await
}

async fn compile(root: &Path, which: &[&str]) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).arg("build").arg("--locked").arg("--quiet").kill_on_drop(true);
    for package in FUNCTIONS.iter().chain(&BESIDE) {
        command.args(["-p", package]);
    }
    command.args(which).args(["--target", &host_triple()]);
    let status = command.status().await.context("cannot run cargo; install Rust from https://rustup.rs")?;
    ensure!(status.success(), "the build failed; its messages are above");
    Ok(())
}

/// The target everything is built for: `CARGO_BUILD_TARGET` where the Makefile set it, else this machine's own.
pub(crate) fn host_triple() -> String {
    std::env::var("CARGO_BUILD_TARGET").ok().filter(|triple| !triple.is_empty()).unwrap_or_else(|| {
        let os = if cfg!(target_os = "macos") { "apple-darwin" } else { "unknown-linux-gnu" };
        format!("{}-{os}", std::env::consts::ARCH)
    })
}

/// Where cargo puts the binaries of the dev profile.
pub fn binaries(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join(host_triple()).join("debug")
}

/// Lays out the compiled functions and the template for `sam deploy`, or finds the folder where that was done before.
/// Stacks brought up at the same time share it.
///
/// # Errors
/// When a binary is not there, or is not of this program.
pub(crate) fn bundle(root: &Path, program: Program) -> anyhow::Result<Bundle> {
    bundle_of(root, &binaries(root), program)
}

fn bundle_of(root: &Path, binaries: &Path, program: Program) -> anyhow::Result<Bundle> {
    let source = root.join("template.yaml");
    let text = std::fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let store = root.join("target/stack");
    std::fs::create_dir_all(&store).with_context(|| format!("cannot create {}", store.display()))?;
    let lock = std::fs::File::create(store.join(".lock")).context("cannot create the packaging lock")?;
    lock.lock().context("cannot lock the packaging folder")?;

    let dir = store.join(fingerprint(&text, binaries, program)?);
    let complete = dir.join("template.yaml");
    if !complete.is_file() {
        for function in FUNCTIONS {
            let into = dir.join(function);
            std::fs::create_dir_all(&into)?;
            let bootstrap = into.join("bootstrap");
            strip(&binaries.join(function), &bootstrap)?;
            ensure_is(program, &bootstrap)?;
        }
        // Written last: its presence says that the bundle is whole.
        std::fs::write(&complete, point_at_bootstraps(&text, &dir)?)?;
        prune(&store, &dir)?;
    }
    let mut bytes = 0;
    for function in FUNCTIONS {
        let bootstrap = dir.join(function).join("bootstrap");
        let size = std::fs::metadata(&bootstrap).with_context(|| format!("{} is missing", bootstrap.display()))?.len();
        ensure!(
            size >= SMALLEST_BOOTSTRAP,
            "{} is only {size} bytes, which is no function; run `cargo build` and look at it",
            bootstrap.display()
        );
        bytes += size;
    }
    let template = std::fs::read_to_string(&complete)?;
    Ok(Bundle { dir, template, bytes })
}

/// Refuses a function of the other program.
fn ensure_is(program: Program, bootstrap: &Path) -> anyhow::Result<()> {
    let binary = std::fs::read(bootstrap).with_context(|| format!("cannot read {}", bootstrap.display()))?;
    let says = binary.windows(REHEARSAL.len()).any(|part| part == REHEARSAL);
    match (program, says) {
        (Program::Shipped, false) | (Program::Next, true) => Ok(()),
        (Program::Shipped, true) => bail!(
            "{} is a rehearsal of the next message version: `make skew` is at it, or was interrupted. Compile what ships \
             with `make build`",
            bootstrap.display()
        ),
        (Program::Next, false) => {
            bail!("{} is no rehearsal: another build came between, so begin again", bootstrap.display())
        }
    }
}

/// Names a bundle by what goes into it: the template, each binary's size and time, and which program it was found to be.
fn fingerprint(template: &str, binaries: &Path, program: Program) -> anyhow::Result<String> {
    let mut hasher = std::hash::DefaultHasher::new();
    template.hash(&mut hasher);
    (program == Program::Next).hash(&mut hasher);
    for function in FUNCTIONS {
        let path = binaries.join(function);
        let meta = std::fs::metadata(&path)
            .with_context(|| format!("{} is not there: compile first with `make build`", path.display()))?;
        (function, meta.len(), meta.modified()?).hash(&mut hasher);
    }
    let mut name = String::new();
    write!(name, "{:016x}", hasher.finish())?;
    Ok(name)
}

/// Replaces each function's `CodeUri` with the folder of its bootstrap. Which function it is says the `Binary` of the
/// build metadata above it.
fn point_at_bootstraps(template: &str, dir: &Path) -> anyhow::Result<String> {
    let mut pointed = Vec::new();
    let mut binary = None;
    let mut out = String::with_capacity(template.len());
    for line in template.lines() {
        if let Some((_, value)) = line.split_once("Binary:") {
            binary = Some(value.trim().trim_end_matches('}').trim());
        }
        // A comment may speak of it.
        let code_uri = line.split_once("CodeUri:").filter(|(before, _)| before.trim().is_empty());
        let Some((indent, _)) = code_uri else {
            writeln!(out, "{line}")?;
            continue;
        };
        let Some(name) = binary.take().filter(|name| FUNCTIONS.contains(name)) else {
            bail!("template.yaml: a CodeUri without `BuildProperties: {{Binary: <function>}}` of ours above it");
        };
        writeln!(out, "{indent}CodeUri: {}", dir.join(name).display())?;
        pointed.push(name);
    }
    let forgotten: Vec<_> = FUNCTIONS.into_iter().filter(|name| !pointed.contains(name)).collect();
    ensure!(forgotten.is_empty(), "template.yaml does not deploy {}", forgotten.join(", "));
    Ok(out)
}

/// Copies a binary without its symbols, which are most of a debug build; whole where there is no `strip`.
fn strip(from: &Path, to: &Path) -> anyhow::Result<()> {
    let stripped = std::process::Command::new("strip").arg("-o").arg(to).arg(from).status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Removes all but the newest bundles.
fn prune(store: &Path, current: &Path) -> anyhow::Result<()> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(store)? {
        let entry = entry?;
        if entry.path() != current && entry.file_type()?.is_dir() {
            others.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    others.sort();
    for (_, path) in others.iter().rev().skip(BUNDLES_KEPT - 1) {
        std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> String {
        FUNCTIONS.iter().fold(String::from("# CodeUri: is explained\nResources:\n"), |text, name| {
            text + &format!("      BuildProperties: {{Binary: {name}}}\n    Properties:\n      CodeUri: .\n")
        })
    }

    #[test]
    fn every_code_uri_points_at_its_bootstrap() {
        let out = point_at_bootstraps(&template(), Path::new("/bundle")).unwrap();
        assert!(out.contains("{Binary: ship-order}\n    Properties:\n      CodeUri: /bundle/ship-order\n"));
        assert!(!out.contains("CodeUri: .\n"));
    }

    #[test]
    fn a_function_that_the_template_forgot_is_refused() {
        let (short, _) = template().rsplit_once("      BuildProperties").map(|(a, b)| (a.to_owned(), b.len())).unwrap();
        let refused = point_at_bootstraps(&short, Path::new("/bundle")).unwrap_err();
        assert!(refused.to_string().contains("control-breakers"), "{refused}");
    }

    #[test]
    fn a_code_uri_that_is_no_function_is_refused() {
        let odd = template() + "      CodeUri: elsewhere/\n";
        assert!(point_at_bootstraps(&odd, Path::new("/bundle")).is_err());
    }

    /// A project whose functions are compiled, those of which it is said as the rehearsal.
    fn project(name: &str, is_next: impl Fn(&str) -> bool) -> (PathBuf, PathBuf) {
        let root = std::env::temp_dir().join(format!("orderflow-artifacts-{name}-{}", std::process::id()));
        let binaries = root.join("binaries");
        std::fs::create_dir_all(&binaries).unwrap();
        std::fs::write(root.join("template.yaml"), template()).unwrap();
        for function in FUNCTIONS {
            let mut binary = vec![7; 150_000];
            if is_next(function) {
                binary[70_000..][..REHEARSAL.len()].copy_from_slice(REHEARSAL);
            }
            std::fs::write(binaries.join(function), binary).unwrap();
        }
        (root, binaries)
    }

    #[test]
    fn a_rehearsal_is_never_packaged_as_the_program_that_ships_nor_the_other_way_round() {
        let one = |function: &str| function == "ship-order";
        for (name, is_next, is_shipped_whole, is_next_whole) in [
            ("shipped", &(|_: &str| false) as &dyn Fn(&str) -> bool, true, false),
            ("next", &|_: &str| true, false, true),
            ("interrupted", &one, false, false),
        ] {
            let (root, binaries) = project(name, is_next);
            // A second time as well: what was refused is not found as packaged.
            for _ in 0..2 {
                let found =
                    [Program::Shipped, Program::Next].map(|program| bundle_of(&root, &binaries, program).is_ok());
                assert_eq!(found, [is_shipped_whole, is_next_whole], "{name}");
            }
            std::fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn a_rehearsal_is_known_by_words_that_it_says() {
        let says = include_str!("../../../ports/src/version.rs");
        assert!(says.contains(std::str::from_utf8(REHEARSAL).unwrap()));
    }
}
