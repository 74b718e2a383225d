//! The connection to the control plane that questions are asked over.

use signet_proto::v1::{BatchCheckRequest, CheckResponse, authorization_service_client::AuthorizationServiceClient};
use tonic::{Status, transport::Channel};

use super::question::Question;
use crate::error::ClientError;

/// One connection, so that both come from the same node and in order.
pub(super) struct Connection(AuthorizationServiceClient<Channel>);

impl Connection {
    pub(super) const fn new(client: AuthorizationServiceClient<Channel>) -> Self {
        Self(client)
    }

    /// One answer for each question.
    pub(super) async fn ask(&self, questions: &[Question]) -> Result<Vec<CheckResponse>, ClientError> {
        let mut client = self.0.clone();
        if let [question] = questions {
            return Ok(vec![client.check(question.message()).await?.into_inner()]);
        }
        let checks = questions.iter().map(Question::message).collect();
        let answers = client.batch_check(BatchCheckRequest { checks }).await?.into_inner().answers;
        if answers.len() == questions.len() {
            Ok(answers)
        } else {
            Err(Status::internal("the answers are not as many as the questions").into())
        }
    }
}
