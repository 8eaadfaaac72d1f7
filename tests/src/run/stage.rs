//! What every run against a stack of its own begins and ends with: the stack, its catalogue, the report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use order::Sku;
use orderflow::stack::{self, Launcher, Options, Product, Stack, load_catalogue};
use serde::Serialize;

use crate::guard::{self, Guard, Owned};

/// Where a run happens, and on what.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// 1: ministack with the patches of tools/ministack/launch.py; 0: as it comes
    #[arg(long, env = "PATCHED", default_value = "1", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub patched: bool,
    /// Deploy what is compiled already
    #[arg(long)]
    pub no_build: bool,
    /// State folder of the stack [default: `stack` in the run's own folder of target]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Where the report goes [default: report.json in the run's own folder of target]
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// A stack of a run's own. Whatever was started is stopped when this is dropped.
pub struct Stage {
    /// The stack.
    pub stack: Stack,
    /// What it sells.
    pub catalogue: Vec<Product>,
    report: PathBuf,
    _guard: Guard,
    _owned: Owned,
}

impl Stage {
    /// Brings it up, with these parameters of the template. `name` is that of the run's folder in `target`.
    ///
    /// # Errors
    /// When another run has the folder, or the stack does not come up.
    pub async fn raise(
        name: &str,
        place: &Place,
        parameters: impl IntoIterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let root = stack::project_root()?;
        let folder = root.join("target").join(name);
        let mut options = Options::new(root.clone()).in_dir(place.dir.clone().unwrap_or_else(|| folder.join("stack")));
        options.launcher = if place.patched { Launcher::Patched } else { Launcher::Plain };
        options.compile = !place.no_build;
        options.parameters.extend(parameters);
        options.progress = Arc::new(|line| println!("{line}"));
        let Some(owned) = guard::own(&options.dir)? else {
            let dir = options.dir.display();
            bail!("another run is going on in {dir}: wait for it, or take another folder with --dir");
        };
        let catalogue = load_catalogue(&root)?;
        let stack = stack::up(&options).await?;
        let guard = guard::watch(&std::env::current_exe().context("where is this program?")?, stack.dir())?;
        let report = place.report.clone().unwrap_or_else(|| folder.join("report.json"));
        Ok(Self { stack, catalogue, report, _guard: guard, _owned: owned })
    }

    /// Stops the stack and writes the report, and says where it is.
    ///
    /// # Errors
    /// When the stack cannot be stopped, or the file not be written.
    pub fn end(self, report: &impl Serialize) -> anyhow::Result<()> {
        let Self { stack, report: path, .. } = self;
        stack.down()?;
        let folder = path.parent().context("the report needs a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let text = serde_json::to_string_pretty(report)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("\nreport: {}", path.display());
        Ok(())
    }
}

/// What was in stock of each product before the run.
pub(crate) fn seeded(catalogue: &[Product]) -> anyhow::Result<BTreeMap<Sku, u64>> {
    let entry = |product: &Product| {
        let sku = product.sku.parse().with_context(|| format!("sku {}", product.sku))?;
        Ok((sku, product.available))
    };
    catalogue.iter().map(entry).collect()
}
