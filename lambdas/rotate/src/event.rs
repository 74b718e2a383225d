//! What the function is invoked with.

use serde_json::Value;

use crate::RotateError;

/// A scheduled task. `infra/modules/rotate/schedules.tf` has the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// CA life-cycles.
    RotateCas,
    /// CRLs, bundles, roots.
    Publish,
    /// Reservations that nobody finishes.
    Sweep,
    /// Warnings.
    WarnExpiry,
    /// What tenants have, counted one by one now and then.
    CountQuotas,
    /// Policies of tenants' keys.
    KeyPolicies,
    /// What is left of deleted tenants.
    PurgeTenants,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 7] = [
        Self::RotateCas,
        Self::Publish,
        Self::Sweep,
        Self::WarnExpiry,
        Self::CountQuotas,
        Self::KeyPolicies,
        Self::PurgeTenants,
    ];

    /// Its name in events, logs and audit events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RotateCas => "rotate-cas",
            Self::Publish => "publish",
            Self::Sweep => "sweep",
            Self::WarnExpiry => "warn-expiry",
            Self::CountQuotas => "count-quotas",
            Self::KeyPolicies => "key-policies",
            Self::PurgeTenants => "purge-tenants",
        }
    }
}

/// A step of Secrets Manager's rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the next value.
    Create,
    /// Tell those who use it.
    Set,
    /// Try it.
    Test,
    /// Make it the current one.
    Finish,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From Secrets Manager.
    Rotation {
        /// Which step.
        step: Step,
        /// The secret's ARN or name.
        secret_id: String,
        /// Names the version to be made.
        token: String,
    },
    /// From the schedule, or by hand.
    Task(Task),
    /// By hand only: publish the audit log's end as it is, although it lacks the one that was published.
    AcceptAuditHead,
}

/// The `task` of [`Event::AcceptAuditHead`].
const ACCEPT_AUDIT_HEAD: &str = "accept-audit-head";

impl Event {
    /// Reads an event. Secrets Manager may send more than its three members; a task's has one.
    pub fn parse(event: &Value) -> Result<Self, RotateError> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        if let (Some(step), Some(secret_id), Some(token)) = (text("Step"), text("SecretId"), text("ClientRequestToken"))
        {
            let step = match step {
                "createSecret" => Step::Create,
                "setSecret" => Step::Set,
                "testSecret" => Step::Test,
                "finishSecret" => Step::Finish,
                other => return Err(RotateError::Event(format!("Secrets Manager has no step {other:?}"))),
            };
            return Ok(Self::Rotation { step, secret_id: secret_id.to_owned(), token: token.to_owned() });
        }
        let alone = event.as_object().is_some_and(|members| members.len() == 1);
        let task = text("task").filter(|_| alone);
        if task == Some(ACCEPT_AUDIT_HEAD) {
            return Ok(Self::AcceptAuditHead);
        }
        let task = task.and_then(|name| Task::ALL.into_iter().find(|task| task.name() == name));
        task.map(Self::Task).ok_or_else(|| {
            let names = Task::ALL.map(Task::name).join(", ");
            let problem = format!("neither a step of Secrets Manager nor {{\"task\": one of {names}}}");
            RotateError::Event(format!("the event is {problem}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_of_both_kinds_are_read_and_others_refused() {
        let step = json!({"Step": "testSecret", "SecretId": "arn:x", "ClientRequestToken": "t", "RotationToken": "r"});
        let Event::Rotation { step, secret_id, token } = Event::parse(&step).unwrap() else { unreachable!() };
        assert_eq!((step, secret_id.as_str(), token.as_str()), (Step::Test, "arn:x", "t"));
        for task in Task::ALL {
            assert_eq!(Event::parse(&json!({"task": task.name()})).unwrap(), Event::Task(task));
        }
        // A restore knows the purge by this name.
        assert_eq!(Task::PurgeTenants.name(), signet_app::purge::PURGE);
        assert_eq!(Event::parse(&json!({"task": "accept-audit-head"})).unwrap(), Event::AcceptAuditHead);
        for bad in [
            json!(null),
            json!({}),
            json!({"task": "rotate"}),
            json!({"task": 1}),
            json!({"task": "sweep", "now": true}),
            json!({"Step": "createSecret", "SecretId": "arn:x"}),
            json!({"Step": "dropSecret", "SecretId": "arn:x", "ClientRequestToken": "t"}),
        ] {
            assert!(matches!(Event::parse(&bad), Err(RotateError::Event(_))), "{bad}");
        }
    }
}
