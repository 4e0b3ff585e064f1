//! Every wrong certificate is refused, each for its own reason.
#![cfg(feature = "issue")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::{Duration, SystemTime};

use redpoll_certs::CertificateError;
use redpoll_certs::expect::{Expect, UsageProblem, check, check_chain};
use redpoll_certs::identity::{self, CertificateInfo};
use redpoll_certs::issue::IssueOptions;
use redpoll_certs::testing::{TestAuthority, TestCertificate, Wrong};
use redpoll_common::identity::{IdentityError, Role};
use redpoll_common::ids::ClusterName;

fn home() -> ClusterName {
    ClusterName::parse("home").unwrap()
}

fn judge(
    certificate: &TestCertificate,
    want: &Expect,
    now: SystemTime,
) -> Result<CertificateInfo, CertificateError> {
    let info = identity::read(&certificate.chain[0])?;
    check(&info, want, now)?;
    Ok(info)
}

fn issue(authority: &TestAuthority, role: Role) -> TestCertificate {
    match role {
        Role::Agent => authority.agent("web-1"),
        Role::Operator => authority.operator("web-1"),
        Role::Manager => authority.manager("web-1"),
    }
}

fn is_the_reason(wrong: Wrong, role: Role, error: &CertificateError) -> bool {
    use CertificateError as E;
    let usage = |wanted: UsageProblem| matches!(error, E::WrongUsage { problem, .. } if *problem == wanted);
    let dials = role != Role::Manager;
    match wrong {
        Wrong::Expired => matches!(error, E::Expired { .. }),
        Wrong::NotYetValid => matches!(error, E::NotYetValid { .. }),
        Wrong::NoNames | Wrong::NoUri => matches!(error, E::NoUri),
        Wrong::TwoUris => matches!(error, E::SeveralUris { count: 2 }),
        Wrong::TwoExtensions => matches!(error, E::DuplicateExtension),
        Wrong::UnknownRole | Wrong::TrailingSlash => {
            matches!(error, E::BadUri { source: IdentityError::Form { .. } })
        }
        Wrong::EncodedSlash => matches!(error, E::BadUri { source: IdentityError::Id { .. } }),
        Wrong::OtherCluster => matches!(error, E::WrongCluster { .. }),
        Wrong::OtherSideUsage | Wrong::NoUsage if dials => usage(UsageProblem::NoClientAuth),
        Wrong::OtherSideUsage | Wrong::NoUsage => usage(UsageProblem::NoServerAuth),
        Wrong::TooManyUsages if dials => usage(UsageProblem::MoreThanClientAuth),
        Wrong::TooManyUsages => usage(UsageProblem::MoreThanServerAuth),
        Wrong::NoDigitalSignature => usage(UsageProblem::NoDigitalSignature),
        Wrong::Authority => matches!(error, E::IsAuthority),
    }
}

#[test]
fn every_wrong_certificate_of_every_role_is_refused_for_its_own_reason() {
    let authority = TestAuthority::new("home");
    for role in Role::ALL {
        let want = Expect::role(role).in_cluster(home());
        for wrong in Wrong::ALL {
            let certificate = authority.wrong(role, "web-1", wrong);
            let error = judge(&certificate, &want, authority.now()).unwrap_err();
            assert!(is_the_reason(wrong, role, &error), "{role} {wrong:?}: {error:?}");
            assert!(!error.to_string().is_empty() && !error.help().is_empty());
        }
    }
}

#[test]
fn good_certificates_are_accepted_and_say_who_they_are() {
    let authority = TestAuthority::new("home");
    for role in Role::ALL {
        let certificate = issue(&authority, role);
        let info = judge(&certificate, &Expect::role(role).in_cluster(home()), authority.now()).unwrap();
        assert_eq!(info.identity.to_string(), format!("spiffe://home/{role}/web-1"));
        assert!(info.usages.client_auth);
        assert_eq!(info.usages.server_auth, role == Role::Manager);
        assert!((20..=32).contains(&info.serial.len()), "{}", info.serial);
        let chain = &certificate.chain;
        check_chain(chain, &[authority.root()], role, authority.now()).unwrap();
    }
}

#[test]
fn a_certificate_of_another_role_is_refused_and_both_roles_are_named() {
    let authority = TestAuthority::new("home");
    for found in Role::ALL {
        for wanted in Role::ALL.into_iter().filter(|wanted| *wanted != found) {
            let certificate = issue(&authority, found);
            let error = judge(&certificate, &Expect::role(wanted), authority.now()).unwrap_err();
            assert_eq!(error, CertificateError::WrongRole { found, wanted: Expect::role(wanted).roles });
        }
    }
    let error = judge(&authority.manager("m"), &Expect::CLIENTS, authority.now()).unwrap_err();
    let text = "the certificate is for a manager, but an agent or an operator is wanted here";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_certificate_of_another_authority_is_refused_even_for_the_same_cluster() {
    let (ours, theirs) = (TestAuthority::new("home"), TestAuthority::new("home"));
    let agent = theirs.agent("web-1");
    judge(&agent, &Expect::role(Role::Agent).in_cluster(home()), ours.now()).unwrap();
    let verdict = |roots: &[_]| check_chain(&agent.chain, roots, Role::Agent, ours.now());
    assert_eq!(verdict(&[ours.root()]), Err(CertificateError::OtherAuthority));
    // by its name already, so that a peer is told "unknown authority" rather than "bad signature"
    let name = |authority: &TestAuthority| identity::read_authority(&authority.root()).unwrap().name;
    assert_ne!(name(&ours), name(&theirs));
    assert_eq!(verdict(&[]), Err(CertificateError::OtherAuthority));
    assert_eq!(verdict(&[ours.root(), theirs.root()]), Ok(()));
}

#[test]
fn a_certificate_ends_no_later_than_its_authority() {
    let authority = TestAuthority::new("home");
    let long = IssueOptions { lifetime: Duration::MAX, ..IssueOptions::default() };
    let info = identity::read(&authority.issue(Role::Agent, "a", &long).chain[0]).unwrap();
    assert_eq!(info.not_after, authority.authority().not_after());
}

#[test]
fn the_first_and_the_last_second_belong_to_the_time_of_validity() {
    let authority = TestAuthority::new("home");
    let info = identity::read(&authority.agent("a").chain[0]).unwrap();
    let second = Duration::from_secs(1);
    let at = |now| check(&info, &Expect::ANY, now);
    assert_eq!(at(info.not_before), Ok(()));
    assert_eq!(at(info.not_before - second), Err(CertificateError::NotYetValid { from: info.not_before }));
    assert_eq!(at(info.not_after), Ok(()));
    assert_eq!(at(info.not_after + second), Err(CertificateError::Expired { at: info.not_after }));
    assert_eq!(at(SystemTime::UNIX_EPOCH), Err(CertificateError::NotYetValid { from: info.not_before }));
}

#[test]
fn a_certificate_with_any_byte_cut_off_or_added_is_unreadable() {
    let authority = TestAuthority::new("home");
    let der = authority.agent("a").chain[0].to_vec();
    for len in 0..der.len() {
        assert!(matches!(identity::read(&der[..len]), Err(CertificateError::Unreadable { .. })), "{len}");
    }
    let longer = [der.as_slice(), &[0]].concat();
    assert_eq!(
        identity::read(&longer),
        Err(CertificateError::Unreadable { reason: "bytes follow after its end" })
    );
}

#[test]
fn a_certificate_with_any_byte_changed_never_panics_and_never_verifies() {
    let authority = TestAuthority::new("home");
    let der = authority.agent("a").chain[0].to_vec();
    for position in 0..der.len() {
        let mut changed = der.clone();
        changed[position] ^= 0x55;
        let read = identity::read(&changed);
        let verdict = check_chain(&[changed.into()], &[authority.root()], Role::Agent, authority.now());
        assert!(verdict.is_err(), "byte {position} was changed unnoticed: {read:?}");
    }
}

#[test]
fn an_authority_is_read_as_such_and_a_peer_is_not() {
    let authority = TestAuthority::new("home");
    let info = identity::read_authority(&authority.root()).unwrap();
    assert_eq!(info.cluster, Some(home()));
    assert!(info.name.contains("Redpoll CA home"), "{}", info.name);
    assert_eq!(identity::read(&authority.root()), Err(CertificateError::IsAuthority));
    let agent = authority.agent("a");
    assert_eq!(identity::read_authority(&agent.chain[0]), Err(CertificateError::NotAuthority));
}
