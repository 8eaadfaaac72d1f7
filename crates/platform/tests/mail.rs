//! What may be said of a mail that SES did not take: over real sockets, with the real client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sesv2::config::Credentials;
use platform::{Aws, Names};
use ports::{Mail, ProviderError, SendMail as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn send(endpoint: String) -> Result<String, ProviderError> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_millis(1_000))
        .build();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("0", "local", None, None, "tests"))
        .timeout_config(timeouts)
        .endpoint_url(endpoint)
        .load()
        .await;
    let names = Names { mail_from: "orders@example.test".to_owned(), ..Names::default() };
    let mail = Mail { subject: "s".to_owned(), text: "t".to_owned(), html: "h".to_owned() };
    Aws::with(config, names).send_mail(&"ada@example.test".parse().unwrap(), &mail).await
}

/// A service that reads what it is sent and answers so; nothing, where it is to hang up.
async fn service(answer: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4_096];
            let read = socket.read(&mut bytes).await.unwrap();
            assert!(read > 0, "something was sent");
            if let Some(answer) = answer {
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    port
}

#[tokio::test]
async fn a_connection_that_never_came_about_took_no_mail() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for endpoint in [format!("http://127.0.0.1:{port}"), format!("https://127.0.0.1:{}", service(None).await)] {
        let sent = send(endpoint.clone()).await;
        assert!(matches!(sent, Err(ProviderError::NotRun { .. })), "{endpoint}: {sent:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_first_byte_may_have_taken_it() {
    for answer in [None, Some("HTTP/1.1 200 OK\r\nContent-Le"), Some("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")]
    {
        let sent = send(format!("http://127.0.0.1:{}", service(answer).await)).await;
        assert!(matches!(sent, Err(ProviderError::Unknown { .. })), "{answer:?}: {sent:?}");
    }
}

#[tokio::test]
async fn a_throttled_mail_was_not_taken_and_a_malformed_one_never_will_be() {
    let answer = |status: &str, code: &str| -> &'static str {
        let text = format!("HTTP/1.1 {status}\r\nx-amzn-errortype: {code}\r\nContent-Length: 2\r\n\r\n{{}}");
        Box::leak(text.into_boxed_str())
    };
    let throttled =
        send(format!("http://127.0.0.1:{}", service(Some(answer("429 No", "TooManyRequestsException"))).await));
    assert!(matches!(throttled.await, Err(ProviderError::Throttled { .. })));
    let refused = send(format!("http://127.0.0.1:{}", service(Some(answer("400 No", "MessageRejected"))).await));
    assert!(matches!(refused.await, Err(ProviderError::Refused { .. })));
}
