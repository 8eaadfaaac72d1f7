//! Which AWS a command asks, and with whose keys, by the flags of the aws CLI: a loopback port stands for AWS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

const DEV: &str = "AKIADEVDEVDEVDEVDEV1";
const PROD: &str = "AKIAPRODPRODPROD0001";

/// A request.
#[derive(Clone, Debug)]
struct Asked {
    head: String,
    body: String,
}

impl Asked {
    /// `<key>/<day>/<region>/...` of the signature.
    fn signer(&self) -> (String, String) {
        let (_, credential) = self.head.split_once("Credential=").expect("it is signed");
        let parts: Vec<&str> = credential.split('/').collect();
        (parts[0].to_owned(), parts[2].to_owned())
    }
}

/// A port that answers every request by its body and keeps it.
struct Cloud {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Cloud {
    fn open(answer: impl Fn(&Asked) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(asked) = read(&mut stream) else { continue };
                let (status, body) = answer(&asked);
                kept.lock().unwrap().push(asked);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                // A client that has gone is no trouble.
                stream.write_all((head + &body).as_bytes()).ok();
            }
        });
        Self { url, asked }
    }

    /// Nobody may do anything here.
    fn refusing() -> Self {
        let error = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        Self::open(|_| (403, error.to_owned()))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut impl std::io::Read) -> Option<Asked> {
    let mut all = Vec::new();
    let mut some = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(Asked { head: head.to_owned(), body: body.to_owned() });
            }
        }
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return None,
            Ok(count) => all.extend_from_slice(&some[..count]),
        }
    }
}

/// A folder with the configuration files of somebody with two profiles.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("orderflow-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let config = "[default]\nregion = ap-south-1\n[profile prod]\nregion = eu-central-1\n[profile bare]\n";
        std::fs::write(dir.join("config"), config).unwrap();
        let keys = format!("[prod]\naws_access_key_id = {PROD}\naws_secret_access_key = none\n");
        std::fs::write(dir.join("credentials"), keys).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// With the keys and the region of dev in the environment.
fn run(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderflow"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        if text.starts_with("AWS_") || text.starts_with("ORDERFLOW_") {
            command.env_remove(name);
        }
    }
    command
        .args(args)
        .env("AWS_CONFIG_FILE", home.path().join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", home.path().join("credentials"))
        .env("AWS_ACCESS_KEY_ID", DEV)
        .env("AWS_SECRET_ACCESS_KEY", "none")
        .env("AWS_REGION", "us-west-2")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_profile_that_is_named_signs_although_the_environment_has_keys_of_another_account() {
    let home = Home::new("profile");
    for (flags, key, region) in [
        (["--profile", "prod"].as_slice(), PROD, "eu-central-1"),
        (&["--profile", "prod", "--region", "eu-north-1"], PROD, "eu-north-1"),
        (&[], DEV, "us-west-2"),
        (&["--region", "eu-west-1"], DEV, "eu-west-1"),
    ] {
        let cloud = Cloud::refusing();
        let close = ["case", "list", "--stack", "shop", "--endpoint-url", &cloud.url];
        let output = run(&home, &[close.as_slice(), flags].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let asked = cloud.asked();
        assert!(!asked.is_empty(), "it asked nobody: {output:?}");
        for asked in asked {
            assert_eq!(asked.signer(), (key.to_owned(), region.to_owned()), "{flags:?}");
        }
    }
}

#[test]
fn a_profile_without_keys_borrows_none_of_the_environment() {
    let (home, cloud) = (Home::new("bare"), Cloud::refusing());
    for profile in ["bare", "nobodys"] {
        let output = run(&home, &["doctor", "--stack", "shop", "--endpoint-url", &cloud.url, "--profile", profile]);
        assert_eq!(output.status.code(), Some(2), "a doctor that could not look: {output:?}");
        assert_eq!(cloud.asked().len(), 0, "{profile}");
    }
}

#[test]
fn where_aws_is_may_be_said_of_a_stack_on_aws_alone() {
    let home = Home::new("local");
    for flags in [["--region", "eu-west-1"], ["--profile", "prod"], ["--endpoint-url", "http://127.0.0.1:9"]] {
        let refused = run(&home, &[["queue", "list"], flags].concat());
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}

/// A stack `shop` with one queue, beside another stack's `shop-dev-...`. `depth`: what SQS tells of any queue.
fn shop(depth: &'static str) -> Cloud {
    let queue = |name: &str| format!("https://sqs.us-west-2.amazonaws.com/1/{name}");
    Cloud::open(move |asked| {
        let answer = if asked.body.contains("Action=DescribeStacks") {
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>shop</StackName><CreationTime>\
             2026-11-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus></member></Stacks>\
             </DescribeStacksResult></DescribeStacksResponse>"
                .to_owned()
        } else if asked.body.contains("Action=ListStackResources") {
            let member = |logical: &str, physical: &str, kind: &str| {
                format!(
                    "<member><LogicalResourceId>{logical}</LogicalResourceId><PhysicalResourceId>{physical}\
                     </PhysicalResourceId><ResourceType>{kind}</ResourceType><LastUpdatedTimestamp>2026-11-01T00:00:00Z\
                     </LastUpdatedTimestamp><ResourceStatus>CREATE_COMPLETE</ResourceStatus></member>"
                )
            };
            let all = member("Orders", "shop-orders", "AWS::DynamoDB::Table")
                + &member("Notify", &queue("shop-notify"), "AWS::SQS::Queue");
            format!(
                "<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>{all}\
                 </StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>"
            )
        } else if asked.head.contains("AmazonSQS.ListQueues") {
            format!(r#"{{"QueueUrls":["{}","{}"]}}"#, queue("shop-notify"), queue("shop-dev-notify"))
        } else if asked.head.contains("AmazonSQS.GetQueueAttributes") {
            depth.to_owned()
        } else {
            return (400, "{}".to_owned());
        };
        (200, answer)
    })
}

#[test]
fn the_queues_of_a_stack_are_its_own_and_not_those_of_one_whose_name_begins_with_its() {
    let home = Home::new("queues");
    let cloud = shop(
        r#"{"Attributes":{"ApproximateNumberOfMessages":"3","ApproximateNumberOfMessagesNotVisible":"0",
        "ApproximateNumberOfMessagesDelayed":"0"}}"#,
    );
    let output = run(&home, &["queue", "list", "--json", "--stack", "shop", "--endpoint-url", &cloud.url]);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("shop-notify") && told.contains("\"visible\": 3"), "{told}");
    assert!(!told.contains("shop-dev"), "{told}");
}

#[test]
fn a_count_that_is_not_told_is_no_zero() {
    let home = Home::new("count");
    let cloud = shop(r#"{"Attributes":{"ApproximateNumberOfMessages":"3","ApproximateNumberOfMessagesDelayed":"0"}}"#);
    let output = run(&home, &["queue", "list", "--json", "--stack", "shop", "--endpoint-url", &cloud.url]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.contains("does not say its ApproximateNumberOfMessagesNotVisible"), "{why}");
}
