//! What Lambda says of a change that meets another one, with the real client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sesv2::config::Credentials;
use platform::{Aws, Names};
use ports::{MappingSet, SetMappings as _, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A Lambda that answers every call so.
async fn answered(status: &str, code: &str) -> Result<MappingSet, StoreError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nx-amzn-errortype: {code}\r\nContent-Length: 2\r\n\r\n{{}}");
    let serving = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4_096];
            assert!(socket.read(&mut bytes).await.unwrap() > 0, "something was sent");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("0", "local", None, None, "tests"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .load()
        .await;
    let set = Aws::with(config, Names::default()).set_mapping("id", true, Some(4)).await;
    serving.abort();
    set
}

#[tokio::test]
async fn a_change_that_meets_another_one_is_busy_and_no_error() {
    for code in ["ResourceInUseException", "ResourceConflictException"] {
        assert_eq!(answered("409 No", code).await, Ok(MappingSet::Busy), "{code}");
        assert_eq!(answered("400 No", code).await, Ok(MappingSet::Busy), "{code}");
    }
    assert_eq!(answered("202 Taken", "").await, Ok(MappingSet::Taken));
    assert!(answered("404 No", "ResourceNotFoundException").await.is_err());
}
