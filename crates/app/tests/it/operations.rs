//! Every mutating operation, ready to be called again and again with one request id.

use std::{pin::Pin, sync::Arc};

use signet_app::{
    Call, CreateToken, Enroll, IssuedLeaf, PrincipalPatch, Proof, RotationAction, SetModel, TenantPatch, authorities,
    authorization,
    certificates::{self, issuance, renewal},
    enrollment::{self, out_of_band, rules, tokens},
    messages::{self, MessageQuestion, RotateMessageSecret},
    principals::{self, deletion},
    tenants,
    tokens::{self as keys_for_tokens, RotateTokenKeys},
};
use signet_core::{
    Error, PrincipalType, Serial,
    authorities::CaKind,
    authorization::model::Rules,
    certificates::{
        Certificate, RevocationReason,
        renewal::{Steering, Window},
    },
    tokens::TokenUse,
};
use signet_messages::{SignedMessage, SigningSecret};
use signet_testkit::fixtures::{NOW, later};

use crate::{
    attestor::{oidc, token},
    lineage,
    rules::oidc_rule,
    world::*,
};

pub(crate) type Answer = Result<String, Error>;
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;
pub(crate) type Repeatable = Box<dyn Fn() -> Running>;

/// An operation, how many audit events it writes, and how to prepare one that has not been called yet.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) events: usize,
}

pub(crate) const ALL: &[Operation] = &[
    Operation { name: "CreateTenant", events: 1 },
    Operation { name: "UpdateTenant", events: 1 },
    Operation { name: "SuspendTenant", events: 1 },
    Operation { name: "ActivateTenant", events: 1 },
    Operation { name: "DeleteTenant", events: 1 },
    Operation { name: "UndeleteTenant", events: 1 },
    Operation { name: "SteerRenewals", events: 1 },
    Operation { name: "CreatePrincipal", events: 1 },
    Operation { name: "UpdatePrincipal", events: 1 },
    Operation { name: "SuspendPrincipal", events: 1 },
    Operation { name: "ActivatePrincipal", events: 1 },
    Operation { name: "DeletePrincipal", events: 1 },
    Operation { name: "IssueCertificate", events: 1 },
    Operation { name: "RenewCertificate", events: 1 },
    Operation { name: "RenewOutOfBand", events: 1 },
    Operation { name: "ConfirmCertificate", events: 1 },
    Operation { name: "RevokeCertificate", events: 1 },
    Operation { name: "RevokeUnrecorded", events: 1 },
    Operation { name: "CreateToken", events: 1 },
    Operation { name: "RevokeToken", events: 1 },
    // The use of the token together with the new principal, then the certificate.
    Operation { name: "Enroll", events: 2 },
    // The same for a proof that a rule accepts.
    Operation { name: "EnrollByRule", events: 2 },
    Operation { name: "CreateEnrollmentRule", events: 1 },
    Operation { name: "DeleteEnrollmentRule", events: 1 },
    Operation { name: "SetAuthorizationModel", events: 1 },
    Operation { name: "RotateTokenKeys", events: 1 },
    Operation { name: "RotateMessageSecret", events: 1 },
    Operation { name: "DeleteMessageSecret", events: 1 },
    // What was accepted is noted, and no event.
    Operation { name: "VerifyMessage", events: 0 },
    Operation { name: "BatchVerifyMessages", events: 0 },
    Operation { name: "PrepareCa", events: 1 },
    Operation { name: "ActivateCa", events: 1 },
    Operation { name: "RetireCa", events: 1 },
];

macro_rules! repeat {
    ($world:ident, $($kept:ident),*; $body:expr) => {{
        let world = Arc::clone($world);
        $(let $kept = Arc::new($kept);)*
        Box::new(move || {
            #[allow(unused_variables, reason = "some operations need no world")]
            let $world = Arc::clone(&world);
            $(let $kept = Arc::clone(&$kept);)*
            Box::pin(async move { $body }) as Running
        }) as Repeatable
    }};
}

/// Sets the stage for the operation `name` in tenants and principals that only this `number` uses.
pub(crate) async fn prepare(world: &Arc<World>, name: &'static str, number: usize) -> Repeatable {
    let request = format!("request-{number}");
    match name {
        "CreateTenant" | "UpdateTenant" | "SuspendTenant" | "ActivateTenant" | "DeleteTenant" | "UndeleteTenant"
        | "SteerRenewals" => tenant_operation(world, name, number, request).await,
        "PrepareCa" | "ActivateCa" | "RetireCa" => ca_operation(world, name, number, request).await,
        "RenewOutOfBand" => out_of_band(world, number, request).await,
        "IssueCertificate" | "RenewCertificate" | "ConfirmCertificate" | "RevokeCertificate" => {
            certificate_operation(world, name, number, request).await
        }
        "RevokeUnrecorded" => revocation_of_unrecorded(world, name, number, request),
        "CreateToken" | "RevokeToken" | "Enroll" => token_operation(world, name, number, request).await,
        "EnrollByRule" | "CreateEnrollmentRule" | "DeleteEnrollmentRule" => {
            rule_operation(world, name, number, request).await
        }
        "SetAuthorizationModel" => model_operation(world, name, number, request).await,
        "RotateMessageSecret" | "DeleteMessageSecret" | "VerifyMessage" | "BatchVerifyMessages" => {
            message_secret_operation(world, name, number, request).await
        }
        "RotateTokenKeys" => token_key_operation(world, name, number, request).await,
        _ => principal_operation(world, name, number, request).await,
    }
}

async fn tenant_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let tenant = format!("tenant-{number}");
    let id = tid(&tenant);
    if name != "CreateTenant" {
        world.tenant(&tenant).await;
    }
    if ["ActivateTenant", "DeleteTenant", "UndeleteTenant"].contains(&name) {
        tenants::suspend_tenant(&world.app, &call("Prepare"), &environment(), &id).await.unwrap();
    }
    if name == "UndeleteTenant" {
        tenants::deletion::delete_tenant(&world.app, &call("Prepare"), &environment(), &id).await.unwrap();
    }
    repeat!(world, tenant, id, request; {
        let (call, app) = (call_with_id(name, &request), &world.app);
        let answer = match name {
            "CreateTenant" => tenants::create_tenant(app, &call, &environment(), new_tenant(&tenant)).await,
            "UpdateTenant" => {
                let patch = TenantPatch { max_certificates: Some(7), ..TenantPatch::default() };
                tenants::update_tenant(app, &call, &environment(), &id, patch).await
            }
            "SuspendTenant" => tenants::suspend_tenant(app, &call, &environment(), &id).await,
            "DeleteTenant" => tenants::deletion::delete_tenant(app, &call, &environment(), &id).await,
            "UndeleteTenant" => tenants::deletion::undelete_tenant(app, &call, &environment(), &id).await,
            "SteerRenewals" => {
                let window = Window { start: later(60), end: later(7200) };
                tenants::steer_renewals(app, &call, &scope(&tenant), Some(Steering { issued_before: NOW, window })).await
            }
            _ => tenants::activate_tenant(app, &call, &environment(), &id).await,
        };
        answer.map(|tenant| format!("{tenant:?}"))
    })
}

async fn principal_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let text = format!("worker-{number}");
    if name != "CreatePrincipal" {
        world.principal(&text).await;
    }
    let id = pid(&text);
    if name == "ActivatePrincipal" {
        principals::suspend_principal(&world.app, &call("Prepare"), &admin(), &acme(), &id).await.unwrap();
    }
    repeat!(world, text, id, request; {
        let (call, app) = (call_with_id(name, &request), &world.app);
        let answer = match name {
            "CreatePrincipal" => {
                principals::create_principal(app, &call, &acme(), new_principal(&text, PrincipalType::Worker, &[])).await
            }
            "UpdatePrincipal" => {
                let patch = PrincipalPatch { roles: Some(roles(&["viewer"])), ..PrincipalPatch::default() };
                principals::update_principal(app, &call, &acme(), &id, patch).await
            }
            "SuspendPrincipal" => principals::suspend_principal(app, &call, &admin(), &acme(), &id).await,
            "ActivatePrincipal" => principals::activate_principal(app, &call, &admin(), &acme(), &id).await,
            _ => deletion::delete_principal(app, &call, &admin(), &acme(), &id).await,
        };
        answer.map(|principal| format!("{principal:?}"))
    })
}

async fn certificate_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let text = format!("worker-{number}");
    world.principal(&text).await;
    let csr = csr();
    if name == "IssueCertificate" {
        let id = pid(&text);
        return repeat!(world, id, csr, request; {
            let call = call_with_id(name, &request);
            issuance::issue_certificate(&world.app, &call, &acme(), &id, &csr).await.map(released)
        });
    }
    let held = world.issue(&text).await;
    if name == "RenewCertificate" {
        return repeat!(world, held, csr, request; {
            let call = call_with_id(name, &request);
            renewal::renew_certificate(&world.app, &call, &renewal_of(&held), &acme(), &csr).await.map(released)
        });
    }
    if name == "ConfirmCertificate" {
        let next = lineage::renew(world, &held).await.unwrap();
        return repeat!(world, next, request; {
            let call = call_with_id(name, &request);
            let answer = renewal::confirm_and_revoke_previous(&world.app, &call, &renewal_of(&next), &acme()).await;
            answer.map(|record| format!("{:?}", record.lineage))
        });
    }
    repeat!(world, held, request; {
        let (call, Certificate { issuer, serial, .. }) = (call_with_id(name, &request), &held.certificate);
        let reason = RevocationReason::KeyCompromise;
        let answer = certificates::revoke_certificate(&world.app, &call, &admin(), &acme(), issuer, serial, reason).await;
        answer.map(|record| format!("{:?}", record.state))
    })
}

/// Of a certificate that nobody recorded.
fn revocation_of_unrecorded(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(number as u64).to_be_bytes());
    let serial = Serial::new(NOW, random);
    repeat!(world, serial, request; {
        let (call, issuer, reason) = (call_with_id(name, &request), "acme.1".parse().unwrap(), RevocationReason::KeyCompromise);
        let answer =
            certificates::revoke_recorded_or_not(&world.app, &call, &admin(), &acme(), &issuer, &serial, reason).await;
        answer.map(|record| format!("{:?}", record.state))
    })
}

async fn out_of_band(world: &Arc<World>, number: usize, request: String) -> Repeatable {
    let (key, held) = lineage::worker(world, &format!("worker-{number}")).await;
    let input = lineage::signed(world, &key, &held, &request, NOW);
    repeat!(world, input, request; {
        let call = Call { operation: "RenewOutOfBand", ..anonymous(&request) };
        out_of_band::renew_out_of_band(&world.app, &call, &input).await.map(released)
    })
}

async fn token_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    if name == "CreateToken" {
        return repeat!(world, request; {
            // The text differs by number, so that each case is a request of its own.
            let input = CreateToken { uses: 2, ..new_token() };
            let answer = tokens::create_token(&world.app, &call_with_id(name, &request), &admin(), &acme(), input).await;
            answer.map(|created| format!("{:?}", created.token))
        });
    }
    let token = world.token(new_token()).await;
    if name == "RevokeToken" {
        return repeat!(world, token, request; {
            let answer = tokens::revoke_token(&world.app, &call_with_id(name, &request), &admin(), &acme(), &token.token.id).await;
            answer.map(|token| format!("{token:?}"))
        });
    }
    let (principal, csr) = (format!("worker-{number}"), csr());
    repeat!(world, token, principal, csr, request; {
        enrollment::enroll(&world.app, &anonymous(&request), enrollment(&token, &principal, &csr)).await.map(released)
    })
}

/// In a tenant of its own, since a tenant has a limited number of rules.
async fn rule_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let tenant = format!("tenant-{number}");
    world.tenant(&tenant).await;
    let (scope, tenant) = (scope(&tenant), tid(&tenant));
    if name == "CreateEnrollmentRule" {
        return repeat!(world, scope, request; {
            let call = call_with_id(name, &request);
            rules::create_rule(&world.app, &call, &admin(), &scope, oidc_rule("ci")).await.map(|rule| format!("{rule:?}"))
        });
    }
    rules::create_rule(&world.app, &call("Prepare"), &admin(), &scope, oidc_rule("ci")).await.unwrap();
    if name == "DeleteEnrollmentRule" {
        return repeat!(world, scope, request; {
            let (call, id) = (call_with_id(name, &request), "ci".parse().unwrap());
            rules::delete_rule(&world.app, &call, &admin(), &scope, &id).await.map(|()| "deleted".to_owned())
        });
    }
    world.attestor.proves(oidc("ci-1"));
    // A token counts once in the whole environment.
    let (csr, bearer) = (csr(), format!("head.claims-{number}.sig"));
    repeat!(world, tenant, csr, bearer, request; {
        let proof = Proof::Attested { tenant: (*tenant).clone(), evidence: token(&bearer) };
        let input = Enroll { proof, principal: None, csr_der: (*csr).clone() };
        let call = Call { operation: name, ..anonymous(&request) };
        enrollment::enroll(&world.app, &call, input).await.map(released)
    })
}

async fn model_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let tenant = format!("tenant-{number}");
    world.tenant(&tenant).await;
    let scope = scope(&tenant);
    let rules = Rules { permissions: [("jobs:submit".to_owned(), String::new())].into(), ..Rules::default() };
    repeat!(world, scope, rules, request; {
        let input = SetModel { rules: (*rules).clone(), base_version: 0, note: "first".into(), force: false };
        let answer = authorization::set_model(&world.app, &call_with_id(name, &request), &scope, input).await;
        answer.map(|model| format!("{model:?}"))
    })
}

async fn token_key_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let tenant = format!("tenant-{number}");
    world.tenant(&tenant).await;
    let scope = scope(&tenant);
    repeat!(world, scope, request; {
        let input = RotateTokenKeys { for_use: TokenUse::AccessToken, algorithm: None, now: true };
        let answer = keys_for_tokens::rotate_token_keys(&world.app, &call_with_id(name, &request), &scope, input).await;
        // The keys differ; how many there are does not.
        answer.map(|keys| format!("{} {}", keys.for_use, keys.keys.len()))
    })
}

async fn message_secret_operation(
    world: &Arc<World>,
    name: &'static str,
    number: usize,
    request: String,
) -> Repeatable {
    let device = format!("device-{number}");
    let input = new_principal(&device, PrincipalType::Device, &[]);
    principals::create_principal(&world.app, &call("Prepare"), &acme(), input).await.unwrap();
    let rotate = async |device: &str| {
        let input = RotateMessageSecret { principal: pid(device), at_once: true };
        messages::rotate_message_secret(&world.app, &call("Prepare"), &admin(), &acme(), input).await.unwrap().secret
    };
    // The tenant's data key is there, and in memory, whichever case comes first.
    let other = new_principal(&format!("{device}-first"), PrincipalType::Device, &[]);
    principals::create_principal(&world.app, &call("Prepare"), &acme(), other).await.unwrap();
    for _ in 0..2 {
        rotate(&format!("{device}-first")).await;
    }
    if name.contains("Verify") {
        let secret = rotate(&device).await;
        return verification(world, name, device, secret, request);
    }
    if name == "DeleteMessageSecret" {
        rotate(&device).await;
        return repeat!(world, device, request; {
            let call = call_with_id(name, &request);
            let answer = messages::delete_message_secret(&world.app, &call, &admin(), &acme(), &pid(&device)).await;
            answer.map(|()| String::new())
        });
    }
    repeat!(world, device, request; {
        let call = call_with_id(name, &request);
        let input = RotateMessageSecret { principal: pid(&device), at_once: false };
        let answer = messages::rotate_message_secret(&world.app, &call, &admin(), &acme(), input).await;
        // Also the secret: a repetition is shown the same.
        answer.map(|rotated| format!("{:?} {}", rotated.record, *rotated.secret.to_text()))
    })
}

fn verification(
    world: &Arc<World>,
    name: &'static str,
    device: String,
    secret: SigningSecret,
    request: String,
) -> Repeatable {
    repeat!(world, device, secret, request; {
        let (seconds, principal) = (NOW.unix_seconds(), pid(&device));
        let (timestamp, signatures) = (seconds.to_string(), secret.sign("m", seconds, b"x"));
        let message = SignedMessage { id: "m", timestamp: &timestamp, signatures: &signatures, body: b"x" };
        let question = MessageQuestion { principal: &principal, message };
        let call = call_with_id(name, &request);
        if name == "VerifyMessage" {
            let answer = messages::verify_message(&world.app, &call, &acme(), &|_| true, question).await;
            return answer.map(|verdict| format!("{verdict:?}"));
        }
        let answer = messages::verify_messages(&world.app, &call, &acme(), &|_| true, &[question]).await;
        answer.map(|verdicts| format!("{verdicts:?}"))
    })
}

async fn ca_operation(world: &Arc<World>, name: &'static str, number: usize, request: String) -> Repeatable {
    let tenant = format!("tenant-{number}");
    world.tenant(&tenant).await;
    let scope = scope(&tenant);
    let steps = [RotationAction::Prepare, RotationAction::ForceActivate, RotationAction::Retire];
    let ready = ["PrepareCa", "ActivateCa", "RetireCa"].iter().position(|step| *step == name).unwrap();
    for step in &steps[..ready] {
        authorities::rotate_ca(&world.app, &call("Prepare"), &scope, CaKind::Tenant, *step).await.unwrap();
    }
    let action = steps[ready];
    repeat!(world, scope, request; {
        let answer = authorities::rotate_ca(&world.app, &call_with_id(name, &request), &scope, CaKind::Tenant, action).await;
        answer.map(|report| format!("{:?}", report.cas))
    })
}

fn released(leaf: IssuedLeaf) -> String {
    format!("{leaf:?}")
}
