//! The connection to the control plane that questions are asked over.

use prost::Message;
use signet_proto::v1::{
    BatchCheckRequest, CheckRequest, CheckResponse, authorization_service_client::AuthorizationServiceClient,
};
use tonic::{Code, Status, transport::Channel};

use super::question::Question;
use crate::error::ClientError;

/// Largest request, in bytes: the server takes 64 KiB.
const MOST_BYTES: usize = 60 * 1024;

/// One connection, so that answers and changes come from the same node.
pub(super) struct Connection(AuthorizationServiceClient<Channel>);

impl Connection {
    pub(super) const fn new(client: AuthorizationServiceClient<Channel>) -> Self {
        Self(client)
    }

    pub(super) async fn check(&self, question: &Question) -> Result<CheckResponse, ClientError> {
        Ok(self.0.clone().check(question.message()).await?.into_inner())
    }

    /// One answer for each question.
    pub(super) async fn check_all(&self, questions: &[&Question]) -> Result<Vec<CheckResponse>, ClientError> {
        let checks: Vec<CheckRequest> = questions.iter().map(|question| question.message()).collect();
        let request = BatchCheckRequest { checks };
        if request.encoded_len() <= MOST_BYTES {
            match self.0.clone().batch_check(request).await {
                Ok(answers) if answers.get_ref().answers.len() == questions.len() => {
                    return Ok(answers.into_inner().answers);
                }
                Ok(_) => return Err(Status::internal("the answers are not as many as the questions").into()),
                // One that cannot be asked must not keep the others from their answers.
                Err(status) if status.code() == Code::InvalidArgument => {}
                Err(status) => return Err(status.into()),
            }
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(self.check(question).await?);
        }
        Ok(answers)
    }
}
