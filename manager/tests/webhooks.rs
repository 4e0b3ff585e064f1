//! Webhooks, at a real server: who is called, what is signed, and which answers count.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: whatever cannot be done is a failure of the test"
)]

mod callbacks_common;
mod store_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;
use redpoll_certs::testing::TestAuthority;
use redpoll_common::job::{Callback, Outcome};
use redpoll_config::CallbacksConfig;
use redpoll_manager::callbacks::MAX_REASON;
use redpoll_manager::store::Store;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

use callbacks_common::{OK, answer, deliverer, ended_job, listen, patient, receive, told, until_cut, within};
use store_common::{Rig, ended, id, plain_spec};

const SHORT: Duration = Duration::from_millis(200);

/// A store with one job that has succeeded.
async fn simple() -> Arc<dyn Store> {
    let store = Rig::memory().store;
    ended_job(store.as_ref(), plain_spec(), vec![("a1", ended(Outcome::Succeeded, None, None))]).await;
    store
}

#[tokio::test]
async fn a_correction_is_told_as_such_with_an_id_of_its_own() {
    let (taken, request) = told(&patient(), &simple().await, 2, OK).await;
    assert_eq!(taken, Ok(()));
    assert_eq!(request.json()["type"], "job.corrected");
    assert_eq!(request.json()["id"], format!("{}-2", id(1)));
    assert_eq!(request.header("redpoll-delivery"), format!("{}-2", id(1)));
}

/// HMAC as RFC 2104 defines it, for keys of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let padded = |with: u8| -> Vec<u8> {
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        block.iter().map(|byte| byte ^ with).collect()
    };
    let inner = digest(&SHA256, &[&padded(0x36), text].concat());
    HEXLOWER.encode(digest(&SHA256, &[&padded(0x5c), inner.as_ref()].concat()).as_ref())
}

#[tokio::test]
async fn a_signature_covers_the_time_and_every_byte_of_the_body() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhook.key");
    let key = b"0123456789abcdef0123456789abcdef";
    fs::write(&path, [&key[..], b"\n"].concat()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let config = CallbacksConfig { secret_file: Some(path), ..patient() };
    let (taken, request) = told(&config, &simple().await, 1, OK).await;
    assert_eq!(taken, Ok(()));
    let timestamp = request.header("redpoll-timestamp");
    let sent_at = Duration::from_secs(timestamp.parse().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.abs_diff(sent_at) < Duration::from_secs(60), "{timestamp}");
    let signed = [timestamp.as_bytes(), b".", &request.body].concat();
    assert_eq!(request.header("redpoll-signature"), format!("v1={}", hmac(key, &signed)));
}

#[tokio::test]
async fn a_status_of_200_to_299_is_taken_and_every_other_is_not() {
    let store = simple().await;
    for (status, reason) in [
        ("200 OK", None),
        ("202 Accepted", None),
        ("204 No Content", None),
        ("299 Odd", None),
        ("304 Not Modified", Some("answered 304 Not Modified; redirects are not followed")),
        ("404 hunter2", Some("answered 404 Not Found")),
        ("500 Internal Server Error", Some("answered 500 Internal Server Error")),
        ("599 hunter2", Some("answered 599 (a status of its own)")),
    ] {
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\nhunter2");
        let (taken, _request) = told(&patient(), &store, 1, &text).await;
        match reason {
            None => assert_eq!(taken, Ok(()), "{status}"),
            Some(reason) => {
                let error = taken.unwrap_err();
                assert!(error.contains(reason) && !error.contains("hunter2"), "{status}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let store = simple().await;
    let (elsewhere, target) = listen("http").await;
    let Callback::Webhook(url) = target else { unreachable!("a webhook") };
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let text = format!("HTTP/1.1 {status}\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n");
        let error = told(&patient(), &store, 1, &text).await.0.unwrap_err();
        assert!(error.contains("redirects are not followed") && !error.contains("hunter2"), "{error}");
    }
    assert!(elsewhere.accept().now_or_never().is_none(), "somebody followed");
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    let store = simple().await;
    for text in ["", "hello\r\n\r\n", "HTTP/1.1 200", "HTTP/1.1 101 Switching Protocols\r\n\r\n"] {
        let (listener, target) = listen("http").await;
        let deliverer = deliverer(&patient(), &store);
        let (taken, ()) = tokio::join!(deliverer.deliver(id(1), 1, &target), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            receive(&mut stream).await;
            stream.write_all(text.as_bytes()).await.unwrap();
        });
        let error = taken.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:") && !error.contains("hunter2"), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time_and_cut() {
    let store = simple().await;
    for part in ["", "HTTP/1.1 200 OK\r\n"] {
        let (listener, target) = listen("http").await;
        let deliverer = deliverer(&within(SHORT), &store);
        let (taken, ()) = tokio::join!(deliverer.deliver(id(1), 1, &target), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            receive(&mut stream).await;
            stream.write_all(part.as_bytes()).await.unwrap();
            until_cut(&mut stream).await;
        });
        assert!(taken.unwrap_err().to_string().ends_with("did not answer in time"));
    }
    let (listener, target) = listen("https").await;
    let deliverer = deliverer(&within(SHORT), &store);
    let (taken, ()) = tokio::join!(deliverer.deliver(id(1), 1, &target), async {
        until_cut(&mut listener.accept().await.unwrap().0).await;
    });
    assert!(taken.unwrap_err().to_string().ends_with("took too long for TLS"));
}

#[tokio::test]
async fn an_answer_is_taken_by_its_status_however_long_the_rest_is() {
    let store = simple().await;
    let (listener, target) = listen("http").await;
    let deliverer = deliverer(&patient(), &store);
    let (taken, sent) = tokio::join!(deliverer.deliver(id(1), 1, &target), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        receive(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // for ever, if nobody cuts it
        let mut sent = 0_u64;
        while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {
            sent += 64 * 1024;
        }
        sent
    });
    assert_eq!(taken, Ok(()));
    // what the system buffers, and not what goes through in a second
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes were taken");
    // the rest never comes: the status counts all the same
    let since = Instant::now();
    let (taken, _request) =
        told(&patient(), &store, 1, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx").await;
    assert_eq!(taken, Ok(()));
    assert!(since.elapsed() < Duration::from_secs(10), "it waited for the rest");
}

#[tokio::test]
async fn an_endless_head_is_no_answer() {
    let store = simple().await;
    let (listener, target) = listen("http").await;
    let deliverer = deliverer(&patient(), &store);
    let (taken, ()) = tokio::join!(deliverer.deliver(id(1), 1, &target), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        receive(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    });
    assert!(taken.unwrap_err().to_string().contains("no answer from 127.0.0.1:"));
}

#[tokio::test]
async fn webhooks_go_to_allowed_hosts_alone() {
    let store = simple().await;
    let (listener, target) = listen("http").await;
    for allow in ["hooks.example", "127.0.0.1:1", "*.0.0.2"] {
        let config = CallbacksConfig { allow: vec![allow.parse().unwrap()], ..patient() };
        let error = deliverer(&config, &store).deliver(id(1), 1, &target).await.unwrap_err().to_string();
        assert!(error.starts_with("webhooks may not go to 127.0.0.1:"), "{error}");
    }
    assert!(listener.accept().now_or_never().is_none(), "somebody called");
    let config = CallbacksConfig { allow: vec!["127.*".parse().unwrap()], ..patient() };
    assert_eq!(told(&config, &store, 1, OK).await.0, Ok(()));
}

#[tokio::test]
async fn a_host_that_is_not_there_is_a_reason_in_one_short_line() {
    let store = simple().await;
    let (listener, gone) = listen("http").await;
    drop(listener);
    let nowhere = format!("http://{}.invalid/hunter2", "x".repeat(60));
    for target in [gone, Callback::Webhook(nowhere), Callback::Webhook("hunter2".to_owned())] {
        let error = deliverer(&patient(), &store).deliver(id(1), 1, &target).await.unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        assert!(error.chars().count() <= MAX_REASON, "{error}");
    }
}

fn acceptor(authority: &TestAuthority) -> TlsAcceptor {
    let certificate = authority.manager("m1");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificate.chain.clone(), certificate.key())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn over_https_the_configured_authorities_count_and_no_others() {
    let store = simple().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("hooks");
    let ca = folder.path().join("ca.crt");
    fs::write(&ca, authority.manager("m1").root_pem).unwrap();
    let config = CallbacksConfig { ca: Some(ca), ..patient() };
    let (listener, target) = listen("https").await;
    let trusting = deliverer(&config, &store);
    let good = acceptor(&authority);
    let (taken, request) = tokio::join!(trusting.deliver(id(1), 1, &target), async {
        let stream = good.accept(listener.accept().await.unwrap().0).await.unwrap();
        answer(stream, OK).await
    });
    assert_eq!(taken, Ok(()));
    assert_eq!(request.json()["job"]["id"], id(1).to_string());

    let other = acceptor(&TestAuthority::new("hooks"));
    let distrusting = deliverer(&patient(), &store);
    for (deliverer, acceptor) in [(&trusting, &other), (&distrusting, &good)] {
        let (taken, accepted) = tokio::join!(deliverer.deliver(id(1), 1, &target), async {
            acceptor.accept(listener.accept().await.unwrap().0).await.map(drop)
        });
        let error = taken.unwrap_err().to_string();
        assert!(error.contains("invalid peer certificate"), "{error}");
        assert!(accepted.is_err(), "no request was sent");
    }
    // the certificate is for other names
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let renamed = Callback::Webhook(format!("https://127.0.0.2:{port}/"));
    let (taken, _) = tokio::join!(trusting.deliver(id(1), 1, &renamed), async {
        good.accept(listener.accept().await.unwrap().0).await.map(drop)
    });
    assert!(taken.unwrap_err().to_string().contains("not valid for name"), "another name");
}

#[tokio::test]
async fn a_job_that_is_gone_is_not_told_of() {
    let (listener, target) = listen("http").await;
    let store = Rig::memory().store;
    let error = deliverer(&patient(), &store).deliver(id(1), 1, &target).await.unwrap_err().to_string();
    assert_eq!(error, "the job is not stored any more");
    assert!(listener.accept().now_or_never().is_none(), "somebody called");
}
