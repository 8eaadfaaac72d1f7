//! The deployed functions: putting another program in the place of one, and telling them which version to send.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_lambda::types::{Environment, LastUpdateStatus};
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use orderflow::stack::{FUNCTIONS, StackInfo, local_config};

use crate::check::Kill;
use crate::clock::now_ms;
use crate::wait::eventually;

/// Of the functions that send commands.
const SENT: &str = "EMITTED_COMMAND_VERSION";
const SENDERS: [&str; 6] =
    ["accept-order", "validate-order", "process-payment", "reserve-stock", "ship-order", "recover-orders"];
/// Where packages go.
const BUCKET: &str = "orderflow-skew";
/// A function is there again after so long.
const UPDATE: Duration = Duration::from_secs(60);

/// Which of the two programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Program {
    /// The one that ships.
    Old,
    /// The same, one message version ahead.
    New,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// The functions of a stack.
pub(super) struct Fleet {
    lambda: aws_sdk_lambda::Client,
    stack: String,
    /// ministack ends the processes of a function that is changed, whatever they are at; Lambda would let them finish.
    ended: Mutex<Vec<Kill>>,
}

impl Fleet {
    /// Packages both programs, each from the folder of its binaries, and puts them where Lambda finds them.
    pub(super) async fn of(info: &StackInfo, old: &Path, new: &Path) -> anyhow::Result<Self> {
        let config = local_config(&info.endpoint);
        let s3 = orderflow::stack::Clients::new(&info.endpoint).s3;
        s3.create_bucket().bucket(BUCKET).send().await.context("cannot create the bucket for packages")?;
        for (program, folder) in [(Program::Old, old), (Program::New, new)] {
            for function in FUNCTIONS {
                let path: PathBuf = folder.join(function).join("bootstrap");
                let package = tokio::task::spawn_blocking(move || package(&path)).await??;
                let put = s3.put_object().bucket(BUCKET).key(key(program, function)).body(package.into());
                put.send().await.with_context(|| format!("cannot store {function}"))?;
            }
        }
        Ok(Self {
            lambda: aws_sdk_lambda::Client::new(&config),
            stack: info.stack_name.clone(),
            ended: Mutex::default(),
        })
    }

    /// Puts a program in the place of the one that a function has.
    pub(super) async fn deploy(&self, function: &str, program: Program) -> anyhow::Result<()> {
        let update = self.lambda.update_function_code().function_name(self.name(function));
        self.ends(function);
        update
            .s3_bucket(BUCKET)
            .s3_key(key(program, function))
            .send()
            .await
            .with_context(|| format!("cannot update {function}"))?;
        self.updated(function).await
    }

    /// The same for several, one after the other, with a pause between.
    pub(super) async fn deploy_all(
        &self,
        functions: &[&str],
        program: Program,
        between: Duration,
    ) -> anyhow::Result<()> {
        for function in functions {
            self.deploy(function, program).await?;
            tokio::time::sleep(between).await;
        }
        Ok(())
    }

    /// Tells every function that sends commands which version to send them in: what a deployment of the stack with another
    /// `CommandVersion` does.
    pub(super) async fn send_in(&self, version: u32, between: Duration) -> anyhow::Result<()> {
        for function in SENDERS {
            let name = self.name(function);
            let now = self.lambda.get_function_configuration().function_name(&name).send().await?;
            let mut variables = now.environment.and_then(|of| of.variables).unwrap_or_default();
            let was = variables.insert(SENT.to_owned(), version.to_string());
            ensure!(was.is_some(), "{function} is not told which version to send");
            let environment = Environment::builder().set_variables(Some(variables)).build();
            self.ends(function);
            let update = self.lambda.update_function_configuration().function_name(&name).environment(environment);
            update.send().await.with_context(|| format!("cannot configure {function}"))?;
            self.updated(function).await?;
            tokio::time::sleep(between).await;
        }
        Ok(())
    }

    /// The functions whose processes were ended by a change, and when.
    pub(super) fn ended(&self) -> Vec<Kill> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ends(&self, function: &str) {
        let kill = Kill { function: function.to_owned(), at_ms: now_ms() };
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(kill);
    }

    async fn updated(&self, function: &str) -> anyhow::Result<()> {
        let name = self.name(function);
        eventually("the function is updated", UPDATE, || async {
            let now = self.lambda.get_function_configuration().function_name(&name).send().await?;
            Ok((now.last_update_status == Some(LastUpdateStatus::Successful)).then_some(()))
        })
        .await?;
        // A second time: the change ended what ran until now.
        self.ends(function);
        Ok(())
    }

    fn name(&self, function: &str) -> String {
        format!("{}-{function}", self.stack)
    }
}

fn key(program: Program, function: &str) -> String {
    format!("{}/{function}.zip", program.name())
}

/// A zip archive with one executable file, `bootstrap`.
///
/// Source: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, 4.3
fn package(bootstrap: &Path) -> anyhow::Result<Vec<u8>> {
    let content = std::fs::read(bootstrap).with_context(|| format!("cannot read {}", bootstrap.display()))?;
    let mut crc = Crc::new();
    crc.update(&content);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&content)?;
    let packed = encoder.finish()?;
    let too_large = || format!("{} is too large for a package", bootstrap.display());
    let (packed_size, size) =
        (u32::try_from(packed.len()).with_context(too_large)?, u32::try_from(content.len()).with_context(too_large)?);
    const NAME: &[u8] = b"bootstrap";
    // Version needed, flags, method (deflate), time, date (1980-01-01), crc, sizes, length of the name, of what follows it.
    let mut common = Vec::new();
    for part in [20_u16, 0, 8, 0, 0x21] {
        common.extend(part.to_le_bytes());
    }
    for part in [crc.sum(), packed_size, size] {
        common.extend(part.to_le_bytes());
    }
    common.extend(9_u16.to_le_bytes());
    common.extend(0_u16.to_le_bytes());

    let mut zip = Vec::with_capacity(packed.len() + 256);
    zip.extend(b"PK\x03\x04");
    zip.extend(&common);
    zip.extend(NAME);
    zip.extend(&packed);
    let directory = u32::try_from(zip.len()).with_context(too_large)?;
    zip.extend(b"PK\x01\x02");
    // Made on Unix, so that the file's mode counts.
    zip.extend(0x0314_u16.to_le_bytes());
    zip.extend(&common);
    // No comment, disk 0, no internal attributes; an executable file; at the beginning.
    zip.extend([0; 6]);
    zip.extend((0o100_755_u32 << 16).to_le_bytes());
    zip.extend(0_u32.to_le_bytes());
    zip.extend(NAME);
    let length = u32::try_from(zip.len()).with_context(too_large)? - directory;
    zip.extend(b"PK\x05\x06");
    zip.extend([0; 4]);
    zip.extend(1_u16.to_le_bytes());
    zip.extend(1_u16.to_le_bytes());
    zip.extend(length.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0; 2]);
    Ok(zip)
}
