//! Certificates that must not get in, in both directions, and what is said about them.

use crate::support::{chain, connected, credentials, forged, listen, refused, transport_to};
use redpoll_certs::testing::{TestAuthority, TestCertificate, Wrong};
use redpoll_common::identity::Role;
use redpoll_net::transport::{Refusal, TransportError};

/// What the manager's log says about a dialler's wrong certificate, and what the dialler is told.
async fn wrong_dialler(
    shown: &TestCertificate,
    authority: &TestAuthority,
) -> (TransportError, TransportError) {
    let (mut listener, _server) = listen(credentials(&authority.manager("m-1")));
    let posing = forged(shown, &authority.agent("web-1"), authority.root());
    let transport = transport_to(&listener, posing);
    refused(&mut listener, &transport).await
}

/// The same about a manager's wrong certificate: what the dialler says, and what the manager is told.
async fn wrong_manager(
    shown: &TestCertificate,
    authority: &TestAuthority,
) -> (TransportError, TransportError) {
    let posing = forged(shown, &authority.manager("m-1"), authority.root());
    let (mut listener, _server) = listen(posing);
    let transport = transport_to(&listener, credentials(&authority.agent("web-1")));
    refused(&mut listener, &transport).await
}

#[track_caller]
fn assert_told(error: &TransportError, wanted: Refusal) {
    assert!(matches!(error, TransportError::Refused { why, .. } if *why == wanted), "{error:?}");
    assert!(error.to_string().contains("refused our certificate"), "{error}");
    assert!(error.help().unwrap().contains("certificate"), "{error}");
    assert!(error.needs_a_person());
}

#[track_caller]
fn assert_says(error: &TransportError, wanted: &str) {
    assert!(matches!(error, TransportError::Certificate { .. }), "{error:?}");
    let text = chain(error);
    assert!(text.starts_with("the peer's certificate is not accepted: "), "{text}");
    assert!(text.contains(wanted), "{text:?} does not say {wanted:?}");
    assert!(error.needs_a_person() && error.help().is_some());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (home, other) = (TestAuthority::new("home"), TestAuthority::new("home"));
    let (told, found) = wrong_dialler(&other.agent("web-1"), &home).await;
    assert_says(&found, "signed by an authority that is not trusted here");
    assert_told(&told, Refusal::OtherAuthority);
    let (found, told) = wrong_manager(&other.manager("m-1"), &home).await;
    assert_says(&found, "signed by an authority that is not trusted here");
    assert_told(&told, Refusal::OtherAuthority);
}

#[tokio::test]
async fn wrong_certificates_of_diallers_are_refused_with_a_reason() {
    let home = TestAuthority::new("home");
    for wrong in sendable() {
        let (told, found) = wrong_dialler(&home.wrong(Role::Agent, "web-1", wrong), &home).await;
        assert_says(&found, reason(wrong, Role::Agent));
        assert_told(&told, refusal(wrong));
    }
}

#[tokio::test]
async fn wrong_certificates_of_managers_are_refused_with_a_reason() {
    let home = TestAuthority::new("home");
    for wrong in sendable() {
        let (found, told) = wrong_manager(&home.wrong(Role::Manager, "m-1", wrong), &home).await;
        assert_says(&found, reason(wrong, Role::Manager));
        assert_told(&told, refusal(wrong));
    }
}

#[tokio::test]
async fn a_managers_certificate_does_not_dial() {
    let home = TestAuthority::new("home");
    let (told, found) = wrong_dialler(&home.manager("m-2"), &home).await;
    assert_says(&found, "the certificate is for a manager, but an agent or an operator is wanted here");
    assert_told(&told, Refusal::Unfit);
}

#[tokio::test]
async fn nobody_but_a_manager_is_a_manager() {
    let home = TestAuthority::new("home");
    for shown in [home.agent("m-1"), home.operator("m-1")] {
        let (found, told) = wrong_manager(&shown, &home).await;
        assert_says(&found, "but a manager is wanted here");
        assert_told(&told, Refusal::Unfit);
    }
}

#[tokio::test]
async fn an_authority_that_is_no_longer_trusted_ends_with_the_next_handshake() {
    let (home, next) = (TestAuthority::new("home"), TestAuthority::new("home"));
    let (mut listener, server) = listen(credentials(&home.manager("m-1")));
    let transport = transport_to(&listener, credentials(&home.agent("web-1")));
    connected(&mut listener, &transport).await;
    let mut moved = credentials(&home.manager("m-1"));
    moved.roots = vec![next.root()];
    server.reload(moved).unwrap();
    let (told, found) = refused(&mut listener, &transport).await;
    assert_says(&found, "signed by an authority that is not trusted here");
    assert_told(&told, Refusal::OtherAuthority);
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_refused_before_it_is_verified() {
    let home = TestAuthority::new("home");
    let mut long = home.agent("web-1");
    let first = long.chain[0].clone();
    long.chain.extend([first.clone(), first.clone(), first]);
    let (told, found) = wrong_dialler(&long, &home).await;
    assert_says(&found, "its chain is too long");
    assert_told(&told, Refusal::Unfit);
}

/// A certificate with an extension twice is not even sent by the TLS library; `redpoll-certs` shows that reading it
/// fails.
fn sendable() -> impl Iterator<Item = Wrong> {
    Wrong::ALL.into_iter().filter(|wrong| *wrong != Wrong::TwoExtensions)
}

fn reason(wrong: Wrong, role: Role) -> &'static str {
    match (wrong, role) {
        (Wrong::Expired, _) => "the certificate expired at ",
        (Wrong::NotYetValid, _) => "the certificate is valid only from ",
        (Wrong::NoNames | Wrong::NoUri, _) => "has no URI",
        (Wrong::TwoUris, _) => "has 2 URIs, but must have exactly one",
        (Wrong::TwoExtensions, _) => "the certificate has an extension twice",
        (Wrong::UnknownRole | Wrong::TrailingSlash, _) => "is not of the form spiffe://",
        (Wrong::EncodedSlash, _) => "the certificate's URI is not an identity",
        (Wrong::OtherCluster, _) => "belongs to the cluster home-not, but this is home",
        (Wrong::OtherSideUsage, Role::Manager) => "must have the extended usage serverAuth",
        (Wrong::OtherSideUsage, _) => "must have the extended usage clientAuth",
        (Wrong::TooManyUsages, Role::Manager) => "no extended usage besides serverAuth and clientAuth",
        (Wrong::TooManyUsages, _) => "must have the extended usage clientAuth alone",
        (Wrong::NoUsage, Role::Manager) => "must have the extended usage serverAuth, and has not",
        (Wrong::NoUsage, _) => "must have the extended usage clientAuth, and has not",
        (Wrong::NoDigitalSignature, _) => "must have the key usage digitalSignature",
        (Wrong::Authority, _) => "the certificate of an authority",
    }
}

fn refusal(wrong: Wrong) -> Refusal {
    if matches!(wrong, Wrong::Expired | Wrong::NotYetValid) { Refusal::Expired } else { Refusal::Unfit }
}
