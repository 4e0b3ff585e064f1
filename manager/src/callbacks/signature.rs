//! The signature of webhooks: who has the same key knows that a delivery is ours, whole and recent.

use std::fmt;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use data_encoding::HEXLOWER;
use redpoll_config::Secret;

/// Signs what webhooks send.
pub(super) struct Signer(Key);

// By hand, so that no key can ever be in it.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    pub(super) fn new(secret: &Secret<Vec<u8>>) -> Self {
        Self(Key::new(HMAC_SHA256, secret.expose()))
    }

    /// `v1=` and the HMAC-SHA256 of `<timestamp>.<body>` in small hexadecimal digits.
    pub(super) fn sign(&self, timestamp: u64, body: &[u8]) -> String {
        let mut context = Context::with_key(&self.0);
        context.update(format!("{timestamp}.").as_bytes());
        context.update(body);
        format!("v1={}", HEXLOWER.encode(context.sign().as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_another_implementation() {
        // python3 -c 'import hmac; print(hmac.new(b"k" * 32, b"1700000000." + b"{}", "sha256").hexdigest())'
        let signer = Signer::new(&Secret::new(vec![b'k'; 32]));
        let expected = "v1=0b3b35525c10b3757ffa78df69037021fc3168d8390a51a4fcb4a8d56a25b557";
        assert_eq!(signer.sign(1_700_000_000, b"{}"), expected);
        assert_eq!(format!("{signer:?}"), "Signer");
    }
}
