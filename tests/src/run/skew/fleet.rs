//! The deployed functions: putting another program in the place of one, and telling them which version to send.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_lambda::types::{Environment, LastUpdateStatus};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use order::Fingerprint;
use orderflow::stack::{FUNCTIONS, Program, StackInfo, local_config};

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

/// One function got the other program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) function: String,
    /// The one that it has now.
    pub(super) program: Program,
    /// In between it may have been either, UTC milliseconds.
    pub(super) began_ms: u64,
    pub(super) done_ms: u64,
}

/// The functions of a stack.
pub(super) struct Fleet {
    lambda: aws_sdk_lambda::Client,
    stack: String,
    /// ministack ends the processes of a function that is changed, whatever they are at; Lambda would let them finish.
    ended: Mutex<Vec<Kill>>,
    changes: Mutex<Vec<Change>>,
    /// The digest of each package, by its key.
    packages: BTreeMap<String, Fingerprint>,
}

impl Fleet {
    /// Packages both programs, each from the folder of its binaries, and puts them where Lambda finds them.
    pub(super) async fn of(info: &StackInfo, old: &Path, new: &Path) -> anyhow::Result<Self> {
        let config = local_config(&info.endpoint);
        let s3 = orderflow::stack::Clients::new(&info.endpoint).s3;
        s3.create_bucket().bucket(BUCKET).send().await.context("cannot create the bucket for packages")?;
        let mut packages = BTreeMap::new();
        for (program, folder) in [(Program::Shipped, old), (Program::Next, new)] {
            for function in FUNCTIONS {
                let path: PathBuf = folder.join(function).join("bootstrap");
                let package = tokio::task::spawn_blocking(move || package(&path)).await??;
                packages.insert(key(program, function), Fingerprint::of(&package));
                let put = s3.put_object().bucket(BUCKET).key(key(program, function)).body(package.into());
                put.send().await.with_context(|| format!("cannot store {function}"))?;
            }
        }
        Ok(Self {
            lambda: aws_sdk_lambda::Client::new(&config),
            stack: info.stack_name.clone(),
            ended: Mutex::default(),
            changes: Mutex::default(),
            packages,
        })
    }

    /// Puts a program in the place of the one that a function has, and makes sure that it is there.
    pub(super) async fn deploy(&self, function: &str, program: Program) -> anyhow::Result<()> {
        let key = key(program, function);
        let package = self.packages.get(&key).with_context(|| format!("{key} is not packaged"))?.to_string();
        let began_ms = now_ms();
        let update = self.lambda.update_function_code().function_name(self.name(function));
        self.ends(function);
        update.s3_bucket(BUCKET).s3_key(&key).send().await.with_context(|| format!("cannot update {function}"))?;
        let now = self.updated(function).await?;
        let has = digest_of(now.code_sha256().unwrap_or_default())?;
        ensure!(has == package, "{function} has not the package {key}, but one of digest {has}");
        let change = Change { function: function.to_owned(), program, began_ms, done_ms: now_ms() };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        Ok(())
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
            let before = self.lambda.get_function_configuration().function_name(&name).send().await?;
            let mut variables = before.environment.and_then(|of| of.variables).unwrap_or_default();
            let was = variables.insert(SENT.to_owned(), version.to_string());
            ensure!(was.is_some(), "{function} is not told which version to send");
            let environment = Environment::builder().set_variables(Some(variables)).build();
            self.ends(function);
            let update = self.lambda.update_function_configuration().function_name(&name).environment(environment);
            update.send().await.with_context(|| format!("cannot configure {function}"))?;
            let now = self.updated(function).await?;
            let told = now.environment.and_then(|of| of.variables).and_then(|mut all| all.remove(SENT));
            ensure!(
                told == Some(version.to_string()),
                "{function} was told to send version {version}, and has {told:?}"
            );
            ensure!(now.code_sha256 == before.code_sha256, "{function} got another program with its setting");
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

    /// The changes of programs since then, UTC milliseconds, the first one first.
    pub(super) fn changes_since(&self, since_ms: u64) -> Vec<Change> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|change| change.began_ms >= since_ms).cloned().collect()
    }

    async fn updated(&self, function: &str) -> anyhow::Result<GetFunctionConfigurationOutput> {
        let name = self.name(function);
        let now = eventually("the function is updated", UPDATE, || async {
            let now = self.lambda.get_function_configuration().function_name(&name).send().await?;
            Ok((now.last_update_status == Some(LastUpdateStatus::Successful)).then_some(now))
        })
        .await?;
        // A second time: the change ended what ran until now.
        self.ends(function);
        Ok(now)
    }

    fn name(&self, function: &str) -> String {
        format!("{}-{function}", self.stack)
    }
}

fn key(program: Program, function: &str) -> String {
    let program = match program {
        Program::Shipped => "shipped",
        Program::Next => "next",
    };
    format!("{program}/{function}.zip")
}

/// A digest as Lambda tells it, base64, in hexadecimal digits.
fn digest_of(base64: &str) -> anyhow::Result<String> {
    let bytes = STANDARD.decode(base64).with_context(|| format!("no digest: {base64}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_lambda_is_the_digest_of_the_package() {
        let told = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
        assert_eq!(digest_of(told).unwrap(), Fingerprint::of(b"hello").to_string());
        assert!(digest_of("no base64").is_err());
    }
}
