//! Who sent a request: expiry, signature and delegations, as the interface specification wants them, with the
//! replica's texts (agents match on some of them). Expiry is judged by the wall clock, which is what agents go by.

use crate::limits::{CLOCK_DRIFT_NS, MAX_INGRESS_TTL_NS};
use candid::Principal;
use ed25519_dalek::pkcs8::DecodePublicKey;
use ic_transport_types::{DelegationPermissions, Envelope, EnvelopeContent, SignedDelegation};
use k256::ecdsa::signature::Verifier;

const MAX_DELEGATIONS: usize = 20;

/// Checks a request; the error is the body of the HTTP 400 answer.
pub fn check(envelope: &Envelope<'_>, now: u64) -> Result<(), String> {
    let content = &*envelope.content;
    check_expiry(content.ingress_expiry(), now)?;
    if let EnvelopeContent::Call {
        sender_info: Some(_),
        ..
    }
    | EnvelopeContent::Query {
        sender_info: Some(_),
        ..
    } = content
    {
        return Err("emc-localnet does not support sender_info".into());
    }
    let sender = *content.sender();
    if sender == Principal::anonymous() {
        if envelope.sender_sig.is_some() || envelope.sender_pubkey.is_some() {
            return Err("Signature is not allowed for the anonymous user".into());
        }
        return Ok(());
    }
    let (Some(key), Some(signature)) = (&envelope.sender_pubkey, &envelope.sender_sig) else {
        return Err(format!("Missing signature from user: {sender}"));
    };
    if Principal::self_authenticating(key) != sender {
        return Err(format!(
            "The user id {sender} does not match the public key {}",
            hex::encode(key)
        ));
    }
    let delegations = envelope.sender_delegation.as_deref().unwrap_or_default();
    let key = follow(key, delegations, content, now)?;
    verify(&key, &content.to_request_id().signable(), signature)
        .map_err(|e| format!("Invalid signature: {e}"))
}

fn check_expiry(expiry: u64, now: u64) -> Result<(), String> {
    let max = now + MAX_INGRESS_TTL_NS + CLOCK_DRIFT_NS;
    if (now..=max).contains(&expiry) {
        return Ok(());
    }
    Err(format!(
        "Invalid request expiry: Specified ingress_expiry not within expected range: Minimum allowed expiry: {now}, \
         Maximum allowed expiry: {max}, Provided expiry: {expiry}"
    ))
}

/// Follows the delegations from the sender's key to the key that signed.
fn follow(
    key: &[u8],
    delegations: &[SignedDelegation],
    content: &EnvelopeContent,
    now: u64,
) -> Result<Vec<u8>, String> {
    if delegations.len() > MAX_DELEGATIONS {
        return Err(format!(
            "Invalid delegation: Chain of delegations is too long: found {} but maximum length is {MAX_DELEGATIONS}",
            delegations.len()
        ));
    }
    let target = match content {
        EnvelopeContent::Call { canister_id, .. } | EnvelopeContent::Query { canister_id, .. } => {
            Some(*canister_id)
        }
        EnvelopeContent::ReadState { .. } => None,
    };
    let mut key = key.to_vec();
    for signed in delegations {
        let delegation = &signed.delegation;
        if delegation.expiration < now {
            return Err(format!(
                "Invalid delegation expiry: Specified sender delegation has expired: Provided expiry: {}, Local time: \
                 {now}",
                delegation.expiration
            ));
        }
        verify(&key, &delegation.signable(), &signed.signature)
            .map_err(|e| format!("Invalid delegation: Invalid signature: {e}"))?;
        if let (Some(targets), Some(canister)) = (&delegation.targets, target)
            && !targets.contains(&canister)
        {
            return Err(format!(
                "Canister {canister} is not one of the delegation targets"
            ));
        }
        if delegation.permissions == Some(DelegationPermissions::Queries)
            && matches!(content, EnvelopeContent::Call { .. })
        {
            return Err("Invalid delegation: the delegation permits queries only".into());
        }
        key.clone_from(&delegation.pubkey);
    }
    Ok(key)
}

fn verify(der: &[u8], message: &[u8], signature: &[u8]) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(der) {
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|e| text(&e))?;
        return key
            .verify(message, &signature)
            .map_err(|e| format!("Ed25519 signature could not be verified: {e}"));
    }
    if let Ok(key) = k256::ecdsa::VerifyingKey::from_public_key_der(der) {
        let signature = k256::ecdsa::Signature::from_slice(signature).map_err(|e| text(&e))?;
        let signature = signature.normalize_s().unwrap_or(signature);
        return key
            .verify(message, &signature)
            .map_err(|e| format!("ECDSA secp256k1 signature could not be verified: {e}"));
    }
    if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(der) {
        let signature = p256::ecdsa::Signature::from_slice(signature).map_err(|e| text(&e))?;
        return key
            .verify(message, &signature)
            .map_err(|e| format!("ECDSA P-256 signature could not be verified: {e}"));
    }
    Err("the public key is none of Ed25519, ECDSA P-256 and ECDSA secp256k1 (emc-localnet does not support canister \
         signatures and WebAuthn)"
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::pkcs8::EncodePublicKey;
    use ed25519_dalek::{Signer, SigningKey};
    use ic_transport_types::Delegation;
    use std::borrow::Cow;

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn der(key: &SigningKey) -> Vec<u8> {
        key.verifying_key()
            .to_public_key_der()
            .expect("encodes")
            .as_bytes()
            .to_vec()
    }

    fn call(key: &SigningKey, expiry: u64) -> EnvelopeContent {
        EnvelopeContent::Call {
            nonce: None,
            ingress_expiry: expiry,
            sender: Principal::self_authenticating(der(key)),
            canister_id: Principal::from_slice(&[1]),
            method_name: "m".into(),
            arg: vec![1, 2, 3],
            sender_info: None,
        }
    }

    fn envelope(
        content: EnvelopeContent,
        owner: &SigningKey,
        signer: &SigningKey,
    ) -> Envelope<'static> {
        let signature = signer
            .sign(&content.to_request_id().signable())
            .to_bytes()
            .to_vec();
        Envelope {
            content: Cow::Owned(content),
            sender_pubkey: Some(der(owner)),
            sender_sig: Some(signature),
            sender_delegation: None,
        }
    }

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    #[test]
    fn a_good_signature_passes_and_a_changed_argument_does_not() {
        let k = key(1);
        let mut e = envelope(call(&k, NOW + 1_000_000_000), &k, &k);
        assert_eq!(check(&e, NOW), Ok(()));
        if let EnvelopeContent::Call { arg, .. } = e.content.to_mut() {
            arg[0] ^= 1;
        }
        assert!(
            check(&e, NOW)
                .unwrap_err()
                .starts_with("Invalid signature:")
        );
    }

    #[test]
    fn an_expired_request_and_one_too_far_ahead_are_refused_with_the_text_that_agents_match() {
        let k = key(1);
        for expiry in [NOW - 1, NOW + 10 * 60 * 1_000_000_000] {
            let error = check(&envelope(call(&k, expiry), &k, &k), NOW).unwrap_err();
            assert!(error.starts_with("Invalid request expiry: "), "{error}");
        }
    }

    #[test]
    fn another_users_key_or_no_signature_is_refused() {
        let (k, other) = (key(1), key(2));
        let mut e = envelope(call(&k, NOW + 1), &other, &other);
        assert!(
            check(&e, NOW)
                .unwrap_err()
                .contains("does not match the public key")
        );
        e.sender_sig = None;
        assert!(check(&e, NOW).unwrap_err().starts_with("Missing signature"));
    }

    #[test]
    fn a_delegation_counts_within_its_time_and_targets_only() {
        let (owner, session) = (key(1), key(2));
        let with = |expiration, targets| {
            let delegation = Delegation {
                pubkey: der(&session),
                expiration,
                targets,
                permissions: None,
            };
            let signature = owner.sign(&delegation.signable()).to_bytes().to_vec();
            let mut e = envelope(call(&owner, NOW + 1), &owner, &session);
            e.sender_delegation = Some(vec![SignedDelegation {
                delegation,
                signature,
            }]);
            check(&e, NOW)
        };
        assert_eq!(with(NOW + 5, None), Ok(()));
        assert_eq!(
            with(NOW + 5, Some(vec![Principal::from_slice(&[1])])),
            Ok(())
        );
        assert!(with(NOW - 5, None).unwrap_err().contains("has expired"));
        assert!(
            with(NOW + 5, Some(vec![Principal::from_slice(&[9])]))
                .unwrap_err()
                .contains("delegation targets")
        );
    }
}
