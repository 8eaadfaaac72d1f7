//! Runs the real `sam deploy` of the packaged template against the local AWS.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::artifacts::Bundle;
use super::{ACCESS_KEY, JWT_AUDIENCE, MAIL_FROM, Options, REGION, Reporter, cloud, services};

/// A line of progress every so many created resources.
const REPORT_EVERY: usize = 40;

/// Deploys, with progress; the whole output goes to `deploy.log`.
pub(crate) async fn deploy(
    options: &Options,
    dir: &Path,
    bundle: &Bundle,
    endpoint: &str,
    sandbox_url: &str,
    reporter: &Reporter,
) -> anyhow::Result<()> {
    let sam = options.root.join(".venv/bin/sam");
    ensure!(sam.is_file(), "{} is not there: run `make setup`", sam.display());
    reporter.say("sam deploy");
    let app_dir = dir.join("sam");
    std::fs::create_dir_all(&app_dir)?;
    // SAM asks PyPI for a newer version of itself once a week: it finds that it did so lately.
    std::fs::write(app_dir.join("metadata.json"), r#"{"lastVersionCheck": 4102444800.0}"#)?;

    let mut command = tokio::process::Command::new(sam);
    command
        .current_dir(&bundle.dir)
        .args(["deploy", "--template-file", "template.yaml", "--stack-name", &options.stack_name])
        .args(["--s3-bucket", cloud::ARTIFACT_BUCKET, "--region", REGION])
        .args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"])
        .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"])
        .arg("--parameter-overrides")
        .args(parameters(options, sandbox_url))
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_DEFAULT_REGION", REGION)
        // Never a profile of the person who runs this.
        .env("AWS_CONFIG_FILE", app_dir.join("no-config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", app_dir.join("no-credentials"))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("SAM_CLI_TELEMETRY", "0")
        .env("SAM_CLI_POLL_DELAY", "0.2")
        .env("__SAM_CLI_APP_DIR", &app_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);

    let path = dir.join("deploy.log");
    let mut log = tokio::fs::File::create(&path).await.with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = command.spawn().context("cannot start sam")?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("sam has no output to read");
    };
    let (mut stdout, mut stderr) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
    let (mut open_out, mut open_err) = (true, true);
    let mut created = 0_usize;
    while open_out || open_err {
        let line = tokio::select! {
            line = stdout.next_line(), if open_out => { let line = line?; open_out = line.is_some(); line }
            line = stderr.next_line(), if open_err => { let line = line?; open_err = line.is_some(); line }
        };
        let Some(line) = line else { continue };
        log.write_all(format!("{line}\n").as_bytes()).await?;
        if line.starts_with("CREATE_COMPLETE") || line.starts_with("UPDATE_COMPLETE") {
            created += 1;
            if created.is_multiple_of(REPORT_EVERY) {
                reporter.say(&format!("{created} resources created"));
            }
        }
    }
    log.flush().await?;
    let status = child.wait().await.context("sam was lost")?;
    if !status.success() {
        bail!(
            "sam deploy failed; the whole output is in {}, the end of it:\n{}",
            path.display(),
            services::tail(&path)
        );
    }
    Ok(())
}

/// The parameters of a local stack, with the caller's on top.
fn parameters(options: &Options, sandbox_url: &str) -> Vec<String> {
    let mut parameters = vec![
        ("Stage".to_owned(), "local".to_owned()),
        ("Architecture".to_owned(), if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }.to_owned()),
        ("PaymentApiUrl".to_owned(), sandbox_url.to_owned()),
        ("PaymentApiKey".to_owned(), "sk_test_local".to_owned()),
        ("CarrierApiUrl".to_owned(), format!("{sandbox_url}/carrier")),
        ("CarrierApiKey".to_owned(), "carrier_local".to_owned()),
        ("JwtIssuer".to_owned(), format!("{sandbox_url}/auth")),
        ("JwtAudience".to_owned(), JWT_AUDIENCE.to_owned()),
        ("MailFrom".to_owned(), MAIL_FROM.to_owned()),
    ];
    for (name, value) in &options.parameters {
        parameters.retain(|(existing, _)| existing != name);
        parameters.push((name.clone(), value.clone()));
    }
    parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_parameter_replaces_ours() {
        let mut options = Options::new("/project".into());
        options.parameters.push(("MailFrom".to_owned(), "me@example.test".to_owned()));
        let parameters = parameters(&options, "http://127.0.0.1:1");
        assert!(parameters.contains(&"MailFrom=me@example.test".to_owned()));
        assert!(!parameters.iter().any(|parameter| parameter.contains(MAIL_FROM)));
    }
}
